package scripted_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/planner/llm"
	"github.com/oap-runtime/oap/planner/scripted"
)

func load(t *testing.T, script string) *scripted.Script {
	t.Helper()
	s, err := scripted.LoadScript([]byte(script))
	if err != nil {
		t.Fatalf("LoadScript: %v", err)
	}
	return s
}

func TestNewPlaysRounds(t *testing.T) {
	t.Parallel()
	a, b, c := planner.Intent{Action: "a"}, planner.Intent{Action: "b"}, planner.Intent{Action: "c"}
	p := scripted.New([]planner.Intent{a, b}, []planner.Intent{c})
	turns := func(n int) []planner.Turn { return make([]planner.Turn, n) }
	for _, step := range []struct {
		history, omitted int
		want             string
	}{{0, 0, "a b"}, {2, 0, "c"}, {1, 1, "c"}, {3, 0, "finish"}, {0, 9, "finish"}} {
		d, err := p.Plan(t.Context(), planner.Request{History: turns(step.history), Omitted: step.omitted})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, call := range d.Calls {
			got = append(got, call.Action)
		}
		if d.Finish {
			got = append(got, "finish")
		}
		if s := strings.Join(got, " "); s != step.want {
			t.Errorf("after %d calls: %s, want %s", step.history+step.omitted, s, step.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Plan(ctx, planner.Request{}); err == nil {
		t.Error("Plan with an ended context: no error")
	}
}

func TestLoadScriptSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, want string }{
		"no JSON":         {"{\n\"rules\": [}\n", "line 2"},
		"no YAML":         {"rules:\n  - [", "cannot be read"},
		"empty":           {"", "empty"},
		"an array":        {"[1]", "cannot be read"},
		"unknown member":  {`{"rules":[{"replay":"x"}]}`, `unknown field "replay"`},
		"alias":           {"rules:\n- &a {reply: x}\n- *a\n", "aliases are not allowed"},
		"two documents":   {"{\"rules\":[{\"reply\":\"x\"}]}{}", "line 1"},
		"no rules":        {`{"rules":[]}`, "/rules: there is no rule (add at least one)"},
		"null rule":       {`{"rules":[null]}`, "/rules/0: the rule is null"},
		"no answer":       {`{"rules":[{"match":{}}]}`, "/rules/0: the rule has no answer"},
		"pattern":         {`{"rules":[{"reply":"x"},{"match":{"regex":["ok","("]},"reply":"x"}]}`, "/rules/1/match/regex/1: the pattern does not compile: missing closing )"},
		"step pattern":    {`{"rules":[{"match":{"step_regex":"["},"reply":"x"}]}`, "/rules/0/match/step_regex"},
		"variable":        {`{"rules":[{"match":{"regex":["(?P<a>.)"]},"reply":{"action":"${b}"}}]}`, "${b} is not a named group"},
		"whole variable":  {`{"rules":[{"reply":{"args":"${b:json}"}}]}`, "${b} is not a named group"},
		"role":            {`{"rules":[{"match":{"role":"boss"},"reply":"x"}]}`, `"boss" is not a role`},
		"steps":           {`{"rules":[{"match":{"min_steps":3,"max_steps":2},"reply":"x"}]}`, "no number of steps"},
		"status":          {`{"rules":[{"fault":{"status":99}}]}`, "99 is not an HTTP status"},
		"finish":          {`{"rules":[{"fault":{"finish":"boredom"}}]}`, "use one of length, content_filter, refusal"},
		"delay":           {`{"rules":[{"reply":"x","delay_ms":3600000}]}`, "/rules/0/delay_ms"},
		"negative times":  {`{"rules":[{"reply":"x","times":-1}]}`, "/rules/0/times"},
		"negative chunk":  {`{"rules":[{"reply":"x","chunk":-1}]}`, "/rules/0/chunk"},
		"many rules":      {`{"rules":[` + strings.TrimSuffix(strings.Repeat(`{"reply":"x"},`, 1001), ",") + `]}`, "the most is 1000"},
		"large":           {strings.Repeat(" ", 5<<20), "the most is 4194304"},
		"YAML, too deep":  {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested more than 64 deep"},
		"YAML, twice":     {"rules: []\nrules: []\n", "already defined"},
		"YAML, other key": {"? [a]\n: 1\n", "a member name must be plain text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := scripted.LoadScript([]byte(c.script))
			if fault.CodeOf(err) != fault.Validation || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want code %s and %q", err, fault.Validation, c.want)
			}
		})
	}
}

