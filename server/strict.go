package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	bodyBytesMax   = 1 << 20 // of a request body; more is answered with 413
	depthMax       = 64      // of nested arrays and objects; deeper is refused
	numberBytesMax = 64      // of one number; longer is refused
	exponentMax    = 400     // of a number, either sign; larger is refused, as exact arithmetic on it would never end
)

// checkJSON refuses what encoding/json lets pass or repairs in silence:
// invalid UTF-8 and lone surrogates, duplicate names, NUL in strings, numbers
// that no reader agrees on, and nesting without end. It returns a
// *fault.Error that names the place by pointer, line and column.
func checkJSON(doc []byte) error {
	if i := firstInvalidUTF8(doc); i >= 0 {
		return refuse(doc, i, "", "the body is not valid UTF-8", "encode the body as UTF-8")
	}
	if i := tooDeep(doc); i >= 0 {
		return refuse(doc, i, "", "arrays and objects are nested more than "+strconv.Itoa(depthMax)+" deep", "flatten the document, or send the inner part as a string")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(doc, &whole); err != nil {
		offset := len(doc)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = int(syntax.Offset) - 1
		}
		return refuse(doc, offset, "", "the body is not JSON: "+err.Error(), "send one JSON document and nothing after it")
	}
	s := scanner{doc: doc}
	return s.value()
}

func firstInvalidUTF8(doc []byte) int {
	if utf8.Valid(doc) {
		return -1
	}
	i := 0
	for {
		r, n := utf8.DecodeRune(doc[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

// tooDeep returns where nesting exceeds depthMax, or -1. It works on any bytes,
// so that the decoder is not tried on them first.
func tooDeep(doc []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > depthMax {
				return i
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return -1
}

func refuse(doc []byte, offset int, pointer, message, remedy string) error {
	offset = max(0, min(offset, len(doc)))
	line := 1 + bytes.Count(doc[:offset], []byte("\n"))
	column := offset - bytes.LastIndexByte(doc[:offset], '\n')
	return fault.New(fault.Validation, "%s", message).With(fault.Detail{
		Pointer: pointer, Line: line, Column: column, Message: message, Remedy: remedy,
	})
}

// A scanner walks a document that is known to be JSON and not too deep.
type scanner struct {
	doc  []byte
	pos  int
	path []string // tokens of the pointer to the current value
}

func (s *scanner) refuse(at int, message, remedy string) error {
	var pointer strings.Builder
	for _, token := range s.path {
		pointer.WriteString("/" + escapePointer(token))
	}
	return refuse(s.doc, at, pointer.String(), message, remedy)
}

// next skips white space and returns the byte there without consuming it.
func (s *scanner) next() byte {
	for {
		switch c := s.doc[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
}

func (s *scanner) value() error {
	switch c := s.next(); {
	case c == '{':
		return s.object()
	case c == '[':
		return s.array()
	case c == '"':
		_, err := s.text()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	default: // true, false, null
		for s.pos < len(s.doc) && 'a' <= s.doc[s.pos] && s.doc[s.pos] <= 'z' {
			s.pos++
		}
		return nil
	}
}

func (s *scanner) object() error {
	s.pos++ // {
	seen := make(map[string]struct{})
	for s.next() != '}' {
		if s.doc[s.pos] == ',' {
			s.pos++
			s.next()
		}
		at := s.pos
		name, err := s.text()
		if err != nil {
			return err
		}
		s.path = append(s.path, name)
		if _, ok := seen[name]; ok {
			return s.refuse(at, "the name "+strconv.Quote(name)+" occurs twice in one object", "send each name once")
		}
		seen[name] = struct{}{}
		s.next()
		s.pos++ // :
		if err := s.value(); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
	}
	s.pos++ // }
	return nil
}

func (s *scanner) array() error {
	s.pos++ // [
	for i := 0; s.next() != ']'; i++ {
		if s.doc[s.pos] == ',' {
			s.pos++
		}
		s.path = append(s.path, strconv.Itoa(i))
		if err := s.value(); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
	}
	s.pos++ // ]
	return nil
}

// text consumes a string and returns what it stands for.
func (s *scanner) text() (string, error) {
	start, escaped := s.pos, false
	for s.pos++; s.doc[s.pos] != '"'; s.pos++ {
		if s.doc[s.pos] != '\\' {
			continue
		}
		escaped = true
		at := s.pos
		s.pos++
		if s.doc[s.pos] != 'u' {
			continue
		}
		r := s.unit()
		switch {
		case r == 0:
			return "", s.refuse(at, "a string holds the character U+0000", "leave that character out; encode binary data as base64")
		case 0xDC00 <= r && r <= 0xDFFF:
			return "", s.refuse(at, "a string holds half a surrogate pair", "send the character itself as UTF-8, or both halves")
		case 0xD800 <= r && r <= 0xDBFF:
			if !bytes.HasPrefix(s.doc[s.pos+1:], []byte(`\u`)) {
				return "", s.refuse(at, "a string holds half a surrogate pair", "send the character itself as UTF-8, or both halves")
			}
			s.pos += 2
			if low := s.unit(); low < 0xDC00 || low > 0xDFFF {
				return "", s.refuse(at, "a string holds half a surrogate pair", "send the character itself as UTF-8, or both halves")
			}
		}
	}
	s.pos++ // the closing quote
	raw := s.doc[start:s.pos]
	if !escaped {
		return string(raw[1 : len(raw)-1]), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", s.refuse(start, "a string cannot be read: "+err.Error(), "send it as UTF-8")
	}
	return text, nil
}

// unit reads the four digits after \u, with pos on the u, and leaves pos on the
// last digit.
func (s *scanner) unit() uint64 {
	n, err := strconv.ParseUint(string(s.doc[s.pos+1:s.pos+5]), 16, 32)
	if err != nil {
		panic("server: the decoder let a bad escape pass: " + err.Error())
	}
	s.pos += 4
	return n
}

func (s *scanner) number() error {
	start := s.pos
	for s.pos < len(s.doc) && strings.IndexByte("+-.eE0123456789", s.doc[s.pos]) >= 0 {
		s.pos++
	}
	text := string(s.doc[start:s.pos])
	if len(text) > numberBytesMax {
		return s.refuse(start, "a number has more than "+strconv.Itoa(numberBytesMax)+" characters", "send it as a string")
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(text[i+1:]); err != nil || exp > exponentMax || exp < -exponentMax {
			return s.refuse(start, "a number's exponent is over "+strconv.Itoa(exponentMax), "send it as a string")
		}
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return s.refuse(start, "a number is out of range", "send it as a string")
	}
	return nil
}
