package executor_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// buffer is a bytes.Buffer that several goroutines may write to.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// IA7: however a receiver gives a secret back, it is in nothing that leaves
// the executor: output, error, cause of the error, progress, notes, log.
func TestSecretsNeverComeBack(t *testing.T) {
	t.Parallel()
	for _, canary := range []string{`kanary/7f+3a<9c"x`, "kanary7f3a9cx"} {
		testSecret(t, canary)
	}
}

func testSecret(t *testing.T, canary string) {
	raw := func(response string) http.HandlerFunc { // bytes on the wire, as they are
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			_, _ = buf.WriteString(response)
			_ = buf.Flush()
			_ = conn.Close()
		}
	}
	status := func(code int, contentType string, body func(*http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body(r))
		}
	}
	headers := func(r *http.Request) string { b, _ := json.Marshal(r.Header); return string(b) }
	auth := func(r *http.Request) string { return r.Header.Get("Authorization") }
	cases := map[string]http.HandlerFunc{
		"reflected headers": status(200, "application/json", headers),
		"as a name": status(200, "application/json", func(r *http.Request) string {
			b, _ := json.Marshal(map[string]int{auth(r): 1})
			return string(b)
		}),
		"escaped throughout": status(200, "application/json", func(*http.Request) string {
			var b strings.Builder
			for _, c := range canary {
				fmt.Fprintf(&b, `\u%04x`, c)
			}
			return `"` + b.String() + `"`
		}),
		"json in a string": status(200, "application/json", func(r *http.Request) string { b, _ := json.Marshal(headers(r)); return string(b) }),
		"base64": status(200, "application/json", func(r *http.Request) string {
			return `"` + base64.StdEncoding.EncodeToString([]byte(auth(r))) + `"`
		}),
		"url":            status(200, "application/json", func(*http.Request) string { return `"https://x.example/?t=` + url.QueryEscape(canary) + `"` }),
		"text":           status(200, "text/plain", auth),
		"401":            status(401, "application/json", headers),
		"403 text":       status(403, "text/plain", func(r *http.Request) string { return "you sent " + auth(r) }),
		"500 html":       status(500, "text/html", func(r *http.Request) string { return "<pre>" + auth(r) + "</pre>" }),
		"500 long":       status(500, "text/plain", func(r *http.Request) string { return strings.Repeat("x", 500) + auth(r) }),
		"500 longer":     status(500, "text/plain", func(r *http.Request) string { return strings.Repeat(" ", 64<<10-10) + canary }),
		"bad json":       status(200, "application/json", auth),
		"duplicate name": status(200, "application/json", func(*http.Request) string { q := quoted(canary); return `{` + q + `:1,` + q + `:2}` }),
		"content type":   status(200, "text/"+url.PathEscape(canary), headers),
		"charset":        status(200, `text/plain; charset="`+url.QueryEscape(canary)+`"`, headers),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://evil.example/"+url.PathEscape(canary)+"?q="+canary)
			w.WriteHeader(302)
		},
		"redirect host": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://"+url.PathEscape(canary)+".localhost:1/"+canary)
			w.WriteHeader(302)
		},
		"retry after": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", canary)
			w.WriteHeader(503)
		},
		"status line":   raw("HTTP/1.1 200 " + canary + "\r\nContent-Length: 2\r\n\r\n{}"),
		"status code":   raw("HTTP/1.1 " + canary + " OK\r\n\r\n"),
		"not http":      raw(canary + "\r\n\r\n"),
		"header":        raw("HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n"),
		"length":        raw("HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n"),
		"encoding":      raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n"),
		"chunk":         raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n"),
		"body encoding": raw("HTTP/1.1 200 OK\r\nContent-Encoding: " + canary + "\r\nContent-Length: 2\r\n\r\n{}"),
		"truncated":     raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + canary),
		"reset":         raw(""),
	}
	for name, handler := range cases {
		for _, effect := range []manifest.Effect{manifest.Read, manifest.Once} {
			for _, follow := range []bool{false, true} {
				s := newSink(t, handler)
				a := api(t, "POST", s.URL)
				a.Effect = effect
				a.HTTP.Auth, a.HTTP.FollowRedirects = "Bearer ${TOKEN}", follow
				a.HTTP.Headers = map[string]string{"X-Api-Key": "${TOKEN}"}
				a.Output = schema(t, `{"type":["object","string"]}`)
				var log buffer
				var progress []executor.Progress
				x := executor.Checked(executor.Retry(newHTTP(t, executor.HTTPConfig{Secrets: secrets("TOKEN", canary)}),
					executor.RetryConfig{Attempts: 2, Backoff: time.Nanosecond}), executor.CheckedConfig{Log: slog.New(slog.NewJSONHandler(&log, nil))})
				res, err := x.Execute(t.Context(), call(a, `{}`), func(p executor.Progress) { progress = append(progress, p) })
				var text strings.Builder
				fmt.Fprintf(&text, "%s\n%+v\n%v\n%s\n", res.Output, res, progress, log.String())
				for e := err; e != nil; {
					fmt.Fprintf(&text, "%v\n%+v\n", e, e)
					u, ok := e.(interface{ Unwrap() error })
					if !ok {
						break
					}
					e = u.Unwrap()
				}
				if err != nil {
					b, _ := json.Marshal(fault.From(err))
					text.Write(b)
				}
				for _, form := range []string{"kanary", canary, "7f3a", "7f+3a", "7f%2B3a", `\u006b\u0061\u006e`, "a2FuYXJ5", "thbmFyeS", "rYW5hcnkv"} {
					if strings.Contains(text.String(), form) {
						t.Errorf("%s (%s, follow %t): %q in\n%s", name, effect, follow, form, text.String())
					}
				}
				if len(s.seen()) == 0 || !strings.Contains(s.seen()[0].Header.Get("X-Api-Key"), "kanary") {
					t.Errorf("%s: the receiver did not get the secret", name)
				}
			}
		}
	}
}

// A value that one call sent is redacted in what any later call returns.
func TestSecretOfAnotherCall(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"last": seen})
		seen += r.Header.Get("Authorization")
	}))
	t.Cleanup(s.Close)
	h := newHTTP(t, executor.HTTPConfig{Secrets: secrets("TOKEN", "canary-token", "SHORT", "12345")})
	a := api(t, "GET", s.URL)
	a.HTTP.Auth = "Bearer ${TOKEN}"
	mustRun(t, h, call(a, `{}`))
	if res := mustRun(t, h, call(api(t, "GET", s.URL), `{}`)); string(res.Output) != `{"last":"Bearer [redacted]"}` {
		t.Errorf("Output = %s", res.Output)
	}
	b := api(t, "GET", s.URL)
	b.HTTP.Auth = "Bearer ${SHORT}"
	_, err := run(t, h, call(b, `{}`))
	if f := wantCode(t, err, fault.SecretMissing); strings.Contains(f.Error(), "12345") {
		t.Errorf("error = %v", f)
	}
}
