package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oap-runtime/oap/session"
)

type transcriptCmd struct {
	oneSession
	Format string `help:"text for people; json: the whole document; jsonl: the log, one event a line; chat: the model's exchanges, one a line, for evaluation and fine-tuning." enum:"text,json,jsonl,chat" default:"text"`
}

func (c *transcriptCmd) Run(a *app) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	if c.Format == "jsonl" {
		return cl.Log(a.ctx, c.ID, a.stdout.w)
	}
	t, err := cl.Transcript(a.ctx, c.ID)
	if err != nil {
		return err
	}
	return a.printTranscript(t, c.Format)
}

// printTranscript prints a transcript as text, json or chat. With --json the
// form is json unless chat is asked for.
func (a *app) printTranscript(raw json.RawMessage, format string) error {
	if a.json && format == "text" {
		format = "json"
	}
	if format == "json" {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return err
		}
		b.WriteByte('\n')
		_, err := b.WriteTo(a.stdout.w)
		return err
	}
	var t session.Transcript
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("read the transcript: %w", err)
	}
	if format == "chat" {
		return a.printExchanges(t)
	}
	a.printTranscriptText(t)
	return nil
}

// An exchangeLine is one line of the chat form: the messages of a model call
// with the reply as the last of them, and whether the reply was used.
type exchangeLine struct {
	SessionID string                  `json:"session_id"`
	Model     string                  `json:"model"`
	Messages  []session.MessageRecord `json:"messages"`
	Used      bool                    `json:"used"`
	Problem   string                  `json:"problem,omitempty"`
}

func (a *app) printExchanges(t session.Transcript) error {
	e := json.NewEncoder(a.stdout.w)
	e.SetEscapeHTML(false)
	for _, turn := range t.Turns {
		for _, x := range turn.Exchanges {
			line := exchangeLine{t.SessionID, x.Model, append(x.Messages[:len(x.Messages):len(x.Messages)], session.MessageRecord{Role: "assistant", Content: x.Reply}), x.Problem == "", x.Problem}
			if err := e.Encode(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// printTranscriptText prints the compact form for people: what was decided,
// what was done, what came of it.
func (a *app) printTranscriptText(t session.Transcript) {
	w := a.stdout
	p := progress{t: w}
	w.printf("%s\n", w.bold(oneLine(t.Goal.Description, w.width)))
	w.printf("%s\n", w.dim(fmt.Sprintf("session %s · %s %s · %s", t.SessionID, clean(t.Manifest.Name), clean(t.Manifest.Version), t.Status)))
	for i, turn := range t.Turns {
		w.printf("\n%s", w.dim(fmt.Sprintf("turn %d  %s", i+1, turn.Time.Local().Format(time.TimeOnly))))
		for _, x := range turn.Exchanges {
			note := fmt.Sprintf("  model %s, %d messages, %s", clean(x.Model), len(x.Messages), duration(x.Duration))
			if s := modelUsage(x.Usage); s != "" {
				note += ", " + s
			}
			if x.Problem != "" {
				note += "; not usable: " + oneLine(x.Problem, 60)
			}
			w.printf("%s", w.dim(note))
		}
		w.printf("\n")
		if turn.Reason != "" {
			w.printf("  %s\n", w.dim(oneLine("“"+turn.Reason+"”", w.width-4)))
		}
		for _, c := range turn.Calls {
			mark, name := w.green("✓"), w.bold(clean(c.Action))
			switch {
			case c.Skipped:
				w.printf("  %s %s %s\n", w.dim("-"), name, w.dim("not carried out"))
				continue
			case !c.Success && c.Error == nil:
				mark = w.yellow("…")
			case !c.Success:
				mark = w.red("✗")
			}
			w.printf("  %s %s  %s\n", mark, name, w.dim(callUsage(c.DurationMS, 0, c.Usage)))
			p.value("args", c.Args, argsLines)
			if c.Success {
				p.value("output", c.Output, outputLines)
			} else if c.Error != nil {
				p.value("failed", json.RawMessage(c.Error.Code+": "+c.Error.Message), outputLines)
			}
		}
		if turn.Error != nil {
			w.printf("  %s %s\n", w.red("✗"), oneLine(turn.Error.Code+": "+turn.Error.Message, w.width-4))
		}
		if turn.Finish {
			w.printf("  %s\n", w.green("finished"))
			p.value("answer", turn.Answer, outputLines)
		}
	}
	if n := len(t.SideEffects); n > 0 {
		width := 0
		for _, e := range t.SideEffects {
			width = max(width, len(e.Action))
		}
		w.printf("\n%s\n", w.bold("side effects"))
		for _, e := range t.SideEffects {
			w.printf("  %-10s %-*s  %s\n", e.Status, width, clean(e.Action), w.dim("Idempotency-Key "+clean(e.IdempotencyKey)))
		}
	}
	parts := []string{plural(t.Steps, "step"), plural(len(t.Events), "event")}
	if s := modelUsage(t.Usage); s != "" {
		parts = append(parts, s)
	}
	status := string(t.Status)
	if t.Detail != "" && t.Status != session.Completed {
		status += ": " + t.Detail
	}
	w.printf("\n%s  %s\n", clean(status), w.dim(strings.Join(parts, " · ")))
}
