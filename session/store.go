package session

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
)

var (
	// ErrNotFound is returned for an id that does not exist in the tenant.
	ErrNotFound = fault.New(fault.NotFound, "Session not found")
	// ErrLeaseLost is returned by Commit and Renew when the session's epoch
	// has moved. Nothing was written; the caller drops what it has.
	ErrLeaseLost = errors.New("session: lease lost")
	// ErrLeased is returned by ClaimID when another owner holds the session.
	ErrLeased = errors.New("session: leased by another owner")
	// ErrNoneDue is returned by Claim when no session wants attention.
	ErrNoneDue = errors.New("session: none due")
	// ErrDuplicate is returned by Create when the tenant's external id or
	// idempotency key is taken; Existing tells by which session.
	ErrDuplicate = errors.New("session: already exists")
)

// Store is what the session loop needs from a database. Times are the
// database's, to the microsecond. Every method is one transaction.
type Store interface {
	// Create inserts a session with its first events, state, and blobs. When
	// c.IdempotencyKey (or the session's ExternalID) is already taken in the
	// tenant it writes nothing and returns the existing session's id with
	// ErrDuplicate; the caller compares c.Fingerprint with Existing's.
	Create(ctx context.Context, c Creation) (Session, error)

	// Existing returns the session created under an idempotency key, and the
	// fingerprint it was created with. ErrNotFound if there is none.
	Existing(ctx context.Context, tenant, key string) (id, fingerprint string, err error)

	// Get returns a session's row. An empty tenant matches every tenant.
	Get(ctx context.Context, tenant, id string) (Session, error)

	// List returns rows, newest first, and a cursor for the next page ("" at
	// the end).
	List(ctx context.Context, q Query) (rows []Session, next string, err error)

	// Claim leases a due session with Run set: queued, waiting and woken, or
	// left by an owner whose lease ran out. The one due longest comes first.
	// It increments the epoch and sets Status Running. ErrNoneDue if none.
	Claim(ctx context.Context, owner string, ttl time.Duration) (Lease, error)

	// ClaimID leases one session that is not terminal, whether or not it is
	// due or has Run set. ErrNotFound, ErrLeased.
	ClaimID(ctx context.Context, tenant, id, owner string, ttl time.Duration) (Lease, error)

	// Renew extends a lease. ErrLeaseLost.
	Renew(ctx context.Context, l Lease, ttl time.Duration) error

	// Commit is the one way to write for the holder of a lease: events,
	// states, blobs, effects and the row together or not at all, refused with
	// ErrLeaseLost when the epoch moved. It assigns seq, time and hash to the
	// events and returns the stored row and events. Events that outsiders
	// appended since (Signal) stay; the returned row's LastSeq tells.
	// With c.Release the lease ends and the row's due time follows from its
	// Status, WakeAt and unhandled Signals; otherwise the lease is renewed by ttl.
	Commit(ctx context.Context, l Lease, c Commit) (Session, []Event, error)

	// Signal appends an event from outside the loop (input, cancellation),
	// increments Signals and makes the session due, whoever holds the lease.
	// check sees the row in the same transaction and can refuse.
	Signal(ctx context.Context, tenant, id string, s Signal, check func(Session) error) (Session, Event, error)

	// Annotate appends an event to a session, terminal ones included, without
	// waking it (closing). check as for Signal; it may change the row it is
	// given (ClosedAt, Run), and what it changed is stored.
	Annotate(ctx context.Context, tenant, id string, e NewEvent, check func(*Session) error) (Session, Event, error)

	// SetRun changes whether workers advance the session, and makes it due.
	SetRun(ctx context.Context, tenant, id string, run bool) (Session, error)

	// Events returns up to limit events after a seq, in order.
	Events(ctx context.Context, id string, after int64, limit int) ([]Event, error)

	// State returns a state's document, rebuilt and checked against its hash.
	State(ctx context.Context, stateID string) (State, error)

	// Blob returns a blob's bytes, checked against its hash.
	Blob(ctx context.Context, hash string) ([]byte, error)

	// Effects returns a session's effects in order of their calls.
	Effects(ctx context.Context, id string) ([]Effect, error)

	// ReleaseOthers ends every lease whose owner is not the given one, for a
	// database that only one process uses. It returns how many.
	ReleaseOthers(ctx context.Context, owner string) (int, error)

	// PutManifest stores a manifest. When the tenant already has the same name
	// and version with the same digest it does nothing (created=false); with
	// another digest it fails with fault.ManifestConflict.
	PutManifest(ctx context.Context, m StoredManifest) (created bool, err error)

	// GetManifest finds a manifest by digest, or by name and version, or the
	// newest registered by name alone. fault.NotFound.
	GetManifest(ctx context.Context, tenant string, ref ManifestRef) (StoredManifest, error)

	// ListManifests returns manifests without their source, newest first.
	ListManifests(ctx context.Context, tenant string, limit int, cursor string) (rows []StoredManifest, next string, err error)

	// Ping reports whether the database answers.
	Ping(ctx context.Context) error
}

