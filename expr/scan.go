package expr

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// wildcard is how "[*]" is spelled for the CEL parser, whose grammar has no
// such thing: an empty bytes literal, which a source cannot contain because
// prefixes of strings are refused.
const wildcard = `[b""]`

// scanned is a source in the spelling of CEL.
type scanned struct {
	text    string
	origin  []int // for each byte of text, the offset in the source it stands for
	assigns int   // offset in text of a single top-level "=", or -1
}

// sourceOffset translates an offset in the text to one in the source.
func (s *scanned) sourceOffset(at int) int {
	if len(s.origin) == 0 {
		return 0
	}
	return s.origin[max(0, min(at, len(s.origin)-1))]
}

// A scanner respells a source for CEL: "[*]" becomes a wildcard, and, or and
// not become operators. It does not parse; it only knows strings, words and
// brackets, and leaves the rest to CEL.
type scanner struct {
	src  string
	pos  int
	out  strings.Builder
	from []int
	// nots holds, for each open bracket and the outermost level, how many
	// "not" operands are still open. "not a == b" is not(a == b), so each
	// operand reaches to the next and, or, comma or closing bracket.
	nots    []int
	assigns int
}

// scan respells src, or says why no expression can look like that.
func scan(src string) (*scanned, error) {
	s := &scanner{src: src, nots: []int{0}, assigns: -1}
	if len(src) > sourceMax {
		return nil, s.errorf(sourceMax, "split it or move data into the state", "the expression is longer than %d bytes", sourceMax)
	}
	if !utf8.ValidString(src) {
		return nil, s.errorf(0, "", "the expression is not valid UTF-8")
	}
	if strings.TrimSpace(src) == "" {
		return nil, s.errorf(0, "write an expression such as \"state.emails != null\"", "the expression is empty")
	}
	for s.pos < len(src) {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	s.closeNots()
	return &scanned{text: s.out.String(), origin: append(s.from, len(src)), assigns: s.assigns}, nil
}

func (s *scanner) errorf(offset int, remedy, format string, args ...any) error {
	return &SyntaxError{Source: s.src, Offset: min(offset, len(s.src)), Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// emit writes text that stands for the n bytes of source at the current
// position, and moves past them.
func (s *scanner) emit(text string, n int) {
	for i := range len(text) {
		s.from = append(s.from, s.pos+min(i, max(n-1, 0)))
	}
	s.out.WriteString(text)
	s.pos += n
}

func (s *scanner) next() error {
	rest := s.src[s.pos:]
	switch c := rest[0]; {
	case c == '\'' || c == '"':
		return s.quoted(c)
	case isWordStart(c):
		return s.word()
	case c >= '0' && c <= '9':
		s.emit(rest[:wordEnd(rest)], wordEnd(rest))
	case c == '[':
		if n := wildcardLen(rest); n > 0 {
			s.emit(wildcard, n)
			return nil
		}
		s.open(c)
	case c == '(' || c == '{':
		s.open(c)
	case c == ')' || c == ']' || c == '}':
		s.closeNots()
		if len(s.nots) == 1 {
			return s.errorf(s.pos, "remove it or add the opening bracket", "%q closes nothing", c)
		}
		s.nots = s.nots[:len(s.nots)-1]
		s.emit(rest[:1], 1)
	case c == ',' || c == '?' || c == ':':
		s.closeNots()
		s.emit(rest[:1], 1)
	case strings.HasPrefix(rest, "&&"), strings.HasPrefix(rest, "||"):
		s.closeNots()
		s.emit(rest[:2], 2)
	case strings.HasPrefix(rest, "=="), strings.HasPrefix(rest, "!="), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, ">="):
		s.emit(rest[:2], 2)
	case c == '=':
		if len(s.nots) > 1 || s.assigns >= 0 {
			return s.errorf(s.pos, "write == to compare", "a single \"=\" cannot stand here")
		}
		s.closeNots()
		s.assigns = s.out.Len()
		s.emit("=", 1)
	case strings.HasPrefix(rest, "//"):
		return s.errorf(s.pos, "remove it", "comments are not part of an expression")
	case c == '@' || c == '`' || c == '\\' || c == ';' || c == '#' || c == '$':
		return s.errorf(s.pos, "remove it, or put it in quotes if it is text", "unexpected %q", c)
	default:
		_, n := utf8.DecodeRuneInString(rest)
		s.emit(rest[:n], n)
	}
	return nil
}

// open begins a bracket, in which "not" starts afresh.
func (s *scanner) open(c byte) {
	s.nots = append(s.nots, 0)
	s.emit(string(c), 1)
}

// closeNots ends the operands of "not" at the current level.
func (s *scanner) closeNots() {
	top := len(s.nots) - 1
	s.emit(strings.Repeat(")", s.nots[top]), 0)
	s.nots[top] = 0
}

// quoted copies a string literal, which ends on the line it begins.
func (s *scanner) quoted(quote byte) error {
	rest := s.src[s.pos:]
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '\n', '\r':
			return s.errorf(s.pos, "close the quote, or write \\n for a line break", "the string does not end on its line")
		case quote:
			if i == 1 && len(rest) > 2 && rest[2] == quote {
				return s.errorf(s.pos, "use one quote on each side", "strings in triple quotes are not supported")
			}
			s.emit(rest[:i+1], i+1)
			return nil
		}
	}
	return s.errorf(s.pos, "close the quote", "the string does not end")
}

// word copies a name, respelling and, or and not unless they are fields.
func (s *scanner) word() error {
	rest := s.src[s.pos:]
	n := wordEnd(rest)
	if n < len(rest) && (rest[n] == '\'' || rest[n] == '"') && !isOperatorWord(rest[:n]) {
		return s.errorf(s.pos, "remove the prefix", "strings with a prefix such as %s'' are not supported", clip(rest[:n], valueShownMax))
	}
	if strings.HasSuffix(strings.TrimRight(s.out.String(), " \t\r\n"), ".") {
		s.emit(rest[:n], n)
		return nil
	}
	switch rest[:n] {
	case "and":
		s.closeNots()
		s.emit(" && ", n)
	case "or":
		s.closeNots()
		s.emit(" || ", n)
	case "not":
		if in := notInLen(rest); in > 0 {
			return s.errorf(s.pos, "write \"not (x in y)\"", "\"not in\" is not an operator")
		}
		s.emit("!(", n)
		s.nots[len(s.nots)-1]++
	default:
		s.emit(rest[:n], n)
	}
	return nil
}

func isOperatorWord(w string) bool { return w == "and" || w == "or" || w == "not" || w == "in" }

// notInLen returns the length of "not in" at the start of s, or 0.
func notInLen(s string) int {
	after := strings.TrimLeft(s[len("not"):], " \t\r\n")
	if len(after) == len(s)-len("not") || wordEnd(after) != len("in") || after[:2] != "in" {
		return 0
	}
	return len(s) - len(after) + len("in")
}

// wildcardLen returns the length of "[*]" at the start of s, or 0.
func wildcardLen(s string) int {
	inner := strings.TrimLeft(s[1:], " \t\r\n")
	if !strings.HasPrefix(inner, "*") {
		return 0
	}
	inner = strings.TrimLeft(inner[1:], " \t\r\n")
	if !strings.HasPrefix(inner, "]") {
		return 0
	}
	return len(s) - len(inner) + 1
}

func isWordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// wordEnd returns the length of the run of letters, digits and underscores at
// the start of s.
func wordEnd(s string) int {
	for i := range len(s) {
		if c := s[i]; !isWordStart(c) && (c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}
