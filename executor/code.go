package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/sandbox"
)

const (
	// guestTextMax bounds what an outcome repeats of a guest's exception, and
	// tracebackMax of its traceback. Of a longer one the end is kept: that is
	// where the error is.
	guestTextMax = 2 << 10
	tracebackMax = 4 << 10
)

// A Sandbox runs untrusted code. *sandbox.Sandbox is one.
type Sandbox interface {
	Run(ctx context.Context, p sandbox.Program, input json.RawMessage) (sandbox.Outcome, error)
}

// CodeConfig configures Code.
type CodeConfig struct {
	// Sandbox runs the code. Required.
	Sandbox Sandbox
	// LLM answers a chat completion request of guest code, with what it cost.
	// Its error is shown to the guest and must hold no secrets. Nil means that
	// no guest reaches a model, whatever is granted.
	LLM func(ctx context.Context, request json.RawMessage) (json.RawMessage, ModelUsage, error)
	// GrantLLM lets every guest use LLM, not only those whose manifest grants
	// it with permissions.llm (C-12).
	GrantLLM bool
}

// Code performs run_code actions.
type Code struct {
	cfg CodeConfig
}

var _ Executor = (*Code)(nil)

// NewCode returns a Code. It panics when cfg has no sandbox.
func NewCode(cfg CodeConfig) *Code {
	if cfg.Sandbox == nil {
		panic("executor: CodeConfig.Sandbox is nil")
	}
	return &Code{cfg: cfg}
}

// Execute runs the action's code with the arguments as input. The result is
// the same for the same call, but for what a granted model answers (S2-17).
// The usage is set with an error, too.
func (x *Code) Execute(ctx context.Context, c Call, _ func(Progress)) (Result, error) {
	o := c.Action.Code
	rt, note, ok := sandbox.ParseRuntime(o.Runtime)
	if !ok {
		return Result{}, fault.New(fault.ActionUnsupported, "runtime %s is not available", quoteShort(o.Runtime)).
			With(fault.Detail{Pointer: "/runtime", Message: "no such language is built in", Remedy: `write "python3.11" or "javascript"`})
	}
	limits := limitsOf(o.Limits)
	m := meter{llm: x.cfg.LLM}
	p := sandbox.Program{
		Runtime: rt, Name: c.Action.Name, Code: o.Code, Entrypoint: o.Entrypoint,
		Limits: limits, Now: c.Now, Seed: c.Seed,
	}
	var notes []string
	switch granted := o.LLM || x.cfg.GrantLLM; {
	case granted && x.cfg.LLM != nil:
		p.Grants.LLM = m.call
	case granted:
		notes = append(notes, "the code may use a model, but none is configured")
	}
	input := c.Args
	if len(input) == 0 {
		input = json.RawMessage("{}")
	}
	out, err := x.cfg.Sandbox.Run(ctx, p, input)
	if note != "" {
		notes = append(notes, note)
	}
	for _, n := range out.Notes {
		if n != note {
			notes = append(notes, n)
		}
	}
	if out.Truncated {
		notes = append(notes, fmt.Sprintf("the code printed more than %d bytes; the rest was dropped", limits.LogBytes))
	}
	res := Result{Output: out.Output, Notes: notes, Usage: Usage{Attempts: 1, Sandbox: sandboxUsage(out, limits), Model: m.spent()}}
	if err != nil {
		res.Output = nil
		return res, codeFault(c, err)
	}
	return res, nil
}

// limitsOf returns an action's limits with the sandbox's defaults.
func limitsOf(l manifest.Limits) sandbox.Limits {
	return sandbox.Limits{
		CPU: l.CPU, Wall: l.Wall, MemoryBytes: l.MemoryBytes, OutputBytes: l.OutputBytes, LogBytes: l.LogBytes, HostCalls: l.HostCalls,
	}.WithDefaults()
}

func sandboxUsage(out sandbox.Outcome, l sandbox.Limits) *SandboxUsage {
	u := out.Usage
	return &SandboxUsage{
		Fuel: u.Fuel, CPUMS: u.CPU.Milliseconds(), CPULimitMS: l.CPU.Milliseconds(), WallMS: u.Wall.Milliseconds(),
		MemoryBytes: u.MemoryPeakBytes, MemoryLimit: l.MemoryBytes, HostCalls: u.HostCalls,
		Stdout: out.Stdout, Stderr: out.Stderr, Truncated: out.Truncated,
	}
}

// codeFault returns the outcome that a sandbox's error means. What it does not
// know is ours.
func codeFault(c Call, err error) error {
	name := c.Action.Name
	if e, ok := errors.AsType[*sandbox.LimitError](err); ok {
		return fault.Wrap(err, limitCode(e.Limit), "the code of %s reached its %s limit: %d of %d %s", name, strings.ReplaceAll(e.Limit, "_", " "), e.Used, e.Max, e.Unit).
			With(fault.Detail{Code: e.Limit, Message: "the run was stopped", Remedy: e.Remedy})
	}
	if e, ok := errors.AsType[*sandbox.GuestError](err); ok {
		f := fault.Wrap(err, fault.SandboxError, "the code of %s failed: %s", name, tail(e.Error(), guestTextMax)).
			With(fault.Detail{Code: tail(e.Kind, 100), Message: tail(e.Message, guestTextMax)})
		if e.Traceback != "" {
			f = f.With(fault.Detail{Code: "traceback", Message: tail(e.Traceback, tracebackMax)})
		}
		return f
	}
	if e, ok := errors.AsType[*sandbox.TrapError](err); ok {
		return fault.Wrap(err, fault.SandboxError, "the code of %s crashed its interpreter: %s", name, tail(e.Reason, guestTextMax))
	}
	if e, ok := errors.AsType[*sandbox.InvalidError](err); ok {
		return fault.Wrap(err, fault.ActionInvalid, "the code of %s cannot be run as declared", name).
			With(fault.Detail{Pointer: "/" + strings.ReplaceAll(e.Field, ".", "/"), Message: e.Message})
	}
	if errors.Is(err, sandbox.ErrBusy) {
		return fault.Wrap(err, fault.Unavailable, "too many programs are waiting to run").Retry(0)
	}
	return fmt.Errorf("call %s: run code: %w", c.ID, err)
}

func limitCode(limit string) fault.Code {
	switch limit {
	case sandbox.LimitCPU:
		return fault.SandboxCPU
	case sandbox.LimitMemory, sandbox.LimitStack:
		return fault.SandboxMemory
	case sandbox.LimitWall, sandbox.LimitHostTime:
		return fault.SandboxWall
	case sandbox.LimitOutput:
		return fault.SandboxOutput
	}
	return fault.LimitExceeded
}

// tail returns the end of s, of at most n bytes.
func tail(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return "…" + strings.ToValidUTF8(s[len(s)-n:], "")
}

// A meter counts what one run's model calls cost.
type meter struct {
	llm func(context.Context, json.RawMessage) (json.RawMessage, ModelUsage, error)

	mu    sync.Mutex // guards used
	used  ModelUsage
	calls int
}

func (m *meter) call(ctx context.Context, request json.RawMessage) (json.RawMessage, error) {
	reply, u, err := m.llm(ctx, request)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.used.PromptTokens += u.PromptTokens
	m.used.CompletionTokens += u.CompletionTokens
	m.used.CostUSD += u.CostUSD
	return reply, err
}

// spent returns the usage so far, or nil when there was no call.
func (m *meter) spent() *ModelUsage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls == 0 {
		return nil
	}
	u := m.used
	u.Calls = m.calls
	return &u
}
