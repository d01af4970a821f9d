package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

// S2-20, S2-39, S2-53..S2-55, S2-57, S2-58, S2-69, C-09: stepping through a goal.
func TestStepByStepToTheGoal(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("look", `{"q":"slots"}`)), calls(call("fetch", `{}`)), calls(call("finish", `{}`))))
	b.world.answers("look", `{"slots":[{"id":12345678901234567890}],"more":1}`)
	b.world.answers("fetch", `{"calendar":{"zone":"UTC"},"count":2}`)
	v := b.create(t, session.CreateRequest{Goal: "Schedule", MaxSteps: 7, Observation: json.RawMessage(
		`{"timestamp":"2026-03-28T14:00:00Z","user_context":{"user_id":"U1"},"environment":{"calendar":{"free_slots":[]},"crm":{"open_deals":2}}}`)})
	id := v.Session.ID

	r := b.step(t, id)
	if len(r.Results) != 1 || !r.Results[0].Success || r.Session.Steps != 1 || r.Finished {
		t.Fatalf("step 1 = %+v", r)
	}
	v, _ = b.Get(t.Context(), id)
	if got := member(t, v.Observation, "environment", "calendar", "free_slots"); got != `[{"id":12345678901234567890}]` {
		t.Errorf("free_slots = %s: the selected value with every digit was expected", got)
	}
	if got := member(t, v.Observation, "environment", "crm", "open_deals"); got != "2" {
		t.Errorf("crm was lost: %s", got)
	}
	b.step(t, id)
	v, _ = b.Get(t.Context(), id)
	if member(t, v.Observation, "environment", "calendar", "zone") != `"UTC"` || member(t, v.Observation, "environment", "calendar", "free_slots") == "" {
		t.Errorf("C-08: object outputs are merged deeply, got %s", v.Observation)
	}
	if got := member(t, v.Observation, "environment", "last_result", "count"); got != "2" {
		t.Errorf("last_result.count = %s, want 2", got)
	}
	r = b.step(t, id)
	if !r.Finished || r.Session.Status != session.Completed || r.Session.Steps != 3 {
		t.Fatalf("after the terminal action: %+v", r.Session)
	}
	if _, err := b.Step(t.Context(), id); codeOf(err) != fault.SessionCompleted || fault.From(err).Message != "Session already completed" {
		t.Errorf("step on a completed session: %v", err)
	}
	v, _ = b.Get(t.Context(), id)
	var names []string
	for _, h := range v.History {
		names = append(names, h.ActionName)
	}
	if !slices.Equal(names, []string{"look", "fetch", "finish"}) {
		t.Errorf("history = %v", names)
	}
	b.verify(t, id)
}

// S2-59: the step after the last allowed one ends the session.
func TestMaxSteps(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("fetch", `{}`)), calls(call("fetch", `{}`)), calls(call("fetch", `{}`))))
	id := b.create(t, session.CreateRequest{MaxSteps: 2}).Session.ID
	b.step(t, id)
	b.step(t, id)
	r := b.step(t, id)
	if !r.MaxSteps || r.Session.Status != session.Failed || r.Session.Detail != "Max steps reached, terminating" || len(r.Results) != 0 {
		t.Errorf("third step = %+v", r)
	}
	if len(b.world.made()) != 2 {
		t.Errorf("%d calls made, want 2", len(b.world.made()))
	}
}

