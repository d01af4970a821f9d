package manifest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// infer fills in the effect and risk that an action does not declare.
//
//	invoke_api  GET, HEAD     read        low
//	            PUT           idempotent  medium
//	            DELETE        idempotent  high
//	            POST, PATCH   once        medium
//	run_code                  read        low
//	read_file                 read        low
//	write_file                idempotent  medium
//	human_intervention        read        low
//
// A declared effect "read" makes the risk low, and "destructive": true makes
// it high. safety_level is never looked at: it does not say which way it is
// meant (C-13).
func infer(a *Action, f *fields) {
	if a.Effect == "" {
		a.Effect = inferEffect(a)
	}
	if a.Risk != "" {
		return
	}
	destructive := f.n.get("destructive")
	switch {
	case destructive != nil && destructive.text == "true":
		a.Risk = High
	case a.HTTP != nil && a.HTTP.Method == http.MethodDelete:
		a.Risk = High
	case a.Effect == Read:
		a.Risk = Low
	default:
		a.Risk = Medium
	}
}

func inferEffect(a *Action) Effect {
	switch a.Type {
	case WriteFile:
		return Idempotent
	case InvokeAPI:
		switch a.HTTP.Method {
		case http.MethodGet, http.MethodHead:
			return Read
		case http.MethodPut, http.MethodDelete:
			return Idempotent
		}
		return Once
	}
	return Read
}

// defaultInput is the input schema of an action that declares none. Files and
// people have arguments of their own; anything else takes any object.
func (a *Action) defaultInput() *Schema {
	type property struct {
		Type        any    `json:"type,omitempty"`
		Description string `json:"description"`
	}
	properties := map[string]property{}
	if a.File != nil {
		for _, m := range placeholder.FindAllStringSubmatch(a.File.Path, -1) {
			properties[m[1]] = property{[]string{"string", "number"}, "Fills {" + m[1] + "} in the path " + a.File.Path}
		}
		if a.File.Path == "" {
			properties["path"] = property{"string", "Path of the file, such as reports/today.txt"}
		}
		if a.Type == WriteFile && a.File.Encoding == "json" {
			properties["content"] = property{nil, "Value to store, as JSON"}
		} else if a.Type == WriteFile {
			properties["content"] = property{"string", "Text to store"}
		}
	}
	if a.Human != nil && a.Human.Prompt == "" {
		properties["question"] = property{"string", "What to ask the person"}
	}
	schema := map[string]any{"type": "object"}
	if len(properties) > 0 {
		required := make([]string, 0, len(properties))
		for _, name := range sortedKeys(properties) {
			required = append(required, name)
		}
		schema["properties"], schema["required"] = properties, required
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		panic("manifest: default input schema: " + err.Error())
	}
	return mustCompile(raw)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
