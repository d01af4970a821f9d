package executor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// waits records what Retry would have waited.
type waits struct{ list []time.Duration }

func (w *waits) wait(_ context.Context, d time.Duration) error {
	w.list = append(w.list, d)
	return nil
}

// failing fails with each error in turn, then succeeds.
func failing(calls *[]executor.Call, errs ...error) executor.Executor {
	n := 0
	return executor.Func(func(_ context.Context, c executor.Call, _ func(executor.Progress)) (executor.Result, error) {
		*calls = append(*calls, c)
		n++
		res := executor.Result{Usage: executor.Usage{Attempts: 1, BytesIn: 10, Model: &executor.ModelUsage{Calls: 1, CostUSD: 0.5}}}
		if n <= len(errs) {
			return res, errs[n-1]
		}
		res.Output = []byte(`"done"`)
		return res, nil
	})
}

// C-29, S1-65: attempts, exponential backoff with jitter, and nothing but
// retryable outcomes is repeated.
func TestRetry(t *testing.T) {
	t.Parallel()
	again := func(code fault.Code) error { return fault.New(code, "x").Retry(0) }
	for _, tc := range []struct {
		name     string
		effect   manifest.Effect
		errs     []error
		attempts int
		code     fault.Code
		repeated bool // the last attempt is marked so
	}{
		{"success", manifest.Read, nil, 1, "", false},
		{"once failed", manifest.Read, []error{again(fault.Timeout)}, 2, "", true},
		{"not sent", manifest.Once, []error{again(fault.EgressFailed), again(fault.EgressFailed)}, 3, "", false},
		{"all fail", manifest.Keyed, []error{again(fault.EffectUnknown), again(fault.EffectUnknown), again(fault.EffectUnknown), again(fault.EffectUnknown)}, 4, fault.EffectUnknown, true},
		{"final", manifest.Read, []error{fault.New(fault.ActionFailed, "x")}, 1, fault.ActionFailed, false},
		{"unknown is final for once", manifest.Once, []error{again(fault.EffectUnknown)}, 1, fault.EffectUnknown, false},
		{"ours", manifest.Read, []error{errors.New("ours")}, 1, fault.Internal, false},
		{"unavailable is ours", manifest.Read, []error{again(fault.Unavailable)}, 1, fault.Unavailable, false},
	} {
		var calls []executor.Call
		var w waits
		var progress []executor.Progress
		a := api(t, "POST", "https://x.example")
		a.Effect = tc.effect
		x := executor.Retry(failing(&calls, tc.errs...), executor.RetryConfig{Wait: w.wait})
		res, err := x.Execute(t.Context(), call(a, `{}`), func(p executor.Progress) { progress = append(progress, p) })
		if len(calls) != tc.attempts || res.Usage.Attempts != tc.attempts || res.Usage.BytesIn != int64(10*tc.attempts) || res.Usage.Model.Calls != tc.attempts {
			t.Errorf("%s: %d calls, usage %+v, want %d attempts", tc.name, len(calls), res.Usage, tc.attempts)
		}
		if tc.code == "" && err != nil || tc.code != "" && (err == nil || fault.CodeOf(err) != tc.code) {
			t.Errorf("%s: error = %v, want %q", tc.name, err, tc.code)
		}
		last := calls[len(calls)-1]
		if last.Repeated != tc.repeated || last.IdempotencyKey != "key-s1-1" || last.ID != "s1/1" {
			t.Errorf("%s: last call = %+v", tc.name, last)
		}
		if len(w.list) != tc.attempts-1 || len(progress) != tc.attempts-1 {
			t.Errorf("%s: waits %v, progress %v", tc.name, w.list, progress)
		}
		for i, d := range w.list {
			if most := time.Second << i; d < most/2 || d > most {
				t.Errorf("%s: wait %d = %s, want between %s and %s", tc.name, i+1, d, most/2, most)
			}
		}
	}
}

// The waits of a call are its own, and the same when it is repeated.
func TestRetryJitter(t *testing.T) {
	t.Parallel()
	first := func(seed byte) time.Duration {
		var calls []executor.Call
		var w waits
		c := call(api(t, "GET", "https://x.example"), `{}`)
		c.Seed = [32]byte{seed}
		_, _ = run(t, executor.Retry(failing(&calls, fault.New(fault.Timeout, "x").Retry(0)), executor.RetryConfig{Wait: w.wait}), c)
		return w.list[0]
	}
	if first(1) != first(1) || first(1) == first(2) {
		t.Errorf("waits = %s, %s, %s; want the first two alike only", first(1), first(1), first(2))
	}
}

