package planner

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A value is a JSON value read strictly: every member name is distinct, every
// string is valid Unicode, and raw is the exact text, so that numbers keep all
// their digits.
type value struct {
	kind  byte // one of { [ " 0 t f n
	raw   string
	text  string   // of a string
	keys  []string // of an object, in order
	items []value  // member values or elements
}

// get returns the member with exactly that name.
func (v value) get(key string) (value, bool) {
	for i, k := range v.keys {
		if k == key {
			return v.items[i], true
		}
	}
	return value{}, false
}

const (
	// depthMax is how deep a model's JSON may nest; deeper values are refused.
	// It also bounds the recursion of every walk over a value.
	depthMax = 64

	// numberMax is how many characters a number may have, exponentMax how large
	// its exponent may be. Others are refused: programs with 64-bit floats cannot
	// hold them, and checking one against a schema costs time in proportion to
	// its value.
	numberMax   = 64
	exponentMax = 308
)

// A jsonError says why a text is not a value.
type jsonError struct {
	syntax  bool   // not JSON at all; otherwise JSON that is refused
	offset  int    // in bytes
	pointer string // of the value at fault, when it is JSON
	message string
}

func (e *jsonError) Error() string {
	if e.syntax {
		return fmt.Sprintf("%s at offset %d", e.message, e.offset)
	}
	return e.message
}

// readWholeJSON reads s as one value with nothing but blanks around it.
func readWholeJSON(s string) (value, *jsonError) {
	r := jsonReader{s: s}
	v, err := r.value(0)
	if err != nil {
		return value{}, err
	}
	if r.blanks(); r.i < len(s) {
		return value{}, r.syntax("text after the value")
	}
	return v, nil
}

type jsonReader struct {
	s    string
	i    int
	path []string // reference tokens of the value being read
}

func (r *jsonReader) syntax(format string, args ...any) *jsonError {
	return &jsonError{syntax: true, offset: r.i, message: fmt.Sprintf(format, args...)}
}

func (r *jsonReader) refuse(format string, args ...any) *jsonError {
	var b strings.Builder
	for _, t := range r.path {
		b.WriteByte('/')
		b.WriteString(escapePointer(t))
	}
	return &jsonError{offset: r.i, pointer: b.String(), message: fmt.Sprintf(format, args...)}
}

func (r *jsonReader) blanks() {
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func (r *jsonReader) value(depth int) (value, *jsonError) {
	r.blanks()
	if r.i == len(r.s) {
		return value{}, r.syntax("unexpected end")
	}
	start := r.i
	var (
		v   value
		err *jsonError
	)
	switch c := r.s[r.i]; {
	case c == '{' || c == '[':
		if depth == depthMax {
			return value{}, r.refuse("JSON nests deeper than %d levels", depthMax)
		}
		if c == '{' {
			v, err = r.object(depth)
		} else {
			v, err = r.array(depth)
		}
	case c == '"':
		v.kind = '"'
		v.text, err = r.str()
	case c == '-' || c >= '0' && c <= '9':
		v.kind = '0'
		err = r.number()
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if strings.HasPrefix(r.s[r.i:], word) {
				r.i += len(word)
				return value{kind: word[0], raw: word}, nil
			}
		}
		return value{}, r.syntax("unexpected character %q", firstRune(r.s[r.i:]))
	}
	if err != nil {
		return value{}, err
	}
	v.raw = r.s[start:r.i]
	return v, nil
}

func (r *jsonReader) object(depth int) (value, *jsonError) {
	v := value{kind: '{'}
	seen := make(map[string]bool)
	r.i++
	if r.blanks(); r.i < len(r.s) && r.s[r.i] == '}' {
		r.i++
		return v, nil
	}
	for {
		if r.blanks(); r.i == len(r.s) || r.s[r.i] != '"' {
			return value{}, r.syntax("expected a member name in double quotes")
		}
		key, err := r.str()
		if err != nil {
			return value{}, err
		}
		r.path = append(r.path, key)
		if seen[key] {
			return value{}, r.refuse("member %s appears twice", quoted(key))
		}
		seen[key] = true
		if r.blanks(); r.i == len(r.s) || r.s[r.i] != ':' {
			return value{}, r.syntax("expected ':' after a member name")
		}
		r.i++
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		r.path = r.path[:len(r.path)-1]
		v.keys, v.items = append(v.keys, key), append(v.items, item)
		more, err := r.more('}')
		if err != nil {
			return value{}, err
		}
		if !more {
			return v, nil
		}
	}
}

func (r *jsonReader) array(depth int) (value, *jsonError) {
	v := value{kind: '['}
	r.i++
	if r.blanks(); r.i < len(r.s) && r.s[r.i] == ']' {
		r.i++
		return v, nil
	}
	for {
		r.path = append(r.path, strconv.Itoa(len(v.items)))
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		r.path = r.path[:len(r.path)-1]
		v.items = append(v.items, item)
		more, err := r.more(']')
		if err != nil {
			return value{}, err
		}
		if !more {
			return v, nil
		}
	}
}

