package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
)

const (
	slice      = 60 * time.Second // how long a worker stays with one session before others get their turn
	drainGrace = 15 * time.Second // how long running turns may go on once Run is told to stop
)

// errStopping is the cause with which turns are interrupted that outlive
// drainGrace.
var errStopping = errors.New("session: the server is stopping")

// Run advances sessions until ctx is done, then lets running turns end within
// a grace period. What does not end is interrupted and stays claimable.
//
// One goroutine claims; one goroutine per claimed session advances it, at most
// Config.Workers of them.
func (m *Manager) Run(ctx context.Context) error {
	work, interrupt := context.WithCancelCause(context.WithoutCancel(ctx))
	defer interrupt(errStopping)
	var wg sync.WaitGroup
	slots := make(chan struct{}, m.cfg.Workers)
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		lease, err := m.cfg.Store.Claim(ctx, m.cfg.Owner, m.cfg.LeaseTTL)
		if err == nil {
			wg.Go(func() {
				defer func() { <-slots; m.nudge() }()
				m.drive(work, ctx, lease)
			})
			continue
		}
		<-slots
		if !errors.Is(err, ErrNoneDue) && ctx.Err() == nil {
			m.log.Error("claim", slog.String("error", err.Error()))
		}
		select {
		case <-m.wake:
		case <-time.After(m.cfg.Poll):
		case <-ctx.Done():
		}
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(drainGrace):
		interrupt(errStopping)
		<-ended
	}
	return nil
}

// drive advances one leased session until it waits, ends, has had its slice,
// or the worker is stopping.
func (m *Manager) drive(ctx, stopping context.Context, l Lease) {
	began := time.Now()
	_, err := m.hold(ctx, l, func(ctx context.Context, t *turn) error {
		for {
			if err := t.advance(ctx); err != nil || t.released {
				return err
			}
			if stopping.Err() != nil || time.Since(began) > slice {
				return t.giveBack(ctx, 0)
			}
		}
	})
	if err != nil && !fault.IsOutcome(err) && !errors.Is(err, ErrLeaseLost) {
		m.log.Error("turn", slog.String("session_id", l.Session.ID), slog.String("error", err.Error()))
	}
}

// hold loads a leased session, keeps the lease alive while f advances it, and
// gives the lease back whatever happens.
func (m *Manager) hold(ctx context.Context, l Lease, f func(context.Context, *turn) error) (*turn, error) {
	id := l.Session.ID
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx = auth.With(ctx, auth.Principal{Tenant: l.Session.Tenant, Subject: l.Session.Options.Subject, Scopes: l.Session.Options.Scopes})
	defer m.inflight.add(id, cancel)()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		m.keep(ctx, l, cancel)
	}()
	defer func() { cancel(nil); <-renewed }()

	t, err := m.load(ctx, l)
	if err != nil {
		return nil, m.abandon(ctx, l, err)
	}
	err = f(ctx, t)
	switch {
	case t.released || errors.Is(err, ErrLeaseLost):
	case context.Cause(ctx) == errCancelled:
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
		defer stop()
		if rerr := t.reload(ctx); rerr != nil || t.released {
			return t, rerr
		}
		return t, t.cancel(ctx)
	case err != nil && context.Cause(ctx) == errStopping:
		return t, t.giveBack(ctx, time.Microsecond)
	case err != nil:
		if rerr := t.giveBack(ctx, faultBackoff); rerr != nil {
			return t, errors.Join(err, rerr)
		}
	}
	return t, err
}

// abandon gives a lease back whose session could not even be read.
func (m *Manager) abandon(ctx context.Context, l Lease, cause error) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
	defer stop()
	row := l.Session
	row.Status, row.Reason, row.WakeAt = Waiting, "retry", m.now().Add(faultBackoff)
	if _, _, err := m.cfg.Store.Commit(ctx, l, Commit{Session: row, Release: true}); err != nil && !errors.Is(err, ErrLeaseLost) {
		cause = errors.Join(cause, err)
	}
	return fmt.Errorf("load session %s: %w", l.Session.ID, cause)
}

// keep renews a lease until ctx is done. Losing it interrupts the turn.
func (m *Manager) keep(ctx context.Context, l Lease, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(m.cfg.LeaseTTL / 3)
	defer tick.Stop()
	expires := time.Now().Add(m.cfg.LeaseTTL)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := m.cfg.Store.Renew(ctx, l, m.cfg.LeaseTTL)
		switch {
		case err == nil:
			expires = time.Now().Add(m.cfg.LeaseTTL)
		case errors.Is(err, ErrLeaseLost):
			cancel(ErrLeaseLost)
			return
		case time.Now().After(expires): // nobody can tell whose it is now
			cancel(ErrLeaseLost)
			return
		}
	}
}

// Step makes one turn now and returns when it is committed (S2-57). The turn
// is finished even when the caller goes away in the middle of it.
func (m *Manager) Step(ctx context.Context, id string) (StepResult, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return StepResult{}, err
	}
	if row.Status.Terminal() {
		return StepResult{}, errCompleted
	}
	lease, err := m.cfg.Store.ClaimID(ctx, row.Tenant, id, m.cfg.Owner, m.cfg.LeaseTTL)
	switch {
	case errors.Is(err, ErrLeased):
		return StepResult{}, fault.New(fault.SessionBusy, "the session is being advanced right now; follow its events instead of stepping it").Retry(time.Second)
	case err != nil:
		return StepResult{}, err
	}
	t, err := m.hold(context.WithoutCancel(ctx), lease, func(ctx context.Context, t *turn) error {
		if err := t.advance(ctx); err != nil || t.released {
			return err
		}
		return t.giveBack(ctx, 0)
	})
	if err != nil {
		return StepResult{}, err
	}
	m.nudge()
	return StepResult{
		Session: t.row, Results: t.results, Waiting: t.tail.questions(),
		Finished: t.row.Status == Completed,
		MaxSteps: t.row.Status == Failed && t.row.Reason == string(fault.MaxSteps),
	}, nil
}