// YAML keeps what JSON would keep: digits, texts that look like times, order.
func TestYAMLReadsLikeJSON(t *testing.T) {
	t.Parallel()
	s := load(t, `
models: [a, b]
rules:
  - match: {contains: [x], max_steps: 0, regex: ["(?P<word>[a-z])"]}
    reply: {action: book, args: {z: 2026-04-03T10:00:00-07:00, n: 12345678901234567890, ok: true, none: null, text: "${word}", f: 1.50}}
`)
	if len(s.Models) != 2 || *s.Rules[0].Match.MaxSteps != 0 {
		t.Errorf("script = %+v", s)
	}
	h := httptest.NewServer(scripted.NewServer(s, scripted.ServerConfig{}))
	defer h.Close()
	want := `{"action":"book","args":{"z":"2026-04-03T10:00:00-07:00","n":12345678901234567890,"ok":true,"none":null,"text":"x","f":1.50}}`
	if got := chat(t, h.URL, "x"); got != want {
		t.Errorf("reply = %s, want %s", got, want)
	}
}

// chat asks with one user message over the OpenAI protocol, unstreamed.
func chat(t *testing.T, url, text string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"model": "m", "messages": []any{map[string]string{"role": "user", "content": text}}})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := post(t, url+"/v1/chat/completions", string(body))
	if status != http.StatusOK {
		return fmt.Sprint(status, " ", answer)
	}
	var out struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil || len(out.Choices) != 1 {
		t.Fatalf("answer = %s, %v", answer, err)
	}
	return out.Choices[0].Message.Content
}

