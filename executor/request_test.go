package executor_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
)

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// IA6: a path argument stays within its segment, or the call is refused.
func TestPathArguments(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	h := newHTTP(t, executor.HTTPConfig{})
	for _, tc := range []struct {
		value string // JSON
		uri   string // empty when refused
	}{
		{`"u1"`, "/v1/users/u1/posts"},
		{`42`, "/v1/users/42/posts"},
		{`1.50`, "/v1/users/1.50/posts"},
		{`123456789012345678901`, "/v1/users/123456789012345678901/posts"},
		{`true`, "/v1/users/true/posts"},
		{`"a/b"`, "/v1/users/a%2Fb/posts"},
		{`"//evil"`, "/v1/users/%2F%2Fevil/posts"},
		{`"?x=1"`, "/v1/users/%3Fx=1/posts"},
		{`"#frag"`, "/v1/users/%23frag/posts"},
		{`"a;b"`, "/v1/users/a%3Bb/posts"},
		{`"100%"`, "/v1/users/100%25/posts"},
		{`"..."`, "/v1/users/.../posts"},
		{`"{id}"`, "/v1/users/%7Bid%7D/posts"},
		{`"${TOKEN}"`, "/v1/users/$%7BTOKEN%7D/posts"},
		{`"字"`, "/v1/users/%E5%AD%97/posts"},
		{`""`, ""},
		{`"."`, ""},
		{`".."`, ""},
		{`"../admin"`, ""},
		{`"..\\admin"`, ""},
		{`"a/../b"`, ""},
		{`"a/.."`, ""},
		{`"%2e%2e"`, ""},
		{`"%2e%2e%2fadmin"`, ""},
		{`"%2E./x"`, ""},
		{`"a\u0000b"`, ""},
		{`"a\r\nb"`, ""},
		{`"%0d%0aX: 1"`, ""},
		{`null`, ""},
		{`[1]`, ""},
		{`{"a":1}`, ""},
	} {
		before := len(s.seen())
		_, err := run(t, h, call(api(t, "GET", s.URL+"/v1/users/{id}/posts"), `{"id":`+tc.value+`}`))
		seen := s.seen()[before:]
		if tc.uri == "" {
			f := wantCode(t, err, fault.ActionInvalid)
			if len(seen) != 0 || len(f.Details) != 1 || f.Details[0].Pointer != "/args/id" {
				t.Errorf("%s: sent %d requests, details %v", tc.value, len(seen), f.Details)
			}
			continue
		}
		if err != nil || len(seen) != 1 || seen[0].RequestURI != tc.uri {
			t.Errorf("%s: requests %v, error %v, want %s", tc.value, seen, err, tc.uri)
		}
	}
	_, err := run(t, h, call(api(t, "GET", s.URL+"/x/{a}{b}/y"), `{"a":".","b":"."}`))
	wantCode(t, err, fault.ActionInvalid)
	_, err = run(t, h, call(api(t, "GET", s.URL+"/x/{absent}"), `{}`))
	wantCode(t, err, fault.ActionInvalid)
	_, err = run(t, h, call(api(t, "GET", s.URL+"/x?fixed=1"), `{"fixed":"2"}`))
	wantCode(t, err, fault.ActionInvalid)
	_, err = run(t, h, call(api(t, "GET", s.URL+"/x"), `{"q":"`+strings.Repeat("x", 9000)+`"}`))
	wantCode(t, err, fault.LimitExceeded)
	_, err = run(t, h, call(api(t, "POST", s.URL+"/x"), `{"q":"`+strings.Repeat("x", 5<<20)+`"}`))
	wantCode(t, err, fault.LimitExceeded)
}

// IA5: line ends are encoded in paths and queries, kept as data in bodies and
// refused in headers.
func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	h := newHTTP(t, executor.HTTPConfig{Secrets: secrets("TOKEN", "canary-token", "BAD", "canary\u00e9token")})
	a := api(t, "POST", s.URL+"/x?q={v}")
	a.HTTP.Query = []string{"w"}
	a.HTTP.Headers = map[string]string{"x-trace": "id={v}; {not a name}", "Authorization": "Key ${TOKEN}"}
	for _, v := range []string{"a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\u2028b", "a\u2029b", "a\u0085b", "a\u010ab", "\x7f", "é"} {
		_, err := run(t, h, call(a, `{"v":`+quoted(v)+`}`))
		wantCode(t, err, fault.ActionInvalid)
	}
	if n := len(s.seen()); n != 0 {
		t.Fatalf("%d requests were sent", n)
	}
	mustRun(t, h, call(a, `{"v":"%0d%0aX-Evil: ${TOKEN}","w":"a\r\nX-Evil: 1","b":"a\r\nb ${TOKEN}"}`))
	r := s.seen()[0]
	if got := r.Header.Get("X-Trace"); got != "id=%0d%0aX-Evil: ${TOKEN}; {not a name}" {
		t.Errorf("X-Trace = %q", got)
	}
	if r.Header.Get("X-Evil") != "" || r.Header.Get("Authorization") != "Key canary-token" {
		t.Errorf("headers = %v", r.Header)
	}
	if got, want := r.RequestURI, "/x?q=%250d%250aX-Evil%3A+%24%7BTOKEN%7D&w=a%0D%0AX-Evil%3A+1"; got != want {
		t.Errorf("URI = %s, want %s", got, want)
	}
	if got, want := r.body, `{"b":"a\r\nb ${TOKEN}"}`; got != want {
		t.Errorf("body = %s, want %s", got, want)
	}
	for name, value := range map[string]string{"Idempotency-Key": "mine", "Host": "evil", "transfer-encoding": "chunked", "X-Bad": "a\r\nb", "X-Secret": "${BAD}"} {
		b := api(t, "POST", s.URL)
		b.HTTP.Headers = map[string]string{name: value}
		_, err := run(t, h, call(b, `{}`))
		if f := wantCode(t, err, fault.ActionInvalid); strings.Contains(f.Error(), "canary") {
			t.Errorf("%s: the error shows the secret: %v", name, f)
		}
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestArgumentsRefused(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	h := newHTTP(t, executor.HTTPConfig{})
	for _, args := range []string{`[]`, `"x"`, `null`, `{`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1e999}`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), `{} {}`} {
		_, err := run(t, h, call(api(t, "POST", s.URL), args))
		wantCode(t, err, fault.ActionInvalid)
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	mustRun(t, h, call(api(t, "POST", s.URL), ""))
	if got := s.seen()[0].body; got != "{}" {
		t.Errorf("body without arguments = %q", got)
	}
}

// Every call but a read carries the key, whatever its method.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{}`))
	h := newHTTP(t, executor.HTTPConfig{})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		before := len(s.seen())
		mustRun(t, h, call(api(t, method, s.URL), `{}`))
		want := "key-s1-1"
		if method == http.MethodGet || method == http.MethodHead {
			want = ""
		}
		if got := s.seen()[before].Header.Get("Idempotency-Key"); got != want {
			t.Errorf("%s: Idempotency-Key = %q, want %q", method, got, want)
		}
	}
}
