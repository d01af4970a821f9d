package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/server"
	"github.com/oap-runtime/oap/session"
)

// run serves b's manager through Serve, as the command does, and returns how to
// stop it and its result.
func (b *bench) run(change ...func(*server.Config)) (stop func(), done <-chan error) {
	b.t.Helper()
	cfg := server.Config{Manager: b.manager, Logger: slog.New(slog.NewJSONHandler(b.logs, nil)), Poll: 50 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	s, err := server.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.url = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(b.t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, ln) }()
	b.t.Cleanup(cancel)
	return cancel, result
}

// When the server stops, streams are told to come back soon and end, waiting
// requests answer with what they have, running requests finish, /readyz says 503.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("slow")))
	stop, done := b.run(func(c *server.Config) { c.DrainDelay, c.DrainTimeout = 3*time.Second, time.Minute })
	id, running := b.create(`{"goal":"watch"}`), b.create(`{"goal":"work"}`)
	s := b.follow("/sessions/" + id + "/events")
	s.until("caught_up")

	working := b.follow("/sessions/" + running + "/events")
	working.until("caught_up")
	stepped, polled := make(chan answer, 1), make(chan answer, 1)
	go func() { stepped <- b.do("POST", "/sessions/"+running+"/step", "") }()
	go func() {
		polled <- b.do("GET", "/sessions/"+id+"/events?after=1&wait=60", "", "Accept: application/json")
	}()
	working.until("progress") // the step is under way
	stop()

	retry := s.until("retry")
	if last := retry[len(retry)-1]; last.data != "500" {
		t.Errorf("retry = %q, want 500", last.data)
	}
	if m, ok := s.next(); ok {
		t.Errorf("after retry came %+v, want the stream to end", m)
	}
	if a := <-polled; a.status != http.StatusOK || !strings.Contains(a.body, `"events":[]`) {
		t.Errorf("long-poll = %d %s, want an empty page", a.status, a.body)
	}
	p := wantProblem(t, b.do("GET", "/readyz", ""), http.StatusServiceUnavailable, fault.Unavailable)
	if !p.Retryable {
		t.Error("readyz is not retryable while the server stops")
	}
	if a := b.do("GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("healthz = %d while the server stops, want 200", a.status)
	}
	b.world.slow <- struct{}{}
	if a := <-stepped; a.status != http.StatusOK || !strings.Contains(a.body, `"steps_done":1`) {
		t.Errorf("step = %d %s, want it finished", a.status, a.body)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// Requests that outlive the drain time are cancelled, and Serve returns.
func TestServeCutsShort(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("slow")))
	stop, done := b.run(func(c *server.Config) { c.DrainTimeout = 10 * time.Millisecond })
	id := b.create(`{"goal":"never ends"}`)
	s := b.follow("/sessions/" + id + "/events")
	s.until("caught_up")
	r, err := http.NewRequest("POST", b.url+"/sessions/"+id+"/step", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	s.until("progress")
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if !strings.Contains(b.logs.String(), "cut short") {
		t.Error("the log does not tell that requests were cut short")
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	s, err := server.New(server.Config{Manager: &session.Manager{}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := s.Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Serve = %v, want an error that names the address", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	m := &session.Manager{}
	for name, cfg := range map[string]server.Config{
		"Manager":   {},
		"Waiters":   {Manager: m, Waiters: -1},
		"Heartbeat": {Manager: m, Heartbeat: -1},
		"Origins":   {Manager: m, Origins: []string{"app.example.com"}},
		"https://a": {Manager: m, Origins: []string{"https://a/path"}},
	} {
		if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New(%s) = %v, want an error that names it", name, err)
		}
	}
}

// A failingManager fails in every way a manager can.
type failingManager struct {
	server.Manager
	err   error
	panic any
}

func (f *failingManager) fail() error {
	if f.panic != nil {
		panic(f.panic)
	}
	return f.err
}
func (f *failingManager) Ready(context.Context) error { return f.fail() }
func (f *failingManager) Get(context.Context, string) (session.View, error) {
	return session.View{}, f.fail()
}
func (f *failingManager) Step(context.Context, string) (session.StepResult, error) {
	return session.StepResult{}, f.fail()
}
func (f *failingManager) List(context.Context, session.Query) ([]session.Session, string, error) {
	return nil, "", f.fail()
}

// What fails on our side is logged once, with its cause; the client sees
// neither cause nor stack, but an id to ask with.
func TestOurFailuresAreHidden(t *testing.T) {
	t.Parallel()
	const id = "/sessions/01912d68-783e-7a03-8467-5661c1243ad4"
	for name, tt := range map[string]struct {
		manager failingManager
		status  int
		code    fault.Code
	}{
		"plain error": {failingManager{err: errors.New("pq: password canary-7 rejected")}, 500, fault.Internal},
		"wrapped":     {failingManager{err: fmt.Errorf("x: %w", fault.Wrap(errors.New("canary-7"), fault.Unavailable, "the database does not answer"))}, 503, fault.Unavailable},
		"new code":    {failingManager{err: fault.New("agent.brand_new", "canary-7")}, 500, fault.Internal},
		"panic":       {failingManager{panic: "canary-7"}, 500, fault.Internal},
		"nil panic":   {failingManager{panic: error((*fault.Error)(nil))}, 500, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := serve(t, &tt.manager)
			for _, route := range []string{"GET /sessions", "GET " + id, "POST " + id + "/step", "GET " + id + "/events"} {
				method, path, _ := strings.Cut(route, " ")
				rid := "r" + strings.ReplaceAll(path, "/", ".") + method
				a := b.do(method, path, "", "X-Request-Id: "+rid)
				p := wantProblem(t, a, tt.status, tt.code)
				if strings.Contains(a.body, "canary") || strings.Contains(a.body, "goroutine") || p.RequestID != rid {
					t.Errorf("%s shows what is ours, or another request id: %s", route, a.body)
				}
				n := 0
				for line := range strings.SplitSeq(b.logs.String(), "\n") {
					if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, `"request_id":"`+rid+`"`) {
						n++
					}
				}
				if n != 1 {
					t.Errorf("%s was logged %d times, want once", route, n)
				}
			}
			if tt.code == fault.Unavailable && b.do("GET", "/sessions", "").header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
	b := serve(t, &failingManager{err: errors.New("away")})
	wantProblem(t, b.do("GET", "/readyz", ""), http.StatusServiceUnavailable, fault.Unavailable)
}

// A stream whose log cannot be read any more says so and ends.
func TestStreamTellsWhyItBreaksOff(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	id := b.create(`{"goal":"x"}`)
	m := &breakingManager{Manager: b.manager}
	b = serve(t, m)
	s := b.follow("/sessions/" + id + "/events")
	s.until("caught_up")
	m.break_()
	seen := s.until("problem")
	if last := seen[len(seen)-1]; !strings.Contains(last.data, `"code":"common.unavailable"`) || strings.Contains(last.data, "canary") {
		t.Errorf("problem = %+v", last)
	}
	s.until("retry")
	if m, ok := s.next(); ok {
		t.Errorf("after the problem came %+v", m)
	}
}

type breakingManager struct {
	server.Manager
	mu     sync.Mutex // guards broken
	broken bool
}

func (m *breakingManager) break_() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = true
}

func (m *breakingManager) Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, fault.Wrap(errors.New("canary"), fault.Unavailable, "the database does not answer")
	}
	return m.Manager.Events(ctx, id, after, limit)
}

