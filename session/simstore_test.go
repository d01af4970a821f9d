package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store/storetest"
)

// TestSimStore holds the simulator's store to the contract that the databases
// are held to, so that what the simulator finds is the loop's doing.
func TestSimStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) session.Store { return newSimStore() })
}

// A simStore is a session.Store in memory. Every method is one critical
// section, as in a database every method is one transaction.
type simStore struct {
	mu        sync.Mutex // guards everything below
	rows      map[string]*simRow
	created   []*simRow // in order of creation
	keys      map[[2]string]simKey
	states    map[string]session.State
	blobs     map[string][]byte
	manifests []session.StoredManifest
	ticks     int64 // orders what becomes due at the same moment

	// How often what is rare happened: a claim of a lease that had run out, a
	// commit of a lease that another has, one of a lease that had run out
	// without anybody taking it, and one that had not seen a signal.
	takenOver, fenced, late, raced int

	// wrote, when set, sees every write under mu: the row before and after it,
	// and what it appended.
	wrote func(before, after session.Session, events []session.Event)
}

// A simRow is a session with what the database alone knows of it.
type simRow struct {
	session.Session
	epoch   int64
	owner   string
	until   time.Time // when the lease runs out; zero when nobody holds one
	due     time.Time // zero when it wants no attention
	tick    int64     // place among those due at the same moment
	events  []session.Event
	effects []session.Effect // in order of first appearance
}

type simKey struct{ id, fingerprint string }

func newSimStore() *simStore {
	return &simStore{rows: map[string]*simRow{}, keys: map[[2]string]simKey{}, states: map[string]session.State{}, blobs: map[string][]byte{}}
}

// simNow is the database's clock.
func simNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// schedule sets when a row wants attention, from everything else in it.
func (s *simStore) schedule(r *simRow, now time.Time) {
	was := r.due
	switch {
	case !r.Run || r.Status.Terminal():
		r.due = time.Time{}
	case !r.until.IsZero():
		r.due = r.until
	case !r.due.IsZero() && !r.due.After(now): // keeps its place in the queue
	case r.Signals > r.Handled || r.Status != session.Waiting:
		r.due = now
	default:
		r.due = r.WakeAt
	}
	if !r.due.Equal(was) || r.tick == 0 {
		s.ticks++
		r.tick = s.ticks
	}
}

// fill copies what the holder of a session may change.
func (r *simRow) fill(n session.Session) {
	r.Status, r.Reason, r.Detail, r.Run, r.Steps, r.StateID, r.TailSeq = n.Status, n.Reason, n.Detail, n.Run, n.Steps, n.StateID, n.TailSeq
	r.PlanFailures, r.Spent, r.Handled, r.WakeAt = n.PlanFailures, n.Spent, n.Handled, micro(n.WakeAt)
}

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// append gives events their place in the log.
func (r *simRow) append(now time.Time, news []session.NewEvent) []session.Event {
	if now.After(r.UpdatedAt) {
		r.UpdatedAt = now
	}
	first := len(r.events)
	for _, n := range news {
		e := session.Event{SessionID: r.ID, Seq: r.LastSeq + 1, Type: n.Type, Time: r.UpdatedAt, Data: n.Data, PrevHash: r.LastHash}
		e.Hash = e.ComputeHash()
		r.LastSeq, r.LastHash = e.Seq, e.Hash
		r.events = append(r.events, e)
	}
	return slices.Clone(r.events[first:])
}

func (s *simStore) saw(before session.Session, r *simRow, es []session.Event) {
	if s.wrote != nil {
		s.wrote(before, r.Session, es)
	}
}

// find returns a row of a tenant; an empty tenant matches every one.
func (s *simStore) find(tenant, id string) (*simRow, error) {
	r := s.rows[id]
	if r == nil || tenant != "" && r.Tenant != tenant {
		return nil, session.ErrNotFound
	}
	return r, nil
}

