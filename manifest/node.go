package manifest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

// A node is one value of a document, with the place it was read from. The same
// tree is built from JSON and from YAML.
type node struct {
	kind         kind
	text         string   // of a string; the JSON literal of a number; "true" or "false"
	members      []member // of an object, in document order, names unique
	items        []*node  // of an array
	line, column int      // 1-based; 0 when the value was not read from a document

	parent *node
	name   string // member name, or index, under parent
}

type member struct {
	name         string
	line, column int // of the name
	value        *node
}

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	array
	object
)

// String returns the kind as messages name it, with its article.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// get returns the member of an object, or nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.members {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// pointerMax bounds the JSON Pointers in messages, in bytes; a longer one
// loses its beginning.
const pointerMax = 1024

// pointer returns the JSON Pointer of the node. It is computed when asked for:
// a document with long names would otherwise hold pointers many times its size.
func (n *node) pointer() string {
	var tokens []string
	for size := 0; n.parent != nil && size < pointerMax; n = n.parent {
		tokens = append(tokens, escapePointer(n.name))
		size += len(n.name) + 1
	}
	slices.Reverse(tokens)
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString("/" + t)
	}
	if p := b.String(); len(p) > pointerMax {
		return "…" + strings.ToValidUTF8(p[len(p)-pointerMax:], "")
	}
	return b.String()
}

func escapePointer(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

// follow goes down as far as the tokens lead and returns the node there with
// the tokens that are left.
func (n *node) follow(tokens []string) (*node, []string) {
	for i, t := range tokens {
		var next *node
		switch n.kind {
		case object:
			next = n.get(t)
		case array:
			if i, err := strconv.Atoi(t); err == nil && i >= 0 && i < len(n.items) {
				next = n.items[i]
			}
		}
		if next == nil {
			return n, tokens[i:]
		}
		n = next
	}
	return n, nil
}

// walk visits n and everything below it in document order.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, m := range n.members {
		m.value.walk(visit)
	}
	for _, item := range n.items {
		item.walk(visit)
	}
}

// value returns the node as encoding/json decodes it with UseNumber.
func (n *node) value() any {
	switch n.kind {
	case boolean:
		return n.text == "true"
	case number:
		return json.Number(n.text)
	case text:
		return n.text
	case array:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.value()
		}
		return list
	case object:
		m := make(map[string]any, len(n.members))
		for _, mem := range n.members {
			m[mem.name] = mem.value.value()
		}
		return m
	}
	return nil
}

// canonical returns the node in the JSON Canonicalization Scheme (RFC 8785),
// with one exception: integers beyond 2^53 keep their digits, where the RFC
// would round them.
func (n *node) canonical() []byte {
	var b bytes.Buffer
	n.appendCanonical(&b)
	return b.Bytes()
}

func (n *node) appendCanonical(b *bytes.Buffer) {
	switch n.kind {
	case null:
		b.WriteString("null")
	case boolean:
		b.WriteString(n.text)
	case number:
		b.WriteString(canonicalNumber(n.text))
	case text:
		appendString(b, n.text)
	case array:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.appendCanonical(b)
		}
		b.WriteByte(']')
	case object:
		members := slices.Clone(n.members)
		slices.SortFunc(members, func(a, b member) int { return compareUTF16(a.name, b.name) })
		b.WriteByte('{')
		for i, m := range members {
			if i > 0 {
				b.WriteByte(',')
			}
			appendString(b, m.name)
			b.WriteByte(':')
			m.value.appendCanonical(b)
		}
		b.WriteByte('}')
	}
}

// canonicalNumber formats a JSON number literal that [checkNumber] accepts.
func canonicalNumber(literal string) string {
	if !strings.ContainsAny(literal, ".eE") {
		if digits := strings.TrimLeft(literal, "-"); len(digits) > 15 {
			return literal
		}
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return literal
	}
	s, err := jcs.NumberToJSON(f)
	if err != nil {
		return literal
	}
	return s
}

// compareUTF16 orders strings by their UTF-16 code units, as RFC 8785 does.
func compareUTF16(a, b string) int {
	if isASCII(a) && isASCII(b) {
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendString writes s with the escapes RFC 8785 prescribes: the short ones
// where JSON has them, \u00xx for other control characters, nothing else.
func appendString(b *bytes.Buffer, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b.WriteString(s[start:i])
		start = i + 1
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			b.WriteString(`\u00`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	b.WriteString(s[start:])
	b.WriteByte('"')
}

const (
	// numberMax and exponentMax bound number literals: comparing 1e999999
	// exactly takes milliseconds and megabytes. Longer or larger ones are
	// refused.
	numberMax   = 64
	exponentMax = 400
)

// checkNumber reports why a JSON number literal is refused, or "".
func checkNumber(literal string) string {
	if len(literal) > numberMax {
		return "the number has " + strconv.Itoa(len(literal)) + " characters, the most is " + strconv.Itoa(numberMax)
	}
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		exp, err := strconv.Atoi(literal[i+1:])
		if err != nil || exp > exponentMax || exp < -exponentMax {
			return "the exponent of " + literal + " is beyond ±" + strconv.Itoa(exponentMax)
		}
	}
	return ""
}

// checkNumbers reports the numbers in a document that are refused: those that
// are costly, and those that not every JSON reader can hold.
func checkNumbers(n *node, p *problems) bool {
	ok := true
	n.walk(func(c *node) {
		if c.kind != number {
			return
		}
		why := checkNumber(c.text)
		if _, err := strconv.ParseFloat(c.text, 64); why == "" && err != nil {
			why = clip(c.text) + " is beyond the range of JSON readers"
		}
		if why != "" {
			p.report(c, "range", "write it as a string", "%s", why)
			ok = false
		}
	})
	return ok
}