// S2-41, S2-52, S2-54: a failure is an outcome that the planner is shown.
func TestFailuresAreRecordedAndTheLoopGoesOn(t *testing.T) {
	t.Parallel()
	var saw []planner.Turn
	n := 0
	b := setup(t, planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		saw = r.History
		n++
		switch n {
		case 1:
			return calls(call("nothing_such", `{}`)), nil
		case 2:
			return calls(call("fetch", `{}`)), nil
		}
		return planner.Decision{Finish: true}, nil
	}))
	b.world.on("fetch", func(context.Context, executor.Call) (executor.Result, error) {
		return outcome(fault.ActionFailed, "the tool answered 503")
	})
	id := b.create(t, session.CreateRequest{}).Session.ID
	r := b.step(t, id)
	if r.Results[0].Success || *r.Results[0].Error != "Action nothing_such not defined in manifest" || r.Session.Steps != 1 {
		t.Errorf("unknown action: %+v", r)
	}
	if r = b.step(t, id); r.Results[0].Success || r.Results[0].Output != nil || r.Session.Steps != 2 {
		t.Errorf("failed action: %+v", r)
	}
	b.step(t, id)
	if len(saw) != 2 || saw[1].OK || saw[1].Error != "agent.action_failed: the tool answered 503" {
		t.Errorf("planner saw %+v", saw)
	}
	b.verify(t, id)
}

// S0-45..S0-48: a static plan with placeholders is a chain.
func TestPlanWithPlaceholders(t *testing.T) {
	t.Parallel()
	d := calls(
		planner.Intent{Action: "fetch", Args: json.RawMessage(`{"sql":"SELECT 1"}`), OutputKey: "raw_data"},
		planner.Intent{Action: "put", Args: json.RawMessage(`{"rows":"{{raw_data.rows}}","text":"{{raw_data.rows[0].n}} rows for $5","zone":"$state.zone"}`), OutputKey: "final_output", After: []int{0}},
	)
	b := setup(t, rounds(d))
	b.world.answers("fetch", `{"rows":[{"n":9007199254740993}]}`)
	b.world.answers("put", `"sent"`)
	id := b.create(t, session.CreateRequest{Observation: json.RawMessage(`{"environment":{"zone":"UTC"}}`)}).Session.ID
	b.step(t, id)
	b.step(t, id)
	made := b.world.made()
	if len(made) != 2 || string(made[1].Args) != `{"rows":[{"n":9007199254740993}],"text":"9007199254740993 rows for $5","zone":"UTC"}` {
		t.Fatalf("second call: %s", made[len(made)-1].Args)
	}
	b.step(t, id)
	v, _ := b.Get(t.Context(), id)
	if v.Session.Status != session.Completed || string(v.Answer) != `"done"` {
		t.Errorf("ended as %s with %s", v.Session.Status, v.Answer)
	}
	if member(t, v.Observation, "environment", "final_output") != `"sent"` {
		t.Errorf("output_key: %s", v.Observation)
	}
}

func TestCallsAfterAFailureAreSkipped(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(
		call("fetch", `{}`),
		planner.Intent{Action: "put", After: []int{0}, Args: json.RawMessage(`{}`)},
		planner.Intent{Action: "note", After: []int{1}, Args: json.RawMessage(`{}`)},
	)))
	b.world.on("fetch", func(context.Context, executor.Call) (executor.Result, error) {
		return outcome(fault.ActionFailed, "no")
	})
	id := b.create(t, session.CreateRequest{Run: true}).Session.ID
	b.run(t)
	row := b.await(t, id, "completion", func(s session.Session) bool { return s.Status.Terminal() })
	if row.Steps != 1 || len(b.world.made()) != 1 {
		t.Errorf("steps = %d, calls = %d: only the first call was to be made", row.Steps, len(b.world.made()))
	}
	b.verify(t, id)
}

func TestIndependentCallsRunTogether(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("fetch", `{"n":1}`), call("look", `{"q":2}`))))
	var together sync.WaitGroup // each call ends only when the other has begun
	together.Add(2)
	meet := func(_ context.Context, c executor.Call) (executor.Result, error) {
		together.Done()
		together.Wait()
		return executor.Result{Output: json.RawMessage(`{"slots":[]}`)}, nil
	}
	b.world.on("fetch", meet)
	b.world.on("look", meet)
	id := b.create(t, session.CreateRequest{}).Session.ID
	if r := b.step(t, id); len(r.Results) != 2 || r.Session.Steps != 2 {
		t.Errorf("%+v", r)
	}
	b.verify(t, id)
}

