package executor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

func question(t testing.TB, o manifest.HumanOptions) *manifest.Action {
	t.Helper()
	return &manifest.Action{Name: "ask", Type: manifest.HumanIntervention, Input: schema(t, `{"type":"object"}`), Effect: manifest.Read, Human: &o}
}

// S2-09: the question waits for a person and says what is asked.
func TestHumanAsks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name         string
		options      manifest.HumanOptions
		output, args string
		prompt       string
	}{
		{"argument", manifest.HumanOptions{}, "", `{"question":"Which time zone?"}`, "Which time zone?"},
		{"template", manifest.HumanOptions{Prompt: "{{user.name}}, book {{args.n}} seats of {{state.count}}?"}, "", `{"n":3}`, "Ada, book 3 seats of 9007199254740993?"},
		{"hostile argument", manifest.HumanOptions{Prompt: "Say {{args.x}}"}, "", `{"x":"{{state.count}}"}`, "Say {{state.count}}"},
		{"constant", manifest.HumanOptions{Prompt: "Sure?", Choices: []string{"yes", "no"}}, "", `{}`, "Sure?"},
		{"schema", manifest.HumanOptions{Prompt: "Zone?"}, `{"type":"string"}`, `{}`, "Zone?"},
	} {
		a := question(t, tc.options)
		if tc.output != "" {
			a.Output = schema(t, tc.output)
		}
		res := mustRun(t, executor.NewHuman(), call(a, tc.args))
		w := res.Wait
		if w == nil || w.Kind != executor.WaitInput || w.Prompt != tc.prompt || !w.Until.IsZero() || string(w.Context) != tc.args || len(w.Choices) != len(tc.options.Choices) {
			t.Errorf("%s: Wait = %+v", tc.name, w)
			continue
		}
		if tc.output != "" && string(w.Schema) != tc.output || !json.Valid(w.Schema) {
			t.Errorf("%s: Schema = %s", tc.name, w.Schema)
		}
		if tc.options.Choices != nil && !strings.Contains(string(w.Schema), `"enum":["yes","no"]`) {
			t.Errorf("%s: Schema = %s", tc.name, w.Schema)
		}
	}
	for _, tc := range []struct {
		prompt, args string
	}{{"", `{}`}, {"", `{"question":""}`}, {"", `{"question":1}`}, {"{{args.absent}}", `{}`}} {
		_, err := run(t, executor.NewHuman(), call(question(t, manifest.HumanOptions{Prompt: tc.prompt}), tc.args))
		wantCode(t, err, fault.ActionInvalid)
	}
}

func TestHumanAnswers(t *testing.T) {
	t.Parallel()
	choices := []string{"yes", `"no"`}
	for _, tc := range []struct {
		name, output string
		choices      []string
		value        string
		want         string // empty for OutputInvalid
	}{
		{"object", "", nil, `{"answer":"EST","note":1}`, `{"answer":"EST","note":1}`},
		{"plain text", "", nil, `"EST"`, `{"answer":"EST"}`},
		{"any value", "", nil, `[1]`, `{"answer":[1]}`},
		{"choice", "", choices, `"yes"`, `{"answer":"yes"}`},
		{"quoted choice", "", choices, `{"answer":"\"no\""}`, `{"answer":"\"no\""}`},
		{"other choice", "", choices, `"maybe"`, ""},
		{"choice of another type", "", choices, `true`, ""},
		{"schema", `{"type":"string","minLength":2}`, nil, `"EST"`, `"EST"`},
		{"schema violated", `{"type":"string","minLength":2}`, nil, `"E"`, ""},
		{"not JSON", "", nil, `{`, ""},
		{"nothing", "", nil, ``, ""},
	} {
		a := question(t, manifest.HumanOptions{Prompt: "?", Choices: tc.choices, Expires: time.Second})
		if tc.output != "" {
			a.Output = schema(t, tc.output)
		}
		c := call(a, `{}`)
		c.Answer = &executor.Answer{Value: json.RawMessage(tc.value), By: "ada", At: c.Now}
		res, err := run(t, executor.NewHuman(), c)
		if tc.want == "" {
			wantCode(t, err, fault.OutputInvalid)
		} else if err != nil || string(res.Output) != tc.want || res.Wait != nil {
			t.Errorf("%s: %s, %v, want %s", tc.name, res.Output, err, tc.want)
		}
	}
}

// The same call asks until the same moment, however often it is executed, and
// then fails.
func TestHumanExpires(t *testing.T) {
	t.Parallel()
	a := question(t, manifest.HumanOptions{Prompt: "?", Expires: time.Hour})
	c := call(a, `{}`)
	c.Now = time.Now()
	for range 2 {
		if w := mustRun(t, executor.NewHuman(), c).Wait; !w.Until.Equal(c.Now.Add(time.Hour)) {
			t.Errorf("Until = %s, want an hour after %s", w.Until, c.Now)
		}
	}
	c.Now = time.Now().Add(-time.Hour)
	_, err := run(t, executor.NewHuman(), c)
	wantCode(t, err, fault.Timeout)
}
