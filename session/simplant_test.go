package session_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/session"
)

// plantSeeds is how many histories may pass before a planted fault must have
// been noticed.
const plantSeeds = 300

// TestSimulationNotices plants faults into what the loop relies on and proves
// that the simulator sees each of them: one that cannot fail proves nothing.
func TestSimulationNotices(t *testing.T) {
	t.Parallel()
	for _, plant := range simPlants {
		t.Run(plant.name, func(t *testing.T) {
			t.Parallel()
			var other []string
			for seed := range uint64(plantSeeds) {
				s := simulate(t, seed, plant)
				if i := slices.IndexFunc(s.problems, func(p string) bool { return strings.Contains(p, plant.want) }); i >= 0 {
					t.Logf("seed %d: %s", seed, s.problems[i])
					return
				}
				other = append(other, s.problems...)
			}
			t.Errorf("not noticed in %d histories; want %q, found %q", plantSeeds, plant.want, other[:min(len(other), 5)])
		})
	}
}

// A brokenStore is a simStore of which one method is replaced.
type brokenStore struct {
	*simStore
	claim  func(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error)
	commit func(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error)
	signal func(ctx context.Context, tenant, id string, sig session.Signal, check func(session.Session) error) (session.Session, session.Event, error)
	setRun func(ctx context.Context, tenant, id string, run bool) (session.Session, error)
}

func (b *brokenStore) Claim(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error) {
	if b.claim == nil {
		return b.simStore.Claim(ctx, owner, ttl)
	}
	return b.claim(ctx, owner, ttl)
}

func (b *brokenStore) Commit(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
	if b.commit == nil {
		return b.simStore.Commit(ctx, l, c)
	}
	return b.commit(ctx, l, c)
}

func (b *brokenStore) Signal(ctx context.Context, tenant, id string, sig session.Signal, check func(session.Session) error) (session.Session, session.Event, error) {
	if b.signal == nil {
		return b.simStore.Signal(ctx, tenant, id, sig, check)
	}
	return b.signal(ctx, tenant, id, sig, check)
}

func (b *brokenStore) SetRun(ctx context.Context, tenant, id string, run bool) (session.Session, error) {
	if b.setRun == nil {
		return b.simStore.SetRun(ctx, tenant, id, run)
	}
	return b.setRun(ctx, tenant, id, run)
}

// brokenCommit returns a store that changes what is committed, or what became
// of it.
func brokenCommit(before func(s *simStore, l *session.Lease, c *session.Commit), after func(r *simRow, was session.Session)) func(*simStore) session.Store {
	return func(s *simStore) session.Store {
		return &brokenStore{simStore: s, commit: func(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
			s.mu.Lock()
			was := s.rows[l.Session.ID].Session
			if before != nil {
				before(s, &l, &c)
			}
			s.mu.Unlock()
			row, es, err := s.Commit(ctx, l, c)
			if err == nil && after != nil {
				s.mu.Lock()
				after(s.rows[l.Session.ID], was)
				s.mu.Unlock()
			}
			return row, es, err
		}}
	}
}

// brokenCall returns an executor that is given other calls than were committed.
func brokenCall(change func(*executor.Call)) func(executor.Executor) executor.Executor {
	return func(next executor.Executor) executor.Executor {
		return executor.Func(func(ctx context.Context, c executor.Call, emit func(executor.Progress)) (executor.Result, error) {
			change(&c)
			return next.Execute(ctx, c, emit)
		})
	}
}