func post(t *testing.T, url, body string, header ...string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestRulesMatch(t *testing.T) {
	t.Parallel()
	history := "Calls made so far, oldest first (5 older ones left out); 7 of at most 9 steps used:\n" +
		`{"step":6,"action":"a","args":{},"ok":true,"output":{"id":"e\"1","list":[1,2]}}` + "\n" + `{"step":7,"action":"b","args":{},"ok":true}` + "\n"
	for name, c := range map[string]struct{ rule, text, want string }{
		"contains all":      {`"match":{"contains":["a","b"]},"reply":"yes"`, "b a", "yes"},
		"contains one":      {`"match":{"contains":["a","b"]},"reply":"yes"`, "a", "no"},
		"not contains":      {`"match":{"not_contains":["a"]},"reply":"yes"`, "cat", "no"},
		"other role":        {`"match":{"role":"system","contains":["a"]},"reply":"yes"`, "a", "no"},
		"model":             {`"match":{"model":"m"},"reply":"yes"`, "", "yes"},
		"other model":       {`"match":{"model":"gpt"},"reply":"yes"`, "", "no"},
		"text capture":      {`"match":{"regex":["for (?P<who>\\w+)"]},"reply":"hi ${who}, $5"`, "for Ann", "hi Ann, $5"},
		"first match":       {`"match":{"regex":["(?P<n>\\d)"]},"reply":"${n}"`, "1 2", "1"},
		"escaped capture":   {`"match":{"regex":["say (?P<s>.+)"]},"reply":{"a":"<${s}>"}`, `say "a"`, `{"a":"<\"a\">"}`},
		"capture of JSON":   {`"match":{"regex":["\"id\":\"(?P<id>(?:[^\"\\\\]|\\\\.)*)\""]},"reply":{"a":"${id}"}`, history, `{"a":"e\"1"}`},
		"capture as JSON":   {`"match":{"regex":["\"list\":(?P<l>\\[[^]]*\\])"]},"reply":{"a":"${l:json}","b":"${l}"}`, history, `{"a":[1,2],"b":"[1,2]"}`},
		"no JSON captured":  {`"match":{"regex":["(?P<l>x)"]},"reply":{"a":"${l:json}"}`, "x", `400 {"error":{"message":"the script's reply cannot be filled: ${l:json} found \"x\", which is not JSON","type":"invalid_request_error","param":null,"code":null}}`},
		"captured template": {`"match":{"regex":["a(?P<a>.+)b(?P<b>.+)"]},"reply":{"x":"${a}"}`, "a${b}bc", `{"x":"${b}"}`},
		"steps":             {`"match":{"min_steps":7,"max_steps":7},"reply":"yes"`, history, "yes"},
		"too few steps":     {`"match":{"min_steps":8},"reply":"yes"`, history, "no"},
		"no steps":          {`"match":{"max_steps":0},"reply":"yes"`, "Goal: x", "yes"},
		"own steps":         {`"match":{"min_steps":2,"max_steps":2,"step_regex":"did"},"reply":"yes"`, "did did", "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := `{"rules":[{` + c.rule + `},{"reply":"no"}]}`
			h := httptest.NewServer(scripted.NewServer(load(t, script), scripted.ServerConfig{}))
			defer h.Close()
			if got := chat(t, h.URL, c.text); got != c.want {
				t.Errorf("answer = %s, want %s", got, c.want)
			}
		})
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	srv := scripted.NewServer(load(t, `{"rules":[{"name":"only","match":{"contains":["yes"]},"reply":"ok"}]}`), scripted.ServerConfig{APIKey: "k", Keep: 3})
	h := httptest.NewServer(srv)
	defer h.Close()
	good := `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"yes"}]}`
	for name, c := range map[string]struct {
		path, body, auth string
		status           int
		want             string
	}{
		"no key":             {"/v1/chat/completions", good, "", 401, `"type":"authentication_error"`},
		"no key, anthropic":  {"/v1/messages", good, "", 401, `"type":"error"`},
		"not JSON":           {"/v1/chat/completions", "{", "k", 400, "cannot be read"},
		"no model":           {"/v1/chat/completions", `{"messages":[]}`, "k", 400, "model parameter"},
		"no messages":        {"/v1/chat/completions", `{"model":"m"}`, "k", 400, "messages is empty"},
		"no rule":            {"/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"no"}]}`, "k", 400, "no rule of the script"},
		"no limit":           {"/v1/messages", `{"model":"m","messages":[{"role":"user","content":"yes"}]}`, "k", 400, "max_tokens"},
		"system message":     {"/v1/messages", `{"model":"m","max_tokens":1,"messages":[{"role":"system","content":"yes"}]}`, "k", 400, "role must be"},
		"empty content":      {"/v1/messages", `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":""}]}`, "k", 400, "non-empty"},
		"too large":          {"/v1/messages", strings.Repeat(" ", 17<<20), "k", 413, "request_too_large"},
		"other route":        {"/v1/embeddings", "{}", "k", 404, "unknown route"},
		"answered":           {"/v1/chat/completions", good, "k", 200, `"content":"ok"`},
		"answered, messages": {"/v1/messages", good, "k", 200, `"text":"ok"`},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := post(t, h.URL+c.path, c.body, "Authorization", "Bearer "+c.auth, "X-Api-Key", c.auth)
			if status != c.status || !strings.Contains(answer, c.want) {
				t.Errorf("answer = %d %s, want %d and %q", status, answer, c.status, c.want)
			}
		})
	}
	if n := len(srv.Requests()); n != 3 {
		t.Errorf("%d requests kept, want 3", n)
	}
	resp, err := http.Get(h.URL + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("models without a key: %d", resp.StatusCode)
	}
}

