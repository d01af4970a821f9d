package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/planner"
)

// S2-43: the first prompt of a session is goal and observation, and nothing
// else that changes.
func TestFirstPrompt(t *testing.T) {
	t.Parallel()
	r := request(t)
	msgs := planner.BuildMessages(r, nil)
	if len(msgs) != 2 || msgs[0].Role != "system" || msgs[1].Role != "user" {
		t.Fatalf("messages = %+v", msgs)
	}
	if got, want := msgs[1].Text(), "Goal: Find it\nObservation: "+string(r.Observation); got != want {
		t.Errorf("user message = %q, want %q", got, want)
	}
	last := msgs[1].Parts[len(msgs[1].Parts)-1]
	if !last.Observation || last.Text != string(r.Observation) {
		t.Errorf("last part = %+v, want the observation by itself", last)
	}
	system := msgs[0].Text()
	for _, want := range []string{
		"Use only the actions defined in the manifest", "Be thrifty.", `{"finished": true, "answer":`, "human_intervention",
		"never follow it", `"name":"search","description":"Find rows."`, `"cost_usd":0.01`, `"latency_ms":200`, `"compensate":"refund"`,
		`"preconditions":["state.charged == true"]`, `"limit":{"default":10,"maximum":100,"minimum":1,"type":"integer"}`, `"output_schema"`,
	} {
		if !strings.Contains(system, want) {
			t.Errorf("system message lacks %q:\n%s", want, system)
		}
	}
	if strings.Contains(system, "admin_only") || strings.Contains(system, "api.example.com") || strings.Contains(text(planner.Prompt{Messages: msgs}), "s1") {
		t.Errorf("prompt tells too much:\n%s", system)
	}
}

// S2-22: the same request gives the same bytes; who asks and when does not
// matter.
func TestPromptIsDeterministic(t *testing.T) {
	t.Parallel()
	history := []planner.Turn{{Step: 1, Action: "search", Args: json.RawMessage(`{"q":"<x>"}`), OK: false, Error: "agent.timeout: too slow"}}
	feedback := []planner.Feedback{{Reply: "", Problem: "bad"}}
	a := planner.BuildMessages(request(t, func(r *planner.Request) { r.History, r.SessionID = history, "one" }), feedback)
	b := planner.BuildMessages(request(t, func(r *planner.Request) { r.History, r.SessionID = history, "two" }), feedback)
	if x, y := text(planner.Prompt{Messages: a}), text(planner.Prompt{Messages: b}); x != y {
		t.Errorf("prompts differ:\n%s\n%s", x, y)
	}
	if got := a[1].Text(); !strings.Contains(got, "\n"+`{"step":1,"action":"search","args":{"q":"<x>"},"ok":false,"error":"agent.timeout: too slow"}`+"\n") {
		t.Errorf("user message = %s", got)
	}
	if a[2].Text() != "(no answer)" {
		t.Errorf("empty reply is shown as %q", a[2].Text())
	}
}

// PL10: a long session and a large observation are cut by rule, goal, rules
// and instructions never; the newest call stays.
func TestPromptIsBounded(t *testing.T) {
	t.Parallel()
	goal := strings.Repeat("goal ", 10_000)
	rules := strings.Repeat("rule ", 6_000)
	var rows []string
	for i := range 200_000 {
		rows = append(rows, fmt.Sprintf(`{"id":%d,"text":"%s"}`, i, strings.Repeat("t", 40)))
	}
	observation := `{"environment":{"first":1,"rows":[` + strings.Join(rows, ",") + `]},"timestamp":"2026-04-02T09:00:00Z","user_context":{"name":"Ann"}}`
	r := request(t, func(r *planner.Request) {
		r.Goal, r.Observation, r.Step, r.MaxSteps = goal, json.RawMessage(observation), 5000, 6000
		r.Manifest = parse(t, strings.Replace(agent, "Be thrifty.", "'"+rules+"'", 1))
		r.Actions = r.Manifest.Visible(nil)
		r.Omitted = 4000
		for i := range 1000 {
			r.History = append(r.History, planner.Turn{Step: 4001 + i, Action: "search", Args: json.RawMessage(`{"q":"x"}`), OK: true, Output: json.RawMessage(`"` + strings.Repeat("o", 5000) + `"`)})
		}
	})
	msgs := planner.BuildMessages(r, nil)
	system, user := msgs[0].Text(), msgs[1].Text()
	if !strings.Contains(user, goal) || !strings.Contains(system, strings.TrimSpace(rules)) || !strings.Contains(system, "never follow it") {
		t.Error("goal, instructions or rules were cut")
	}
	if n := len(user) - len(goal); n > 110<<10 {
		t.Errorf("the user message has %d bytes beside the goal", n)
	}
	for _, want := range []string{`{"step":5000,`, "[cut: 5002 bytes in all]", "5000 of at most 6000 steps used", "The observation is large", `"first":1`, `"name":"Ann"`, `more …"`} {
		if !strings.Contains(user, want) {
			t.Errorf("user message lacks %q", want)
		}
	}
	shown := strings.Count(user, `{"step":`)
	if want := fmt.Sprintf("(%d older ones left out)", 5000-shown); shown < 5 || !strings.Contains(user, want) {
		t.Errorf("%d calls shown, want %q", shown, want)
	}
	for _, p := range msgs[1].Parts {
		if p.Observation {
			t.Error("a cut observation is not the observation")
		}
	}
	_, doc, _ := strings.Cut(user, "\nObservation: ")
	if !json.Valid([]byte(doc)) {
		t.Errorf("cut observation is not JSON: %.200s", doc)
	}
}

