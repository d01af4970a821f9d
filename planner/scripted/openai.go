package scripted

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// openAI is the chat completions protocol.
type openAI struct{}

func (openAI) read(body []byte) (prompt, error) {
	var r struct {
		Model    string `json:"model"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Stream        bool `json:"stream"`
		StreamOptions *struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		ResponseFormat json.RawMessage `json:"response_format"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return prompt{}, err
	}
	if r.Model == "" {
		return prompt{}, errors.New("you must provide a model parameter")
	}
	if len(r.Messages) == 0 {
		return prompt{}, errors.New("messages is empty")
	}
	p := prompt{model: r.Model, stream: r.Stream, schema: r.ResponseFormat != nil}
	p.usage = r.StreamOptions != nil && r.StreamOptions.IncludeUsage
	for _, m := range r.Messages {
		role := m.Role
		if role == "developer" {
			role = "system"
		}
		text, err := contentText(m.Content)
		if err != nil {
			return prompt{}, err
		}
		p.messages = append(p.messages, message{role, text})
	}
	return p, nil
}

// contentText reads a message's content: a string, or parts with text.
func contentText(raw json.RawMessage) (string, error) {
	var text string
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", errors.New("content is neither a string nor a list of parts")
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String(), nil
}

type openAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (openAI) fail(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, map[string]any{"error": openAIError{Message: message, Type: kind}})
}

type openAIToolCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type openAIMessage struct {
	Role      string           `json:"role,omitempty"`
	Content   *string          `json:"content,omitempty"`
	Refusal   string           `json:"refusal,omitempty"`
	Reasoning string           `json:"reasoning_content,omitempty"`
	ToolCalls []openAIToolCall `json:"tool_calls,omitempty"`
}

type openAIChoice struct {
	Index   int            `json:"index"`
	Message *openAIMessage `json:"message,omitempty"`
	Delta   *openAIMessage `json:"delta,omitempty"`
	Finish  *string        `json:"finish_reason"`
}

type openAIChunk struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	Choices []openAIChoice  `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
}

// envelope returns a chunk or an answer without choices. Id and time are
// fixed: the same request gives the same bytes.
func (openAI) envelope(object, model string) openAIChunk {
	return openAIChunk{ID: "chatcmpl-scripted", Object: object, Created: 1767225600, Model: model, Choices: []openAIChoice{}}
}

func (openAI) usage(a answer) json.RawMessage {
	if a.fault.NoUsage {
		return nil
	}
	if a.fault.Usage != nil {
		return a.fault.Usage
	}
	u := a.usage
	return encode(map[string]any{
		"prompt_tokens": u.PromptTokens, "completion_tokens": u.CompletionTokens, "total_tokens": u.PromptTokens + u.CompletionTokens,
		"prompt_tokens_details":     map[string]int64{"cached_tokens": u.CachedTokens},
		"completion_tokens_details": map[string]int64{"reasoning_tokens": u.ReasoningTokens},
	})
}

func (openAI) toolCalls(calls []ToolCall, streamed bool) (out []openAIToolCall) {
	for i, c := range calls {
		t := openAIToolCall{ID: "call_" + string(rune('a'+i%26)), Type: "function"}
		if streamed {
			t.Index = &i
		}
		t.Function.Name, t.Function.Arguments = c.Name, c.Arguments
		out = append(out, t)
	}
	return out
}

// finishReason returns the wire's word. A refusal is a message of its own kind
// that ends with "stop".
func (openAI) finishReason(a answer) *string {
	reason := a.finish()
	if reason == "refusal" {
		reason = "stop"
	}
	return &reason
}

func (o openAI) whole(w http.ResponseWriter, a answer) {
	out := o.envelope("chat.completion", a.prompt.model)
	out.Usage = o.usage(a)
	if !a.fault.EmptyChoices {
		m := openAIMessage{Role: "assistant", Content: &a.text, Reasoning: a.rule.Reasoning, ToolCalls: o.toolCalls(a.rule.ToolCalls, false)}
		if a.fault.Finish == "refusal" {
			m.Content, m.Refusal = nil, a.text
		}
		out.Choices = append(out.Choices, openAIChoice{Message: &m, Finish: o.finishReason(a)})
	}
	writeJSON(w, http.StatusOK, out)
}

func (o openAI) stream(a answer) events {
	chunk := func(choices ...openAIChoice) string {
		c := o.envelope("chat.completion.chunk", a.prompt.model)
		c.Choices = append(c.Choices, choices...)
		return "data: " + string(encode(c)) + "\n\n"
	}
	delta := func(m openAIMessage) string { return chunk(openAIChoice{Delta: &m}) }
	empty := ""
	e := events{failed: `data: {"id":"chatcmpl-scripted","error":{"message":"scripted fault","type":"server_error","code":500}}` + "\n\n"}
	e.piece = func(s string) string {
		if a.fault.Finish == "refusal" {
			return delta(openAIMessage{Refusal: s})
		}
		return delta(openAIMessage{Content: &s})
	}
	if a.fault.EmptyChoices {
		e.end = []string{"data: [DONE]\n\n"}
		return e
	}
	e.begin = []string{delta(openAIMessage{Role: "assistant", Content: &empty})}
	if a.rule.Reasoning != "" {
		e.begin = append(e.begin, delta(openAIMessage{Reasoning: a.rule.Reasoning}))
	}
	if len(a.rule.ToolCalls) > 0 {
		e.middle = []string{delta(openAIMessage{ToolCalls: o.toolCalls(a.rule.ToolCalls, true)})}
	}
	e.end = []string{chunk(openAIChoice{Delta: &openAIMessage{}, Finish: o.finishReason(a)})}
	if usage := o.usage(a); usage != nil && a.prompt.usage {
		c := o.envelope("chat.completion.chunk", a.prompt.model)
		c.Usage = usage
		e.end = append(e.end, "data: "+string(encode(c))+"\n\n")
	}
	e.end = append(e.end, "data: [DONE]\n\n")
	return e
}
