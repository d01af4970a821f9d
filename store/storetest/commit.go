package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

var commitTests = []test{
	{"stores everything together", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		s1 := patched(s.StateID, `[{"op":"add","path":"/environment/n","value":1}]`, `{"environment":{"n":1}}`)
		s2 := patched(s1.ID, `[{"op":"replace","path":"/environment/n","value":2}]`, `{"environment":{"n":2}}`)
		data := []byte(strings.Repeat("content ", 100))
		row := l.Session
		row.Status, row.Reason, row.Detail, row.Run = session.Waiting, "timer", "sleeps", false
		row.Steps, row.StateID, row.TailSeq, row.PlanFailures, row.Handled = 3, s2.ID, 2, 1, 0
		row.Spent = planner.Usage{PromptTokens: 10, CompletionTokens: 20, CachedTokens: 3, ReasoningTokens: 4, CostUSD: 0.1, Estimated: true}
		row.WakeAt = time.Date(2031, 2, 3, 4, 5, 6, 789_123_456, time.FixedZone("x", 3600))
		got, es := commit(t, st, l, session.Commit{
			Session: row,
			Events:  []session.NewEvent{event(session.EventPlanned, `{"a":1}`), event(session.EventCallStarted, `{"b":2}`)},
			States:  []session.StateVersion{s1, s2},
			Blobs:   []session.Blob{blob(data)},
			Effects: []session.Effect{{ID: "c1", Action: "pay", Class: "once", IdempotencyKey: "k", RequestDigest: "d", Status: session.Dispatched, Attempts: 1}},
			Release: true,
		})
		want := row
		want.WakeAt = row.WakeAt.UTC().Truncate(time.Microsecond)
		want.LastSeq, want.LastHash, want.UpdatedAt = 3, got.LastHash, got.UpdatedAt
		equal(t, "Commit()", got, want)
		equal(t, "Get()", get(t, st, s.ID), want)
		equal(t, "Events()", checkLog(t, st, s.ID)[1:], es)
		if len(es) != 2 || es[0].Seq != 2 || es[1].Hash != got.LastHash || es[0].Type != session.EventPlanned || string(es[0].Data) != `{"a":1}` {
			t.Errorf("Commit() events = %+v", es)
		}
		if state, err := st.State(t.Context(), s2.ID); err != nil || string(state.Document) != `{"environment":{"n":2}}` || state.Patches != 2 || state.ParentID != s1.ID {
			t.Errorf("State() = %+v, %v", state, err)
		}
		if b, err := st.Blob(t.Context(), hashOf(data)); err != nil || string(b) != string(data) {
			t.Errorf("Blob() = %d bytes, %v", len(b), err)
		}
		effects, err := st.Effects(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "Effects()", effects, []session.Effect{{ID: "c1", SessionID: s.ID, Action: "pay", Class: "once", IdempotencyKey: "k", RequestDigest: "d", Status: session.Dispatched, Attempts: 1}})
	}},
	{"nothing of a stale lease", func(t *testing.T, st session.Store) {
		s := create(t, st)
		stale := claim(t, st, "w1")
		release(t, st, stale, nil)
		current := claim(t, st, "w2")
		before := get(t, st, s.ID)

		wrongOwner, wrongEpoch, unknown := current, current, current
		wrongOwner.Owner = "w1"
		wrongEpoch.Epoch++
		unknown.Session.ID = newID()
		for name, l := range map[string]session.Lease{"epoch moved": stale, "other owner": wrongOwner, "future epoch": wrongEpoch, "unknown session": unknown} {
			data := []byte("blob of " + name)
			state := snapshot(s.StateID, `{"of":"`+name+`"}`)
			row := l.Session
			row.Status = session.Completed
			_, _, err := st.Commit(t.Context(), l, session.Commit{
				Session: row, Events: []session.NewEvent{event(session.EventCompleted, `{}`)}, States: []session.StateVersion{state},
				Blobs: []session.Blob{blob(data)}, Effects: []session.Effect{{ID: "e"}}, Release: true,
			})
			if !errors.Is(err, session.ErrLeaseLost) {
				t.Errorf("%s: Commit() = %v, want ErrLeaseLost", name, err)
			}
			wantNothing(t, st, s.ID, before, state.ID, hashOf(data))
		}
		commit(t, st, current, session.Commit{Session: current.Session}) // the holder is not disturbed
	}},
	{"nothing after its own release", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		release(t, st, l, nil)
		_, _, err := st.Commit(t.Context(), l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `1`)}, TTL: ttl})
		if !errors.Is(err, session.ErrLeaseLost) {
			t.Errorf("Commit() = %v, want ErrLeaseLost", err)
		}
		if got := get(t, st, s.ID).LastSeq; got != 1 {
			t.Errorf("LastSeq = %d, want 1", got)
		}
	}},
	{"nothing when a part is refused", func(t *testing.T, st session.Store) {
		s := create(t, st)
		other := create(t, st)
		l := claimID(t, st, s.ID, "w")
		before := get(t, st, s.ID)
		wrongHash := blob([]byte("x"))
		wrongHash.Data = []byte("y")
		notCanonical := snapshot("", `{"b":1, "a":2}`)
		both := snapshot("", `{}`)
		both.Patch = []byte(`[]`)
		neither := snapshot("", `{}`)
		neither.Snapshot = nil
		for name, c := range map[string]session.Commit{
			"parent unknown":           {States: []session.StateVersion{patched(newID(), `[]`, `{"environment":{}}`)}},
			"parent of other session":  {States: []session.StateVersion{patched(other.StateID, `[]`, `{"environment":{}}`)}},
			"state id taken":           {States: []session.StateVersion{{ID: s.StateID, Hash: hashOf([]byte(`{}`)), Snapshot: []byte(`{}`)}}},
			"blob hash wrong":          {Blobs: []session.Blob{wrongHash}},
			"snapshot not canonical":   {States: []session.StateVersion{notCanonical}},
			"snapshot and patch":       {States: []session.StateVersion{both}},
			"neither":                  {States: []session.StateVersion{neither}},
			"effect of other session":  {Effects: []session.Effect{{ID: "e", SessionID: other.ID}}},
			"row of other session":     {Session: other},
			"running without a lease":  {Release: true},
			"no ttl for the new lease": {TTL: -1},
		} {
			if c.Session.ID == "" {
				c.Session = l.Session
			}
			if c.TTL == 0 {
				c.TTL = ttl
			}
			data := []byte("blob of " + name)
			c.Blobs = append(c.Blobs, blob(data))
			c.Events = []session.NewEvent{event(session.EventPlanned, `1`)}
			if _, _, err := st.Commit(t.Context(), l, c); err == nil || errors.Is(err, session.ErrLeaseLost) {
				t.Errorf("%s: Commit() = %v, want an error of its own", name, err)
			}
			wantNothing(t, st, s.ID, before, newID(), hashOf(data))
		}
		commit(t, st, l, session.Commit{Session: l.Session}) // the lease is still good
	}},
	{"nothing when the context is done", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		before := get(t, st, s.ID)
		cause := errors.New("stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		data := []byte("data")
		_, _, err := st.Commit(ctx, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `1`)}, Blobs: []session.Blob{blob(data)}, TTL: ttl})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
			t.Errorf("Commit() = %v, want the context's error", err)
		}
		wantNothing(t, st, s.ID, before, newID(), hashOf(data))
	}},
	{"events of outsiders stay", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		row, _ := commit(t, st, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `1`)}})
		if _, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `2`)}, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := st.Annotate(t.Context(), tenant, s.ID, event(session.EventRunRequested, `3`), nil); err != nil {
			t.Fatal(err)
		}
		row.Status = session.Waiting // of what it saw before the signal
		row, es := commit(t, st, l, session.Commit{Session: row, Events: []session.NewEvent{event(session.EventCallWaiting, `4`)}, Release: true})
		if row.LastSeq != 5 || es[0].Seq != 5 || row.Signals != 1 || row.Handled != 0 {
			t.Errorf("Commit() = %+v, want LastSeq 5 and one signal unhandled", row)
		}
		checkLog(t, st, s.ID)
		if l := claim(t, st, "w"); l.Session.Signals != 1 { // due, because of it
			t.Errorf("Signals = %d, want 1", l.Session.Signals)
		}
	}},
	{"handled signals do not wake again", func(t *testing.T, st session.Store) {
		s := create(t, st)
		for i := range 2 {
			if _, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `%d`, i)}, nil); err != nil {
				t.Fatal(err)
			}
		}
		release(t, st, claim(t, st, "w"), func(s *session.Session) { s.Status, s.Handled = session.Waiting, 1 })
		release(t, st, claim(t, st, "w"), func(s *session.Session) { s.Status, s.Handled = session.Waiting, 2 })
		wantNoneDue(t, st)
	}},
	{"what outsiders changed stays", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		l := claimID(t, st, s.ID, "w")
		if _, err := st.SetRun(t.Context(), tenant, s.ID, true); err != nil {
			t.Fatal(err)
		}
		if _, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventCancelAsked, `{}`), Cancel: true}, nil); err != nil {
			t.Fatal(err)
		}
		row := release(t, st, l, nil)
		if !row.Run || !row.Cancel || row.Signals != 1 {
			t.Errorf("Commit() = %+v, want Run, Cancel and the signal kept", row)
		}
	}},
	{"what is not its to write stays", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		row := l.Session
		row.Tenant, row.Goal, row.MaxSteps, row.ExternalID = "other", "other", 99, "other"
		row.LastSeq, row.LastHash, row.Signals, row.Cancel = 70, "00", 7, true
		row.CreatedAt, row.ClosedAt = time.Now(), time.Now()
		got, _ := commit(t, st, l, session.Commit{Session: row})
		want := s
		want.Status, want.UpdatedAt = session.Running, got.UpdatedAt
		equal(t, "Commit()", got, want)
	}},
	{"effects are replaced and keep their order", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		put := func(es ...session.Effect) {
			commit(t, st, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventCallStarted, `1`)}, Effects: es})
		}
		put(session.Effect{ID: "z", Status: session.Dispatched, Attempts: 1}, session.Effect{ID: "a", Status: session.Dispatched})
		put(session.Effect{ID: "m", Status: session.Unknown})
		put(session.Effect{ID: "z", Status: session.Settled, Attempts: 2, Response: session.Value{JSON: []byte(`{"ok":true}`)}})
		put(session.Effect{ID: "a", Status: session.Refused, Response: session.Value{Blob: "ab", Size: 7}})
		got, err := st.Effects(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "Effects()", got, []session.Effect{
			{ID: "z", SessionID: s.ID, Status: session.Settled, Attempts: 2, Response: session.Value{JSON: []byte(`{"ok":true}`)}},
			{ID: "a", SessionID: s.ID, Status: session.Refused, Response: session.Value{Blob: "ab", Size: 7}},
			{ID: "m", SessionID: s.ID, Status: session.Unknown},
		})
		other := create(t, st)
		lo := claimID(t, st, other.ID, "w")
		commit(t, st, lo, session.Commit{Session: lo.Session, Effects: []session.Effect{{ID: "z", Status: session.Unknown}}})
		if again, err := st.Effects(t.Context(), s.ID); err != nil || again[0].Status != session.Settled {
			t.Errorf("Effects() = %v, %v: another session's effect of the same id replaced ours", again, err)
		}
	}},
	{"a thousand events", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		for i := range 37 {
			var es []session.NewEvent
			for j := range 27 {
				es = append(es, event(session.EventPlanned, `{"i":%d,"j":%d,"pad":%q}`, i, j, strings.Repeat("x", j*20)))
			}
			commit(t, st, l, session.Commit{Session: l.Session, Events: es})
		}
		if es := checkLog(t, st, s.ID); len(es) != 1000 {
			t.Errorf("%d events, want 1000", len(es))
		}
	}},
}

// wantNothing checks that a refused commit left no trace.
func wantNothing(t *testing.T, st session.Store, id string, before session.Session, stateID, blobHash string) {
	t.Helper()
	equal(t, "Get() after a refused commit", get(t, st, id), before)
	if got := len(events(t, st, id)); int64(got) != before.LastSeq {
		t.Errorf("%d events after a refused commit, want %d", got, before.LastSeq)
	}
	if _, err := st.State(t.Context(), stateID); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("State() after a refused commit = %v, want not found", err)
	}
	if _, err := st.Blob(t.Context(), blobHash); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Blob() after a refused commit = %v, want not found", err)
	}
	if es, err := st.Effects(t.Context(), id); len(es) > 0 || err != nil {
		t.Errorf("Effects() after a refused commit = %v, %v, want none", es, err)
	}
}