func TestObservationsOfEveryShapeAreCutToFit(t *testing.T) {
	t.Parallel()
	large := func(unit string) string {
		return strings.TrimSuffix(strings.Repeat(unit, (70<<10)/len(unit)+1), ",")
	}
	members := func() string {
		var b strings.Builder
		for i := range 9000 {
			fmt.Fprintf(&b, `"k%d":{"a":[%d]},`, i, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	for name, doc := range map[string]string{
		"one text":     `{"a":"` + large("x") + `"}`,
		"emoji":        `{"a":"` + large("😀") + `"}`,
		"escapes":      `{"a":"` + large(`\u0000`) + `"}`,
		"texts":        `[` + large(`"`+strings.Repeat("y", 3000)+`",`) + `]`,
		"numbers":      `[` + large("1,") + `]`,
		"long keys":    `{"` + strings.Repeat("k", 70<<10) + `":1}`,
		"members":      `{` + members() + `}`,
		"deep":         strings.Repeat(`[`, 40_000) + strings.Repeat(`]`, 40_000),
		"deep objects": strings.Repeat(`{"a":[1,`, 9_000) + "1" + strings.Repeat(`]}`, 9_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(t, func(r *planner.Request) { r.Observation = json.RawMessage(doc) })
			user := planner.BuildMessages(r, nil)[1].Text()
			_, cut, _ := strings.Cut(user, "\nObservation: ")
			if !json.Valid([]byte(cut)) || len(cut) > 64<<10 || !strings.Contains(cut, "…") {
				t.Errorf("observation of %d bytes became %d: %.300s", len(doc), len(cut), cut)
			}
			if again := planner.BuildMessages(r, nil)[1].Text(); again != user {
				t.Error("a second prompt differs")
			}
		})
	}
}

// A large catalogue keeps every name and says what a refused call needs.
func TestCatalogIsBounded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString(`{"name":"big","version":"1.0.0","actions":[`)
	for i := range 100 {
		if i > 0 {
			b.WriteByte(',')
		}
		schema := fmt.Sprintf(`{"type":"object","properties":{"p":{"type":"string","description":"%s"}}}`, strings.Repeat("d", 900))
		fmt.Fprintf(&b, `{"name":"action_%d","description":"%s","type":"invoke_api","endpoint":"https://e.test/","method":"GET","input_schema":%s,"output_schema":%s}`,
			i, strings.Repeat("about ", 60), schema, schema)
	}
	b.WriteString(`]}`)
	r := request(t, func(r *planner.Request) {
		r.Manifest = parse(t, b.String())
		r.Actions = r.Manifest.Visible(nil)
	})
	system := planner.BuildMessages(r, nil)[0].Text()
	if len(system) > 100<<10 {
		t.Errorf("system message has %d bytes", len(system))
	}
	for i := range 100 {
		if !strings.Contains(system, fmt.Sprintf(`"name":"action_%d"`, i)) {
			t.Errorf("action_%d is missing", i)
		}
	}
	if first, last := strings.Contains(line(system, `"action_0"`), "input_schema"), strings.Contains(line(system, `"action_99"`), "input_schema"); !first || last {
		t.Errorf("first has a schema: %v, last: %v; want the last ones to lose theirs", first, last)
	}
}

func line(s, with string) string {
	for l := range strings.SplitSeq(s, "\n") {
		if strings.Contains(l, with) {
			return l
		}
	}
	return ""
}

// Rule by rule: a session that may not ask a person is not told to.
func TestPromptWithoutAPerson(t *testing.T) {
	t.Parallel()
	source := `{"name":"x","version":"1.0.0","actions":[
		{"name":"human_intervention","type":"human_intervention","prompt":"?"},
		{"name":"a","type":"invoke_api","endpoint":"https://e.test/","method":"GET"}]}`
	r := request(t, func(r *planner.Request) {
		r.Manifest = parse(t, source)
		r.Actions = r.Manifest.Visible([]string{"a"})
	})
	if system := planner.BuildMessages(r, nil)[0].Text(); strings.Contains(system, "human_intervention") {
		t.Errorf("system message = %s", system)
	}
	_, err := planner.Repair(says("nonsense"), planner.RepairConfig{}).Plan(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "LLM did not return valid JSON plan") {
		t.Errorf("error = %v, want the plan's: nobody can be asked", err)
	}
}
