package secret

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Mark stands where a value was.
const Mark = "[redacted]"

// valuesMax bounds the values a Redactor remembers. When it is reached, the
// value added first is forgotten: that one was rotated out long ago.
const valuesMax = 256

// A Redactor replaces the secret values it knows, in the spellings that
// receivers commonly give them: as they are, percent-encoded, in base64 (also
// inside of longer text), in hexadecimal, and escaped for JSON or HTML. It
// cannot find a value that a receiver deliberately disguised.
//
// The zero value knows nothing. It is safe for concurrent use.
type Redactor struct {
	mu       sync.RWMutex // guards the fields below
	values   []string     // in the order of adding
	forms    [][]string   // the spellings of each value
	replacer *strings.Replacer
	longest  int // bytes of the longest spelling
}

// Add makes the redactor know a value. A value shorter than LengthMin is
// ignored.
func (r *Redactor) Add(value string) {
	if len(value) < LengthMin {
		return
	}
	r.mu.RLock()
	known := slices.Contains(r.values, value)
	r.mu.RUnlock()
	if known {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.values, value) {
		return
	}
	if len(r.values) == valuesMax {
		r.values, r.forms = slices.Delete(r.values, 0, 1), slices.Delete(r.forms, 0, 1)
	}
	r.values, r.forms = append(r.values, value), append(r.forms, spellings(value))
	forms := slices.Concat(r.forms...)
	// The longest spelling wins where several start at one place, or the rest
	// of it would stay visible.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	forms = slices.Compact(forms)
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range forms {
		pairs = append(pairs, f, Mark)
	}
	r.replacer, r.longest = strings.NewReplacer(pairs...), len(forms[0])
}

// Redact returns s with every known value replaced by Mark.
func (r *Redactor) Redact(s string) string {
	r.mu.RLock()
	rep := r.replacer
	r.mu.RUnlock()
	if rep == nil || len(s) < LengthMin {
		return s
	}
	return rep.Replace(s)
}

// RedactCut is Redact for the beginning of a longer text: it also drops as
// much of the end as could be the beginning of a value.
func (r *Redactor) RedactCut(s string) string {
	r.mu.RLock()
	longest := r.longest
	r.mu.RUnlock()
	if longest > 0 {
		s = s[:max(0, len(s)-longest+1)]
	}
	return r.Redact(s)
}

// spellings returns the forms of v to look for.
func spellings(v string) []string {
	forms := plain(v)
	// A value that is itself base64 of text, as in HTTP Basic credentials, may
	// come back decoded.
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		text, err := enc.DecodeString(v)
		if err != nil || !printable(text) {
			continue
		}
		if len(text) >= LengthMin {
			forms = append(forms, plain(string(text))...)
		}
		if _, password, ok := strings.Cut(string(text), ":"); ok && len(password) >= LengthMin {
			forms = append(forms, plain(password)...)
		}
	}
	return forms
}

// plain returns the spellings of v itself.
func plain(v string) []string {
	raw, ascii := jsonQuoted(v), jsonASCII(jsonQuoted(v), "%04x")
	markup := strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`)
	forms := []string{
		v,
		raw, ascii, jsonASCII(raw, "%04X"),
		markup.Replace(raw), markup.Replace(ascii),
		strings.ReplaceAll(raw, "/", `\/`), strings.ReplaceAll(ascii, "/", `\/`),
		jsonAll(v, "%04x"), jsonAll(v, "%04X"),
		htmlEscape(v, "&#34;", "&#39;"), htmlEscape(v, "&quot;", "&#39;"), htmlEscape(v, "&quot;", "&#x27;"), htmlEscape(v, `"`, "'"),
		hex.EncodeToString([]byte(v)),
		strings.ToUpper(hex.EncodeToString([]byte(v))),
	}
	component := strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(v))
	for _, f := range []string{
		url.QueryEscape(v), url.PathEscape(v), component,
		strings.ReplaceAll(url.QueryEscape(v), "+", "%20"),
		percentAll(v),
	} {
		forms = append(forms, f, lowerPercent(f))
	}
	for offset := range 3 {
		core := base64Core(v, offset)
		forms = append(forms, core, strings.NewReplacer("+", "-", "/", "_").Replace(core))
	}
	return forms
}

// base64Core returns the characters that v contributes to the base64 of any
// text in which offset (mod 3) bytes stand before it: those that depend on
// nothing but v.
func base64Core(v string, offset int) string {
	padded := strings.Repeat("\x00", offset) + v
	enc := base64.RawStdEncoding.EncodeToString([]byte(padded))
	from := (offset*8 + 5) / 6
	to := len(padded) * 8 / 6
	return enc[from:to]
}

// jsonQuoted returns v as it stands between the quotes of a JSON string.
func jsonQuoted(v string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)
}

// jsonASCII escapes what is not ASCII, with hexadecimal digits as format says.
func jsonASCII(v, format string) string {
	var b strings.Builder
	for _, c := range v {
		if c < utf8.RuneSelf {
			b.WriteRune(c)
		} else {
			b.WriteString(jsonAll(string(c), format))
		}
	}
	return b.String()
}

// jsonAll escapes every character of v.
func jsonAll(v, format string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(v)) {
		fmt.Fprintf(&b, `\u`+format, unit)
	}
	return b.String()
}

func htmlEscape(v, quote, apostrophe string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, quote, "'", apostrophe).Replace(v)
}

func percentAll(v string) string {
	var b strings.Builder
	for i := range len(v) {
		fmt.Fprintf(&b, "%%%02X", v[i])
	}
	return b.String()
}

// lowerPercent returns s with the digits of its percent escapes in lower case.
func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return string(b)
}

func printable(b []byte) bool {
	return utf8.Valid(b) && !strings.ContainsFunc(string(b), func(c rune) bool { return !unicode.IsPrint(c) })
}
