package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/oap-runtime/oap/internal/fault"
)

// A Problem is the body of every failure: an RFC 9457 problem document that
// also satisfies clients that look for ok, code, message or detail (C-03).
type Problem struct {
	Type      string         `json:"type" doc:"always about:blank; code identifies the problem" example:"about:blank"`
	Title     string         `json:"title" doc:"the status in words" example:"Not Found"`
	Status    int            `json:"status" doc:"HTTP status" example:"404"`
	OK        bool           `json:"ok" doc:"always false" example:"false"`
	Code      fault.Code     `json:"code" doc:"stable, machine-readable reason" example:"agent.not_found"`
	Message   string         `json:"message" doc:"what went wrong, for people" example:"Session not found"`
	Detail    string         `json:"detail" doc:"the same text as message" example:"Session not found"`
	Details   []fault.Detail `json:"details" nullable:"false" doc:"each part of the request at fault: pointers are JSON Pointers into the body, or /query/NAME, /path/NAME and /header/NAME"`
	Retryable bool           `json:"retryable" doc:"whether the same request may succeed later; see Retry-After"`
	RequestID string         `json:"request_id" doc:"quote it when asking for help; also in the X-Request-Id header"`

	header http.Header
}

const problemType = "application/problem+json"

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// GetStatus, GetHeaders and ContentType let huma write a Problem that a
// handler returns.
func (p *Problem) GetStatus() int            { return p.Status }
func (p *Problem) GetHeaders() http.Header   { return p.header }
func (p *Problem) ContentType(string) string { return problemType }

// statuses maps every code to its HTTP status. Codes of outcomes appear when a
// request as a whole met them: they are the client's to mend (4xx) except
// where a service behind us failed (502).
var statuses = map[fault.Code]int{
	fault.Validation:        http.StatusBadRequest,
	fault.Unauthenticated:   http.StatusUnauthorized,
	fault.ScopeDenied:       http.StatusForbidden,
	fault.NotFound:          http.StatusNotFound,
	fault.MethodNotAllowed:  http.StatusMethodNotAllowed,
	fault.TooLarge:          http.StatusRequestEntityTooLarge,
	fault.UnsupportedMedia:  http.StatusUnsupportedMediaType,
	fault.Conflict:          http.StatusConflict,
	fault.IdempotencyReused: http.StatusUnprocessableEntity,
	fault.RateLimited:       http.StatusTooManyRequests,
	fault.SessionCompleted:  http.StatusBadRequest, // S2-61
	fault.SessionBusy:       http.StatusConflict,
	fault.NotWaiting:        http.StatusConflict,
	fault.ManifestInvalid:   http.StatusUnprocessableEntity,
	fault.ManifestConflict:  http.StatusConflict,
	fault.ExpressionInvalid: http.StatusUnprocessableEntity,

	fault.ActionUnknown:      http.StatusBadRequest,
	fault.ActionInvalid:      http.StatusBadRequest,
	fault.ActionFailed:       http.StatusBadGateway,
	fault.ActionUnsupported:  http.StatusUnprocessableEntity,
	fault.OutputInvalid:      http.StatusBadGateway,
	fault.PreconditionFailed: http.StatusConflict,
	fault.PostconditionError: http.StatusUnprocessableEntity,
	fault.SecretMissing:      http.StatusUnprocessableEntity,
	fault.EgressBlocked:      http.StatusUnprocessableEntity,
	fault.EgressFailed:       http.StatusBadGateway,
	fault.EffectUnknown:      http.StatusBadGateway,
	fault.Timeout:            http.StatusGatewayTimeout,
	fault.LimitExceeded:      http.StatusUnprocessableEntity,
	fault.SandboxCPU:         http.StatusUnprocessableEntity,
	fault.SandboxMemory:      http.StatusUnprocessableEntity,
	fault.SandboxWall:        http.StatusUnprocessableEntity,
	fault.SandboxOutput:      http.StatusUnprocessableEntity,
	fault.SandboxError:       http.StatusUnprocessableEntity,
	fault.FileNotFound:       http.StatusUnprocessableEntity,
	fault.FileDenied:         http.StatusUnprocessableEntity,
	fault.PlanInvalid:        http.StatusBadRequest, // C-21
	fault.PlanRefused:        http.StatusBadGateway,
	fault.PlanTruncated:      http.StatusBadGateway,
	fault.ModelFailed:        http.StatusBadGateway, // D-2
	fault.ModelMisconfigured: http.StatusBadGateway,
	fault.MaxSteps:           http.StatusBadRequest,
	fault.Skipped:            http.StatusUnprocessableEntity,
	fault.Canceled:           http.StatusConflict,

	fault.Unavailable: http.StatusServiceUnavailable,
	fault.Internal:    http.StatusInternalServerError,
}

