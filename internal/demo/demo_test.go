package demo

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

type caller struct {
	t *testing.T
	w *World
}

func setup(t *testing.T) caller {
	t.Parallel()
	return caller{t, New()}
}

// call sends a request straight to a service, with its token.
func (c caller) call(service, method, path, key, body string) *httptest.ResponseRecorder {
	c.t.Helper()
	for _, s := range c.w.Services() {
		if s.Name != service {
			continue
		}
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+s.Token)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		return rec
	}
	c.t.Fatalf("no service %q", service)
	return nil
}

const (
	event   = `{"start":"2026-04-03T10:00:00-07:00","end":"2026-04-03T10:45:00-07:00","participants":["alice@example.com","bob@example.com"],"agenda":"A","title":"T"}`
	meeting = `{"contact_email":"alice@example.com","event_id":"ev_12345abcd","title":"T","agenda":"A"}`
)

func TestOperations(t *testing.T) {
	tests := []struct {
		name, service, method, path, body string
		status                            int
		want                              string // the whole body, or a part when it starts with "…"
	}{
		{"free slots (S2-68)", "calendar", "POST", "/v1/free_slots", `{"participants":["alice@example.com","bob@example.com"],"duration_minutes":45}`, 200,
			`{"slots":[{"start":"2026-04-03T10:00:00-07:00","end":"2026-04-03T10:45:00-07:00"},{"start":"2026-04-04T14:00:00-07:00","end":"2026-04-04T14:45:00-07:00"}]}`},
		{"first event (S2-68)", "calendar", "POST", "/v1/events", event, 200, `{"event_id":"ev_12345abcd"}`},
		{"crm (S2-68)", "crm", "POST", "/v1/meetings", meeting, 200, `{"status":"recorded"}`},
		{"meeting (S1-48)", "calendar", "POST", "/v1/meetings", `{"email_id":"msg-1","date_time":"2026-04-06T09:00:00Z","participants":["alice@example.com"]}`, 200, `…{"event_id":"event-`},
		{"unread (S1-48)", "mail", "GET", "/v1/unread?max_results=1", ``, 200, `…"from":"alice@example.com"}]}`},
		{"send (S0-42)", "mail", "POST", "/v1/send", `{"to":"alice@example.com","subject":"s","body":"b"}`, 200, `…"sent":true`},
		{"query (S0-42)", "data", "POST", "/v1/query", `{"sql":"SELECT date, sales FROM sales WHERE date >= CURDATE() - INTERVAL 2 DAY"}`, 200,
			`{"rows":[{"date":"2024-01-01","sales":1234},{"date":"2024-01-02","sales":1500}]}`},
		{"not a SELECT (S0-43)", "data", "POST", "/v1/query", `{"sql":"DELETE FROM sales"}`, 403, `…only SELECT`},
		{"short meeting", "calendar", "POST", "/v1/free_slots", `{"participants":["alice@example.com"],"duration_minutes":5}`, 400, `…"field":"duration_minutes"`},
		{"bad address", "calendar", "POST", "/v1/free_slots", `{"participants":["alice"],"duration_minutes":15}`, 400, `…participants[0]`},
		{"end before start", "calendar", "POST", "/v1/events", strings.Replace(event, "T10:45", "T09:45", 1), 400, `…"field":"end"`},
		{"unknown member", "crm", "POST", "/v1/meetings", `{"x":1}`, 400, `…unknown field`},
		{"two values", "crm", "POST", "/v1/meetings", meeting + meeting, 400, `…more than one`},
		{"no such operation", "crm", "GET", "/v1/nothing", ``, 404, `…not_found`},
		{"too long", "mail", "POST", "/v1/send", strings.Repeat("x", bodyBytesMax+1), 413, `…unreadable`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := setup(t).call(tt.service, tt.method, tt.path, "", tt.body)
			got := strings.TrimSpace(rec.Body.String())
			part, isPart := strings.CutPrefix(tt.want, "…")
			if rec.Code != tt.status || isPart && !strings.Contains(got, part) || !isPart && got != tt.want {
				t.Errorf("%s %s = %d %s, want %d %s", tt.method, tt.path, rec.Code, got, tt.status, tt.want)
			}
		})
	}
}

func TestTokenIsAsked(t *testing.T) {
	c := setup(t)
	for _, s := range c.w.Services() {
		for _, header := range []string{"", "Bearer wrong", "Basic " + s.Token, s.Token} {
			r := httptest.NewRequest(http.MethodPost, "/v1/query", nil)
			r.Header.Set("Authorization", header)
			if s.Name != "data" {
				r = httptest.NewRequest(http.MethodGet, map[string]string{"calendar": "/v1/events", "crm": "/v1/meetings", "mail": "/v1/unread"}[s.Name], nil)
				r.Header.Set("Authorization", header)
			}
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, r)
			if rec.Code != http.StatusUnauthorized {
				t.Errorf("%s with %q = %d, want 401", s.Name, header, rec.Code)
			}
		}
	}
}

