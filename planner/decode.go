package planner

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
)

// Decoded is a plan as the model wrote it, before anything of it is checked
// against a manifest. It is either calls or the end.
type Decoded struct {
	Calls    []Intent // After holds the order: each call of a chain follows the one before
	Finish   bool
	Answer   json.RawMessage // with Finish; null when the model gave none
	Reason   string          // the model's own words, if it gave any
	Repaired string          // what had to be done to the text, e.g. "fence,prose"; "" for clean JSON
}

// CallsMax is how many calls a plan may have; longer plans are refused.
const CallsMax = 32

// Decode reads a plan from a model's answer in any of the shapes that models
// and the protocol's editions use (C-02): one call, an array of calls,
// {"plan": […]}, {"steps": […]}, {"parallel": […]}, the end
// ({"finished": true, "answer": …} and its variants), or native tool calls.
// A call names its action as action, action_id, tool or name and its arguments
// as args, arguments, inputs, input, payload or parameters. Text around the
// JSON, fences, thinking blocks and grammatical slips are tolerated and
// reported. Arguments keep every digit of their numbers.
//
// What could be read in two ways is refused: duplicate members, two names for
// one call, two different plans. The error is a *fault.Error with code
// PlanInvalid.
//
// The answer must be complete: do not decode one that was cut by its length
// limit.
func Decode(text string, calls []ToolCall) (Decoded, error) {
	plans, notes, perr := decodeText(text)
	if len(calls) > 0 {
		if perr != nil && !perr.syntax {
			return Decoded{}, planError(perr)
		}
		d, err := decodeToolCalls(calls)
		if err != nil {
			return Decoded{}, planError(err)
		}
		plans, notes = append(plans, d), append(notes, "tool_calls")
		perr = nil
	}
	if perr != nil {
		return Decoded{}, planError(perr)
	}
	d := plans[0]
	for _, other := range plans[1:] {
		if !samePlan(d, other) {
			return Decoded{}, planError(refusal("the answer holds two different plans"))
		}
	}
	d.Repaired = strings.Join(notes, ",")
	return d, nil
}

// planError words a problem as the protocol does (S0-50).
func planError(e *jsonError) error {
	err := fault.New(fault.PlanInvalid, "Failed to parse plan JSON: %s", e.Error())
	if e.pointer != "" {
		err = err.With(fault.Detail{Pointer: e.pointer, Message: e.message})
	}
	return err
}

// decodeText returns every plan in the text; at least one when err is nil.
func decodeText(text string) (plans []Decoded, notes []string, err *jsonError) {
	if strings.TrimSpace(text) == "" {
		return nil, nil, &jsonError{syntax: true, message: "the answer is empty"}
	}
	found, notes, err := extract(text)
	if err != nil {
		return nil, notes, err
	}
	guessed := false
	for _, c := range found {
		d, ok, err := decodePlan(c.value)
		if err != nil {
			return nil, notes, err
		}
		if ok {
			plans = append(plans, d)
			guessed = guessed || c.repaired
		}
	}
	if guessed {
		notes = append(notes, "jsonrepair")
	}
	if len(plans) == 0 {
		return nil, notes, refusal("the JSON is not a plan: it names neither an action nor the end")
	}
	return plans, notes, nil
}

func samePlan(a, b Decoded) bool {
	return a.Finish == b.Finish && bytes.Equal(a.Answer, b.Answer) &&
		slices.EqualFunc(a.Calls, b.Calls, func(x, y Intent) bool {
			return x.Action == y.Action && bytes.Equal(x.Args, y.Args) &&
				x.OutputKey == y.OutputKey && slices.Equal(x.After, y.After)
		})
}

// The names under which each part of a plan is known, the most usual first.
var (
	actionKeys = []string{"action", "action_id", "tool"} // and "name", where none of these is given
	argsKeys   = []string{"args", "arguments", "inputs", "input", "payload", "parameters"}
	listKeys   = []string{"plan", "steps", "parallel"}
	doneKeys   = []string{"finished", "done", "finish", "complete", "completed", "final_answer"}
	answerKeys = []string{"answer", "final_answer", "final_output", "result", "output", "response", "message"}
	reasonKeys = []string{"reason", "reasoning", "thought", "thoughts", "rationale"}
)

