package manifest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/manifest"
)

// version gives a manifest of one action that version, input and output.
func version(t testing.TB, v, members, input, output string) *manifest.Manifest {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	return parse(t, fmt.Sprintf(`{"name":"C","version":%q,"flags":{"off":false,"on":true},"actions":[
		{"type":"invoke_api","name":"a","endpoint":"https://a.example.com/","input_schema":%s,"output_schema":%s%s},
		{"type":"invoke_api","name":"look","method":"GET","endpoint":"https://a.example.com/"}]}`, v, input, output, members))
}

// S2-93: what an action's fields ask for when they change.
func TestCompareActions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ old, new, want string }{
		{``, ``, "none"},
		{``, `"description":"x"`, "patch"},
		{``, `"timeout_ms":5`, "patch"},
		{`"auth":"${A}"`, `"auth":"${B}"`, "patch"},
		{``, `"extensions":{"x":1}`, "patch"},
		{``, `"metadata":{"cost_usd":1}`, "patch"},
		{`"metadata":{"safety_level":"a"}`, ``, "patch"},
		{``, `"effect":"once"`, "none"}, // what it was taken for
		{``, `"effect":"keyed"`, "major"},
		{``, `"method":"PATCH"`, "major"},
		{``, `"method":"post"`, "none"},
		{``, `"query":["x"]`, "major"},
		{``, `"risk":"medium"`, "none"},
		{``, `"risk":"high"`, "major"},
		{`"risk":"high"`, ``, "minor"},
		{``, `"requires_confirmation":true`, "major"},
		{`"requiresConfirmation":true`, `"requires_confirmation":true`, "none"},
		{`"requires_confirmation":true`, ``, "minor"},
		{``, `"scopes":["x"]`, "major"},
		{`"scopes":["x"]`, `"security":{"scopes":["x"]}`, "none"},
		{`"scopes":["x"]`, ``, "minor"},
		{``, `"preconditions":["state.x"]`, "major"},
		{`"preconditions":["state.x"]`, ``, "minor"},
		{``, `"postconditions":["state.x = 1"]`, "major"},
		{``, `"result_path":"x"`, "major"},
		{`"result_path":"x"`, `"result_path":"environment.x"`, "none"},
		{``, `"terminal":true`, "major"},
		{``, `"verify":"look"`, "minor"},
		{``, `"compensate":"look"`, "minor"},
		{``, `"flag":"off"`, "major"},
		{``, `"flag":"on"`, "none"},
		{`"flag":"off"`, ``, "minor"},
	} {
		const s = `{"properties":{"x":{}}}`
		c := manifest.Compare(version(t, "1.0.0", tc.old, s, s), version(t, "1.0.1", tc.new, s, s))
		if c.Required != tc.want {
			t.Errorf("from {%s} to {%s}: %s %+v, want %s", tc.old, tc.new, c.Required, c.Changes, tc.want)
		}
	}
}

