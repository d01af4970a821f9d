package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/session"
)

// cancelTimeout bounds how long an interrupted command waits for its session
// to end. Then the session stays, and its database or server ends it later.
const cancelTimeout = 15 * time.Second

// A driver follows one session to its end for a person: it shows what happens,
// asks the session's questions, and cancels it on an interrupt. It is used by
// one goroutine.
type driver struct {
	app     *app
	client  *client.Client
	id      string
	show    func(client.Event)
	ask     *terminal // where a person is asked; nil when nobody is here
	patient bool      // somebody else will answer: do not stop at a question
	owner   bool      // an interrupt cancels the session

	after  int64           // seq of the last event seen
	status client.Status   // that it led to
	open   map[string]bool // calls whose question was not answered yet
}

// newDriver returns a driver that shows progress on out, or nothing with
// --json, and if ask is set asks there. m is the session's manifest if it is at
// hand.
func newDriver(a *app, cl *client.Client, id string, out *terminal, ask bool, m *manifest.Manifest) *driver {
	d := &driver{app: a, client: cl, id: id, show: func(client.Event) {}, open: map[string]bool{}}
	if a.json {
		return d
	}
	if ask {
		d.ask = out
	}
	p := &progress{t: out, numbered: ask, declared: map[string]int64{}}
	if m != nil {
		for _, act := range m.Actions {
			p.declared[act.Name] = act.LatencyMS
		}
	}
	d.show = p.show
	return d
}

var errQuestion = errors.New("the session asks a question")

// follow returns when the session has ended, or waits for a person who is not
// here. An interrupt of its owner cancels the session, which is followed to its
// end, too.
func (d *driver) follow(ctx context.Context) (client.Status, error) {
	status, err := d.attend(ctx)
	if err == nil || ctx.Err() == nil || !d.owner {
		return status, err
	}
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	d.patient = true
	if _, err := d.client.Cancel(late, d.id, "interrupted at the terminal"); err != nil {
		return status, fmt.Errorf("cancel session %s: %w", d.id, err)
	}
	return d.attend(late)
}

// attend follows the session and has its questions answered.
func (d *driver) attend(ctx context.Context) (client.Status, error) {
	for {
		err := d.client.Follow(ctx, d.id, d.after, func(e client.Event) error { return d.see(ctx, e) })
		if !errors.Is(err, errQuestion) {
			return d.status, err
		}
		answered, err := d.answer(ctx)
		if err != nil {
			return d.status, err
		}
		if !answered {
			return client.Waiting, nil
		}
	}
}

// see takes in one event. It fails with errQuestion when the session has come
// to rest at a question.
func (d *driver) see(ctx context.Context, e client.Event) error {
	if e.Seq > 0 {
		d.after, d.status = e.Seq, statusAfter(e, d.status)
		d.track(e)
	}
	d.show(e)
	if d.patient || e.Type == client.Progress {
		return nil
	}
	if err := stuck(e); err != nil {
		return err
	}
	// A question asked before d.after is known to the session only.
	if len(d.open) == 0 && e.Type != client.CaughtUp {
		return nil
	}
	// Other calls of the same plan may still be running.
	s, err := d.client.Get(ctx, d.id)
	if err == nil && s.Status == client.Waiting && s.LastSeq == d.after && question(s) >= 0 {
		err = errQuestion
	}
	return err
}

// stuck returns the failure of a planner that does not try again by itself.
// The session stays and can be started again when the cause is mended.
func stuck(e client.Event) error {
	var d struct {
		Error   client.Failure `json:"error"`
		RetryAt time.Time      `json:"retry_at"`
	}
	if session.EventType(e.Type) != session.EventPlanFailed {
		return nil
	}
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return fmt.Errorf("event %d of session %s cannot be read: %w", e.Seq, e.SessionID, err)
	}
	if !d.RetryAt.IsZero() {
		return nil
	}
	f := fault.New(fault.Code(d.Error.Code), "the session cannot go on: %s", d.Error.Message)
	if json.Unmarshal(d.Error.Details, &f.Details) != nil {
		f.Details = nil // in a form that this version does not know
	}
	return f
}

// question returns the index of the first thing a session waits for that a
// person can answer, or -1: a time to come is none.
func question(s client.Session) int {
	return slices.IndexFunc(s.Waiting, func(q client.Question) bool { return q.Wait.Kind != string(executor.WaitTimer) })
}

// track keeps open up to date.
func (d *driver) track(e client.Event) {
	var of struct {
		ID   string        `json:"call_id"`
		Wait executor.Wait `json:"wait"`
	}
	if json.Unmarshal(e.Data, &of) != nil || of.ID == "" {
		return
	}
	delete(d.open, of.ID)
	if session.EventType(e.Type) == session.EventCallWaiting && of.Wait.Kind != executor.WaitTimer {
		d.open[of.ID] = true
	}
}

// answer asks the person at the terminal the session's first question. It
// reports false when nobody is there.
func (d *driver) answer(ctx context.Context) (bool, error) {
	if d.ask == nil {
		return false, nil
	}
	s, err := d.client.Get(ctx, d.id)
	i := question(s)
	if err != nil || i < 0 {
		return err == nil, err // somebody else was faster
	}
	q := s.Waiting[i]
	text, err := d.readLine(ctx)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(q.Wait.Choices) {
		text = q.Wait.Choices[n-1]
	}
	if _, err := d.client.Input(ctx, d.id, q.CallID, answerJSON(text, q.Wait.Schema)); err != nil {
		d.app.printError(err) // the question stays open and is asked again
	}
	return true, ctx.Err()
}

// readLine reads a line from the terminal, or ends with ctx.
func (d *driver) readLine(ctx context.Context) (string, error) {
	d.ask.printf("%s", d.ask.bold("> "))
	type line struct {
		text string
		err  error
	}
	// A read of a terminal cannot be broken off: after an interrupt the
	// goroutine ends with the process. The channel holds its one result.
	got := make(chan line, 1)
	go func() {
		text, err := d.app.input.ReadString('\n')
		if text != "" && errors.Is(err, io.EOF) {
			err = nil
		}
		got <- line{strings.TrimSpace(text), err}
	}()
	select {
	case l := <-got:
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
