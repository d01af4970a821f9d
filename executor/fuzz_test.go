package executor

import (
	"bytes"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/secret"
	"github.com/oap-runtime/oap/manifest"
)

// FuzzURL fills a path, a query and a header with any text: host, segments,
// fixed parameters and header lines stay those of the manifest.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"u1", "../admin", "%2e%2e", "//evil", "?x=", "#", "a\r\nX: 1", "\x00", "{id}", "${TOKEN}", "@evil", `\`, "字", "%", ";", ".", "..%2f", "\xff"} {
		f.Add(s, s)
	}
	secrets := secret.NewResolver(secret.Config{Env: func(string) (string, bool) { return "canary-value", true }})
	f.Fuzz(func(t *testing.T, path, query string) {
		if !utf8.ValidString(path) || !utf8.ValidString(query) {
			return // no JSON string holds it
		}
		args, err := json.Marshal(map[string]string{"id": path, "q": query, "other": query})
		if err != nil {
			t.Fatal(err)
		}
		a := &manifest.Action{Name: "do", Type: manifest.InvokeAPI, Effect: manifest.Read, HTTP: &manifest.HTTPOptions{
			Endpoint: "https://api.example.com/v1/{id}/x-{id}/end?fixed=1&q={q}", Method: http.MethodGet, Auth: "Bearer ${TOKEN}", Headers: map[string]string{"X-Trace": "t{q}"},
		}}
		out, err := build(Call{Action: a, Args: args}, secrets, "oap")
		if err != nil {
			if !fault.IsOutcome(err) || strings.Contains(err.Error(), "canary-value") {
				t.Fatalf("error = %v", err)
			}
			return
		}
		u, err := url.Parse(out.url.String())
		if err != nil {
			t.Fatalf("the URL cannot be read back: %v", err)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if u.Scheme != "https" || u.Host != "api.example.com" || u.User != nil || u.Fragment != "" || len(segments) != 5 || segments[1] != "v1" || !strings.HasPrefix(segments[3], "x-") || segments[4] != "end" {
			t.Fatalf("%q became %s", path, u)
		}
		if strings.Contains(u.String(), "canary-value") || strings.Contains(out.header.Get("X-Trace"), "canary-value") {
			t.Fatalf("an argument was taken for a reference: %s", u)
		}
		if got, err := url.PathUnescape(segments[2]); err != nil || got != path || got == "" || got == "." || got == ".." {
			t.Fatalf("segment %q of %q is %q, %v", segments[2], path, got, err)
		}
		values, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(values) != 3 || len(values["fixed"]) != 1 || values.Get("fixed") != "1" || len(values["q"]) != 1 || values.Get("other") != query {
			t.Fatalf("query of %q is %v, %v", query, values, err)
		}
		for name, v := range out.header {
			if len(v) != 1 || strings.ContainsAny(v[0], "\r\n\x00") {
				t.Fatalf("header %s = %q", name, v)
			}
		}
	})
}

// FuzzNormalizeJSON: what is accepted is JSON, means the same and stays as it
// is when it is normalized again.
func FuzzNormalizeJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.50,-0,1e5,"x\u003c",null,true]}`, `{"a":1,"a":2}`, `"\ud83d\ude00"`, `"\ud800"`, `[1,]`, `{} {}`, `1e999`, "\xef\xbb\xbf1", "\xff", `{"":{"":[]}}`, `[`, ``, ` `, `"\/"`, `00`, `-`, `"a`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := normalizeJSON(data, plainText)
		bare := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
		if err != nil {
			return
		}
		if !json.Valid(bare) || !json.Valid(doc) {
			t.Fatalf("%q was accepted as %q", data, doc)
		}
		if again, err := normalizeJSON(doc, plainText); err != nil || !bytes.Equal(again, doc) {
			t.Fatalf("%q normalizes to %q, then %q, %v", data, doc, again, err)
		}
		if !reflect.DeepEqual(exact(t, bare), exact(t, doc)) {
			t.Fatalf("%q changed its meaning to %q", data, doc)
		}
	})
}

func exact(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// FuzzResponse decodes any answer: the output is JSON without the secret, or
// the failure names a rule and does not show it either.
func FuzzResponse(f *testing.F) {
	f.Add("application/json", []byte(`{"h":"Bearer canary-value-7"}`))
	f.Add("text/plain; charset=utf-8", []byte("canary-value-7"))
	f.Add("application/json", []byte(`{"\u0063anary-value-7":"Y2FuYXJ5LXZhbHVlLTc="}`))
	f.Add("canary-value-7/;=", []byte(`{`))
	f.Add("application/json", []byte(`{"canary-value-7":1,"canary-value-7":2}`))
	resolver := secret.NewResolver(secret.Config{Env: func(string) (string, bool) { return "canary-value-7", true }})
	if _, err := resolver.Value("TOKEN"); err != nil {
		f.Fatal(err)
	}
	text, err := manifest.CompileSchema(json.RawMessage(`{"type":"string"}`))
	if err != nil {
		f.Fatal(err)
	}
	h := NewHTTP(HTTPConfig{Secrets: resolver})
	f.Fuzz(func(t *testing.T, contentType string, data []byte) {
		for _, schema := range []*manifest.Schema{nil, text} {
			x := exchange{h: h, call: Call{Action: &manifest.Action{Name: "do", Output: schema, HTTP: &manifest.HTTPOptions{}}}}
			out, err := x.decode(contentType, data)
			if err != nil {
				err = x.clean(err)
				if fault.From(err).Details[0].Code == "" || strings.Contains(err.Error(), "canary-value-7") {
					t.Fatalf("error = %v", err)
				}
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("output %q is not JSON", out)
			}
			if s := string(out); strings.Contains(s, "canary-value-7") {
				t.Fatalf("output %s shows the secret", s)
			}
		}
	})
}

// FuzzKey: an accepted key stays inside of every store.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"a/b.txt", "../x", "/x", `a\b`, "a//b", "a/./b", ".oap-tmp-x", "C:/x", "a\x00", "con", "..."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) != "" {
			return
		}
		if strings.HasPrefix(key, "/") || strings.ContainsAny(key, "\\\x00\n") || strings.Contains("/"+key+"/", "/../") || strings.Contains("/"+key+"/", "/./") || strings.Contains(key, "//") {
			t.Fatalf("%q was accepted", key)
		}
	})
}

// FuzzHost: an accepted host is an address in its usual form, or a name that
// nobody takes for a number.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"example.com", "127.0.0.1", "0x7f.1", "2130706433", "127.1.", "[::1]", "a@b", "①.1", "0x", "a.0x7f", "%31"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		u, err := url.Parse("https://" + host + "/")
		if err != nil || checkURL(u) != nil {
			return
		}
		name := u.Hostname()
		if strings.ContainsAny(name, "%@ \t\r\n\x00") || u.User != nil {
			t.Fatalf("%q was accepted as host %q", host, name)
		}
		last := strings.TrimRight(name, ".")
		last = last[strings.LastIndexByte(last, '.')+1:]
		if _, number := new(big.Int).SetString(last, 0); number && !strings.Contains(last, "_") && last[0] != '-' && last[0] != '+' && !strings.HasPrefix(strings.ToLower(last), "0b") && !strings.HasPrefix(strings.ToLower(last), "0o") && strings.Count(name, ".") != 3 {
			t.Fatalf("%q was accepted as host %q", host, name)
		}
	})
}
