package manifest

import "sync"

// Ask is the built-in human_intervention action every session can use when
// the manifest declares none with that name.
func Ask() *Action { return ask() }

var ask = sync.OnceValue(func() *Action {
	return &Action{
		Name:        "human_intervention",
		Title:       "Ask a person",
		Description: "Pause and ask a person, when something is missing or unclear that no other action can find out. Ask one precise question.",
		Type:        HumanIntervention,
		Input: mustCompile([]byte(`{
			"type": "object",
			"properties": {
				"question": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "What to ask, such as: Which time zone should I use?"},
				"choices": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "maxItems": 20, "description": "Answers to offer, if there are few"}
			},
			"required": ["question"],
			"additionalProperties": false
		}`)),
		Human:  &HumanOptions{},
		Effect: Read,
		Risk:   Low,
	}
})
