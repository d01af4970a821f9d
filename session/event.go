package session

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner"
)

// An EventType names what happened. Data of each type is the struct of the
// same name in this file.
type EventType string

const (
	EventCreated       EventType = "session.created"
	EventPlanned       EventType = "plan.committed"
	EventPlanFailed    EventType = "plan.failed"
	EventCallStarted   EventType = "call.started"
	EventCallWaiting   EventType = "call.waiting"
	EventCallFinished  EventType = "call.finished"
	EventInput         EventType = "input.received"
	EventCancelAsked   EventType = "cancel.requested"
	EventRunRequested  EventType = "run.requested"
	EventCompleted     EventType = "session.completed"
	EventFailed        EventType = "session.failed"
	EventCancelled     EventType = "session.cancelled"
	EventSessionClosed EventType = "session.closed"
)

// Created is the data of the first event.
type Created struct {
	Goal       string      `json:"goal"`
	Manifest   ManifestRef `json:"manifest"`
	MaxSteps   int         `json:"max_steps"`
	Options    Options     `json:"options"`
	ExternalID string      `json:"external_id,omitempty"`
	StateID    string      `json:"state_id"`
	StateHash  string      `json:"state_hash"`
	Template   string      `json:"prompt_template"` // version of the prompt template in force
}

// Planned records a decision before anything of it is carried out.
type Planned struct {
	Calls     []PlannedCall `json:"calls,omitempty"`
	Finish    bool          `json:"finish,omitempty"`
	Answer    Value         `json:"answer,omitzero"`
	Reason    string        `json:"reason,omitempty"`
	Exchanges []Exchange    `json:"exchanges,omitempty"`
	Usage     planner.Usage `json:"usage"` // of all exchanges
	StateID   string        `json:"state_id"`
}

// A PlannedCall is one call of a plan, with the id it keeps for good.
type PlannedCall struct {
	ID        string   `json:"call_id"`
	Action    string   `json:"action"`
	Args      Value    `json:"args"` // may hold placeholders
	OutputKey string   `json:"output_key,omitempty"`
	After     []string `json:"after,omitempty"` // calls that must succeed first
}

// PlanFailed records that the planner gave no usable answer.
type PlanFailed struct {
	Error     Failure       `json:"error"`
	Exchanges []Exchange    `json:"exchanges,omitempty"`
	Usage     planner.Usage `json:"usage"`
	StateID   string        `json:"state_id"`
	Attempt   int           `json:"attempt"`           // consecutive failures, from 1
	RetryAt   time.Time     `json:"retry_at,omitzero"` // when the loop tries again by itself
}

// An Exchange is planner.Exchange with its texts by reference.
type Exchange struct {
	Model      string          `json:"model"`
	Messages   []Message       `json:"messages"`
	Reply      Value           `json:"reply"` // a JSON string
	Finish     string          `json:"finish_reason,omitempty"`
	Repaired   string          `json:"repaired,omitempty"`
	Problem    string          `json:"problem,omitempty"`
	Usage      planner.Usage   `json:"usage"`
	DurationMS int64           `json:"duration_ms"`
	Extra      json.RawMessage `json:"extra,omitempty"`
}

// A Message is a chat message whose text is the concatenation of its parts.
type Message struct {
	Role  string `json:"role"`
	Parts []Part `json:"parts"`
}

// A Part is a text, or the canonical document of a state.
type Part struct {
	Text  Value  `json:"text,omitzero"` // a JSON string
	State string `json:"state,omitempty"`
}

// CallStarted is written before a call is carried out.
type CallStarted struct {
	ID      string    `json:"call_id"`
	Action  string    `json:"action"`
	Step    int       `json:"step"` // 1-based number of the call in the session
	Args    Value     `json:"args"` // final: placeholders filled, defaults applied
	Digest  string    `json:"digest"`
	Key     string    `json:"idempotency_key"`
	Effect  string    `json:"effect"` // manifest.Effect
	Now     time.Time `json:"now"`
	Seed    string    `json:"seed"` // 32 bytes, hex
	Attempt int       `json:"attempt"`
}

// CallWaiting records that a call waits for something outside.
type CallWaiting struct {
	ID     string        `json:"call_id"`
	Action string        `json:"action"`
	Wait   executor.Wait `json:"wait"`
}

// CallFinished records a call's outcome and the state it led to.
type CallFinished struct {
	ID         string         `json:"call_id"`
	Action     string         `json:"action"`
	Step       int            `json:"step"`
	Success    bool           `json:"success"`
	Output     Value          `json:"output,omitzero"`
	Error      *Failure       `json:"error,omitempty"`
	Skipped    bool           `json:"skipped,omitempty"` // never carried out; does not count as a step
	DurationMS int64          `json:"duration_ms"`
	Usage      executor.Usage `json:"usage"`
	Notes      []string       `json:"notes,omitempty"`
	StateID    string         `json:"state_id,omitempty"` // "" when the state did not change
	StateHash  string         `json:"state_hash,omitempty"`
	OutputKey  string         `json:"output_key,omitempty"`
}

// A Failure is a fault as the log keeps it.
type Failure struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Details json.RawMessage `json:"details,omitempty"`
}

// Input is a person's answer to a waiting call.
type Input struct {
	CallID string          `json:"call_id"`
	Value  json.RawMessage `json:"value"`
	By     string          `json:"by"`
}

// CancelAsked says who wants the session to end, and why.
type CancelAsked struct {
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Ended is the data of completed, failed and cancelled.
type Ended struct {
	Detail string        `json:"detail"`
	Answer Value         `json:"answer,omitzero"`
	Error  *Failure      `json:"error,omitempty"`
	Steps  int           `json:"steps"`
	Usage  planner.Usage `json:"usage"` // of the whole session
}

// Closed is the data of session.closed.
type Closed struct {
	By string `json:"by"`
}

// ComputeHash returns the hash that chains e to its predecessor: SHA-256 over
// PrevHash, SessionID, Seq, Type, Time in microseconds and Data, each preceded
// by its length as eight big-endian bytes, in lower-case hex.
func (e Event) ComputeHash() string {
	h := sha256.New()
	var n [8]byte
	field := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	number := func(v int64) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(v))
		field(b[:])
	}
	field([]byte(e.PrevHash))
	field([]byte(e.SessionID))
	number(e.Seq)
	field([]byte(e.Type))
	number(e.Time.UnixMicro())
	field(e.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// MarshalJSON writes an event as the log's readers see it.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Seq      int64           `json:"seq"`
		Type     EventType       `json:"type"`
		Time     time.Time       `json:"time"`
		Data     json.RawMessage `json:"data"`
		PrevHash string          `json:"prev_hash"`
		Hash     string          `json:"hash"`
	}{e.Seq, e.Type, e.Time.UTC(), e.Data, e.PrevHash, e.Hash})
}
