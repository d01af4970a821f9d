package store

import (
	"context"
	"fmt"

	"github.com/oap-runtime/oap/session"
)

// Commit implements session.Store.
func (d *DB) Commit(ctx context.Context, l session.Lease, c session.Commit) (session.Session, []session.Event, error) {
	p := &pending{lease: l, commit: c}
	if err := d.prepare(p); err != nil {
		return session.Session{}, nil, fmt.Errorf("commit session %s: %w", l.Session.ID, err)
	}
	err := d.commit(ctx, []*pending{p})
	if err == nil {
		err = p.err
	}
	if err == session.ErrLeaseLost {
		return session.Session{}, nil, err
	}
	if err != nil {
		return session.Session{}, nil, fmt.Errorf("commit session %s: %w", l.Session.ID, err)
	}
	s, err := p.row.session()
	return s, p.events, err
}

// A pending is a commit on its way into the database.
type pending struct {
	lease   session.Lease
	commit  session.Commit
	us      int64       // time to live of the renewed lease
	content []statement // states and blobs

	row    *sessionRow // as stored
	events []session.Event
	err    error // this one was refused; the others were not
}

// prepare does what needs no database: it checks and compresses.
func (d *DB) prepare(p *pending) error {
	status := p.commit.Session.Status
	switch {
	case p.commit.Session.ID != p.lease.Session.ID:
		return fmt.Errorf("the row is of session %s", p.commit.Session.ID)
	case status == "" || p.commit.Release && status == session.Running:
		return fmt.Errorf("a session without a lease cannot be %q", status)
	}
	if !p.commit.Release {
		var err error
		if p.us, err = leaseTime(p.lease.Owner, p.commit.TTL); err != nil {
			return err
		}
	}
	var err error
	p.content, err = d.content(p.lease.Session.ID, p.commit.States, p.commit.Blobs)
	return err
}

// commit writes any number of commits of different sessions in one
// transaction. A commit whose lease is lost is left out and marked; an error
// means that none was written.
func (d *DB) commit(ctx context.Context, ps []*pending) error {
	ids := make([]uid, len(ps))
	for i, p := range ps {
		ids[i] = uid(p.lease.Session.ID)
	}
	return d.transact(ctx, ids, func(now int64, rows []*sessionRow) ([]statement, error) {
		found := make(map[uid]*sessionRow, len(rows))
		for _, r := range rows {
			found[r.ID] = r
		}
		var stmts []statement
		for _, p := range ps {
			row := found[uid(p.lease.Session.ID)]
			if row == nil || row.Epoch != p.lease.Epoch || row.LeaseOwner != text(p.lease.Owner) {
				p.err = session.ErrLeaseLost
				continue
			}
			next, err := p.apply(row, now)
			if err != nil {
				return nil, err
			}
			stmts = append(stmts, next...)
		}
		return stmts, nil
	})
}

// apply changes row as the commit says and returns the statements that store
// it.
func (p *pending) apply(row *sessionRow, now int64) ([]statement, error) {
	run := row.Run
	if err := row.fill(p.commit.Session); err != nil {
		return nil, err
	}
	if p.commit.Session.Run == p.lease.Session.Run {
		// The turn did not touch it, so SetRun may have meanwhile.
		row.Run = run
	}
	var stmts []statement
	for i, e := range p.commit.Effects {
		s, err := putEffect(row, i, e)
		if err != nil {
			return nil, err
		}
		stmts = append(stmts, s)
	}
	var inserts []statement
	p.events, inserts = row.append(now, p.commit.Events)
	if p.commit.Release {
		row.release()
	} else {
		row.LeaseUntil = now + p.us
	}
	row.schedule(now)
	p.row, p.err = row, nil
	stmts = append(stmts, p.content...)
	stmts = append(stmts, inserts...)
	return append(stmts, row.update()), nil
}

// Signal implements session.Store. check runs again when Postgres makes the
// transaction start over, so it should have no effect of its own.
func (d *DB) Signal(ctx context.Context, tenant, id string, s session.Signal, check func(session.Session) error) (session.Session, session.Event, error) {
	return d.change(ctx, tenant, id, &s.Event, func(row *sessionRow, before *session.Session, _ int64) error {
		if check != nil {
			if err := check(*before); err != nil {
				return err
			}
		}
		row.Signals++
		row.Cancel = row.Cancel || s.Cancel
		return nil
	})
}

// Annotate implements session.Store. Of what check changes in its row,
// everything that a commit may change is stored, and ClosedAt.
func (d *DB) Annotate(ctx context.Context, tenant, id string, e session.NewEvent, check func(*session.Session) error) (session.Session, session.Event, error) {
	return d.change(ctx, tenant, id, &e, func(row *sessionRow, before *session.Session, _ int64) error {
		if check != nil {
			if err := check(before); err != nil {
				return err
			}
		}
		row.ClosedAt = fromTime(before.ClosedAt)
		return row.fill(*before)
	})
}

// SetRun implements session.Store.
func (d *DB) SetRun(ctx context.Context, tenant, id string, run bool) (session.Session, error) {
	s, _, err := d.change(ctx, tenant, id, nil, func(row *sessionRow, _ *session.Session, now int64) error {
		row.Run = run
		if !row.leased() {
			row.DueAt = &now
		}
		return nil
	})
	return s, err
}

// change is a write from outside the loop: whoever holds the lease keeps it.
func (d *DB) change(ctx context.Context, tenant, id string, e *session.NewEvent, edit func(row *sessionRow, before *session.Session, now int64) error) (session.Session, session.Event, error) {
	var after session.Session
	var event session.Event
	err := d.transact(ctx, []uid{uid(id)}, func(now int64, rows []*sessionRow) ([]statement, error) {
		if len(rows) == 0 || !rows[0].visible(tenant) {
			return nil, session.ErrNotFound
		}
		row := rows[0]
		before, err := row.session()
		if err != nil {
			return nil, err
		}
		if err := edit(row, &before, now); err != nil {
			return nil, err
		}
		var stmts []statement
		if e != nil {
			events, inserts := row.append(now, []session.NewEvent{*e})
			event, stmts = events[0], inserts
		}
		row.UpdatedAt = max(row.UpdatedAt, now)
		row.schedule(now)
		if after, err = row.session(); err != nil {
			return nil, err
		}
		return append(stmts, row.update()), nil
	})
	return after, event, err
}