// The access log has one line for each request, and no secret of it.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(), withKeys(t, "one:0123456789abcdef0"))
	const auth = "Authorization: Bearer 0123456789abcdef0"
	if _, _, err := b.manager.RegisterManifest(t.Context(), []byte(testManifest)); err != nil {
		t.Fatal(err)
	}
	b.do("GET", "/sessions/01912d68-783e-7a03-8467-5661c1243ad4/events?access_token=0123456789abcdef0", "", "X-Request-Id: one")
	b.do("GET", "/sessions?cursor=0123456789abcdef0", "", auth, "X-Request-Id: two")
	b.do("POST", "/sessions", `{"goal":"0123456789abcdef0"`, auth, "X-Request-Id: bad id \t")
	b.do("GET", "/0123456789abcdef0", "", "X-Request-Id: "+strings.Repeat("x", 200))
	logs := b.logs.String()
	if strings.Contains(logs, "0123456789abcdef0") {
		t.Errorf("the log holds a secret:\n%s", logs)
	}
	var lines []map[string]any
	for line := range strings.SplitSeq(strings.TrimSpace(logs), "\n") {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["msg"] == "request" {
			lines = append(lines, l)
		}
	}
	if len(lines) != 4 {
		t.Fatalf("%d lines, want one for each of 4 requests\n%s", len(lines), logs)
	}
	first := lines[0]
	if first["request_id"] != "one" || first["route"] != "/sessions/:id/events" || first["status"] != 404.0 || first["tenant"] != "one" || first["code"] != "agent.not_found" || first["session_id"] == nil || first["duration_ms"] == nil || first["method"] != "GET" {
		t.Errorf("line = %v", first)
	}
	for _, l := range lines[2:] {
		if id, _ := l["request_id"].(string); len(id) < 16 || len(id) > 64 || strings.Contains(id, " ") {
			t.Errorf("request_id = %q, want a new one for one that is not usable", id)
		}
	}
}

// A body that does not arrive is not waited for; a turn that takes longer than
// a body may is not cut off by the same deadline (AU7).
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("slow")))
	b.run(func(c *server.Config) { c.ReadTimeout, c.Heartbeat = 50*time.Millisecond, 20*time.Millisecond })
	id := b.create(`{"goal":"x"}`)
	for _, route := range []string{"POST /sessions", "POST /sessions/" + id + "/step", "GET /sessions", "POST /nothing"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", route)
		text, err := io.ReadAll(conn) // to the end: the server closes what it cannot read on from
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 4") || !strings.Contains(string(text), "application/problem+json") {
			t.Errorf("%s with a body that does not come: %v %.200s", route, err, text)
		}
		_ = conn.Close()
	}
	s := b.follow("/sessions/" + id + "/events")
	s.until("caught_up") // progress is live: it reaches those who follow by then
	stepped := make(chan answer, 1)
	go func() { stepped <- b.do("POST", "/sessions/"+id+"/step", "{}") }()
	s.until("progress")
	for range 10 {
		s.until(":") // several read timeouts pass
	}
	b.world.slow <- struct{}{}
	if a := <-stepped; a.status != http.StatusOK {
		t.Errorf("step = %d %s, want 200", a.status, a.body)
	}
}

// Headers are bounded too. net/http answers before a handler is asked.
func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	b.run()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the server may stop reading half-way
		_, _ = fmt.Fprintf(conn, "GET /sessions HTTP/1.1\r\nHost: localhost\r\n%s\r\n", strings.Repeat("X-Many: x\r\n", 200_000))
	}()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, " 431 ") {
		t.Errorf("200,000 headers: %q, %v, want 431", line, err)
	}
}
