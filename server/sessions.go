package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// SessionPath is the path parameter of every route on one session.
type SessionPath struct {
	ID string `path:"id" maxLength:"36" doc:"the session's id"`
}

// id returns the session's id. What cannot be an id is not looked up, and
// answered like an id that does not exist.
func (p SessionPath) id() (string, error) {
	if u, err := uuid.Parse(p.ID); err != nil || u.String() != p.ID {
		return "", session.ErrNotFound
	}
	return p.ID, nil
}

type createInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" pattern:"^[\\x21-\\x7E]+$" patternDescription:"printable ASCII without blanks" doc:"sending the same request again with the same key returns the same session"`
	Body           CreateRequest
}

type createOutput struct {
	Status   int
	Location string `header:"Location" doc:"path of the session"`
	ETag     string `header:"ETag"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when the key returned an earlier session"`
	Body     State
}

func (s *Server) createSession(ctx context.Context, in *createInput) (*createOutput, error) {
	b := in.Body
	r := session.CreateRequest{
		Goal: b.Goal.Description, Observation: json.RawMessage(b.Observation), Manifest: b.Manifest, ExternalID: b.ExternalID,
		AllowedActions: b.AllowedActions, Model: b.Model, Run: b.Run, IdempotencyKey: in.IdempotencyKey,
	}
	if b.MaxSteps != nil {
		r.MaxSteps = *b.MaxSteps
	}
	if b.Labels != nil {
		r.Labels = make(map[string]string, len(b.Labels))
		for name, value := range b.Labels {
			r.Labels[name] = string(value)
		}
	}
	v, replayed, err := s.cfg.Manager.Create(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &createOutput{Status: http.StatusCreated, Location: "/sessions/" + v.Session.ID, ETag: etag(v.Session), Body: stateOf(v)}
	if replayed {
		out.Status, out.Replayed = http.StatusOK, "true"
	}
	return out, nil
}

type listInput struct {
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"sessions on a page"`
	Cursor   string `query:"cursor" maxLength:"500" doc:"next_cursor of the page before"`
	Status   string `query:"status" enum:"queued,running,waiting,completed,failed,cancelled" doc:"only sessions in this status"`
	Manifest string `query:"manifest" maxLength:"200" doc:"only sessions of the manifest with this name"`
}

// SessionPage is one page of the list of sessions.
type SessionPage struct {
	Sessions   []Summary `json:"sessions" nullable:"false" doc:"newest first"`
	NextCursor string    `json:"next_cursor,omitempty" doc:"absent on the last page"`
}

type listOutput struct {
	Link string `header:"Link" doc:"the next page, with rel=\"next\""`
	Body SessionPage
}

func (s *Server) listSessions(ctx context.Context, in *listInput) (*listOutput, error) {
	rows, next, err := s.cfg.Manager.List(ctx, session.Query{
		Status: session.Status(in.Status), Manifest: in.Manifest, Limit: in.Limit, Cursor: in.Cursor,
	})
	if err != nil {
		return nil, err
	}
	out := &listOutput{Body: SessionPage{Sessions: make([]Summary, len(rows)), NextCursor: next}}
	for i, row := range rows {
		out.Body.Sessions[i] = summaryOf(row)
	}
	if next != "" {
		q := url.Values{"cursor": {next}, "limit": {strconv.Itoa(in.Limit)}}
		if in.Status != "" {
			q.Set("status", in.Status)
		}
		if in.Manifest != "" {
			q.Set("manifest", in.Manifest)
		}
		out.Link = linkNext("/sessions", q)
	}
	return out, nil
}

func linkNext(path string, q url.Values) string {
	return fmt.Sprintf("<%s?%s>; rel=\"next\"", path, q.Encode())
}

type getInput struct {
	SessionPath
	IfNoneMatch string `header:"If-None-Match" doc:"an ETag you have; 304 when the session has not moved since"`
}

type stateOutput struct {
	Status       int
	ETag         string `header:"ETag" doc:"changes whenever the session moves"`
	CacheControl string `header:"Cache-Control"`
	Body         *State
}

func (s *Server) getSession(ctx context.Context, in *getInput) (*stateOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Manager.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &stateOutput{Status: http.StatusOK, ETag: etag(v.Session), CacheControl: revalidate}
	if matches(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
		return out, nil
	}
	state := stateOf(v)
	out.Body = &state
	return out, nil
}

// revalidate is the Cache-Control of answers with an ETag.
const revalidate = "private, no-cache"

// etag is the seq of the newest event, marked while a turn is under way, since
// the claim of a turn is no event but shows in the status.
func etag(r session.Session) string {
	tag := strconv.FormatInt(r.LastSeq, 10)
	if r.Status == session.Running {
		tag += "-running"
	}
	return `"` + tag + `"`
}

// matches reports whether an If-None-Match header names the tag.
func matches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == "*" || candidate == tag {
			return true
		}
	}
	return false
}

type stepOutput struct {
	Body StepResponse
}

// Texts of the seed protocol that clients compare.
const (
	detailAchieved = "Goal achieved"                      // S2-58
	detailMaxSteps = "Max steps reached, terminating"     // S2-59
	detailWaiting  = "Waiting for input"                  // C-21
	detailModel    = "LLM request failed"                 // D-2
	detailPlan     = "LLM did not return valid JSON plan" // C-21
	detailEnded    = "Session already completed"          // S2-61
)

func (s *Server) step(ctx context.Context, in *SessionPath) (*stepOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Manager.Step(ctx, id)
	if err != nil {
		return nil, seedFailure(err)
	}
	out := &stepOutput{}
	b := &out.Body
	if n := len(r.Results); n > 0 {
		b.Result = &r.Results[n-1]
		if n > 1 {
			b.Results = r.Results
		}
	}
	switch {
	case r.Finished:
		b.Detail = detailAchieved
		b.Answer, err = s.answer(ctx, id)
		return out, err
	case r.MaxSteps && len(r.Results) == 0:
		b.Detail = detailMaxSteps
		return out, nil
	case r.MaxSteps:
		b.Detail = detailMaxSteps
	case len(r.Waiting) > 0:
		b.Detail, b.Waiting = detailWaiting, r.Waiting
	case r.Session.Status != session.Queued && r.Session.Status != session.Running:
		b.Detail = r.Session.Detail
	}
	b.StepsDone = &r.Session.Steps
	return out, nil
}

// answer returns the planner's answer of a session that has just completed.
func (s *Server) answer(ctx context.Context, id string) (json.RawMessage, error) {
	v, err := s.cfg.Manager.Get(ctx, id)
	return v.Answer, err
}

// seedFailure gives the failures of a step the texts that clients of the seed
// protocol know. What really happened moves to the details.
func seedFailure(err error) error {
	f := fault.From(err)
	var text string
	switch f.Code {
	case fault.ModelFailed, fault.ModelMisconfigured, fault.PlanRefused, fault.PlanTruncated:
		text = detailModel
	case fault.PlanInvalid:
		text = detailPlan
	case fault.SessionCompleted:
		text = detailEnded
	default:
		return err
	}
	if f.Message == text {
		return f
	}
	seed := *f
	seed.Message = text
	seed.Details = append([]fault.Detail{{Code: string(f.Code), Message: f.Message}}, f.Details...)
	return &seed
}

type runInput struct {
	SessionPath
	Wait int `query:"wait" minimum:"0" maximum:"60" default:"0" doc:"seconds to wait for the session to pause or end"`
}

func (s *Server) run(ctx context.Context, in *runInput) (*stateOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	if _, err := s.cfg.Manager.Start(ctx, id); err != nil {
		return nil, seedFailure(err)
	}
	var v session.View
	rests := func() (bool, error) {
		v, err = s.cfg.Manager.Get(ctx, id)
		return err != nil || v.Session.Status == session.Waiting || v.Session.Status.Terminal(), err
	}
	if err := s.await(ctx, id, time.Duration(in.Wait)*time.Second, rests); err != nil {
		return nil, err
	}
	state := stateOf(v)
	out := &stateOutput{Status: http.StatusAccepted, ETag: etag(v.Session), CacheControl: revalidate, Body: &state}
	if v.Session.Status == session.Waiting || v.Session.Status.Terminal() {
		out.Status = http.StatusOK
	}
	return out, nil
}

// InputBody is the body of POST /sessions/{id}/input.
type InputBody struct {
	CallID string          `json:"call_id,omitempty" maxLength:"200" doc:"the call that asked; optional when only one waits"`
	Answer json.RawMessage `json:"answer,omitempty" doc:"any JSON that the question's schema allows"`
	Value  json.RawMessage `json:"value,omitempty" doc:"another name for answer; send one of them"`
}

type inputInput struct {
	SessionPath
	Body InputBody
}

type summaryOutput struct {
	ETag string `header:"ETag" doc:"changes whenever the session moves"`
	Body Summary
}

func (s *Server) input(ctx context.Context, in *inputInput) (*summaryOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	value := in.Body.Answer
	if value == nil {
		value = in.Body.Value
	}
	if (in.Body.Answer == nil) == (in.Body.Value == nil) {
		return nil, fault.New(fault.Validation, "the request is not valid").With(fault.Detail{
			Pointer: "/answer", Message: "exactly one of answer and value is needed", Remedy: `send {"answer": …}`,
		})
	}
	return summarize(s.cfg.Manager.Input(ctx, id, session.InputRequest{CallID: in.Body.CallID, Value: value}))
}

// CancelBody is the body of POST /sessions/{id}/cancel.
type CancelBody struct {
	Reason string `json:"reason,omitempty" maxLength:"2000" doc:"why, for the log"`
}

type cancelInput struct {
	SessionPath
	Body *CancelBody
}

func (s *Server) cancel(ctx context.Context, in *cancelInput) (*summaryOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	var reason string
	if in.Body != nil {
		reason = in.Body.Reason
	}
	return summarize(s.cfg.Manager.Cancel(ctx, id, reason))
}

func summarize(row session.Session, err error) (*summaryOutput, error) {
	if err != nil {
		return nil, seedFailure(err)
	}
	return &summaryOutput{ETag: etag(row), Body: summaryOf(row)}, nil
}

// CloseResponse is the body of POST /sessions/{id}/close (S2-63).
type CloseResponse struct {
	Transcript session.Transcript `json:"transcript"`
}

type closeOutput struct {
	Body CloseResponse
}

func (s *Server) closeSession(ctx context.Context, in *SessionPath) (*closeOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	t, err := s.cfg.Manager.Close(ctx, id)
	if err != nil {
		return nil, err
	}
	return &closeOutput{Body: CloseResponse{Transcript: t}}, nil
}

type verifyOutput struct {
	Body session.Verification
}

func (s *Server) verify(ctx context.Context, in *SessionPath) (*verifyOutput, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Manager.Verify(ctx, id)
	if err != nil {
		return nil, err
	}
	return &verifyOutput{Body: v}, nil
}
