package executor_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// IA9: an answer that readers could understand differently is an outcome that
// names the violated rule.
func TestDecode(t *testing.T) {
	t.Parallel()
	const isJSON = "application/json"
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		want                    string // output
		rule                    string // detail code of the failure
	}{
		{name: "object", contentType: isJSON, body: " { \"b\" : 1 , \"a\" : [ ] } \n", want: `{"b":1,"a":[]}`},
		{name: "charset", contentType: "application/json; charset=UTF-8", body: `"ü"`, want: `"ü"`},
		{name: "problem json", contentType: "application/problem+json", body: `1`, want: `1`},
		{name: "no type", contentType: "-", body: `true`, want: `true`},
		{name: "bom", contentType: isJSON, body: "\xef\xbb\xbf{}", want: `{}`},
		{name: "big id", contentType: isJSON, body: `{"id":9007199254740993123456789}`, want: `{"id":9007199254740993123456789}`},
		{name: "exact decimal", contentType: isJSON, body: `[0.10,-0,1E5,1e-999]`, want: `[0.10,-0,1E5,1e-999]`},
		{name: "escapes", contentType: isJSON, body: `"\u003c\ud83d\ude00\ufffd\/"`, want: `"<😀�/"`},
		{name: "204", status: 204, want: `null`},
		{name: "empty", contentType: isJSON, want: `null`},
		{name: "blank", contentType: isJSON, body: " \n ", want: `null`},
		{name: "deep", contentType: isJSON, body: strings.Repeat("[", 100) + strings.Repeat("]", 100), want: strings.Repeat("[", 100) + strings.Repeat("]", 100)},
		{name: "html", contentType: "text/html", body: "<html>Bad gateway</html>", rule: "content_type"},
		{name: "text", contentType: "text/plain", body: `{"a":1}`, rule: "content_type"},
		{name: "octets", contentType: "application/octet-stream", body: `{}`, rule: "content_type"},
		{name: "bad type", contentType: "application/json; =", body: `{}`, rule: "content_type"},
		{name: "latin1", contentType: "application/json; charset=iso-8859-1", body: "\"\xfc\"", rule: "charset"},
		{name: "bad json", contentType: isJSON, body: `{"a":}`, rule: "syntax"},
		{name: "html as json", contentType: isJSON, body: `<html>`, rule: "syntax"},
		{name: "cut json", contentType: isJSON, body: `{"a":[1,2`, rule: "syntax"},
		{name: "trailing comma", contentType: isJSON, body: `[1,]`, rule: "syntax"},
		{name: "nan", contentType: isJSON, body: `NaN`, rule: "syntax"},
		{name: "two documents", contentType: isJSON, body: `{} {}`, rule: "trailing"},
		{name: "trailing quote", contentType: isJSON, body: `1"`, rule: "trailing"},
		{name: "trailing text", contentType: isJSON, body: `{} x`, rule: "trailing"},
		{name: "bad utf-8", contentType: isJSON, body: "{\"a\":\"\xff\"}", rule: "utf8"},
		{name: "overlong utf-8", contentType: isJSON, body: "\"\xc0\xaf\"", rule: "utf8"},
		{name: "lone surrogate", contentType: isJSON, body: `"\ud800"`, rule: "utf8"},
		{name: "swapped surrogates", contentType: isJSON, body: `"\ude00\ud83d"`, rule: "utf8"},
		{name: "duplicate keys", contentType: isJSON, body: `{"a":1,"b":{"c":1,"\u0063":2}}`, rule: "duplicate_key"},
		{name: "too deep", contentType: isJSON, body: strings.Repeat("[", 200_000), rule: "depth"},
		{name: "5000 digits", contentType: isJSON, body: `{"n":` + strings.Repeat("9", 5000) + `}`, rule: "number"},
		{name: "1e999", contentType: isJSON, body: `{"n":1e999}`, rule: "number"},
	} {
		s := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			if tc.contentType == "-" {
				w.Header()["Content-Type"] = nil
			} else {
				w.Header().Set("Content-Type", tc.contentType)
			}
			w.WriteHeader(max(tc.status, 200))
			if tc.status != 204 {
				_, _ = io.WriteString(w, tc.body)
			}
		})
		res, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(api(t, "POST", s.URL), `{}`))
		if tc.rule == "" {
			if err != nil || string(res.Output) != tc.want {
				t.Errorf("%s: Output = %s, %v, want %s", tc.name, res.Output, err, tc.want)
			}
			continue
		}
		f := wantCode(t, err, fault.OutputInvalid)
		if detailCode(f) != tc.rule || f.Retryable || !strings.Contains(f.Message, "was performed") {
			t.Errorf("%s: error = %v (%s), want rule %s", tc.name, f, detailCode(f), tc.rule)
		}
	}
}

