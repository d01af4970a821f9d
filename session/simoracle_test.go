package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// A simSession is what the oracle knows of a session: what its log says, read
// as it was written.
type simSession struct {
	name  string
	row   session.Session // after the newest write
	calls map[string]*simCall
	order []string // ids of the calls as they were planned
	notes []string // what the postconditions of note must have left
	ended bool
	trace []string // one line an event, for reports
}

// A simCall is what the log says of a call, and what the world did for it.
type simCall struct {
	name     string
	planned  session.PlannedCall
	starts   []session.CallStarted
	waiting  *session.CallWaiting // while nothing came after it
	answer   json.RawMessage      // what a person said, once
	finished *session.CallFinished
	value    string // member v of its output

	runs, inflight, applied int
}

// saw folds what the store wrote into the oracle's knowledge and checks it. The
// store calls it in the transaction.
func (s *sim) saw(before, after session.Session, events []session.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[after.ID]
	if ss == nil {
		ss = &simSession{name: after.ExternalID, calls: map[string]*simCall{}}
		s.sessions[after.ID] = ss
		s.byName = append(s.byName, after.ID)
	}
	if before.Status.Terminal() && after.Status != before.Status {
		s.problem("%s: was %s and is %s", ss.name, before.Status, after.Status)
	}
	if after.Steps < before.Steps || after.Steps > after.MaxSteps {
		s.problem("%s: steps went from %d to %d of %d", ss.name, before.Steps, after.Steps, after.MaxSteps)
	}
	if _, ok := s.store.states[after.StateID]; !ok {
		s.problem("%s: the row names state %s, which is not stored", ss.name, after.StateID)
	}
	for _, e := range events {
		s.sawEvent(ss, before, after, e)
	}
	ss.row = after
}

