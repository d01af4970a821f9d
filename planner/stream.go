package planner

import "strings"

const (
	// scanMax is how many bytes of an answer are looked at while it streams; in
	// longer ones no further calls are shown early.
	scanMax = 256 << 10

	// beginTriesMax is how often the start of the plan is looked for; after that
	// many brackets in prose no calls are shown early.
	beginTriesMax = 256
)

// A callScanner finds the calls of a plan while its text is still arriving
// (S0-80). What it finds is shown, never executed: only the whole answer tells
// whether the plan is valid.
type callScanner struct {
	text  string
	at    int  // everything before was looked at
	began bool // the plan's opening bracket was found
	tries int  // how often it was looked for
	near  bool // the piece before had a bracket
	stop  bool

	brackets []byte // open brackets
	inString bool
	escaped  bool
	start    int // of the element being read, when it is an object of the list
	list     int // how many brackets are open inside the list of calls; 0 before it
}

// write adds a piece of the answer and returns the calls that it completes.
func (s *callScanner) write(piece string) (calls []Intent) {
	if s.stop = s.stop || len(s.text)+len(piece) > scanMax; s.stop {
		s.text = ""
		return nil
	}
	s.text += piece
	if !s.began {
		bracket := strings.ContainsAny(piece, "{[")
		if look := bracket || s.near; !look || !s.begin() {
			s.near = bracket
			return nil
		}
	}
	for ; s.at < len(s.text) && !s.stop; s.at++ {
		if call, ok := s.step(s.text[s.at]); ok {
			calls = append(calls, call)
		}
	}
	return calls
}

// begin looks for the bracket that opens the plan, behind any thinking.
func (s *callScanner) begin() bool {
	if s.tries++; s.tries > beginTriesMax {
		s.stop = true
		return false
	}
	rest, _, err := stripThinking(s.text)
	if err != nil {
		return false // still thinking
	}
	start, _ := nextSpan(rest)
	if start < 0 {
		return false
	}
	s.began, s.at, s.text = true, 0, rest[start:]
	return true
}

func (s *callScanner) step(c byte) (call Intent, ok bool) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.inString:
		s.escaped = c == '\\'
		s.inString = c != '"'
	case c == '"':
		s.inString = true
	case c == '{' || c == '[':
		s.brackets = append(s.brackets, c)
		if len(s.brackets) > depthMax {
			s.stop = true
		}
		if c == '[' && s.list == 0 && len(s.brackets) <= 2 && s.opensList() {
			s.list = len(s.brackets)
		}
		if c == '{' && s.list > 0 && len(s.brackets) == s.list+1 {
			s.start = s.at
		}
	case c == '}' || c == ']':
		if len(s.brackets) == 0 {
			s.stop = true
			break
		}
		s.brackets = s.brackets[:len(s.brackets)-1]
		if c == '}' && s.list > 0 && len(s.brackets) == s.list {
			call, ok = readCall(s.text[s.start : s.at+1])
		}
		s.stop = len(s.brackets) == 0 || s.list > len(s.brackets)
	}
	return call, ok
}

// opensList reports whether the bracket just read opens the list of calls: the
// answer itself, or the value of a member that holds calls.
func (s *callScanner) opensList() bool {
	if len(s.brackets) == 1 {
		return true
	}
	before := strings.TrimRight(s.text[:s.at], " \t\r\n")
	before = strings.TrimRight(strings.TrimSuffix(before, ":"), " \t\r\n")
	for _, key := range listKeys {
		if strings.HasSuffix(before, `"`+key+`"`) {
			return true
		}
	}
	return false
}

func readCall(s string) (Intent, bool) {
	v, err := readWholeJSON(s)
	if err != nil {
		return Intent{}, false
	}
	action, ok, err := actionOf(v)
	if !ok || err != nil {
		return Intent{}, false
	}
	call, err := decodeCall(v, action)
	return call, err == nil
}