// IA11: what a receiver asks for is honoured and capped.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		header      string
		least, most time.Duration
	}{
		{"", time.Second / 2, time.Second},
		{"0", time.Second / 2, time.Second},
		{"1", time.Second / 2, time.Second},
		{"7", 7 * time.Second, 7 * time.Second},
		{" 7 ", 7 * time.Second, 7 * time.Second},
		{"1000000000", 30 * time.Second, 30 * time.Second},
		{"99999999999999999999999", 30 * time.Second, 30 * time.Second},
		{"-1", time.Second / 2, time.Second},
		{"nonsense", time.Second / 2, time.Second},
		{"1e9", time.Second / 2, time.Second},
		{"Mon, 02 Jan 2006 15:04:05 GMT", time.Second / 2, time.Second},
		{"Fri, 31 Dec 2199 23:59:59 GMT", 30 * time.Second, 30 * time.Second},
	} {
		for _, status := range []int{429, 503} {
			var n atomic.Int64
			s := newSink(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 1 {
					w.Header()["Retry-After"] = []string{tc.header}
					w.WriteHeader(status)
					return
				}
				answerJSON(`{}`)(w, r)
			})
			var w waits
			a := api(t, "POST", s.URL)
			a.Effect = manifest.Keyed
			res, err := run(t, executor.Retry(newHTTP(t, executor.HTTPConfig{}), executor.RetryConfig{Wait: w.wait}), call(a, `{}`))
			if err != nil || res.Usage.Attempts != 2 || len(w.list) != 1 || w.list[0] < tc.least || w.list[0] > tc.most {
				t.Errorf("%d, Retry-After %q: waits %v, usage %+v, %v", status, tc.header, w.list, res.Usage, err)
			}
			if r := s.seen(); r[0].Header.Get("Idempotency-Key") != r[1].Header.Get("Idempotency-Key") {
				t.Errorf("the keys differ")
			}
		}
	}
}

// IA11: waiting has a budget, and ends with the time of the call.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	again := fault.New(fault.ActionFailed, "busy").Retry(25 * time.Second)
	errs := []error{again, again, again, again, again, again, again, again, again}
	var calls []executor.Call
	var w waits
	a := api(t, "GET", "https://x.example")
	a.Retry.Attempts = 9
	_, err := run(t, executor.Retry(failing(&calls, errs...), executor.RetryConfig{Wait: w.wait}), call(a, `{}`))
	if f := wantCode(t, err, fault.ActionFailed); len(calls) != 3 || f.RetryAfter != 25*time.Second {
		t.Errorf("%d calls in a minute, error %+v", len(calls), f)
	}
	calls = nil
	x := executor.Timeout(executor.Retry(failing(&calls, errs...), executor.RetryConfig{}), 10*time.Second)
	_, err = run(t, x, call(a, `{}`))
	if wantCode(t, err, fault.ActionFailed); len(calls) != 1 {
		t.Errorf("%d calls, want no wait that cannot end in time", len(calls))
	}
	a.Retry = manifest.Retry{Attempts: 1000, Backoff: time.Nanosecond}
	for range 1000 {
		errs = append(errs, fault.New(fault.ActionFailed, "busy").Retry(0))
	}
	calls = nil
	_, _ = run(t, executor.Retry(failing(&calls, errs[9:]...), executor.RetryConfig{Wait: w.wait}), call(a, `{}`))
	if len(calls) != 20 {
		t.Errorf("%d calls, want 20 at most", len(calls))
	}
}

// A wait ends at once when the caller goes away, and the call stays open.
func TestRetryInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		var calls []executor.Call
		x := executor.Retry(failing(&calls, fault.New(fault.Timeout, "x").Retry(0)), executor.RetryConfig{Backoff: time.Hour, BackoffMax: time.Hour, Budget: 24 * time.Hour})
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		begin := time.Now()
		_, err := x.Execute(ctx, call(api(t, "GET", "https://x.example"), `{}`), nil)
		if !errors.Is(err, stop) || fault.IsOutcome(err) || len(calls) != 1 || time.Since(begin) != time.Minute {
			t.Errorf("after %s and %d calls: error = %v", time.Since(begin), len(calls), err)
		}
	})
}

// IA12: what happens when the answer is lost depends on the effect alone. A
// lost request is repeated with the same key, or not at all.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	hijack := func(w http.ResponseWriter, answer string, reset bool) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(answer))
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	for name, lose := range map[string]http.HandlerFunc{
		"reset":          func(w http.ResponseWriter, _ *http.Request) { hijack(w, "", true) },
		"close":          func(w http.ResponseWriter, _ *http.Request) { hijack(w, "", false) },
		"truncated head": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 200 OK\r\nContent-", false) },
		"truncated body": func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":", false)
		},
		"truncated chunk": func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"a\"", false)
		},
		"hang":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"garbage": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HELLO\r\n\r\n", false) },
		"502":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
		"504":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504) },
	} {
		for _, effect := range []manifest.Effect{manifest.Read, manifest.Idempotent, manifest.Keyed, manifest.Once} {
			t.Run(name+" "+string(effect), func(t *testing.T) {
				t.Parallel()
				for _, method := range []string{"POST", "DELETE", "GET"} {
					testLost(t, lose, effect, method, name == "hang")
				}
			})
		}
	}
}

