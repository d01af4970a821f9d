package expr

import (
	"fmt"
	"strings"
)

// A SyntaxError reports an expression, statement or template that does not
// compile. It is always the author's to repair.
type SyntaxError struct {
	Source  string // the text that was compiled
	Offset  int    // byte offset into Source where the problem starts
	Pointer string // JSON Pointer of the string inside a template; empty elsewhere
	Message string // what is wrong
	Remedy  string // what to write instead; may be empty
}

func (e *SyntaxError) Error() string {
	return describe(e.Source, e.Message, e.Remedy, fmt.Sprintf("at offset %d", e.Offset))
}

// A Reason says why an evaluation failed. Reasons are stable and may be shown
// to clients.
type Reason string

// The reasons an [EvalError] can carry.
const (
	ReasonCost     Reason = "cost"     // the work exceeds the cost limit
	ReasonDeadline Reason = "deadline" // the evaluation took too long
	ReasonCanceled Reason = "canceled" // the caller's context ended; errors.Is finds its error
	ReasonType     Reason = "type"     // an operand has a kind the operator cannot take
	ReasonPath     Reason = "path"     // an assignment runs through something that holds no fields
	ReasonMissing  Reason = "missing"  // a template needs a value that is not there
	ReasonRange    Reason = "range"    // a number is too large, or division by zero
	ReasonSize     Reason = "size"     // a result, list or text is too large or nested too deep
	ReasonInternal Reason = "internal" // a defect in this package
)

// An EvalError reports an expression that compiled but could not be evaluated
// with the values it was given. Nothing has been changed.
type EvalError struct {
	Source  string // the text that was evaluated
	Pointer string // JSON Pointer of the string inside a template; empty elsewhere
	Reason  Reason
	Message string // what happened, naming the path or operand
	Remedy  string // what to write instead; may be empty
	Err     error  // the underlying error, if any
}

func (e *EvalError) Error() string {
	return describe(e.Source, e.Message, e.Remedy, string(e.Reason))
}

// Unwrap returns the underlying error, so that a canceled context is found by
// errors.Is.
func (e *EvalError) Unwrap() error { return e.Err }

func describe(source, message, remedy, note string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "expression %q: %s (%s)", clip(source, sourceShownMax), message, note)
	if remedy != "" {
		b.WriteString("; ")
		b.WriteString(remedy)
	}
	return b.String()
}

// sourceShownMax and valueShownMax bound how many bytes of a source or value
// are repeated in a message; longer ones end in an ellipsis.
const (
	sourceShownMax = 200
	valueShownMax  = 80
)

// clip shortens s to at most n bytes without cutting a character in half.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func evalErrorf(reason Reason, remedy, format string, args ...any) *EvalError {
	return &EvalError{Reason: reason, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}