// S2-09, decision 6 of the architecture: the same call, with the same id, is
// made again after the wait; a new process can do it.
func TestHumanQuestionSurvivesARestart(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("ask", `{}`)), calls(call("put", `{"zone":"$state.zone"}`))))
	id := b.create(t, session.CreateRequest{Run: true}).Session.ID
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.await(t, id, "the question", func(s session.Session) bool { return s.Status == session.Waiting })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	fresh, err := session.New(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b2 := &bundle{fresh, b.store, b.world, b.cfg}
	v, err := b2.Get(t.Context(), id)
	if err != nil || len(v.Waiting) != 1 || v.Waiting[0].Wait.Prompt != "Which zone?" {
		t.Fatalf("Get = %+v, %v", v.Waiting, err)
	}
	if _, err := b2.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(`{"zone":5}`)}); codeOf(err) != fault.Validation || !strings.HasPrefix(fault.From(err).Details[0].Pointer, "/answer/zone") {
		t.Errorf("an answer of the wrong type: %v", err)
	}
	if _, err := b2.Input(t.Context(), id, session.InputRequest{CallID: "other", Value: json.RawMessage(`{}`)}); codeOf(err) != fault.NotWaiting {
		t.Errorf("an answer to another call: %v", err)
	}
	b2.run(t)
	if _, err := b2.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(`{"zone":"CET"}`)}); err != nil {
		t.Fatal(err)
	}
	b2.await(t, id, "completion", func(s session.Session) bool { return s.Status == session.Completed })
	made := b.world.made()
	if len(made) != 3 || made[0].ID != made[1].ID || made[0].Seed != made[1].Seed || made[1].Answer.By != "anonymous" {
		t.Fatalf("calls: %+v", made)
	}
	if string(made[2].Args) != `{"zone":"CET"}` {
		t.Errorf("the answer did not reach the observation: %s", made[2].Args)
	}
	if _, err := b2.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(`{"zone":"X"}`)}); codeOf(err) != fault.SessionCompleted {
		t.Errorf("input after the end: %v", err)
	}
	b2.verify(t, id)
}

func TestStepOnAWaitingSessionChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("ask", `{}`))))
	id := b.create(t, session.CreateRequest{}).Session.ID
	r := b.step(t, id)
	if len(r.Waiting) != 1 || r.Session.Status != session.Waiting {
		t.Fatalf("%+v", r)
	}
	before := r.Session.LastSeq
	if r = b.step(t, id); len(r.Waiting) != 1 || r.Session.Status != session.Waiting || r.Session.LastSeq != before || len(b.world.made()) != 1 {
		t.Errorf("second step: %+v, %d calls", r.Session, len(b.world.made()))
	}
}

// An effect whose outcome is lost is never repeated: a person says what became
// of it.
func TestUnknownEffectGoesToAPerson(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"succeeded", "failed"} {
		t.Run(said, func(t *testing.T) {
			t.Parallel()
			b := setup(t, rounds(calls(call("send", `{"to":"a"}`))))
			b.world.on("send", func(context.Context, executor.Call) (executor.Result, error) {
				return outcome(fault.EffectUnknown, "the connection was reset")
			})
			id := b.create(t, session.CreateRequest{}).Session.ID
			r := b.step(t, id)
			if len(r.Waiting) != 1 || r.Waiting[0].Wait.Kind != "effect" {
				t.Fatalf("%+v", r)
			}
			if es, _ := b.store.Effects(t.Context(), id); len(es) != 1 || es[0].Status != session.Unknown {
				t.Errorf("effects = %+v", es)
			}
			answer := fmt.Sprintf(`{"outcome":%q,"output":{"id":7}}`, said)
			if _, err := b.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(answer)}); err != nil {
				t.Fatal(err)
			}
			r = b.step(t, id)
			if len(r.Results) != 1 || r.Results[0].Success != (said == "succeeded") || len(b.world.made()) != 1 {
				t.Errorf("%+v, %d calls", r.Results, len(b.world.made()))
			}
			want := map[string]session.EffectStatus{"succeeded": session.Settled, "failed": session.Refused}[said]
			if es, _ := b.store.Effects(t.Context(), id); es[0].Status != want {
				t.Errorf("effect is %s, want %s", es[0].Status, want)
			}
			b.verify(t, id)
		})
	}
}

