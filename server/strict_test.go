package server

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
)

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{
		`{}`, `null`, `"x"`, ` [1, -0, 1.5e10, 12345678901234567890123456789] `, `{"a":{"a":{"a":[]}}}`,
		`{"\u00e4":1,"b":2}`, `"\ud83d\ude00"`, `"\\u0000"`, `"\/\b\f\n\r\t\""`, `[1e400]`[:0] + `[1e300,1e-400]`,
		strings.Repeat("[", depthMax) + strings.Repeat("]", depthMax), "{\"a\" :\n\t[ true , false , null ] }", `"[[[[{{{{"`,
	} {
		if err := checkJSON([]byte(ok)); err != nil {
			t.Errorf("checkJSON(%s) = %v, want nil", ok, err)
		}
	}
	for _, tt := range []struct {
		doc, pointer, message string
		line, column          int
	}{
		{``, "", "not JSON", 1, 1},
		{`{"a":1,}`, "", "not JSON", 1, 8},
		{"{\n  \"a\": nul\n}", "", "not JSON", 2, 11},
		{`{} {}`, "", "not JSON", 1, 4},
		{`{"a":1,"a":2}`, "/a", "occurs twice", 1, 8},
		{"{\"a\":[{\"x/y\":1,\n\"x\\u002fy\":2}]}", "/a/0/x~1y", "occurs twice", 2, 1},
		{`["` + "\xff" + `"]`, "", "not valid UTF-8", 1, 3},
		{`["a\ud800b"]`, "/0", "surrogate", 1, 4},
		{`["\udc00"]`, "/0", "surrogate", 1, 3},
		{`["\ud800\u0041"]`, "/0", "surrogate", 1, 3},
		{`{"a":{"b":"x\u0000"}}`, "/a/b", "U+0000", 1, 13},
		{`{"a\u0000":1}`, "", "U+0000", 1, 4},
		{`[1e401]`, "/0", "exponent", 1, 2},
		{`[1E-999999999]`, "/0", "exponent", 1, 2},
		{`[1e99999999999999999999]`, "/0", "exponent", 1, 2},
		{`{"n":1e400}`, "/n", "out of range", 1, 6},
		{`[` + strings.Repeat("9", numberBytesMax+1) + `]`, "/0", "characters", 1, 2},
		{strings.Repeat("[", depthMax+1) + strings.Repeat("]", depthMax+1), "", "deep", 1, depthMax + 1},
		{strings.Repeat("[", 1_000_000), "", "deep", 1, depthMax + 1},
		{strings.Repeat(`{"a":`, 100), "", "deep", 1, depthMax*5 + 1},
	} {
		err := checkJSON([]byte(tt.doc))
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != fault.Validation || len(f.Details) != 1 {
			t.Errorf("checkJSON(%.40s) = %v, want a validation error with one detail", tt.doc, err)
			continue
		}
		d := f.Details[0]
		if d.Pointer != tt.pointer || !strings.Contains(d.Message, tt.message) || d.Line != tt.line || d.Column != tt.column || d.Remedy == "" {
			t.Errorf("checkJSON(%.40s) = %+v, want %q at %q, line %d, column %d, and a remedy", tt.doc, d, tt.message, tt.pointer, tt.line, tt.column)
		}
	}
}

// Whatever passes is JSON to encoding/json too, without loss: read into any and
// written again it has the same members.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}],"c":"\ud83d\ude00"}`, `[1e400]`, `{"a":1,"a":2}`, `"\u0000"`, `[[[[`, `{"a":tru}`, "\xff", `-`, `"\u12`, `{"a" 1}`, `[1 2]`, `"\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		err := checkJSON(doc)
		if err != nil {
			if fe, ok := errors.AsType[*fault.Error](err); !ok || fe.Code != fault.Validation {
				t.Fatalf("checkJSON = %v, want a validation error", err)
			}
			return
		}
		var v any
		if err := json.Unmarshal(doc, &v); err != nil {
			t.Fatalf("checkJSON passed what encoding/json refuses: %v", err)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(again), "\ufffd") && !strings.Contains(string(doc), "\ufffd") && !strings.Contains(strings.ToLower(string(doc)), `\ufffd`) {
			t.Fatalf("%q lost a character: %q", doc, again)
		}
	})
}

func FuzzPosition(f *testing.F) {
	for _, s := range []string{"", "0", "1", "-1", "+1", "01", "9223372036854775808", "1.0", "1e3", " 1", "x", "\x00"} {
		f.Add(s, int64(3))
	}
	f.Fuzz(func(t *testing.T, id string, last int64) {
		after, err := position(&eventsInput{LastEventID: id}, last)
		if err != nil {
			if fault.CodeOf(err) != fault.Validation {
				t.Fatalf("position(%q) = %v, want a validation error", id, err)
			}
			return
		}
		if after < 0 || last >= 0 && after > last {
			t.Fatalf("position(%q) = %d with newest %d", id, after, last)
		}
	})
}

func FuzzPointer(f *testing.F) {
	f.Add([]byte(`{"labels":{"a.b":1,"a":{"b":2}}}`), "body.labels.a.b")
	f.Add([]byte(`{"a":[{"x]":1}]}`), "body.a[0].x]")
	f.Add([]byte(`[`), "body.")
	f.Add([]byte(`{}`), "query.limit")
	f.Fuzz(func(t *testing.T, body []byte, location string) {
		p := (&request{body: body}).pointer(location)
		if p != "" && p[0] != '/' {
			t.Fatalf("pointer(%q) = %q, want a JSON Pointer", location, p)
		}
	})
}

func TestPointer(t *testing.T) {
	t.Parallel()
	r := &request{body: []byte(`{"labels":{"a.b":1,"x[0]":2},"allowed_actions":["a",{"q/r":1}],"goal":{}}`)}
	for location, want := range map[string]string{
		"body":                        "",
		"body.goal":                   "/goal",
		"body.goal.description":       "/goal/description",
		"body.labels.a.b":             "/labels/a.b",
		"body.labels.x[0]":            "/labels/x[0]",
		"body.allowed_actions[1].q/r": "/allowed_actions/1/q~1r",
		"query.limit":                 "/query/limit",
		"header.If-None-Match":        "/header/If-None-Match",
	} {
		if got := r.pointer(location); got != want {
			t.Errorf("pointer(%q) = %q, want %q", location, got, want)
		}
	}
}