func (s *sim) sawEvent(ss *simSession, before, after session.Session, e session.Event) {
	ss.trace = append(ss.trace, fmt.Sprintf("%8.3fs %s %3d %-18s %.200s", e.Time.Sub(s.began).Seconds(), ss.name, e.Seq, e.Type, e.Data))
	if ss.ended && e.Type != session.EventSessionClosed {
		s.problem("%s: %s after the end", ss.name, e.Type)
	}
	switch e.Type {
	case session.EventPlanned:
		d := simData[session.Planned](s, e)
		for _, c := range d.Calls {
			if ss.calls[c.ID] != nil {
				s.problem("%s: call %s was planned twice", ss.name, c.ID)
			}
			_, n, _ := strings.Cut(c.ID, "/")
			ss.calls[c.ID] = &simCall{name: ss.name + "/" + n, planned: c}
			ss.order = append(ss.order, c.ID)
		}
		for _, id := range ss.order[:len(ss.order)-len(d.Calls)] {
			if ss.calls[id].finished == nil {
				s.problem("%s: planned anew while %s was open", ss.name, id)
			}
		}
		s.counts[[]string{"plan of no call", "plan of one call"}[min(len(d.Calls), 1)]]++
		if len(d.Calls) > 1 {
			s.counts["plan of several calls"]++
		}
	case session.EventCallStarted:
		d := simData[session.CallStarted](s, e)
		c := s.open(ss, e, d.ID)
		if c == nil {
			return
		}
		if d.Attempt != len(c.starts)+1 {
			s.problem("%s: attempt %d follows %d others", c.name, d.Attempt, len(c.starts))
		}
		if len(c.starts) > 0 {
			same := c.starts[0]
			same.Attempt = d.Attempt
			if !equalJSON(same, d) {
				s.problem("%s: attempt %d is not the call of attempt 1", c.name, d.Attempt)
			}
		}
		for _, id := range c.planned.After {
			if p := ss.calls[id]; p.finished == nil || !p.finished.Success {
				s.problem("%s: started, though %s has not succeeded", c.name, p.name)
			}
		}
		c.starts, c.waiting = append(c.starts, d), nil
	case session.EventCallWaiting:
		d := simData[session.CallWaiting](s, e)
		c := s.open(ss, e, d.ID)
		if c == nil {
			return
		}
		if c.answer != nil && d.Wait.Kind == executor.WaitInput {
			s.problem("%s: asked again, though it was answered", c.name)
		}
		if c.waiting != nil {
			s.problem("%s: waits twice", c.name)
		}
		c.waiting = &d
		s.counts["waited for "+string(d.Wait.Kind)]++
	case session.EventInput:
		d := simData[session.Input](s, e)
		c := s.open(ss, e, d.CallID)
		if c == nil {
			return
		}
		if c.waiting == nil || c.answer != nil && c.waiting.Wait.Kind == executor.WaitInput {
			s.problem("%s: was answered without a question", c.name)
		}
		c.answer = d.Value
		s.counts["question answered"]++
	case session.EventCallFinished:
		d := simData[session.CallFinished](s, e)
		c := s.open(ss, e, d.ID)
		if c == nil {
			return
		}
		if d.Skipped && c.applied > 0 {
			s.problem("%s: is recorded as skipped, but took effect", c.name)
		}
		if !d.Skipped && d.Success != (d.Error == nil) {
			s.problem("%s: success is %t with error %v", c.name, d.Success, d.Error)
		}
		if d.Error != nil {
			s.counts["call finished with "+d.Error.Code]++
			if !simCodes[d.Error.Code] {
				s.problem("%s: finished with %s (%s), which nobody said", c.name, d.Error.Code, d.Error.Message)
			}
		}
		c.finished, c.waiting = &d, nil
		if d.Success {
			var out struct{ V string }
			_ = json.Unmarshal(d.Output.JSON, &out)
			c.value = out.V
			if d.Action == "note" {
				ss.notes = append(ss.notes, out.V)
			}
		}
	case session.EventCancelAsked:
		for _, c := range ss.calls {
			if c.inflight > 0 {
				s.counts["cancelled in the middle of a call"]++
			}
			if c.waiting != nil && c.finished == nil {
				s.counts["cancelled while waiting"]++
			}
		}
	case session.EventPlanFailed:
		if d := simData[session.PlanFailed](s, e); d.RetryAt.IsZero() {
			s.counts["waited to be started again"]++
		}
	case session.EventCompleted, session.EventFailed, session.EventCancelled:
		ss.ended = true
		s.counts["session "+string(after.Status)+" "+after.Reason]++
		for _, id := range ss.order {
			if c := ss.calls[id]; c.finished == nil {
				s.problem("%s: never finished, and the session has ended", c.name)
			}
		}
		// Who ends a session in another way may do so only if it could not know.
		if before.Cancel && after.Status != session.Cancelled && after.Reason != "goal" && after.Handled == after.Signals {
			s.problem("%s: was cancelled and ended %s (%s)", ss.name, after.Status, after.Reason)
		}
		if after.Status == session.Cancelled && !after.Cancel {
			s.problem("%s: ended cancelled, but nobody asked", ss.name)
		}
	}
}

// simCodes are the codes with which a call can fail here.
var simCodes = map[string]bool{
	string(fault.ActionFailed): true, string(fault.ActionUnknown): true, string(fault.EffectUnknown): true,
	string(fault.Canceled): true, string(fault.Skipped): true, string(fault.MaxSteps): true,
}

// open returns a call that an event names, which must be planned and not
// finished.
func (s *sim) open(ss *simSession, e session.Event, id string) *simCall {
	c := ss.calls[id]
	switch {
	case c == nil:
		s.problem("%s: %s of call %s, which was not planned", ss.name, e.Type, id)
		return nil
	case c.finished != nil:
		s.problem("%s: %s after it had finished", c.name, e.Type)
		return nil
	}
	return c
}

