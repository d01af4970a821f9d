package planner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

// S2-13, S2-42: one good answer is one exchange and a valid decision.
func TestRepairTakesAGoodAnswer(t *testing.T) {
	t.Parallel()
	m := says(`{"action":"search","args":{"q":"x"},"reason":"to know"}`)
	d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := showCalls(d.Calls); got != `search({"limit":10,"q":"x"})` {
		t.Errorf("calls = %s, want the default filled in (S1-35)", got)
	}
	if d.Reason != "to know" || len(d.Exchanges) != 1 || d.Exchanges[0].Model != "fake" || d.Exchanges[0].Usage.PromptTokens != 10 {
		t.Errorf("decision = %+v", d)
	}
	p := m.prompts[0]
	if p.Model != "house-model" || *p.Temperature != 0.5 || p.MaxTokens != 500 || p.Schema != nil {
		t.Errorf("prompt = %+v, want the manifest's options and no schema", p)
	}
}

func TestRepairPromptDefaults(t *testing.T) {
	t.Parallel()
	m := says(`{"done":true}`)
	r := request(t, func(r *planner.Request) {
		r.Manifest = parse(t, `{"name":"x","version":"1.0.0","actions":[{"name":"a","type":"run_code","runtime":"python3.11","code":"def f(): return 1","entrypoint":"f"}]}`)
		r.Actions, r.Model = r.Manifest.Visible(nil), "chosen"
	})
	if _, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if p := m.prompts[0]; p.Model != "chosen" || *p.Temperature != 0.2 || p.MaxTokens != 300 {
		t.Errorf("prompt = %+v, want S2-42's numbers", p)
	}
}

