package planner

import (
	"encoding/json"
	"strings"

	"github.com/oap-runtime/oap/manifest"
)

// nativeSchemaMax bounds the schema handed to a provider's native structured
// output; above it none is used. Providers compile it into a grammar and refuse
// or stall on large ones.
const nativeSchemaMax = 64 << 10

// answerSchema returns the JSON Schema of an answer for native structured
// output: one call of an action with its arguments, a plan of several, or the
// end. nil means that free text is asked for. It is a help for the model, not a
// check: a plan's arguments are left open, because a placeholder may stand for
// a value of any type.
func answerSchema(actions []*manifest.Action) json.RawMessage {
	type object = map[string]any
	branch := func(required []string, properties object) object {
		return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	names := make([]string, 0, len(actions))
	var forms []object
	for _, a := range actions {
		names = append(names, a.Name)
		forms = append(forms, branch([]string{"action", "args"}, object{
			"action": object{"type": "string", "const": a.Name},
			"args":   embeddable(a.Input.JSON()),
		}))
	}
	step := branch([]string{"action", "args"}, object{
		"action":     object{"type": "string", "enum": names},
		"args":       object{"type": "object"},
		"output_key": object{"type": "string"},
	})
	list := object{"type": "array", "items": step, "minItems": 1, "maxItems": CallsMax}
	forms = append(forms,
		branch([]string{"plan"}, object{"plan": list}),
		branch([]string{"parallel"}, object{"parallel": list}),
		branch([]string{"finished", "answer"}, object{
			"finished": object{"type": "boolean", "const": true},
			"answer":   object{"type": []string{"string", "number", "boolean", "null", "object", "array"}},
		}))
	schema := json.RawMessage(oneLine(object{"type": "object", "oneOf": forms}))
	if len(schema) > nativeSchemaMax {
		return nil
	}
	return schema
}

// embeddable returns an input schema as part of another one. References inside
// it would point to the wrong place there, so a schema with any is opened up.
func embeddable(input json.RawMessage) json.RawMessage {
	for _, keyword := range [...]string{`"$ref"`, `"$dynamicRef"`, `"$id"`, `"$anchor"`, `"$dynamicAnchor"`} {
		if strings.Contains(string(input), keyword) {
			return json.RawMessage(`{"type":"object"}`)
		}
	}
	if strings.TrimSpace(string(input)) == "true" {
		return json.RawMessage(`{"type":"object"}`)
	}
	return input
}
