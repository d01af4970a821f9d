package executor_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// S2-05, S2-29, S2-48: method, endpoint, JSON body and authorization reach the
// receiver, and its JSON is the output, digit for digit.
func TestInvokeAPI(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(` {"slots": [{"start":"a","id": 12345678901234567890123}], "x": 1.10 } `))
	a := api(t, "POST", s.URL+"/v1/free_slots")
	a.HTTP.Auth = "Bearer ${CALENDAR_TOKEN}"
	h := newHTTP(t, executor.HTTPConfig{Secrets: secrets("CALENDAR_TOKEN", "canary-token")})
	res := mustRun(t, h, call(a, `{"participants":["a@b.c"],"n":9007199254740993, "z":1e2}`))
	if got, want := string(res.Output), `{"slots":[{"start":"a","id":12345678901234567890123}],"x":1.10}`; got != want {
		t.Errorf("Output = %s, want %s", got, want)
	}
	r := s.seen()[0]
	if got, want := r.body, `{"participants":["a@b.c"],"n":9007199254740993,"z":1e2}`; got != want {
		t.Errorf("body = %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer canary-token", "Content-Type": "application/json", "Accept": "application/json",
		"Idempotency-Key": "key-s1-1", "User-Agent": "oap",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("header %s = %q, want %q", name, got, want)
		}
	}
	if r.Method != "POST" || r.URL.Path != "/v1/free_slots" {
		t.Errorf("request = %s %s", r.Method, r.URL)
	}
	if u := res.Usage; u.HTTPStatus != 200 || u.Attempts != 1 || u.BytesIn == 0 || u.BytesOut == 0 {
		t.Errorf("Usage = %+v", u)
	}
}

func TestInvokeAPIWithoutBody(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`[]`))
	h := newHTTP(t, executor.HTTPConfig{})
	a := api(t, "GET", s.URL+"/users/{id}/events?fixed=1")
	mustRun(t, h, call(a, `{"id":"u/1 ü","q":"a&b=c\r\n","tags":["x","y"],"deep":{"a":[1]},"none":null,"n":90071992547409931,"ok":true}`))
	r := s.seen()[0]
	if got, want := r.RequestURI, "/users/u%2F1%20%C3%BC/events?fixed=1&q=a%26b%3Dc%0D%0A&tags=x&tags=y&deep=%7B%22a%22%3A%5B1%5D%7D&n=90071992547409931&ok=true"; got != want {
		t.Errorf("URI = %s\nwant  %s", got, want)
	}
	if r.body != "" || r.Header.Get("Content-Type") != "" || r.Header.Get("Idempotency-Key") != "" {
		t.Errorf("a read carries body %q, headers %v", r.body, r.Header)
	}
	p := api(t, "POST", s.URL+"/x/{id}")
	p.HTTP.Query = []string{"q"}
	mustRun(t, h, call(p, `{"id":7,"q":"v","rest":[]}`))
	if r := s.seen()[1]; r.RequestURI != "/x/7?q=v" || r.body != `{"rest":[]}` {
		t.Errorf("request = %s %s", r.RequestURI, r.body)
	}
}

// S2-33: without its secret an action fails clearly and calls nobody.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	a := api(t, "POST", s.URL)
	a.HTTP.Auth = "Bearer ${CRM_TOKEN}"
	_, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
	if f := wantCode(t, err, fault.SecretMissing); !strings.Contains(f.Error(), "CRM_TOKEN") {
		t.Errorf("error does not name the secret: %v", f)
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("the endpoint was called %d times", n)
	}
}

