package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

// How much of a value is shown while a session runs. The transcript has all.
const (
	argsLines   = 6
	outputLines = 12
)

// A progress shows a session's events to a person as they arrive. On a
// terminal it also shows, on one passing line, what a planner or an action is
// doing right now. It is used by one goroutine.
type progress struct {
	t       *terminal
	current string // call shown last, so that parallel calls are told apart
	partial string // end of the answer that a model is giving
	passing bool   // a passing line is on the screen
	began   time.Time
}

// event shows one recorded event.
func (p *progress) event(e client.Event) {
	p.clear()
	p.partial = ""
	switch session.EventType(e.Type) {
	case session.EventCreated:
		var d session.Created
		if p.data(e, &d) {
			p.began = e.Time
			p.t.printf("%s\n", p.t.bold(oneLine(d.Goal, p.t.width)))
			p.t.printf("%s\n", p.t.dim(fmt.Sprintf("session %s · %s %s · at most %d steps", e.SessionID, d.Manifest.Name, d.Manifest.Version, d.MaxSteps)))
		}
	case session.EventPlanned:
		var d session.Planned
		if p.data(e, &d) {
			p.planned(d)
		}
	case session.EventPlanFailed:
		var d session.PlanFailed
		if p.data(e, &d) {
			p.t.printf("\n%s %s\n", p.t.red("the planner failed:"), oneLine(d.Error.Message, p.t.width-20))
			if !d.RetryAt.IsZero() {
				p.t.printf("  %s\n", p.t.dim(fmt.Sprintf("attempt %d; again at %s", d.Attempt, d.RetryAt.Local().Format(time.TimeOnly))))
			}
		}
	case session.EventCallStarted:
		var d session.CallStarted
		if p.data(e, &d) {
			p.head(d.ID, d.Step, d.Action, "")
			if d.Attempt > 1 {
				p.t.printf("  %s\n", p.t.yellow(fmt.Sprintf("again, attempt %d: an earlier one was interrupted", d.Attempt)))
			} else {
				p.value("args", d.Args.JSON, argsLines)
			}
		}
	case session.EventCallWaiting:
		var d session.CallWaiting
		if p.data(e, &d) {
			p.waiting(d)
		}
	case session.EventInput:
		var d session.Input
		if p.data(e, &d) {
			p.t.printf("  %s %s %s\n", p.t.dim("answer"), oneLine(string(d.Value), p.t.width-30), p.t.dim("by "+clean(d.By)))
		}
	case session.EventCallFinished:
		var d session.CallFinished
		if p.data(e, &d) {
			p.finished(d)
		}
	case session.EventCancelAsked:
		p.t.printf("\n%s\n", p.t.yellow("asked to stop"))
	case session.EventCompleted, session.EventFailed, session.EventCancelled:
		var d session.Ended
		if p.data(e, &d) {
			p.ended(e, d)
		}
	}
}