func (s *simStore) Create(ctx context.Context, c session.Creation) (session.Session, error) {
	if err := ctx.Err(); err != nil {
		return session.Session{}, err
	}
	if len(c.Session.ExternalID) > 500 {
		return session.Session{}, fault.New(fault.Validation, "external id is too long").
			With(fault.Detail{Pointer: "/external_id", Message: "too long", Remedy: "at most 500 bytes"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]string{c.Session.Tenant, c.IdempotencyKey}
	if k, taken := s.keys[key]; taken && c.IdempotencyKey != "" {
		return s.rows[k.id].Session, session.ErrDuplicate
	}
	for _, r := range s.created {
		if c.Session.ExternalID != "" && r.Tenant == c.Session.Tenant && r.ExternalID == c.Session.ExternalID {
			return r.Session, session.ErrDuplicate
		}
	}
	states, err := s.build(c.Session.ID, []session.StateVersion{c.State})
	if err == nil {
		err = checkBlobs(c.Blobs)
	}
	if err != nil {
		return session.Session{}, err
	}
	now := simNow()
	r := &simRow{Session: c.Session}
	r.StateID, r.Handled, r.Signals, r.Cancel = c.State.ID, 0, 0, false
	r.LastSeq, r.LastHash, r.CreatedAt, r.ClosedAt, r.WakeAt = 0, "", now, time.Time{}, micro(c.Session.WakeAt)
	es := r.append(now, c.Events)
	s.put(states, c.Blobs)
	s.rows[r.ID], s.created = r, append(s.created, r)
	if c.IdempotencyKey != "" {
		s.keys[key] = simKey{r.ID, c.Fingerprint}
	}
	s.schedule(r, now)
	s.saw(session.Session{}, r, es)
	return r.Session, nil
}

func (s *simStore) Existing(_ context.Context, tenant, key string) (id, fingerprint string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[[2]string{tenant, key}]
	if !ok {
		return "", "", session.ErrNotFound
	}
	return k.id, k.fingerprint, nil
}

func (s *simStore) Get(_ context.Context, tenant, id string) (session.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(tenant, id)
	if err != nil {
		return session.Session{}, err
	}
	return r.Session, nil
}

func (s *simStore) List(_ context.Context, q session.Query) (rows []session.Session, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := simCursor(q.Cursor, len(s.created))
	if err != nil {
		return nil, "", err
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 50
	}
	for i := from - 1; i >= 0; i-- {
		r := s.created[i]
		if r.Tenant != q.Tenant || q.Status != "" && r.Status != q.Status || q.Manifest != "" && r.Manifest.Name != q.Manifest {
			continue
		}
		if len(rows) == limit {
			return rows, "c" + strconv.Itoa(i+1), nil
		}
		rows = append(rows, r.Session)
	}
	return rows, "", nil
}

// simCursor reads a cursor: how many entries lie before the next page.
func simCursor(cursor string, all int) (int, error) {
	if cursor == "" {
		return all, nil
	}
	digits, ok := strings.CutPrefix(cursor, "c")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > all {
		return 0, fault.New(fault.Validation, "the cursor is not one of ours")
	}
	return n, nil
}

// lease gives a row to an owner.
func (s *simStore) lease(r *simRow, owner string, ttl time.Duration, now time.Time) session.Lease {
	if !r.until.IsZero() {
		s.takenOver++
	}
	r.epoch++
	r.owner, r.until, r.Status = owner, now.Add(ttl), session.Running
	if now.After(r.UpdatedAt) {
		r.UpdatedAt = now
	}
	s.schedule(r, now)
	return session.Lease{Session: r.Session, Owner: owner, Epoch: r.epoch, Expires: r.until}
}

func checkLease(ctx context.Context, owner string, ttl time.Duration) error {
	if owner == "" || ttl < time.Millisecond {
		return errors.New("lease without an owner or a time to live")
	}
	return ctx.Err()
}

func (s *simStore) Claim(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error) {
	if err := checkLease(ctx, owner, ttl); err != nil {
		return session.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := simNow()
	var first *simRow
	for _, r := range s.created {
		if r.due.IsZero() || r.due.After(now) || r.until.After(now) {
			continue
		}
		if first == nil || r.due.Before(first.due) || r.due.Equal(first.due) && r.tick < first.tick {
			first = r
		}
	}
	if first == nil {
		return session.Lease{}, session.ErrNoneDue
	}
	return s.lease(first, owner, ttl, now), nil
}

func (s *simStore) ClaimID(ctx context.Context, tenant, id, owner string, ttl time.Duration) (session.Lease, error) {
	if err := checkLease(ctx, owner, ttl); err != nil {
		return session.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(tenant, id)
	now := simNow()
	switch {
	case err != nil:
		return session.Lease{}, err
	case r.Status.Terminal():
		return session.Lease{}, fault.New(fault.SessionCompleted, "the session has ended: it is %s", r.Status)
	case r.until.After(now):
		return session.Lease{}, session.ErrLeased
	}
	return s.lease(r, owner, ttl, now), nil
}

// held returns the row that a lease is for, while the lease holds.
func (s *simStore) held(l session.Lease) (*simRow, error) {
	r := s.rows[l.Session.ID]
	if r == nil || r.epoch != l.Epoch || r.owner != l.Owner {
		return nil, session.ErrLeaseLost
	}
	return r, nil
}

func (s *simStore) Renew(ctx context.Context, l session.Lease, ttl time.Duration) error {
	if err := checkLease(ctx, l.Owner, ttl); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.held(l)
	if err != nil {
		return err
	}
	now := simNow()
	r.until = now.Add(ttl)
	s.schedule(r, now)
	return nil
}

func (s *simStore) Commit(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
	refuse := func(err error) (session.Session, []session.Event, error) { return session.Session{}, nil, err }
	switch {
	case ctx.Err() != nil:
		return refuse(ctx.Err())
	case c.Session.ID != l.Session.ID:
		return refuse(errors.New("the row is of another session"))
	case c.Session.Status == "" || c.Release && c.Session.Status == session.Running:
		return refuse(fmt.Errorf("a session without a lease cannot be %q", c.Session.Status))
	case !c.Release && c.TTL < time.Millisecond:
		return refuse(errors.New("the lease would have no time to live"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.held(l)
	if err != nil {
		s.fenced++
		return refuse(err)
	}
	states, err := s.build(r.ID, c.States)
	if err != nil {
		return refuse(err)
	}
	if err := checkBlobs(c.Blobs); err != nil {
		return refuse(err)
	}
	for _, e := range c.Effects {
		if e.SessionID != "" && e.SessionID != r.ID {
			return refuse(errors.New("the effect is of another session"))
		}
	}
	now, before := simNow(), r.Session
	if r.until.Before(now) {
		s.late++
	}
	if r.Signals > c.Session.Handled {
		s.raced++
	}
	if c.Session.Run == l.Session.Run {
		c.Session.Run = r.Run
	}
	r.fill(c.Session)
	for _, e := range c.Effects {
		e.SessionID = r.ID
		if i := slices.IndexFunc(r.effects, func(have session.Effect) bool { return have.ID == e.ID }); i >= 0 {
			r.effects[i] = e
		} else {
			r.effects = append(r.effects, e)
		}
	}
	s.put(states, c.Blobs)
	es := r.append(now, c.Events)
	if c.Release {
		r.owner, r.until, r.due = "", time.Time{}, time.Time{}
	} else {
		r.until = now.Add(c.TTL)
	}
	s.schedule(r, now)
	s.saw(before, r, es)
	return r.Session, es, nil
}

// change is a write from outside the loop.
func (s *simStore) change(ctx context.Context, tenant, id string, edit func(r *simRow, now time.Time) ([]session.Event, error)) (session.Session, []session.Event, error) {
	if err := ctx.Err(); err != nil {
		return session.Session{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(tenant, id)
	if err != nil {
		return session.Session{}, nil, err
	}
	now, before := simNow(), r.Session
	es, err := edit(r, now)
	if err != nil {
		return session.Session{}, nil, err
	}
	if now.After(r.UpdatedAt) {
		r.UpdatedAt = now
	}
	s.schedule(r, now)
	s.saw(before, r, es)
	return r.Session, es, nil
}

func (s *simStore) Signal(ctx context.Context, tenant, id string, sig session.Signal, check func(session.Session) error) (session.Session, session.Event, error) {
	row, es, err := s.change(ctx, tenant, id, func(r *simRow, now time.Time) ([]session.Event, error) {
		if check != nil {
			if err := check(r.Session); err != nil {
				return nil, err
			}
		}
		r.Signals++
		r.Cancel = r.Cancel || sig.Cancel
		return r.append(now, []session.NewEvent{sig.Event}), nil
	})
	if err != nil {
		return row, session.Event{}, err
	}
	return row, es[0], nil
}

func (s *simStore) Annotate(ctx context.Context, tenant, id string, e session.NewEvent, check func(*session.Session) error) (session.Session, session.Event, error) {
	row, es, err := s.change(ctx, tenant, id, func(r *simRow, now time.Time) ([]session.Event, error) {
		next := r.Session
		if check != nil {
			if err := check(&next); err != nil {
				return nil, err
			}
		}
		r.fill(next)
		r.ClosedAt = micro(next.ClosedAt)
		return r.append(now, []session.NewEvent{e}), nil
	})
	if err != nil {
		return row, session.Event{}, err
	}
	return row, es[0], nil
}

func (s *simStore) SetRun(ctx context.Context, tenant, id string, run bool) (session.Session, error) {
	row, _, err := s.change(ctx, tenant, id, func(r *simRow, now time.Time) ([]session.Event, error) {
		r.Run = run
		if r.until.IsZero() {
			r.due = now
		}
		return nil, nil
	})
	return row, err
}

func (s *simStore) Events(_ context.Context, id string, after int64, limit int) ([]session.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows[id]
	if r == nil || limit <= 0 {
		return nil, nil
	}
	from := min(max(after, 0), int64(len(r.events)))
	return slices.Clone(r.events[from:min(from+int64(limit), int64(len(r.events)))]), nil
}

func (s *simStore) Effects(_ context.Context, id string) ([]session.Effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows[id]
	if r == nil {
		return nil, nil
	}
	return slices.Clone(r.effects), nil
}

func (s *simStore) ReleaseOthers(ctx context.Context, owner string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, now := 0, simNow()
	for _, r := range s.created {
		if r.until.IsZero() || r.owner == owner {
			continue
		}
		n++
		r.owner, r.until = "", time.Time{}
		if r.Status == session.Running {
			r.Status = session.Queued
		}
		if !r.due.IsZero() {
			r.due = now
		}
		s.schedule(r, now)
	}
	return n, ctx.Err()
}

func (s *simStore) Ping(ctx context.Context) error { return ctx.Err() }
