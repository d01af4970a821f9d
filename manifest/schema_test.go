package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

func compile(t testing.TB, schema string) *manifest.Schema {
	t.Helper()
	s, err := manifest.CompileSchema(json.RawMessage(schema))
	if err != nil {
		t.Fatalf("CompileSchema(%s): %v", schema, err)
	}
	return s
}

// S1-12, S1-35, S2-10, S2-32: violations as a person or a model reads them.
func TestValidate(t *testing.T) {
	t.Parallel()
	const slots = `{"type":"object","properties":{
		"participants":{"type":"array","items":{"type":"string","format":"email"}},
		"duration_minutes":{"type":"integer","minimum":15}},
		"required":["participants","duration_minutes"],"additionalProperties":false}`
	const plan = `{"oneOf":[
		{"type":"object","properties":{"action":{"const":"search"},"args":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}},"required":["action","args"]},
		{"type":"object","properties":{"action":{"const":"book"},"args":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}},"required":["action","args"]}]}`
	for _, tc := range []struct {
		schema, doc string
		want        string // the details, one a line
	}{
		{slots, `{"participants":["alice@example.com"],"duration_minutes":45}`, ""},
		{slots, `{"participants":["alice@example.com"],"duration_minutes":"45"}`, `/args/duration_minutes: got string, want integer`},
		{slots, `{"participants":["alice"],"duration_minutes":5}`, `/args/duration_minutes: got 5, want at least 15
/args/participants/0: "alice" is not a valid email (write "alice@example.com")`},
		{slots, `{"participants":[]}`, `/args: "duration_minutes" is missing (add "duration_minutes", an integer)`},
		{slots, `{"participants":[],"duration":15}`, `/args/duration: "duration" is not a property (did you mean "duration_minutes"?)
/args: "duration_minutes" is missing (add "duration_minutes", an integer)`},
		{slots, `[]`, `/args: got array, want object`},
		{slots, `{"participants":[],"duration_minutes":15.0}`, ""},
		{slots, `{"participants":[],"duration_minutes":15`, `/args: unexpected EOF (send one JSON value)`},
		{slots, `{}}`, `/args: there is more after the end of the value (send one JSON value)`},
		{slots, `{} {}`, `/args: there is more after the end of the value (send one JSON value)`},
		{plan, `{"action":"book","args":{}}`, `/args/args: "id" is missing (add "id", a string)`},
		{plan, `{"action":"cook","args":{}}`, `/args/action: got "cook", want one of "search", "book"`},
		{plan, `"book"`, `/args: got string, want object`},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `5`, `/args: got number, want null or string`},
		{`{"anyOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, `/args: the value matches none of the 2 alternatives: "a" is missing; or "b" is missing (make one of the alternatives true)`},
		{`{"oneOf":[{"type":"integer"},{"minimum":2}]}`, `3`, `/args: the value matches the alternatives 1 and 2, want exactly one (make it match exactly one)`},
		{`{"enum":["schedule_meeting","forward",3]}`, `"ignore"`, `/args: got "ignore", want one of "schedule_meeting", "forward", 3`},
		{`{"format":"date-time"}`, `"tomorrow"`, `/args: "tomorrow" is not a valid date-time (write "2026-04-02T09:00:00-04:00", with the offset or Z)`},
		{`{"format":"uuid"}`, `"x"`, `/args: "x" is not a valid uuid (write "123e4567-e89b-12d3-a456-426614174000")`},
		{`{"format":"uri"}`, `"x"`, `/args: "x" is not a valid uri (write "https://example.com/path")`},
		{`{"pattern":"^[a-z]+$"}`, `"A"`, `/args: "A" does not match the pattern ^[a-z]+$`},
		{`{"minLength":2,"maxLength":1}`, `"é"`, `/args: the text has 1 characters, want at least 2`},
		{`{"maximum":2.5,"exclusiveMinimum":3,"multipleOf":2}`, `3`, `/args: got 3, want more than 3
/args: got 3, want at most 2.5
/args: got 3, want a multiple of 2`},
		{`{"uniqueItems":true,"maxItems":1}`, `[1,1.0]`, `/args: the list has 2 elements, want at most 1
/args: the elements 0 and 1 are equal (remove one)`},
		{`{"contains":{"type":"string"}}`, `[1]`, `/args: no element is what the list must contain`},
		{`{"not":{"type":"string"}}`, `"x"`, `/args: "x" is what the value must not be`},
		{`{"properties":{"a":false}}`, `{"a":1}`, `/args/a: nothing is allowed here (remove it)`},
		{`{"unevaluatedProperties":false,"properties":{"a":{}}}`, `{"b":1}`, `/args/b: nothing is allowed here (remove it)`},
		{`{"propertyNames":{"maxLength":1}}`, `{"ab":1}`, `/args/ab: the name "ab" is not allowed`},
		{`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, `/args: "b" is missing, which "a" needs`},
		{`{"properties":{"a/b":{"properties":{"c~d":{"type":"null"}}}}}`, `{"a/b":{"c~d":1}}`, `/args/a~1b/c~0d: got number, want null`},
		{`{"$ref":"#/$defs/x","$defs":{"x":{"type":"string"}}}`, `1`, `/args: got number, want string`},
		{`{"type":"integer"}`, `9007199254740993`, ``},
		{`{"const":9007199254740993}`, `9007199254740992`, `/args: got 9007199254740992, want 9007199254740993`},
		{`{}`, `{"a":[1e401]}`, `/args/a/0: the exponent of 1e401 is beyond ±400 (send a smaller number, or a string)`},
		{`{}`, strings.Repeat("9", 65), `/args: the number has 65 characters, the most is 64 (send a smaller number, or a string)`},
		{`{}`, strings.Repeat("[", 70) + strings.Repeat("]", 70), `/args` + strings.Repeat("/0", 65) + `: the value is nested more than 64 deep (flatten it)`},
		{`true`, `1`, ``},
		{`false`, `1`, `/args: nothing is allowed here (remove it)`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":false}`, `["a",1]`, `/args: the last 1 elements are not allowed (remove them)`},
	} {
		err := compile(t, tc.schema).Validate(json.RawMessage(tc.doc), "/args")
		var lines []string
		if err != nil {
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != fault.Validation {
				t.Errorf("%s: Validate(%s) = %v, want a fault with code %s", tc.schema, tc.doc, err, fault.Validation)
				continue
			}
			for _, d := range f.Details {
				lines = append(lines, d.String())
			}
		}
		if got := strings.Join(lines, "\n"); got != tc.want {
			t.Errorf("%s: Validate(%s) =\n%s\nwant\n%s", tc.schema, tc.doc, got, tc.want)
		}
	}
}