// A Creation is a new session and everything stored with it.
type Creation struct {
	Session        Session // ID, Tenant and the caller's fields; Status Queued
	Events         []NewEvent
	State          StateVersion
	Blobs          []Blob
	IdempotencyKey string
	Fingerprint    string
}

// A Query selects sessions.
type Query struct {
	Tenant   string
	Status   Status // "" means any
	Manifest string // name; "" means any
	Limit    int
	Cursor   string
}

// A Lease is the right to advance one session until it expires.
type Lease struct {
	Session Session // as it was when claimed
	Owner   string
	Epoch   int64
	Expires time.Time
}

// A Commit is everything one turn changes.
type Commit struct {
	// Session holds the row's new Status, Reason, Detail, Steps, StateID,
	// TailSeq, PlanFailures, Spent, Handled and WakeAt. Its other fields are
	// not written: Run, Cancel and Signals belong to the outside.
	Session Session
	Events  []NewEvent
	States  []StateVersion // in order; the last is the new head
	Blobs   []Blob
	Effects []Effect // inserted or replaced by ID
	Release bool
	TTL     time.Duration // of the renewed lease without Release
}

// A Signal is something the outside tells a session.
type Signal struct {
	Event  NewEvent
	Cancel bool // also sets the row's Cancel
}

// An Event is one thing that happened in a session.
type Event struct {
	SessionID string
	Seq       int64 // from 1, without gaps
	Type      EventType
	Time      time.Time // of the database, to the microsecond
	Data      json.RawMessage
	PrevHash  string // hash of event Seq-1; "" for the first
	Hash      string // see Event.ComputeHash
}

// A NewEvent is an event before the store has given it a place.
type NewEvent struct {
	Type EventType
	Data json.RawMessage
}

// A Blob is content stored once under its hash.
type Blob struct {
	Hash string // SHA-256 of Data, lower-case hex
	Data []byte
}

// A StateVersion is one immutable version of a session's observation.
type StateVersion struct {
	ID       string // UUIDv7
	ParentID string // "" for the first
	Hash     string // SHA-256 of the canonical document
	Patch    []byte // RFC 6902 patch against the parent; nil with Snapshot
	Snapshot []byte // the whole canonical document
}

// A State is a state's document.
type State struct {
	ID        string
	SessionID string
	ParentID  string
	Hash      string
	Document  json.RawMessage
	Patches   int // how many patches lie between the nearest snapshot and this state
}

// An Effect is the ledger's entry for one call that may change the world.
type Effect struct {
	ID             string       `json:"id"` // the call's id
	SessionID      string       `json:"session_id"`
	Action         string       `json:"action"`
	Class          string       `json:"class"` // manifest.Effect
	IdempotencyKey string       `json:"idempotency_key"`
	RequestDigest  string       `json:"request_digest"` // SHA-256 of action and canonical arguments
	Status         EffectStatus `json:"status"`
	Attempts       int          `json:"attempts"`
	Response       Value        `json:"response,omitzero"`
}

// An EffectStatus is what is known of an effect.
type EffectStatus string

const (
	Dispatched EffectStatus = "dispatched" // may be under way
	Settled    EffectStatus = "settled"    // took place
	Refused    EffectStatus = "failed"     // did not take place, as far as the receiver says
	Unknown    EffectStatus = "unknown"    // nobody knows
)

// A StoredManifest is a registered manifest.
type StoredManifest struct {
	Tenant    string
	Ref       ManifestRef
	Source    json.RawMessage // canonical JSON; nil in lists
	CreatedAt time.Time
}
