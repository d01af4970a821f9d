package planner

import (
	"strings"

	"github.com/kaptinlin/jsonrepair"
)

const (
	// answerMax is how many bytes of text Decode reads; longer answers are
	// refused. An action's arguments are the only large thing in a plan.
	answerMax = 1 << 20

	// spansMax is how many pieces that look like JSON an answer may have around
	// its plan; with more it is refused.
	spansMax = 64

	// repairMax is how many bytes of one answer are handed to the repair grammar,
	// whose time is not linear; answers with more malformed JSON are refused.
	// Its depth is bounded by depthMax, and its quotes, in whose number the time
	// is quadratic, by quotesMax.
	repairMax = 64 << 10
	quotesMax = 4096
)

// A candidate is a piece of an answer that is or can be made JSON.
type candidate struct {
	value    value
	repaired bool // by guessing at the grammar, not only by cutting it out
}

// extract finds the JSON objects and arrays in a model's answer and notes what
// had to be stripped to get at them. The insides of a piece are
// never pieces of their own: what is wrong with the outside would be lost.
func extract(text string) (found []candidate, notes []string, err *jsonError) {
	if len(text) > answerMax {
		return nil, nil, refusal("the answer has %d bytes, more than %d", len(text), answerMax)
	}
	if t, ok := strings.CutPrefix(text, "\uFEFF"); ok {
		text, notes = t, append(notes, "bom")
	}
	v, whole := readWholeJSON(text)
	if whole == nil && (v.kind == '{' || v.kind == '[') {
		return []candidate{{value: v}}, notes, nil
	}
	if whole != nil && !whole.syntax {
		return nil, notes, whole
	}
	text, stripped, err := stripThinking(text)
	if err != nil {
		return nil, notes, err
	}
	if stripped {
		notes = append(notes, "think")
	}
	var outside strings.Builder
	malformed := 0
	for n := 0; ; n++ {
		start, end := nextSpan(text)
		if start < 0 {
			break
		}
		if n == spansMax {
			return nil, notes, refusal("the answer has more than %d pieces of JSON", spansMax)
		}
		outside.WriteString(text[:start])
		c, ok, err := readSpan(text[start:end], &malformed)
		if err != nil {
			return nil, notes, err
		}
		if ok {
			found = append(found, c)
		}
		text = text[end:]
	}
	outside.WriteString(text)
	if len(found) == 0 {
		return nil, notes, &jsonError{syntax: true, message: "no JSON object or array in the answer"}
	}
	rest := outside.String()
	if strings.Contains(rest, "```") {
		notes = append(notes, "fence")
		rest = strings.NewReplacer("```json", "", "```JSON", "", "```", "").Replace(rest)
	}
	if strings.TrimSpace(rest) != "" {
		notes = append(notes, "prose")
	}
	return found, notes, nil
}

func refusal(format string, args ...any) *jsonError {
	return (&jsonReader{}).refuse(format, args...)
}

// readSpan reads a piece strictly, or else with the repair grammar. ok is
// false when neither makes sense of it; err is a piece that must not be
// guessed at, because it is JSON that says two things. malformed counts the
// bytes handed to the repair grammar.
func readSpan(s string, malformed *int) (c candidate, ok bool, err *jsonError) {
	v, err := readWholeJSON(s)
	if err == nil {
		return candidate{value: v}, true, nil
	}
	if !err.syntax {
		return candidate{}, false, err
	}
	if *malformed += len(s); *malformed > repairMax {
		return candidate{}, false, refusal("malformed JSON of %d bytes is too large to repair (%d)", *malformed, repairMax)
	}
	if bracketDepth(s) > depthMax {
		return candidate{}, false, refusal("JSON nests deeper than %d levels", depthMax)
	}
	if n := countQuotes(s); n > quotesMax {
		return candidate{}, false, refusal("malformed JSON with %d quotation marks is too tangled to repair (%d)", n, quotesMax)
	}
	mended, rerr := jsonrepair.Repair(s)
	if rerr != nil {
		return candidate{}, false, nil
	}
	v, err = readWholeJSON(mended)
	switch {
	case err != nil && !err.syntax:
		return candidate{}, false, err
	case err != nil, v.kind != '{' && v.kind != '[':
		return candidate{}, false, nil
	}
	return candidate{value: v, repaired: true}, true, nil
}

// nextSpan returns the next piece that begins like an object, or like an array
// of objects, up to its closing bracket or the end of the text. start is -1
// when there is none.
func nextSpan(s string) (start, end int) {
	for i := 0; i < len(s); i++ {
		if (s[i] == '{' || s[i] == '[') && beginsJSON(s[i], s[i+1:]) {
			return i, i + spanLength(s[i:])
		}
	}
	return -1, -1
}

// beginsJSON tells an opening bracket of JSON, also of JSON with missing or
// typographic quotes, from one in prose.
func beginsJSON(bracket byte, rest string) bool {
	rest = strings.TrimLeft(rest, " \t\r\n")
	if rest == "" {
		return false
	}
	if bracket == '[' {
		return rest[0] == '{' || rest[0] == ']'
	}
	c := rest[0]
	return c == '"' || c == '\'' || c == '}' || c == '/' || c == '_' ||
		c|0x20 >= 'a' && c|0x20 <= 'z' || strings.HasPrefix(rest, "“")
}

// spanLength returns how far the brackets opened at the start of s take to
// close, outside of double-quoted strings; all of s when they do not.
func spanLength(s string) int {
	depth, inString := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

func countQuotes(s string) (n int) {
	for _, r := range s {
		if strings.ContainsRune("\"'`´“”‘’", r) {
			n++
		}
	}
	return n
}

// bracketDepth counts opening brackets without regard for strings: what is
// malformed has no reliable strings.
func bracketDepth(s string) int {
	depth, deepest := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

var thinkingTags = [...]string{"think", "thinking", "thought", "reasoning"}

// thinkingMax is how many blocks of one kind are stripped; what follows the
// last of them is read as the answer.
const thinkingMax = 16

// stripThinking removes the blocks in which models think aloud, when they come
// before the plan: what is considered there is not meant to be done.
func stripThinking(s string) (rest string, stripped bool, err *jsonError) {
	for _, tag := range thinkingTags {
		for range thinkingMax {
			start, end, err := thinkingBlock(s, "<"+tag+">", "</"+tag+">")
			if err != nil {
				return "", true, err
			}
			if end == 0 {
				break
			}
			s, stripped = s[:start]+s[end:], true
		}
	}
	return s, stripped, nil
}

// thinkingBlock finds the next block before any JSON; end is 0 without one.
func thinkingBlock(s, open, closing string) (start, end int, err *jsonError) {
	start = strings.Index(s, open)
	json, jsonEnd := nextSpan(s)
	if start >= 0 && (json < 0 || start < json) {
		n := strings.Index(s[start:], closing)
		if n < 0 {
			return 0, 0, refusal("the answer ends inside its %s block", open)
		}
		return start, start + n + len(closing), nil
	}
	// Some chat templates swallow the opening tag.
	if n := strings.Index(s, closing); n >= 0 && (start < 0 || n < start) && !validSpanAround(s, json, jsonEnd, n) {
		return 0, n + len(closing), nil
	}
	return 0, 0, nil
}

// validSpanAround reports whether position at lies inside the strict JSON of
// the given span, as part of one of its strings.
func validSpanAround(s string, start, end, at int) bool {
	if start < 0 || at < start || at >= end {
		return false
	}
	_, err := readWholeJSON(s[start:end])
	return err == nil
}
