package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/oap-runtime/oap/session"
)

var errRefused = errors.New("refused by check")

var outsideTests = []test{
	{"signal wakes a waiting session", func(t *testing.T, st session.Store) {
		s := create(t, st)
		release(t, st, claim(t, st, "w"), func(s *session.Session) {
			s.Status, s.Reason, s.WakeAt = session.Waiting, "input", time.Now().Add(time.Hour)
		})
		wantNoneDue(t, st)
		var seen session.Session
		row, e, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `{"v":1}`)}, func(s session.Session) error {
			seen = s
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen.Status != session.Waiting || seen.Reason != "input" || seen.Signals != 0 || seen.LastSeq != 1 {
			t.Errorf("check saw %+v", seen)
		}
		if row.Signals != 1 || row.LastSeq != 2 || row.LastHash != e.Hash || row.Cancel || row.Status != session.Waiting {
			t.Errorf("Signal() = %+v", row)
		}
		equal(t, "Events()", checkLog(t, st, s.ID)[1], e)
		equal(t, "Get()", get(t, st, s.ID), row)
		if l := claim(t, st, "w"); l.Session.ID != s.ID || l.Session.Signals != 1 || l.Session.Handled != 0 {
			t.Errorf("Claim() = %+v", l)
		}
	}},
	{"signal leaves the lease to its holder", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		row, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventCancelAsked, `{}`), Cancel: true}, nil)
		if err != nil || !row.Cancel || row.Status != session.Running {
			t.Fatalf("Signal() = %+v, %v", row, err)
		}
		wantNoneDue(t, st)
		release(t, st, l, func(s *session.Session) { s.Status = session.Waiting })
		if l := claim(t, st, "w"); !l.Session.Cancel || l.Epoch != 2 {
			t.Errorf("Claim() = %+v, want it due with Cancel", l)
		}
	}},
	{"a second signal does not take Cancel back", func(t *testing.T, st session.Store) {
		s := create(t, st)
		for _, cancel := range []bool{true, false} {
			row, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventCancelAsked, `{}`), Cancel: cancel}, nil)
			if err != nil || !row.Cancel {
				t.Errorf("Signal() = %+v, %v, want Cancel", row, err)
			}
		}
	}},
	{"signal without Run waits for Run", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		if _, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `1`)}, nil); err != nil {
			t.Fatal(err)
		}
		wantNoneDue(t, st)
		if l := claimID(t, st, s.ID, "w"); l.Session.Signals != 1 {
			t.Errorf("Signals = %d, want 1", l.Session.Signals)
		}
	}},
	{"check refuses", func(t *testing.T, st session.Store) {
		s := create(t, st)
		_, _, err := st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `1`), Cancel: true}, func(session.Session) error { return errRefused })
		if !errors.Is(err, errRefused) {
			t.Errorf("Signal() = %v, want the error of check", err)
		}
		_, _, err = st.Annotate(t.Context(), tenant, s.ID, event(session.EventSessionClosed, `1`), func(s *session.Session) error {
			s.ClosedAt = time.Now()
			return errRefused
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("Annotate() = %v, want the error of check", err)
		}
		equal(t, "Get()", get(t, st, s.ID), s)
		if es := events(t, st, s.ID); len(es) != 1 {
			t.Errorf("%d events, want 1", len(es))
		}
	}},
	{"sessions of others and unknown ones", func(t *testing.T, st session.Store) {
		s := create(t, st)
		called := false
		for _, at := range []struct{ tenant, id string }{{"other", s.ID}, {tenant, newID()}, {tenant, ""}, {tenant, "nonsense"}} {
			if _, _, err := st.Signal(t.Context(), at.tenant, at.id, session.Signal{}, func(session.Session) error { called = true; return nil }); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Signal(%q, %q) = %v, want ErrNotFound", at.tenant, at.id, err)
			}
			if _, _, err := st.Annotate(t.Context(), at.tenant, at.id, session.NewEvent{}, func(*session.Session) error { called = true; return nil }); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Annotate(%q, %q) = %v, want ErrNotFound", at.tenant, at.id, err)
			}
			if _, err := st.SetRun(t.Context(), at.tenant, at.id, true); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("SetRun(%q, %q) = %v, want ErrNotFound", at.tenant, at.id, err)
			}
		}
		if called {
			t.Error("check was called for a session that is not there")
		}
		equal(t, "Get()", get(t, st, s.ID), s)
	}},
	{"annotate closes an ended session", func(t *testing.T, st session.Store) {
		s := create(t, st)
		release(t, st, claim(t, st, "w"), func(s *session.Session) { s.Status = session.Completed })
		closed := time.Date(2030, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
		row, e, err := st.Annotate(t.Context(), tenant, s.ID, event(session.EventSessionClosed, `{"by":"me"}`), func(s *session.Session) error {
			if s.Status != session.Completed {
				t.Errorf("check saw status %s", s.Status)
			}
			s.ClosedAt, s.Run = closed, false
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !row.ClosedAt.Equal(closed) || row.Run || row.Status != session.Completed || row.Signals != 0 || e.Seq != 2 {
			t.Errorf("Annotate() = %+v, %+v", row, e)
		}
		equal(t, "Get()", get(t, st, s.ID), row)
		checkLog(t, st, s.ID)
		wantNoneDue(t, st)
	}},
	{"annotate does not wake", func(t *testing.T, st session.Store) {
		s := create(t, st)
		release(t, st, claim(t, st, "w"), func(s *session.Session) { s.Status = session.Waiting })
		if _, _, err := st.Annotate(t.Context(), tenant, s.ID, event(session.EventRunRequested, `1`), nil); err != nil {
			t.Fatal(err)
		}
		wantNoneDue(t, st)
	}},
	{"annotate leaves a due session due", func(t *testing.T, st session.Store) {
		s := create(t, st)
		if _, _, err := st.Annotate(t.Context(), tenant, s.ID, event(session.EventRunRequested, `1`), nil); err != nil {
			t.Fatal(err)
		}
		claim(t, st, "w")
	}},
	{"set run", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		row, err := st.SetRun(t.Context(), tenant, s.ID, true)
		if err != nil || !row.Run || row.LastSeq != 1 || row.Signals != 0 {
			t.Fatalf("SetRun(true) = %+v, %v", row, err)
		}
		l := claim(t, st, "w")
		if row, err = st.SetRun(t.Context(), tenant, s.ID, false); err != nil || row.Run || row.Status != session.Running {
			t.Fatalf("SetRun(false) = %+v, %v", row, err)
		}
		release(t, st, l, nil)
		wantNoneDue(t, st)
	}},
	{"set run makes a waiting session due", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		release(t, st, claimID(t, st, s.ID, "w"), func(s *session.Session) { s.Status = session.Waiting })
		if _, err := st.SetRun(t.Context(), tenant, s.ID, true); err != nil {
			t.Fatal(err)
		}
		if l := claim(t, st, "w"); l.Session.ID != s.ID {
			t.Errorf("Claim() = %s, want %s", l.Session.ID, s.ID)
		}
	}},
	{"set run does not take a leased or ended session", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		l := claimID(t, st, s.ID, "w")
		if _, err := st.SetRun(t.Context(), tenant, s.ID, true); err != nil {
			t.Fatal(err)
		}
		wantNoneDue(t, st)
		release(t, st, l, func(s *session.Session) { s.Status = session.Completed })
		if row, err := st.SetRun(t.Context(), tenant, s.ID, true); err != nil || !row.Run {
			t.Errorf("SetRun(ended) = %+v, %v", row, err)
		}
		wantNoneDue(t, st)
	}},
	{"a lease that gained Run is found when it runs out", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		if _, err := st.ClaimID(t.Context(), tenant, s.ID, "dead", 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if _, err := st.SetRun(t.Context(), tenant, s.ID, true); err != nil {
			t.Fatal(err)
		}
		eventually(t, "claim", func() bool {
			_, err := st.Claim(t.Context(), "alive", ttl)
			return err == nil
		})
	}},
}
