package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
)

const (
	planRetries      = 8                // consecutive planning failures after which only a person restarts the session
	planBackoffFirst = time.Second      // before the second attempt to plan, doubling after
	planBackoffMax   = 5 * time.Minute  // longest wait between attempts to plan
	faultBackoff     = 2 * time.Second  // before a session is tried again after a failure of ours
	commitGrace      = 10 * time.Second // how long the last write of a turn may take once its context is done
)

// errCancelled is the cause with which a running turn is interrupted when
// somebody cancels its session.
var errCancelled = errors.New("session: cancelled")

// A turn holds a leased session while it is being advanced: the row, the
// manifest it is pinned to, its observation and the tail of its log. It is
// owned by one goroutine.
type turn struct {
	m     *Manager
	lease Lease
	row   Session
	man   *manifest.Manifest
	obs   observation
	tail  *tail

	released bool
	results  []ActionResult // finished by this turn, for Step
}

// load reads what a turn needs to go on.
func (m *Manager) load(ctx context.Context, l Lease) (*turn, error) {
	t := &turn{m: m, lease: l, row: l.Session, tail: newTail(l.Session.TailSeq)}
	var err error
	if t.man, err = m.pinned(ctx, t.row.Tenant, t.row.Manifest); err != nil {
		return nil, unreadable(err, "the manifest of session "+t.row.ID)
	}
	state, err := m.cfg.Store.State(ctx, t.row.StateID)
	if err != nil {
		return nil, unreadable(err, "the state of session "+t.row.ID)
	}
	if t.obs, err = observationOf(state); err != nil {
		return nil, err
	}
	if err := t.catchUp(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// catchUp folds the events that the tail has not seen yet.
func (t *turn) catchUp(ctx context.Context) error {
	const page = 500
	for {
		es, err := t.m.cfg.Store.Events(ctx, t.row.ID, t.tail.seq, page)
		if err != nil {
			return fmt.Errorf("events of session %s: %w", t.row.ID, err)
		}
		for _, e := range es {
			if err := t.tail.add(e); err != nil {
				return err
			}
		}
		if len(es) < page {
			return nil
		}
	}
}

// advance makes one turn: finish what is open, else decide what comes next. It
// returns with everything committed. An error that is an outcome was recorded;
// after any other error nothing was, and the caller releases the lease.
func (t *turn) advance(ctx context.Context) error {
	t.results = nil
	if t.row.Cancel {
		return t.cancel(ctx)
	}
	if len(t.tail.open()) > 0 {
		return t.act(ctx, nil)
	}
	if t.row.Steps >= t.row.MaxSteps {
		return t.end(ctx, &pending{}, Failed, string(fault.MaxSteps), "Max steps reached, terminating", Ended{
			Error: &Failure{Code: string(fault.MaxSteps), Message: fmt.Sprintf("the goal was not reached within %d steps", t.row.MaxSteps)},
		})
	}
	return t.plan(ctx)
}

// plan asks for a decision, commits it, and carries out its first calls.
func (t *turn) plan(ctx context.Context) error {
	req, err := t.request(ctx)
	if err != nil {
		return err
	}
	d, err := t.m.cfg.Planner.Plan(ctx, req)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return t.planFailed(ctx, err)
	}
	p := &pending{}
	xs, spent := exchanges(&p.blobs, d.Exchanges, t.obs.id)
	t.row.PlanFailures, t.row.Spent = 0, t.row.Spent.Add(spent)
	ev := Planned{Finish: d.Finish, Reason: d.Reason, Exchanges: xs, Usage: spent, StateID: t.obs.id}
	if d.Finish || len(d.Calls) == 0 {
		answer := d.Answer
		if answer == nil {
			if v, ok := t.obs.environment()["final_output"]; ok { // S0-48
				answer = encode(v)
			}
		}
		ev.Finish, ev.Answer = true, p.blobs.value(answer)
		p.event(EventPlanned, ev)
		return t.end(ctx, p, Completed, "finished", "Goal achieved", Ended{Answer: ev.Answer})
	}
	if ev.Calls, err = t.number(d.Calls, &p.blobs); err != nil {
		return err
	}
	p.event(EventPlanned, ev)
	pl := &plan{}
	for _, c := range ev.Calls {
		c := &call{PlannedCall: c}
		pl.calls = append(pl.calls, c)
	}
	return t.act(ctx, &opening{p, pl})
}

// number gives the calls of a decision the ids they keep for good.
func (t *turn) number(intents []planner.Intent, b *blobs) ([]PlannedCall, error) {
	n := callNumber(t.tail.lastID())
	calls := make([]PlannedCall, len(intents))
	for i, in := range intents {
		args, err := canonical(in.Args)
		if err != nil {
			return nil, fault.Wrap(err, fault.PlanInvalid, "the arguments of %s are not JSON", in.Action)
		}
		calls[i] = PlannedCall{ID: callID(t.row.ID, n+i+1), Action: in.Action, Args: b.value(args), OutputKey: in.OutputKey}
	}
	for i, in := range intents {
		for _, j := range in.After {
			if j < 0 || j >= i {
				return nil, fault.New(fault.PlanInvalid, "call %d of the plan waits for call %d, which does not come before it", i+1, j+1)
			}
			calls[i].After = append(calls[i].After, calls[j].ID)
		}
	}
	return calls, nil
}

// request gathers what the planner may look at.
func (t *turn) request(ctx context.Context) (planner.Request, error) {
	r := planner.Request{
		SessionID: t.row.ID, Step: t.row.Steps, MaxSteps: t.row.MaxSteps, Goal: t.row.Goal,
		Manifest: t.man, Actions: t.actions(), Model: t.row.Options.Model, Observation: t.obs.raw,
		Emit: func(p planner.Progress) { t.m.progress(t.row.ID, "", p.Kind, p.Text) },
	}
	done := t.tail.history()
	r.Omitted = t.row.Steps - len(done)
	for _, c := range done {
		h := planner.Turn{Step: c.finished.Step, Action: c.Action, OutputKey: c.OutputKey, OK: c.finished.Success}
		args := c.Args
		if c.started != nil {
			args = c.started.Args
		}
		var err error
		if h.Args, err = t.m.resolve(ctx, args); err != nil {
			return r, err
		}
		if h.Output, err = t.m.resolve(ctx, c.finished.Output); err != nil {
			return r, err
		}
		if f := c.finished.Error; f != nil {
			h.Error = f.Code + ": " + f.Message
		}
		r.History = append(r.History, h)
	}
	return r, nil
}

// actions returns what this session may use: of the manifest's visible actions
// those that its creator's scopes allow (S2-80).
func (t *turn) actions() (out []*manifest.Action) {
	who := t.principal()
	for _, a := range t.man.Visible(t.row.Options.AllowedActions) {
		if allowed(who, a) {
			out = append(out, a)
		}
	}
	return out
}

func allowed(who auth.Principal, a *manifest.Action) bool {
	for _, s := range a.Scopes {
		if !who.Has(s) {
			return false
		}
	}
	return true
}

// action finds what a call names: one of the session's actions, or the built-in
// question to a person.
func (t *turn) action(name string) (*manifest.Action, error) {
	for _, a := range t.actions() {
		if a.Name == name {
			return a, nil
		}
	}
	if ask := manifest.Ask(); name == ask.Name {
		return ask, nil
	}
	return nil, fault.New(fault.ActionUnknown, "Action %s not defined in manifest", name)
}

func (t *turn) principal() auth.Principal {
	return auth.Principal{Tenant: t.row.Tenant, Subject: t.row.Options.Subject, Scopes: t.row.Options.Scopes}
}

// vars are the values that the session's expressions can read (C-25).
func (t *turn) vars(result any, args any) expr.Vars {
	last := ""
	if h := t.tail.history(); len(h) > 0 {
		last = h[len(h)-1].Action
	}
	return expr.Vars{
		State: t.obs.environment(), Result: result, User: t.obs.user(), Args: args, Goal: t.row.Goal,
		Session: map[string]any{"id": t.row.ID, "step": int64(t.row.Steps), "last_action": last},
	}
}

// planFailed records that the planner gave no usable answer. Workers try again
// after a while when that may help; otherwise the session waits to be started
// again. It stays resumable in either case (D-2).
func (t *turn) planFailed(ctx context.Context, err error) error {
	if !fault.IsOutcome(err) {
		return fmt.Errorf("plan session %s: %w", t.row.ID, err)
	}
	p := &pending{release: true}
	t.row.PlanFailures++
	ev := PlanFailed{Error: failure(err), StateID: t.obs.id, Attempt: t.row.PlanFailures}
	var f *planner.Failure
	if errors.As(err, &f) {
		ev.Exchanges, ev.Usage = exchanges(&p.blobs, f.Exchanges, t.obs.id)
		t.row.Spent = t.row.Spent.Add(ev.Usage)
	}
	t.row.Status, t.row.Reason, t.row.Detail = Waiting, ev.Error.Code, ev.Error.Message
	t.row.WakeAt = time.Time{}
	if fl := fault.From(err); fl.Retryable && t.row.PlanFailures < planRetries {
		wait := max(fl.RetryAfter, min(planBackoffFirst<<(t.row.PlanFailures-1), planBackoffMax))
		ev.RetryAt = t.m.now().Add(wait)
		t.row.WakeAt = ev.RetryAt
	}
	p.event(EventPlanFailed, ev)
	if cerr := t.commit(ctx, p); cerr != nil {
		return cerr
	}
	return err
}

// end commits the last events of a session.
func (t *turn) end(ctx context.Context, p *pending, st Status, reason, detail string, e Ended) error {
	t.row.Status, t.row.Reason, t.row.Detail = st, reason, detail
	t.row.WakeAt, p.release = time.Time{}, true
	e.Detail, e.Steps, e.Usage = detail, t.row.Steps, t.row.Spent
	typ := map[Status]EventType{Completed: EventCompleted, Failed: EventFailed, Cancelled: EventCancelled}[st]
	p.event(typ, e)
	return t.commit(ctx, p)
}

// cancel ends a session that somebody wants ended.
func (t *turn) cancel(ctx context.Context) error {
	p := &pending{}
	t.drop(p, nil, fault.Canceled, "the session was cancelled")
	return t.end(ctx, p, Cancelled, "cancelled", "Cancelled", Ended{
		Error: &Failure{Code: string(fault.Canceled), Message: "the session was cancelled"},
	})
}

// drop gives an outcome to every open call of a session that ends, except those
// that this round has finished. One that was started counts as a step; whether
// it took effect is unknown from now on, unless it only waited.
func (t *turn) drop(p *pending, finished map[string]bool, code fault.Code, why string) {
	for _, c := range t.tail.open() {
		if finished[c.ID] {
			continue
		}
		f := CallFinished{ID: c.ID, Action: c.Action, Skipped: c.started == nil, OutputKey: c.OutputKey,
			Error: &Failure{Code: string(code), Message: why + " before this call was made"}}
		if c.started != nil {
			f.Step = c.started.Step
			t.row.Steps = max(t.row.Steps, f.Step)
			f.Error.Message = why + " while this call was under way"
			waited := c.waiting != nil && c.waiting.Wait.Kind != waitEffect && !c.doubt
			if !waited && c.started.Effect != string(manifest.Read) {
				f.Error = &Failure{Code: string(fault.EffectUnknown), Message: why + " while this call was under way; whether it took effect is not known"}
				p.effects = append(p.effects, effectOf(t.row.ID, *c.started, Unknown, Value{}))
			}
		}
		p.event(EventCallFinished, f)
	}
}

// pending is what the next commit will store.
type pending struct {
	blobs   blobs
	events  []NewEvent
	states  []StateVersion
	effects []Effect
	release bool
}

func (p *pending) event(t EventType, data any) { p.events = append(p.events, newEvent(t, data)) }

// commit stores everything pending in one transaction and folds what it wrote.
// It is written even when ctx is done: what has happened must be known.
func (t *turn) commit(ctx context.Context, p *pending) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
	defer stop()
	t.row.StateID, t.row.Handled = t.obs.id, t.row.Signals // those that arrived since t.row was read stay unhandled
	row, events, err := t.m.cfg.Store.Commit(ctx, t.lease, Commit{
		Session: t.row, Events: p.events, States: p.states, Blobs: p.blobs.list, Effects: p.effects,
		Release: p.release, TTL: t.m.cfg.LeaseTTL,
	})
	if err != nil {
		return fmt.Errorf("commit session %s: %w", t.row.ID, err)
	}
	t.row, t.released = row, p.release
	if len(events) > 0 && events[0].Seq != t.tail.seq+1 || row.LastSeq != t.tail.seq+int64(len(events)) {
		if err := t.catchUp(ctx); err != nil { // somebody signalled in between
			return err
		}
	} else {
		for _, e := range events {
			if err := t.tail.add(e); err != nil {
				return err
			}
		}
	}
	t.m.moved(row)
	return nil
}

