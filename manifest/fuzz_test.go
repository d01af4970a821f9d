package manifest_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// Any bytes are a manifest or a listing of problems. A manifest read again
// from its canonical form is the same, equal to itself, and what its published
// schema describes.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/invalid/*.json", "testdata/invalid/*.yaml", "../examples/*/manifest.*", "../examples/*/seed-manifest.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			f.Add(readFile(f, file))
		}
	}
	f.Add([]byte(`[{"name":"a","endpoint":"http://h/{x}"}]`))
	f.Add([]byte("name: x\nversion: 1\nactions: [{type: read_file, name: r, path: \"{a}/b\"}]\n"))
	described := compile(f, string(manifest.DocumentSchema()))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Parse(data)
		if err != nil {
			if e := fault.From(err); e.Code != fault.ManifestInvalid || len(e.Details) == 0 {
				t.Fatalf("error = %v, want %s with details", err, fault.ManifestInvalid)
			}
			return
		}
		again, err := manifest.Parse(m.JSON())
		if err != nil {
			t.Fatalf("the canonical form is refused: %v\n%s", err, m.JSON())
		}
		if again.Digest() != m.Digest() {
			t.Fatalf("the canonical form changes:\n%s\n%s", m.JSON(), again.JSON())
		}
		if c := manifest.Compare(m, again); c.Required != "none" || !c.OK {
			t.Fatalf("Compare with itself = %+v", c)
		}
		m.Lint()
		if err := described.Validate(m.JSON(), ""); err != nil {
			t.Fatalf("the published schema refuses a manifest: %v\n%s", err, m.JSON())
		}
		for _, a := range m.Actions {
			if a.Input == nil || a.Effect == "" || a.Risk == "" || a.Type == "" {
				t.Fatalf("action = %+v, with a field missing", a)
			}
		}
	})
}

// Any schema compiles or is refused, and any document is valid or not, always
// with the same words.
func FuzzSchemaValidate(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"type":"string","format":"email"}},"required":["a"]}`), []byte(`{"a":"x","b":1}`))
	f.Add([]byte(`{"oneOf":[{"const":1},{"properties":{"a":{"enum":[1]}}}]}`), []byte(`{"a":2}`))
	f.Add([]byte(`{"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#"},"default":[1]}}}`), []byte(`[[[]]]`))
	f.Add([]byte(`{"anyOf":[{"not":{}},{"contains":{"pattern":"^x"}}],"unevaluatedItems":false}`), []byte(`["y",1e300]`))
	f.Add([]byte(`{"properties":{"a":{"default":{"b":1}}},"additionalProperties":{"multipleOf":0.1}}`), []byte(`{"c":0.35}`))
	f.Fuzz(func(t *testing.T, schema, doc []byte) {
		s, err := manifest.CompileSchema(schema)
		if err != nil {
			if e := fault.From(err); e.Code != fault.Validation || len(e.Details) == 0 {
				t.Fatalf("CompileSchema = %v, want %s with details", err, fault.Validation)
			}
			return
		}
		if _, err := manifest.CompileSchema(s.JSON()); err != nil {
			t.Fatalf("the canonical form %s is refused: %v", s.JSON(), err)
		}
		err = s.Validate(doc, "/args")
		if err != nil {
			if e := fault.From(err); e.Code != fault.Validation || len(e.Details) == 0 {
				t.Fatalf("Validate = %v, want %s with details", err, fault.Validation)
			}
			if again := s.Validate(doc, "/args"); again == nil || again.Error() != err.Error() {
				t.Fatalf("Validate = %v, then %v", err, again)
			}
		}
		filled, err := s.Default(doc)
		if err == nil && !json.Valid(filled) {
			t.Fatalf("Default = %s, which is not JSON", filled)
		}
	})
}
