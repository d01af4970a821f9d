package scripted

import (
	"encoding/json"
	"errors"
	"net/http"
)

// anthropic is the Messages protocol.
type anthropic struct{}

func (anthropic) read(body []byte) (prompt, error) {
	var r struct {
		Model     string          `json:"model"`
		MaxTokens int             `json:"max_tokens"`
		System    json.RawMessage `json:"system"`
		Messages  []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Stream bool            `json:"stream"`
		Format json.RawMessage `json:"output_config"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return prompt{}, err
	}
	switch {
	case r.Model == "":
		return prompt{}, errors.New("model: Field required")
	case r.MaxTokens < 1:
		return prompt{}, errors.New("max_tokens: Field required")
	case len(r.Messages) == 0:
		return prompt{}, errors.New("messages: at least one message is required")
	}
	p := prompt{model: r.Model, stream: r.Stream, usage: true, schema: r.Format != nil}
	if len(r.System) > 0 {
		text, err := contentText(r.System)
		if err != nil {
			return prompt{}, err
		}
		p.messages = append(p.messages, message{"system", text})
	}
	for _, m := range r.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return prompt{}, errors.New("messages: role must be user or assistant")
		}
		text, err := contentText(m.Content)
		if err != nil {
			return prompt{}, err
		}
		if text == "" {
			return prompt{}, errors.New("messages: text content blocks must be non-empty")
		}
		p.messages = append(p.messages, message{m.Role, text})
	}
	return p, nil
}

func (anthropic) errorBody(kind, message string) any {
	if kind == "server_error" {
		kind = "api_error"
	}
	return map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}}
}

func (a anthropic) fail(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, a.errorBody(kind, message))
}

func (anthropic) stopReason(a answer) string {
	switch a.finish() {
	case "length":
		return "max_tokens"
	case "content_filter", "refusal":
		return "refusal"
	case "tool_calls":
		return "tool_use"
	}
	return "end_turn"
}

// usage leaves cached tokens out of the input tokens, as the protocol does.
func (anthropic) usage(a answer) json.RawMessage {
	if a.fault.NoUsage {
		return json.RawMessage("null")
	}
	if a.fault.Usage != nil {
		return a.fault.Usage
	}
	return encode(map[string]int64{
		"input_tokens": a.usage.PromptTokens - a.usage.CachedTokens, "output_tokens": a.usage.CompletionTokens,
		"cache_read_input_tokens": a.usage.CachedTokens, "cache_creation_input_tokens": 0,
	})
}

type block map[string]any

// toolBlock returns a tool call as content. Streamed, its input is empty at first
// and follows in pieces.
func (anthropic) toolBlock(c ToolCall, i int, input json.RawMessage) block {
	return block{"type": "tool_use", "id": "toolu_" + string(rune('a'+i%26)), "name": c.Name, "input": input}
}

func (n anthropic) whole(w http.ResponseWriter, a answer) {
	content := []block{}
	if !a.fault.EmptyChoices {
		if a.rule.Reasoning != "" {
			content = append(content, block{"type": "thinking", "thinking": a.rule.Reasoning, "signature": ""})
		}
		if a.text != "" {
			content = append(content, block{"type": "text", "text": a.text})
		}
		for i, c := range a.rule.ToolCalls {
			input := json.RawMessage(c.Arguments)
			if !json.Valid(input) {
				input = encode(c.Arguments)
			}
			content = append(content, n.toolBlock(c, i, input))
		}
	}
	writeJSON(w, http.StatusOK, n.message(a, content, n.stopReason(a), n.usage(a)))
}

func (anthropic) message(a answer, content []block, stop any, usage json.RawMessage) map[string]any {
	return map[string]any{
		"id": "msg_scripted", "type": "message", "role": "assistant", "model": a.prompt.model,
		"content": content, "stop_reason": stop, "stop_sequence": nil, "usage": usage,
	}
}

func (n anthropic) stream(a answer) events {
	event := func(kind string, members block) string {
		members["type"] = kind
		return "event: " + kind + "\ndata: " + string(encode(members)) + "\n\n"
	}
	delta := func(index int, kind, member, text string) string {
		return event("content_block_delta", block{"index": index, "delta": block{"type": kind, member: text}})
	}
	start := func(index int, b block) string {
		return event("content_block_start", block{"index": index, "content_block": b})
	}
	stop := func(index int) string { return event("content_block_stop", block{"index": index}) }

	e := events{failed: "event: error\ndata: " + string(encode(n.errorBody("overloaded_error", "scripted fault"))) + "\n\n"}
	e.begin = []string{event("message_start", block{"message": n.message(a, []block{}, nil, n.usage(a))}), event("ping", block{})}
	index := 0
	if a.rule.Reasoning != "" {
		e.begin = append(e.begin, start(index, block{"type": "thinking", "thinking": ""}),
			delta(index, "thinking_delta", "thinking", a.rule.Reasoning), stop(index))
		index++
	}
	text := index
	e.piece = func(s string) string { return delta(text, "text_delta", "text", s) }
	if !a.fault.EmptyChoices {
		e.begin = append(e.begin, start(index, block{"type": "text", "text": ""}))
		e.middle = []string{stop(index)}
	}
	for i, c := range a.rule.ToolCalls {
		index++
		e.middle = append(e.middle, start(index, n.toolBlock(c, i, json.RawMessage("{}"))),
			delta(index, "input_json_delta", "partial_json", c.Arguments), stop(index))
	}
	e.end = []string{
		event("message_delta", block{"delta": block{"stop_reason": n.stopReason(a), "stop_sequence": nil}, "usage": n.usage(a)}),
		event("message_stop", block{}),
	}
	return e
}
