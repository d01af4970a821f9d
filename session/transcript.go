package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/oap-runtime/oap/internal/fault"
)

// logPage is how many events are read at a time.
const logPage = 500

// peek reads a session as a turn would, without a lease.
func (m *Manager) peek(ctx context.Context, row Session) (*turn, error) {
	return m.load(ctx, Lease{Session: row})
}

// log calls f for every event of a session, in order.
func (m *Manager) eachEvent(ctx context.Context, id string, f func(Event) error) error {
	var after int64
	for {
		es, err := m.cfg.Store.Events(ctx, id, after, logPage)
		if err != nil {
			return fmt.Errorf("events of session %s: %w", id, err)
		}
		for _, e := range es {
			if err := f(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(es) < logPage {
			return nil
		}
	}
}

// view tells a session's row, observation and history.
func (m *Manager) view(ctx context.Context, row Session) (View, error) {
	v := View{Session: row, History: []ActionResult{}}
	st, err := m.cfg.Store.State(ctx, row.StateID)
	if err != nil {
		return v, fmt.Errorf("state of session %s: %w", row.ID, err)
	}
	v.Observation = st.Document
	t := newTail(0)
	err = m.eachEvent(ctx, row.ID, func(e Event) error {
		if err := t.add(e); err != nil {
			return err
		}
		switch e.Type {
		case EventCallFinished:
			d, err := dataOf[CallFinished](e)
			if err != nil || d.Skipped {
				return err
			}
			r, err := m.actionResult(ctx, d)
			v.History = append(v.History, r)
			return err
		case EventCompleted, EventFailed, EventCancelled:
			d, err := dataOf[Ended](e)
			if err != nil {
				return err
			}
			v.Error = d.Error
			v.Answer, err = m.resolve(ctx, d.Answer)
			return err
		}
		return nil
	})
	if row.Status == Waiting {
		v.Waiting = t.questions()
	}
	return v, err
}

func (m *Manager) actionResult(ctx context.Context, d CallFinished) (ActionResult, error) {
	r := ActionResult{ActionName: d.Action, Success: d.Success}
	if d.Error != nil {
		r.Error = &d.Error.Message
		return r, nil
	}
	var err error
	r.Output, err = m.resolve(ctx, d.Output)
	return r, err
}

// Transcript returns everything that has happened so far.
func (m *Manager) Transcript(ctx context.Context, id string) (Transcript, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return Transcript{}, err
	}
	v, err := m.view(ctx, row)
	if err != nil {
		return Transcript{}, err
	}
	tr := Transcript{
		Goal: Goal{row.Goal}, Observation: v.Observation, MaxSteps: row.MaxSteps, Steps: row.Steps, History: v.History,
		Completed: row.Status.Terminal(), SessionID: row.ID, Status: row.Status, Reason: row.Reason, Detail: row.Detail,
		Manifest: row.Manifest, Usage: row.Spent, SideEffects: []Effect{}, Turns: []TurnRecord{},
	}
	effects, err := m.cfg.Store.Effects(ctx, id)
	if err != nil {
		return Transcript{}, err
	}
	for _, e := range effects {
		raw, err := m.resolve(ctx, e.Response)
		if err != nil {
			return Transcript{}, err
		}
		e.Response = Value{JSON: raw}
		tr.SideEffects = append(tr.SideEffects, e)
	}
	calls := map[string]*CallRecord{}
	err = m.eachEvent(ctx, id, func(e Event) error {
		tr.Events = append(tr.Events, e)
		return m.record(ctx, &tr, calls, e)
	})
	for i := range tr.Turns { // records are filled in after their turn is listed
		for j := range tr.Turns[i].Calls {
			tr.Turns[i].Calls[j] = *calls[tr.Turns[i].Calls[j].ID]
		}
	}
	return tr, err
}

// record adds what an event says to the turns of a transcript.
func (m *Manager) record(ctx context.Context, tr *Transcript, calls map[string]*CallRecord, e Event) error {
	switch e.Type {
	case EventPlanned:
		d, err := dataOf[Planned](e)
		if err != nil {
			return err
		}
		rec := TurnRecord{Seq: e.Seq, Time: e.Time, Finish: d.Finish, Reason: d.Reason}
		if rec.Exchanges, err = m.exchangeRecords(ctx, d.Exchanges); err != nil {
			return err
		}
		if rec.Answer, err = m.resolve(ctx, d.Answer); err != nil {
			return err
		}
		for _, c := range d.Calls {
			r := &CallRecord{ID: c.ID, Action: c.Action}
			if r.Args, err = m.resolve(ctx, c.Args); err != nil {
				return err
			}
			calls[c.ID] = r
			rec.Calls = append(rec.Calls, *r)
		}
		tr.Turns = append(tr.Turns, rec)
	case EventPlanFailed:
		d, err := dataOf[PlanFailed](e)
		if err != nil {
			return err
		}
		rec := TurnRecord{Seq: e.Seq, Time: e.Time, Error: &d.Error}
		if rec.Exchanges, err = m.exchangeRecords(ctx, d.Exchanges); err != nil {
			return err
		}
		tr.Turns = append(tr.Turns, rec)
	case EventCallStarted:
		d, err := dataOf[CallStarted](e)
		if err != nil {
			return err
		}
		if c := calls[d.ID]; c != nil {
			if c.StartedAt.IsZero() {
				c.StartedAt = e.Time
			}
			c.Step = d.Step
			c.Args, err = m.resolve(ctx, d.Args)
		}
		return err
	case EventCallFinished:
		d, err := dataOf[CallFinished](e)
		if err != nil {
			return err
		}
		if c := calls[d.ID]; c != nil {
			c.Step, c.Success, c.Error, c.Skipped = d.Step, d.Success, d.Error, d.Skipped
			c.DurationMS, c.Usage, c.Notes, c.StateID = d.DurationMS, d.Usage, d.Notes, d.StateID
			c.Output, err = m.resolve(ctx, d.Output)
		}
		return err
	}
	return nil
}

func (m *Manager) exchangeRecords(ctx context.Context, xs []Exchange) (out []ExchangeRecord, err error) {
	for _, x := range xs {
		r := ExchangeRecord{Model: x.Model, Finish: x.Finish, Repaired: x.Repaired, Problem: x.Problem, Usage: x.Usage, Duration: x.DurationMS}
		if r.Reply, err = m.resolveText(ctx, x.Reply); err != nil {
			return nil, err
		}
		for _, msg := range x.Messages {
			rec := MessageRecord{Role: msg.Role}
			for _, p := range msg.Parts {
				text, err := m.partText(ctx, p)
				if err != nil {
					return nil, err
				}
				rec.Content += text
			}
			r.Messages = append(r.Messages, rec)
		}
		out = append(out, r)
	}
	return out, nil
}

func (m *Manager) partText(ctx context.Context, p Part) (string, error) {
	if p.State == "" {
		return m.resolveText(ctx, p.Text)
	}
	st, err := m.cfg.Store.State(ctx, p.State)
	return string(st.Document), err
}

// Verify checks a session's log: that its events follow each other without
// gaps, that each hash covers its event and its predecessor, that the row
// agrees with the newest, and that every state and blob the events name is
// there and has the content its hash says.
func (m *Manager) Verify(ctx context.Context, id string) (Verification, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return Verification{}, err
	}
	v := Verification{SessionID: id, OK: true}
	bad := func(seq int64, format string, args ...any) error {
		v.OK, v.BadSeq, v.Problem = false, seq, fmt.Sprintf(format, args...)
		return errBadLog
	}
	seen := map[string]bool{}
	prev := Event{SessionID: id}
	err = m.eachEvent(ctx, id, func(e Event) error {
		switch {
		case e.Seq != prev.Seq+1:
			return bad(e.Seq, "event %d follows event %d", e.Seq, prev.Seq)
		case e.PrevHash != prev.Hash:
			return bad(e.Seq, "event %d does not name the hash of event %d", e.Seq, prev.Seq)
		case e.ComputeHash() != e.Hash:
			return bad(e.Seq, "event %d was changed after it was written", e.Seq)
		}
		prev = e
		v.Events, v.Head = e.Seq, e.Hash
		return m.verifyContent(ctx, e, seen, &v, bad)
	})
	if errors.Is(err, errBadLog) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	if row, err = m.row(ctx, id); err != nil {
		return v, err
	}
	if row.LastSeq < v.Events || row.LastSeq == v.Events && row.LastHash != v.Head {
		_ = bad(v.Events, "the session's row does not agree with its newest event")
	} else if row.LastSeq > v.Events && row.Status.Terminal() {
		_ = bad(v.Events, "events after %d are missing: the session had %d", v.Events, row.LastSeq)
	}
	return v, nil
}

