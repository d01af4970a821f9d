package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/server"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

const testManifest = `{
 "name": "MeetBot", "version": "2.0", "description": "Schedules meetings.",
 "actions": [
  {"type":"invoke_api","name":"search_free_slots","description":"Finds free slots.","method":"GET","endpoint":"https://api.example.com/slots","input_schema":{"type":"object"},"output_schema":{"type":"object"}},
  {"type":"invoke_api","name":"broken","description":"Always fails.","method":"GET","endpoint":"https://api.example.com/broken","input_schema":{"type":"object"},"output_schema":{"type":"object"}},
  {"type":"invoke_api","name":"slow","description":"Takes as long as the test likes.","method":"GET","endpoint":"https://api.example.com/slow","input_schema":{"type":"object"},"output_schema":{"type":"object"}},
  {"type":"invoke_api","name":"log_meeting_crm","description":"Records the meeting.","method":"POST","endpoint":"https://api.example.com/crm","effect":"keyed","terminal":true,"input_schema":{"type":"object"},"output_schema":{"type":"object"}},
  {"type":"human_intervention","name":"ask_user","description":"Asks the user.","prompt":"Which time zone?","input_schema":{"type":"object"},"output_schema":{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}}
 ]}`

// A world performs the actions of testManifest.
type world struct {
	slow chan struct{} // an action named slow returns when it can receive
}

func (w *world) Execute(ctx context.Context, c executor.Call, emit func(executor.Progress)) (executor.Result, error) {
	switch c.Action.Name {
	case "search_free_slots":
		return executor.Result{Output: json.RawMessage(`{"slots":[{"start":"2026-04-03T10:00:00-07:00"}],"big":12345678901234567890}`)}, nil
	case "log_meeting_crm":
		return executor.Result{Output: json.RawMessage(`{"status":"recorded"}`)}, nil
	case "broken":
		return executor.Result{}, fault.New(fault.ActionFailed, "the calendar answered 500")
	case "slow":
		emit(executor.Progress{Kind: "log", Text: "working <on> it"})
		select {
		case <-w.slow:
			return executor.Result{Output: json.RawMessage(`{}`)}, nil
		case <-ctx.Done():
			return executor.Result{}, ctx.Err()
		}
	}
	if c.Action.Type == manifest.HumanIntervention {
		if c.Answer == nil {
			return executor.Result{Wait: &executor.Wait{Kind: executor.WaitInput, Prompt: "Which time zone?", Schema: c.Action.Output.JSON()}}, nil
		}
		return executor.Result{Output: c.Answer.Value}, nil
	}
	return executor.Result{}, fault.New(fault.ActionUnsupported, "no such action in this test")
}

// A planned is one decision, as a script writes it.
type planned struct {
	Calls  []planner.Intent `json:"calls"`
	Finish bool             `json:"finish"`
	Answer json.RawMessage  `json:"answer"`
	Fail   fault.Code       `json:"fail"` // the planner fails with this code instead
}

// plays returns a planner that makes the decisions in order for every session,
// and finishes after the last.
func plays(ds ...planned) planner.Planner {
	var mu sync.Mutex // guards next
	next := map[string]int{}
	return planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		mu.Lock()
		n := next[r.SessionID]
		next[r.SessionID]++
		mu.Unlock()
		if n >= len(ds) {
			return planner.Decision{Finish: true, Answer: json.RawMessage(`"done"`)}, nil
		}
		d := ds[n]
		if d.Fail != "" {
			return planner.Decision{}, fault.New(d.Fail, "what the planner says about it")
		}
		return planner.Decision{Calls: d.Calls, Finish: d.Finish, Answer: d.Answer}, nil
	})
}

func does(action string) planned {
	return planned{Calls: []planner.Intent{{Action: action, Args: json.RawMessage(`{}`)}}}
}

// A bench is a server over a real manager and a real database.
type bench struct {
	t       *testing.T
	manager *session.Manager
	server  *server.Server
	world   *world
	url     string
	client  *http.Client
	logs    *logBuffer
}

// setup starts a bench. Every answer it gives is checked against the OpenAPI
// document.
func setup(t *testing.T, p planner.Planner, change ...func(*server.Config)) *bench {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DSN: ":memory:", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{slow: make(chan struct{})}
	m, err := session.New(session.Config{Store: db, Planner: p, Executor: w, Poll: 20 * time.Millisecond, Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	b := serve(t, m, change...)
	b.manager, b.world = m, w
	if _, _, err := m.RegisterManifest(t.Context(), []byte(testManifest)); err != nil {
		t.Fatal(err)
	}
	return b
}

// serve starts a server over any manager.
func serve(t *testing.T, m server.Manager, change ...func(*server.Config)) *bench {
	t.Helper()
	b := &bench{t: t, logs: &logBuffer{}}
	cfg := server.Config{Manager: m, Logger: slog.New(slog.NewJSONHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test", Poll: 50 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if b.server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(b.server)
	t.Cleanup(ts.Close)
	b.url = ts.URL
	b.client = &http.Client{
		Transport:     &contractChecker{t: t, next: ts.Client().Transport, contract: loadContract(t, b.server.OpenAPI())},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return b
}

// work lets workers advance sessions until the test ends.
func (b *bench) work() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.manager.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-done })
}

// An answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("body is not the JSON expected: %v\n%s", err, a.body)
	}
}

// do sends a request. Headers come as "Name: value".
func (b *bench) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: read the body: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// create makes a session and returns its id.
func (b *bench) create(body string, headers ...string) string {
	b.t.Helper()
	a := b.do("POST", "/sessions", body, headers...)
	var v struct {
		SessionID string `json:"session_id"`
	}
	a.json(b.t, &v)
	if a.status != http.StatusCreated || v.SessionID == "" {
		b.t.Fatalf("POST /sessions = %d %s", a.status, a.body)
	}
	return v.SessionID
}

// wantProblem checks an answer to be a failure of the one shape (C-03).
func wantProblem(t *testing.T, a answer, status int, code fault.Code) server.Problem {
	t.Helper()
	var p server.Problem
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer = %d %s, want %d application/problem+json\n%s", a.status, a.header.Get("Content-Type"), status, a.body)
	}
	a.json(t, &p)
	if p.Status != status || p.Code != code || p.OK || p.Message == "" || p.Detail != p.Message || p.Details == nil || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") || p.Title == "" {
		t.Fatalf("problem = %s, want status %d, code %s and every member", a.body, status, code)
	}
	return p
}

// A logBuffer keeps log lines.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func withKeys(t *testing.T, keys ...string) func(*server.Config) {
	t.Helper()
	a, err := auth.NewAuthenticator(keys)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *server.Config) { c.Auth = a }
}