func simData[T any](s *sim, e session.Event) (d T) {
	if err := json.Unmarshal(e.Data, &d); err != nil {
		s.problem("event %d (%s): %v", e.Seq, e.Type, err)
	}
	return d
}

func equalJSON(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	return xerr == nil && yerr == nil && string(x) == string(y)
}

// verdict looks at a history as a whole, through a process without faults.
func (s *sim) verdict() {
	m, err := session.New(session.Config{Store: s.inner, Planner: rounds(), Executor: &world{}})
	if err != nil {
		s.fail("New: %v", err)
		return
	}
	for _, id := range s.byName {
		ss := s.sessions[id]
		if err := s.judge(m, ss); err != nil {
			s.fail("%s: %v", ss.name, err)
		}
	}
}

func (s *sim) judge(m *session.Manager, ss *simSession) error {
	ctx, id := s.t.Context(), ss.row.ID
	row, err := s.inner.Get(ctx, "", id)
	if err != nil {
		return err
	}
	if !row.Status.Terminal() {
		return nil // reported as stuck
	}
	v, err := m.Verify(ctx, id)
	if err != nil {
		return fmt.Errorf("Verify() = %w", err)
	}
	if !v.OK {
		return fmt.Errorf("Verify() = %+v", v)
	}
	if v.Events != row.LastSeq {
		return fmt.Errorf("%d events, the row says %d", v.Events, row.LastSeq)
	}
	tr, err := m.Transcript(ctx, id)
	if err != nil {
		return fmt.Errorf("Transcript() = %w", err)
	}
	done := 0
	for _, callID := range ss.order {
		c := ss.calls[callID]
		if c.finished != nil && !c.finished.Skipped {
			done++
		}
		if err := s.judgeCall(c, tr.SideEffects); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if row.Steps != done || tr.Steps != done || len(tr.History) != done {
		return fmt.Errorf("%d calls finished, but the row counts %d steps, the transcript %d and its history %d", done, row.Steps, tr.Steps, len(tr.History))
	}
	var obs struct {
		Environment struct{ Notes []string }
	}
	if err := json.Unmarshal(tr.Observation, &obs); err != nil {
		return err
	}
	if !slices.Equal(obs.Environment.Notes, ss.notes) {
		return fmt.Errorf("the state has the notes %q, the log %q", obs.Environment.Notes, ss.notes)
	}
	return nil
}

// judgeCall compares a finished call with what the world knows of it and with
// the ledger of effects.
func (s *sim) judgeCall(c *simCall, ledger []session.Effect) error {
	if c.finished == nil {
		return errors.New("never finished")
	}
	code := ""
	if c.finished.Error != nil {
		code = c.finished.Error.Code
	}
	at := slices.IndexFunc(ledger, func(e session.Effect) bool { return e.ID == c.planned.ID })
	switch {
	case len(c.starts) == 0 || c.starts[0].Effect == "read":
		if at >= 0 {
			return errors.New("the ledger holds an effect that was never begun")
		}
		return nil
	case at < 0:
		return errors.New("the ledger does not hold its effect")
	}
	e := ledger[at]
	if e.Attempts != len(c.starts) || e.IdempotencyKey != c.starts[0].Key {
		return fmt.Errorf("the ledger counts %d attempts with key %s, the log %d with %s", e.Attempts, e.IdempotencyKey, len(c.starts), c.starts[0].Key)
	}
	switch {
	case c.finished.Success && (c.applied == 0 || e.Status != session.Settled):
		return fmt.Errorf("succeeded, but took effect %d times and the ledger says %s", c.applied, e.Status)
	case c.applied > 0 && e.Status == session.Refused && c.answer == nil && len(c.starts) == 1:
		return fmt.Errorf("took effect %d times, but the ledger says that it failed", c.applied)
	case c.applied > 0 && code == "agent.action_failed" && c.answer == nil && len(c.starts) == 1:
		return errors.New("took effect, but is recorded as failed")
	}
	return nil
}