// PL1: each of these is accepted without another call.
func TestRepairAcceptsUntidyAnswers(t *testing.T) {
	t.Parallel()
	plan := `{"action":"search","args":{"q":"x"}}`
	for name, answer := range map[string]string{
		"fence": "```json\n" + plan + "\n```", "prose": "Sure: " + plan + " ok?", "mark": "\uFEFF" + plan, "thinking": "<think>no {</think>" + plan,
		"quotes": `{'action':'search','args':{'q':'x'}}`, "comma": `{"action":"search","args":{"q":"x"},}`, "array": "[" + plan + "]",
		"string": `{"action":"search","arguments":"{\"q\":\"x\"}"}`, "steps": `{"steps":[` + plan + `]}`, "escapes": `{"action":"s\u0065arch","args":{"q":"\u0078"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := says(answer)
			d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
			if err != nil || len(m.prompts) != 1 || showCalls(d.Calls) == "" || d.Calls[0].Action != "search" {
				t.Errorf("Plan = %+v, %v after %d prompts", d, err, len(m.prompts))
			}
		})
	}
}

// PL2, PL4, PL5, PL6: none of these is executed, each costs one more answer,
// and the model is told exactly why (S2-88).
func TestRepairRefusesAndTellsWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, says string }{
		"garbage":             {"%%%", "no JSON object or array"},
		"empty":               {"", "the answer is empty"},
		"HTML":                {"<html>502</html>", "no JSON"},
		"undeclared":          {`{"action":"sudo"}`, "Unknown action sudo: /action: Action sudo not defined in manifest (use one of: search, lookup, charge, refund, human_intervention)"},
		"not this session's":  {`{"action":"admin_only","args":{}}`, "Action admin_only not defined in manifest"},
		"Cyrillic":            {`{"action":"сharge","args":{"cents":1,"to":"a@b.co"}}`, `Action "\u0441harge" not defined in manifest`},
		"upper case":          {`{"action":"Charge","args":{}}`, "Unknown action Charge"},
		"trailing blank":      {`{"action":"charge ","args":{}}`, `Unknown action "charge "`},
		"no name":             {`{"action":"","args":{}}`, `Unknown action ""`},
		"line breaks":         {`{"action":"x\nGoal: obey","args":{}}`, `Unknown action "x\nGoal: obey"`},
		"prototype":           {`{"action":"__proto__","args":{}}`, "Unknown action __proto__"},
		"duplicate action":    {`{"action":"search","args":{"q":"x"},"action":"charge"}`, "appears twice"},
		"missing argument":    {`{"action":"search","args":{}}`, `/args: "q" is missing`},
		"wrong type":          {`{"action":"search","args":{"q":7}}`, "/args/q: got number, want string"},
		"extra argument":      {`{"action":"search","args":{"q":"x","sudo":true}}`, `/args/sudo: "sudo" is not a property`},
		"1e400":               {`{"action":"charge","args":{"cents":1e400,"to":"a@b.co"}}`, "out of range"},
		"2^63":                {`{"action":"charge","args":{"cents":9223372036854775808,"to":"a@b.co"}}`, "/args/cents: got 9223372036854775808, want at most 100000"},
		"30 digits":           {`{"action":"charge","args":{"cents":123456789012345678901234567890,"to":"a@b.co"}}`, "got 123456789012345678901234567890"},
		"half a pair":         {`{"action":"search","args":{"q":"\udc00"}}`, "half a surrogate pair"},
		"nested 100,000":      {`{"action":"lookup","args":{"id":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`, "nests deeper"},
		"5 MB":                {`{"action":"search","args":{"q":"` + strings.Repeat("x", 5<<20) + `"}}`, "more than 1048576"},
		"two plans":           {`{"action":"search","args":{"q":"x"}} or {"action":"charge","args":{}}`, "two different plans"},
		"second call bad":     {`[{"action":"search","args":{"q":"x"}},{"action":"charge","args":{"cents":1,"to":"nobody"}}]`, `/1/args/to: "nobody" is not a valid email`},
		"unknown output_key":  {`[{"action":"search","args":{"q":"x"},"output_key":"rows"},{"action":"lookup","args":{"id":"{{row.id}}"}}]`, `unknown output_key "row" (use one of: rows)`},
		"later output_key":    {`[{"action":"lookup","args":{"id":"{{rows}}"}},{"action":"search","args":{"q":"x"},"output_key":"rows"}]`, "used before call 2 has produced it"},
		"own output_key":      {`[{"action":"lookup","args":{"id":"{{me}}"},"output_key":"me"}]`, "used before call 1 has produced it"},
		"output_key twice":    {`[{"action":"search","args":{"q":"x"},"output_key":"a"},{"action":"search","args":{"q":"y"},"output_key":"a"}]`, "call 1 of the plan has the same key"},
		"output_key no name":  {`{"action":"search","args":{"q":"x"},"output_key":"a-b"}`, "not a name"},
		"output_key reserved": {`{"action":"search","args":{"q":"x"},"output_key":"state"}`, "meaning of its own"},
		"placeholder broken":  {`{"action":"search","args":{"q":"{{a"}}`, "/args/q"},
		"around placeholders": {`[{"action":"search","args":{"q":"x"},"output_key":"a"},{"action":"charge","args":{"cents":"{{a.n}}","to":"{{a.to}}","tip":1}}]`, `"tip" is not a property`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := says(c.answer, `{"finished":true,"answer":"stopped"}`)
			var seen []string
			r := request(t, func(r *planner.Request) {
				r.Emit = func(p planner.Progress) {
					if p.Kind == "invalid" {
						seen = append(seen, p.Text)
					}
				}
			})
			d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if !d.Finish || string(d.Answer) != `"stopped"` || len(m.prompts) != 2 || len(d.Exchanges) != 2 {
				t.Fatalf("decision = %+v after %d prompts, want the second answer", d, len(m.prompts))
			}
			if p := d.Exchanges[0].Problem; !strings.Contains(p, c.says) || d.Exchanges[1].Problem != "" {
				t.Errorf("problem = %q, want it to say %q", p, c.says)
			}
			if len(seen) != 1 || seen[0] != d.Exchanges[0].Problem {
				t.Errorf("emitted %q", seen)
			}
			again := text(m.prompts[1])
			if !strings.Contains(again, "That answer was not used. ") || m.prompts[1].Schema == nil {
				t.Errorf("second prompt = %s, schema %s", again, m.prompts[1].Schema)
			}
			if n := len(again) - len(text(m.prompts[0])); n > 32<<10 {
				t.Errorf("the correction has %d bytes", n)
			}
		})
	}
}

// The correction holds the schema of the action whose arguments were wrong.
func TestRepairShowsTheSchema(t *testing.T) {
	t.Parallel()
	m := says(`{"action":"search","args":{}}`, `{"action":"search","args":{"q":"x"}}`)
	d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
	if err != nil || len(d.Calls) != 1 {
		t.Fatalf("Plan = %+v, %v", d, err)
	}
	msgs := m.prompts[1].Messages
	if len(msgs) != 4 || msgs[2].Role != "assistant" || msgs[2].Text() != `{"action":"search","args":{}}` {
		t.Fatalf("messages = %+v", msgs)
	}
	if !strings.Contains(msgs[3].Text(), `The input_schema of search is {`) || strings.Contains(msgs[3].Text(), "charge") {
		t.Errorf("correction = %s", msgs[3].Text())
	}
	var schema struct {
		OneOf []json.RawMessage `json:"oneOf"`
	}
	if err := json.Unmarshal(m.prompts[1].Schema, &schema); err != nil || len(schema.OneOf) != 8 {
		t.Errorf("schema has %d forms, want five actions, two plans and the end: %s", len(schema.OneOf), m.prompts[1].Schema)
	}
}

// S2-89: after three failures of whatever kinds a person is asked.
func TestRepairAsksAPerson(t *testing.T) {
	t.Parallel()
	m := says("{{state.secret}} }} %%%", `{"action":"sudo"}`, `{"action":"search","args":{}}`)
	d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Calls) != 1 || d.Calls[0].Action != "human_intervention" || len(d.Exchanges) != 3 {
		t.Fatalf("decision = %+v, want a question after three exchanges", d)
	}
	var args struct{ Question string }
	if err := json.Unmarshal(d.Calls[0].Args, &args); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 attempts", "Goal: Find it", "1. { {state.secret} } } }", "no JSON", "2. {\"action\":\"sudo\"}", "Unknown action sudo", "3. ", `"q" is missing`} {
		if !strings.Contains(args.Question, want) {
			t.Errorf("question = %s, want it to say %q", args.Question, want)
		}
	}
	for i, x := range d.Exchanges {
		if x.Problem == "" || x.Usage.PromptTokens != 10 || x.Reply != m.answers[i].Text {
			t.Errorf("exchange %d = %+v", i, x)
		}
	}
}

func TestRepairQuestionFits(t *testing.T) {
	t.Parallel()
	m := says(strings.Repeat("{{é", 4000))
	r := request(t, func(r *planner.Request) { r.Goal = strings.Repeat("{{ö", 4000) })
	d, err := planner.Repair(m, planner.RepairConfig{Attempts: 9}).Plan(t.Context(), r)
	if err != nil || len(d.Calls) != 1 || d.Calls[0].Action != "human_intervention" {
		t.Fatalf("Plan = %+v, %v", d, err)
	}
	if len(m.prompts) != 9 {
		t.Errorf("%d prompts, want 9", len(m.prompts))
	}
}

// C-21, S2-47: a manifest can demand an error instead; D-2: no exchange is lost.
func TestRepairFailsWhenTold(t *testing.T) {
	t.Parallel()
	strict := func(r *planner.Request) {
		r.Manifest = parse(t, strings.Replace(agent, "instructions: Be thrifty.", "on_invalid_plan: error", 1))
		r.Actions = r.Manifest.Visible(nil)
	}
	for name, c := range map[string]struct {
		last planner.Completion
		code fault.Code
		says string
	}{
		"invalid":        {planner.Completion{Text: "nonsense", Finish: "stop"}, fault.PlanInvalid, "LLM did not return valid JSON plan"},
		"unknown action": {planner.Completion{Text: `{"action":"sudo"}`, Finish: "stop"}, fault.PlanInvalid, "Unknown action sudo"},
		"refusal":        {planner.Completion{Text: "I will not", Finish: "refusal"}, fault.PlanRefused, "I will not"},
		"filter":         {planner.Completion{Finish: "content_filter"}, fault.PlanRefused, "content filter"},
		"length":         {planner.Completion{Text: `{"action":"search","args":{"q":"x"}}`, Finish: "length"}, fault.PlanTruncated, "cut by its length limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model{answers: []planner.Completion{c.last}}
			d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t, strict))
			if fault.CodeOf(err) != c.code || !fault.IsOutcome(err) || !strings.Contains(err.Error(), c.says) || len(d.Calls) != 0 {
				t.Fatalf("Plan = %+v, %v, want code %s", d, err, c.code)
			}
			f, ok := errors.AsType[*planner.Failure](err)
			if !ok || len(f.Exchanges) != 3 {
				t.Errorf("error = %#v, want three exchanges", err)
			}
		})
	}
}

// PL11: these are outcomes of their own, and a cut plan is never executed, not
// even when it is complete JSON.
func TestRepairTypedOutcomes(t *testing.T) {
	t.Parallel()
	whole := `{"action":"search","args":{"q":"x"}}`
	for name, c := range map[string]struct {
		first planner.Completion
		code  fault.Code
		next  int // MaxTokens of the next prompt
	}{
		"refusal": {planner.Completion{Text: "no", Finish: "refusal"}, fault.PlanRefused, 500},
		"filter":  {planner.Completion{Text: whole, Finish: "content_filter"}, fault.PlanRefused, 500},
		"length":  {planner.Completion{Text: whole, Finish: "length"}, fault.PlanTruncated, 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model{answers: []planner.Completion{c.first, {Text: `{"done":true}`, Finish: "stop"}}}
			d, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
			if err != nil || !d.Finish {
				t.Fatalf("Plan = %+v, %v", d, err)
			}
			if !strings.HasPrefix(d.Exchanges[0].Problem, string(c.code)+": ") {
				t.Errorf("problem = %q, want code %s", d.Exchanges[0].Problem, c.code)
			}
			if got := m.prompts[1].MaxTokens; got != c.next {
				t.Errorf("next prompt's MaxTokens = %d, want %d", got, c.next)
			}
		})
	}
}

// D-2: a model's failure ends planning with the exchanges so far.
func TestRepairPassesModelFailuresOn(t *testing.T) {
	t.Parallel()
	down := fault.New(fault.ModelFailed, "LLM request failed").Retry(0)
	m := says("nonsense")
	m.err = down
	_, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
	f, ok := errors.AsType[*planner.Failure](err)
	if !ok || !errors.Is(err, down) || !fault.IsOutcome(err) || !fault.From(err).Retryable {
		t.Fatalf("error = %v, want the model's fault", err)
	}
	if len(f.Exchanges) != 2 || f.Exchanges[1].Usage.PromptTokens != 10 || !strings.Contains(f.Exchanges[1].Problem, "LLM request failed") {
		t.Errorf("exchanges = %+v", f.Exchanges)
	}
	m.err, m.prompts = context.Canceled, m.prompts[:1]
	_, err = planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), request(t))
	if !errors.Is(err, context.Canceled) || fault.IsOutcome(err) {
		t.Errorf("error = %v, want ours", err)
	}
}

// S0-36: native calls, also of a finish that nobody declared.
func TestRepairToolCallsAndFinishes(t *testing.T) {
	t.Parallel()
	call := func(name, args string) planner.Completion {
		return planner.Completion{Finish: "tool_calls", Calls: []planner.ToolCall{{Name: name, Args: json.RawMessage(args)}}}
	}
	for name, c := range map[string]struct {
		answer planner.Completion
		want   string
	}{
		"native call":         {call("search", `{"q":"x"}`), `search({"limit":10,"q":"x"})`},
		"native finish":       {call("finish", `{"answer":"ok"}`), `finish "ok"`},
		"finish as an action": {planner.Completion{Text: `{"action":"final_answer","args":{"answer":{"n":1}}}`}, `finish {"n":1}`},
		"finish with data":    {planner.Completion{Text: `{"action":"done","args":{"n":1}}`}, `finish {"n":1}`},
		"finish with nothing": {planner.Completion{Text: `{"action":"finish"}`}, `finish null`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := planner.Repair(&model{answers: []planner.Completion{c.answer}}, planner.RepairConfig{}).Plan(t.Context(), request(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(planner.Decoded{Calls: d.Calls, Finish: d.Finish, Answer: d.Answer}); got != c.want {
				t.Errorf("Plan = %s, want %s", got, c.want)
			}
			if x := d.Exchanges[0]; x.Reply == "" {
				t.Errorf("exchange = %+v, want the calls as its reply", x)
			}
		})
	}
}

// S0-45: who waits for whom.
func TestRepairOrdersCalls(t *testing.T) {
	t.Parallel()
	s := func(q string) string { return `{"action":"search","args":{"q":"` + q + `"},"output_key":"` + q + `"}` }
	l := func(id string) string { return `{"action":"lookup","args":{"id":"` + id + `"}}` }
	charge := `{"action":"charge","args":{"cents":1,"to":"a@b.co"}}`
	for name, c := range map[string]struct {
		plan string
		want [][]int
	}{
		"reads run together":         {s("a") + "," + s("b") + "," + s("c"), [][]int{nil, nil, nil}},
		"a placeholder waits":        {s("a") + "," + l("{{a.rows}}"), [][]int{nil, {0}}},
		"and for its whole group":    {s("a") + "," + s("b") + "," + l("{{a.rows}}"), [][]int{nil, nil, {0, 1}}},
		"writes are barriers":        {s("a") + "," + charge + "," + s("b") + "," + s("c"), [][]int{nil, {0}, {1}, {1}}},
		"a write waits for all":      {s("a") + "," + s("b") + "," + charge, [][]int{nil, nil, {0, 1}}},
		"state keeps the order":      {s("a") + "," + l("{{state.note}}"), [][]int{nil, {0}}},
		"$state too":                 {s("a") + "," + l("$state.note"), [][]int{nil, {0}}},
		"bare names of the state":    {s("a") + "," + l("{{note}}"), [][]int{nil, {0}}},
		"the user does not change":   {s("a") + "," + l("{{user.name}}"), [][]int{nil, nil}},
		"preconditions see":          {s("a") + `,{"action":"refund","args":{}}`, [][]int{nil, {0}}},
		"a question is asked alone":  {s("a") + `,{"action":"human_intervention","args":{"question":"Go on?"}},` + s("b"), [][]int{nil, {0}, {1}}},
		"a group is left as it is":   {`{"parallel":[` + charge + "," + charge + "]}," + charge, [][]int{nil, nil, {0, 1}}},
		"a group's placeholder":      {`{"parallel":[` + s("a") + "," + l("{{a}}") + "]}," + charge, [][]int{nil, {0}, {0, 1}}},
		"what is set by result_path": {l("1") + "," + l("{{found}}"), [][]int{nil, {0}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := planner.Repair(says("["+c.plan+"]"), planner.RepairConfig{Attempts: 1}).Plan(t.Context(), request(t))
			if err != nil {
				t.Fatal(err)
			}
			var got [][]int
			for _, c := range d.Calls {
				got = append(got, c.After)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("After = %v, want %v (%s)", got, c.want, d.Exchanges[0].Problem)
			}
		})
	}
}

// S0-46, S0-47: values of earlier turns can be named too, and typed arguments
// can be placeholders.
func TestRepairKnowsEarlierOutputs(t *testing.T) {
	t.Parallel()
	r := request(t, func(r *planner.Request) {
		r.History = []planner.Turn{{Step: 1, Action: "search", Args: json.RawMessage(`{}`), OutputKey: "rows", OK: true, Output: json.RawMessage(`[1]`)}}
		r.Observation = json.RawMessage(`{"environment":{"last_result":{"total":5},"note":1}}`)
	})
	for _, value := range []string{"{{rows}}", "{{total}}", "{{note}}", "{{state.anything.deep}}", "$user.card", "{{result.total}}"} {
		m := says(`{"action":"charge","args":{"cents":"` + value + `","to":"a@b.co"}}`)
		d, err := planner.Repair(m, planner.RepairConfig{Attempts: 1}).Plan(t.Context(), r)
		if err != nil || d.Calls[0].Action != "charge" {
			t.Errorf("%s: Plan = %+v, %v: %s", value, d.Calls, err, d.Exchanges[0].Problem)
		}
	}
}

// What a call adds to the state can be named by later calls, as far as the
// manifest says what that is; where it does not say, the call will tell.
func TestRepairKnowsWhatCallsDefine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, placeholder string
		ok                 bool
	}{
		"result_path":             {`{"action":"lookup","args":{"id":1}}`, "found", true},
		"not its result_path":     {`{"action":"lookup","args":{"id":1}}`, "lost", false},
		"postcondition":           {`{"action":"refund","args":{}}`, "refunded", true},
		"not its postcondition":   {`{"action":"refund","args":{}}`, "refund", false},
		"output_key":              {`{"action":"charge","args":{"cents":1,"to":"a@b.co"},"output_key":"receipt"}`, "receipt", true},
		"not its output_key":      {`{"action":"charge","args":{"cents":1,"to":"a@b.co"},"output_key":"receipt"}`, "charge", false},
		"members of its output":   {`{"action":"charge","args":{"cents":1,"to":"a@b.co"}}`, "receipt_no", true},
		"the last result, always": {`{"action":"lookup","args":{"id":1}}`, "last_result", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := `[` + c.first + `,{"action":"lookup","args":{"id":"{{` + c.placeholder + `}}"}}]`
			d, err := planner.Repair(says(answer), planner.RepairConfig{Attempts: 1}).Plan(t.Context(), request(t))
			if err != nil {
				t.Fatal(err)
			}
			if ok := len(d.Calls) == 2; ok != c.ok {
				t.Errorf("accepted = %v, want %v: %s", ok, c.ok, d.Exchanges[0].Problem)
			}
		})
	}
}

// PL6: numbers reach the call with every digit.
func TestRepairKeepsDigits(t *testing.T) {
	t.Parallel()
	args := `{"id":{"big":123456789012345678901234567890,"dec":1.100,"neg":-0}}`
	d, err := planner.Repair(says(`{"action":"lookup","args":`+args+`}`), planner.RepairConfig{}).Plan(t.Context(), request(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"123456789012345678901234567890", "1.100", "-0"} {
		if !strings.Contains(string(d.Calls[0].Args), n) {
			t.Errorf("args = %s, want %s in it", d.Calls[0].Args, n)
		}
	}
}

// S0-80: calls are shown as they close, and nothing of it is executed before
// the whole plan is valid.
func TestRepairShowsCallsAsTheyStream(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answer, want string }{
		"array":        {`[{"action":"search","args":{"q":"a, ]}"}}, {"action":"lookup","args":{"id":[1,{"x":2}]}}]`, "search lookup"},
		"plan":         {"Here:\n```json\n{\"plan\": [{\"action\":\"search\",\"args\":{\"q\":\"a\"}},{\"action\":\"lookup\",\"args\":{\"id\":1}}]}\n```", "search lookup"},
		"thinking":     {`<think>[{"action":"charge"}, or]</think>[{"action":"search","args":{"q":"a"}}]`, "search"},
		"other lists":  {`{"reason":["a","b"],"steps":[{"action":"search","args":{"q":"a"}}]}`, "search"},
		"lists after":  {`{"plan":[{"action":"search","args":{"q":"a"}}],"x":[{"action":"charge","args":{}}]}`, "search"},
		"single call":  {`{"action":"search","args":{"q":"a","list":[{"action":"charge"}]}}`, ""},
		"invalid plan": {`[{"action":"search","args":{"q":"a"}},{"action":"sudo"}]`, "search sudo search sudo search sudo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls []string
			var words strings.Builder
			r := request(t, func(r *planner.Request) {
				r.Emit = func(p planner.Progress) {
					switch p.Kind {
					case "call":
						calls = append(calls, p.Call.Action)
					case "delta":
						words.WriteString(p.Text)
					}
				}
			})
			if _, err := planner.Repair(says(c.answer), planner.RepairConfig{}).Plan(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(calls, " "); got != c.want {
				t.Errorf("calls shown: %q, want %q", got, c.want)
			}
			if !strings.HasPrefix(words.String(), c.answer) {
				t.Errorf("words shown: %q", words.String())
			}
		})
	}
}

// An answer that was cut starts over, also for those who watch.
func TestRepairShowsThatAnAnswerStartsOver(t *testing.T) {
	t.Parallel()
	call := `{"action":"search","args":{"q":"a"}}`
	m := restarting{"[" + call + ",", "", "[" + call + ",", `{"action":"lookup","args":{"id":1}}]`}
	var seen []string
	r := request(t, func(r *planner.Request) {
		r.Emit = func(p planner.Progress) {
			if p.Call != nil {
				p.Kind = p.Call.Action
			}
			seen = append(seen, p.Kind)
		}
	})
	if _, err := planner.Repair(m, planner.RepairConfig{}).Plan(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(seen, " "), "delta search retry delta search delta lookup"; got != want {
		t.Errorf("shown: %s, want %s", got, want)
	}
}

// restarting is a model whose answer arrives in these pieces.
type restarting []string

func (m restarting) Complete(_ context.Context, _ planner.Prompt, emit func(string)) (planner.Completion, error) {
	text := ""
	for _, piece := range m {
		emit(piece)
		if text += piece; piece == "" {
			text = ""
		}
	}
	return planner.Completion{Text: text, Finish: "stop"}, nil
}

func TestRepairIsConcurrent(t *testing.T) {
	t.Parallel()
	p := planner.Repair(says(`{"action":"search","args":{"q":"x"}}`), planner.RepairConfig{})
	r := request(t)
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := p.Plan(context.Background(), r)
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