// dying is a store that loses the connection at chosen commits, as a process
// does that is killed there.
type dying struct {
	session.Store
	die atomic.Bool
}

var errDead = errors.New("killed")

func (d *dying) Commit(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
	if d.die.Load() {
		return session.Session{}, nil, errDead
	}
	return d.Store.Commit(ctx, l, c)
}

// ST1: killed between the effect and the commit of its result. The call is
// repeated under the same id, key, arguments, clock and seed, marked as such.
func TestKilledAfterTheEffect(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("put", `{"n":1}`))))
	d := &dying{Store: b.store}
	cfg := b.cfg
	cfg.Store, cfg.Owner = d, "first"
	first, err := session.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.world.on("put", func(context.Context, executor.Call) (executor.Result, error) {
		d.die.Store(true) // the process is gone from here on
		return executor.Result{Output: json.RawMessage(`{"ok":1}`)}, nil
	})
	id := b.create(t, session.CreateRequest{}).Session.ID
	if _, err := first.Step(t.Context(), id); !errors.Is(err, errDead) {
		t.Fatalf("Step = %v", err)
	}
	b.world.answers("put", `{"ok":1}`)
	if n, err := b.store.ReleaseOthers(t.Context(), b.Owner()); err != nil || n != 1 {
		t.Fatalf("ReleaseOthers = %d, %v", n, err)
	}
	if r := b.step(t, id); len(r.Results) != 1 || !r.Results[0].Success || r.Session.Steps != 1 {
		t.Fatalf("after the restart: %+v", r)
	}
	m := b.world.made()
	if len(m) != 2 || m[0].ID != m[1].ID || m[0].IdempotencyKey != m[1].IdempotencyKey || string(m[0].Args) != string(m[1].Args) || m[0].Seed != m[1].Seed || !m[0].Now.Equal(m[1].Now) {
		t.Errorf("the repeated call differs: %+v", m)
	}
	if m[0].Repeated || !m[1].Repeated {
		t.Errorf("Repeated = %v, %v, want false, true", m[0].Repeated, m[1].Repeated)
	}
	b.verify(t, id)
}

// D-2, S2-45: the planner's failure is recorded and the session stays usable.
func TestPlannerFailureLeavesTheSessionResumable(t *testing.T) {
	t.Parallel()
	fail := true
	b := setup(t, planner.Func(func(context.Context, planner.Request) (planner.Decision, error) {
		if fail {
			return planner.Decision{}, fault.New(fault.ModelFailed, "LLM request failed").Retry(0)
		}
		return planner.Decision{Finish: true}, nil
	}))
	id := b.create(t, session.CreateRequest{}).Session.ID
	if _, err := b.Step(t.Context(), id); codeOf(err) != fault.ModelFailed {
		t.Fatalf("Step = %v", err)
	}
	v, _ := b.Get(t.Context(), id)
	if v.Session.Status != session.Waiting || v.Session.Reason != string(fault.ModelFailed) || v.Session.Steps != 0 {
		t.Errorf("row = %+v", v.Session)
	}
	fail = false
	if r := b.step(t, id); !r.Finished {
		t.Errorf("after recovery: %+v", r.Session)
	}
	if got := b.types(t, id); !slices.Contains(got, "plan.failed") {
		t.Errorf("events = %v", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		b := setup(t, rounds())
		id := b.create(t, session.CreateRequest{}).Session.ID
		row, err := b.Cancel(t.Context(), id, "changed my mind")
		if err != nil || row.Status != session.Cancelled {
			t.Fatalf("Cancel = %+v, %v", row, err)
		}
		if again, err := b.Cancel(t.Context(), id, ""); err != nil || again.LastSeq != row.LastSeq {
			t.Errorf("second Cancel = %+v, %v", again, err)
		}
		b.verify(t, id)
	})
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		b := setup(t, rounds(calls(call("ask", `{}`))))
		id := b.create(t, session.CreateRequest{}).Session.ID
		b.step(t, id)
		if row, err := b.Cancel(t.Context(), id, ""); err != nil || row.Status != session.Cancelled {
			t.Fatalf("Cancel = %+v, %v", row, err)
		}
		b.verify(t, id)
	})
	t.Run("in the middle of an effect", func(t *testing.T) {
		t.Parallel()
		b := setup(t, rounds(calls(call("put", `{}`))))
		begun := make(chan struct{})
		b.world.on("put", func(ctx context.Context, _ executor.Call) (executor.Result, error) {
			close(begun)
			<-ctx.Done()
			return executor.Result{}, ctx.Err()
		})
		id := b.create(t, session.CreateRequest{Run: true}).Session.ID
		b.run(t)
		<-begun
		if row, err := b.Cancel(t.Context(), id, ""); err != nil || row.Status != session.Cancelled {
			t.Fatalf("Cancel = %+v, %v", row, err)
		}
		if es, _ := b.store.Effects(t.Context(), id); len(es) != 1 || es[0].Status != session.Unknown {
			t.Errorf("effects = %+v: an effect under way is unknown, not forgotten", es)
		}
		b.verify(t, id)
	})
}

