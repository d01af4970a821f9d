package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// Create implements session.Store. With ErrDuplicate it returns the row of the
// session that has the idempotency key or, failing that, the external id.
func (d *DB) Create(ctx context.Context, c session.Creation) (session.Session, error) {
	if err := checkCreation(c); err != nil {
		return session.Session{}, err
	}
	content, err := d.content(c.Session.ID, []session.StateVersion{c.State}, c.Blobs)
	if err != nil {
		return session.Session{}, err
	}
	options, err := json.Marshal(c.Session.Options)
	if err != nil {
		return session.Session{}, fmt.Errorf("options of session %s: %w", c.Session.ID, err)
	}
	var row *sessionRow
	err = d.transact(ctx, nil, func(now int64, _ []*sessionRow) ([]statement, error) {
		s := c.Session
		row = &sessionRow{
			ID: uid(s.ID), Tenant: text(s.Tenant), Goal: text(s.Goal), Options: string(options), MaxSteps: int64(s.MaxSteps),
			ManifestName: text(s.Manifest.Name), ManifestVersion: text(s.Manifest.Version), ManifestDigest: text(s.Manifest.Digest),
			CreatedAt: now,
		}
		if s.ExternalID != "" {
			row.ExternalID = new(text(s.ExternalID))
		}
		s.StateID, s.Handled = c.State.ID, 0
		if err := row.fill(s); err != nil {
			return nil, err
		}
		_, events := row.append(now, c.Events)
		row.schedule(now)
		stmts := []statement{row.insert()}
		if c.IdempotencyKey != "" {
			stmts = append(stmts, insertKey.with(row.Tenant, text(c.IdempotencyKey), row.ID, text(c.Fingerprint), now))
		}
		stmts = append(stmts, content...)
		return append(stmts, events...), nil
	})
	if err != nil {
		if d.duplicate(err) {
			return d.taken(ctx, c, err)
		}
		return session.Session{}, fmt.Errorf("create session %s: %w", c.Session.ID, err)
	}
	return row.session()
}

var insertKey = newQuery(`INSERT INTO idempotency_keys (tenant, key, session_id, fingerprint, created_at) VALUES (?,?,?,?,?)`)

// taken returns the session that stands in c's way.
func (d *DB) taken(ctx context.Context, c session.Creation, cause error) (session.Session, error) {
	if c.IdempotencyKey != "" {
		id, _, err := d.Existing(ctx, c.Session.Tenant, c.IdempotencyKey)
		if err == nil {
			s, err := d.Get(ctx, c.Session.Tenant, id)
			return s, errors.Join(session.ErrDuplicate, err)
		}
		if !errors.Is(err, session.ErrNotFound) {
			return session.Session{}, err
		}
	}
	if c.Session.ExternalID != "" {
		row, err := d.one(ctx, "tenant = ? AND external_id = ?", text(c.Session.Tenant), text(c.Session.ExternalID))
		if err != nil {
			return session.Session{}, err
		}
		if row != nil {
			s, err := row.session()
			return s, errors.Join(session.ErrDuplicate, err)
		}
	}
	return session.Session{}, fmt.Errorf("create session %s: its id or its state's id is taken: %w", c.Session.ID, cause)
}

// Existing implements session.Store.
func (d *DB) Existing(ctx context.Context, tenant, key string) (id, fingerprint string, err error) {
	var found []struct {
		SessionID   uid
		Fingerprint text
	}
	err = d.read(ctx).Raw(`SELECT session_id, fingerprint FROM idempotency_keys WHERE tenant = ? AND key = ?`, text(tenant), text(key)).Scan(&found).Error
	if err != nil {
		return "", "", fmt.Errorf("look up idempotency key: %w", d.fail(ctx, err))
	}
	if len(found) == 0 {
		return "", "", session.ErrNotFound
	}
	return string(found[0].SessionID), string(found[0].Fingerprint), nil
}

// Bounds of what is indexed, in bytes. Postgres cannot index rows above 2,704
// bytes, and escaping makes a byte at most four.
const (
	tenantBytesMax  = 100
	nameBytesMax    = 500 // external id, idempotency key, manifest name
	versionBytesMax = 100
)

func checkCreation(c session.Creation) error {
	s := c.Session
	if !uid(s.ID).valid() || !uid(c.State.ID).valid() {
		return fmt.Errorf("create session: %q and %q must be UUIDs in lower case", s.ID, c.State.ID)
	}
	if len(c.Events) == 0 {
		return fmt.Errorf("create session %s: it needs a first event", s.ID)
	}
	if s.Status.Terminal() || s.Status == "" || s.Status == session.Running {
		return fmt.Errorf("create session %s: it cannot begin as %q", s.ID, s.Status)
	}
	return errors.Join(
		checkLength("tenant", s.Tenant, tenantBytesMax),
		checkLength("external_id", s.ExternalID, nameBytesMax),
		checkLength("idempotency_key", c.IdempotencyKey, nameBytesMax),
	)
}

func checkLength(field, value string, most int) error {
	if len(value) <= most {
		return nil
	}
	return fault.New(fault.Validation, "%s is too long", strings.ReplaceAll(field, "_", " ")).With(fault.Detail{
		Pointer: "/" + field,
		Message: fmt.Sprintf("%d bytes", len(value)),
		Remedy:  fmt.Sprintf("at most %d bytes", most),
	})
}
