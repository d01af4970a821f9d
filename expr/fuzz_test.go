package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// hostile is data with a bit of everything an expression could trip over.
func hostile(tb testing.TB) expr.Vars {
	v := meeting(tb)
	state := v.State.(map[string]any)
	list := make([]any, 3000)
	for i := range list {
		list[i] = map[string]any{"a": strings.Repeat("x", 50), "n": json.Number("1e999999")}
	}
	state["list"] = list
	state["text"] = strings.Repeat("ab", 50_000)
	state["n"] = json.Number("1e999999")
	state["bad"] = json.Number("x")
	return v
}

var fuzzSources = []string{
	"state.session.step >= 2", "result.intent in ['schedule_meeting', \"x\"]", "state.intents[*].intent == 'schedule_meeting'",
	"not a and (b or !c)", "has(state.a.b) && size(state.list[*].a) > 1", "state.list[*].n == state.list[*].n", "state.text + state.text == ''",
	"1e999999 > 2", "-1 % 2 / 3 * 0.5 - 1 < 1e308", "state.n * state.n == state.bad", "((((((1))))))==[{'a': [1]}][0].a[-1]", "a ? b : c",
	"state['x'][\"y\"][0][*]", "'\\u00e9\\n\\'' == \"\\\"\"", "state.threads[*].mails[*].id in [1, 2]", "state.a = 'b", "x not in y", "[*]", "é", "b''",
	"goal.contains('x') or goal.startsWith(\"s\") or goal.endsWith('w')", "{'a': 1, 'b': [true, null]}.a == 1",
}

// checkErrors fails unless err is one of the documented types or nil.
func checkErrors(t *testing.T, err error) {
	t.Helper()
	var syntax *expr.SyntaxError
	var failed *expr.EvalError
	switch {
	case err == nil:
	case errors.As(err, &syntax):
		if syntax.Offset < 0 || syntax.Offset > len(syntax.Source) || syntax.Message == "" {
			t.Fatalf("SyntaxError %+v", *syntax)
		}
	case errors.As(err, &failed):
		if failed.Reason == expr.ReasonInternal || failed.Message == "" {
			t.Fatalf("EvalError %+v", *failed)
		}
	default:
		t.Fatalf("error %v has type %T", err, err)
	}
}

func FuzzCondition(f *testing.F) {
	for _, src := range fuzzSources {
		f.Add(src)
	}
	v := hostile(f)
	f.Fuzz(func(t *testing.T, src string) {
		c, err := expr.CompileCondition(src)
		checkErrors(t, err)
		if err != nil {
			return
		}
		got, err := c.Eval(context.Background(), v)
		checkErrors(t, err)
		explained, _, explainErr := c.Explain(context.Background(), v)
		checkErrors(t, explainErr)
		if err == nil && explainErr == nil && got != explained {
			t.Fatalf("Eval = %v, Explain = %v", got, explained)
		}
	})
}

func FuzzStatement(f *testing.F) {
	for _, src := range fuzzSources {
		f.Add("state.a = " + src)
		f.Add("state.list.append(" + src + ")")
		f.Add("state.a[" + src + "].b = 1")
	}
	v := hostile(f)
	small := meeting(f)
	f.Fuzz(func(t *testing.T, src string) {
		s, err := expr.CompileStatement(src)
		checkErrors(t, err)
		if err != nil {
			return
		}
		got, err := s.Apply(context.Background(), v)
		checkErrors(t, err)
		if _, isObject := got.(map[string]any); err == nil && !isObject {
			t.Fatalf("the state became %T", got)
		}
		_, err = s.Apply(context.Background(), small)
		checkErrors(t, err)
		if !reflect.DeepEqual(small, meeting(t)) {
			t.Fatal("Apply changed the variables")
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, src := range fuzzSources {
		f.Add(src)
		f.Add("{{" + src + "}}")
		f.Add("x {{" + src + "}} {{key}}")
	}
	f.Add("$state.list[0].a")
	f.Add("$$state.a {{{{ }}}}")
	f.Add(`{"a":["{{list}}{{list}}"]}`)
	v := hostile(f)
	delete(v.State.(map[string]any), "bad") // not JSON, so it could not be encoded below
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 8<<10 {
			return
		}
		template := any(src)
		var decoded any
		if json.Unmarshal([]byte(src), &decoded) == nil {
			template = []any{src, decoded}
		}
		tpl, err := expr.CompileTemplate(template)
		checkErrors(t, err)
		if err != nil {
			return
		}
		got, err := tpl.Render(context.Background(), v)
		checkErrors(t, err)
		if err != nil {
			return
		}
		out, err := json.Marshal(got)
		if err != nil || len(out) > 8<<20 {
			t.Fatalf("rendered %d bytes, %v", len(out), err)
		}
		if !tpl.HasPlaceholders() && !strings.ContainsAny(src, "{}$") && !reflect.DeepEqual(got, template) {
			t.Fatalf("a template without placeholders became %s", out)
		}
	})
}