func TestValidateListsAFew(t *testing.T) {
	t.Parallel()
	err := compile(t, `{"items":{"type":"string"}}`).Validate(json.RawMessage("["+strings.Repeat("1,", 199)+"1]"), "")
	f := fault.From(err)
	if len(f.Details) != 50 || !strings.Contains(f.Message, "200 places") {
		t.Errorf("error = %q with %d details, want 200 places and 50 details", f.Message, len(f.Details))
	}
}

// S1-35
func TestDefault(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ schema, doc, want string }{
		{`{"properties":{"max_results":{"type":"integer","default":5}}}`, `{}`, `{"max_results":5}`},
		{`{"properties":{"max_results":{"type":"integer","default":5}}}`, `{"max_results": null}`, `{"max_results": null}`},
		{`{"properties":{"a":{"properties":{"b":{"default":[1]}}}}}`, `{}`, `{}`},
		{`{"properties":{"a":{"properties":{"b":{"default":[1]}}}}}`, `{"a":{"c":"<&>"}}`, `{"a":{"b":[1],"c":"<&>"}}`},
		{`{"properties":{"a":{"default":{},"properties":{"b":{"default":9007199254740993}}}}}`, `{}`, `{"a":{"b":9007199254740993}}`},
		{`{"items":{"properties":{"b":{"default":1}}}}`, `[{},{"b":2},3]`, `[{"b":1},{"b":2},3]`},
		{`{"prefixItems":[{"properties":{"a":{"default":1}}}],"items":{"properties":{"b":{"default":1}}}}`, `[{},{}]`, `[{"a":1},{"b":1}]`},
		{`{"additionalProperties":{"properties":{"b":{"default":1}}}}`, `{"x":{}}`, `{"x":{"b":1}}`},
		{`{"allOf":[{"properties":{"a":{"default":1}}},{"$ref":"#/$defs/d"}],"$defs":{"d":{"properties":{"b":{"$ref":"#/$defs/two"}}},"two":{"default":2}}}`, `{}`, `{"a":1,"b":2}`},
		{`{"anyOf":[{"properties":{"a":{"default":1}}}]}`, `{}`, `{}`},
		{`{"properties":{"a":{"default":1}}}`, `"x"`, `"x"`},
	} {
		got, err := compile(t, tc.schema).Default(json.RawMessage(tc.doc))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: Default(%s) = %s, %v, want %s", tc.schema, tc.doc, got, err, tc.want)
		}
	}
	// A default that contains itself ends, one way or the other.
	endless := compile(t, `{"properties":{"l":{"$ref":"#","default":{}},"r":{"$ref":"#","default":{}}}}`)
	if _, err := endless.Default(json.RawMessage(`{}`)); err == nil || !strings.Contains(err.Error(), "do not end") {
		t.Errorf("Default = %v, want an error", err)
	}
	if _, err := endless.Default(json.RawMessage(`{`)); fault.CodeOf(err) != fault.Validation {
		t.Errorf("Default of no JSON = %v", err)
	}
}

