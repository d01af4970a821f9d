package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// parallelCalls is how many calls of one plan run at once. Further ones start
// in the next round.
const parallelCalls = 8

// waitEffect is the wait of a call whose outcome nobody knows: a person says
// what became of it.
const waitEffect executor.WaitKind = "effect"

// effectAnswer is the schema of that person's answer.
var effectAnswer = json.RawMessage(`{"type":"object","properties":{"outcome":{"enum":["succeeded","failed"]},"output":{"description":"the action's output, when it succeeded"}},"required":["outcome"]}`)

// An opening is a plan that is not committed yet. Its first calls are started
// by the commit that stores it.
type opening struct {
	*pending
	plan *plan
}

// act carries out one round: every open call whose predecessors have succeeded
// and that does not wait. The intent of each is committed before it is made,
// its outcome after.
func (t *turn) act(ctx context.Context, o *opening) error {
	p, open := &pending{}, t.tail.open()
	if o != nil {
		p, open = o.pending, o.plan.calls
	}
	round, err := t.start(ctx, p, open)
	if err != nil {
		return err
	}
	if len(p.events) > 0 {
		if err := t.commit(ctx, p); err != nil {
			return err
		}
	}
	if len(round) == 0 {
		return t.settleRound(ctx, &pending{}, nil)
	}
	t.execute(ctx, round)
	if t.row.Cancel || context.Cause(ctx) == errCancelled { // the outcomes that are known are recorded all the same
		t.row.Cancel = true
	}
	var ours error
	for _, r := range round {
		if r.err != nil && !fault.IsOutcome(r.err) && ours == nil {
			ours = fmt.Errorf("execute %s: %w", r.call.ID, r.err)
		}
	}
	out := &pending{}
	if err := t.settleRound(ctx, out, round); err != nil {
		return err
	}
	if t.row.Cancel && !t.released {
		return t.cancel(ctx)
	}
	return ours
}

// A running is one call of a round.
type running struct {
	call   *call
	action *manifest.Action
	input  executor.Call
	start  CallStarted
	began  time.Time
	took   time.Duration
	result executor.Result
	err    error
}

// start chooses the calls of the next round and adds their intents to p. A
// call that cannot be made gets its outcome in p instead.
func (t *turn) start(ctx context.Context, p *pending, open []*call) ([]*running, error) {
	var round []*running
	done := t.outcomes()
	step := t.row.Steps
	for _, c := range open { // calls that wait have their numbers already
		if c.started != nil {
			step = max(step, c.started.Step)
		}
	}
	for _, c := range open {
		if ready, failedBy := t.ready(c, done); failedBy != "" {
			p.event(EventCallFinished, CallFinished{ID: c.ID, Action: c.Action, Skipped: true, OutputKey: c.OutputKey,
				Error: &Failure{Code: string(fault.Skipped), Message: fmt.Sprintf("not made, because call %s did not succeed", failedBy)}})
			done[c.ID] = false
			continue
		} else if !ready || len(round) == parallelCalls {
			continue
		}
		if c.waiting != nil {
			if c.waiting.Wait.Kind == waitEffect {
				if c.answer != nil {
					round = append(round, t.answered(c))
				}
				continue
			}
			if c.answer == nil && !t.expired(c) {
				continue
			}
		}
		if c.started == nil {
			if step >= t.row.MaxSteps {
				p.event(EventCallFinished, CallFinished{ID: c.ID, Action: c.Action, Skipped: true, OutputKey: c.OutputKey,
					Error: &Failure{Code: string(fault.MaxSteps), Message: "not made, because no steps are left"}})
				done[c.ID] = false
				continue
			}
			step++
		}
		r, err := t.prepare(ctx, p, c, step)
		if err != nil {
			if !fault.IsOutcome(err) {
				return nil, err
			}
			f := failure(err)
			p.event(EventCallFinished, CallFinished{ID: c.ID, Action: c.Action, Step: step, Error: &f, OutputKey: c.OutputKey})
			t.row.Steps = step
			t.report(c, step, 0, nil, &f)
			done[c.ID] = false
			continue
		}
		args := p.blobs.value(r.input.Args)
		r.start.Args = args
		p.event(EventCallStarted, r.start)
		if r.action.Effect != manifest.Read {
			p.effects = append(p.effects, effectOf(t.row.ID, r.start, Dispatched, Value{}))
		}
		round = append(round, r)
	}
	return round, nil
}

// expired reports whether a call's wait has ended by itself.
func (t *turn) expired(c *call) bool {
	until := c.waiting.Wait.Until
	return !until.IsZero() && !t.m.now().Before(until)
}

