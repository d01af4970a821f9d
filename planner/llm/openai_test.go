package llm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/planner/llm"
)

// S2-44, S2-24: both wire formats, streamed, with usage and cost (S2-100).
func TestCompleteStreams(t *testing.T) {
	t.Parallel()
	script := `{"rules":[{"match":{"role":"user","regex":["say (?P<what>.*)"]},"reply":"you said ${what}","chunk":3,
		"usage":{"prompt_tokens":1000,"completion_tokens":100,"cached_tokens":400},"reasoning":"hm"}]}`
	both(t, script, func(t *testing.T, b bundle, m planner.Model) {
		var r recorder
		p := ask("say wörld")
		p.Model = "gpt-4o-mini-2024-07-18"
		c, err := m.Complete(t.Context(), p, r.emit)
		if err != nil {
			t.Fatal(err)
		}
		if c.Text != "you said wörld" || r.String() != c.Text || c.Finish != "stop" || c.Model != p.Model {
			t.Errorf("Complete = %+v, emitted %q", c, r.String())
		}
		u := c.Usage
		if u.PromptTokens != 1000 || u.CompletionTokens != 100 || u.CachedTokens != 400 || u.Estimated {
			t.Errorf("usage = %+v", u)
		}
		if want := (600*0.15 + 400*0.075 + 100*0.6) / 1e6; math.Abs(u.CostUSD-want) > 1e-12 {
			t.Errorf("cost = %v, want %v", u.CostUSD, want)
		}
		if !strings.Contains(string(c.Extra), `"reasoning":"hm"`) {
			t.Errorf("extra = %s, want the reasoning", c.Extra)
		}
	})
}

func TestRequestBody(t *testing.T) {
	t.Parallel()
	zero, some := 0.0, 0.7
	with := func(f func(*planner.Prompt)) planner.Prompt { p := ask("x"); f(&p); return p }
	for name, c := range map[string]struct {
		prompt planner.Prompt
		config func(*llm.OpenAIConfig)
		want   map[string]string // member → JSON; "" for absent
	}{
		"defaults":                {ask("x"), nil, map[string]string{"model": `"gpt-4o-mini"`, "temperature": "", "max_tokens": "", "stream": "true", "stream_options": `{"include_usage":true}`, "response_format": ""}},
		"temperature 0 is sent":   {with(func(p *planner.Prompt) { p.Temperature = &zero; p.MaxTokens = 300 }), nil, map[string]string{"temperature": "0", "max_tokens": "300"}},
		"reasoning model":         {with(func(p *planner.Prompt) { p.Model = "o3-mini"; p.Temperature = &some; p.MaxTokens = 300 }), nil, map[string]string{"model": `"o3-mini"`, "temperature": "", "max_tokens": "", "max_completion_tokens": ""}},
		"reasoning by vendor":     {with(func(p *planner.Prompt) { p.Model = "openai/gpt-5.1"; p.Temperature = &some }), nil, map[string]string{"temperature": ""}},
		"gpt-6":                   {with(func(p *planner.Prompt) { p.Model = "gpt-6-astra"; p.Temperature = &some; p.MaxTokens = 9 }), nil, map[string]string{"model": `"gpt-6-astra"`, "temperature": ""}},
		"chat model of a family":  {with(func(p *planner.Prompt) { p.Model = "gpt-5-chat-latest"; p.Temperature = &some; p.MaxTokens = 9 }), nil, map[string]string{"temperature": "0.7", "max_tokens": "9"}},
		"alias like an old model": {with(func(p *planner.Prompt) { p.Model = "text-davinci-003" }), nil, map[string]string{"model": `"text-davinci-003"`}},
		"local alias":             {with(func(p *planner.Prompt) { p.Model = "o1mini-local"; p.Temperature = &some; p.MaxTokens = 9 }), nil, map[string]string{"temperature": "0.7"}},
		"extra body": {ask("x"), func(c *llm.OpenAIConfig) {
			c.ExtraBody = json.RawMessage(`{"top_k":20,"stream_options":null,"provider":{"order":["a"]}}`)
		}, map[string]string{"top_k": "20", "stream_options": "", "provider": `{"order":["a"]}`}},
		"extra body wins": {with(func(p *planner.Prompt) { p.Temperature = &some }), func(c *llm.OpenAIConfig) { c.ExtraBody = json.RawMessage(`{"temperature":1.5}`) }, map[string]string{"temperature": "1.5"}},
		"schema":          {with(func(p *planner.Prompt) { p.Schema = json.RawMessage(`{"oneOf":[{"$ref":"#/x"}]}`) }), nil, map[string]string{"response_format": `{"type":"json_schema","json_schema":{"name":"plan","schema":{"oneOf":[{"$ref":"#/x"}]},"strict":false}}`}},
		"schema off":      {with(func(p *planner.Prompt) { p.Schema = json.RawMessage(`{}`) }), func(c *llm.OpenAIConfig) { c.JSONMode = "off" }, map[string]string{"response_format": ""}},
		"empty message":   {ask(""), nil, map[string]string{"messages": `[{"content":"be brief","role":"system"},{"content":" ","role":"user"}]`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, `{"rules":[{"reply":"ok"}]}`)
			m := b.openAI(t, func(cfg *llm.OpenAIConfig) {
				if c.config != nil {
					c.config(cfg)
				}
			})
			if _, err := m.Complete(t.Context(), c.prompt, nil); err != nil {
				t.Fatal(err)
			}
			got := b.body(t)
			for member, want := range c.want {
				v, present := got[member]
				if want == "" {
					if present {
						t.Errorf("%s = %v, want none", member, v)
					}
					continue
				}
				var w any
				if err := json.Unmarshal([]byte(want), &w); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(v) != fmt.Sprint(w) {
					t.Errorf("%s = %v, want %v", member, v, w)
				}
			}
			if h := b.server.Requests()[0].Header.Get("Authorization"); h != "Bearer "+key {
				t.Errorf("Authorization = %q", h)
			}
		})
	}
}

