package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

// How much of a value is shown while a session runs. The transcript has all.
const (
	argsLines    = 1 // of each argument
	outputLines  = 12
	contextLines = 60
)

// A progress shows a session's events to a person as they arrive. On a
// terminal it also shows, on one passing line, what a planner or an action is
// doing right now. It is used by one goroutine.
type progress struct {
	t        *terminal
	declared map[string]int64 // by action: the milliseconds that its manifest declares
	numbered bool             // a question's choices can be answered by number
	current  string           // call shown last, so that parallel calls are told apart
	answered string           // call that goes on because a person has answered
	partial  string           // end of the answer that a model is giving
	passing  bool             // a passing line is on the screen
	began    time.Time
}

// show shows an event, or a live sign.
func (p *progress) show(e client.Event) {
	if e.Type != client.Progress {
		p.clear()
		p.partial = ""
	}
	var s session.Progress
	switch {
	case e.Seq > 0:
		p.event(e)
	case e.Type == client.Progress && json.Unmarshal(e.Data, &s) == nil:
		p.live(s)
	}
}

func (p *progress) event(e client.Event) {
	var d eventData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		p.t.printf("%s\n", p.t.dim(fmt.Sprintf("event %d (%s) is in a form this version does not know", e.Seq, clean(e.Type))))
		return
	}
	switch session.EventType(e.Type) {
	case session.EventCreated:
		p.began = e.Time
		p.t.printf("%s\n", p.t.bold(oneLine(d.Goal, p.t.width)))
		p.t.printf("%s\n", p.t.dim(fmt.Sprintf("session %s · %s %s · at most %d steps", e.SessionID, clean(d.Manifest.Name), clean(d.Manifest.Version), d.MaxSteps)))
	case session.EventPlanned:
		p.planned(d)
	case session.EventPlanFailed:
		p.t.printf("\n%s %s\n", p.t.red("the planner failed:"), oneLine(d.failure(), p.t.width-20))
		p.details(d.Error)
		if !d.RetryAt.IsZero() {
			p.t.printf("  %s\n", p.t.dim(fmt.Sprintf("attempt %d; again at %s", d.Attempt, d.RetryAt.Local().Format(time.TimeOnly))))
		}
	case session.EventCallStarted:
		switch {
		case d.CallID == p.answered:
			p.current = d.CallID // it was shown before it asked
		case d.Attempt > 1:
			p.head(d, "")
			p.t.printf("  %s\n", p.t.yellow(fmt.Sprintf("again, attempt %d: an earlier one was interrupted", d.Attempt)))
		default:
			p.head(d, "")
			p.value("args", d.Args, argsLines)
		}
	case session.EventCallWaiting:
		p.waiting(d)
	case session.EventInput:
		p.answered = d.CallID
		p.t.printf("  %s %s %s\n", p.t.dim("answer"), oneLine(string(d.Value), p.t.width-30), p.t.dim("by "+clean(d.By)))
	case session.EventCallFinished:
		p.finished(d)
	case session.EventCancelAsked:
		p.t.printf("\n%s\n", p.t.yellow("asked to stop"))
	case session.EventCompleted, session.EventFailed, session.EventCancelled:
		p.ended(e, d)
	}
}

// eventData holds the members of the events' data that are shown, of all types
// together; see package session for what each type has.
type eventData struct {
	Goal     string             `json:"goal"`
	Manifest client.ManifestRef `json:"manifest"`
	MaxSteps int                `json:"max_steps"`

	Calls []struct {
		Action string `json:"action"`
	} `json:"calls"`
	Exchanges []struct {
		Problem string `json:"problem"`
	} `json:"exchanges"`
	Reason  string    `json:"reason"`
	RetryAt time.Time `json:"retry_at"`

	CallID     string          `json:"call_id"`
	Action     string          `json:"action"`
	Step       int             `json:"step"`
	Args       json.RawMessage `json:"args"`
	Attempt    int             `json:"attempt"`
	Wait       executor.Wait   `json:"wait"`
	Value      json.RawMessage `json:"value"`
	By         string          `json:"by"`
	Success    bool            `json:"success"`
	Skipped    bool            `json:"skipped"`
	Output     json.RawMessage `json:"output"`
	Error      *client.Failure `json:"error"`
	DurationMS int64           `json:"duration_ms"`
	Notes      []string        `json:"notes"`

	Detail string          `json:"detail"`
	Steps  int             `json:"steps"`
	Usage  json.RawMessage `json:"usage"` // of a call, or of the model
}