// Filling in defaults leaves the schema's own values alone.
func TestDefaultIsCopied(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"properties":{"a":{"default":{"list":[{}]},"properties":{"list":{"items":{"properties":{"n":{"default":1}}}}}}}}`)
	for range 2 {
		if got, err := s.Default(json.RawMessage(`{}`)); err != nil || string(got) != `{"a":{"list":[{"n":1}]}}` {
			t.Errorf("Default = %s, %v", got, err)
		}
	}
	if got := string(s.JSON()); strings.Contains(got, `"list":[{"n"`) {
		t.Errorf("the schema changed: %s", got)
	}
}

// Schemas that would take unbounded time are refused; recursion is not.
func TestSchemaLimits(t *testing.T) {
	t.Parallel()
	nested := ""
	for i := range 22 {
		nested += fmt.Sprintf(`"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	many := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, ",")
	}
	for name, tc := range map[string]struct{ schema, want string }{
		"nested choices":    {`{"$ref":"#/$defs/d0","$defs":{` + nested + `"d22":{"type":"string"}}}`, "more than 1000 subschemas"},
		"recursive choices": {`{"anyOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}]}`, "more than 1000 subschemas"},
		"rest choices":      {`{"allOf":[{"additionalProperties":{"$ref":"#"}},{"patternProperties":{"x":{"$ref":"#"}}}]}`, "more than 1000 subschemas"},
		"item choices":      {`{"allOf":[{"items":{"$ref":"#"}},{"contains":{"$ref":"#"}}]}`, "more than 1000 subschemas"},
		"cycle":             {`{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}}}`, "back to itself"},
		"dynamic":           {`{"$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"#n"}}}`, "write $ref"},
		"analysis":          {`{"allOf":[` + many(1300, `{"properties":{"p%d":true},"additionalProperties":{"type":"string"}}`) + `]}`, "more than 1000 subschemas"},
		"bytes":             {`{"description":"` + strings.Repeat("x", 256<<10) + `"}`, "the most is 262144"},
		"objects":           {`{"properties":{` + many(5000, `"p%d":{}`) + `}}`, "the schema has 5002 objects"},
		"refs":              {`{"$defs":{"a":{}},"properties":{` + many(501, `"p%d":{"$ref":"#/$defs/a"}`) + `}}`, "501 $refs"},
		"pattern":           {`{"pattern":"` + strings.Repeat("x", 1025) + `"}`, "the pattern has 1025 bytes"},
		"repetition":        {`{"pattern":"(x{100}y{100}){20}"}`, "not a usable pattern"},
		"exponent":          {`{"maximum":1e99999}`, "beyond ±400"},
		"depth":             {strings.Repeat(`{"not":`, 100) + "{}" + strings.Repeat("}", 100), "nested more than 64 deep"},
		"file":              {`{"$ref":"file:///etc/passwd"}`, "nothing is loaded"},
		"network":           {`{"$ref":"http://127.0.0.1:1/x.json"}`, "nothing is loaded"},
		"dialect":           {`{"$schema":"http://127.0.0.1:1/x.json"}`, "nothing is loaded"},
		"duplicate":         {`{"type":"string","type":"null"}`, "given twice"},
		"not a schema":      {`[]`, "want a JSON Schema"},
		"not JSON":          {`{`, "ends too early"},
	} {
		if _, err := manifest.CompileSchema(json.RawMessage(tc.schema)); err == nil || !strings.Contains(err.Error(), tc.want) || fault.CodeOf(err) != fault.Validation {
			t.Errorf("%s: CompileSchema = %v, want %q", name, err, tc.want)
		}
	}
	for name, schema := range map[string]string{
		"tree":       `{"type":"object","properties":{"l":{"$ref":"#"},"r":{"$ref":"#"}},"additionalProperties":false}`,
		"JSON":       `{"anyOf":[{"type":"string"},{"items":{"$ref":"#"}},{"additionalProperties":{"$ref":"#"}}]}`,
		"expression": `{"$ref":"#/$defs/e","$defs":{"e":{"oneOf":[{"type":"number"},{"properties":{"op":{"const":"+"},"a":{"$ref":"#/$defs/e"},"b":{"$ref":"#/$defs/e"}}},{"properties":{"op":{"const":"-"}}}]}}}`,
		"optional":   `{"properties":{` + many(300, `"p%d":{"anyOf":[{"type":"string"},{"type":"null"}]}`) + `}}`,
		"id":         `{"$id":"https://example.com/a","$ref":"b","$defs":{"b":{"$id":"b","type":"string"}}}`,
		"anchor":     `{"$ref":"#x","$defs":{"b":{"$anchor":"x","type":"string"}}}`,
	} {
		if _, err := manifest.CompileSchema(json.RawMessage(schema)); err != nil {
			t.Errorf("%s: CompileSchema: %v", name, err)
		}
	}
}

