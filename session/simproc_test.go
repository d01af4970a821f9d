package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

const (
	simLease = 15 * time.Second
	simPoll  = 2 * time.Second
)

var (
	errGone  = errors.New("simulated: this process is dead")
	errFault = errors.New("simulated: the database does not answer")
)

// A simProc is one process: a Manager whose store, planner and tools go through
// it, so that it can die between any two steps.
type simProc struct {
	*session.Manager
	sim  *sim
	name string
	dead chan struct{} // closed when the process is killed
	once sync.Once
	stop context.CancelFunc // of Run

	mu     sync.Mutex       // guards cursed
	cursed map[string]int64 // sessions whose lease cannot be renewed, by epoch
}

// kill ends the process as a power failure does: nothing it still has in hand
// reaches anybody.
func (p *simProc) kill() {
	p.once.Do(func() {
		p.sim.count("process killed")
		close(p.dead)
		p.stop()
	})
}

func (p *simProc) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// sleep waits in fake time. Who is deaf does not hear ctx.
func (p *simProc) sleep(ctx context.Context, d time.Duration, deaf bool) error {
	done := ctx.Done()
	if deaf {
		done = nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.dead:
		return errGone
	case <-done:
		return fmt.Errorf("simulated: interrupted: %w", context.Cause(ctx))
	}
}

// serve runs one process after the other in a slot until ctx is done.
func (s *sim) serve(ctx context.Context, slot int) {
	for n := 1; ctx.Err() == nil; n++ {
		p := &simProc{sim: s, name: fmt.Sprintf("p%d.%d", slot, n), dead: make(chan struct{}), cursed: map[string]int64{}}
		run, stop := context.WithCancel(ctx)
		p.stop = stop
		var x executor.Executor = executor.Func(p.execute)
		if s.plant.executor != nil {
			x = s.plant.executor(x)
		}
		m, err := session.New(session.Config{
			Store: &simFaults{s.inner, p}, Planner: planner.Func(p.plan), Executor: x, Owner: p.name,
			LeaseTTL: simLease, Workers: 2, Poll: simPoll + time.Duration(slot)*137*time.Millisecond,
		})
		if err != nil {
			s.fail("New: %v", err)
			stop()
			return
		}
		p.Manager = m
		switch end := s.span(p.name+" ends", 5*time.Second, 3*time.Minute); {
		case s.fault(0.3, p.name+" is killed"):
			timer := time.AfterFunc(end, p.kill)
			defer timer.Stop()
		case s.fault(0.3, p.name+" is stopped"):
			s.count("process stopped")
			timer := time.AfterFunc(end, stop)
			defer timer.Stop()
		}
		s.up(slot, p)
		if err := m.Run(run); err != nil {
			s.fail("Run: %v", err)
		}
		stop()
		s.up(slot, nil)
		_ = sleepIn(ctx, s.span(p.name+" is gone", 10*time.Millisecond, 20*time.Second))
	}
}

func sleepIn(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sim) up(slot int, p *simProc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[slot] = p
}

// door returns a process that answers requests, waiting for one if need be.
func (s *sim) door(ctx context.Context, what string) *simProc {
	for ctx.Err() == nil {
		s.mu.Lock()
		slot := int(s.rollLocked(what+" door") * float64(len(s.procs)))
		p := s.procs[slot]
		s.mu.Unlock()
		if p != nil && !p.isDead() {
			return p
		}
		_ = sleepIn(ctx, 700*time.Millisecond)
	}
	return nil
}

// simFaults is a process's way to the store, which fails before or after it
// takes effect, takes its time, and ends with the process.
type simFaults struct {
	session.Store
	p *simProc
}

// do makes one write.
func (f *simFaults) do(ctx context.Context, what string, p float64, write func() error) error {
	s := f.p.sim
	what = s.nth(what)
	if f.p.isDead() {
		return errGone
	}
	if s.fault(p, what+" lost") {
		s.count("write lost")
		return errFault
	}
	pace := 20 * time.Millisecond
	if s.roll(what+" is slow") < 0.05 {
		pace = 5 * time.Second
	}
	if err := f.p.sleep(ctx, s.span(what+" goes", 0, pace), false); err != nil {
		return err
	}
	if s.fault(p/4, what+" kills before") {
		f.p.kill()
		return errGone
	}
	err := write()
	if err == nil && s.fault(p, what+" answer lost") {
		s.count("write took effect and failed")
		return errFault
	}
	if err == nil && s.fault(p/4, what+" kills after") {
		f.p.kill()
	}
	if f.p.isDead() {
		return errGone
	}
	return err
}

// look makes one read.
func (f *simFaults) look(what string) error {
	s := f.p.sim
	switch {
	case f.p.isDead():
		return errGone
	case s.fault(0.01, s.nth(what)):
		s.count("read failed")
		return errFault
	}
	return nil
}

