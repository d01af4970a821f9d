package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// jsonDepthMax bounds the nesting of any document an executor takes or
	// returns; a deeper one is refused. It protects every recursive reader
	// after us.
	jsonDepthMax = 100
	// jsonNumberMax bounds the characters of a number; a longer one is
	// refused, for exact arithmetic on it would be a denial of service.
	jsonNumberMax = 128
)

// A jsonError says which rule a document violates. It repeats no part of the
// document but single characters, names of members aside.
type jsonError struct {
	Code    string // utf8, syntax, trailing, duplicate_key, depth, number
	Message string
	Offset  int64
}

func (e *jsonError) Error() string { return fmt.Sprintf("%s (at byte %d)", e.Message, e.Offset) }

// normalizeJSON checks that data is exactly one JSON document that every
// reader understands alike, and returns it without white space, with every
// string passed through redact. The digits of numbers and the order of members
// are kept. The error is a *jsonError.
func normalizeJSON(data []byte, redact func(string) string) (json.RawMessage, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, &jsonError{"utf8", "the text is not valid UTF-8", int64(invalidUTF8(data))}
	}
	n := normalizer{in: data, redact: redact, dec: json.NewDecoder(bytes.NewReader(data))}
	n.dec.UseNumber()
	n.enc = json.NewEncoder(&n.out)
	n.enc.SetEscapeHTML(false)
	n.out.Grow(min(len(data), 64<<10))
	for done := false; !done; {
		var err error
		if done, err = n.step(); err != nil {
			return nil, err
		}
	}
	return n.out.Bytes(), nil
}

type normalizer struct {
	in     []byte
	dec    *json.Decoder
	out    bytes.Buffer
	enc    *json.Encoder // writes strings to out
	redact func(string) string
	open   []container
	whole  bool // the document's value is complete
}

type container struct {
	names map[string]struct{} // nil for an array
	count int                 // tokens seen inside, names and values alike
}

// step takes one token. It reports true at the end of the document.
func (n *normalizer) step() (bool, error) {
	from := n.dec.InputOffset()
	tok, err := n.dec.Token()
	if err != nil {
		return n.end(err)
	}
	if n.whole {
		return false, &jsonError{"trailing", "something follows the JSON document", from}
	}
	if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
		n.open = n.open[:len(n.open)-1]
		n.out.WriteByte(byte(d))
		n.whole = len(n.open) == 0
		return false, nil
	}
	name := n.separate()
	switch t := tok.(type) {
	case json.Delim:
		if len(n.open) == jsonDepthMax {
			return false, &jsonError{"depth", fmt.Sprintf("the document is nested deeper than %d levels", jsonDepthMax), from}
		}
		c := container{}
		if t == '{' {
			c.names = map[string]struct{}{}
		}
		n.open = append(n.open, c)
		n.out.WriteByte(byte(t))
		return false, nil
	case string:
		if err := n.text(t, name, from); err != nil {
			return false, err
		}
	case json.Number:
		if err := n.number(t.String(), from); err != nil {
			return false, err
		}
	case bool:
		n.out.WriteString(strconv.FormatBool(t))
	case nil:
		n.out.WriteString("null")
	}
	n.whole = len(n.open) == 0
	return false, nil
}

// separate writes what stands before the next token, and reports whether that
// token is the name of a member.
func (n *normalizer) separate() (name bool) {
	if len(n.open) == 0 {
		return false
	}
	c := &n.open[len(n.open)-1]
	name = c.names != nil && c.count%2 == 0
	switch {
	case c.names != nil && !name:
		n.out.WriteByte(':')
	case c.count > 0:
		n.out.WriteByte(',')
	}
	c.count++
	return name
}

func (n *normalizer) text(s string, name bool, from int64) error {
	raw := n.in[from:n.dec.InputOffset()]
	if strings.ContainsRune(s, utf8.RuneError) && bytes.Contains(raw, []byte(`\u`)) && loneSurrogate(raw) {
		return &jsonError{"utf8", "a string holds half of a surrogate pair", from}
	}
	s = n.redact(s)
	if name {
		names := n.open[len(n.open)-1].names
		if _, dup := names[s]; dup {
			return &jsonError{"duplicate_key", fmt.Sprintf("the member %s occurs twice", quoteShort(s)), from}
		}
		names[s] = struct{}{}
	}
	n.string(s)
	return nil
}

func (n *normalizer) number(s string, from int64) error {
	if len(s) > jsonNumberMax {
		return &jsonError{"number", fmt.Sprintf("a number has more than %d characters", jsonNumberMax), from}
	}
	if f, err := strconv.ParseFloat(s, 64); err != nil || math.IsInf(f, 0) {
		return &jsonError{"number", "a number is too large", from}
	}
	if r := n.redact(s); r != s {
		n.string(r)
	} else {
		n.out.WriteString(s)
	}
	return nil
}

func (n *normalizer) string(s string) {
	_ = n.enc.Encode(s)             // a string into memory cannot fail
	n.out.Truncate(n.out.Len() - 1) // the encoder ends with a line break
}

// end judges the decoder's error.
func (n *normalizer) end(err error) (bool, error) {
	at := n.dec.InputOffset()
	switch {
	case n.whole && len(bytes.TrimLeft(n.in[at:], " \t\r\n")) == 0:
		return true, nil
	case n.whole:
		return false, &jsonError{"trailing", "something follows the JSON document", at}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return false, &jsonError{"syntax", "the JSON document ends early", at}
	}
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		return false, &jsonError{"syntax", "not JSON: " + se.Error(), at}
	}
	return false, &jsonError{"syntax", "not JSON", at}
}

// loneSurrogate reports whether the source of a valid JSON string escapes half
// of a surrogate pair, which readers replace in different ways.
func loneSurrogate(raw []byte) bool {
	unit := func(i int) uint64 { // the code unit of the escape at i; 0 for none
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0
		}
		u, _ := strconv.ParseUint(string(raw[i+2:i+6]), 16, 32)
		return u
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		u := unit(i)
		switch {
		case u >= 0xdc00 && u <= 0xdfff:
			return true
		case u >= 0xd800 && u <= 0xdbff:
			if low := unit(i + 6); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		default:
			i++
		}
	}
	return false
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// quoteShort returns s quoted and cut to a length fit for a message.
func quoteShort(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// plainText is the redact function of documents that hold no secrets.
func plainText(s string) string { return s }

// A member is one name and value of an object.
type member struct {
	Name  string
	Value json.RawMessage
}

// members splits a normalized object in order. Documents that are not objects
// give nil.
func members(doc json.RawMessage) []member {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil
	}
	var list []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		m := member{Name: name.(string)}
		if err := dec.Decode(&m.Value); err != nil {
			return nil
		}
		list = append(list, m)
	}
	return list
}

// jsonString returns s as a JSON string.
func jsonString(s string) json.RawMessage {
	n := normalizer{}
	n.enc = json.NewEncoder(&n.out)
	n.enc.SetEscapeHTML(false)
	n.string(s)
	return n.out.Bytes()
}
