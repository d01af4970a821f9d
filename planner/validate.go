package planner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// A problem is why a plan was not used, and the action whose schema mends it.
type problem struct {
	err    *fault.Error
	action *manifest.Action
}

// detailsMax is how many violations a model is told of; it is told how many
// more there are.
const detailsMax = 20

// check holds a decoded plan against what the session may use. It returns the
// calls as they are to be committed: arguments with defaults (S1-35), and an
// order that lets independent reads run together.
func check(r Request, calls []Intent) ([]Intent, *problem) {
	c := checker{request: r, actions: map[string]*manifest.Action{}, keys: map[string]int{}, plan: len(calls) > 1}
	for _, a := range usable(r) {
		c.actions[a.Name] = a
	}
	c.known = knownNames(r)
	for i, call := range calls {
		if err := c.outputKey(i, call.OutputKey); err != nil {
			return nil, &problem{err: err}
		}
	}
	for i, call := range calls {
		if p := c.call(i, call); p != nil {
			return nil, p
		}
	}
	return c.ordered(), nil
}

type checker struct {
	request Request
	plan    bool // more than one call
	actions map[string]*manifest.Action
	known   map[string]bool // bare names with a value before the plan begins
	keys    map[string]int  // output_key → the call of this plan that has it, later ones included
	open    bool            // an earlier call of this plan may define names that nobody declared
	calls   []checkedCall
}

// A checkedCall is a valid call and what bears on its order.
type checkedCall struct {
	Intent
	action   *manifest.Action
	uses     []int // calls of this plan whose outputs its placeholders name
	stateful bool  // its placeholders read more than the outputs of named calls
}

func (c *checker) call(i int, call Intent) *problem {
	a, ok := c.actions[call.Action]
	if !ok {
		return &problem{err: unknownAction(call.Action, c.pointer(i), c.request)}
	}
	prefix := c.pointer(i) + "/args"
	checked, places, err := c.placeholders(call.Args, prefix)
	if err != nil {
		return &problem{err: err}
	}
	args, derr := a.Input.Default(call.Args)
	if derr != nil {
		args = call.Args // validation says what is wrong with them
	}
	if err := validateArgs(a, args, prefix, places); err != nil {
		return &problem{err: err, action: a}
	}
	call.Args = args
	checked.Intent, checked.action = call, a
	c.calls = append(c.calls, checked)
	c.defines(a, call.OutputKey)
	return nil
}

// pointer returns where call i is in the model's answer.
func (c *checker) pointer(i int) string {
	if !c.plan {
		return ""
	}
	return fmt.Sprintf("/%d", i)
}

// plainName is a name that reads as what it is. Others are shown with blanks
// and look-alike characters spelled out.
var plainName = regexp.MustCompile(`^[!-~]+(?: [!-~]+)*$`)

// unknownAction words the refusal as both editions of the protocol do (S0-51,
// S2-41). Names are compared exactly: look-alikes are other names.
func unknownAction(name, pointer string, r Request) *fault.Error {
	shown := clip(name, shownMax)
	if !plainName.MatchString(shown) {
		shown = quoted(name)
	}
	remedy := "use an exact name from the list of actions"
	if names := availableNames(r); len(names) <= problemMax/4 {
		remedy = "use one of: " + names
	}
	return fault.New(fault.ActionUnknown, "Unknown action %s", shown).
		With(fault.Detail{Pointer: pointer + "/action", Message: fmt.Sprintf("Action %s not defined in manifest", shown), Remedy: remedy})
}

