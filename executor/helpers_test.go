package executor_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/secret"
	"github.com/oap-runtime/oap/manifest"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func schema(t testing.TB, raw string) *manifest.Schema {
	t.Helper()
	s, err := manifest.CompileSchema(json.RawMessage(raw))
	if err != nil {
		t.Fatalf("CompileSchema(%s): %v", raw, err)
	}
	return s
}

// api returns an invoke_api action. Its effect is that of the method.
func api(t testing.TB, method, endpoint string) *manifest.Action {
	t.Helper()
	effect := manifest.Once
	switch method {
	case http.MethodGet, http.MethodHead:
		effect = manifest.Read
	case http.MethodPut, http.MethodDelete:
		effect = manifest.Idempotent
	}
	return &manifest.Action{
		Name: "do", Type: manifest.InvokeAPI, Input: schema(t, `{"type":"object"}`), Effect: effect, Risk: manifest.Low,
		HTTP: &manifest.HTTPOptions{Endpoint: endpoint, Method: method},
	}
}

func call(a *manifest.Action, args string) executor.Call {
	return executor.Call{
		ID: "s1/1", IdempotencyKey: "key-s1-1", SessionID: "s1", AgentID: "default/Bot", Action: a,
		Args: json.RawMessage(args), Observation: json.RawMessage(`{"user_context":{"name":"Ada"},"environment":{"ready":true,"count":9007199254740993}}`),
		Principal: auth.Anonymous, Now: time.Unix(1_700_000_000, 0), Seed: [32]byte{1},
	}
}

// newHTTP returns an executor that may call loopback addresses.
func newHTTP(t testing.TB, cfg executor.HTTPConfig) *executor.HTTP {
	t.Helper()
	if cfg.AllowPrivate == nil {
		cfg.AllowPrivate = loopback
	}
	if cfg.Secrets == nil {
		cfg.Secrets = secrets()
	}
	h := executor.NewHTTP(cfg)
	t.Cleanup(h.Close)
	return h
}

func secrets(pairs ...string) *secret.Resolver {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return secret.NewResolver(secret.Config{Env: func(name string) (string, bool) { v, ok := m[name]; return v, ok }})
}

// sink is a server that records what reaches it.
type sink struct {
	*httptest.Server
	mu       sync.Mutex // guards requests
	requests []received
}

type received struct {
	*http.Request
	body string
}

func newSink(t testing.TB, answer http.HandlerFunc) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := r.Body.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				break
			}
		}
		s.mu.Lock()
		s.requests = append(s.requests, received{r, b.String()})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) seen() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.requests...)
}

func answerJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}
}

func run(t testing.TB, x executor.Executor, c executor.Call) (executor.Result, error) {
	t.Helper()
	return x.Execute(context.Background(), c, func(executor.Progress) {})
}

func mustRun(t testing.TB, x executor.Executor, c executor.Call) executor.Result {
	t.Helper()
	res, err := run(t, x, c)
	if err != nil {
		t.Fatalf("Execute(%s %s) error = %v", c.Action.Name, c.Args, err)
	}
	return res
}

func wantCode(t testing.TB, err error, code fault.Code) *fault.Error {
	t.Helper()
	if err == nil || !fault.IsOutcome(err) || fault.CodeOf(err) != code {
		t.Fatalf("error = %v, want an outcome with code %s", err, code)
	}
	return fault.From(err)
}

func detailCode(f *fault.Error) string {
	if len(f.Details) == 0 {
		return ""
	}
	return f.Details[0].Code
}