func TestCompareDocuments(t *testing.T) {
	t.Parallel()
	const ask = `{"type":"human_intervention","name":"ask","choices":["a"]}`
	const code = `{"type":"run_code","name":"f","runtime":"python","code":"x"}`
	doc := func(members, actions string) string {
		return `{"name":"C","version":"1.0.0","flags":{"f":true}` + members + `,"actions":[` + actions + `]}`
	}
	base := doc("", ask+","+code)
	for _, tc := range []struct {
		new, want, pointer string
	}{
		{base, "none", ""},
		{doc("", code+","+ask), "none", ""},
		{strings.Replace(base, "1.0.0", "1.0.5", 1), "none", ""},
		{doc("", ask), "major", "/actions/1"},
		{doc("", ask+","+code+`,{"type":"read_file","name":"r"}`), "minor", "/actions/2"},
		{doc(`,"completion":"state.x"`, ask+","+code), "major", "/completion"},
		{doc(`,"state_schema":{"type":"object"}`, ask+","+code), "major", "/state_schema"},
		{doc(`,"planner":{"temperature":1}`, ask+","+code), "patch", "/planner"},
		{doc(`,"max_steps":5`, ask+","+code), "patch", "/max_steps"},
		{strings.Replace(base, `"C"`, `"D"`, 1), "major", "/name"},
		{strings.Replace(base, `["a"]`, `["a","b"]`, 1), "major", "/actions/0/choices"},
		{strings.Replace(base, `"code":"x"`, `"code":"y"`, 1), "patch", "/actions/1/code"},
		{strings.Replace(base, `"code":"x"`, `"code":"x","permissions":{"llm":true}`, 1), "minor", "/actions/1/permissions/llm"},
	} {
		c := manifest.Compare(parse(t, base), parse(t, tc.new))
		if c.Required != tc.want {
			t.Errorf("to %s: %s %+v, want %s", tc.new, c.Required, c.Changes, tc.want)
		}
		if tc.pointer != "" && !slices.ContainsFunc(c.Changes, func(ch manifest.Change) bool {
			return ch.Pointer == tc.pointer && ch.Step == tc.want && ch.Breaking == (tc.want == "major")
		}) {
			t.Errorf("to %s: changes = %+v, want a %s one at %s", tc.new, c.Changes, tc.want, tc.pointer)
		}
	}
}

