package llm_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/planner/llm"
)

func TestAnthropicRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"reply":"ok"}]}`)
	temp := 1.5
	p := planner.Prompt{Temperature: &temp, MaxTokens: 300, Schema: json.RawMessage(`{}`)}
	for _, m := range [][2]string{{"system", "rules"}, {"user", "a"}, {"user", "b"}, {"assistant", "c"}, {"system", "more"}, {"user", ""}} {
		p.Messages = append(p.Messages, planner.Message{Role: m[0], Parts: []planner.Part{{Text: m[1]}}})
	}
	m := b.anthropic(t, func(c *llm.AnthropicConfig) {
		c.Headers = map[string]string{"Anthropic-Beta": "x"}
		c.ExtraBody = json.RawMessage(`{"top_k":5}`)
	})
	if _, err := m.Complete(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	req := b.server.Requests()[0]
	if req.Header.Get("X-Api-Key") != key || req.Header.Get("Anthropic-Version") == "" || req.Header.Get("Authorization") != "" || req.Header.Get("Anthropic-Beta") != "x" {
		t.Errorf("headers = %v", req.Header)
	}
	want := `{"max_tokens":300,"messages":[` +
		`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},` +
		`{"role":"assistant","content":[{"type":"text","text":"c"}]},` +
		`{"role":"user","content":[{"type":"text","text":"(empty)"}]}],` +
		`"model":"claude-haiku-4-5","stream":true,` +
		`"system":[{"type":"text","text":"rules"},{"type":"text","text":"more","cache_control":{"type":"ephemeral"}}],` +
		`"temperature":1,"top_k":5}`
	if string(req.Body) != want {
		t.Errorf("body = %s\nwant   %s", req.Body, want)
	}
}

func TestAnthropicWithoutUserOrLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"match":{"role":"user","contains":["alone"]},"reply":"ok"}]}`)
	p := planner.Prompt{Messages: []planner.Message{{Role: "system", Parts: []planner.Part{{Text: "alone"}}}}}
	if _, err := b.anthropic(t).Complete(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	if body := b.body(t); body["max_tokens"] != 4096.0 || body["system"] != nil {
		t.Errorf("body = %v", body)
	}
}

func TestAnthropicAnswers(t *testing.T) {
	t.Parallel()
	event := func(s string) string { return "event: x\ndata: " + s + "\n\n" }
	stop := func(reason string) string {
		return event(`{"type":"message_delta","delta":{"stop_reason":"`+reason+`"},"usage":{"output_tokens":7}}`) + event(`{"type":"message_stop"}`)
	}
	start := event(`{"type":"message_start","message":{"id":"m1","model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":10,"cache_read_input_tokens":20,"cache_creation_input_tokens":30,"output_tokens":1}}}`)
	text := func(s string) string {
		return event(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) +
			event(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`+s+`"}}`) + event(`{"type":"content_block_stop","index":0}`)
	}
	tool := event(`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"search","input":{}}}`) +
		event(`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"q\":"}}`) +
		event(`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"x\"}"}}`)
	for name, c := range map[string]struct{ kind, body, want string }{
		"text":        {"text/event-stream", start + event(`{"type":"ping"}`) + text("hi") + stop("end_turn"), "hi stop []"},
		"length":      {"text/event-stream", start + text("h") + stop("max_tokens"), "h length []"},
		"window":      {"text/event-stream", start + text("h") + stop("model_context_window_exceeded"), "h length []"},
		"refusal":     {"text/event-stream", start + stop("refusal"), " refusal []"},
		"tool":        {"text/event-stream", start + text("so") + tool + stop("tool_use"), `so tool_calls [search {"q":"x"}]`},
		"new events":  {"text/event-stream", start + event(`{"type":"mood","level":{"a":1}}`) + text("hi") + stop("stop_sequence"), "hi stop []"},
		"whole":       {"application/json", `{"type":"message","id":"m1","model":"claude-sonnet-4-5-20250929","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_read_input_tokens":20,"cache_creation_input_tokens":30,"output_tokens":7}}`, "hi stop []"},
		"whole, tool": {"application/json", `{"type":"message","id":"m1","model":"claude-sonnet-4-5-20250929","content":[{"type":"tool_use","name":"search","input":{"q":1}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"cache_read_input_tokens":20,"cache_creation_input_tokens":30,"output_tokens":7}}`, ` tool_calls [search {"q":1}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := serve(t, c.kind, c.body)
			got, err := b.anthropic(t).Complete(t.Context(), ask("x"), nil)
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			for _, call := range got.Calls {
				calls = append(calls, call.Name+" "+string(call.Args))
			}
			if s := fmt.Sprint(got.Text, " ", got.Finish, " ", calls); s != c.want {
				t.Errorf("Complete = %q, want %q", s, c.want)
			}
			u := got.Usage
			if u.PromptTokens != 60 || u.CachedTokens != 20 || u.CompletionTokens != 7 || u.Estimated {
				t.Errorf("usage = %+v", u)
			}
			if want := (10*3 + 20*0.3 + 30*3.75 + 7*15) / 1e6; u.CostUSD < want*0.999 || u.CostUSD > want*1.001 {
				t.Errorf("cost = %v, want %v", u.CostUSD, want)
			}
		})
	}
}

func TestAnthropicBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, words string
		code        fault.Code
		requests    int
	}{
		"overloaded":    {`data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}` + "\n\n", "Overloaded", fault.ModelFailed, 3},
		"invalid":       {`data: {"type":"error","error":{"type":"invalid_request_error","message":"bad"}}` + "\n\n", "bad", fault.ModelMisconfigured, 1},
		"cut":           {`data: {"type":"message_start","message":{"id":"x"}}` + "\n\n", "middle of the answer", fault.ModelFailed, 3},
		"no content":    {`data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}` + "\n\n", "no content", fault.ModelFailed, 3},
		"not JSON":      {"data: [[[\n\n", "not what it should be", fault.ModelFailed, 3},
		"an empty body": {"", "middle of the answer", fault.ModelFailed, 3},
		"a long line":   {"data: " + strings.Repeat("x", 5<<20), "more than 4194304 bytes", fault.ModelFailed, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, requests := serve(t, "text/event-stream", c.body)
			_, err := b.anthropic(t).Complete(t.Context(), ask("x"), nil)
			wantFault(t, err, c.code, c.words)
			if n := requests(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}
