package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// answerJSON returns what a person typed in the form that a question's schema
// wants. Text that is a JSON object or array is taken as that. Where the schema
// wants an object that can be told from one member, because it has or requires
// no other, the text is that member, and where it wants a number or a truth
// value and the text is one, it is taken as such. All other text is a string.
// The server has the last word.
func answerJSON(text string, schema json.RawMessage) json.RawMessage {
	trimmed := strings.TrimSpace(text)
	if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		if json.Valid([]byte(trimmed)) {
			return json.RawMessage(trimmed)
		}
	}
	var s struct {
		Type       any                        `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	// A schema in another form, true for instance, says nothing here.
	_ = json.Unmarshal(schema, &s)
	if len(s.Required) == 0 {
		s.Required = slices.Collect(maps.Keys(s.Properties))
	}
	if s.Type == "object" && len(s.Required) == 1 {
		name := s.Required[0]
		return encodeJSON(map[string]json.RawMessage{name: answerJSON(text, s.Properties[name])})
	}
	switch s.Type {
	case "number", "integer", "boolean":
		if json.Valid([]byte(trimmed)) {
			return json.RawMessage(trimmed)
		}
	}
	return encodeJSON(text)
}

func encodeJSON(v any) json.RawMessage {
	b, _ := json.Marshal(v) // only text and valid JSON come here, which always encode
	return b
}