// more passes over a comma or the closing bracket.
func (r *jsonReader) more(closing byte) (bool, *jsonError) {
	r.blanks()
	if r.i < len(r.s) {
		switch r.s[r.i] {
		case ',':
			r.i++
			return true, nil
		case closing:
			r.i++
			return false, nil
		}
	}
	return false, r.syntax("expected ',' or '%c'", closing)
}

func (r *jsonReader) number() *jsonError {
	start := r.i
	digits := func() bool {
		n := r.i
		for r.i < len(r.s) && r.s[r.i] >= '0' && r.s[r.i] <= '9' {
			r.i++
		}
		return r.i > n
	}
	if r.s[r.i] == '-' {
		r.i++
	}
	if whole := r.i; !digits() || r.s[whole] == '0' && r.i > whole+1 {
		return r.syntax("malformed number")
	}
	if r.i < len(r.s) && r.s[r.i] == '.' {
		if r.i++; !digits() {
			return r.syntax("malformed number")
		}
	}
	if r.i < len(r.s) && (r.s[r.i] == 'e' || r.s[r.i] == 'E') {
		r.i++
		if r.i < len(r.s) && (r.s[r.i] == '+' || r.s[r.i] == '-') {
			r.i++
		}
		exp := r.i
		if !digits() {
			return r.syntax("malformed number")
		}
		if n, err := strconv.Atoi(r.s[exp:r.i]); err != nil || n > exponentMax {
			return r.refuse("number %s is out of range: its exponent exceeds %d", clip(r.s[start:r.i], numberMax), exponentMax)
		}
	}
	if r.i-start > numberMax {
		return r.refuse("number of %d characters is longer than %d", r.i-start, numberMax)
	}
	return nil
}

// str reads a string and returns what it stands for. Half surrogate pairs and
// invalid UTF-8 are refused, because the decoders of other programs disagree
// about them.
func (r *jsonReader) str() (string, *jsonError) {
	r.i++
	start := r.i
	for r.i < len(r.s) { // most strings need no decoding
		c := r.s[r.i]
		if c == '"' {
			text := r.s[start:r.i]
			if !utf8.ValidString(text) {
				return "", r.refuse("string is not valid UTF-8")
			}
			r.i++
			return text, nil
		}
		if c == '\\' {
			break
		}
		if c < 0x20 {
			return "", r.syntax("control character in a string")
		}
		r.i++
	}
	b := []byte(r.s[start:r.i])
	for r.i < len(r.s) {
		c := r.s[r.i]
		switch {
		case c == '"':
			r.i++
			if !utf8.Valid(b) {
				return "", r.refuse("string is not valid UTF-8")
			}
			return string(b), nil
		case c < 0x20:
			return "", r.syntax("control character in a string")
		case c != '\\':
			b = append(b, c)
			r.i++
		default:
			var err *jsonError
			if b, err = r.escape(b); err != nil {
				return "", err
			}
		}
	}
	return "", r.syntax("unterminated string")
}

func (r *jsonReader) escape(b []byte) ([]byte, *jsonError) {
	if r.i+1 == len(r.s) {
		return nil, r.syntax("unterminated string")
	}
	c := r.s[r.i+1]
	if n := strings.IndexByte(`"\/bfnrt`, c); n >= 0 {
		r.i += 2
		return append(b, "\"\\/\b\f\n\r\t"[n]), nil
	}
	if c != 'u' {
		return nil, r.syntax("unknown escape")
	}
	u, ok := r.hex()
	if !ok {
		return nil, r.syntax("malformed \\u escape")
	}
	if utf16.IsSurrogate(u) {
		low, ok := rune(0), false
		if strings.HasPrefix(r.s[r.i:], `\u`) {
			low, ok = r.hex()
		}
		pair := utf16.DecodeRune(u, low)
		if !ok || pair == utf8.RuneError {
			return nil, r.refuse("string holds half a surrogate pair")
		}
		u = pair
	}
	return utf8.AppendRune(b, u), nil
}

// hex reads \uXXXX at the current position.
func (r *jsonReader) hex() (rune, bool) {
	if r.i+6 > len(r.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(r.s[r.i+2:r.i+6], 16, 32)
	if err != nil {
		return 0, false
	}
	r.i += 6
	return rune(n), true
}

func escapePointer(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// clip shortens s to at most n bytes, whole characters, and marks the cut.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// shownMax is how many bytes of a model's words are repeated in a message.
const shownMax = 100

// quoted returns a model's word for use in a message: bounded, and with
// look-alike and invisible characters spelled out.
func quoted(s string) string { return strconv.QuoteToASCII(clip(s, shownMax)) }
