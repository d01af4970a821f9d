package executor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// An Executor performs one call. The same call, with the same ID, may be
// executed again: after a crash, after a lost lease, and after a wait.
//
// An error for which fault.IsOutcome holds is the call's outcome: it is
// recorded and shown to the planner. Any other error is ours: nothing is
// recorded and the call stays open. Implementations are safe for concurrent
// use and honour ctx.
type Executor interface {
	Execute(ctx context.Context, c Call, emit func(Progress)) (Result, error)
}

// Func adapts a function to an Executor.
type Func func(context.Context, Call, func(Progress)) (Result, error)

// Execute calls f.
func (f Func) Execute(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
	return f(ctx, c, emit)
}

// A Call is one action with its arguments.
type Call struct {
	ID             string // "<session>/<number>", stable over every repetition
	IdempotencyKey string // sent to receivers, stable over every repetition
	SessionID      string
	AgentID        string // owner of the file directory: tenant and manifest name
	Action         *manifest.Action
	Args           json.RawMessage // an object, placeholders already filled
	Observation    json.RawMessage // {timestamp, user_context, environment}
	Principal      auth.Principal
	Answer         *Answer   // what a person answered to this call's Wait, if it asked
	Now            time.Time // recorded clock of this call
	Seed           [32]byte  // recorded seed of all randomness in this call
	Repeated       bool      // an earlier execution of this call may have taken effect
}

// An Answer is a person's reply to a Wait.
type Answer struct {
	Value json.RawMessage `json:"value"`
	By    string          `json:"by"`
	At    time.Time       `json:"at"`
}

// Progress is one live sign of an executor at work. It is not recorded.
type Progress struct {
	Kind string `json:"kind"` // "log", "attempt", "bytes"
	Text string `json:"text"`
}

// A Result is an output, or a wait for something outside the process.
type Result struct {
	Output json.RawMessage // any JSON; nil with Wait
	Wait   *Wait
	Usage  Usage
	Notes  []string // remarks for people: a mapped runtime, a truncated log
}

// A Wait says what must happen before the same call is executed again.
type Wait struct {
	Kind    WaitKind        `json:"kind"`
	Prompt  string          `json:"prompt,omitempty"`
	Choices []string        `json:"choices,omitempty"`
	Schema  json.RawMessage `json:"schema,omitempty"`  // JSON Schema of the answer
	Until   time.Time       `json:"until,omitzero"`    // when the wait ends by itself; zero means never
	Context json.RawMessage `json:"context,omitempty"` // exact data the person should see
}

// A WaitKind names what a call waits for.
type WaitKind string

const (
	WaitInput WaitKind = "input" // a person's answer
	WaitTimer WaitKind = "timer" // only the clock
)

// Usage says what a call took.
type Usage struct {
	Attempts   int           `json:"attempts,omitempty"`
	HTTPStatus int           `json:"http_status,omitempty"`
	BytesIn    int64         `json:"bytes_in,omitempty"`
	BytesOut   int64         `json:"bytes_out,omitempty"`
	Sandbox    *SandboxUsage `json:"sandbox,omitempty"`
	Model      *ModelUsage   `json:"model,omitempty"` // model calls made by guest code
}

// SandboxUsage is what a run of code took, next to its limits.
type SandboxUsage struct {
	Fuel        int64  `json:"fuel"`
	CPUMS       int64  `json:"cpu_ms"`
	CPULimitMS  int64  `json:"cpu_limit_ms"`
	WallMS      int64  `json:"wall_ms"`
	MemoryBytes int64  `json:"memory_bytes"`
	MemoryLimit int64  `json:"memory_limit_bytes"`
	HostCalls   int    `json:"host_calls"`
	Stdout      string `json:"stdout,omitempty"` // captured and capped
	Stderr      string `json:"stderr,omitempty"`
	Truncated   bool   `json:"truncated,omitempty"`
}

// ModelUsage counts the tokens that guest code spent on the host's model.
type ModelUsage struct {
	Calls            int     `json:"calls"`
	PromptTokens     int64   `json:"prompt_tokens"`
	CompletionTokens int64   `json:"completion_tokens"`
	CostUSD          float64 `json:"cost_usd"`
}

// A Mux sends each call to the executor of its action's type.
type Mux map[manifest.Type]Executor

// Execute fails with code ActionUnsupported (S2-51) when no executor is
// registered for the action's type.
func (m Mux) Execute(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
	x, ok := m[c.Action.Type]
	if !ok {
		return Result{}, fault.New(fault.ActionUnsupported, "Unsupported action type %s", c.Action.Type)
	}
	return x.Execute(ctx, c, emit)
}
