package store

import (
	"encoding/json"
	"fmt"

	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

// A sessionRow is a row of table sessions.
type sessionRow struct {
	ID              uid
	Tenant          text
	ExternalID      *text
	Goal            text
	ManifestName    text
	ManifestVersion text
	ManifestDigest  text
	Options         string // JSON
	MaxSteps        int64
	Status          text
	Reason          text
	Detail          text
	Run             bool
	Steps           int64
	StateID         uid
	TailSeq         int64
	PlanFailures    int64
	Spent           string // JSON
	LastSeq         int64
	LastHash        digest
	Signals         int64
	Handled         int64
	Cancel          bool
	WakeAt          int64
	CreatedAt       int64
	UpdatedAt       int64
	ClosedAt        int64
	Epoch           int64
	LeaseOwner      text
	LeaseUntil      int64 // 0 when nobody holds the session
	DueAt           *int64
}

func (sessionRow) TableName() string { return "sessions" }

// sessionColumns is written out instead of *, so that a newer schema with more
// columns does not disturb this binary.
const sessionColumns = `id, tenant, external_id, goal, manifest_name, manifest_version, manifest_digest, options, max_steps,
	status, reason, detail, run, steps, state_id, tail_seq, plan_failures, spent, last_seq, last_hash, signals, handled,
	cancel, wake_at, created_at, updated_at, closed_at, epoch, lease_owner, lease_until, due_at`

// scan returns where the values of sessionColumns go.
func (r *sessionRow) scan() []any {
	return []any{&r.ID, &r.Tenant, &r.ExternalID, &r.Goal, &r.ManifestName, &r.ManifestVersion, &r.ManifestDigest, &r.Options, &r.MaxSteps,
		&r.Status, &r.Reason, &r.Detail, &r.Run, &r.Steps, &r.StateID, &r.TailSeq, &r.PlanFailures, &r.Spent, &r.LastSeq, &r.LastHash, &r.Signals, &r.Handled,
		&r.Cancel, &r.WakeAt, &r.CreatedAt, &r.UpdatedAt, &r.ClosedAt, &r.Epoch, &r.LeaseOwner, &r.LeaseUntil, &r.DueAt}
}

var insertSession = newQuery(`INSERT INTO sessions (` + sessionColumns + `)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`)

func (r *sessionRow) insert() statement {
	return insertSession.with(r.ID, r.Tenant, r.ExternalID, r.Goal, r.ManifestName, r.ManifestVersion, r.ManifestDigest, r.Options, r.MaxSteps,
		r.Status, r.Reason, r.Detail, r.Run, r.Steps, r.StateID, r.TailSeq, r.PlanFailures, r.Spent, r.LastSeq, r.LastHash, r.Signals, r.Handled,
		r.Cancel, r.WakeAt, r.CreatedAt, r.UpdatedAt, r.ClosedAt, r.Epoch, r.LeaseOwner, r.LeaseUntil, r.DueAt)
}

var updateSession = newQuery(`UPDATE sessions SET status=?, reason=?, detail=?, run=?, steps=?, state_id=?, tail_seq=?, plan_failures=?, spent=?,
	last_seq=?, last_hash=?, signals=?, handled=?, cancel=?, wake_at=?, updated_at=?, closed_at=?, lease_owner=?, lease_until=?, due_at=?
	WHERE id=?`)

func (r *sessionRow) update() statement {
	return updateSession.with(r.Status, r.Reason, r.Detail, r.Run, r.Steps, r.StateID, r.TailSeq, r.PlanFailures, r.Spent,
		r.LastSeq, r.LastHash, r.Signals, r.Handled, r.Cancel, r.WakeAt, r.UpdatedAt, r.ClosedAt, r.LeaseOwner, r.LeaseUntil, r.DueAt,
		r.ID)
}

// fill copies what the holder of a session may change.
func (r *sessionRow) fill(s session.Session) error {
	spent, err := json.Marshal(s.Spent)
	if err != nil {
		return fmt.Errorf("usage of session %s: %w", s.ID, err)
	}
	r.Status, r.Reason, r.Detail, r.Run = text(s.Status), text(s.Reason), text(s.Detail), s.Run
	r.Steps, r.StateID, r.TailSeq = int64(s.Steps), uid(s.StateID), s.TailSeq
	r.PlanFailures, r.Spent, r.Handled, r.WakeAt = int64(s.PlanFailures), string(spent), s.Handled, fromTime(s.WakeAt)
	return nil
}

func (r *sessionRow) session() (session.Session, error) {
	s := session.Session{
		ID: string(r.ID), Tenant: string(r.Tenant), Goal: string(r.Goal), MaxSteps: int(r.MaxSteps),
		Manifest: session.ManifestRef{Name: string(r.ManifestName), Version: string(r.ManifestVersion), Digest: string(r.ManifestDigest)},
		Status:   session.Status(r.Status), Reason: string(r.Reason), Detail: string(r.Detail), Run: r.Run,
		Steps: int(r.Steps), StateID: string(r.StateID), TailSeq: r.TailSeq, PlanFailures: int(r.PlanFailures),
		LastSeq: r.LastSeq, LastHash: string(r.LastHash), Signals: r.Signals, Handled: r.Handled, Cancel: r.Cancel,
		WakeAt: toTime(r.WakeAt), CreatedAt: toTime(r.CreatedAt), UpdatedAt: toTime(r.UpdatedAt), ClosedAt: toTime(r.ClosedAt),
	}
	if r.ExternalID != nil {
		s.ExternalID = string(*r.ExternalID)
	}
	if err := json.Unmarshal([]byte(r.Options), &s.Options); err != nil {
		return session.Session{}, fmt.Errorf("options of session %s: %w", r.ID, err)
	}
	var spent planner.Usage
	if err := json.Unmarshal([]byte(r.Spent), &spent); err != nil {
		return session.Session{}, fmt.Errorf("usage of session %s: %w", r.ID, err)
	}
	s.Spent = spent
	return s, nil
}

func (r *sessionRow) leased() bool { return r.LeaseUntil != 0 }

// schedule sets when the session wants attention, from everything else in the
// row. A leased session wants it when its lease runs out, so one whose owner
// died is found like any other.
func (r *sessionRow) schedule(now int64) {
	want := func(at int64) { r.DueAt = &at }
	switch status := session.Status(r.Status); {
	case !r.Run || status.Terminal():
		r.DueAt = nil
	case r.leased():
		// Moving due_at rewrites the row's index entries. While at least half
		// of the lease is left the old value will do: Claim checks the lease too.
		if r.DueAt == nil || *r.DueAt > r.LeaseUntil || *r.DueAt-now < (r.LeaseUntil-now)/2 {
			want(r.LeaseUntil)
		}
	case r.DueAt != nil && *r.DueAt <= now:
		// It is due already and keeps its place in the queue.
	case r.Signals > r.Handled || status != session.Waiting:
		want(now)
	case r.WakeAt != 0:
		want(r.WakeAt)
	default:
		r.DueAt = nil
	}
}

// release ends the lease.
func (r *sessionRow) release() {
	r.LeaseOwner, r.LeaseUntil, r.DueAt = "", 0, nil
}

// append gives events their place in the log: seq, time, and hash.
func (r *sessionRow) append(now int64, news []session.NewEvent) ([]session.Event, []statement) {
	r.UpdatedAt = max(r.UpdatedAt, now) // a clock that goes back does not turn time in the log
	events := make([]session.Event, len(news))
	stmts := make([]statement, len(news))
	for i, n := range news {
		r.LastSeq++
		e := session.Event{SessionID: string(r.ID), Seq: r.LastSeq, Type: n.Type, Time: toTime(r.UpdatedAt), Data: n.Data, PrevHash: string(r.LastHash)}
		e.Hash = e.ComputeHash()
		r.LastHash = digest(e.Hash)
		events[i] = e
		stmts[i] = insertEvent.with(r.ID, e.Seq, text(e.Type), r.UpdatedAt, notNil(e.Data), digest(e.PrevHash), digest(e.Hash))
	}
	return events, stmts
}

var insertEvent = newQuery(`INSERT INTO events (session_id, seq, type, at, data, prev_hash, hash) VALUES (?,?,?,?,?,?,?)`)

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
