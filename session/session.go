package session

import (
	"encoding/json"
	"time"

	"github.com/oap-runtime/oap/planner"
)

// A Session is one goal and where it has got to: the row, without its content.
type Session struct {
	ID         string // UUIDv7
	Tenant     string
	ExternalID string // the caller's own name for it, unique per tenant when set
	Goal       string
	Manifest   ManifestRef
	Options    Options
	MaxSteps   int

	Status  Status
	Reason  string // finer than Status: "input", "timer", "max_steps", a fault code …
	Detail  string // the same for people
	Run     bool   // workers advance it; otherwise only Step does
	Steps   int    // calls executed, succeeded or not (S2-54)
	StateID string // head of the chain of states
	TailSeq int64  // the events after it hold the open plan and the recent history

	PlanFailures int           // consecutive failures to plan
	Spent        planner.Usage // model usage so far, guest code included

	LastSeq  int64  // seq of the newest event
	LastHash string // its hash
	Signals  int64  // how many arrived
	Handled  int64  // how many the loop has acted on
	Cancel   bool   // somebody asked for the session to end

	WakeAt    time.Time // when a waiting session wakes by itself; zero means never
	CreatedAt time.Time
	UpdatedAt time.Time
	ClosedAt  time.Time // zero until closed
}

// Options are what the creator of a session fixed for it.
type Options struct {
	AllowedActions []string          `json:"allowed_actions,omitempty"` // nil means all of the manifest (S2-80)
	Model          string            `json:"model,omitempty"`           // instead of the manifest's
	Labels         map[string]string `json:"labels,omitempty"`
	Subject        string            `json:"subject,omitempty"` // who created it
	Scopes         []string          `json:"scopes,omitempty"`  // what the creator may use; nil means all
}

// A ManifestRef pins the manifest a session started with.
type ManifestRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// A Status is where a session is in its life.
type Status string

const (
	Queued    Status = "queued"  // ready for its next turn
	Running   Status = "running" // a turn is under way
	Waiting   Status = "waiting" // for the thing Reason names
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Terminal reports whether a session in this status never moves again.
func (s Status) Terminal() bool {
	return s == Completed || s == Failed || s == Cancelled
}

// A Value is a JSON value that the log holds inline when it is small and by
// reference to a blob when it is not.
type Value struct {
	JSON json.RawMessage `json:"json,omitempty"`
	Blob string          `json:"blob,omitempty"` // SHA-256 of the JSON text, lower-case hex
	Size int             `json:"size,omitempty"` // bytes of the JSON text, with Blob
}

// IsZero reports whether v holds nothing at all, which is not the same as null.
func (v Value) IsZero() bool { return v.JSON == nil && v.Blob == "" }
