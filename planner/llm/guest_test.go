package llm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner/llm"
)

// S2-37, D-5: the seed's own call gets an answer of the shape that it reads.
func TestGuest(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"match":{"role":"system","contains":["You are an agenda generator."]},"reply":"1. Intro","usage":{"prompt_tokens":12,"completion_tokens":3}}]}`)
	complete := llm.Guest(b.openAI(t, func(c *llm.OpenAIConfig) { c.Model = "house-model" }))
	request := json.RawMessage(`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are an agenda generator."},{"role":"user","content":[{"type":"text","text":"demo"}]}],"temperature":0,"max_tokens":99999,"user":"u"}`)
	resp, usage, err := complete(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"1. Intro","role":"assistant"}}],"created":0,"id":"chatcmpl-host","model":"house-model","object":"chat.completion","usage":{"completion_tokens":3,"prompt_tokens":12,"total_tokens":15}}`; string(resp) != want {
		t.Errorf("response = %s\nwant       %s", resp, want)
	}
	if usage.PromptTokens != 12 || usage.CompletionTokens != 3 {
		t.Errorf("usage = %+v", usage)
	}
	if body := b.body(t); body["model"] != "house-model" || body["temperature"] != 0.0 || body["max_tokens"] != 4096.0 {
		t.Errorf("body = %v, want the operator's model and a lowered limit", body)
	}
}

func TestGuestRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"reply":"ok"}]}`)
	complete := llm.Guest(b.openAI(t))
	user := `"messages":[{"role":"user","content":"x"}]`
	for name, c := range map[string]struct{ request, pointer string }{
		"not JSON":     {`{`, ""},
		"too large":    {`{"messages":[{"role":"user","content":"` + strings.Repeat("x", 300<<10) + `"}]}`, ""},
		"no messages":  {`{"messages":[]}`, "/messages"},
		"65 messages":  {`{"messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"x"},`, 65), ",") + `]}`, "/messages"},
		"role":         {`{"messages":[{"role":"tool","content":"x"}]}`, "/messages/0/role"},
		"content":      {`{"messages":[{"role":"user","content":{"a":1}}]}`, "/messages/0/content"},
		"stream":       {`{"stream":true,` + user + `}`, "/stream"},
		"two choices":  {`{"n":2,` + user + `}`, "/n"},
		"tools":        {`{"tools":[{}],` + user + `}`, "/tools"},
		"temperature":  {`{"temperature":9,` + user + `}`, "/temperature"},
		"length limit": {`{"max_tokens":0,` + user + `}`, "/max_tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := complete(t.Context(), json.RawMessage(c.request))
			if fault.CodeOf(err) != fault.ActionInvalid || fault.From(err).Details[0].Pointer != c.pointer {
				t.Errorf("error = %v, want code %s at %q", err, fault.ActionInvalid, c.pointer)
			}
		})
	}
}

func TestGuestPassesFailuresOn(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"fault":{"status":503}}]}`)
	_, _, err := llm.Guest(b.openAI(t))(t.Context(), json.RawMessage(`{"messages":[{"role":"user","content":"x"}]}`))
	wantFault(t, err, fault.ModelFailed, "503")
}
