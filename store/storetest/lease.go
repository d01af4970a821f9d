package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

var claimTests = []test{
	{"nothing due", func(t *testing.T, st session.Store) {
		wantNoneDue(t, st)
		create(t, st, parked)
		wantNoneDue(t, st)
	}},
	{"takes a queued session", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w1")
		if l.Session.ID != s.ID || l.Owner != "w1" || l.Epoch != 1 || l.Session.Status != session.Running {
			t.Errorf("Claim() = %+v", l)
		}
		if d := l.Expires.Sub(l.Session.UpdatedAt); d < ttl || d > ttl+10*time.Second {
			t.Errorf("lease ends %s after it began, want about %s", d, ttl)
		}
		if got := get(t, st, s.ID); got.Status != session.Running || got.LastSeq != 1 {
			t.Errorf("Get() = %+v, want it running with one event", got)
		}
		wantNoneDue(t, st)
	}},
	{"the one due longest comes first", func(t *testing.T, st session.Store) {
		a, b, c := create(t, st), create(t, st), create(t, st)
		first := claim(t, st, "w")
		release(t, st, first, nil) // behind the others now
		for _, want := range []session.Session{b, c, a} {
			if l := claim(t, st, "w"); l.Session.ID != want.ID {
				t.Fatalf("Claim() = %s, want %s", l.Session.ID, want.ID)
			}
		}
	}},
	{"a signal does not cost a session its place", func(t *testing.T, st session.Store) {
		a := create(t, st)
		create(t, st)
		if _, _, err := st.Signal(t.Context(), tenant, a.ID, session.Signal{Event: event(session.EventInput, `1`)}, nil); err != nil {
			t.Fatal(err)
		}
		if l := claim(t, st, "w"); l.Session.ID != a.ID {
			t.Errorf("Claim() = %s, want %s", l.Session.ID, a.ID)
		}
	}},
	{"a lease that ran out is due by itself", func(t *testing.T, st session.Store) {
		s := create(t, st)
		dead, err := st.Claim(t.Context(), "dead", 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		var l session.Lease
		eventually(t, "second claim", func() bool {
			l, err = st.Claim(t.Context(), "alive", ttl)
			return !errors.Is(err, session.ErrNoneDue)
		})
		if err != nil || l.Session.ID != s.ID || l.Epoch != dead.Epoch+1 {
			t.Fatalf("Claim() = %+v, %v, want %s with epoch %d", l, err, s.ID, dead.Epoch+1)
		}
		_, _, err = st.Commit(t.Context(), dead, session.Commit{Session: dead.Session, TTL: ttl})
		if !errors.Is(err, session.ErrLeaseLost) {
			t.Errorf("Commit(dead) = %v, want ErrLeaseLost", err)
		}
	}},
	{"an expired lease is good until somebody takes it", func(t *testing.T, st session.Store) {
		create(t, st)
		l, err := st.Claim(t.Context(), "slow", time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		commit(t, st, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `1`)}})
		wantNoneDue(t, st)
	}},
	{"owner and ttl are required", func(t *testing.T, st session.Store) {
		create(t, st)
		if _, err := st.Claim(t.Context(), "", ttl); err == nil {
			t.Error("Claim without an owner succeeded")
		}
		if _, err := st.Claim(t.Context(), "w", 0); err == nil {
			t.Error("Claim without a ttl succeeded")
		}
	}},
	{"by id, due or not", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		l := claimID(t, st, s.ID, "w1")
		if l.Epoch != 1 || l.Session.Status != session.Running || l.Session.Run {
			t.Errorf("ClaimID() = %+v", l)
		}
		for _, owner := range []string{"w2", "w1"} { // leases belong to turns, not to processes
			if _, err := st.ClaimID(t.Context(), tenant, s.ID, owner, ttl); !errors.Is(err, session.ErrLeased) {
				t.Errorf("ClaimID(%s) = %v, want ErrLeased", owner, err)
			}
		}
		release(t, st, l, func(s *session.Session) { s.Status = session.Waiting })
		wantNoneDue(t, st)
		if l := claimID(t, st, s.ID, "w2"); l.Epoch != 2 {
			t.Errorf("ClaimID() = epoch %d, want 2", l.Epoch)
		}
	}},
	{"by id, when the lease ran out", func(t *testing.T, st session.Store) {
		s := create(t, st, parked)
		if _, err := st.ClaimID(t.Context(), tenant, s.ID, "dead", 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		eventually(t, "second claim", func() bool {
			_, err := st.ClaimID(t.Context(), tenant, s.ID, "alive", ttl)
			return err == nil
		})
		wantNoneDue(t, st) // still without Run
	}},
	{"by id, of others or unknown", func(t *testing.T, st session.Store) {
		s := create(t, st)
		for _, id := range []string{newID(), "", "nonsense", "'; DROP TABLE sessions; --"} {
			if _, err := st.ClaimID(t.Context(), tenant, id, "w", ttl); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("ClaimID(%q) = %v, want ErrNotFound", id, err)
			}
		}
		if _, err := st.ClaimID(t.Context(), "other", s.ID, "w", ttl); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("ClaimID(other tenant) = %v, want ErrNotFound", err)
		}
	}},
	{"never when it has ended", func(t *testing.T, st session.Store) {
		for _, status := range []session.Status{session.Completed, session.Failed, session.Cancelled} {
			s := create(t, st)
			release(t, st, claimID(t, st, s.ID, "w"), func(s *session.Session) { s.Status = status })
			wantNoneDue(t, st)
			_, err := st.ClaimID(t.Context(), tenant, s.ID, "w", ttl)
			wantCode(t, "ClaimID("+string(status)+")", err, fault.SessionCompleted)
		}
	}},
}