var simPlants = []simPlant{
	{name: "the store ignores the epoch", want: "finished",
		store: brokenCommit(func(s *simStore, l *session.Lease, _ *session.Commit) {
			l.Epoch, l.Owner = s.rows[l.Session.ID].epoch, s.rows[l.Session.ID].owner
		}, nil)},
	{name: "the store leases a session twice", want: "planned anew while",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, claim: func(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error) {
				l, err := s.Claim(ctx, owner, ttl)
				if err == nil {
					return l, nil
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, r := range s.created {
					if r.Run && !r.until.IsZero() {
						return session.Lease{Session: r.Session, Owner: r.owner, Epoch: r.epoch, Expires: r.until}, nil
					}
				}
				return l, err
			}}
		}},
	{name: "the store swallows a wake-up at claim", want: "stuck",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, claim: func(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error) {
				l, err := s.Claim(ctx, owner, ttl)
				if err == nil {
					s.mu.Lock()
					s.rows[l.Session.ID].due = time.Time{}
					s.mu.Unlock()
				}
				return l, err
			}}
		}},
	{name: "the store swallows a wake-up at commit", want: "stuck",
		store: brokenCommit(func(s *simStore, l *session.Lease, c *session.Commit) {
			c.Session.Handled = s.rows[l.Session.ID].Signals
		}, nil)},
	{name: "the store forgets timers", want: "stuck",
		store: brokenCommit(func(_ *simStore, _ *session.Lease, c *session.Commit) { c.Session.WakeAt = time.Time{} }, nil)},
	{name: "the store does not start a session again", want: "stuck",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, setRun: func(ctx context.Context, tenant, id string, run bool) (session.Session, error) {
				return s.Get(ctx, tenant, id)
			}}
		}},
	{name: "the store loses a cancellation", want: "nobody asked",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, signal: func(ctx context.Context, tenant, id string, sig session.Signal, check func(session.Session) error) (session.Session, session.Event, error) {
				sig.Cancel = false
				return s.Signal(ctx, tenant, id, sig, check)
			}}
		}},
	{name: "the store does not ask whether a signal is still wanted", want: "answered without a question",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, signal: func(ctx context.Context, tenant, id string, sig session.Signal, _ func(session.Session) error) (session.Session, session.Event, error) {
				return s.Signal(ctx, tenant, id, sig, nil)
			}}
		}},
	{name: "the store commits events without the row", want: "the row counts",
		store: brokenCommit(nil, func(r *simRow, was session.Session) { r.Steps = was.Steps })},
	{name: "the store commits events without the head of the states", want: "the state has the notes",
		store: brokenCommit(nil, func(r *simRow, was session.Session) { r.StateID = was.StateID })},
	{name: "the store commits the row without events", want: "before its intent was committed",
		store: brokenCommit(func(_ *simStore, _ *session.Lease, c *session.Commit) { c.Events = nil }, nil)},
	{name: "the store commits events without states", want: "which is not stored",
		store: brokenCommit(func(_ *simStore, _ *session.Lease, c *session.Commit) { c.States = nil }, nil)},
	{name: "the store commits events without blobs", want: "which does not hold",
		store: brokenCommit(func(_ *simStore, _ *session.Lease, c *session.Commit) { c.Blobs = nil }, nil)},
	{name: "the store commits events without effects", want: "the ledger",
		store: brokenCommit(func(_ *simStore, _ *session.Lease, c *session.Commit) { c.Effects = nil }, nil)},
	{name: "the store leaves gaps in the log", want: "event",
		store: brokenCommit(nil, func(r *simRow, _ session.Session) {
			if r.Status.Terminal() {
				r.events = slices.Delete(r.events, len(r.events)-2, len(r.events)-1)
			}
		})},
	{name: "the store changes an event", want: "was changed after it was written",
		store: brokenCommit(nil, func(r *simRow, _ session.Session) { r.events[0].Data = []byte(`{}`) })},
	{name: "the store acknowledges what it did not commit", want: "before its intent was committed",
		store: func(s *simStore) session.Store {
			return &brokenStore{simStore: s, commit: func(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
				if c.Release {
					return s.Commit(ctx, l, c)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				r := *s.rows[l.Session.ID]
				r.events = slices.Clone(r.events)
				r.fill(c.Session)
				return r.Session, r.append(simNow(), c.Events), nil
			}}
		}},
	{name: "each try gets a fresh key", want: "another key, clock or seed",
		executor: brokenCall(func(c *executor.Call) { c.IdempotencyKey += time.Now().String() })},
	{name: "each try gets a fresh clock", want: "another key, clock or seed",
		executor: brokenCall(func(c *executor.Call) { c.Now = time.Now() })},
	{name: "each try gets a fresh seed", want: "another key, clock or seed",
		executor: brokenCall(func(c *executor.Call) { c.Seed[0] ^= byte(time.Now().UnixMicro()) })},
	{name: "each try gets other arguments", want: "other arguments",
		executor: brokenCall(func(c *executor.Call) { c.Args = []byte(`{"n":"` + time.Now().String() + `"}`) })},
	{name: "nobody is told of earlier tries", want: "took effect 2 times",
		executor: brokenCall(func(c *executor.Call) { c.Repeated = false })},
	{name: "answers are dropped", want: "asked again",
		executor: brokenCall(func(c *executor.Call) { c.Answer = nil })},
	{name: "failures are retried blindly", want: "only 1 times with a committed intent",
		executor: func(next executor.Executor) executor.Executor {
			return executor.Func(func(ctx context.Context, c executor.Call, emit func(executor.Progress)) (executor.Result, error) {
				r, err := next.Execute(ctx, c, emit)
				if err != nil && ctx.Err() == nil {
					r, err = next.Execute(ctx, c, emit)
				}
				return r, err
			})
		}},
}