// S2-50: a status other than 2xx fails the action with status and excerpt.
func TestStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status    int
		effect    manifest.Effect
		code      fault.Code
		retryable bool
	}{
		{400, manifest.Read, fault.ActionFailed, false},
		{401, manifest.Idempotent, fault.ActionFailed, false},
		{404, manifest.Keyed, fault.ActionFailed, false},
		{409, manifest.Keyed, fault.ActionFailed, false},
		{422, manifest.Keyed, fault.ActionFailed, false},
		{500, manifest.Read, fault.ActionFailed, true},
		{500, manifest.Keyed, fault.ActionFailed, true},
		{503, manifest.Idempotent, fault.ActionFailed, true},
		{501, manifest.Idempotent, fault.ActionFailed, false},
		{500, manifest.Once, fault.ActionFailed, false},
		{501, manifest.Once, fault.ActionFailed, false},
		{408, manifest.Once, fault.EffectUnknown, false},
		{502, manifest.Once, fault.EffectUnknown, false},
		{503, manifest.Once, fault.EffectUnknown, false},
		{504, manifest.Once, fault.EffectUnknown, false},
		{425, manifest.Once, fault.ActionFailed, true},
		{429, manifest.Once, fault.ActionFailed, true},
		{429, manifest.Read, fault.ActionFailed, true},
		{302, manifest.Read, fault.ActionFailed, false},
		{304, manifest.Read, fault.ActionFailed, false},
	} {
		s := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(tc.status)
			if tc.status != 304 {
				_, _ = w.Write([]byte("no\x00 such\r\n thing " + strings.Repeat("x", 2000)))
			}
		})
		a := api(t, "POST", s.URL)
		a.Effect = tc.effect
		res, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
		f := wantCode(t, err, tc.code)
		if f.Retryable != tc.retryable {
			t.Errorf("%d %s: Retryable = %t, want %t", tc.status, tc.effect, f.Retryable, tc.retryable)
		}
		if res.Usage.HTTPStatus != tc.status {
			t.Errorf("%d: HTTPStatus = %d", tc.status, res.Usage.HTTPStatus)
		}
		if text := f.Error(); tc.status/100 != 3 && (!strings.Contains(text, "no such thing") || len(text) > 1200 || strings.ContainsAny(text, "\x00\r\n")) {
			t.Errorf("%d: error = %q", tc.status, text)
		}
		if n := len(s.seen()); n != 1 {
			t.Errorf("%d: %d requests", tc.status, n)
		}
	}
}

// A call that must happen at most once and may have happened is not sent.
func TestRepeatedOnce(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	a := api(t, "POST", s.URL)
	a.Verify = "look_up"
	c := call(a, `{}`)
	c.Repeated = true
	_, err := run(t, newHTTP(t, executor.HTTPConfig{}), c)
	if f := wantCode(t, err, fault.EffectUnknown); f.Retryable || !strings.Contains(f.Error(), "look_up") {
		t.Errorf("error = %v, retryable %t", f, f.Retryable)
	}
	a.Effect = manifest.Keyed
	mustRun(t, newHTTP(t, executor.HTTPConfig{}), c)
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests, want only the keyed one", n)
	}
}

// A cancelled call is not an outcome: it stays open.
func TestCancel(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	s := newSink(t, func(_ http.ResponseWriter, r *http.Request) { close(reached); <-r.Context().Done() })
	stop := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-reached; cancel(stop) }()
	_, err := newHTTP(t, executor.HTTPConfig{}).Execute(ctx, call(api(t, "POST", s.URL), `{}`), nil)
	if !errors.Is(err, stop) || fault.IsOutcome(err) {
		t.Errorf("error = %v, want the cause and no outcome", err)
	}
	_, err = newHTTP(t, executor.HTTPConfig{}).Execute(ctx, call(api(t, "POST", s.URL), `{}`), nil)
	if !errors.Is(err, stop) {
		t.Errorf("a cancelled context: error = %v", err)
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// Contract S2-49: an attempt ends in time.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		effect manifest.Effect
		code   fault.Code
		again  bool
	}{
		{manifest.Read, fault.Timeout, true},
		{manifest.Idempotent, fault.Timeout, true},
		{manifest.Keyed, fault.EffectUnknown, true},
		{manifest.Once, fault.EffectUnknown, false},
	} {
		t.Run(string(tc.effect), func(t *testing.T) {
			t.Parallel()
			s := newSink(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			a := api(t, "POST", s.URL)
			a.Effect = tc.effect
			_, err := run(t, newHTTP(t, executor.HTTPConfig{Timeout: time.Second}), call(a, `{}`))
			if f := wantCode(t, err, tc.code); f.Retryable != tc.again {
				t.Errorf("Retryable = %t", f.Retryable)
			}
		})
	}
}

// S2-51: a type without an executor is an outcome.
func TestMuxUnsupported(t *testing.T) {
	t.Parallel()
	_, err := run(t, executor.Mux{}, call(api(t, "GET", "https://x.example"), `{}`))
	wantCode(t, err, fault.ActionUnsupported)
}