var errBadLog = errors.New("session: the log does not hold")

// verifyContent checks what an event refers to.
func (m *Manager) verifyContent(ctx context.Context, e Event, seen map[string]bool, v *Verification, bad func(int64, string, ...any) error) error {
	doc, err := decode(e.Data)
	if err != nil {
		return bad(e.Seq, "event %d is not JSON", e.Seq)
	}
	var check func(x any) error
	check = func(x any) error {
		switch x := x.(type) {
		case []any:
			for _, item := range x {
				if err := check(item); err != nil {
					return err
				}
			}
		case map[string]any:
			if _, inline := x["json"]; inline && len(x) == 1 {
				return nil
			}
			if hash, ok := x["blob"].(string); ok && len(x) == 2 && !seen[hash] {
				seen[hash] = true
				v.Blobs++
				if _, err := m.cfg.Store.Blob(ctx, hash); err != nil {
					return content(err, bad, e.Seq, "blob "+hash)
				}
				return nil
			}
			if id, ok := x["state_id"].(string); ok && id != "" && !seen[id] {
				seen[id] = true
				v.States++
				st, err := m.cfg.Store.State(ctx, id)
				if err != nil {
					return content(err, bad, e.Seq, "state "+id)
				}
				if want, ok := x["state_hash"].(string); ok && want != hashOf(st.Document) {
					return bad(e.Seq, "event %d names state %s by another hash than its document has", e.Seq, id)
				}
			}
			for k, item := range x {
				if opaque[k] {
					continue
				}
				if err := check(item); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return check(doc)
}

// content tells missing or changed content, which is a finding, from a
// database that does not answer, which is not.
func content(err error, bad func(int64, string, ...any) error, seq int64, what string) error {
	if fault.CodeOf(err) == fault.Unavailable || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return bad(seq, "event %d refers to %s, which does not hold: %v", seq, what, err)
}
