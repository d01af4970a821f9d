package main

import (
	"encoding/json"
	"testing"
)

func TestAnswerJSON(t *testing.T) {
	t.Parallel()
	choice := `{"type":"object","properties":{"answer":{"enum":["Send it","Stop"]}},"required":["answer"]}`
	tests := []struct{ text, schema, want string }{
		{"Send it", choice, `{"answer":"Send it"}`},
		{`{"answer":"Stop"}`, choice, `{"answer":"Stop"}`},
		{"42", choice, `{"answer":"42"}`},
		{"42", `{"type":"object","properties":{"n":{"type":"integer"}}}`, `{"n":42}`},
		{"soon", `{"type":"integer"}`, `"soon"`},
		{" true ", `{"type":"boolean"}`, `true`},
		{"true", `{"type":"string"}`, `"true"`},
		{"a", `{"type":"object","properties":{"x":{},"y":{}}}`, `"a"`},
		{"a", `{"type":"object","properties":{"x":{},"y":{}},"required":["y"]}`, `{"y":"a"}`},
		{"[1, 2]", ``, `[1, 2]`},
		{"[1, 2", ``, `"[1, 2"`},
		{"{not json}", `true`, `"{not json}"`},
		{"", ``, `""`},
	}
	for _, tt := range tests {
		if got := answerJSON(tt.text, json.RawMessage(tt.schema)); string(got) != tt.want {
			t.Errorf("answerJSON(%q, %s) = %s, want %s", tt.text, tt.schema, got, tt.want)
		}
	}
}

// Whatever is typed, what is sent is JSON.
func FuzzAnswerJSON(f *testing.F) {
	f.Add("Send it", `{"type":"object","properties":{"answer":{"enum":["Send it"]}}}`)
	f.Add("[1", `{"type":"number"}`)
	f.Fuzz(func(t *testing.T, text, schema string) {
		if got := answerJSON(text, json.RawMessage(schema)); !json.Valid(got) {
			t.Errorf("answerJSON(%q, %q) = %q, which is not JSON", text, schema, got)
		}
	})
}