// testLost loses the first two answers.
func testLost(t *testing.T, lose http.HandlerFunc, effect manifest.Effect, method string, hangs bool) {
	t.Helper()
	var n atomic.Int64
	s := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			lose(w, r)
			return
		}
		answerJSON(`{"done":true}`)(w, r)
	})
	a := api(t, method, s.URL)
	a.Effect = effect
	if hangs {
		a.Timeout = time.Second
	}
	h := newHTTP(t, executor.HTTPConfig{})
	res, err := run(t, executor.Retry(h, executor.RetryConfig{Wait: (&waits{}).wait}), call(a, `{}`))
	requests := s.seen()
	if effect == manifest.Once {
		if f := wantCode(t, err, fault.EffectUnknown); f.Retryable || len(requests) != 1 {
			t.Errorf("%s: %d requests, %v", method, len(requests), f)
		}
		return
	}
	if err != nil || string(res.Output) != `{"done":true}` || len(requests) != 3 {
		t.Errorf("%s: %d requests, output %s, %v", method, len(requests), res.Output, err)
	}
	key := "key-s1-1"
	if effect == manifest.Read {
		key = ""
	}
	for _, r := range requests {
		if got := r.Header.Get("Idempotency-Key"); got != key {
			t.Errorf("%s: key %q, want %q", method, got, key)
		}
	}
}

// A connection that the receiver closed while it was idle must not make a
// call of effect once doubtful, nor be the reason to send it twice.
func TestOnceUsesItsOwnConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var remotes []string
	s := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes = append(remotes, r.RemoteAddr)
		mu.Unlock()
		answerJSON(`{}`)(w, r)
	})
	h := newHTTP(t, executor.HTTPConfig{})
	for range 5 {
		mustRun(t, h, call(api(t, "GET", s.URL), `{}`))
		mustRun(t, h, call(api(t, "POST", s.URL), `{}`))
		s.CloseClientConnections()
	}
	seen := map[string]bool{}
	for _, r := range remotes {
		seen[r] = true
	}
	if len(seen) != 10 || len(remotes) != 10 {
		t.Errorf("%d requests on %d connections, want 10 on 10", len(remotes), len(seen))
	}
}

// What was not sent is certain, so it is repeated for every effect.
func TestNotSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for _, endpoint := range []string{"http://" + closed, "http://absent.example:1"} {
		a := api(t, "POST", endpoint)
		h := newHTTP(t, executor.HTTPConfig{Resolver: resolver(t, hostileNames)})
		var w waits
		res, err := run(t, executor.Retry(h, executor.RetryConfig{Wait: w.wait}), call(a, `{}`))
		f := wantCode(t, err, fault.EgressFailed)
		if !f.Retryable || res.Usage.Attempts != 4 {
			t.Errorf("%s: %+v after %d attempts", endpoint, f, res.Usage.Attempts)
		}
		if strings.Contains(f.Error(), "dial tcp") {
			t.Errorf("%s: error = %v", endpoint, f)
		}
	}
}

// IA13: a receiver that is still busy with the key is asked again; a key it
// refuses is a failure, and never a success.
func TestKeyConflicts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		status   int
		after    string
		repeated bool
		requests int
		code     fault.Code
	}{
		{"in flight", 409, "1", false, 4, fault.EffectUnknown},
		{"in flight, repeated", 409, "", true, 4, fault.EffectUnknown},
		{"conflict", 409, "", false, 1, fault.ActionFailed},
		{"other body", 422, "", true, 1, fault.ActionFailed},
	} {
		s := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			if tc.after != "" {
				w.Header().Set("Retry-After", tc.after)
			}
			w.WriteHeader(tc.status)
		})
		a := api(t, "POST", s.URL)
		a.Effect = manifest.Keyed
		c := call(a, `{}`)
		c.Repeated = tc.repeated
		_, err := run(t, executor.Retry(newHTTP(t, executor.HTTPConfig{}), executor.RetryConfig{Wait: (&waits{}).wait}), c)
		if wantCode(t, err, tc.code); len(s.seen()) != tc.requests {
			t.Errorf("%s: %d requests, want %d", tc.name, len(s.seen()), tc.requests)
		}
	}
	// Two workers at once, against a receiver that deduplicates.
	var mu sync.Mutex
	var effects int
	done := map[string]bool{}
	busy := map[string]bool{}
	s := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		mu.Lock()
		if busy[key] && !done[key] {
			mu.Unlock()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(409)
			return
		}
		first := !done[key]
		busy[key] = true
		mu.Unlock()
		if first {
			mu.Lock()
			effects++
			done[key] = true
			mu.Unlock()
		}
		answerJSON(`{"id":1}`)(w, r)
	})
	a := api(t, "POST", s.URL)
	a.Effect = manifest.Keyed
	h := executor.Retry(newHTTP(t, executor.HTTPConfig{}), executor.RetryConfig{Wait: func(context.Context, time.Duration) error { return nil }, Attempts: 20})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := call(a, `{}`)
			c.IdempotencyKey = fmt.Sprint("key-", i/2)
			if res, err := h.Execute(t.Context(), c, nil); err != nil || string(res.Output) != `{"id":1}` {
				t.Errorf("Execute = %s, %v", res.Output, err)
			}
		})
	}
	wg.Wait()
	if effects != 4 {
		t.Errorf("%d effects, want 4", effects)
	}
}