// S2-21, S2-63, C-22: closing is idempotent and the transcript stays readable.
func TestCloseAndTranscript(t *testing.T) {
	t.Parallel()
	p := planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		x := []planner.Exchange{{Model: "m", Reply: "the reply", Usage: planner.Usage{PromptTokens: 10, CompletionTokens: 2, CostUSD: 0.5}, Messages: []planner.Message{
			{Role: "system", Parts: []planner.Part{{Text: strings.Repeat("rules ", 500)}}},
			{Role: "user", Parts: []planner.Part{{Text: "Observation: "}, {Text: string(r.Observation), Observation: true}}},
		}}}
		if len(r.History) == 0 {
			return planner.Decision{Calls: []planner.Intent{call("put", `{}`)}, Exchanges: x}, nil
		}
		return planner.Decision{Finish: true, Answer: json.RawMessage(`{"text":"ok"}`), Exchanges: x}, nil
	})
	b := setup(t, p)
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	b.step(t, id)
	tr, err := b.Close(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !tr.Completed || tr.Steps != 1 || tr.MaxSteps != 10 || len(tr.History) != 1 || tr.Goal.Description != "test" || len(tr.SideEffects) != 1 || tr.SideEffects[0].Status != session.Settled {
		t.Errorf("transcript = %+v", tr)
	}
	if len(tr.Turns) != 2 || len(tr.Turns[0].Exchanges) != 1 || tr.Usage.PromptTokens != 20 || tr.Usage.CostUSD != 1 {
		t.Fatalf("turns = %+v, usage %+v", tr.Turns, tr.Usage)
	}
	user := tr.Turns[1].Exchanges[0].Messages[1].Content
	if !strings.HasPrefix(user, "Observation: {") || !strings.Contains(user, `"last_result":{"ok":true}`) {
		t.Errorf("the second prompt reads %q", user)
	}
	again, err := b.Close(t.Context(), id)
	if err != nil || len(again.Events) != len(tr.Events) {
		t.Errorf("second Close: %d events, %v; want %d", len(again.Events), err, len(tr.Events))
	}
	b.verify(t, id)
}

func TestCloseEndsASessionThatHasNotEnded(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("fetch", `{}`))))
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	tr, err := b.Close(t.Context(), id)
	if err != nil || tr.Status != session.Cancelled || !tr.Completed {
		t.Fatalf("Close = %+v, %v", tr, err)
	}
	if _, err := b.Step(t.Context(), id); codeOf(err) != fault.SessionCompleted {
		t.Errorf("step after close: %v", err)
	}
}

func TestCreateRefusesBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds())
	for name, tc := range map[string]struct {
		r       session.CreateRequest
		pointer string
	}{
		"no goal":                 {session.CreateRequest{Goal: " "}, "/goal/description"},
		"endless goal":            {session.CreateRequest{Goal: strings.Repeat("x", 20<<10)}, "/goal/description"},
		"too many steps":          {session.CreateRequest{Goal: "g", MaxSteps: 1 << 30}, "/max_steps"},
		"unknown manifest":        {session.CreateRequest{Goal: "g", Manifest: "Nobody"}, "/manifest"},
		"unknown action":          {session.CreateRequest{Goal: "g", AllowedActions: []string{"fetch", "rob"}}, "/allowed_actions/1"},
		"observation not object":  {session.CreateRequest{Goal: "g", Observation: json.RawMessage(`[]`)}, "/observation"},
		"foreign member":          {session.CreateRequest{Goal: "g", Observation: json.RawMessage(`{"env":{}}`)}, "/observation/env"},
		"bad time":                {session.CreateRequest{Goal: "g", Observation: json.RawMessage(`{"timestamp":"now"}`)}, "/observation/timestamp"},
		"environment not object":  {session.CreateRequest{Goal: "g", Observation: json.RawMessage(`{"environment":[1]}`)}, "/observation/environment"},
		"label too long":          {session.CreateRequest{Goal: "g", Labels: map[string]string{"a/b": strings.Repeat("x", 300)}}, "/labels/a~1b"},
		"external id too long":    {session.CreateRequest{Goal: "g", ExternalID: strings.Repeat("x", 300)}, "/external_id"},
		"user context not object": {session.CreateRequest{Goal: "g", Observation: json.RawMessage(`{"user_context":"me"}`)}, "/observation/user_context"},
	} {
		_, _, err := b.Create(t.Context(), tc.r)
		f := fault.From(err)
		if codeOf(err) != fault.Validation || len(f.Details) == 0 || f.Details[0].Pointer != tc.pointer || f.Details[0].Remedy == "" {
			t.Errorf("%s: %v, want a validation error at %s with a remedy", name, err, tc.pointer)
		}
	}
	if rows, _, _ := b.List(t.Context(), session.Query{Limit: 10}); len(rows) != 0 {
		t.Errorf("%d sessions were stored", len(rows))
	}
}

// AU5: one key, one session.
func TestIdempotentCreate(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds())
	ids := make([]string, 16)
	var replays atomic.Int32
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			v, replayed, err := b.Create(context.WithoutCancel(t.Context()), session.CreateRequest{Goal: "g", IdempotencyKey: "k"})
			if err != nil {
				t.Errorf("Create: %v", err)
			}
			if replayed {
				replays.Add(1)
			}
			ids[i] = v.Session.ID
		})
	}
	wg.Wait()
	if slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] }) || replays.Load() != int32(len(ids)-1) {
		t.Errorf("ids %v, %d replays", ids, replays.Load())
	}
	if _, _, err := b.Create(t.Context(), session.CreateRequest{Goal: "other", IdempotencyKey: "k"}); codeOf(err) != fault.IdempotencyReused {
		t.Errorf("another request under the same key: %v", err)
	}
	if _, _, err := b.Create(t.Context(), session.CreateRequest{Goal: "g", ExternalID: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Create(t.Context(), session.CreateRequest{Goal: "g2", ExternalID: "x"}); codeOf(err) != fault.Conflict {
		t.Errorf("external id taken: %v", err)
	}
}

// AU3: another tenant's session does not exist.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("ask", `{}`))))
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	other := auth.With(t.Context(), auth.Principal{Tenant: "other", Subject: "eve"})
	for name, f := range map[string]func() error{
		"Get":   func() error { _, err := b.Get(other, id); return err },
		"Step":  func() error { _, err := b.Step(other, id); return err },
		"Start": func() error { _, err := b.Start(other, id); return err },
		"Input": func() error {
			_, err := b.Input(other, id, session.InputRequest{Value: json.RawMessage(`{}`)})
			return err
		},
		"Cancel":     func() error { _, err := b.Cancel(other, id, ""); return err },
		"Close":      func() error { _, err := b.Close(other, id); return err },
		"Events":     func() error { _, err := b.Events(other, id, 0, 10); return err },
		"Transcript": func() error { _, err := b.Transcript(other, id); return err },
		"Verify":     func() error { _, err := b.Verify(other, id); return err },
	} {
		if err := f(); codeOf(err) != fault.NotFound {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
}

func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	var offered []string
	b := setup(t, planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		offered = nil
		for _, a := range r.Actions {
			offered = append(offered, a.Name)
		}
		if len(r.History) == 0 {
			return calls(call("send", `{}`)), nil
		}
		return planner.Decision{Finish: true}, nil
	}))
	id := b.create(t, session.CreateRequest{AllowedActions: []string{"fetch"}}).Session.ID
	r := b.step(t, id)
	if !slices.Equal(offered, []string{"fetch"}) || r.Results[0].Success || len(b.world.made()) != 0 {
		t.Errorf("offered %v, result %+v", offered, r.Results[0])
	}
}