// outcomes maps the calls of the newest plans that are finished to whether
// they succeeded.
func (t *turn) outcomes() map[string]bool {
	done := map[string]bool{}
	for id, c := range t.tail.calls {
		if c.finished != nil {
			done[id] = c.finished.Success
		}
	}
	return done
}

// ready reports whether everything that c comes after has succeeded, or which
// predecessor failed.
func (t *turn) ready(c *call, done map[string]bool) (ready bool, failedBy string) {
	ready = true
	for _, id := range c.After {
		ok, finished := done[id]
		switch {
		case !finished:
			ready = false
		case !ok:
			return false, id
		}
	}
	return ready, ""
}

// prepare fills a call's placeholders and fixes everything that its repetition
// must find unchanged.
func (t *turn) prepare(ctx context.Context, p *pending, c *call, step int) (*running, error) {
	a, err := t.action(c.Action)
	if err != nil {
		return nil, err
	}
	r := &running{call: c, action: a}
	if s := c.started; s != nil { // made before: same arguments, clock and seed
		args, err := t.m.resolve(ctx, s.Args)
		if err != nil {
			return nil, err
		}
		r.start = *s
		r.start.Attempt++
		r.input = t.input(r, args)
		r.input.Repeated = c.doubt || c.waiting == nil
		r.input.Answer = c.answer
		return r, nil
	}
	raw, stored := p.blobs.get(c.Args)
	if !stored {
		if raw, err = t.m.resolve(ctx, c.Args); err != nil {
			return nil, err
		}
	}
	args, err := t.fill(ctx, raw)
	if err != nil {
		return nil, err
	}
	if args, err = a.Input.Default(args); err != nil {
		return nil, fault.Wrap(err, fault.ActionInvalid, "the arguments of %s: %v", a.Name, err)
	}
	if args, err = canonical(args); err != nil {
		return nil, fault.Wrap(err, fault.ActionInvalid, "the arguments of %s are not JSON", a.Name)
	}
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	r.start = CallStarted{ID: c.ID, Action: a.Name, Step: step, Digest: hashOf([]byte(a.Name + "\n" + string(args))),
		Key: strings.ReplaceAll(c.ID, "/", "-"), Effect: string(a.Effect), Now: t.m.now().Truncate(time.Microsecond),
		Seed: hex.EncodeToString(seed[:]), Attempt: 1}
	r.input = t.input(r, args)
	return r, nil
}

func (t *turn) input(r *running, args json.RawMessage) executor.Call {
	in := executor.Call{
		ID: r.call.ID, IdempotencyKey: r.start.Key, SessionID: t.row.ID, AgentID: t.row.Tenant + "/" + t.man.Name,
		Action: r.action, Args: args, Observation: t.obs.raw, Principal: t.principal(), Now: r.start.Now,
	}
	if seed, err := hex.DecodeString(r.start.Seed); err == nil {
		copy(in.Seed[:], seed)
	}
	return in
}

// fill replaces the placeholders of planned arguments (S0-46, S1-45).
func (t *turn) fill(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	doc, err := decode(raw)
	if err != nil {
		return nil, fault.Wrap(err, fault.ActionInvalid, "the arguments are not JSON")
	}
	tmpl, err := expr.CompileTemplate(doc)
	if err != nil {
		return nil, fault.Wrap(err, fault.ActionInvalid, "a placeholder in the arguments cannot be read: %v", err)
	}
	outputs := map[string]any{}
	for _, c := range t.tail.history() {
		if c.OutputKey == "" || !c.finished.Success {
			continue
		}
		out, err := t.m.resolve(ctx, c.finished.Output)
		if err != nil {
			return nil, err
		}
		if outputs[c.OutputKey], err = decode(out); err != nil {
			return nil, fmt.Errorf("output of %s: %w", c.ID, err)
		}
	}
	v := t.vars(t.obs.environment()["last_result"], nil)
	v.Outputs = outputs
	filled, err := tmpl.Render(ctx, v)
	if ctx.Err() != nil { // the turn was interrupted, which says nothing about the call
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.ActionInvalid, "a placeholder in the arguments cannot be filled: %v", err)
	}
	return encode(filled), nil
}

