package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// claimSet gives a session to an owner. Its arguments are the owner and twice
// the time to live.
func claimSet(s *dialect) string {
	return `UPDATE sessions SET status = 'running', epoch = epoch + 1, lease_owner = ?, lease_until = ` + s.now + ` + ?,
		due_at = CASE WHEN run THEN ` + s.now + ` + ? END,
		updated_at = CASE WHEN updated_at > ` + s.now + ` THEN updated_at ELSE ` + s.now + ` END `
}

// Claim implements session.Store.
func (d *DB) Claim(ctx context.Context, owner string, ttl time.Duration) (session.Lease, error) {
	us, err := leaseTime(owner, ttl)
	if err != nil {
		return session.Lease{}, err
	}
	s := d.sql()
	var rows []*sessionRow
	err = d.write(ctx).Raw(claimSet(s)+`WHERE id = (SELECT id FROM sessions WHERE due_at <= `+s.now+` AND lease_until <= `+s.now+`
		ORDER BY due_at LIMIT 1 `+s.skipHeld+`) RETURNING `+sessionColumns, text(owner), us, us).Scan(&rows).Error
	if err != nil {
		return session.Lease{}, fmt.Errorf("claim: %w", d.fail(ctx, err))
	}
	if len(rows) == 0 {
		return session.Lease{}, session.ErrNoneDue
	}
	return rows[0].lease()
}

// ClaimID implements session.Store. A session that has ended is refused with
// fault.SessionCompleted. Leases belong to turns, not to processes: one that
// the same owner holds is in the way like any other.
func (d *DB) ClaimID(ctx context.Context, tenant, id, owner string, ttl time.Duration) (session.Lease, error) {
	us, err := leaseTime(owner, ttl)
	if err != nil {
		return session.Lease{}, err
	}
	s := d.sql()
	var rows []*sessionRow
	err = d.write(ctx).Raw(claimSet(s)+`WHERE id = ? AND (? = '' OR tenant = ?) AND status NOT IN ('completed', 'failed', 'cancelled')
		AND lease_until <= `+s.now+` RETURNING `+sessionColumns, text(owner), us, us, uid(id), text(tenant), text(tenant)).Scan(&rows).Error
	if err != nil {
		return session.Lease{}, fmt.Errorf("claim session %s: %w", id, d.fail(ctx, err))
	}
	if len(rows) > 0 {
		return rows[0].lease()
	}
	row, err := d.get(ctx, tenant, id)
	switch {
	case err != nil:
		return session.Lease{}, err
	case session.Status(row.Status).Terminal():
		return session.Lease{}, fault.New(fault.SessionCompleted, "the session has ended: it is %s", row.Status)
	default:
		return session.Lease{}, session.ErrLeased
	}
}

// Renew implements session.Store.
func (d *DB) Renew(ctx context.Context, l session.Lease, ttl time.Duration) error {
	us, err := leaseTime(l.Owner, ttl)
	if err != nil {
		return err
	}
	s := d.sql()
	// due_at moves only when it has to; see schedule.
	res := d.write(ctx).Exec(`UPDATE sessions SET lease_until = `+s.now+` + ?,
		due_at = CASE WHEN due_at BETWEEN `+s.now+` + ? AND `+s.now+` + ? OR due_at IS NULL THEN due_at ELSE `+s.now+` + ? END
		WHERE id = ? AND epoch = ? AND lease_owner = ?`,
		us, us/2, us, us, uid(l.Session.ID), l.Epoch, text(l.Owner))
	if res.Error != nil {
		return fmt.Errorf("renew lease of session %s: %w", l.Session.ID, d.fail(ctx, res.Error))
	}
	if res.RowsAffected == 0 {
		return session.ErrLeaseLost
	}
	return nil
}

// ReleaseOthers implements session.Store. The sessions become due at once;
// whoever held them is fenced off.
func (d *DB) ReleaseOthers(ctx context.Context, owner string) (int, error) {
	s := d.sql()
	res := d.write(ctx).Exec(`UPDATE sessions SET lease_owner = '', lease_until = 0,
		status = CASE WHEN status = 'running' THEN 'queued' ELSE status END,
		due_at = CASE WHEN due_at IS NULL THEN NULL ELSE `+s.now+` END
		WHERE lease_until <> 0 AND lease_owner <> ?`, text(owner))
	if res.Error != nil {
		return 0, fmt.Errorf("release leases: %w", d.fail(ctx, res.Error))
	}
	return int(res.RowsAffected), nil
}

func (r *sessionRow) lease() (session.Lease, error) {
	s, err := r.session()
	return session.Lease{Session: s, Owner: string(r.LeaseOwner), Epoch: r.Epoch, Expires: toTime(r.LeaseUntil)}, err
}

// leaseTime returns a time to live in microseconds.
func leaseTime(owner string, ttl time.Duration) (int64, error) {
	if owner == "" {
		return 0, errors.New("lease without an owner")
	}
	if ttl < time.Millisecond {
		return 0, fmt.Errorf("lease of %s is too short to use", ttl)
	}
	return ttl.Microseconds(), nil
}
