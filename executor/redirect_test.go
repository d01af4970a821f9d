package executor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
)

// IA4: redirects are followed only when asked, each hop is checked, and
// neither credentials nor bodies cross origins.
func TestRedirects(t *testing.T) {
	t.Parallel()
	other := newSink(t, answerJSON(`{"at":"other"}`))
	var s *sink
	s = newSink(t, func(w http.ResponseWriter, r *http.Request) {
		status, to := 0, r.URL.Query().Get("to")
		if _, err := fmt.Sscanf(r.URL.Path, "/redirect/%d", &status); err != nil {
			answerJSON(`{"at":"end"}`)(w, r)
			return
		}
		if to == "loop" {
			to = s.URL + r.URL.RequestURI()
		}
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
	h := newHTTP(t, executor.HTTPConfig{Secrets: secrets("TOKEN", "canary-token")})
	for _, tc := range []struct {
		name, method string
		status       int
		to           string
		code         fault.Code // empty for success
		last         string     // method and path of the last request at the first origin
		crossed      string     // method of the request at the other origin
	}{
		{name: "relative 302", method: "POST", status: 302, to: "/end", last: "GET /end"},
		{name: "relative 303", method: "POST", status: 303, to: "/end", last: "GET /end"},
		{name: "same origin 307", method: "POST", status: 307, to: s.URL + "/end", last: "POST /end"},
		{name: "same origin 308", method: "PUT", status: 308, to: "end", last: "PUT /redirect/end"},
		{name: "cross 302 get", method: "GET", status: 302, to: other.URL + "/o", crossed: "GET"},
		{name: "cross 301 post", method: "POST", status: 301, to: other.URL + "/o", crossed: "GET"},
		{name: "cross 307 get", method: "GET", status: 307, to: other.URL + "/o", crossed: "GET"},
		{name: "cross 307 post", method: "POST", status: 307, to: other.URL + "/o", code: fault.EgressBlocked},
		{name: "cross 308 put", method: "PUT", status: 308, to: other.URL + "/o", code: fault.EgressBlocked},
		{name: "file", method: "GET", status: 302, to: "file:///etc/passwd", code: fault.EgressBlocked},
		{name: "user", method: "GET", status: 302, to: "http://a:b@127.0.0.1/", code: fault.EgressBlocked},
		{name: "private", method: "GET", status: 302, to: "http://169.254.169.254/latest/meta-data", code: fault.EgressBlocked},
		{name: "no location", method: "GET", status: 302, to: "", code: fault.ActionFailed},
		{name: "bad location", method: "GET", status: 302, to: "http://[::1", code: fault.ActionFailed},
		{name: "loop", method: "GET", status: 302, to: "loop", code: fault.ActionFailed},
	} {
		before, beforeOther := len(s.seen()), len(other.seen())
		a := api(t, tc.method, fmt.Sprintf("%s/redirect/%d?to={to}", s.URL, tc.status))
		a.HTTP.Auth, a.HTTP.FollowRedirects = "Bearer ${TOKEN}", true
		a.HTTP.Headers = map[string]string{"X-Api-Key": "${TOKEN}"}
		_, err := run(t, h, call(a, fmt.Sprintf(`{"to":%q,"payload":"body-canary"}`, tc.to)))
		if tc.code == "" && err != nil || tc.code != "" && (err == nil || fault.CodeOf(err) != tc.code) {
			t.Errorf("%s: error = %v, want %q", tc.name, err, tc.code)
		}
		here, there := s.seen()[before:], other.seen()[beforeOther:]
		if n := len(here); n > 4 {
			t.Errorf("%s: %d requests", tc.name, n)
		}
		if last := here[len(here)-1]; tc.last != "" {
			if got := last.Method + " " + last.URL.Path; got != tc.last || last.Header.Get("Authorization") != "Bearer canary-token" {
				t.Errorf("%s: last request = %s %v, want %s with the credential", tc.name, got, last.Header, tc.last)
			}
			if wantBody := last.Method != "GET"; wantBody != (last.body != "") {
				t.Errorf("%s: last body = %q", tc.name, last.body)
			}
		}
		if (tc.crossed != "") != (len(there) == 1) {
			t.Errorf("%s: %d requests crossed the origin", tc.name, len(there))
			continue
		}
		for _, r := range there {
			if r.Method != tc.crossed || r.body != "" || strings.Contains(fmt.Sprint(r.Header, r.URL), "canary") || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("%s: crossed: %s %v %q", tc.name, r.Method, r.Header, r.body)
			}
		}
	}
}

// By default a redirect is an answer like any other that is not 2xx.
func TestRedirectNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})
		_, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(api(t, "GET", s.URL), `{}`))
		if f := wantCode(t, err, fault.ActionFailed); !strings.Contains(f.Error(), "/elsewhere") || len(s.seen()) != 1 {
			t.Errorf("%d: error = %v after %d requests", status, f, len(s.seen()))
		}
	}
}

// A rewritten target may redirect to its own name, and no stranger may
// redirect to it.
func TestRedirectAndRewrite(t *testing.T) {
	t.Parallel()
	var s *sink
	s = newSink(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			answerJSON(`{"at":"end"}`)(w, r)
			return
		}
		http.Redirect(w, r, s.URL+"/end", http.StatusFound)
	})
	stranger := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://internal.example/end", http.StatusFound)
	})
	h := newHTTP(t, executor.HTTPConfig{Rewrite: map[string]string{"https://internal.example": s.URL}})
	a := api(t, "GET", "https://internal.example/begin")
	a.HTTP.FollowRedirects = true
	if res := mustRun(t, h, call(a, `{}`)); string(res.Output) != `{"at":"end"}` {
		t.Errorf("Output = %s", res.Output)
	}
	b := api(t, "GET", stranger.URL)
	b.HTTP.FollowRedirects = true
	_, err := run(t, h, call(b, `{}`))
	wantCode(t, err, fault.EgressBlocked)
}