// execute makes the calls of a round at once and waits for all of them.
func (t *turn) execute(ctx context.Context, round []*running) {
	var wg sync.WaitGroup
	for _, r := range round {
		if r.input.Action == nil { // settled by a person, not made
			continue
		}
		wg.Go(func() {
			r.began = time.Now()
			defer func() { r.took = time.Since(r.began) }()
			r.result, r.err = t.m.cfg.Executor.Execute(ctx, r.input, func(p executor.Progress) {
				t.m.progress(t.row.ID, r.call.ID, p.Kind, p.Text)
			})
			if r.err == nil && r.result.Wait == nil {
				if r.result.Output == nil {
					r.result.Output = json.RawMessage("null")
				}
				if r.result.Output, r.err = canonical(r.result.Output); r.err != nil {
					r.err = fault.Wrap(r.err, fault.OutputInvalid, "the output of %s is not JSON", r.action.Name)
				}
			}
		})
	}
	wg.Wait()
}

// answered turns a person's word about an unknown effect into an outcome.
func (t *turn) answered(c *call) *running {
	r := &running{call: c, start: *c.started}
	var said struct {
		Outcome string          `json:"outcome"`
		Output  json.RawMessage `json:"output"`
	}
	err := json.Unmarshal(c.answer.Value, &said)
	if err == nil && said.Output != nil {
		said.Output, err = canonical(said.Output)
	}
	switch {
	case err == nil && said.Outcome == "succeeded":
		r.action, r.err = t.action(c.Action)
		r.result.Output = json.RawMessage("null")
		if said.Output != nil {
			r.result.Output = said.Output
		}
	default:
		r.err = fault.New(fault.ActionFailed, "%s says that it did not take effect", c.answer.By)
	}
	return r
}

// settleRound records the outcomes of a round, and what follows from them for
// the session: it goes on, waits, or has reached its goal.
func (t *turn) settleRound(ctx context.Context, p *pending, round []*running) error {
	ctx = context.WithoutCancel(ctx) // what is known is recorded, even when the turn is interrupted
	var goal *Ended
	for _, r := range round {
		if r.err != nil && !fault.IsOutcome(r.err) {
			continue // ours: the call stays open
		}
		reached, err := t.settle(ctx, p, r)
		if err != nil {
			return err
		}
		if reached != nil && goal == nil {
			goal = reached
		}
	}
	if goal != nil {
		finished := map[string]bool{}
		for _, r := range round {
			finished[r.call.ID] = r.result.Wait == nil && (r.err == nil || fault.IsOutcome(r.err))
		}
		t.drop(p, finished, fault.Skipped, "the goal was reached")
		return t.end(ctx, p, Completed, "goal", "Goal achieved", *goal)
	}
	t.row.TailSeq = t.tail.trim(t.row.TailSeq)
	t.row.Status, t.row.Reason, t.row.Detail, t.row.WakeAt = Running, "", "", time.Time{}
	if waits, movable := t.waits(round); len(waits) > 0 && !movable && !t.row.Cancel {
		p.release = true
		t.row.Status, t.row.Reason, t.row.Detail = Waiting, string(waits[0].Kind), waits[0].Prompt
		for _, w := range waits {
			if !w.Until.IsZero() && (t.row.WakeAt.IsZero() || w.Until.Before(t.row.WakeAt)) {
				t.row.WakeAt = w.Until
			}
		}
	}
	if len(p.events) == 0 && !p.release {
		return nil
	}
	return t.commit(ctx, p)
}

// waits returns what the session now waits for, and whether some open call can
// be made all the same.
func (t *turn) waits(round []*running) (waits []executor.Wait, movable bool) {
	done := t.outcomes()
	now := map[string]*executor.Wait{}
	for _, r := range round {
		switch {
		case r.err != nil && !fault.IsOutcome(r.err):
			movable = true
		case r.result.Wait != nil:
			now[r.call.ID] = r.result.Wait
		default:
			done[r.call.ID] = r.err == nil
		}
	}
	for _, c := range t.tail.open() {
		if _, finished := done[c.ID]; finished {
			continue
		}
		switch w := now[c.ID]; {
		case w != nil:
			waits = append(waits, *w)
		case c.waiting != nil && c.answer == nil && !t.expired(c):
			waits = append(waits, c.waiting.Wait)
		default:
			if ready, failedBy := t.ready(c, done); ready || failedBy != "" {
				movable = true
			}
		}
	}
	return waits, movable
}