// reload forgets what this turn had not stored, or does not know to be stored,
// and reads the session again.
func (t *turn) reload(ctx context.Context) error {
	row, err := t.m.cfg.Store.Get(ctx, t.row.Tenant, t.row.ID)
	if err != nil {
		return fmt.Errorf("read session %s again: %w", t.row.ID, err)
	}
	l := t.lease
	l.Session = row
	fresh, err := t.m.load(ctx, l)
	if err != nil {
		return err
	}
	t.row, t.obs, t.tail, t.released = fresh.row, fresh.obs, fresh.tail, row.Status != Running
	return nil
}

// giveBack releases the lease without recording anything, so that the session
// is tried again after a while. It is called after failures too, when it is not
// known what the last commit did.
func (t *turn) giveBack(ctx context.Context, after time.Duration) error {
	if t.released {
		return nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
	defer stop()
	if after > 0 {
		if err := t.reload(ctx); err != nil || t.released {
			return err
		}
	}
	t.row.Status, t.row.Reason, t.row.Detail, t.row.WakeAt = Queued, "", "", time.Time{}
	if after > 0 {
		t.row.Status, t.row.Reason, t.row.WakeAt = Waiting, "retry", t.m.now().Add(after)
	}
	return t.commit(ctx, &pending{release: true})
}

func failure(err error) Failure {
	f := fault.From(err)
	out := Failure{Code: string(f.Code), Message: f.Message}
	if len(f.Details) > 0 {
		out.Details = encode(f.Details)
	}
	return out
}