func TestPostconditionsAndStateHistory(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("note", `{}`)), calls(call("note", `{}`))))
	n := 0
	b.world.on("note", func(context.Context, executor.Call) (executor.Result, error) {
		n++
		return executor.Result{Output: json.RawMessage(fmt.Sprintf(`{"id":%d}`, n))}, nil
	})
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	r := b.step(t, id)
	v, _ := b.Get(t.Context(), id)
	if got := member(t, v.Observation, "environment", "notes"); got != "[1,2]" {
		t.Errorf("notes = %s, want [1,2]", got)
	}
	st, err := b.store.State(t.Context(), r.Session.StateID)
	if err != nil || st.ParentID == "" {
		t.Fatalf("State = %+v, %v", st, err)
	}
	if old, err := b.store.State(t.Context(), st.ParentID); err != nil || member(t, old.Document, "environment", "notes") != "[1]" {
		t.Errorf("the parent state reads %s, %v", old.Document, err)
	}
}

// A long session stays cheap: its tail is trimmed and its states are rebuilt.
func TestLongSession(t *testing.T) {
	t.Parallel()
	const n = 200
	b := setup(t, planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		if r.Step == n {
			return planner.Decision{Finish: true}, nil
		}
		if len(r.History) > 20 || len(r.History)+r.Omitted != r.Step {
			return planner.Decision{}, fault.New(fault.PlanInvalid, "history has %d of %d turns, %d omitted", len(r.History), r.Step, r.Omitted)
		}
		return calls(call("note", fmt.Sprintf(`{"n":%d}`, r.Step))), nil
	}))
	b.world.on("note", func(_ context.Context, c executor.Call) (executor.Result, error) {
		return executor.Result{Output: json.RawMessage(fmt.Sprintf(`{"id":%q}`, c.ID))}, nil
	})
	id := b.create(t, session.CreateRequest{MaxSteps: n + 1, Run: true}).Session.ID
	b.run(t)
	row := b.await(t, id, "completion", func(s session.Session) bool { return s.Status.Terminal() })
	if row.Status != session.Completed || row.Steps != n || row.TailSeq == 0 {
		t.Errorf("row = %+v", row)
	}
	b.verify(t, id)
}

func TestManySessionsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("look", `{}`)), calls(call("put", `{}`), call("fetch", `{}`)), calls(call("finish", `{}`))))
	b.world.answers("look", `{"slots":[]}`)
	b.run(t)
	var ids []string
	for range 50 {
		ids = append(ids, b.create(t, session.CreateRequest{Run: true}).Session.ID)
	}
	for _, id := range ids {
		if row := b.await(t, id, "completion", func(s session.Session) bool { return s.Status.Terminal() }); row.Status != session.Completed || row.Steps != 4 {
			t.Errorf("session %s: %s after %d steps", id, row.Status, row.Steps)
		}
		b.verify(t, id)
	}
	keys := map[string]int{}
	for _, c := range b.world.made() {
		keys[c.ID]++
	}
	for id, n := range keys {
		if n != 1 {
			t.Errorf("call %s was made %d times", id, n)
		}
	}
}

