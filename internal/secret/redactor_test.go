package secret_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/internal/secret"
)

// IA7: a value is found in the spellings a receiver gives it.
func TestRedact(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"canary-7f3a9c", `q"uo\te/<&>'+ %!`, "sëcrét-字-🔑", "abcdef", "tok+en/with=base64==",
	} {
		var r secret.Redactor
		r.Add(value)
		jsonText := func(v any) string { b, _ := json.Marshal(v); return string(b) }
		texts := map[string]string{
			"plain":       "before " + value + " after",
			"twice":       value + value,
			"json":        jsonText(map[string]string{"h": "Bearer " + value}),
			"json ascii":  jsonASCIIText("Bearer " + value),
			"query":       "https://x/?t=" + url.QueryEscape(value) + "&z=1",
			"query lower": "https://x/?t=" + lower(url.QueryEscape(value)),
			"path":        "/a/" + url.PathEscape(value) + "/b",
			"html":        "<b>" + html.EscapeString(value) + "</b>",
			"hex":         hex.EncodeToString([]byte(value)),
			"HEX":         strings.ToUpper(hex.EncodeToString([]byte(value))),
		}
		for _, prefix := range []string{"", "u", "us", "user:", "Bearer "} {
			for name, enc := range map[string]*base64.Encoding{
				"std": base64.StdEncoding, "raw": base64.RawStdEncoding, "url": base64.URLEncoding, "rawurl": base64.RawURLEncoding,
			} {
				texts["base64 "+name+" "+prefix] = enc.EncodeToString([]byte(prefix + value + "tail"))
				texts["base64 end "+name+" "+prefix] = enc.EncodeToString([]byte(prefix + value))
			}
		}
		for name, text := range texts {
			got := r.Redact(text)
			if !strings.Contains(got, secret.Mark) {
				t.Errorf("%q %s: Redact(%q) = %q", value, name, text, got)
			}
			if strings.Contains(got, value) {
				t.Errorf("%q %s: the value is still there: %q", value, name, got)
			}
		}
	}
}

func lower(s string) string {
	for c := 'A'; c <= 'F'; c++ {
		for _, d := range "0123456789ABCDEF" {
			s = strings.ReplaceAll(s, fmt.Sprintf("%%%c%c", c, d), strings.ToLower(fmt.Sprintf("%%%c%c", c, d)))
			s = strings.ReplaceAll(s, fmt.Sprintf("%%%c%c", d, c), strings.ToLower(fmt.Sprintf("%%%c%c", d, c)))
		}
	}
	return s
}

func jsonASCIIText(s string) string {
	b, _ := json.Marshal(s)
	var out strings.Builder
	for _, c := range string(b) {
		switch {
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		case c > 0x7f:
			fmt.Fprintf(&out, `\u%04x`, c)
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}

// A credential that is base64 of text may come back decoded.
func TestRedactBasic(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	r.Add(base64.StdEncoding.EncodeToString([]byte("user:hunter2-canary")))
	if got := r.Redact("logged in as user with hunter2-canary"); strings.Contains(got, "canary") {
		t.Errorf("Redact = %q", got)
	}
}

func TestRedactLongestFirst(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	r.Add("canary")
	r.Add("canary-and-more")
	r.Add("short") // under the minimum: not redacted, and refused by the resolver
	if got, want := r.Redact("short canary-and-more canary"), "short "+secret.Mark+" "+secret.Mark; got != want {
		t.Errorf("Redact = %q, want %q", got, want)
	}
}

// A value that is cut by a limit is still not shown.
func TestRedactCut(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	text := strings.Repeat("x", 400)
	if got := r.RedactCut(text); got != text {
		t.Errorf("without values, RedactCut dropped %d bytes", len(text)-len(got))
	}
	r.Add("canary-value")
	if got := r.RedactCut(text + "canary-val"); strings.Contains(got, "canary") {
		t.Errorf("RedactCut = %q", got)
	}
	if got := r.RedactCut("canary"); got != "" {
		t.Errorf("RedactCut = %q, want nothing", got)
	}
}

func TestRedactorForgetsOldest(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	for i := range 300 {
		r.Add(fmt.Sprintf("canary-%04d", i))
	}
	if got := r.Redact("canary-0299"); got != secret.Mark {
		t.Errorf("newest: Redact = %q", got)
	}
}

func TestRedactorHammer(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				v := fmt.Sprintf("canary-%d-%d", g%4, i)
				r.Add(v)
				if got := r.Redact("a " + v); strings.Contains(got, v) {
					t.Errorf("Redact = %q", got)
				}
			}
		})
	}
	wg.Wait()
}
