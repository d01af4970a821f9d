package llm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

const (
	// guestRequestMax and guestMessagesMax bound a request of guest code; larger
	// ones are refused.
	guestRequestMax  = 256 << 10
	guestMessagesMax = 64

	// guestTokensDefault is the length limit of an answer for requests without
	// one, guestTokensMax the largest that is passed on; larger ones are lowered.
	guestTokensDefault = 1024
	guestTokensMax     = 4096
)

// Guest lets guest code use a model through the chat completions protocol
// (D-5, S2-37). The returned function takes a request {model, messages,
// temperature, max_tokens} and returns a response {choices, model, usage} as an
// OpenAI server would. The code does not choose the model: the name that it
// asks for is its author's, and the model is the operator's. Streams, tools and
// more than one choice are refused.
//
// The error is a *fault.Error: ActionInvalid for a request that cannot be
// served, otherwise the model's own. Usage is valid in either case.
func Guest(m planner.Model) func(ctx context.Context, request json.RawMessage) (response json.RawMessage, usage planner.Usage, err error) {
	return func(ctx context.Context, request json.RawMessage) (json.RawMessage, planner.Usage, error) {
		p, err := guestPrompt(request)
		if err != nil {
			return nil, planner.Usage{}, err
		}
		c, err := m.Complete(ctx, p, nil)
		if err != nil {
			return nil, c.Usage, err
		}
		return guestResponse(c), c.Usage, nil
	}
}

type guestRequest struct {
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Temperature *float64        `json:"temperature"`
	MaxTokens   *int            `json:"max_tokens"`
	MaxNew      *int            `json:"max_completion_tokens"`
	Stream      bool            `json:"stream"`
	N           *int            `json:"n"`
	Tools       json.RawMessage `json:"tools"`
	Functions   json.RawMessage `json:"functions"`
}

func guestPrompt(request json.RawMessage) (planner.Prompt, error) {
	refuse := func(pointer, message, remedy string) (planner.Prompt, error) {
		return planner.Prompt{}, fault.New(fault.ActionInvalid, "the code's request to the model is not valid").
			With(fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
	}
	if len(request) > guestRequestMax {
		return refuse("", fmt.Sprintf("the request has %d bytes, the most is %d", len(request), guestRequestMax), "send less text")
	}
	var r guestRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return refuse("", "the request is not a chat completion: "+err.Error(), "send model and messages")
	}
	switch {
	case len(r.Messages) == 0:
		return refuse("/messages", "there is no message", `send at least {"role": "user", "content": "…"}`)
	case len(r.Messages) > guestMessagesMax:
		return refuse("/messages", fmt.Sprintf("there are %d messages, the most is %d", len(r.Messages), guestMessagesMax), "send the newest only")
	case r.Stream:
		return refuse("/stream", "answers are not streamed to code", "leave it out")
	case r.N != nil && *r.N != 1:
		return refuse("/n", "there is one choice", "leave it out")
	case len(r.Tools) > 0 || len(r.Functions) > 0:
		return refuse("/tools", "the model cannot call functions of the code", "leave them out")
	case r.Temperature != nil && !(*r.Temperature >= 0 && *r.Temperature <= 2):
		return refuse("/temperature", "the temperature is not between 0 and 2", "")
	}
	p := planner.Prompt{Temperature: r.Temperature, MaxTokens: guestTokensDefault}
	for _, limit := range []*int{r.MaxTokens, r.MaxNew} {
		if limit == nil {
			continue
		}
		if *limit < 1 {
			return refuse("/max_tokens", "the length limit is less than 1", "leave it out for the default")
		}
		p.MaxTokens = min(*limit, guestTokensMax)
	}
	for i, m := range r.Messages {
		role := m.Role
		if role == "developer" {
			role = "system"
		}
		if role != "system" && role != "user" && role != "assistant" {
			return refuse(fmt.Sprintf("/messages/%d/role", i), fmt.Sprintf("the role is %q", clip(role, messageMax)), "use system, user or assistant")
		}
		text := contentText(m.Content)
		if text == "" && strings.Trim(string(m.Content), " \t\r\n\"") != "" {
			return refuse(fmt.Sprintf("/messages/%d/content", i), "the content is not text", "send a string")
		}
		p.Messages = append(p.Messages, planner.Message{Role: role, Parts: []planner.Part{{Text: text}}})
	}
	return p, nil
}

// guestResponse has a fixed id and time: the same answer gives the same bytes,
// so that a replayed run sees what the first one saw.
func guestResponse(c planner.Completion) json.RawMessage {
	finish := c.Finish
	if finish == "refusal" || finish == "" || finish == "tool_calls" {
		finish = "stop"
	}
	return encode(map[string]any{
		"id": "chatcmpl-host", "object": "chat.completion", "created": 0, "model": c.Model,
		"choices": []any{map[string]any{
			"index": 0, "finish_reason": finish,
			"message": map[string]any{"role": "assistant", "content": c.Text},
		}},
		"usage": map[string]int64{
			"prompt_tokens": c.Usage.PromptTokens, "completion_tokens": c.Usage.CompletionTokens,
			"total_tokens": c.Usage.PromptTokens + c.Usage.CompletionTokens,
		},
	})
}