func TestStepRefusesARunningSession(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("fetch", `{}`))))
	begun, goOn := make(chan struct{}), make(chan struct{})
	b.world.on("fetch", func(context.Context, executor.Call) (executor.Result, error) {
		close(begun)
		<-goOn
		return executor.Result{Output: json.RawMessage(`1`)}, nil
	})
	id := b.create(t, session.CreateRequest{Run: true}).Session.ID
	b.run(t)
	<-begun
	if _, err := b.Step(t.Context(), id); codeOf(err) != fault.SessionBusy || !fault.From(err).Retryable {
		t.Errorf("Step = %v, want busy", err)
	}
	close(goOn)
	b.await(t, id, "completion", func(s session.Session) bool { return s.Status == session.Completed })
}

// ST7: a log that was tampered with names its first bad entry.
type tampered struct {
	session.Store
	change func(*session.Event)
}

func (s tampered) Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error) {
	es, err := s.Store.Events(ctx, id, after, limit)
	for i := range es {
		s.change(&es[i])
	}
	return es, err
}

func TestVerifyNamesTheFirstBadEvent(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(call("fetch", `{}`))))
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	for name, change := range map[string]func(*session.Event){
		"data":  func(e *session.Event) { e.Data = json.RawMessage(strings.Replace(string(e.Data), "fetch", "FETCH", 1)) },
		"time":  func(e *session.Event) { e.Time = e.Time.Add(time.Microsecond) },
		"type":  func(e *session.Event) { e.Type = "other" },
		"chain": func(e *session.Event) { e.PrevHash = strings.Repeat("0", 64) },
		"seq":   func(e *session.Event) { e.Seq++ },
	} {
		cfg := b.cfg
		cfg.Store = tampered{b.store, func(e *session.Event) {
			if e.Seq == 3 {
				change(e)
			}
		}}
		m, err := session.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := m.Verify(t.Context(), id); err != nil || v.OK || v.BadSeq < 3 || v.BadSeq > 4 {
			t.Errorf("%s: Verify = %+v, %v", name, v, err)
		}
	}
	b.verify(t, id)
}

// Arguments too long for the log itself are stored by the same commit that
// starts their call.
func TestLongArguments(t *testing.T) {
	t.Parallel()
	args := fmt.Sprintf(`{"text":%q}`, strings.Repeat("long ", 1000))
	b := setup(t, rounds(calls(call("put", args))))
	id := b.create(t, session.CreateRequest{}).Session.ID
	if r := b.step(t, id); !r.Results[0].Success {
		t.Fatalf("%+v", *r.Results[0].Error)
	}
	if made := b.world.made(); len(made) != 1 || string(made[0].Args) != args {
		t.Errorf("made %d calls, want one with its whole arguments", len(made))
	}
	b.verify(t, id)
}

// A question that declares no fields of its own takes a plain value.
func TestPlainAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, rounds(calls(planner.Intent{Action: "human_intervention", Args: json.RawMessage(`{"question":"Which?"}`)})))
	b.world.asks = json.RawMessage(`{"type":"object","properties":{"answer":{"enum":["this","that"]}},"required":["answer"]}`)
	id := b.create(t, session.CreateRequest{}).Session.ID
	b.step(t, id)
	if _, err := b.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(`"other"`)}); codeOf(err) != fault.Validation {
		t.Errorf("an answer that was not offered: %v", err)
	}
	if _, err := b.Input(t.Context(), id, session.InputRequest{Value: json.RawMessage(`"that"`)}); err != nil {
		t.Fatalf("Input: %v", err)
	}
	if r := b.step(t, id); string(r.Results[0].Output) != `{"answer":"that"}` {
		t.Errorf("output = %s", r.Results[0].Output)
	}
}
