package session

import (
	"encoding/json"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner"
)

// A View is a session as a front-end sees it: the row and what the log says.
type View struct {
	Session     Session
	Observation json.RawMessage // {timestamp, user_context, environment}
	History     []ActionResult  // finished calls, oldest first
	Waiting     []Question      // what the session waits for, when Status is Waiting
	Answer      json.RawMessage // the planner's answer, once completed
	Error       *Failure        // why it failed
}

// An ActionResult is the outcome of one call (S2-39).
type ActionResult struct {
	ActionName string          `json:"action_name"`
	Success    bool            `json:"success"`
	Output     json.RawMessage `json:"output"` // null without output
	Error      *string         `json:"error"`  // null on success
}

// A Question is one call that waits for a person.
type Question struct {
	CallID string        `json:"call_id"`
	Action string        `json:"action"`
	Wait   executor.Wait `json:"wait"`
}

// A CreateRequest asks for a session.
type CreateRequest struct {
	Goal           string
	Observation    json.RawMessage // {timestamp, user_context, environment}; nil means empty
	MaxSteps       int             // 0 means the manifest's, or 10
	Manifest       string          // "name", "name@version" or a digest; "" means the default
	ExternalID     string
	AllowedActions []string
	Model          string
	Labels         map[string]string
	Run            bool // let workers advance it at once
	IdempotencyKey string
}

// A StepResult is what one turn did.
type StepResult struct {
	Session  Session
	Results  []ActionResult // calls finished in this turn, in order
	Waiting  []Question     // when the turn ended in a wait
	Finished bool           // the goal is achieved (S2-58)
	MaxSteps bool           // the session ended because no steps are left (S2-59)
}

// An InputRequest is a person's answer.
type InputRequest struct {
	CallID string          // "" when the session waits for exactly one answer
	Value  json.RawMessage // any JSON the question's schema allows
}

// A Transcript is everything that happened in a session. Its first six members
// are the seed's (S2-63).
type Transcript struct {
	Goal        Goal            `json:"goal"`
	Observation json.RawMessage `json:"observation"`
	MaxSteps    int             `json:"max_steps"`
	Steps       int             `json:"steps"`
	History     []ActionResult  `json:"history"`
	Completed   bool            `json:"completed"`

	SessionID   string        `json:"session_id"`
	Status      Status        `json:"status"`
	Reason      string        `json:"reason,omitempty"`
	Detail      string        `json:"detail,omitempty"`
	Manifest    ManifestRef   `json:"manifest"`
	Usage       planner.Usage `json:"usage"`
	SideEffects []Effect      `json:"side_effects"` // S2-21
	Turns       []TurnRecord  `json:"turns"`        // plans with their model messages (S2-71)
	Events      []Event       `json:"events"`       // the log itself, with hashes
}

// A Goal is the seed's form of a goal.
type Goal struct {
	Description string `json:"description"`
}

// A TurnRecord is one decision as the transcript shows it: every text in full.
type TurnRecord struct {
	Seq       int64            `json:"seq"`
	Time      time.Time        `json:"time"`
	Exchanges []ExchangeRecord `json:"exchanges,omitempty"`
	Calls     []CallRecord     `json:"calls,omitempty"`
	Finish    bool             `json:"finish,omitempty"`
	Answer    json.RawMessage  `json:"answer,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Error     *Failure         `json:"error,omitempty"`
}

// An ExchangeRecord is one request to a model and its answer.
type ExchangeRecord struct {
	Model    string          `json:"model"`
	Messages []MessageRecord `json:"messages"`
	Reply    string          `json:"reply"`
	Finish   string          `json:"finish_reason,omitempty"`
	Repaired string          `json:"repaired,omitempty"`
	Problem  string          `json:"problem,omitempty"`
	Usage    planner.Usage   `json:"usage"`
	Duration int64           `json:"duration_ms"`
}

// A MessageRecord is one chat message in full.
type MessageRecord struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// A CallRecord is one call from plan to outcome.
type CallRecord struct {
	ID         string          `json:"call_id"`
	Step       int             `json:"step,omitempty"`
	Action     string          `json:"action"`
	Args       json.RawMessage `json:"args"`
	Success    bool            `json:"success"`
	Output     json.RawMessage `json:"output,omitempty"`
	Error      *Failure        `json:"error,omitempty"`
	Skipped    bool            `json:"skipped,omitempty"`
	StartedAt  time.Time       `json:"started_at,omitzero"`
	DurationMS int64           `json:"duration_ms"`
	Usage      executor.Usage  `json:"usage"`
	Notes      []string        `json:"notes,omitempty"`
	StateID    string          `json:"state_id,omitempty"`
}

// A Verification is what checking a session's log found.
type Verification struct {
	SessionID string `json:"session_id"`
	OK        bool   `json:"ok"`
	Events    int64  `json:"events"`
	States    int    `json:"states"`
	Blobs     int    `json:"blobs"`
	Head      string `json:"head"`             // hash of the newest event
	BadSeq    int64  `json:"bad_seq,omitzero"` // first entry that does not hold
	Problem   string `json:"problem,omitempty"`
}

// A Notice says that a session moved, or shows live progress that is not
// recorded.
type Notice struct {
	SessionID string
	Seq       int64     // newest event, when the session moved
	Progress  *Progress // otherwise
}

// Progress is a live sign of a planner or executor at work.
type Progress struct {
	CallID string    `json:"call_id,omitempty"`
	Kind   string    `json:"kind"` // "delta", "call", "retry", "invalid", "log", "attempt", "bytes"
	Text   string    `json:"text,omitempty"`
	At     time.Time `json:"at"`
}
