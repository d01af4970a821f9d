package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oap-runtime/oap/session"
)

var hammerTests = []test{
	{"8 workers claim 300 sessions once each", func(t *testing.T, st session.Store) {
		const workers, sessions, turns = 8, 300, 3
		for range sessions {
			create(t, st)
		}
		var mu sync.Mutex
		holders := map[string]string{} // who is inside a session now
		done := map[string]int{}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				owner := fmt.Sprintf("w%d", w)
				for {
					l, err := st.Claim(t.Context(), owner, ttl)
					if errors.Is(err, session.ErrNoneDue) {
						mu.Lock()
						finished := len(done) == sessions
						for _, n := range done {
							finished = finished && n == turns
						}
						mu.Unlock()
						if finished {
							return
						}
						continue // another worker is about to release one
					}
					if err != nil {
						t.Errorf("Claim() = %v", err)
						return
					}
					id := l.Session.ID
					mu.Lock()
					if by := holders[id]; by != "" {
						t.Errorf("%s claimed %s while %s holds it", owner, id, by)
					}
					holders[id] = owner
					done[id]++
					n := done[id]
					delete(holders, id)
					mu.Unlock()
					row := l.Session
					row.Status = session.Queued
					if n == turns {
						row.Status = session.Completed
					}
					if _, _, err := st.Commit(t.Context(), l, session.Commit{Session: row, Events: []session.NewEvent{event(session.EventPlanned, `{"by":%q}`, owner)}, Release: true}); err != nil {
						t.Errorf("Commit() = %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		rows := 0
		for cursor := ""; ; {
			page, next, err := st.List(t.Context(), session.Query{Tenant: tenant, Status: session.Completed, Limit: 100, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				if rows++; r.LastSeq != turns+1 {
					t.Errorf("session %s has %d events, want %d", r.ID, r.LastSeq, turns+1)
				}
				checkLog(t, st, r.ID)
			}
			if cursor = next; next == "" {
				break
			}
		}
		if rows != sessions {
			t.Errorf("%d sessions completed, want %d", rows, sessions)
		}
	}},
	{"zombies are fenced", func(t *testing.T, st session.Store) {
		const workers, rounds = 8, 25
		s := create(t, st)
		var committed, fenced atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range rounds {
					// Leases this short are lost all the time.
					l, err := st.ClaimID(t.Context(), tenant, s.ID, fmt.Sprintf("w%d", w), time.Millisecond)
					if errors.Is(err, session.ErrLeased) {
						continue
					}
					if err != nil {
						t.Errorf("ClaimID() = %v", err)
						return
					}
					row := l.Session
					row.Status = session.Queued
					row.Steps++
					_, _, err = st.Commit(t.Context(), l, session.Commit{Session: row, Events: []session.NewEvent{event(session.EventPlanned, `%d`, row.Steps)}, Release: true})
					switch {
					case err == nil:
						committed.Add(1)
					case errors.Is(err, session.ErrLeaseLost):
						fenced.Add(1)
					default:
						t.Errorf("Commit() = %v", err)
					}
				}
			})
		}
		wg.Wait()
		// Every commit that succeeded read the row of the one before it.
		row := get(t, st, s.ID)
		if int64(row.Steps) != committed.Load() || row.LastSeq != committed.Load()+1 {
			t.Errorf("Steps = %d, LastSeq = %d after %d commits (%d fenced)", row.Steps, row.LastSeq, committed.Load(), fenced.Load())
		}
		checkLog(t, st, s.ID)
	}},
	{"signals interleave with commits", func(t *testing.T, st session.Store) {
		const signallers, each = 6, 20
		s := create(t, st)
		l := claim(t, st, "w")
		ctx, cancel := context.WithCancel(t.Context())
		var outside, inside sync.WaitGroup
		for g := range signallers {
			outside.Go(func() {
				for i := range each {
					var err error
					if i%5 == 4 {
						_, _, err = st.Annotate(t.Context(), tenant, s.ID, event(session.EventRunRequested, `{"g":%d,"i":%d}`, g, i), nil)
					} else {
						_, _, err = st.Signal(t.Context(), tenant, s.ID, session.Signal{Event: event(session.EventInput, `{"g":%d,"i":%d}`, g, i)}, nil)
					}
					if err != nil {
						t.Errorf("from outside: %v", err)
						return
					}
				}
			})
		}
		commits := 0
		inside.Go(func() {
			row := l.Session
			for ctx.Err() == nil || commits < 20 {
				var es []session.Event
				var err error
				row, es, err = st.Commit(t.Context(), l, session.Commit{Session: row, Events: []session.NewEvent{event(session.EventPlanned, `1`), event(session.EventCallStarted, `2`)}, TTL: ttl})
				if err != nil {
					t.Errorf("Commit() = %v", err)
					return
				}
				if len(es) != 2 || es[1].Seq != es[0].Seq+1 || row.LastSeq != es[1].Seq {
					t.Errorf("Commit() events %v, row at %d", es, row.LastSeq)
				}
				commits++
			}
		})
		outside.Wait()
		cancel()
		inside.Wait()
		es := checkLog(t, st, s.ID)
		if want := 1 + signallers*each + 2*commits; len(es) != want {
			t.Errorf("%d events, want %d", len(es), want)
		}
		if got, want := get(t, st, s.ID).Signals, int64(signallers*each*4/5); got != want {
			t.Errorf("Signals = %d, want %d", got, want)
		}
	}},
	{"blobs shared by commits in opposite order", func(t *testing.T, st session.Store) {
		const workers, rounds = 6, 15
		var leases []session.Lease
		for range workers {
			s := create(t, st)
			leases = append(leases, claimID(t, st, s.ID, "w"))
		}
		var wg sync.WaitGroup
		for w, l := range leases {
			wg.Go(func() {
				for r := range rounds {
					var blobs []session.Blob
					for i := range 10 {
						n := i
						if w%2 == 1 {
							n = 9 - i
						}
						blobs = append(blobs, blob(fmt.Appendf(nil, "round %d blob %d", r, n)))
					}
					if _, _, err := st.Commit(t.Context(), l, session.Commit{Session: l.Session, Blobs: blobs, TTL: ttl}); err != nil {
						t.Errorf("Commit() = %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
	}},
	{"contexts end at any moment", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		stored := int64(1)
		for i := range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
			_, es, err := st.Commit(ctx, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `%d`, i)}, Blobs: []session.Blob{blob(fmt.Appendf(nil, "%d", i))}, TTL: ttl})
			cancel()
			row := get(t, st, s.ID)
			switch {
			case err == nil:
				stored++
				if row.LastSeq != stored || es[0].Seq != stored {
					t.Fatalf("round %d: committed, but LastSeq = %d, want %d", i, row.LastSeq, stored)
				}
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("round %d: Commit() = %v, want the context's error", i, err)
			case row.LastSeq != stored:
				t.Fatalf("round %d: Commit() = %v, but it was stored", i, err)
			}
		}
		checkLog(t, st, s.ID)
	}},
}