func (f *simFaults) Create(ctx context.Context, c session.Creation) (row session.Session, err error) {
	var duplicate error
	err = f.do(ctx, "create "+c.Session.ExternalID, 0.05, func() (err error) {
		if row, err = f.Store.Create(ctx, c); errors.Is(err, session.ErrDuplicate) {
			duplicate, err = err, nil
		}
		return err
	})
	if err != nil {
		return session.Session{}, err
	}
	return row, duplicate
}

func (f *simFaults) Claim(ctx context.Context, owner string, ttl time.Duration) (l session.Lease, err error) {
	if f.p.isDead() {
		return l, errGone
	}
	if l, err = f.Store.Claim(ctx, owner, ttl); err != nil {
		return l, err
	}
	return f.claimed(l)
}

func (f *simFaults) ClaimID(ctx context.Context, tenant, id, owner string, ttl time.Duration) (l session.Lease, err error) {
	if f.p.isDead() {
		return l, errGone
	}
	if l, err = f.Store.ClaimID(ctx, tenant, id, owner, ttl); err != nil {
		return l, err
	}
	return f.claimed(l)
}

func (f *simFaults) claimed(l session.Lease) (session.Lease, error) {
	s := f.p.sim
	what := fmt.Sprintf("claim %s %d", s.name(l.Session.ID), l.Epoch)
	f.p.mu.Lock()
	delete(f.p.cursed, l.Session.ID)
	if s.fault(0.05, what+" is cursed") {
		f.p.cursed[l.Session.ID] = l.Epoch
	}
	f.p.mu.Unlock()
	if s.fault(0.02, what+" answer lost") {
		s.count("claim took effect and failed")
		return session.Lease{}, errFault
	}
	if s.fault(0.01, what+" kills") {
		s.count("killed by a claim")
		f.p.kill()
		return session.Lease{}, errGone
	}
	return l, nil
}

func (p *simProc) isCursed(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cursed[id] != 0
}

func (f *simFaults) Renew(ctx context.Context, l session.Lease, ttl time.Duration) error {
	f.p.mu.Lock()
	cursed := f.p.cursed[l.Session.ID] == l.Epoch
	f.p.mu.Unlock()
	if f.p.isDead() || cursed || f.p.sim.fault(0.05, f.p.sim.nth("renew "+f.p.sim.name(l.Session.ID))) {
		f.p.sim.count("renewal failed")
		return errFault
	}
	return f.Store.Renew(ctx, l, ttl)
}

func (f *simFaults) Commit(ctx context.Context, l session.Lease, c session.Commit) (row session.Session, es []session.Event, err error) {
	err = f.do(ctx, "commit "+f.p.sim.name(l.Session.ID), 0.03, func() (err error) {
		row, es, err = f.Store.Commit(ctx, l, c)
		return err
	})
	return row, es, err
}

func (f *simFaults) Signal(ctx context.Context, tenant, id string, sig session.Signal, check func(session.Session) error) (row session.Session, e session.Event, err error) {
	err = f.do(ctx, "signal "+f.p.sim.name(id), 0.05, func() (err error) {
		row, e, err = f.Store.Signal(ctx, tenant, id, sig, check)
		return err
	})
	return row, e, err
}

func (f *simFaults) Annotate(ctx context.Context, tenant, id string, n session.NewEvent, check func(*session.Session) error) (row session.Session, e session.Event, err error) {
	err = f.do(ctx, "annotate "+f.p.sim.name(id), 0.05, func() (err error) {
		row, e, err = f.Store.Annotate(ctx, tenant, id, n, check)
		return err
	})
	return row, e, err
}

func (f *simFaults) SetRun(ctx context.Context, tenant, id string, run bool) (row session.Session, err error) {
	err = f.do(ctx, "set run "+f.p.sim.name(id), 0.05, func() (err error) {
		row, err = f.Store.SetRun(ctx, tenant, id, run)
		return err
	})
	return row, err
}

func (f *simFaults) Get(ctx context.Context, tenant, id string) (session.Session, error) {
	if err := f.look("get " + f.p.sim.name(id)); err != nil {
		return session.Session{}, err
	}
	return f.Store.Get(ctx, tenant, id)
}

func (f *simFaults) Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error) {
	if err := f.look("events " + f.p.sim.name(id)); err != nil {
		return nil, err
	}
	return f.Store.Events(ctx, id, after, limit)
}

func (f *simFaults) State(ctx context.Context, id string) (session.State, error) {
	if err := f.look("state " + f.p.name); err != nil {
		return session.State{}, err
	}
	return f.Store.State(ctx, id)
}

func (f *simFaults) Blob(ctx context.Context, hash string) ([]byte, error) {
	if err := f.look("blob " + f.p.name); err != nil {
		return nil, err
	}
	return f.Store.Blob(ctx, hash)
}