func (d eventData) failure() string {
	if d.Error == nil {
		return "no reason given"
	}
	return d.Error.Code + ": " + d.Error.Message
}

// details shows what a failure says of its parts.
func (p *progress) details(f *client.Failure) {
	var list []fault.Detail
	if f == nil || json.Unmarshal(f.Details, &list) != nil {
		return
	}
	for _, d := range list {
		p.t.printf("  %s\n", oneLine(d.String(), 3*p.t.width))
	}
}

// live shows a sign of work that is not recorded.
func (p *progress) live(s session.Progress) {
	if !p.t.cursor {
		return
	}
	switch s.Kind {
	case "delta":
		p.partial += clean(s.Text)
		if n := utf8.RuneCountInString(p.partial); n > 4*p.t.width {
			p.partial = string([]rune(p.partial)[n-2*p.t.width:])
		}
		p.pass("thinking", lastPart(p.partial, p.t.width-14))
	case "retry", "invalid":
		p.partial = ""
		p.pass("asking again", s.Text)
	case "log", "attempt", "bytes":
		p.pass("working", s.Text)
	}
}

// pass replaces the passing line.
func (p *progress) pass(what, text string) {
	p.t.printf("\r\x1b[K  %s", p.t.dim(oneLine(what+": "+text, p.t.width-3)))
	p.passing = true
}

// clear removes the passing line.
func (p *progress) clear() {
	if p.passing {
		p.t.printf("\r\x1b[K")
		p.passing = false
	}
}

func (p *progress) planned(d eventData) {
	for _, x := range d.Exchanges {
		if x.Problem != "" {
			p.t.printf("  %s\n", p.t.yellow(oneLine("the model's answer was not usable and was asked for again: "+x.Problem, p.t.width-4)))
		}
	}
	if len(d.Calls) > 1 {
		names := make([]string, len(d.Calls))
		for i, c := range d.Calls {
			names[i] = c.Action
		}
		p.t.printf("\n%s %s\n", p.t.bold("plan"), oneLine(strings.Join(names, " → "), p.t.width-6))
	}
	if d.Reason != "" {
		if len(d.Calls) <= 1 {
			p.t.printf("\n")
		}
		p.t.printf("%s\n", p.t.dim(oneLine("“"+d.Reason+"”", p.t.width)))
	}
}

func (p *progress) head(d eventData, note string) {
	p.current = d.CallID
	p.t.printf("\n%s %s%s\n", p.t.cyan(fmt.Sprint(d.Step)), p.t.bold(clean(d.Action)), p.t.dim(note))
}

func (p *progress) waiting(d eventData) {
	if d.Wait.Kind == executor.WaitTimer {
		p.t.printf("  %s\n", p.t.dim("waits until "+d.Wait.Until.Local().Format(time.DateTime)))
		return
	}
	p.question(d.Wait.Prompt)
	if len(d.Wait.Context) > 0 && string(d.Wait.Context) != "null" {
		p.value("about", d.Wait.Context, contextLines) // the exact data, not what a prompt makes of it
	}
	switch {
	case len(d.Wait.Choices) == 0:
	case p.numbered:
		for i, choice := range d.Wait.Choices {
			p.t.printf("  %s %s\n", p.t.cyan(fmt.Sprintf("[%d]", i+1)), clean(choice))
		}
	default:
		p.t.printf("  %s\n", p.t.dim("one of: "+clean(strings.Join(d.Wait.Choices, ", "))))
	}
}