var leaseTests = []test{
	{"release decides when it is due", func(t *testing.T, st session.Store) {
		hour := time.Now().Add(time.Hour)
		for _, tt := range []struct {
			name string
			edit func(*session.Session)
			due  bool
		}{
			{"queued", func(s *session.Session) { s.Status = session.Queued }, true},
			{"waiting for good", func(s *session.Session) { s.Status = session.Waiting }, false},
			{"waiting until later", func(s *session.Session) { s.Status, s.WakeAt = session.Waiting, hour }, false},
			{"waiting until earlier", func(s *session.Session) { s.Status, s.WakeAt = session.Waiting, hour.Add(-2*time.Hour) }, true},
			{"not to run", func(s *session.Session) { s.Status, s.Run = session.Queued, false }, false},
			{"completed", func(s *session.Session) { s.Status = session.Completed }, false},
			{"failed", func(s *session.Session) { s.Status = session.Failed }, false},
			{"cancelled", func(s *session.Session) { s.Status = session.Cancelled }, false},
		} {
			s := create(t, st)
			released := release(t, st, claimID(t, st, s.ID, "w"), tt.edit)
			want := s
			tt.edit(&want)
			if released.Status != want.Status || released.Run != want.Run || !released.WakeAt.Equal(want.WakeAt.Truncate(time.Microsecond)) {
				t.Errorf("%s: Commit() = %+v", tt.name, released)
			}
			l, err := st.Claim(t.Context(), "w", ttl)
			if got := err == nil; got != tt.due {
				t.Errorf("%s: due = %t (%v), want %t", tt.name, got, err, tt.due)
			}
			if err == nil {
				release(t, st, l, func(s *session.Session) { s.Status = session.Failed })
			}
		}
	}},
	{"waiting wakes by itself", func(t *testing.T, st session.Store) {
		s := create(t, st)
		release(t, st, claim(t, st, "w"), func(s *session.Session) {
			s.Status, s.WakeAt = session.Waiting, time.Now().Add(100*time.Millisecond)
		})
		eventually(t, "claim", func() bool {
			l, err := st.Claim(t.Context(), "w", ttl)
			return err == nil && l.Session.ID == s.ID
		})
	}},
	{"renew", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l, err := st.Claim(t.Context(), "w", 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Renew(t.Context(), l, ttl); err != nil {
			t.Fatal(err)
		}
		past := time.After(100 * time.Millisecond)
		for done := false; !done; { // longer than the first lease, and nobody gets it
			wantNoneDue(t, st)
			if _, err := st.ClaimID(t.Context(), tenant, s.ID, "x", ttl); !errors.Is(err, session.ErrLeased) {
				t.Fatalf("ClaimID() = %v, want ErrLeased", err)
			}
			select {
			case <-past:
				done = true
			default:
			}
		}
		if err := st.Renew(t.Context(), l, 20*time.Millisecond); err != nil {
			t.Fatal(err) // a lease can be shortened as well
		}
		eventually(t, "claim", func() bool {
			_, err := st.Claim(t.Context(), "x", ttl)
			return err == nil
		})
		if err := st.Renew(t.Context(), l, ttl); !errors.Is(err, session.ErrLeaseLost) {
			t.Errorf("Renew(lost) = %v, want ErrLeaseLost", err)
		}
	}},
	{"renew after release", func(t *testing.T, st session.Store) {
		create(t, st)
		l := claim(t, st, "w")
		release(t, st, l, nil)
		if err := st.Renew(t.Context(), l, ttl); !errors.Is(err, session.ErrLeaseLost) {
			t.Errorf("Renew() = %v, want ErrLeaseLost", err)
		}
		unknown := session.Lease{Session: session.Session{ID: newID()}, Owner: "w", Epoch: 1}
		if err := st.Renew(t.Context(), unknown, ttl); !errors.Is(err, session.ErrLeaseLost) {
			t.Errorf("Renew(unknown) = %v, want ErrLeaseLost", err)
		}
	}},
	{"a commit renews", func(t *testing.T, st session.Store) {
		create(t, st)
		l, err := st.Claim(t.Context(), "w", 30*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		row, _ := commit(t, st, l, session.Commit{Session: l.Session, TTL: ttl})
		if row.Status != session.Running {
			t.Errorf("Status = %s, want running", row.Status)
		}
		past := time.After(60 * time.Millisecond)
		for done := false; !done; {
			wantNoneDue(t, st)
			select {
			case <-past:
				done = true
			default:
			}
		}
	}},
	{"release others", func(t *testing.T, st session.Store) {
		mine, theirs, parkedOne := create(t, st), create(t, st), create(t, st, parked)
		create(t, st) // leased by nobody
		l1, l2, l3 := claimID(t, st, mine.ID, "me"), claimID(t, st, theirs.ID, "them"), claimID(t, st, parkedOne.ID, "them")
		if n, err := st.ReleaseOthers(t.Context(), "me"); n != 2 || err != nil {
			t.Errorf("ReleaseOthers() = %d, %v, want 2", n, err)
		}
		for _, l := range []session.Lease{l2, l3} {
			if _, _, err := st.Commit(t.Context(), l, session.Commit{Session: l.Session, TTL: ttl}); !errors.Is(err, session.ErrLeaseLost) {
				t.Errorf("Commit(theirs) = %v, want ErrLeaseLost", err)
			}
			if got := get(t, st, l.Session.ID).Status; got != session.Queued {
				t.Errorf("Status = %s, want queued", got)
			}
		}
		commit(t, st, l1, session.Commit{Session: l1.Session})
		got := map[string]bool{claim(t, st, "me").Session.ID: true, claim(t, st, "me").Session.ID: true}
		if !got[theirs.ID] || got[parkedOne.ID] {
			t.Errorf("claimed %v, want %s among them and not %s", got, theirs.ID, parkedOne.ID)
		}
		if n, err := st.ReleaseOthers(t.Context(), "me"); n != 0 || err != nil {
			t.Errorf("ReleaseOthers() again = %d, %v, want 0", n, err)
		}
	}},
}

func wantNoneDue(t *testing.T, st session.Store) {
	t.Helper()
	if l, err := st.Claim(t.Context(), "nobody", ttl); !errors.Is(err, session.ErrNoneDue) {
		t.Fatalf("Claim() = %s, %v, want ErrNoneDue", l.Session.ID, err)
	}
}
