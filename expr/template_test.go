package expr_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// Placeholders of S0-46 and references of S1-45, with their types kept.
func TestTemplateRenders(t *testing.T) {
	t.Parallel()
	tests := []struct{ template, want string }{
		{`{"text":"{{raw_data}}"}`, `{"text":{"rows":[1,2.50]}}`},
		{`{"body":"{{summary_text}}"}`, `{"body":"all <good>"}`},
		{`"{{ raw_data.rows[1] }}"`, `2.50`},
		{`"$state.emails"`, `[{"from":"ann@example.org","id":9007199254740993},{"from":"bob@example.org","id":2}]`},
		{`"$state.emails[0].id"`, `9007199254740993`},
		{`"$state.emails[*].id"`, `[9007199254740993,2]`},
		{`["$result.ok","$user.role","$args.limit","$state.total"]`, `[true,"admin",10,12345678901234567890123456789.50]`},
		{`"id {{state.emails[0].id}}, total {{state.total}}, {{result.ok}}"`, `"id 9007199254740993, total 12345678901234567890123456789.50, true"`},
		{`"<{{nothing}}|{{nobody}}|{{state.cleared}}>"`, `"<||>"`},
		{`"{{raw_data}} {{state.intents[*].intent}}"`, `"{\"rows\":[1,2.50]} [\"greet\",\"schedule_meeting\"]"`},
		{`"{{summary_text}}{{summary_text}}"`, `"all <good>all <good>"`},
		{`" {{summary_text}}"`, `" all <good>"`},
		{`"{{summary_text + '!'}}"`, `"all <good>!"`},
		{`"{{result.ok ? 'yes' : 'no'}}"`, `"yes"`},
		{`"{{state.missing == null}}"`, `true`},
		{`"{{ {'a': {'b': [state.session.step]}} }}"`, `{"a":{"b":[2]}}`},
		{`"{{ '}}' + \"{{\" }}"`, `"}}{{"`},
		// Outputs come before result and state.
		{`"{{intent}}"`, `"from outputs"`}, {`"{{value}}"`, `"v"`}, {`"{{key}}"`, `"v"`},
		// An explicit null is a value.
		{`["{{nothing}}","$state.cleared","{{args}}"]`, `[null,null,{"limit":10}]`},
		// What is not a placeholder stays.
		{`{"{{key}}":"plain","n":1.50,"b":false,"z":null,"l":[],"o":{}}`, `{"{{key}}":"plain","n":1.50,"b":false,"z":null,"l":[],"o":{}}`},
		{`["$state","$5","a $state.key","$session.step","$statement.x","{key}","}}","a } b { c"]`, `["$state","$5","a $state.key","$session.step","$statement.x","{key}","}}","a } b { c"]`},
		{`""`, `""`}, {`7`, `7`},
		// Escapes.
		{`"{{{{key}}}}"`, `"{{key}}"`}, {`"$$state.key"`, `"$state.key"`}, {`"$$5"`, `"$$5"`}, {`"{{{{ {{key}} }}}}"`, `"{{ v }}"`},
		{`"$$state.a {{key}}"`, `"$state.a v"`},
		{`"äöü {{key}} 🙂{{key}}"`, `"äöü v 🙂v"`},
	}
	v := meeting(t)
	for _, tt := range tests {
		t.Run(tt.template, func(t *testing.T) {
			t.Parallel()
			got, err := render(t, decode(t, tt.template), v)
			if err != nil {
				t.Fatal(err)
			}
			if text := encode(t, got); text != encode(t, decode(t, tt.want)) {
				t.Errorf("Render = %s, want %s", text, tt.want)
			}
		})
	}
	if !reflect.DeepEqual(v, meeting(t)) {
		t.Error("Render changed the variables")
	}
}

// Data is never read as a template, so a tool's output cannot reach the state.
func TestTemplateRendersOnce(t *testing.T) {
	t.Parallel()
	v := expr.Vars{State: map[string]any{"secret": "s3cret"}, Outputs: map[string]any{"evil": "{{state.secret}}", "also": "$state.secret"}}
	got, err := render(t, []any{"{{evil}}", "x {{evil}}", "{{also}}"}, v)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(encode(t, got), "s3cret") {
		t.Errorf("Render = %s", encode(t, got))
	}
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		template, pointer string
		reason            expr.Reason
		says              string
	}{
		{`{"a":["x","{{nobody}}"]}`, "/a/1", expr.ReasonMissing, "nobody is missing"},
		{`{"a/b":{"~":"$state.nope.deeper"}}`, "/a~1b/~0", expr.ReasonMissing, "state.nope is missing"},
		{`"{{state.emails[9].id}}"`, "", expr.ReasonMissing, "state.emails[9] is missing"},
		{`{"a":"x{{key + 1}}"}`, "/a", expr.ReasonType, "does not apply to a string and a number"},
		{`{"a":"{{key[*]}}"}`, "/a", expr.ReasonType, "key is a string"},
	}
	v := meeting(t)
	for _, tt := range tests {
		t.Run(tt.template, func(t *testing.T) {
			t.Parallel()
			got, err := render(t, decode(t, tt.template), v)
			e := wantReason(t, err, tt.reason)
			if e.Pointer != tt.pointer || !strings.Contains(e.Message, tt.says) || got != nil {
				t.Errorf("Render = %v, %v at %q, want %q at %q", got, e, e.Pointer, tt.says, tt.pointer)
			}
		})
	}
}

func TestTemplateSyntaxErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		template, pointer string
		offset            int
		says              string
	}{
		{`{"a":["x {{ key"]}`, "/a/0", 2, "does not end"},
		{`{"a":"{{ key }"}`, "/a", 0, "does not end"},
		{`{"a":"{{ 'x }}"}`, "/a", 0, "does not end"},
		{`"xy {{ key + }} z"`, "", 12, "the end"},
		{`"{{}}"`, "", 2, "empty"}, {`"{{ key = 1 }}"`, "", 7, "=="},
		{`"{{ nope(1) }}"`, "", 3, "nope is not a function"},
		{`{"b":"$state.a + 1"}`, "/b", 0, "only a path"},
		{`{"b":"$state.a costs"}`, "/b", 9, "$$ for a plain dollar"},
		{`"$state."`, "", 7, ""},
	}
	for _, tt := range tests {
		t.Run(tt.template, func(t *testing.T) {
			t.Parallel()
			_, err := expr.CompileTemplate(decode(t, tt.template))
			e := wantSyntax(t, err, tt.says)
			if e.Pointer != tt.pointer || tt.says != "" && e.Offset != tt.offset {
				t.Errorf("error at %q offset %d, want %q offset %d: %v", e.Pointer, e.Offset, tt.pointer, tt.offset, e)
			}
		})
	}
}

func TestTemplateNames(t *testing.T) {
	t.Parallel()
	template := decode(t, `{"a":"{{raw.x}} {{state.k}}","b":["$state.q","{{zeta[alpha]}}","{{raw}}"],"c":"$args.limit"}`)
	tpl, err := expr.CompileTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"alpha", "raw", "zeta"}; !slices.Equal(tpl.Names(), want) {
		t.Errorf("Names() = %v, want %v", tpl.Names(), want)
	}
	if !tpl.HasPlaceholders() {
		t.Error("HasPlaceholders() = false")
	}
	if tpl.Source() != encode(t, template) {
		t.Errorf("Source() = %s", tpl.Source())
	}
	plain, err := expr.CompileTemplate("$5 {x} {{{{")
	if err != nil || plain.HasPlaceholders() || len(plain.Names()) != 0 {
		t.Errorf("a plain string: %v, HasPlaceholders() = %v", err, plain.HasPlaceholders())
	}
}

// A template keeps nothing of the value it was compiled from, and results may
// be changed freely.
func TestTemplateIsImmutable(t *testing.T) {
	t.Parallel()
	source := map[string]any{"list": []any{"a", "{{key}}"}}
	tpl, err := expr.CompileTemplate(source)
	if err != nil {
		t.Fatal(err)
	}
	source["list"].([]any)[0] = "changed"
	v := meeting(t)
	for range 2 {
		got, err := tpl.Render(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		if text := encode(t, got); text != `{"list":["a","v"]}` {
			t.Errorf("Render = %s", text)
		}
		got.(map[string]any)["list"].([]any)[0] = "changed"
	}
}

func TestTemplateBounds(t *testing.T) {
	t.Parallel()
	nested := any("x")
	for range 200 {
		nested = []any{nested}
	}
	for name, bad := range map[string]any{
		"depth":        nested,
		"size":         strings.Repeat("x", 2<<20),
		"placeholders": strings.Repeat("{{a}}", 1001),
		"expressions":  strings.Repeat("{{"+strings.Repeat(" ", 4000)+"a}}", 70),
		"expression":   "{{" + strings.Repeat(" ", 5000) + "a}}",
		"go value":     struct{}{},
		"not a number": json.Number("abc"),
		"number":       map[string]any{"x": []string{"y"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := expr.CompileTemplate(bad)
			wantSyntax(t, err, "")
		})
	}

	v := expr.Vars{State: map[string]any{"text": strings.Repeat("x", 1<<19), "quotes": []any{strings.Repeat("\x01", 1<<19)}}}
	for _, template := range []any{
		strings.Repeat("{{state.text}}", 3),
		[]any{"$state.text", "$state.text", "$state.text"},
		"x{{state.quotes}}",
	} {
		_, err := render(t, template, v)
		wantReason(t, err, expr.ReasonSize)
	}

	list := make([]any, 20_000)
	for i := range list {
		list[i] = json.Number("1")
	}
	_, err := render(t, strings.Repeat("{{state.a == state.b}}", 900), expr.Vars{State: map[string]any{"a": list, "b": slices.Clone(list)}})
	wantReason(t, err, expr.ReasonCost)
}