func TestAKeyTakesEffectOnce(t *testing.T) {
	c := setup(t)
	first := c.call("calendar", "POST", "/v1/events", "k1", event)
	again := c.call("calendar", "POST", "/v1/events", "k1", event)
	if first.Body.String() != again.Body.String() || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeat = %s (replayed %q), want %s replayed", again.Body, again.Header().Get("Idempotency-Replayed"), first.Body)
	}
	if rec := c.call("calendar", "POST", "/v1/events", "k1", strings.Replace(event, `"T"`, `"U"`, 1)); rec.Code != 422 {
		t.Errorf("same key, other body = %d, want 422", rec.Code)
	}
	if rec := c.call("calendar", "POST", "/v1/events", "k2", `{}`); rec.Code != 400 {
		t.Errorf("invalid body = %d, want 400", rec.Code)
	}
	if rec := c.call("calendar", "POST", "/v1/events", "k2", event); rec.Code != 200 {
		t.Errorf("a key whose first use was refused = %d, want 200", rec.Code)
	}
	got := c.w.Effects()
	want := []Effect{
		{"calendar", "POST /v1/events", "k1", 1, 3},
		{"calendar", "POST /v1/events", "k2", 1, 2},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("Effects() = %+v, want %+v", got, want)
	}
}

func TestWithoutAKeyEveryRequestCounts(t *testing.T) {
	c := setup(t)
	c.call("crm", "POST", "/v1/meetings", "", meeting)
	c.call("crm", "POST", "/v1/meetings", "", meeting)
	if got := c.w.Effects(); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("Effects() = %+v, want one entry that counts 2", got)
	}
}

func TestConcurrentUseOfAKey(t *testing.T) {
	c := setup(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if rec := c.call("crm", "POST", "/v1/meetings", "k", meeting); rec.Code != 200 && rec.Code != 409 {
				t.Errorf("status %d, want 200 or 409", rec.Code)
			}
		})
	}
	wg.Wait()
	if got := c.w.Effects(); len(got) != 1 || got[0].Count != 1 || got[0].Requests != 50 {
		t.Errorf("Effects() = %+v, want one effect of 50 requests", got)
	}
}

func TestFaults(t *testing.T) {
	c := setup(t)
	if err := c.w.Inject(Fault{Service: "crm", Mode: ModeError, Times: 1}); err != nil {
		t.Fatal(err)
	}
	if rec := c.call("calendar", "POST", "/v1/events", "k", event); rec.Code != 200 {
		t.Errorf("another service = %d, want 200", rec.Code)
	}
	if rec := c.call("crm", "POST", "/v1/meetings", "k", meeting); rec.Code != 503 {
		t.Errorf("first request = %d, want 503", rec.Code)
	}
	if rec := c.call("crm", "POST", "/v1/meetings", "k", meeting); rec.Code != 200 {
		t.Errorf("second request = %d, want 200", rec.Code)
	}
	for _, bad := range []Fault{{Mode: "x"}, {LatencyMS: -1}, {ResponseLatencyMS: latencyMSMax + 1}, {Times: -1}, {Status: 200}} {
		if err := c.w.Inject(bad); err == nil {
			t.Errorf("Inject(%+v) = nil, want an error", bad)
		}
	}
}

// A dropped answer leaves the effect done: the repeat is answered from the
// ledger.
func TestDropAndControlOverTheNetwork(t *testing.T) {
	t.Parallel()
	w := New()
	l, err := w.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	}()

	do := func(a Address, method, path, key, body string) (int, string, error) {
		r, _ := http.NewRequestWithContext(ctx, method, a.URL+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+a.Token)
		// Without GetBody the client cannot repeat the request by itself.
		r.GetBody = nil
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}

	control, crm := l.Addresses.Control, l.Addresses.Services[1]
	if status, body, err := do(control, "POST", "/_faults", "", `{"mode":"drop","times":1,"latency_ms":1,"response_latency_ms":1}`); status != 204 {
		t.Fatalf("inject = %d %s %v, want 204", status, body, err)
	}
	if _, _, err := do(crm, "POST", "/v1/meetings", "k", meeting); err == nil {
		t.Error("a dropped answer arrived")
	}
	if status, body, err := do(crm, "POST", "/v1/meetings", "k", meeting); status != 200 {
		t.Errorf("repeat = %d %s %v, want 200", status, body, err)
	}
	_, body, err := do(control, "GET", "/_effects", "", "")
	var got struct{ Effects []Effect }
	if err != nil || json.Unmarshal([]byte(body), &got) != nil || len(got.Effects) != 1 || got.Effects[0].Count != 1 || got.Effects[0].Requests != 2 {
		t.Errorf("effects = %s %v, want one effect of two requests", body, err)
	}
	if status, _, _ := do(control, "POST", "/_faults", "", `{"mode":"x"}`); status != 400 {
		t.Errorf("bad fault = %d, want 400", status)
	}
	control.Token = "wrong"
	if status, _, _ := do(control, "GET", "/_effects", "", ""); status != 401 {
		t.Errorf("wrong control token = %d, want 401", status)
	}
}