// clientGone is the status that the access log shows for a request whose
// client did not wait for the answer.
const clientGone = 499

// retryDefault is the Retry-After of a failure that is worth repeating and
// does not say when.
const retryDefault = 1 // seconds

// problem turns an error into the body that the client sees. A failure of ours
// is logged here, once, with its cause; the client sees only the request id.
func problem(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	req := requestFrom(ctx)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fault.New(fault.TooLarge, "the request body is over %d bytes", tooLarge.Limit)
	}
	f := fault.From(err)
	status, known := statuses[f.Code]
	if !known {
		f = fault.Wrap(err, fault.Internal, "internal error")
		status = http.StatusInternalServerError
	}
	gone := ctx.Err() != nil && (f.Code == fault.Internal || f.Code == fault.Canceled)
	if gone {
		status = clientGone
	}
	if status >= 500 {
		attrs := []any{"request_id", req.id, "route", req.route, "code", string(f.Code), "message", f.Message}
		if f.Err != nil {
			attrs = append(attrs, "cause", f.Err.Error())
		}
		req.logger.ErrorContext(ctx, "request failed", attrs...)
	}
	req.code = f.Code
	return newProblem(f, status, req.id)
}

func newProblem(f *fault.Error, status int, requestID string) *Problem {
	p := &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: f.Code, Message: f.Message, Detail: f.Message, Details: f.Details,
		Retryable: f.Retryable, RequestID: requestID, header: http.Header{},
	}
	if status == clientGone {
		p.Title = "Client Closed Request"
	}
	if p.Details == nil {
		p.Details = []fault.Detail{}
	}
	switch f.Code {
	case fault.RateLimited, fault.SessionBusy, fault.Unavailable, fault.ModelFailed:
		p.Retryable = true
	case fault.Unauthenticated:
		p.header.Set("WWW-Authenticate", `Bearer realm="oap"`)
	}
	if p.Retryable {
		seconds := retryDefault
		if f.RetryAfter > 0 {
			seconds = int(math.Ceil(f.RetryAfter.Seconds()))
		}
		p.header.Set("Retry-After", strconv.Itoa(seconds))
	}
	return p
}

// fail answers a request with err from outside a handler and ends it.
func fail(c *gin.Context, err error) {
	p := problem(c.Request.Context(), err)
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		panic("server: a Problem does not encode: " + err.Error())
	}
	for name, values := range p.header {
		c.Writer.Header()[name] = values
	}
	c.Writer.Header().Set("Content-Type", problemType)
	c.Status(p.Status)
	_, _ = c.Writer.Write(body.Bytes()) // a client that went away needs no answer
	c.Abort()
}

// huma is configured through package variables only; this package is their one
// owner. Field names are compared exactly, since a body that means one thing to
// the check and another to the decoder would pass unchecked.
func init() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return fromHuma(context.Background(), status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return fromHuma(ctx.Context(), status, msg, errs)
	}
}

// fromHuma turns what huma found wrong with a request into a Problem.
func fromHuma(ctx context.Context, status int, msg string, errs []error) *Problem {
	req := requestFrom(ctx)
	if status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
		return problem(ctx, fault.Wrap(errors.Join(append(errs, errors.New(msg))...), fault.Internal, "internal error"))
	}
	f := fault.New(fault.Validation, "the request is not valid")
	if len(errs) == 0 {
		f.Message = msg
	}
	for _, err := range errs[:min(len(errs), detailsMax)] {
		f.Details = append(f.Details, req.detail(err))
	}
	// huma meets the members of an object in no order.
	slices.SortStableFunc(f.Details, func(a, b fault.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
	if more := len(errs) - detailsMax; more > 0 {
		f.Details = append(f.Details, fault.Detail{Message: fmt.Sprintf("and %d more problems", more), Remedy: "mend these first"})
	}
	return problem(ctx, f)
}

// detailsMax is how many problems of one body are told. Telling each means
// finding its place in the body, so a body full of them would be expensive.
const detailsMax = 50
