package session

import (
	"encoding/json"
	"fmt"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner"
)

// historyTurns is how many finished calls a planner is shown at most. Older
// ones are in the observation, as far as they left a mark there.
const historyTurns = 20

// A tail is what the newest events of a session say: the open plan and the
// recent history. It is folded from the log and kept only while a lease is.
type tail struct {
	seq   int64 // newest event folded
	plans []*plan
	calls map[string]*call
}

// A plan is one committed decision.
type plan struct {
	seq   int64
	calls []*call
}

// A call is one planned call and what has happened to it.
type call struct {
	PlannedCall
	started  *CallStarted
	doubt    bool         // it was started again without anybody knowing what became of the time before
	waiting  *CallWaiting // the newest wait, while nothing came after it
	answer   *executor.Answer
	finished *CallFinished
}

func newTail(from int64) *tail { return &tail{seq: from, calls: map[string]*call{}} }

// add folds one event. Events of calls whose plan lies before the tail are
// history of which nothing is needed.
func (t *tail) add(e Event) error {
	if e.Seq != t.seq+1 {
		return fmt.Errorf("session %s: event %d follows %d", e.SessionID, e.Seq, t.seq)
	}
	t.seq = e.Seq
	switch e.Type {
	case EventPlanned:
		d, err := dataOf[Planned](e)
		if err != nil {
			return err
		}
		p := &plan{seq: e.Seq}
		for _, c := range d.Calls {
			c := &call{PlannedCall: c}
			p.calls = append(p.calls, c)
			t.calls[c.ID] = c
		}
		if len(p.calls) > 0 {
			t.plans = append(t.plans, p)
		}
	case EventCallStarted:
		d, err := dataOf[CallStarted](e)
		if err != nil {
			return err
		}
		if c := t.calls[d.ID]; c != nil {
			c.doubt = c.doubt || c.started != nil && c.waiting == nil
			c.started, c.waiting = &d, nil
		}
	case EventCallWaiting:
		d, err := dataOf[CallWaiting](e)
		if err != nil {
			return err
		}
		if c := t.calls[d.ID]; c != nil {
			c.waiting, c.answer = &d, nil
		}
	case EventInput:
		d, err := dataOf[Input](e)
		if err != nil {
			return err
		}
		if c := t.calls[d.CallID]; c != nil && c.waiting != nil {
			c.answer = &executor.Answer{Value: d.Value, By: d.By, At: e.Time}
		}
	case EventCallFinished:
		d, err := dataOf[CallFinished](e)
		if err != nil {
			return err
		}
		if c := t.calls[d.ID]; c != nil {
			c.finished, c.waiting = &d, nil
		}
	}
	return nil
}

// open returns the calls of the newest plan that have no outcome yet.
func (t *tail) open() (open []*call) {
	if len(t.plans) == 0 {
		return nil
	}
	for _, c := range t.plans[len(t.plans)-1].calls {
		if c.finished == nil {
			open = append(open, c)
		}
	}
	return open
}

// lastID returns the id of the newest planned call, "" when there is none.
func (t *tail) lastID() string {
	if len(t.plans) == 0 {
		return ""
	}
	calls := t.plans[len(t.plans)-1].calls
	return calls[len(calls)-1].ID
}

// trim forgets plans that no planner will be shown, and returns the seq after
// which the tail now begins.
func (t *tail) trim(from int64) int64 {
	shown := 0
	for i := len(t.plans) - 1; i >= 0; i-- {
		if shown >= historyTurns {
			for _, p := range t.plans[:i+1] {
				for _, c := range p.calls {
					delete(t.calls, c.ID)
				}
			}
			t.plans = t.plans[i+1:]
			break
		}
		for _, c := range t.plans[i].calls {
			if c.finished != nil && !c.finished.Skipped {
				shown++
			}
		}
	}
	if len(t.plans) == 0 {
		return from
	}
	return t.plans[0].seq - 1
}

// history returns the newest finished calls, oldest first.
func (t *tail) history() (done []*call) {
	for _, p := range t.plans {
		for _, c := range p.calls {
			if c.finished != nil && !c.finished.Skipped {
				done = append(done, c)
			}
		}
	}
	if len(done) > historyTurns {
		done = done[len(done)-historyTurns:]
	}
	return done
}

// questions returns what the session waits for from people.
func (t *tail) questions() (qs []Question) {
	for _, c := range t.open() {
		if c.waiting != nil && c.answer == nil && c.waiting.Wait.Kind != executor.WaitTimer {
			qs = append(qs, Question{CallID: c.ID, Action: c.Action, Wait: c.waiting.Wait})
		}
	}
	return qs
}

// dataOf reads an event's data.
func dataOf[T any](e Event) (T, error) {
	var d T
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return d, fmt.Errorf("session %s: event %d (%s): %w", e.SessionID, e.Seq, e.Type, err)
	}
	return d, nil
}

func newEvent(t EventType, data any) NewEvent { return NewEvent{Type: t, Data: encode(data)} }

// exchanges stores what was said to and by a model: texts by reference, and
// the observation as the state that it is.
func exchanges(b *blobs, xs []planner.Exchange, stateID string) (out []Exchange, spent planner.Usage) {
	for _, x := range xs {
		e := Exchange{Model: x.Model, Reply: b.text(x.Reply), Finish: x.Finish, Repaired: x.Repaired,
			Problem: x.Problem, Usage: x.Usage, DurationMS: x.DurationMS, Extra: x.Extra}
		for _, msg := range x.Messages {
			m := Message{Role: msg.Role}
			for _, p := range msg.Parts {
				if p.Observation {
					m.Parts = append(m.Parts, Part{State: stateID})
				} else {
					m.Parts = append(m.Parts, Part{Text: b.text(p.Text)})
				}
			}
			e.Messages = append(e.Messages, m)
		}
		out = append(out, e)
		spent = spent.Add(x.Usage)
	}
	return out, spent
}
