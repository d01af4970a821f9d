package sandbox

import (
	"fmt"
)

// Limit names the bound that a [LimitError] is about.
const (
	LimitCPU       = "cpu"
	LimitWall      = "wall"
	LimitMemory    = "memory"
	LimitStack     = "stack"
	LimitOutput    = "output"
	LimitHostCalls = "host_calls"
	LimitHostTime  = "host_time"
)

// LimitError tells that a run was stopped because it reached a limit.
type LimitError struct {
	Limit     string // one of the Limit constants
	Used, Max int64  // in Unit; Used is what was reached when the run was stopped
	Unit      string // "ms", "bytes" or "calls"
	Remedy    string // what the author of the code or the manifest can do
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s limit reached: %d of %d %s (%s)", e.Limit, e.Used, e.Max, e.Unit, e.Remedy)
}

// GuestError tells that the code itself failed: it did not parse, raised, had no entry point or returned something that
// is not JSON.
type GuestError struct {
	// Kind is the Python exception type or JavaScript error name ("ValueError", "TypeError", "SyntaxError"), or
	// "entrypoint" when no function to call was found, or "output" when the result cannot be JSON.
	Kind string
	// Message is the text of the exception.
	Message string
	// Traceback shows the lines of the user's code; empty when there is none.
	Traceback string
}

func (e *GuestError) Error() string {
	if e.Message == "" {
		return e.Kind
	}
	return e.Kind + ": " + e.Message
}

// TrapError tells that the WebAssembly instance stopped in a way that the language could not turn into an exception.
// The run had no effect outside its own memory.
type TrapError struct {
	Reason string
}

func (e *TrapError) Error() string { return "code crashed the language engine: " + e.Reason }

// InvalidError tells that a [Program], its [Limits] or its input cannot be run as given.
type InvalidError struct {
	Field   string // such as "limits.memory_bytes" or "runtime"
	Message string // what is wrong and what is allowed
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Message }