// decodePlan reads one JSON value as a plan. ok is false when it does not look
// like one.
func decodePlan(v value) (d Decoded, ok bool, err *jsonError) {
	if v.kind == '[' {
		if len(v.items) == 1 && v.items[0].kind == '{' {
			return decodePlan(v.items[0])
		}
		if !slices.ContainsFunc(v.items, looksLikeCall) {
			return Decoded{}, false, nil
		}
		calls, _, err := decodeSteps(nil, v, nil, false)
		return Decoded{Calls: calls}, true, err
	}
	d.Reason = reasonOf(v)
	finish, answer, err := decodeFinish(v)
	if err != nil {
		return Decoded{}, true, err
	}
	list, parallel, hasList, err := listOf(v)
	if err != nil {
		return Decoded{}, true, err
	}
	action, hasAction, err := actionOf(v)
	if err != nil {
		return Decoded{}, true, err
	}
	switch {
	case hasList && hasAction:
		return Decoded{}, true, refusal("the plan names one action and lists others")
	case finish && (hasAction || hasList && len(list.items) > 0):
		return Decoded{}, true, refusal("the plan calls an action and finishes: finish after its result is known")
	case finish:
		d.Finish, d.Answer = true, answer
		return d, true, nil
	case hasList:
		d.Calls, _, err = decodeSteps(nil, list, nil, parallel)
		return d, true, err
	case hasAction:
		call, err := decodeCall(v, action)
		if err != nil {
			return Decoded{}, true, err
		}
		d.Calls = []Intent{call}
		return d, true, nil
	}
	return Decoded{}, false, nil
}

// listOf finds the list of a plan object. {"plan": {"steps": […]}} and a plan
// that is a single call are lists too.
func listOf(v value) (list value, parallel, ok bool, err *jsonError) {
	for _, key := range listKeys {
		item, has := v.get(key)
		if !has || item.kind == 'n' {
			continue
		}
		if item.kind == '{' {
			inner, p, isList, err := listOf(item)
			if err != nil {
				return value{}, false, false, err
			}
			if isList {
				item, key = inner, ""
				parallel = p
			} else {
				item = value{kind: '[', items: []value{item}}
			}
		}
		if item.kind != '[' {
			if key == "plan" && item.kind == '"' {
				continue // a model's prose about its plan
			}
			return value{}, false, false, refusal("%s is not an array of calls", quoted(key))
		}
		if ok {
			return value{}, false, false, refusal("the plan has more than one list of calls")
		}
		list, ok = item, true
		parallel = parallel || key == "parallel"
	}
	return list, parallel, ok, nil
}

// decodeSteps appends the calls of a list. after are the calls that the first
// of them follows; the returned ones are those that whatever comes next
// follows. Inside a chain, {"parallel": […]} is a group whose calls do not
// wait for each other.
func decodeSteps(calls []Intent, list value, after []int, parallel bool) (_ []Intent, ends []int, err *jsonError) {
	if len(list.items) == 0 && len(calls) == 0 {
		return nil, nil, refusal("the plan has no calls: name an action or finish")
	}
	for i, item := range list.items {
		if item.kind != '{' {
			return nil, nil, refusal("call %d of the plan is not an object", i+1)
		}
		var last []int
		if group, has := item.get("parallel"); has && group.kind == '[' && !parallel {
			if calls, last, err = decodeSteps(calls, group, after, true); err != nil {
				return nil, nil, err
			}
		} else {
			action, ok, err := actionOf(item)
			if err != nil {
				return nil, nil, err
			}
			if !ok {
				return nil, nil, refusal("call %d of the plan names no action", i+1)
			}
			call, err := decodeCall(item, action)
			if err != nil {
				return nil, nil, err
			}
			call.After = slices.Clone(after)
			last = []int{len(calls)}
			calls = append(calls, call)
		}
		if len(calls) > CallsMax {
			return nil, nil, refusal("the plan has more than %d calls", CallsMax)
		}
		if parallel {
			ends = append(ends, last...)
		} else if len(last) > 0 {
			after, ends = last, last
		}
	}
	return calls, ends, nil
}

func looksLikeCall(v value) bool {
	_, named, err := actionOf(v)
	_, group := v.get("parallel")
	return named || group || err != nil
}