// live shows a sign of work that is not recorded.
func (p *progress) live(s session.Progress) {
	if !p.t.tty {
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

func (p *progress) planned(d session.Planned) {
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
		p.t.printf("%s%s\n", strings.Repeat("\n", btoi(len(d.Calls) <= 1)), p.t.dim(oneLine("“"+d.Reason+"”", p.t.width)))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (p *progress) head(id string, step int, action, note string) {
	p.current = id
	p.t.printf("\n%s %s%s\n", p.t.cyan(fmt.Sprintf("%d", step)), p.t.bold(clean(action)), p.t.dim(note))
}

func (p *progress) waiting(d session.CallWaiting) {
	if d.Wait.Kind != executor.WaitInput {
		p.t.printf("  %s\n", p.t.dim("waits until "+d.Wait.Until.Local().Format(time.DateTime)))
		return
	}
	p.t.printf("\n%s %s\n", p.t.yellow("?"), p.t.bold(clean(d.Wait.Prompt)))
	if len(d.Wait.Context) > 0 && string(d.Wait.Context) != "null" {
		p.value("about", d.Wait.Context, outputLines)
	}
	if len(d.Wait.Choices) > 0 {
		p.t.printf("  %s\n", p.t.dim("one of: "+clean(strings.Join(d.Wait.Choices, ", "))))
	}
}

func (p *progress) finished(d session.CallFinished) {
	if d.ID != p.current && !d.Skipped {
		p.head(d.ID, d.Step, d.Action, " (finished)")
	}
	switch {
	case d.Skipped:
		p.t.printf("\n%s\n", p.t.dim("- "+clean(d.Action)+": not carried out, because an earlier action of the plan failed"))
		return
	case d.Success:
		p.value("output", d.Output.JSON, outputLines)
	default:
		p.value(p.t.red("failed"), json.RawMessage(d.Error.Code+": "+d.Error.Message), outputLines)
	}
	for _, n := range d.Notes {
		p.t.printf("  %s\n", p.t.dim(oneLine("note: "+n, p.t.width-4)))
	}
	p.t.printf("  %s\n", p.t.dim(callUsage(d.DurationMS, d.Usage)))
}

// callUsage says in words what a call took.
func callUsage(ms int64, u executor.Usage) string {
	parts := []string{duration(ms)}
	if u.HTTPStatus != 0 {
		parts = append(parts, fmt.Sprintf("HTTP %d", u.HTTPStatus))
	}
	if u.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("%d attempts", u.Attempts))
	}
	if s := u.Sandbox; s != nil {
		parts = append(parts, fmt.Sprintf("sandbox: %d of %d ms CPU, %.0f MiB", s.CPUMS, s.CPULimitMS, float64(s.MemoryBytes)/(1<<20)))
	}
	if m := u.Model; m != nil && m.Calls > 0 {
		parts = append(parts, fmt.Sprintf("%d model calls by the code, %d tokens", m.Calls, m.PromptTokens+m.CompletionTokens))
	}
	return strings.Join(parts, " · ")
}

func (p *progress) ended(e client.Event, d session.Ended) {
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
	if s := modelUsage(d.Usage); s != "" {
		parts = append(parts, s)
	}
	p.t.printf("\n%s %s\n", mark, p.t.dim(strings.Join(parts, " · ")))
	if d.Detail != "" && session.EventType(e.Type) != session.EventCompleted {
		p.t.printf("  %s\n", clean(d.Detail))
	}
}

// modelUsage says in words what the model took, or "" if it was not asked.
func modelUsage(u planner.Usage) string {
	n := u.PromptTokens + u.CompletionTokens
	if n == 0 {
		return ""
	}
	about := ""
	if u.Estimated {
		about = "about "
	}
	s := fmt.Sprintf("%s%d tokens", about, n)
	if u.CostUSD > 0 {
		s += fmt.Sprintf(" · $%.4f", u.CostUSD)
	}
	return s
}

// value shows a named JSON value, or plain text, indented.
func (p *progress) value(name string, v json.RawMessage, lines int) {
	if len(v) == 0 {
		return
	}
	const indent = 9
	pad := strings.Repeat(" ", indent)
	for i, line := range block(v, p.t.width-indent, lines) {
		if i == 0 {
			gap := max(indent-2-len(plain(name)), 1)
			p.t.printf("  %s%s%s\n", p.t.dim(name), strings.Repeat(" ", gap), line)
			continue
		}
		p.t.printf("%s%s\n", pad, line)
	}
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

func (p *progress) data(e client.Event, into any) bool {
	if err := json.Unmarshal(e.Data, into); err != nil {
		p.t.printf("%s\n", p.t.dim(fmt.Sprintf("event %d (%s) is in a form this version does not know", e.Seq, clean(e.Type))))
		return false
	}
	return true
}

func duration(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// lastPart returns the last n characters of s.
func lastPart(s string, n int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	return string(r[max(len(r)-n, 0):])
}