// S2-42, S2-43, S2-44: what a planner with nothing configured sends.
func TestPlannerOnTheWire(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"reply":{"action":"list","args":{}}}]}`)
	m, err := manifest.Parse([]byte(`{"name":"x","version":"1.0.0","actions":[{"name":"list","type":"invoke_api","endpoint":"https://e.test/","method":"GET"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := planner.Repair(b.openAI(t), planner.RepairConfig{}).Plan(t.Context(), planner.Request{
		Goal: "see", Manifest: m, Actions: m.Visible(nil), Observation: json.RawMessage(`{"a":1}`), Emit: func(planner.Progress) {},
	})
	if err != nil || len(d.Calls) != 1 || d.Calls[0].Action != "list" {
		t.Fatalf("Plan = %+v, %v", d, err)
	}
	body := b.body(t)
	if body["model"] != "gpt-4o-mini" || body["temperature"] != 0.2 || body["max_tokens"] != 300.0 {
		t.Errorf("body = %v", body)
	}
	messages := body["messages"].([]any)
	if got := messages[1].(map[string]any)["content"]; got != "Goal: see\nObservation: {\"a\":1}" {
		t.Errorf("user message = %q", got)
	}
}

// PL3: transport faults are retried; the answer starts over for those who watch.
func TestTransportFaultsAreRetried(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		fault   string
		emitted string
	}{
		"408":              {`{"status":408}`, "hello"},
		"409":              {`{"status":409}`, "hello"},
		"429":              {`{"status":429}`, "hello"},
		"429 now":          {`{"status":429,"headers":{"Retry-After":"0"}}`, "hello"},
		"429 in the past":  {`{"status":429,"headers":{"Retry-After":"Mon, 01 Jan 2024 00:00:00 GMT"}}`, "hello"},
		"429 in nonsense":  {`{"status":429,"headers":{"Retry-After":"soon"}}`, "hello"},
		"429 in ms":        {`{"status":429,"headers":{"Retry-After-Ms":"1"}}`, "hello"},
		"500":              {`{"status":500}`, "hello"},
		"502":              {`{"status":502}`, "hello"},
		"503":              {`{"status":503}`, "hello"},
		"529":              {`{"status":529,"type":"overloaded_error"}`, "hello"},
		"reset":            {`{"reset":true}`, "hello"},
		"cut":              {`{"cut":true}`, "one |hello"},
		"no end":           {`{"no_end":true}`, "one two|hello"},
		"mid-stream error": {`{"mid_stream_error":true}`, "one |hello"},
		"stall":            {`{"stall":true}`, "one |hello"},
		"hang":             {`{"hang":true}`, "hello"},
		"error in 200":     {`{"error_in_200":true}`, "hello"},
		"empty choices":    {`{"empty_choices":true}`, "hello"},
		"web page":         {`{"html":true}`, "hello"},
		"garbage":          {`{"garbage":true}`, "hello"},
	} {
		script := `{"rules":[{"times":2,"reply":"one two","chunk":4,"fault":` + f.fault + `},{"reply":"hello"}]}`
		// Only where nothing comes is there anything to wait for.
		var timeout, idle time.Duration
		switch name {
		case "hang":
			timeout = 2 * time.Second
		case "stall":
			idle = time.Second
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{"openai", "anthropic"} {
				b := setup(t, script)
				var m planner.Model = b.openAI(t, func(c *llm.OpenAIConfig) { c.IdleTimeout, c.Timeout = idle, timeout })
				if kind == "anthropic" {
					m = b.anthropic(t, func(c *llm.AnthropicConfig) { c.IdleTimeout, c.Timeout = idle, timeout })
				}
				var r recorder
				c, err := m.Complete(t.Context(), ask("x"), r.emit)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				want := f.emitted
				if first, _, ok := strings.Cut(want, "|"); ok {
					want = first + "|" + want
				}
				if c.Text != "hello" || r.String() != want {
					t.Errorf("%s: Complete = %q, emitted %q, want %q", kind, c.Text, r.String(), want)
				}
				if n := len(b.server.Requests()); n != 3 {
					t.Errorf("%s: %d requests, want 3", kind, n)
				}
			}
		})
	}
}