// S2-93: an input may accept more, an output may bring less. Each line is one
// change of a schema, and the step it asks for in an input and in an output.
func TestCompareSchemas(t *testing.T) {
	t.Parallel()
	const ab = `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]}`
	for _, tc := range []struct {
		old, new      string
		input, output string
	}{
		{ab, ab, "none", "none"},
		{ab, `{"required":["a"],"properties":{"b":{"type":"integer"},"a":{"type":"string"}},"type":"object"}`, "none", "none"},
		{ab, strings.Replace(ab, `"string"`, `"string","description":"x"`, 1), "patch", "patch"},
		{ab, strings.Replace(ab, `["a"]`, `["a","b"]`, 1), "major", "minor"},
		{ab, strings.Replace(ab, `,"required":["a"]`, ``, 1), "minor", "major"},
		{ab, strings.Replace(ab, `"b":{"type":"integer"}`, `"b":{"type":"number"}`, 1), "minor", "major"},
		{ab, strings.Replace(ab, `"b":{"type":"integer"}`, `"b":{"type":["integer","null"]}`, 1), "minor", "major"},
		{ab, strings.Replace(ab, `"b":{"type":"integer"}`, `"b":{"type":"string"}`, 1), "major", "major"},
		{ab, strings.Replace(ab, `,"b":{"type":"integer"}`, ``, 1), "major", "major"},
		{ab, strings.Replace(ab, `"b":`, `"c":{},"b":`, 1), "minor", "minor"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{},"c":{}},"required":["c"]}`, "major", "minor"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{},"c":{"default":1}},"required":["c"]}`, "minor", "minor"},
		{`{"properties":{"a":{"default":1}}}`, `{"properties":{"a":{"default":2}}}`, "major", "patch"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{"default":2}}}`, "minor", "patch"},
		{`{}`, `{"additionalProperties":false}`, "major", "minor"},
		{`{"additionalProperties":false}`, `{}`, "minor", "minor"},
		{`{"additionalProperties":{"type":"string"}}`, `{"additionalProperties":{"type":["string","null"]}}`, "minor", "major"},
		{`{"properties":{"a":{"enum":[1,2]}}}`, `{"properties":{"a":{"enum":[2,1,3]}}}`, "minor", "major"},
		{`{"properties":{"a":{"enum":[1,2]}}}`, `{"properties":{"a":{"const":1}}}`, "major", "minor"},
		{`{"properties":{"a":{"enum":[1,2]}}}`, `{"properties":{"a":{"enum":[1,3]}}}`, "major", "major"},
		{`{"properties":{"a":{"enum":[1,2]}}}`, `{"properties":{"a":{"enum":[1.0,2]}}}`, "none", "none"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{"enum":[1]}}}`, "major", "minor"},
		{`{"properties":{"a":{"minimum":15}}}`, `{"properties":{"a":{"minimum":10}}}`, "minor", "major"},
		{`{"properties":{"a":{"minimum":15}}}`, `{"properties":{"a":{"minimum":15.5}}}`, "major", "minor"},
		{`{"properties":{"a":{"maximum":15}}}`, `{"properties":{"a":{}}}`, "minor", "major"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{"maxLength":15}}}`, "major", "minor"},
		{`{"properties":{"a":{"pattern":"x"}}}`, `{"properties":{"a":{"pattern":"y"}}}`, "major", "major"},
		{`{"properties":{"a":{"format":"email"}}}`, `{"properties":{"a":{}}}`, "minor", "major"},
		{`{"properties":{"a":{"multipleOf":2}}}`, `{"properties":{"a":{"multipleOf":4}}}`, "major", "minor"},
		{`{"properties":{"a":{"multipleOf":4}}}`, `{"properties":{"a":{"multipleOf":2}}}`, "minor", "major"},
		{`{"properties":{"a":{"multipleOf":4}}}`, `{"properties":{"a":{"multipleOf":3}}}`, "major", "major"},
		{`{"properties":{"a":{"uniqueItems":false}}}`, `{"properties":{"a":{"uniqueItems":true}}}`, "major", "minor"},
		{`{"properties":{"a":{"uniqueItems":false}}}`, `{"properties":{"a":{}}}`, "patch", "patch"},
		{`{"properties":{"a":{"items":{"type":"string"}}}}`, `{"properties":{"a":{"items":{"type":"string","minLength":1}}}}`, "major", "minor"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":{"items":{"type":"string"}}}}`, "major", "minor"},
		{`{"properties":{"a":{"prefixItems":[{"minimum":1}]}}}`, `{"properties":{"a":{"prefixItems":[{"minimum":0}]}}}`, "minor", "major"},
		{`{"properties":{"a":{"prefixItems":[{"minimum":1}]}}}`, `{"properties":{"a":{"prefixItems":[{"minimum":1},{}]}}}`, "major", "major"},
		{`{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}`, `{"properties":{"a":{"anyOf":[{"type":"string"}]}}}`, "major", "minor"},
		{`{"properties":{"a":{"anyOf":[{"type":"string"}]}}}`, `{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}`, "minor", "major"},
		{`{"properties":{"a":{"anyOf":[{"type":"string"}]}}}`, `{"properties":{"a":{"anyOf":[{"type":"integer"},{"type":"null"}]}}}`, "major", "major"},
		{`{"allOf":[{"minProperties":1}]}`, `{"allOf":[{"minProperties":1},{"maxProperties":1}]}`, "major", "minor"},
		{`{"allOf":[{"minProperties":2}]}`, `{"allOf":[{"minProperties":1}]}`, "minor", "major"},
		{`{}`, `{"not":{"required":["x"]}}`, "major", "minor"},
		{`{"not":{"required":["x"]}}`, `{"not":{"required":["y"]}}`, "major", "major"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":false}}`, "major", "minor"},
		{`{"properties":{"a":false}}`, `{"properties":{"a":true}}`, "minor", "major"},
		{`{"properties":{"a":{}}}`, `{"properties":{"a":true}}`, "patch", "patch"},
		// References are compared by what they lead to.
		{`{"properties":{"a":{"type":"string"}}}`, `{"properties":{"a":{"$ref":"#/$defs/s"}},"$defs":{"s":{"type":"string"}}}`, "patch", "patch"},
		{`{"properties":{"a":{"$ref":"#/$defs/s"}},"$defs":{"s":{"type":"string"}}}`, `{"properties":{"a":{"$ref":"#/$defs/s"}},"$defs":{"s":{"type":"integer"}}}`, "major", "major"},
		{`{"properties":{"n":{"$ref":"#"},"v":{"type":"integer"}}}`, `{"properties":{"n":{"$ref":"#"},"v":{"type":"number"}}}`, "minor", "major"},
		{`{"not":{"$ref":"#/$defs/s"},"$defs":{"s":{"type":"string"}}}`, `{"not":{"$ref":"#/$defs/s"},"$defs":{"s":{"type":"null"}}}`, "major", "major"},
		{`{"minProperties":1,"$ref":"#/$defs/s","$defs":{"s":{"maxProperties":5}}}`, `{"minProperties":1,"$ref":"#/$defs/s","$defs":{"s":{"maxProperties":6}}}`, "minor", "major"},
	} {
		in := manifest.Compare(version(t, "1.0.0", "", tc.old, "true"), version(t, "1.0.0", "", tc.new, "true"))
		out := manifest.Compare(version(t, "1.0.0", "", "true", tc.old), version(t, "1.0.0", "", "true", tc.new))
		if in.Required != tc.input || out.Required != tc.output {
			t.Errorf("from %s\nto   %s\ninput  %s %+v, want %s\noutput %s %+v, want %s", tc.old, tc.new, in.Required, in.Changes, tc.input, out.Required, out.Changes, tc.output)
		}
	}
}