// The manifest's own schema accepts every example and refuses what is wrong
// in structure.
func TestDocumentSchema(t *testing.T) {
	t.Parallel()
	published, err := os.ReadFile("../docs/manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(published) != string(manifest.DocumentSchema()) {
		t.Error("docs/manifest.schema.json differs from manifest/manifest.schema.json; copy it")
	}
	s := compile(t, string(manifest.DocumentSchema()))
	for _, file := range exampleFiles(t) {
		if err := s.Validate(parse(t, string(readFile(t, file))).JSON(), ""); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, file := range []string{"fields.json", "list.json", "scalar.json"} {
		if err := s.Validate(readFile(t, filepath.Join("testdata/invalid", file)), ""); err == nil {
			t.Errorf("%s is accepted", file)
		}
	}
	for _, action := range []string{
		`{}`, `{"name":"a"}`, `{"type":"invoke_api","name":"a"}`, `{"type":"run_code","name":"a","code":"x"}`,
		`{"type":"run_code","name":"a","code":"x","runtime":"python","endpoint":"https://a.example.com/"}`,
		`{"type":"human_intervention","name":"a b"}`, `{"type":"human_intervention","name":"a","limits":{}}`,
		`{"type":"invoke_api","name":"a","endpoint":"https://user@a.example.com/"}`, `{"type":"invoke_api","name":"a","endpoint":"ftp://a.example.com/"}`,
		`{"type":"invoke_api","name":"a","endpoint":"https://a.example.com/","auth":"Bearer abc"}`, `{"type":"read_file","name":"a","unknown":1}`,
	} {
		if err := s.Validate(json.RawMessage(`{"name":"A","version":"1.0.0","actions":[`+action+`]}`), ""); err == nil {
			t.Errorf("%s is accepted", action)
		}
		if _, err := manifest.Parse([]byte(`{"name":"A","version":"1.0.0","actions":[` + action + `]}`)); err == nil {
			t.Errorf("Parse accepts %s", action)
		}
	}
}

// The reference for users names every field, and its examples are valid.
func TestReference(t *testing.T) {
	t.Parallel()
	reference := string(readFile(t, "../docs/manifest.md"))
	type object struct {
		Properties map[string]object
		Defs       map[string]object `json:"$defs"`
	}
	var schema object
	if err := json.Unmarshal(manifest.DocumentSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, o := range []object{schema, schema.Defs["action"]} {
		for name, field := range o.Properties {
			if name != "$schema" && !strings.Contains(reference, "| `"+name+"` |") {
				t.Errorf("docs/manifest.md does not describe %s", name)
			}
			for nested := range field.Properties {
				if !strings.Contains(reference, "| `"+name+"."+nested+"` |") {
					t.Errorf("docs/manifest.md does not describe %s.%s", name, nested)
				}
			}
		}
	}
	blocks := strings.Split(reference, "```yaml\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("docs/manifest.md has %d examples, want 4 or more", len(blocks))
	}
	for _, block := range blocks {
		document, _, _ := strings.Cut(block, "```")
		if strings.HasPrefix(document, "- ") {
			document = "name: Example\nversion: 1.0.0\nactions:\n" + document
		}
		parse(t, document)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := parse(t, string(readFile(t, "../examples/triage/manifest.yaml")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				a, _ := m.Action("calendar.create_meeting")
				if err := a.Input.Validate(json.RawMessage(`{"email_id":1,"participants":["x"]}`), ""); err == nil {
					t.Error("Validate = nil, want an error")
				}
				if _, err := m.Actions[0].Input.Default(json.RawMessage(`{}`)); err != nil {
					t.Error(err)
				}
				m.Lint()
				manifest.Compare(m, m)
			}
		})
	}
	wg.Wait()
}