// S2-31: text is the output of an action whose schema says string.
func TestTextOutput(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ schema, contentType, body, want string }{
		{`{"type":"string"}`, "text/plain; charset=utf-8", "line \"1\"\n", `"line \"1\"\n"`},
		{`{"type":"string"}`, "text/markdown", "# x", `"# x"`},
		{`{"type":"string"}`, "application/json", `"x"`, `"x"`},
		{`{"type":"string"}`, "text/plain", "\xff", ""},
		{`{"type":"object"}`, "text/plain", "x", ""},
	} {
		s := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tc.contentType)
			_, _ = io.WriteString(w, tc.body)
		})
		a := api(t, "GET", s.URL)
		a.Output = schema(t, tc.schema)
		res, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
		if tc.want == "" {
			wantCode(t, err, fault.OutputInvalid)
		} else if err != nil || string(res.Output) != tc.want {
			t.Errorf("%s %q: Output = %s, %v, want %s", tc.contentType, tc.body, res.Output, err, tc.want)
		}
		if got := s.seen()[0].Header.Get("Accept"); strings.Contains(got, "text/") != strings.Contains(tc.schema, "string") {
			t.Errorf("%s: Accept = %q", tc.schema, got)
		}
	}
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// IA8: an answer is cut at its size, its ratio and its time.
func TestResponseLimits(t *testing.T) {
	t.Parallel()
	bomb := zip(t, bytes.Repeat([]byte(" "), 32<<20))
	endless := func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		max     int64
		code    fault.Code
		rule    string
	}{
		{name: "endless", handler: endless, code: fault.LimitExceeded, rule: "size"},
		{name: "declared", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1073741824")
			w.WriteHeader(200)
		}, code: fault.LimitExceeded, rule: "size"},
		{name: "gzip bomb, size", handler: gzipped(bomb), code: fault.LimitExceeded, rule: "ratio"},
		{name: "gzip bomb, ratio", handler: gzipped(bomb), max: 64 << 20, code: fault.LimitExceeded, rule: "ratio"},
		{name: "gzip, size", handler: gzipped(zip(t, random(2<<20))), code: fault.LimitExceeded, rule: "size"},
		{name: "endless gzip", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for r.Context().Err() == nil {
				if _, err := z.Write(random(64 << 10)); err != nil {
					return
				}
			}
		}, code: fault.LimitExceeded, rule: "size"},
		{name: "not gzip", handler: gzipped([]byte("plain")), code: fault.OutputInvalid, rule: "content_encoding"},
		{name: "damaged gzip", handler: gzipped(append(zip(t, []byte("{}"))[:10], "damaged damaged damaged"...)), code: fault.OutputInvalid, rule: "content_encoding"},
		{name: "brotli", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write([]byte("{}"))
		}, code: fault.OutputInvalid, rule: "content_encoding"},
	} {
		s := newSink(t, tc.handler)
		a := api(t, "PUT", s.URL)
		a.HTTP.MaxResponse = tc.max
		res, err := run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
		f := wantCode(t, err, tc.code)
		if detailCode(f) != tc.rule || f.Retryable {
			t.Errorf("%s: error = %v (%s), want rule %s", tc.name, f, detailCode(f), tc.rule)
		}
		if most := max(tc.max, 1<<20) + 64<<10; res.Usage.BytesIn > most {
			t.Errorf("%s: %d bytes were read", tc.name, res.Usage.BytesIn)
		}
	}
	s := newSink(t, gzipped(zip(t, []byte(`{"ok":true}`))))
	if res := mustRun(t, newHTTP(t, executor.HTTPConfig{}), call(api(t, "GET", s.URL), `{}`)); string(res.Output) != `{"ok":true}` {
		t.Errorf("gzip: Output = %s", res.Output)
	}
}

func gzipped(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(data)
	}
}

// random returns bytes that do not compress.
func random(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// IA8: a body that trickles, and a header without end.
func TestSlowAndLargeHeaders(t *testing.T) {
	t.Parallel()
	drip := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			<-tick.C
		}
	})
	_, err := run(t, newHTTP(t, executor.HTTPConfig{Timeout: time.Second}), call(api(t, "GET", drip.URL), `{}`))
	wantCode(t, err, fault.Timeout)
	large := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 2000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("v", 1000))
		}
	})
	a := api(t, "POST", large.URL)
	_, err = run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
	wantCode(t, err, fault.EffectUnknown)
	a.Effect = manifest.Read
	_, err = run(t, newHTTP(t, executor.HTTPConfig{}), call(a, `{}`))
	wantCode(t, err, fault.EgressFailed)
}