// settle records one outcome. It returns the end of the session when the goal
// is reached by it.
func (t *turn) settle(ctx context.Context, p *pending, r *running) (*Ended, error) {
	c := r.call
	if r.err != nil && fault.CodeOf(r.err) == fault.EffectUnknown {
		r.result.Wait = &executor.Wait{Kind: waitEffect, Schema: effectAnswer, Context: r.input.Args,
			Prompt: fmt.Sprintf("It is not known whether %s took effect (%s). It will not be sent again by itself. What became of it?", c.Action, fault.From(r.err).Message)}
		p.effects = append(p.effects, effectOf(t.row.ID, r.start, Unknown, Value{}))
		r.err = nil
	}
	if w := r.result.Wait; w != nil {
		p.event(EventCallWaiting, CallWaiting{ID: c.ID, Action: c.Action, Wait: *w})
		return nil, nil
	}
	f := CallFinished{ID: c.ID, Action: c.Action, Step: r.start.Step, DurationMS: r.took.Milliseconds(),
		Usage: r.result.Usage, Notes: r.result.Notes, OutputKey: c.OutputKey}
	t.row.Steps = max(t.row.Steps, r.start.Step)
	if u := r.result.Usage.Model; u != nil {
		t.row.Spent.PromptTokens += u.PromptTokens
		t.row.Spent.CompletionTokens += u.CompletionTokens
		t.row.Spent.CostUSD += u.CostUSD
	}
	status := Settled
	if r.err == nil {
		f.Success, f.Output = true, p.blobs.value(r.result.Output)
		if err := t.observe(ctx, p, r, &f); err != nil {
			if !fault.IsOutcome(err) {
				return nil, err
			}
			fl := failure(err)
			f.Success, f.Error = false, &fl
		}
	} else {
		fl := failure(r.err)
		f.Error, status = &fl, Refused
		if fault.CodeOf(r.err) == fault.OutputInvalid {
			status = Settled // the receiver did its part, whatever it answered
		}
	}
	if r.start.Effect != string(manifest.Read) {
		p.effects = append(p.effects, effectOf(t.row.ID, r.start, status, f.Output))
	}
	p.event(EventCallFinished, f)
	t.report(c, r.start.Step, r.took, r.result.Output, f.Error)
	if !f.Success {
		return nil, nil
	}
	if r.action.Terminal {
		return &Ended{Answer: f.Output}, nil
	}
	if t.man.Completion != nil {
		out, err := decode(r.result.Output)
		if err != nil {
			return nil, err
		}
		met, err := t.man.Completion.Eval(ctx, t.vars(out, nil))
		if err != nil {
			t.m.log.Warn("completion condition", slog.String("session_id", t.row.ID), slog.String("error", err.Error()))
		}
		if met {
			return &Ended{Answer: f.Output}, nil
		}
	}
	return nil, nil
}

// observe merges an output into the observation.
func (t *turn) observe(ctx context.Context, p *pending, r *running, f *CallFinished) error {
	out, err := decode(r.result.Output)
	if err != nil {
		return fault.Wrap(err, fault.OutputInvalid, "the output is not JSON")
	}
	var args any
	if r.input.Args != nil {
		if args, err = decode(r.input.Args); err != nil {
			return err
		}
	}
	env, err := merge(ctx, r.action, f.OutputKey, t.vars(out, args))
	if err != nil {
		return err
	}
	if err := checkState(t.man, env, "/environment"); err != nil {
		return fault.Wrap(err, fault.PostconditionError, "the action took effect, but the new state does not fit the manifest's state_schema: %v", err)
	}
	next, version, err := t.obs.with(env)
	if err != nil {
		return err
	}
	t.obs = next
	p.states = append(p.states, version)
	f.StateID, f.StateHash = version.ID, version.Hash
	return nil
}

// report remembers an outcome for the caller of Step and writes the step's one
// log line (S2-84).
func (t *turn) report(c *call, step int, took time.Duration, output json.RawMessage, f *Failure) {
	res := ActionResult{ActionName: c.Action, Success: f == nil, Output: output}
	if f != nil {
		msg := f.Message
		res.Output, res.Error = nil, &msg
	}
	t.results = append(t.results, res)
	t.m.log.Info("step", slog.String("session_id", t.row.ID), slog.Int("step_number", step),
		slog.String("action_name", c.Action), slog.Int64("duration_ms", took.Milliseconds()), slog.Bool("success", f == nil))
}

// effectOf returns the ledger's entry of a started call.
func effectOf(sessionID string, s CallStarted, st EffectStatus, response Value) Effect {
	return Effect{ID: s.ID, SessionID: sessionID, Action: s.Action, Class: s.Effect, IdempotencyKey: s.Key,
		RequestDigest: s.Digest, Status: st, Attempts: s.Attempt, Response: response}
}

func callID(sessionID string, n int) string { return sessionID + "/" + strconv.Itoa(n) }

// callNumber is the inverse of callID; 0 for "".
func callNumber(id string) int {
	_, n, _ := strings.Cut(id, "/")
	v, _ := strconv.Atoi(n)
	return v
}

// canonical returns JSON in canonical form, every digit kept.
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("{}"), nil
	}
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return encode(v), nil
}
