package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
)

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &Client{BaseURL: s.URL + "/", Key: "secret"}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type"), body)
		io.WriteString(w, `{"transcript":{"steps":4},"session_id":"s"}`)
	})
	ctx := t.Context()
	tests := []struct {
		do   func() error
		want string
	}{
		{func() error { _, err := c.Create(ctx, []byte(`{"goal":"g"}`), "k"); return err }, `POST /sessions Bearer secret k application/json {"goal":"g"}`},
		{func() error { _, err := c.Get(ctx, "a/b"); return err }, `GET /sessions/a%2Fb Bearer secret   `},
		{func() error { _, err := c.List(ctx, "failed", "M", 5, "c"); return err }, `GET /sessions?cursor=c&limit=5&manifest=M&status=failed Bearer secret   `},
		{func() error { _, err := c.Step(ctx, "s"); return err }, `POST /sessions/s/step Bearer secret   `},
		{func() error { _, err := c.Run(ctx, "s"); return err }, `POST /sessions/s/run Bearer secret   `},
		{func() error { _, err := c.Input(ctx, "s", "s/1", []byte(`true`)); return err }, `POST /sessions/s/input Bearer secret  application/json {"call_id":"s/1","answer":true}`},
		{func() error { _, err := c.Cancel(ctx, "s", ""); return err }, `POST /sessions/s/cancel Bearer secret  application/json {}`},
		{func() error {
			raw, err := c.Close(ctx, "s")
			if string(raw) != `{"steps":4}` {
				err = fmt.Errorf("transcript %s", raw)
			}
			return err
		}, `POST /sessions/s/close Bearer secret   `},
		{func() error { _, err := c.Verify(ctx, "s"); return err }, `GET /sessions/s/verify Bearer secret   `},
		{func() error { _, err := c.Register(ctx, []byte("name: x")); return err }, `POST /manifests Bearer secret  application/yaml name: x`},
		{func() error {
			var b strings.Builder
			err := c.Log(ctx, "s", &b)
			if !strings.Contains(b.String(), "transcript") {
				err = fmt.Errorf("log %q", b.String())
			}
			return err
		}, `GET /sessions/s/transcript?format=jsonl Bearer secret   `},
		{func() error { return c.Ready(ctx) }, `GET /readyz Bearer secret   `},
		{func() error { return c.Health(ctx) }, `GET /healthz Bearer secret   `},
	}
	for _, tt := range tests {
		if err := tt.do(); err != nil || got != tt.want {
			t.Errorf("got %q, %v\nwant %q", got, err, tt.want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contentType, body string
		status                  int
		code                    fault.Code
		part                    string
	}{
		{"a problem", "application/problem+json", `{"ok":false,"code":"agent.not_found","message":"Session not found","details":[{"pointer":"/x","message":"m"}]}`, 404, fault.NotFound, "Session not found: /x: m"},
		{"ours", "application/problem+json", `{"code":"common.internal_error","message":"internal error","request_id":"r1"}`, 500, fault.Internal, "request_id r1"},
		{"a proxy's page", "text/html", `<html>`, 502, fault.Internal, "502 Bad Gateway"},
		{"not JSON", "application/json", `{`, 200, "", "does not answer as a server of this runtime"},
	}
	for _, tt := range tests {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", tt.contentType)
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Get(t.Context(), "s")
		if err == nil || !strings.Contains(err.Error(), tt.part) || tt.code != "" && fault.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %s with %q", tt.name, err, tt.code, tt.part)
		}
	}
	if _, err := (&Client{BaseURL: "http://127.0.0.1:1"}).Get(t.Context(), "s"); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("nobody there: %v, want %s", err, fault.Unavailable)
	}
	if _, err := (&Client{BaseURL: "::"}).Get(t.Context(), "s"); fault.CodeOf(err) != fault.Validation {
		t.Errorf("not a URL: %v, want %s", err, fault.Validation)
	}
}

// eventServer sends the events after the client's last, but breaks every
// connection after two of them.
func eventServer(t *testing.T, last int) *Client {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "retry: 1\n\n: hello\n\n")
		for seq := after + 1; seq <= min(after+2, last); seq++ {
			fmt.Fprintf(w, "id: %d\nevent: x\ndata: {\"seq\":%d,\"type\":\"x\",\"data\":{}}\n\n", seq, seq)
			io.WriteString(w, "event: progress\ndata: {\"kind\":\"log\"}\n\n")
		}
		if after+2 >= last {
			io.WriteString(w, "event: caught_up\ndata: {}\n\nevent: end\ndata: {}\n\n")
		}
	})
}

// Whatever breaks, the events arrive once each and in order.
func TestFollowComesBack(t *testing.T) {
	t.Parallel()
	c := eventServer(t, 7)
	var seqs []int64
	live := 0
	err := c.Follow(t.Context(), "s", 0, func(e Event) error {
		if e.SessionID != "s" {
			t.Errorf("event of session %q, want s", e.SessionID)
		}
		if e.Seq > 0 {
			seqs = append(seqs, e.Seq)
		} else if e.Type == Progress {
			live++
		}
		return nil
	})
	if err != nil || fmt.Sprint(seqs) != "[1 2 3 4 5 6 7]" || live != 7 {
		t.Errorf("Follow delivered %v and %d live signs, %v", seqs, live, err)
	}

	stop := errors.New("enough")
	if err := c.Follow(t.Context(), "s", 2, func(e Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Follow = %v, want the caller's error", err)
	}
	if err := c.Follow(t.Context(), "s", 2, func(e Event) error { return ErrStop }); err != nil {
		t.Errorf("Follow = %v, want nil after ErrStop", err)
	}
}

func TestFollowGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests atomic.Int64
	tests := []struct {
		name   string
		ctx    context.Context
		answer string
		status int
		want   string
	}{
		{"no such session", t.Context(), `{"code":"agent.not_found","message":"Session not found"}`, 404, "agent.not_found"},
		{"a gap", t.Context(), "id: 2\nevent: x\ndata: {\"seq\":2}\n\n", 200, "event 2 came after event 0"},
		{"not an event", t.Context(), "id: 1\nevent: x\ndata: no\n\n", 200, "cannot be read"},
		{"the caller leaves", ctx, "", 200, "context canceled"},
	}
	for _, tt := range tests {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.answer)
			if requests.Add(1); tt.ctx == ctx {
				cancel()
			}
		})
		err := c.Follow(tt.ctx, "s", 0, func(Event) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Follow = %v, want %q", tt.name, err, tt.want)
		}
	}
	if n := requests.Load(); n != int64(len(tests)) {
		t.Errorf("%d requests, want one for each case", n)
	}

	if err := (&Client{BaseURL: "http://127.0.0.1:1"}).Follow(t.Context(), "s", 0, nil); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("a server that was never there: %v, want %s at once", err, fault.Unavailable)
	}
}
