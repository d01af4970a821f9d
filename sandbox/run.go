package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
)

// Run executes p with input, a JSON text (empty means {}), and waits for its result. It waits for the engine to be ready
// and for a free worker; ctx bounds that, and the run itself.
//
// The error is a [*GuestError] when the code failed, a [*LimitError] when it reached a limit, a [*TrapError] when it
// broke its engine, an [*InvalidError] when p or input cannot be run, [ErrBusy], [ErrClosed], or the cause of ctx's end.
// Any other error is a defect of the sandbox. With the first three the outcome tells what happened until then.
func (s *Sandbox) Run(ctx context.Context, p Program, input json.RawMessage) (Outcome, error) {
	if len(input) == 0 {
		input = json.RawMessage("{}")
	}
	if err := p.validate(input); err != nil {
		return Outcome{}, err
	}
	p.Limits = p.Limits.WithDefaults()
	if err := s.begin(); err != nil {
		return Outcome{}, err
	}
	defer s.work.Done()
	e, err := s.engine(ctx, p.Runtime)
	if err != nil {
		return Outcome{}, err
	}
	if least := int64(e.imageBytes) + memoryHeadroom; p.Limits.MemoryBytes < least {
		return Outcome{}, &InvalidError{"limits.memory_bytes",
			fmt.Sprintf("%d bytes are not enough for %s, which needs %d", p.Limits.MemoryBytes, p.Runtime.Version(), least)}
	}
	t, err := s.workers.acquire(ctx)
	if err != nil {
		return Outcome{}, err
	}
	defer t.release()
	return e.run(ctx, p, input, t)
}

// memoryHeadroom is the least memory that a program gets beyond the engine's image.
const memoryHeadroom = 1 << 20

// request is what the guest modules read.
type request struct {
	Name       string          `json:"name"`
	Entrypoint string          `json:"entrypoint"`
	Code       string          `json:"code"`
	LLM        bool            `json:"llm"`
	Seed       [4]uint32       `json:"seed"`
	Input      json.RawMessage `json:"input"`
}

// run executes a program whose limits are complete. The ticket may be nil when the program has no grants.
func (e *engine) run(ctx context.Context, p Program, input json.RawMessage, t *ticket) (Outcome, error) {
	x := newExecution(ctx, p, e.language, fuelOf(p.Limits, e.language.fuelPerMS()))
	x.ticket = t
	r := request{Name: p.Name, Entrypoint: p.Entrypoint, Code: p.Code, LLM: p.Grants.LLM != nil, Input: input}
	for i := range r.Seed {
		r.Seed[i] = uint32(x.random.Uint64())
	}
	text, err := json.Marshal(r)
	if err != nil {
		return Outcome{}, fmt.Errorf("sandbox: encode request: %w", err)
	}
	in, err := e.acquire(ctx, x)
	if err != nil {
		return Outcome{}, fmt.Errorf("sandbox: %w", err)
	}
	stop := e.language.run(wasi.WithProcess(ctx, x), in, text)
	err = x.verdict(stop)
	out := Outcome{
		Stdout: x.stdout.String(), Stderr: x.stderr.String(), Truncated: x.logLeft == 0 && x.stdout.total+x.stderr.total > p.Limits.LogBytes,
		Usage: x.usage(),
	}
	if err == nil {
		out.Output = x.door.result
	}
	if out.Truncated {
		out.Notes = append(out.Notes, fmt.Sprintf("stdout and stderr were cut after %d bytes (limits.log_bytes)", p.Limits.LogBytes))
	}
	if err := e.release(ctx, in, stop == nil); err != nil {
		return out, fmt.Errorf("sandbox: close instance: %w", err)
	}
	return out, err
}

// verdict decides what a run ended with. stop is the error of the call into the guest, nil when that returned.
func (x *execution) verdict(stop error) error {
	var limit *LimitError
	var trap *TrapError
	var exit *exited
	switch {
	case stop == nil:
		return x.outcome()
	case errors.As(stop, &limit):
		return limit
	case errors.As(stop, &trap):
		return trap
	case errors.As(stop, &exit):
		return &GuestError{Kind: "SystemExit", Message: exit.Error()}
	case x.ctx.Err() != nil && errors.Is(stop, context.Cause(x.ctx)):
		return context.Cause(x.ctx)
	case hostDefect(stop):
		return fmt.Errorf("sandbox: host function failed: %w", stop)
	case x.in.stackPointerLost():
		return stackError(x.limits.StackBytes)
	case x.in.memory.Refused() > 0:
		return memoryError(x.in)
	}
	reason, _, _ := strings.Cut(stop.Error(), "\n")
	return &TrapError{Reason: strings.TrimPrefix(reason, "wasm error: ")}
}

// outcome checks what came through the door.
func (x *execution) outcome() error {
	switch failure, result := x.door.failure, x.door.result; {
	case failure != nil && x.language.outOfMemory(failure):
		return memoryError(x.in)
	case failure != nil:
		return failure
	case result == nil:
		return &TrapError{Reason: "the engine ended without a result"}
	case !json.Valid(result):
		return &GuestError{Kind: "output", Message: "the result is not JSON"}
	case depth(result) > depthMax:
		return &GuestError{Kind: "output", Message: fmt.Sprintf("the result is nested deeper than %d", depthMax)}
	}
	return nil
}

// memoryError says that the guest ran into its memory limit.
func memoryError(in *instance) *LimitError {
	wanted := max(int64(in.memory.Refused()), int64(in.memory.Peak()))
	return &LimitError{Limit: LimitMemory, Used: wanted, Max: in.x.limits.MemoryBytes, Unit: "bytes",
		Remedy: "keep less in memory at a time, or raise limits.memory_bytes"}
}

// fuelOf converts the CPU limit.
func fuelOf(l Limits, perMS int64) int64 {
	return int64(l.CPU/1000) * perMS / 1000 // in microseconds, to keep the product in range
}

// depthMax bounds the nesting of input and output, which later readers walk recursively.
const depthMax = 256

func (p Program) validate(input json.RawMessage) error {
	if err := p.Limits.Validate(); err != nil {
		return err
	}
	switch {
	case len(p.Code) > codeBytesMax:
		return &InvalidError{"code", fmt.Sprintf("%d bytes are more than %d", len(p.Code), codeBytesMax)}
	case !utf8.ValidString(p.Code):
		return &InvalidError{"code", "is not UTF-8"}
	case strings.ContainsRune(p.Code, 0):
		return &InvalidError{"code", "contains a NUL character"}
	case len(p.Name) > nameBytesMax || !utf8.ValidString(p.Name):
		return &InvalidError{"name", fmt.Sprintf("is not UTF-8 of at most %d bytes", nameBytesMax)}
	case len(p.Entrypoint) > nameBytesMax || !utf8.ValidString(p.Entrypoint):
		return &InvalidError{"entrypoint", fmt.Sprintf("is not UTF-8 of at most %d bytes", nameBytesMax)}
	case len(input) > inputBytesMax:
		return &InvalidError{"input", fmt.Sprintf("%d bytes are more than %d", len(input), inputBytesMax)}
	case !json.Valid(input):
		return &InvalidError{"input", "is not JSON"}
	case depth(input) > depthMax:
		return &InvalidError{"input", fmt.Sprintf("is nested deeper than %d", depthMax)}
	}
	return nil
}

// depth is the nesting of arrays and objects in a valid JSON text.
func depth(text []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			now++
			most = max(most, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return most
}
