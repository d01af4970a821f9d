package server

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

// CreateRequest is the body of POST /sessions (S2-38).
type CreateRequest struct {
	Goal           Goal             `json:"goal"`
	Observation    Observation      `json:"observation,omitempty"`
	MaxSteps       *int             `json:"max_steps,omitempty" minimum:"1" maximum:"10000" doc:"calls the session may execute; without it the manifest's own limit, or 10" example:"7"`
	Manifest       string           `json:"manifest,omitempty" maxLength:"300" doc:"\"name\", \"name@version\" or a digest; without it the server's default" example:"MeetBot@2.0"`
	Run            bool             `json:"run,omitempty" doc:"true lets workers advance the session at once; otherwise it moves on /step and /run"`
	AllowedActions []string         `json:"allowed_actions,omitempty" maxItems:"1000" maxLength:"200" doc:"the actions of the manifest this session may use; without it all"`
	Model          string           `json:"model,omitempty" maxLength:"200" doc:"model to plan with, instead of the manifest's"`
	Labels         map[string]label `json:"labels,omitempty" maxProperties:"64" doc:"free names and values to find the session by"`
	ExternalID     string           `json:"external_id,omitempty" maxLength:"200" doc:"your own name for the session, unique among yours"`
}

const goalCharsMax = 32768 // of a goal's description; longer is refused

// Goal is what a session is to achieve. It is read from an object with a
// description, or from a plain string.
type Goal struct {
	Description string
}

// UnmarshalJSON implements json.Unmarshaler.
func (g *Goal) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, &g.Description)
	}
	return json.Unmarshal(data, (*session.Goal)(g))
}

// MarshalJSON implements json.Marshaler: always the object.
func (g Goal) MarshalJSON() ([]byte, error) { return json.Marshal(session.Goal(g)) }

// Schema implements huma.SchemaProvider.
func (Goal) Schema(huma.Registry) *huma.Schema {
	one, most := 1, goalCharsMax
	text := func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Description: "what to achieve, in your own words"}
	}
	object := &huma.Schema{
		Type: huma.TypeObject, Properties: map[string]*huma.Schema{"description": text()},
		Required: []string{"description"}, AdditionalProperties: false,
	}
	for _, s := range append([]*huma.Schema{object}, object.Properties["description"]) {
		s.PrecomputeMessages()
	}
	plain := text()
	plain.PrecomputeMessages()
	return &huma.Schema{OneOf: []*huma.Schema{object, plain}, Description: "the goal: {\"description\": …}, or the description alone"}
}

// Observation is the initial state, passed on byte for byte so that numbers
// keep every digit.
type Observation json.RawMessage

// UnmarshalJSON implements json.Unmarshaler. null is an absent observation.
func (o *Observation) UnmarshalJSON(data []byte) error {
	if string(data) != "null" {
		*o = bytes.Clone(data)
	}
	return nil
}

// Schema implements huma.SchemaProvider.
func (Observation) Schema(huma.Registry) *huma.Schema {
	member := func(typ, doc string) *huma.Schema {
		s := &huma.Schema{Type: typ, Description: doc}
		if typ == huma.TypeObject {
			s.AdditionalProperties = true
		}
		s.PrecomputeMessages()
		return s
	}
	s := &huma.Schema{
		Type:        huma.TypeObject,
		Description: "what is known at the start",
		Properties: map[string]*huma.Schema{
			"timestamp":    member(huma.TypeString, "when it was observed, RFC 3339"),
			"user_context": member(huma.TypeObject, "who the user is and what they prefer"),
			"environment":  member(huma.TypeObject, "the state that actions read and change"),
		},
		AdditionalProperties: false,
		Examples:             []any{json.RawMessage(`{"timestamp":"2026-03-28T14:00:00Z","user_context":{"user_id":"U998877"},"environment":{"calendar":{"free_slots":[]}}}`)},
	}
	s.PrecomputeMessages()
	return s
}

// label is the value of one label.
type label string

// Schema implements huma.SchemaProvider.
func (label) Schema(huma.Registry) *huma.Schema {
	most := 256
	return &huma.Schema{Type: huma.TypeString, MaxLength: &most}
}

