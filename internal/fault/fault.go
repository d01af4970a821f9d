package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// An Error is a failure that somebody outside the process may see. Code is
// stable and machine-readable, Message is for people, Details name the parts
// of the input at fault. Err is the internal cause: it is logged, never shown.
type Error struct {
	Code       Code
	Message    string
	Details    []Detail
	Retryable  bool
	RetryAfter time.Duration // zero means the caller chooses
	Err        error
}

// A Detail points at one thing that is wrong and says how to mend it.
type Detail struct {
	Pointer string `json:"pointer,omitempty" doc:"JSON Pointer (RFC 6901) of the value at fault"`
	Line    int    `json:"line,omitempty" doc:"1-based line in the submitted document, when known"`
	Column  int    `json:"column,omitempty" doc:"1-based column in the submitted document, when known"`
	Code    string `json:"code,omitempty" doc:"stable reason, finer than the error's code"`
	Message string `json:"message" doc:"what is wrong"`
	Remedy  string `json:"remedy,omitempty" doc:"how to mend it"`
}

// New returns an error with a formatted message.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error that carries an internal cause. The cause is never
// part of the message.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// With returns a copy with details appended.
func (e *Error) With(details ...Detail) *Error {
	c := *e
	c.Details = append(append([]Detail(nil), e.Details...), details...)
	return &c
}

// Retry returns a copy marked as worth repeating, after the given time at the
// earliest.
func (e *Error) Retry(after time.Duration) *Error {
	c := *e
	c.Retryable, c.RetryAfter = true, after
	return &c
}

// Error returns "code: message", followed by the details, one clause each.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Message)
	for i, d := range e.Details {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(d.String())
	}
	return b.String()
}

// String returns "pointer (line n): message (remedy)".
func (d Detail) String() string {
	var b strings.Builder
	if d.Pointer != "" {
		b.WriteString(d.Pointer)
	}
	if d.Line > 0 {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "(line %d)", d.Line)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	if d.Remedy != "" {
		fmt.Fprintf(&b, " (%s)", d.Remedy)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an Error with the same code, so that
// errors.Is works against sentinels.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// From returns the first Error in err's tree, or one with code Internal that
// hides err as its cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Message: "internal error", Err: err}
}

// CodeOf returns the code of the first Error in err's tree, or Internal; ""
// for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return From(err).Code
}

// IsOutcome reports whether err is the outcome of an agent's action, to be
// recorded and shown to the planner. Any other error is ours: nothing is
// recorded and the step stays open.
func IsOutcome(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code != Internal && e.Code != Unavailable
}
