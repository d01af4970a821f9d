package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fields reads the members of one object of the document. Every accessor
// reports a value of the wrong kind and then returns the zero value, so that
// reading goes on and finds the other problems too. The names that were asked
// for are the names that exist: done reports all others.
type fields struct {
	n     *node // nil when there is no object to read
	p     *problems
	asked []string
}

// fieldsOf starts reading n, which must be an object; nil is an absent one.
func fieldsOf(n *node, p *problems) *fields {
	if n != nil && n.kind != object {
		p.report(n, "type", "write an object, {…}", "got %s, want an object", n.kind)
		n = nil
	}
	return &fields{n: n, p: p}
}

// node returns the first of the names that is present, null included. The
// others are other spellings of the same field and must be absent then.
func (f *fields) node(names ...string) *node {
	f.asked = append(f.asked, names...)
	var found *node
	for _, name := range names {
		switch n := f.n.get(name); {
		case n == nil:
		case found != nil:
			f.p.report(n, "duplicate", "keep one of them", "%s and %s are the same field", found.name, name)
		default:
			found = n
		}
	}
	return found
}

// of returns the field when it has the kind, and reports it otherwise.
func (f *fields) of(k kind, names ...string) *node {
	n := f.node(names...)
	if n != nil && n.kind != k {
		f.p.report(n, "type", "", "got %s, want %s", n.kind, k)
		return nil
	}
	return n
}

// text returns a string of at most most bytes.
func (f *fields) text(most int, names ...string) string {
	n := f.of(text, names...)
	if n == nil {
		return ""
	}
	f.length(n, most)
	return n.text
}

func (f *fields) length(n *node, most int) {
	if len(n.text) > most {
		f.p.report(n, "too_long", "", "the text has %d bytes, the most is %d", len(n.text), most)
	}
}

// required is text that must be there and match.
func (f *fields) required(pattern *regexp.Regexp, names ...string) string {
	n := f.of(text, names...)
	if n == nil {
		if f.n != nil && f.n.get(names[0]) == nil {
			f.p.report(f.n, "required", fmt.Sprintf("add %q", names[0]), "%s is missing", names[0])
		}
		return ""
	}
	f.match(n, pattern)
	return n.text
}

func (f *fields) match(n *node, pattern *regexp.Regexp) {
	if !pattern.MatchString(n.text) {
		f.p.report(n, "pattern", "use letters, digits, '_', '-' and '.', at most 128 of them, and a letter first", "%q is not a name", clip(n.text))
	}
}

// choice returns a string that must be one of the given.
func (f *fields) choice(name string, choices ...string) string {
	n := f.of(text, name)
	if n == nil {
		return ""
	}
	if !slices.Contains(choices, n.text) {
		remedy := "write one of " + strings.Join(choices, ", ")
		if near := nearest(n.text, choices); near != "" {
			remedy = fmt.Sprintf("did you mean %q? The choices are %s", near, strings.Join(choices, ", "))
		}
		f.p.report(n, "enum", remedy, "%s cannot be %q", name, clip(n.text))
		return ""
	}
	return n.text
}

// texts returns a list of at most most strings, each of 1 to 256 bytes,
// without repetitions.
func (f *fields) texts(most int, names ...string) []string {
	n := f.of(array, names...)
	if n == nil {
		return nil
	}
	if len(n.items) > most {
		f.p.report(n, "too_long", "", "the list has %d entries, the most is %d", len(n.items), most)
		return nil
	}
	list := []string{}
	for _, item := range n.items {
		switch {
		case item.kind != text:
			f.p.report(item, "type", "", "got %s, want a string", item.kind)
		case item.text == "" || len(item.text) > 256:
			f.p.report(item, "length", "", "the text must have 1 to 256 bytes, it has %d", len(item.text))
		case slices.Contains(list, item.text):
			f.p.report(item, "duplicate", "remove it", "%q is listed twice", clip(item.text))
		default:
			list = append(list, item.text)
		}
	}
	return list
}

func (f *fields) bool(name string) bool {
	n := f.of(boolean, name)
	return n != nil && n.text == "true"
}

// int returns an integer from least to most; absent is 0.
func (f *fields) int(least, most int64, name string) int64 {
	n := f.of(number, name)
	if n == nil {
		return 0
	}
	return f.integer(n, least, most)
}

func (f *fields) integer(n *node, least, most int64) int64 {
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil {
		// 1e3 and 200.0 are integers too.
		if x, err := strconv.ParseFloat(n.text, 64); err == nil && x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			v = int64(x)
		} else {
			f.p.report(n, "type", "", "%s is not an integer from %d to %d", clip(n.text), least, most)
			return 0
		}
	}
	if v < least || v > most {
		f.p.report(n, "range", fmt.Sprintf("write a number from %d to %d", least, most), "%d is out of range", v)
		return 0
	}
	return v
}

// float returns a number from least to most, or nil when absent.
func (f *fields) float(least, most float64, name string) *float64 {
	n := f.of(number, name)
	if n == nil {
		return nil
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || v < least || v > most {
		f.p.report(n, "range", fmt.Sprintf("write a number from %g to %g", least, most), "%s is out of range", clip(n.text))
		return nil
	}
	return &v
}

// ms returns a duration given in milliseconds.
func (f *fields) ms(least, most time.Duration, name string) time.Duration {
	return time.Duration(f.int(least.Milliseconds(), most.Milliseconds(), name)) * time.Millisecond
}

// raw returns the members of an object as they are, in canonical form.
func (f *fields) raw(name string) map[string]json.RawMessage {
	n := f.of(object, name)
	if n == nil {
		return nil
	}
	m := make(map[string]json.RawMessage, len(n.members))
	for _, mem := range n.members {
		m[mem.name] = mem.value.canonical()
	}
	return m
}

// done reports the members that were never asked for.
func (f *fields) done() {
	if f.n == nil {
		return
	}
	for _, m := range f.n.members {
		if slices.Contains(f.asked, m.name) {
			continue
		}
		if f.p.full() {
			f.p.drop("unknown")
			continue
		}
		remedy, ok := foreignFields[m.name]
		if near := nearest(m.name, f.asked); !ok && near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		} else if !ok && slices.Contains(f.asked, "extensions") {
			remedy = `remove it, or move it into "extensions", which is kept as it is`
		} else if !ok {
			remedy = "the fields here are " + strings.Join(f.asked, ", ")
		}
		f.p.reportAt(m.value.pointer(), m.line, m.column, "unknown", remedy, "%q is not a field", clip(m.name))
	}
}

// foreignFields are names that people bring from other formats, and where
// their meaning goes here.
var foreignFields = map[string]string{
	"http":       "a run has no network: move the request into an invoke_api action",
	"network":    "a run has no network: move the request into an invoke_api action",
	"url":        `write "endpoint"`,
	"parameters": `write "input_schema"`,
	"tools":      `write "actions"`,
	"script":     `write "code"`,
	"confirm":    `write "requires_confirmation"`,
	"env":        `write "${NAME}" in auth or headers: values stay on the server`,
}

// nearest returns the candidate that s is most likely a misspelling of, or "".
func nearest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	best, most := "", max(1, utf8.RuneCountInString(s)/3)+1
	for _, c := range candidates {
		d := distance(fold(s), fold(c))
		if len(s) > 2 && strings.HasPrefix(fold(c), fold(s)) {
			d = 1 // cpu for cpu_ms
		}
		if d < most {
			best, most = c, d
		}
	}
	return best
}

// fold removes what the spellings outputSchema, output-schema and
// output_schema differ in.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			cost := diagonal
			if r != s {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
