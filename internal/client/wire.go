package client

import (
	"encoding/json"
	"time"
)

// A Status is where a session is in its life.
type Status string

const (
	Waiting   Status = "waiting"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Ended reports whether a session in this status never moves again.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// A Goal is what a session is to achieve.
type Goal struct {
	Description string `json:"description"`
}

// A ManifestRef names the manifest that a session is pinned to.
type ManifestRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// Usage is what a session took of the model.
type Usage struct {
	PromptTokens     int64   `json:"prompt_tokens"`
	CompletionTokens int64   `json:"completion_tokens"`
	CostUSD          float64 `json:"cost_usd"`
	Estimated        bool    `json:"estimated,omitempty"`
}

// A Question is one call that waits for a person or for a time.
type Question struct {
	CallID string `json:"call_id"`
	Action string `json:"action"`
	Wait   struct {
		Kind    string          `json:"kind"` // "input" or "timer"
		Prompt  string          `json:"prompt,omitempty"`
		Choices []string        `json:"choices,omitempty"`
		Schema  json.RawMessage `json:"schema,omitempty"`
		Until   time.Time       `json:"until,omitzero"`
		Context json.RawMessage `json:"context,omitempty"`
	} `json:"wait"`
}

// A Session is one session. Lists leave out everything from Observation on.
type Session struct {
	SessionID string      `json:"session_id"`
	Status    Status      `json:"status"`
	Reason    string      `json:"reason,omitempty"`
	Detail    string      `json:"detail,omitempty"`
	Completed bool        `json:"completed"` // it never moves again, whatever the outcome
	Run       bool        `json:"run"`
	Goal      Goal        `json:"goal"`
	Manifest  ManifestRef `json:"manifest"`
	Steps     int         `json:"steps"`
	MaxSteps  int         `json:"max_steps"`
	LastSeq   int64       `json:"last_seq"`
	Usage     Usage       `json:"usage"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
	ClosedAt  time.Time   `json:"closed_at,omitzero"`

	Observation json.RawMessage `json:"observation,omitempty"`
	History     []Result        `json:"history,omitempty"`
	Waiting     []Question      `json:"waiting,omitempty"`
	Answer      json.RawMessage `json:"answer,omitempty"`
	Error       *Failure        `json:"error,omitempty"`
}

// A Result is the outcome of one call.
type Result struct {
	ActionName string          `json:"action_name"`
	Success    bool            `json:"success"`
	Output     json.RawMessage `json:"output"`
	Error      *string         `json:"error"`
}

// A Failure says why a session or call failed.
type Failure struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Details json.RawMessage `json:"details,omitempty"`
}

// A Page is a part of the list of sessions.
type Page struct {
	Sessions   []Session `json:"sessions"`
	NextCursor string    `json:"next_cursor,omitempty"`
}

// A StepAnswer is what one turn did.
type StepAnswer struct {
	Detail    string          `json:"detail,omitempty"`
	Result    *Result         `json:"result,omitempty"`
	Results   []Result        `json:"results,omitempty"`
	StepsDone *int            `json:"steps_done,omitempty"`
	Waiting   []Question      `json:"waiting,omitempty"`
	Answer    json.RawMessage `json:"answer,omitempty"`
}

// A Verification is what checking a session's record found.
type Verification struct {
	SessionID string `json:"session_id"`
	OK        bool   `json:"ok"`
	Events    int64  `json:"events"`
	States    int    `json:"states"`
	Blobs     int    `json:"blobs"`
	Head      string `json:"head"`
	BadSeq    int64  `json:"bad_seq,omitzero"`
	Problem   string `json:"problem,omitempty"`
}

// An Event is one entry of a session's log, or, with Seq 0, a live sign that
// is not recorded.
type Event struct {
	SessionID string          `json:"session_id"`
	Seq       int64           `json:"seq"`
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`
	Data      json.RawMessage `json:"data"`
	PrevHash  string          `json:"prev_hash"`
	Hash      string          `json:"hash"`
}

// Types of live signs.
const (
	Progress = "progress"  // Data is a planner's or executor's progress
	CaughtUp = "caught_up" // all recorded events have been sent
)