// actionOf returns the name of the action that an object calls. A plain "name"
// counts only beside arguments: too many objects that are no calls have one.
func actionOf(v value) (name string, ok bool, err *jsonError) {
	for _, key := range actionKeys {
		item, has := v.get(key)
		if has && item.kind == '"' {
			if ok && item.text != name {
				return "", false, refusal("the call names two actions, %s and %s", quoted(name), quoted(item.text))
			}
			name, ok = item.text, true
		} else if has && item.kind != 'n' {
			return "", false, refusal("%q is not the name of an action", key)
		}
	}
	if ok {
		return name, true, nil
	}
	hasArgs := slices.ContainsFunc(argsKeys, func(key string) bool { _, has := v.get(key); return has })
	if item, has := v.get("name"); has && item.kind == '"' && hasArgs {
		return item.text, true, nil
	}
	return "", false, nil
}

func decodeCall(v value, action string) (Intent, *jsonError) {
	call := Intent{Action: action, Args: json.RawMessage("{}")}
	given := ""
	for _, key := range argsKeys {
		item, has := v.get(key)
		if !has || item.kind == 'n' {
			continue
		}
		args, err := decodeArgs(item)
		if err != nil {
			return Intent{}, err
		}
		if given != "" && !bytes.Equal(args, call.Args) {
			return Intent{}, refusal("the call of %s has different arguments in %q and %q", quoted(action), given, key)
		}
		given, call.Args = key, args
	}
	switch item, has := v.get("output_key"); {
	case !has, item.kind == 'n', item.kind == '"' && item.text == "":
	case item.kind != '"':
		return Intent{}, refusal("the output_key of %s is not a string", quoted(action))
	default:
		call.OutputKey = item.text
	}
	return call, nil
}

// decodeArgs returns the compact text of an arguments object, which some
// models wrap into a string as native function calls do.
func decodeArgs(v value) (json.RawMessage, *jsonError) {
	if v.kind == '"' {
		if strings.TrimSpace(v.text) == "" {
			return json.RawMessage("{}"), nil
		}
		inner, err := readWholeJSON(v.text)
		if err != nil {
			return nil, err
		}
		v = inner
	}
	if v.kind != '{' {
		return nil, refusal("arguments are not an object")
	}
	return compact(v), nil
}

// decodeFinish reads the forms in which a model says that it is done.
func decodeFinish(v value) (finish bool, answer json.RawMessage, err *jsonError) {
	for _, key := range doneKeys {
		item, has := v.get(key)
		if !has {
			continue
		}
		switch {
		case item.kind == 't', item.kind == '"' && item.text == "true":
			finish = true
		case item.kind == 'f', item.kind == 'n':
		case key == "final_answer", key == "finish":
			finish, answer = true, compact(item)
		default:
			return false, nil, refusal("%q is neither true nor false", key)
		}
	}
	if !finish || answer != nil {
		return finish, answer, nil
	}
	for _, key := range answerKeys {
		if item, has := v.get(key); has && item.kind != 'n' && !(key == "final_answer" && item.kind == 't') {
			return true, compact(item), nil
		}
	}
	return true, json.RawMessage("null"), nil
}

func reasonOf(v value) string {
	for _, key := range reasonKeys {
		if item, has := v.get(key); has && item.kind == '"' {
			return item.text
		}
	}
	return ""
}

// decodeToolCalls reads native function calls as a chain: that a model made
// them at once does not say that they are independent.
func decodeToolCalls(calls []ToolCall) (Decoded, *jsonError) {
	if len(calls) > CallsMax {
		return Decoded{}, refusal("the plan has more than %d calls", CallsMax)
	}
	var d Decoded
	for i, c := range calls {
		args := json.RawMessage("{}")
		if text := strings.TrimSpace(string(c.Args)); text != "" && text != "null" {
			if len(text) > answerMax {
				return Decoded{}, refusal("the arguments of %s have more than %d bytes", quoted(c.Name), answerMax)
			}
			v, err := readWholeJSON(text)
			if err != nil {
				return Decoded{}, err
			}
			if args, err = decodeArgs(v); err != nil {
				return Decoded{}, err
			}
		}
		call := Intent{Action: c.Name, Args: args}
		if i > 0 {
			call.After = []int{i - 1}
		}
		d.Calls = append(d.Calls, call)
	}
	return d, nil
}

// compact returns the text of a value without insignificant blanks.
func compact(v value) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(v.raw)); err != nil {
		panic("planner: a value that was read is not JSON: " + err.Error())
	}
	return b.Bytes()
}