// question shows what is asked.
func (p *progress) question(prompt string) {
	p.t.printf("\n")
	mark := p.t.yellow("?")
	for line := range strings.SplitSeq(clean(prompt), "\n") {
		for _, l := range wrap(line, p.t.width-2) {
			p.t.printf("%s %s\n", mark, p.t.bold(l))
			mark = " "
		}
	}
}

func (p *progress) finished(d eventData) {
	if d.Skipped {
		p.t.printf("\n%s\n", p.t.dim("- "+clean(d.Action)+": not carried out, because an earlier action of the plan failed"))
		return
	}
	if d.CallID != p.current {
		p.head(d, " (finished)")
	}
	if d.Success {
		p.value("output", d.Output, outputLines)
	} else {
		p.value(p.t.red("failed"), json.RawMessage(d.failure()), outputLines)
		p.details(d.Error)
	}
	for _, n := range d.Notes {
		p.t.printf("  %s\n", p.t.dim(oneLine("note: "+n, p.t.width-4)))
	}
	var u executor.Usage
	if json.Unmarshal(d.Usage, &u) == nil {
		p.t.printf("  %s\n", p.t.dim(callUsage(d.DurationMS, p.declared[d.Action], u)))
	}
}

func (p *progress) ended(e client.Event, d eventData) {
	mark := p.t.green("✓ completed")
	switch session.EventType(e.Type) {
	case session.EventFailed:
		mark = p.t.red("✗ failed")
	case session.EventCancelled:
		mark = p.t.yellow("■ cancelled")
	}
	parts := []string{plural(d.Steps, "step")}
	if !p.began.IsZero() {
		parts = append(parts, duration(e.Time.Sub(p.began).Milliseconds()))
	}
	var u planner.Usage
	if json.Unmarshal(d.Usage, &u) == nil {
		if s := modelUsage(u); s != "" {
			parts = append(parts, s)
		}
	}
	p.t.printf("\n%s %s\n", mark, p.t.dim(strings.Join(parts, " · ")))
	if d.Detail != "" && session.EventType(e.Type) != session.EventCompleted {
		p.t.printf("  %s\n", clean(d.Detail))
	}
}

// value shows a named JSON value, indented: an object member by member, and
// of each at most so many lines.
func (p *progress) value(name string, v json.RawMessage, lines int) {
	const indent = 10
	label := "  " + p.t.dim(name) + strings.Repeat(" ", max(indent-2-len(plain(name)), 1))
	for _, m := range membersOf(v) {
		key := m.name
		if key != "" {
			key += "  "
		}
		keyWidth := utf8.RuneCountInString(key)
		key = p.t.dim(key)
		for _, text := range block(m.value, p.t.width-indent-keyWidth, lines) {
			p.t.printf("%s%s%s\n", label, key, text)
			label, key = strings.Repeat(" ", indent), strings.Repeat(" ", keyWidth)
		}
	}
}

type member struct {
	name  string
	value json.RawMessage
}

// membersMax is how many members of an object are shown one by one; a larger
// object is shown as compact JSON.
const membersMax = 12

// membersOf returns an object's members in order of name, names padded to one
// width, or any other value as one member without a name.
func membersOf(v json.RawMessage) []member {
	if len(v) == 0 {
		return nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(v, &object) != nil || len(object) == 0 || len(object) > membersMax {
		return []member{{"", v}}
	}
	width := 0
	for name := range object {
		width = max(width, utf8.RuneCountInString(clean(name)))
	}
	list := make([]member, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		list = append(list, member{fmt.Sprintf("%-*s", width, clean(name)), object[name]})
	}
	return list
}

// plain returns s without the styles of this package.
func plain(s string) string {
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			return s
		}
		j := strings.IndexByte(s[i:], 'm')
		if j < 0 {
			return s
		}
		s = s[:i] + s[i+j+1:]
	}
}
