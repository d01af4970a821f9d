package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/oap-runtime/oap/internal/fault"
)

// widthPlain is the width of output that is not a terminal's.
const widthPlain = 100

// A terminal is an output with what is known about who reads it.
type terminal struct {
	w      io.Writer
	tty    bool // a person sees it as it is written
	cursor bool // what was written last can be written over
	color  bool
	width  int
}

// newTerminal looks at f. NO_COLOR and TERM=dumb are honoured, as is COLUMNS.
func newTerminal(f *os.File) *terminal {
	t := &terminal{w: f, width: widthPlain}
	t.tty = term.IsTerminal(int(f.Fd()))
	if t.tty {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			t.width = w
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 20 {
		t.width = n
	}
	t.cursor = t.tty && os.Getenv("TERM") != "dumb"
	t.color = t.cursor && os.Getenv("NO_COLOR") == ""
	return t
}

func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t.w, format, args...) }

func (t *terminal) style(code, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *terminal) bold(s string) string   { return t.style("1", s) }
func (t *terminal) dim(s string) string    { return t.style("2", s) }
func (t *terminal) red(s string) string    { return t.style("31", s) }
func (t *terminal) green(s string) string  { return t.style("32", s) }
func (t *terminal) yellow(s string) string { return t.style("33", s) }
func (t *terminal) cyan(s string) string   { return t.style("36", s) }

// clean removes what could steer a terminal from text that somebody else
// wrote: models, tools and people do not get to move the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
}

// oneLine returns s on one line of at most width characters.
func oneLine(s string, width int) string {
	s = strings.Join(strings.Fields(clean(s)), " ")
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(width-1, 0)]) + "…"
}

// block returns a JSON value as at most so many lines of at most width
// characters: a string as its text, everything else as compact JSON. The last
// line says how much is left out.
func block(v json.RawMessage, width, lines int) []string {
	if lines == 1 {
		return []string{oneLine(textOf(v), width)}
	}
	var out []string
	for line := range strings.SplitSeq(strings.TrimRight(clean(textOf(v)), "\n"), "\n") {
		out = append(out, wrap(strings.ReplaceAll(line, "\t", "    "), width)...)
	}
	if len(out) > lines {
		out = append(out[:lines-1], fmt.Sprintf("… %d more lines", len(out)-lines+1))
	}
	return out
}

// wrap cuts a line into lines of at most width characters, between words where
// a word is not much longer than that.
func wrap(line string, width int) (out []string) {
	width = max(width, 10)
	r := []rune(line)
	for len(r) > width {
		cut := width
		for i := width; i > width/2; i-- {
			if r[i] == ' ' {
				cut = i
				break
			}
		}
		out = append(out, string(r[:cut]))
		if r = r[cut:]; r[0] == ' ' {
			r = r[1:]
		}
	}
	return append(out, string(r))
}

// textOf returns a JSON string's text, and any other value as compact JSON.
func textOf(v json.RawMessage) string {
	var s string
	if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &s) == nil {
		return s
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return string(v) // a failure's text
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// printJSON writes v as indented JSON.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout.w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printError shows a failure on the error output, with every detail and remedy
// it carries.
func (a *app) printError(err error) {
	f, isFault := errors.AsType[*fault.Error](err)
	if a.json {
		m := map[string]any{"ok": false, "message": err.Error()}
		if isFault {
			m["code"], m["message"], m["details"], m["retryable"] = f.Code, f.Message, f.Details, f.Retryable
		}
		e := json.NewEncoder(a.stderr.w)
		e.SetEscapeHTML(false)
		_ = e.Encode(m) // there is nowhere else to say it
		return
	}
	t := a.stderr
	if !isFault {
		t.printf("%s %s\n", t.red("oap:"), clean(err.Error()))
		return
	}
	// Words that were wrapped around the fault say where it happened.
	prefix, _, _ := strings.Cut(err.Error(), f.Error())
	t.printf("%s %s%s %s\n", t.red("oap:"), clean(prefix), clean(f.Message), t.dim("("+string(f.Code)+")"))
	for _, d := range f.Details {
		where := d.Pointer
		if d.Line > 0 {
			where = strings.TrimSpace(fmt.Sprintf("line %d %s", d.Line, where))
		}
		if where != "" {
			where += ": "
		}
		t.printf("  %s%s\n", t.bold(clean(where)), clean(d.Message))
		if d.Remedy != "" {
			t.printf("    %s\n", t.dim(clean(d.Remedy)))
		}
	}
}