// C-21, D-2: after the retries the failure is retryable for the session.
func TestGivesUpAfterRetries(t *testing.T) {
	t.Parallel()
	both(t, `{"rules":[{"fault":{"status":503,"message":"busy with sk-canary-1234567890+/= and sk-canary-1234567890%2B%2F%3D"}}]}`, func(t *testing.T, b bundle, m planner.Model) {
		_, err := m.Complete(t.Context(), ask("x"), nil)
		if f := wantFault(t, err, fault.ModelFailed, "503", "busy with [redacted] and [redacted]", "3 attempts"); !f.Retryable {
			t.Errorf("error = %+v, want it retryable", f)
		}
		if n := len(b.server.Requests()); n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
	})
	t.Run("long Retry-After", func(t *testing.T) {
		t.Parallel()
		b := setup(t, `{"rules":[{"fault":{"status":429,"headers":{"Retry-After":"1000000000"}}}]}`)
		_, err := b.openAI(t).Complete(t.Context(), ask("x"), nil)
		if f := wantFault(t, err, fault.ModelFailed); f.RetryAfter != 24*time.Hour {
			t.Errorf("RetryAfter = %v, want a day", f.RetryAfter)
		}
		if n := len(b.server.Requests()); n != 1 {
			t.Errorf("%d requests, want 1: waiting that long is the session's affair", n)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		h := httptest.NewServer(http.NotFoundHandler())
		h.Close()
		_, err := bundle{url: h.URL}.openAI(t).Complete(t.Context(), ask("x"), nil)
		wantFault(t, err, fault.ModelFailed, "connection failed")
	})
}

// PL3: what a retry cannot mend is not retried.
func TestRefusalsAreNotRetried(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct{ fault, words string }{
		"400":             {`{"status":400,"message":"bad sk-canary-1234567890+/="}`, "bad [redacted]"},
		"401":             {`{"status":401,"type":"authentication_error"}`, "check the API key"},
		"403":             {`{"status":403}`, "403"},
		"404":             {`{"status":404}`, "check the base URL"},
		"no quota in 200": {`{"error_in_200":true,"type":"invalid_request_error","message":"no"}`, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, `{"rules":[{"fault":`+f.fault+`}]}`, func(t *testing.T, b bundle, m planner.Model) {
				_, err := m.Complete(t.Context(), ask("x"), nil)
				if e := wantFault(t, err, fault.ModelMisconfigured, f.words); e.Retryable {
					t.Errorf("error = %+v, want it not retryable", e)
				}
				if n := len(b.server.Requests()); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			})
		})
	}
	t.Run("no quota", func(t *testing.T) {
		t.Parallel()
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}`)
		}))
		defer h.Close()
		_, err := bundle{url: h.URL}.openAI(t).Complete(t.Context(), ask("x"), nil)
		wantFault(t, err, fault.ModelMisconfigured, "exceeded your current quota")
	})
	t.Run("wrong key", func(t *testing.T) {
		t.Parallel()
		b := setup(t, `{"rules":[{"reply":"ok"}]}`)
		_, err := b.openAI(t, func(c *llm.OpenAIConfig) { c.APIKey = "sk-canary-wrong" }).Complete(t.Context(), ask("x"), nil)
		wantFault(t, err, fault.ModelMisconfigured, "401", "check the API key")
	})
}

// Shapes of errors that providers send, and one that repeats every header.
func TestErrorBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, want string
		code       fault.Code
	}{
		"text error":    {`{"error":"model not loaded"}`, "model not loaded", fault.ModelMisconfigured},
		"list of texts": {`{"error":{"message":["a","b"],"code":7}}`, `["a","b"]`, fault.ModelMisconfigured},
		"message":       {`{"message":"no such route"}`, "no such route", fault.ModelMisconfigured},
		"detail":        {`{"detail":[{"loc":["body"],"msg":"extra"}]}`, `"msg":"extra"`, fault.ModelMisconfigured},
		"plain":         {"upstream\n\n  says   no", "upstream says no", fault.ModelMisconfigured},
		"nothing":       {"", "Bad Request", fault.ModelMisconfigured},
		"reflected key": {`{"error":{"message":"header was Bearer ` + key + ` there"}}`, "Bearer [redacted] there", fault.ModelMisconfigured},
		"a megabyte":    {strings.Repeat("x", 1<<20), "xxx…", fault.ModelMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, c.body)
			}))
			defer h.Close()
			_, err := bundle{url: h.URL}.openAI(t).Complete(t.Context(), ask("x"), nil)
			wantFault(t, err, c.code, c.want)
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// serve answers every request with the same bytes and counts them.
func serve(t *testing.T, contentType, body string) (b bundle, requests func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body)
	}))
	t.Cleanup(h.Close)
	return bundle{url: h.URL}, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestAnswersOfOtherServers(t *testing.T) {
	t.Parallel()
	stop := `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	const stream, whole = "text/event-stream", "application/json; charset=utf-8"
	for name, c := range map[string]struct{ kind, body, text, finish, extra string }{
		"whole answer":          {whole, `{"model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`, "hi", "stop", ""},
		"CRLF":                  {stream, "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\r\n\r\n" + strings.ReplaceAll(stop, "\n", "\r\n"), "hi", "stop", ""},
		"no blank after colon":  {stream, `data:{"choices":[{"delta":{"content":"hi"}}]}` + "\n\n" + stop, "hi", "stop", ""},
		"400 comment lines":     {stream, strings.Repeat(": ping\n\n", 400) + `data: {"choices":[{"delta":{"content":"hi"}}]}` + "\n\n" + stop, "hi", "stop", ""},
		"content in parts":      {stream, `data: {"choices":[{"delta":{"content":[{"type":"text","text":"hi"}]}}]}` + "\n\n" + stop, "hi", "stop", ""},
		"reasoning of Ollama":   {stream, `data: {"choices":[{"delta":{"reasoning":"hm","content":"hi"}}]}` + "\n\n" + stop, "hi", "stop", `"reasoning":"hm"`},
		"second choice":         {stream, `data: {"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"hi"}}]}` + "\n\n" + stop, "hi", "stop", ""},
		"no [DONE]":             {stream, `data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"length"}]}` + "\n\n", "hi", "length", ""},
		"refusal":               {stream, `data: {"choices":[{"delta":{"refusal":"I will not"}}]}` + "\n\n" + stop, "I will not", "refusal", ""},
		"content filter":        {stream, `data: {"choices":[{"delta":{"content":"h"},"finish_reason":"content_filter"}]}` + "\n\n", "h", "content_filter", ""},
		"cost and cache writes": {stream, `data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"cost":0.5,"prompt_tokens_details":{"cache_write_tokens":4}}}` + "\n\n", "hi", "stop", `"cost":0.5`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := serve(t, c.kind, c.body)
			got, err := b.openAI(t).Complete(t.Context(), ask("x"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Text != c.text || got.Finish != c.finish || !strings.Contains(string(got.Extra), c.extra) {
				t.Errorf("Complete = %+v, extra %s", got, got.Extra)
			}
			if name == "cost and cache writes" && got.Usage.CostUSD != 0.5 {
				t.Errorf("cost = %v, want the reported 0.5", got.Usage.CostUSD)
			}
		})
	}
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	const stream, whole = "text/event-stream", "application/json"
	for name, c := range map[string]struct{ kind, body, words string }{
		"cut without finish_reason":  {stream, `data: {"choices":[{"delta":{"content":"hi"}}]}` + "\n\n", "middle of the answer"},
		"[DONE] without an answer":   {stream, "data: [DONE]\n\n", "no choices"},
		"nothing at all":             {stream, "", "no choices"},
		"error chunk":                {stream, `data: {"id":"x","error":{"message":"boom","code":500}}` + "\n\n", "boom"},
		"error chunk, error first":   {stream, `data: {"error":{"message":"boom"}}` + "\n\n", "boom"},
		"error chunk, error is text": {stream, `data: {"error":"boom"}` + "\n\ndata: x\n\n", "error"},
		"finish_reason error":        {stream, `data: {"choices":[{"delta":{"content":"h"},"finish_reason":"error"}]}` + "\n\n", "failed in the middle"},
		"not an event":               {stream, "data: {{{\n\n", "not what it should be"},
		"whole, no choices":          {whole, `{"choices":[]}`, "no choices"},
		"whole, an array":            {whole, `[1]`, "not an object"},
		"whole, cut":                 {whole, `{"choices":[`, "not JSON"},
		"whole, too large":           {whole, `{"a":"` + strings.Repeat("x", 9<<20) + `"}`, "more than 8388608 bytes"},
		"web page":                   {"text/html", "<html>", "web page"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, requests := serve(t, c.kind, c.body)
			_, err := b.openAI(t).Complete(t.Context(), ask("x"), nil)
			wantFault(t, err, fault.ModelFailed, c.words)
			if n := requests(); n != 3 {
				t.Errorf("%d requests, want 3", n)
			}
		})
	}
}

