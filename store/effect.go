package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/oap-runtime/oap/session"
)

// An effect keeps the position at which its call first appeared.
var upsertEffect = newQuery(`INSERT INTO effects (session_id, id, position, action, class, idempotency_key, request_digest, status, attempts, response)
	VALUES (?,?,?,?,?,?,?,?,?,?)
	ON CONFLICT (session_id, id) DO UPDATE SET action = excluded.action, class = excluded.class, idempotency_key = excluded.idempotency_key,
		request_digest = excluded.request_digest, status = excluded.status, attempts = excluded.attempts, response = excluded.response`)

// effectsPerCommit is how many effects a commit may hold; positions of later
// commits begin after it.
const effectsPerCommit = 1 << 16

// putEffect returns the statement that stores the i-th effect of a commit.
// row is as it was before the commit.
func putEffect(row *sessionRow, i int, e session.Effect) (statement, error) {
	if i >= effectsPerCommit {
		return statement{}, fmt.Errorf("more than %d effects in one commit", effectsPerCommit)
	}
	if e.SessionID != "" && e.SessionID != string(row.ID) {
		return statement{}, fmt.Errorf("effect %s is of session %s", e.ID, e.SessionID)
	}
	response, err := json.Marshal(e.Response)
	if err != nil {
		return statement{}, fmt.Errorf("response of effect %s: %w", e.ID, err)
	}
	return upsertEffect.with(row.ID, text(e.ID), row.LastSeq*effectsPerCommit+int64(i), text(e.Action), text(e.Class), text(e.IdempotencyKey),
		text(e.RequestDigest), text(e.Status), int64(e.Attempts), response), nil
}

// Effects implements session.Store.
func (d *DB) Effects(ctx context.Context, id string) ([]session.Effect, error) {
	var rows []struct {
		ID             text
		Action         text
		Class          text
		IdempotencyKey text
		RequestDigest  text
		Status         text
		Attempts       int
		Response       []byte
	}
	err := d.read(ctx).Raw(`SELECT id, action, class, idempotency_key, request_digest, status, attempts, response
		FROM effects WHERE session_id = ? ORDER BY position, id`, uid(id)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("effects of session %s: %w", id, d.fail(ctx, err))
	}
	effects := make([]session.Effect, len(rows))
	for i, r := range rows {
		effects[i] = session.Effect{ID: string(r.ID), SessionID: id, Action: string(r.Action), Class: string(r.Class), IdempotencyKey: string(r.IdempotencyKey),
			RequestDigest: string(r.RequestDigest), Status: session.EffectStatus(r.Status), Attempts: r.Attempts}
		if err := json.Unmarshal(r.Response, &effects[i].Response); err != nil {
			return nil, fmt.Errorf("response of effect %s: %w", r.ID, err)
		}
	}
	return effects, nil
}