// Summary is a session without its content.
type Summary struct {
	SessionID  string              `json:"session_id" doc:"UUID"`
	Status     session.Status      `json:"status" enum:"queued,running,waiting,completed,failed,cancelled"`
	Reason     string              `json:"reason,omitempty" doc:"finer than status: input, timer, max_steps, a code"`
	Detail     string              `json:"detail,omitempty" doc:"the same for people"`
	Completed  bool                `json:"completed" doc:"true once the session never moves again, whatever the outcome"`
	Run        bool                `json:"run" doc:"whether workers advance it"`
	Goal       session.Goal        `json:"goal"`
	Manifest   session.ManifestRef `json:"manifest" doc:"the manifest it is pinned to"`
	Steps      int                 `json:"steps" doc:"calls executed, succeeded or not"`
	MaxSteps   int                 `json:"max_steps"`
	LastSeq    int64               `json:"last_seq" doc:"seq of its newest event; also the ETag"`
	Usage      planner.Usage       `json:"usage" doc:"what the model has taken so far"`
	Labels     map[string]string   `json:"labels,omitempty"`
	ExternalID string              `json:"external_id,omitempty"`
	CreatedAt  time.Time           `json:"created_at"`
	UpdatedAt  time.Time           `json:"updated_at"`
	WakeAt     time.Time           `json:"wake_at,omitzero" doc:"when a waiting session wakes by itself"`
	ClosedAt   time.Time           `json:"closed_at,omitzero"`
}

// State is a session with its content.
type State struct {
	Summary
	AllowedActions []string               `json:"allowed_actions,omitempty" doc:"absent: all of the manifest"`
	Model          string                 `json:"model,omitempty"`
	Observation    json.RawMessage        `json:"observation" doc:"{timestamp, user_context, environment}"`
	History        []session.ActionResult `json:"history" doc:"finished calls, oldest first"`
	Waiting        []session.Question     `json:"waiting,omitempty" doc:"the questions it waits for"`
	Answer         json.RawMessage        `json:"answer,omitempty" doc:"the planner's answer, once completed"`
	Error          *session.Failure       `json:"error,omitempty" doc:"why it failed"`
}

func summaryOf(r session.Session) Summary {
	return Summary{
		SessionID: r.ID, Status: r.Status, Reason: r.Reason, Detail: r.Detail, Completed: r.Status.Terminal(), Run: r.Run,
		Goal: session.Goal{Description: r.Goal}, Manifest: r.Manifest, Steps: r.Steps, MaxSteps: r.MaxSteps,
		LastSeq: r.LastSeq, Usage: r.Spent, Labels: r.Options.Labels, ExternalID: r.ExternalID,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, WakeAt: r.WakeAt, ClosedAt: r.ClosedAt,
	}
}

func stateOf(v session.View) State {
	return State{
		Summary: summaryOf(v.Session), AllowedActions: v.Session.Options.AllowedActions, Model: v.Session.Options.Model,
		Observation: v.Observation, History: orEmpty(v.History), Waiting: v.Waiting, Answer: v.Answer, Error: v.Error,
	}
}

// orEmpty makes a missing list an empty one, since clients iterate over it.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// StepResponse is what one turn did (S2-57 to S2-59). The seed protocol tells
// its forms apart by the members that are there.
type StepResponse struct {
	Detail    string                 `json:"detail,omitempty" doc:"\"Goal achieved\", \"Max steps reached, terminating\", \"Waiting for input\"; absent while the session goes on" example:"Goal achieved"`
	Result    *session.ActionResult  `json:"result,omitempty" doc:"outcome of the last call that the turn executed"`
	Results   []session.ActionResult `json:"results,omitempty" doc:"all outcomes, when the turn executed more than one call"`
	StepsDone *int                   `json:"steps_done,omitempty" doc:"calls executed in the session so far"`
	Waiting   []session.Question     `json:"waiting,omitempty" doc:"the questions the session now waits for"`
	Answer    json.RawMessage        `json:"answer,omitempty" doc:"the planner's answer, with \"Goal achieved\""`
}

// Event is one entry of a session's log, as session.Event writes itself.
type Event struct {
	Seq      int64             `json:"seq" doc:"from 1, without gaps; also the SSE id"`
	Type     session.EventType `json:"type" doc:"also the SSE event name"`
	Time     time.Time         `json:"time"`
	Data     json.RawMessage   `json:"data" doc:"what happened, by type"`
	PrevHash string            `json:"prev_hash" doc:"hash of the event before; empty for the first"`
	Hash     string            `json:"hash" doc:"chains this event to the one before"`
}

// EventPage is a piece of a session's log.
type EventPage struct {
	Events    []session.Event `json:"events" nullable:"false"`
	NextAfter int64           `json:"next_after" doc:"pass it as after= for what follows"`
	CaughtUp  bool            `json:"caught_up" doc:"false when more is there already"`
	Ended     bool            `json:"ended" doc:"true when the session has ended and everything was read"`
}

// CaughtUp is the data of the stream's caught_up event: what follows is live.
type CaughtUp struct {
	LastSeq int64 `json:"last_seq"`
}

// End is the data of the stream's end event, after which it closes.
type End struct {
	LastSeq int64          `json:"last_seq"`
	Status  session.Status `json:"status"`
}