// PL8: counts that cannot be true are replaced by our own.
func TestUsageIsHeldAgainstWhatWasSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault     string
		estimated bool
	}{
		"missing":         {`{"no_usage":true}`, true},
		"negative":        {`{"usage":{"prompt_tokens":-5,"completion_tokens":10,"input_tokens":-5,"output_tokens":10}}`, true},
		"2^53":            {`{"usage":{"prompt_tokens":9007199254740992,"completion_tokens":10,"input_tokens":9007199254740992,"output_tokens":10}}`, true},
		"fractions":       {`{"usage":{"prompt_tokens":1.5,"completion_tokens":10,"input_tokens":1.5,"output_tokens":10}}`, true},
		"texts":           {`{"usage":{"prompt_tokens":"many","completion_tokens":10,"input_tokens":"many","output_tokens":10}}`, true},
		"too few to be":   {`{"usage":{"prompt_tokens":40,"completion_tokens":1,"input_tokens":40,"output_tokens":1}}`, true},
		"plausible":       {`{"usage":{"prompt_tokens":40,"completion_tokens":90,"input_tokens":40,"output_tokens":90}}`, false},
		"cached > prompt": {`{"usage":{"prompt_tokens":40,"completion_tokens":90,"prompt_tokens_details":{"cached_tokens":9999},"input_tokens":40,"output_tokens":90,"cache_read_input_tokens":-1}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, `{"rules":[{"reply":"`+strings.Repeat("word ", 80)+`","fault":`+c.fault+`}]}`, func(t *testing.T, _ bundle, m planner.Model) {
				p := ask(strings.Repeat("x", 160))
				got, err := m.Complete(t.Context(), p, nil)
				if err != nil {
					t.Fatal(err)
				}
				u := got.Usage
				if u.Estimated != c.estimated {
					t.Errorf("usage = %+v, want estimated = %v", u, c.estimated)
				}
				if u.PromptTokens < 30 || u.PromptTokens > 60 || u.CompletionTokens < 80 || u.CompletionTokens > 110 || u.CachedTokens < 0 || u.CachedTokens > u.PromptTokens {
					t.Errorf("usage = %+v, want about 42 and 100 tokens", u)
				}
			})
		})
	}
}

// PL8: a flood is cut, counted and reported as too long an answer.
func TestFloodIsCut(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{"8 MB": "8388608", "endless": "-1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, `{"rules":[{"reply":"x","fault":{"flood":`+bytes+`}}]}`, func(t *testing.T, _ bundle, m planner.Model) {
				c, err := m.Complete(t.Context(), ask("x"), nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.Finish != "length" || len(c.Text) != 1<<20 || !c.Usage.Estimated || c.Usage.CompletionTokens != 1<<18 {
					t.Errorf("finish %q, %d bytes, usage %+v", c.Finish, len(c.Text), c.Usage)
				}
			})
		})
	}
}

// PL8: neither silence nor a drip holds a session for longer than agreed.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	b := setup(t, `{"rules":[{"match":{"contains":["drip"]},"reply":"`+strings.Repeat("x", 1000)+`","chunk":1,"delay_ms":20},
		{"match":{"contains":["comments"]},"reply":"x","fault":{"comments":1,"stall":true}}]}`)
	t.Run("total", func(t *testing.T) {
		t.Parallel()
		m := b.openAI(t, func(c *llm.OpenAIConfig) { c.Timeout, c.Retries = time.Second, -1 })
		c, err := m.Complete(t.Context(), ask("drip"), nil)
		wantFault(t, err, fault.ModelFailed, "took too long")
		if c.Usage.PromptTokens == 0 || !c.Usage.Estimated {
			t.Errorf("usage = %+v, want what the attempt took", c.Usage)
		}
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		m := b.openAI(t, func(c *llm.OpenAIConfig) { c.IdleTimeout, c.Retries = 50*time.Millisecond, -1 })
		_, err := m.Complete(t.Context(), ask("comments"), nil)
		wantFault(t, err, fault.ModelFailed, "fell silent")
	})
	t.Run("slow but alive", func(t *testing.T) {
		t.Parallel()
		b := setup(t, `{"rules":[{"reply":"`+strings.Repeat("x", 60)+`","chunk":1,"delay_ms":10}]}`)
		m := b.openAI(t, func(c *llm.OpenAIConfig) { c.IdleTimeout = 400 * time.Millisecond })
		if _, err := m.Complete(t.Context(), ask("x"), nil); err != nil {
			t.Errorf("an answer that takes longer than the idle timeout as a whole: %v", err)
		}
	})
	t.Run("the caller's", func(t *testing.T) {
		t.Parallel()
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		m := b.openAI(t)
		_, err := m.Complete(ctx, ask("drip"), func(string) { cancel(stopped) })
		if !errors.Is(err, stopped) {
			t.Errorf("error = %v, want the caller's cause", err)
		}
	})
	t.Run("already over", func(t *testing.T) {
		t.Parallel()
		b := setup(t, `{"rules":[{"reply":"x"}]}`)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.openAI(t).Complete(ctx, ask("x"), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want %v", err, context.Canceled)
		}
		if n := len(b.server.Requests()); n != 0 {
			t.Errorf("%d requests, want none", n)
		}
	})
}

func TestJSONModeFallsBackOnceAndRemembers(t *testing.T) {
	t.Parallel()
	script := `{"rules":[{"match":{"schema":true},"fault":{"status":400,"message":"response_format of type json_schema is too complex"}},{"reply":"ok"}]}`
	p := ask("x")
	p.Schema = json.RawMessage(`{"type":"object"}`)
	t.Run("auto", func(t *testing.T) {
		t.Parallel()
		b := setup(t, script)
		m := b.openAI(t)
		for range 2 {
			if c, err := m.Complete(t.Context(), p, nil); err != nil || c.Text != "ok" {
				t.Fatalf("Complete = %+v, %v", c, err)
			}
		}
		if n := len(b.server.Requests()); n != 3 {
			t.Errorf("%d requests, want 3: two for the first answer, one for the second", n)
		}
	})
	t.Run("schema", func(t *testing.T) {
		t.Parallel()
		b := setup(t, script)
		m := b.openAI(t, func(c *llm.OpenAIConfig) { c.JSONMode = "schema" })
		_, err := m.Complete(t.Context(), p, nil)
		wantFault(t, err, fault.ModelMisconfigured, "too complex")
	})
	t.Run("other parameters", func(t *testing.T) {
		t.Parallel()
		b := setup(t, `{"rules":[{"match":{"model":"a"},"times":1,"fault":{"status":400,"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}},
			{"match":{"model":"a"},"times":1,"fault":{"status":400,"message":"Unsupported value: 'temperature' does not support 0.2"}},
			{"match":{"model":"b"},"fault":{"status":400,"message":"max_tokens is too large"}},{"reply":"ok"}]}`)
		m := b.openAI(t)
		p, temp := ask("x"), 0.2
		p.Model, p.MaxTokens, p.Temperature = "a", 7, &temp
		if _, err := m.Complete(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
		body := b.body(t)
		if body["max_tokens"] != nil || body["temperature"] != nil || body["max_completion_tokens"] != 7.0 {
			t.Errorf("body = %v", body)
		}
		p.Model = "b"
		_, err := m.Complete(t.Context(), p, nil)
		wantFault(t, err, fault.ModelMisconfigured, "too large")
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed with %v", r.Header)
	}))
	defer elsewhere.Close()
	h := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer h.Close()
	b := bundle{url: h.URL}
	_, err := b.openAI(t, func(c *llm.OpenAIConfig) { c.HTTPClient = &http.Client{} }).Complete(t.Context(), ask("x"), nil)
	wantFault(t, err, fault.ModelMisconfigured, "redirects are not followed")
	_, err = b.anthropic(t).Complete(t.Context(), ask("x"), nil)
	wantFault(t, err, fault.ModelMisconfigured, "redirects are not followed")
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg     llm.OpenAIConfig
		pointer string
	}{
		"URL":        {llm.OpenAIConfig{BaseURL: "localhost:8080"}, "/base_url"},
		"URL key":    {llm.OpenAIConfig{BaseURL: "https://me:pass@host/v1"}, "/base_url"},
		"key":        {llm.OpenAIConfig{APIKey: "canary with blanks"}, "/api_key"},
		"retries":    {llm.OpenAIConfig{Retries: 11}, "/retries"},
		"timeout":    {llm.OpenAIConfig{Timeout: -1}, "/timeout"},
		"header":     {llm.OpenAIConfig{Headers: map[string]string{"X-A": "a\r\nX-B: b"}}, "/headers"},
		"extra body": {llm.OpenAIConfig{ExtraBody: json.RawMessage(`[1]`)}, "/extra_body"},
		"JSON mode":  {llm.OpenAIConfig{JSONMode: "always"}, "/json_mode"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := llm.NewOpenAI(c.cfg)
			if fault.CodeOf(err) != fault.ModelMisconfigured || fault.From(err).Details[0].Pointer != c.pointer {
				t.Errorf("error = %v, want it at %s", err, c.pointer)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("error = %v, holds the key", err)
			}
		})
	}
	cfg := llm.OpenAIConfig{APIKey: key, Headers: map[string]string{"X-Token": key}}
	m, err := llm.NewOpenAI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v", cfg, cfg), fmt.Sprintf("%v %+v %#v", m, m, m)} {
		if strings.Contains(s, "canary") {
			t.Errorf("%s holds the key", s)
		}
	}
}

// Many sessions ask at the same time through one client.
func TestCompleteIsConcurrent(t *testing.T) {
	t.Parallel()
	both(t, `{"rules":[{"match":{"regex":["session (?P<n>\\d+)"]},"reply":"answer ${n}"}]}`, func(t *testing.T, _ bundle, m planner.Model) {
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				c, err := m.Complete(context.Background(), ask(fmt.Sprintf("session %d", i)), nil)
				if want := fmt.Sprintf("answer %d", i); err != nil || c.Text != want {
					t.Errorf("Complete = %q, %v, want %q", c.Text, err, want)
				}
			})
		}
		wg.Wait()
	})
}