func availableNames(r Request) string {
	var names []string
	for _, a := range usable(r) {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// keyPattern is what an output_key looks like, so that a placeholder can name
// it. Names that mean something else in a placeholder are not keys.
var (
	keyPattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	reservedKeys = []string{"state", "result", "user", "session", "args", "goal", "true", "false", "null", "in", "and", "or", "not", "size", "has"}
)

// outputKey notes which call has a key, or says why none can have it.
func (c *checker) outputKey(i int, key string) *fault.Error {
	if key == "" {
		return nil
	}
	detail := fault.Detail{Pointer: c.pointer(i) + "/output_key"}
	switch other, taken := c.keys[key]; {
	case !keyPattern.MatchString(key):
		detail.Message, detail.Remedy = "not a name", "use letters, digits and _, at most 64, not beginning with a digit"
	case slices.Contains(reservedKeys, key):
		detail.Message, detail.Remedy = "the name has a meaning of its own in placeholders", "choose another"
	case taken:
		detail.Message, detail.Remedy = fmt.Sprintf("call %d of the plan has the same key", other+1), "give each call its own"
	default:
		c.keys[key] = i
		return nil
	}
	return fault.New(fault.PlanInvalid, "output_key %s of call %d cannot be used", quoted(key), i+1).With(detail)
}

// placeholders reads the arguments as a template. It returns what they read
// and the pointers of the strings that are filled in later.
func (c *checker) placeholders(args json.RawMessage, prefix string) (out checkedCall, places []string, _ *fault.Error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return out, nil, fault.Wrap(err, fault.ActionInvalid, "the arguments are not JSON")
	}
	template, err := expr.CompileTemplate(doc)
	if err != nil {
		return out, nil, templateError(err, prefix)
	}
	if !template.HasPlaceholders() {
		return out, nil, nil
	}
	walkStrings(doc, prefix, func(pointer, s string) {
		if t, err := expr.CompileTemplate(s); err == nil && t.HasPlaceholders() {
			places = append(places, pointer)
			out.stateful = out.stateful || rootPattern.MatchString(s)
		}
	})
	for _, name := range template.Names() {
		j, here := c.keys[name]
		switch {
		case here && j < len(c.calls):
			out.uses = append(out.uses, j)
			continue
		case here:
			return out, nil, fault.New(fault.PlanInvalid, "the placeholder %s is used before call %d has produced it", quoted("{{"+name+"}}"), j+1).
				With(fault.Detail{Pointer: places[0], Message: "output_key " + quoted(name) + " belongs to a later call", Remedy: "put that call first"})
		case !c.known[name] && !c.open:
			return out, nil, fault.New(fault.PlanInvalid, "the placeholder %s names no output_key of an earlier call", quoted("{{"+name+"}}")).
				With(fault.Detail{Pointer: places[0], Message: "unknown output_key " + quoted(name), Remedy: c.namesRemedy()})
		}
		out.stateful = true
	}
	return out, places, nil
}

func templateError(err error, prefix string) *fault.Error {
	detail := fault.Detail{Pointer: prefix, Message: err.Error(), Remedy: "for a literal {{ write {{{{"}
	if e, ok := errors.AsType[*expr.SyntaxError](err); ok {
		detail.Pointer, detail.Message = prefix+e.Pointer, e.Message
		if e.Remedy != "" {
			detail.Remedy = e.Remedy
		}
	}
	return fault.New(fault.ActionInvalid, "a placeholder in the arguments cannot be read").With(detail)
}

// rootPattern finds what may be a root of placeholders that an earlier call of
// the same plan can change.
var rootPattern = regexp.MustCompile(`\b(state|result|session)\b`)

func (c *checker) namesRemedy() string {
	var keys []string
	for _, call := range c.calls {
		if call.OutputKey != "" {
			keys = append(keys, call.OutputKey)
		}
	}
	if len(keys) == 0 {
		return "give the earlier call that output_key, or write the value itself"
	}
	return "use one of: " + strings.Join(keys, ", ")
}

// knownNames returns the bare names that placeholders can use before the plan
// begins: outputs of named calls, and members of the environment and of the
// last result.
func knownNames(r Request) map[string]bool {
	known := map[string]bool{}
	for _, t := range r.History {
		if t.OutputKey != "" && t.OK {
			known[t.OutputKey] = true
		}
	}
	var o struct {
		Environment map[string]json.RawMessage `json:"environment"`
	}
	// An observation of another shape defines no names.
	if json.Unmarshal(r.Observation, &o) != nil {
		return known
	}
	for name := range o.Environment {
		known[name] = true
	}
	var last map[string]json.RawMessage
	if json.Unmarshal(o.Environment["last_result"], &last) == nil {
		for name := range last {
			known[name] = true
		}
	}
	return known
}

// defines notes the names that an action's output adds to the environment
// (C-08). Where the manifest does not say which these are, later placeholders
// cannot be held against a list.
func (c *checker) defines(a *manifest.Action, outputKey string) {
	switch {
	case len(a.Postconditions) > 0:
		for _, s := range a.Postconditions {
			if m := writtenPattern.FindStringSubmatch(s.Source()); m != nil {
				c.known[m[1]] = true
			} else {
				c.open = true
			}
		}
	case len(a.ResultPath) > 0:
		c.known[a.ResultPath[0]] = true
	case outputKey != "":
	default:
		c.known[a.Name] = true
		c.open = true
	}
	c.known["last_result"] = true
}

var writtenPattern = regexp.MustCompile(`^\s*state\.([A-Za-z_][A-Za-z0-9_]*)`)

// validateArgs checks arguments against the input schema. What is filled in
// later cannot be checked now; the call is checked again when it is made.
func validateArgs(a *manifest.Action, args json.RawMessage, prefix string, places []string) *fault.Error {
	err := a.Input.Validate(args, prefix)
	if err == nil {
		return nil
	}
	details := slices.DeleteFunc(slices.Clone(fault.From(err).Details), func(d fault.Detail) bool {
		return slices.ContainsFunc(places, func(place string) bool { return undecided(d, place) })
	})
	if len(details) == 0 && len(places) > 0 {
		return nil
	}
	if more := len(details) - detailsMax; more > 0 {
		details = append(details[:detailsMax], fault.Detail{Message: fmt.Sprintf("%d more", more)})
	}
	return fault.New(fault.ActionInvalid, "the arguments of %s do not satisfy its input_schema", a.Name).With(details...)
}

// undecided reports whether a violation may vanish once the placeholder at a
// place is filled in: it is about that value, or about what holds the value
// and compares or combines.
func undecided(d fault.Detail, place string) bool {
	return d.Pointer == place || strings.HasPrefix(d.Pointer, place+"/") ||
		strings.HasPrefix(place, d.Pointer+"/") && slices.Contains(combining, d.Code)
}

var combining = []string{"anyOf", "oneOf", "not", "contains", "minContains", "maxContains", "uniqueItems", "const", "enum", "schema"}

// walkStrings calls f for every string value with its JSON Pointer, members in
// order of their names.
func walkStrings(v any, pointer string, f func(pointer, s string)) {
	switch v := v.(type) {
	case string:
		f(pointer, v)
	case []any:
		for i, item := range v {
			walkStrings(item, fmt.Sprintf("%s/%d", pointer, i), f)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			walkStrings(v[key], pointer+"/"+escapePointer(key), f)
		}
	}
}
