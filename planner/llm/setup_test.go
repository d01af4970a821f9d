package llm_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/planner/llm"
	"github.com/oap-runtime/oap/planner/scripted"
)

const key = "sk-canary-1234567890+/="

// A bundle is a scripted server and clients of it that do not wait long.
type bundle struct {
	server *scripted.Server
	url    string
}

func setup(t *testing.T, script string) bundle {
	t.Helper()
	s, err := scripted.LoadScript([]byte(script))
	if err != nil {
		t.Fatalf("LoadScript: %v", err)
	}
	srv := scripted.NewServer(s, scripted.ServerConfig{APIKey: key})
	h := httptest.NewServer(srv)
	t.Cleanup(h.Close)
	return bundle{server: srv, url: h.URL}
}

func (b bundle) openAI(t *testing.T, change ...func(*llm.OpenAIConfig)) *llm.OpenAI {
	t.Helper()
	cfg := llm.OpenAIConfig{BaseURL: b.url + "/v1/", APIKey: key, Backoff: time.Microsecond}
	for _, f := range change {
		f(&cfg)
	}
	m, err := llm.NewOpenAI(cfg)
	if err != nil {
		t.Fatalf("NewOpenAI: %v", err)
	}
	return m
}

func (b bundle) anthropic(t *testing.T, change ...func(*llm.AnthropicConfig)) *llm.Anthropic {
	t.Helper()
	cfg := llm.AnthropicConfig{BaseURL: b.url, APIKey: key, Backoff: time.Microsecond}
	for _, f := range change {
		f(&cfg)
	}
	m, err := llm.NewAnthropic(cfg)
	if err != nil {
		t.Fatalf("NewAnthropic: %v", err)
	}
	return m
}

// both runs a test against either protocol.
func both(t *testing.T, script string, test func(t *testing.T, b bundle, m planner.Model)) {
	t.Helper()
	t.Run("openai", func(t *testing.T) {
		t.Parallel()
		b := setup(t, script)
		test(t, b, b.openAI(t))
	})
	t.Run("anthropic", func(t *testing.T) {
		t.Parallel()
		b := setup(t, script)
		test(t, b, b.anthropic(t))
	})
}

func ask(text string) planner.Prompt {
	return planner.Prompt{Messages: []planner.Message{
		{Role: "system", Parts: []planner.Part{{Text: "be "}, {Text: "brief"}}},
		{Role: "user", Parts: []planner.Part{{Text: text}}},
	}}
}

// body returns the newest request's body.
func (b bundle) body(t *testing.T) map[string]any {
	t.Helper()
	reqs := b.server.Requests()
	if len(reqs) == 0 {
		t.Fatal("the server got no request")
	}
	var m map[string]any
	if err := json.Unmarshal(reqs[len(reqs)-1].Body, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// recorder keeps what was emitted, with "|" where the answer starts over.
type recorder struct{ strings.Builder }

func (r *recorder) emit(s string) {
	if s == "" {
		s = "|"
	}
	r.WriteString(s)
}

// wantFault checks code and words of an error and that it holds no secret.
func wantFault(t *testing.T, err error, code fault.Code, words ...string) *fault.Error {
	t.Helper()
	if fault.CodeOf(err) != code || err == nil {
		t.Fatalf("error = %v, want code %s", err, code)
	}
	f := fault.From(err)
	for _, w := range append(words, "LLM request failed") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error = %v, want it to say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "canary") || f.Err != nil && strings.Contains(f.Err.Error(), "canary") {
		t.Errorf("error = %v, holds the key", err)
	}
	return f
}