// S2-93, C-23: 2.0.0 → 2.1.0 adds, 3.0.0 breaks.
func TestCompareVersions(t *testing.T) {
	t.Parallel()
	const s = `{"properties":{"x":{}}}`
	for _, tc := range []struct {
		old, new string
		declared string
	}{
		{"2.0", "2.1.0", "minor"},
		{"2.0", "v3", "major"},
		{"2.0.0", "2.0.1", "patch"},
		{"2.0.0", "2.0", "none"},
		{"2.0.0", "1.9.0", "none"},
		{"2.0.0-rc.1", "2.0.0", "major"},
		{"0.1.0", "0.2.0", "major"},
		{"0.1.0", "0.1.1", "minor"},
		{"0.1.0", "1.0.0", "major"},
	} {
		steps := []string{"none", "patch", "minor", "major"}
		for members, required := range map[string]string{``: "none", `"description":"x"`: "patch", `"verify":"look"`: "minor", `"terminal":true`: "major"} {
			c := manifest.Compare(version(t, tc.old, "", s, s), version(t, tc.new, members, s, s))
			want := manifest.Comparison{Required: required, Declared: tc.declared, OK: slices.Index(steps, tc.declared) >= slices.Index(steps, required)}
			c.Changes = nil
			if got, w := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", want); got != w {
				t.Errorf("%s → %s with {%s}: %s, want %s", tc.old, tc.new, members, got, w)
			}
		}
	}
}

// Two manifests that share nothing are compared in bounded time.
func TestCompareIsBounded(t *testing.T) {
	t.Parallel()
	// Every definition refers to all others: the pairs that could be compared
	// are many more than those that are.
	mesh := func(kind string) string {
		var defs []string
		for i := range 20 {
			var refs []string
			for j := range 20 {
				refs = append(refs, fmt.Sprintf(`"%s%d":{"$ref":"#/$defs/d%d"}`, kind, (i+j)%20, j))
			}
			defs = append(defs, fmt.Sprintf(`"d%d":{"properties":{%s},"type":%q}`, i, strings.Join(refs, ","), "object"))
		}
		return `{"$ref":"#/$defs/d0","$defs":{` + strings.Join(defs, ",") + `}}`
	}
	c := manifest.Compare(version(t, "1.0.0", "", mesh("x"), "true"), version(t, "1.0.0", "", strings.Replace(mesh("x"), `"x3":`, `"y3":`, 1), "true"))
	if c.Required != "major" || len(c.Changes) == 0 || len(c.Changes) > 500 {
		t.Errorf("Compare = %s with %d changes", c.Required, len(c.Changes))
	}
	if raw, err := json.Marshal(c); err != nil || len(raw) > 1<<20 {
		t.Errorf("the comparison has %d bytes, %v", len(raw), err)
	}
}