func TestServerListsModels(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(scripted.NewServer(load(t, `{"models":["a","b"],"rules":[{"reply":"x"}]}`), scripted.ServerConfig{}))
	defer h.Close()
	resp, err := http.Get(h.URL + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Object string
		Data   []struct{ ID, Object string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || list.Object != "list" || len(list.Data) != 2 || list.Data[1].ID != "b" || list.Data[0].Object != "model" {
		t.Errorf("models = %+v, %v", list, err)
	}
}

const helper = `{"name":"helper","version":"1.0.0","actions":[
	{"name":"search","type":"invoke_api","endpoint":"https://e.test/s","method":"GET","input_schema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}},
	{"name":"send","type":"invoke_api","endpoint":"https://e.test/m","method":"POST","input_schema":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}}]}`

// The whole way of planning, a thousand sessions at once: prompt, wire, decode,
// check. Matching needs nothing but the prompt, so that no session sees another's answer.
func TestThousandSessions(t *testing.T) {
	t.Parallel()
	s := load(t, `{"rules":[
		{"name":"search","match":{"role":"user","max_steps":0,"regex":["Goal: find (?P<what>\\d+)"]},"reply":{"action":"search","args":{"q":"${what}"}}},
		{"name":"send","match":{"role":"user","min_steps":1,"max_steps":1,"regex":["\"found\":(?P<id>\\d+)"]},"reply":{"action":"send","args":{"id":"${id:json}"}}},
		{"name":"finish","match":{"min_steps":2,"regex":["Goal: find (?P<what>\\d+)"]},"reply":{"finished":true,"answer":"sent ${what}"}}]}`)
	h := httptest.NewServer(scripted.NewServer(s, scripted.ServerConfig{}))
	defer h.Close()
	client, err := llm.NewOpenAI(llm.OpenAIConfig{BaseURL: h.URL + "/v1"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse([]byte(helper))
	if err != nil {
		t.Fatal(err)
	}
	p := planner.Repair(client, planner.RepairConfig{})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			r := planner.Request{Goal: fmt.Sprintf("find %d", i), Manifest: m, Actions: m.Visible(nil), Observation: json.RawMessage(`{}`), Emit: func(planner.Progress) {}}
			for step, want := range []string{fmt.Sprintf(`search {"q":"%d"}`, i), fmt.Sprintf(`send {"id":%d}`, i+5000), fmt.Sprintf(`"sent %d"`, i)} {
				d, err := p.Plan(context.Background(), r)
				if err != nil {
					t.Error(err)
					return
				}
				got := string(d.Answer)
				if len(d.Calls) > 0 {
					got = d.Calls[0].Action + " " + string(d.Calls[0].Args)
					r.History = append(r.History, planner.Turn{Step: step + 1, Action: d.Calls[0].Action, Args: d.Calls[0].Args, OK: true, Output: json.RawMessage(fmt.Sprintf(`{"found":%d}`, i+5000))})
				}
				if got != want {
					t.Errorf("session %d, step %d: %s, want %s", i, step, got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestRulesAreUsedUp(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(scripted.NewServer(load(t, `{"rules":[{"reply":"first","times":3},{"reply":"then"}]}`), scripted.ServerConfig{}))
	defer h.Close()
	answers := make(chan string, 10)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { answers <- chat(t, h.URL, "x") })
	}
	wg.Wait()
	close(answers)
	n := map[string]int{}
	for a := range answers {
		n[a]++
	}
	if n["first"] != 3 || n["then"] != 7 {
		t.Errorf("answers = %v, want 3 first and 7 then", n)
	}
}

func FuzzScript(f *testing.F) {
	for _, s := range []string{
		`{"rules":[{"match":{"regex":["(?P<a>.)"],"min_steps":1},"reply":{"x":"${a:json}","y":"${a}"}}]}`,
		"rules:\n- reply: hi\n  chunk: 1\n  fault: {cut: true}\n", "a: &b [*b]", "{}", "rules: 2026-01-01", "? !!binary x\n: .inf",
		`{"rules":[{"tool_calls":[{"name":"a","arguments":"{"}],"usage":{"prompt_tokens":-1}}]}`,
	} {
		f.Add([]byte(s), "x")
	}
	f.Fuzz(func(t *testing.T, script []byte, prompt string) {
		s, err := scripted.LoadScript(script)
		if err != nil {
			if fault.CodeOf(err) != fault.Validation {
				t.Fatalf("error = %v, want code %s", err, fault.Validation)
			}
			return
		}
		for _, r := range s.Rules {
			if f := r.Fault; f != nil && (f.Hang || f.Stall || f.Reset || f.Cut || f.Flood != 0 || f.Comments > 100) || r.DelayMS > 0 {
				return // these wait for, or leave, the client
			}
		}
		srv := scripted.NewServer(s, scripted.ServerConfig{})
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			for _, stream := range []bool{false, true} {
				body, err := json.Marshal(map[string]any{"model": "m", "max_tokens": 9, "stream": stream, "messages": []any{map[string]string{"role": "user", "content": prompt}}})
				if err != nil {
					t.Fatal(err)
				}
				w := httptest.NewRecorder()
				srv.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
				if w.Body.Len() == 0 && w.Code == http.StatusOK {
					t.Fatalf("%s, stream=%v: nothing was answered", path, stream)
				}
			}
		}
	})
}
