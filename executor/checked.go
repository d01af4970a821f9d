package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
)

// outputMax is the default of CheckedConfig.OutputMax.
const outputMax = 4 << 20

// CheckedConfig configures Checked.
type CheckedConfig struct {
	// Log gets one line for every call whose arguments are refused (S2-83).
	// Nil means slog.Default.
	Log *slog.Logger
	// OutputMax bounds an output in bytes of JSON; a larger one fails the
	// call with LimitExceeded. Default 4 MiB.
	OutputMax int
}

// Checked returns an executor that holds a call to its action's contract.
// Before next is asked, the arguments must satisfy the input schema
// (ActionInvalid) and every precondition must hold (PreconditionFailed).
// After, the output must be JSON of acceptable size and depth and satisfy the
// output schema (OutputInvalid, S2-18). A Wait is passed through.
func Checked(next Executor, cfg CheckedConfig) Executor {
	if cfg.OutputMax == 0 {
		cfg.OutputMax = outputMax
	}
	return Func(func(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
		if err := checkInput(c); err != nil {
			refuse(ctx, cfg.Log, c, fault.From(err))
			return Result{}, err
		}
		if err := checkPreconditions(ctx, c); err != nil {
			return Result{}, err
		}
		res, err := next.Execute(ctx, c, emit)
		if err != nil || res.Wait != nil {
			return res, err
		}
		res.Output, err = checkOutput(c, res.Output, cfg.OutputMax)
		return res, err
	})
}

func checkInput(c Call) error {
	if _, err := parseArgs(c.Args); err != nil {
		return err
	}
	args := c.Args
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	return violates(c.Action.Input.Validate(args, "/args"), fault.ActionInvalid, "the arguments of %s do not satisfy its input_schema", c.Action.Name)
}

// violates gives a schema's error the code and message of its place.
func violates(err error, code fault.Code, format string, args ...any) error {
	if err == nil {
		return nil
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	return fault.Wrap(f.Err, code, format, args...).With(f.Details...)
}

// refuse writes the security line of a refused call: what it was and which
// parts are wrong, but no values.
func refuse(ctx context.Context, log *slog.Logger, c Call, f *fault.Error) {
	if log == nil {
		log = slog.Default()
	}
	var pointers []string
	for i, d := range f.Details {
		if i == 20 {
			break
		}
		pointers = append(pointers, d.Pointer)
	}
	log.WarnContext(ctx, "action arguments refused",
		"security", true, "session_id", c.SessionID, "call_id", c.ID, "action", c.Action.Name,
		"tenant", c.Principal.Tenant, "subject", c.Principal.Subject, "code", string(f.Code), "pointers", pointers)
}

func checkPreconditions(ctx context.Context, c Call) error {
	if len(c.Action.Preconditions) == 0 {
		return nil
	}
	vars, err := varsOf(c)
	if err != nil {
		return err
	}
	for i, p := range c.Action.Preconditions {
		pointer := fmt.Sprintf("/preconditions/%d", i)
		holds, why, err := p.Explain(ctx, vars)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("call %s: precondition %q: %w", c.ID, p.Source(), context.Cause(ctx))
			}
			return fault.Wrap(err, fault.PreconditionFailed, "a precondition of %s cannot be evaluated: %s", c.Action.Name, p.Source()).
				With(fault.Detail{Pointer: pointer, Message: err.Error()})
		}
		if !holds {
			return fault.New(fault.PreconditionFailed, "a precondition of %s does not hold: %s", c.Action.Name, p.Source()).
				With(fault.Detail{Pointer: pointer, Message: why, Remedy: "bring about what it asks for first"})
		}
	}
	return nil
}

// varsOf returns what expressions of a call can read.
func varsOf(c Call) (expr.Vars, error) {
	var o struct {
		UserContext any `json:"user_context"`
		Environment any `json:"environment"`
	}
	if err := decodeExact(c.Observation, &o); err != nil {
		return expr.Vars{}, fmt.Errorf("call %s: observation: %w", c.ID, err)
	}
	v := expr.Vars{State: o.Environment, User: o.UserContext, Session: map[string]any{"id": c.SessionID}}
	if err := decodeExact(c.Args, &v.Args); err != nil {
		return expr.Vars{}, fmt.Errorf("call %s: arguments: %w", c.ID, err)
	}
	return v, nil
}

// decodeExact decodes JSON without rounding numbers. Nothing decodes to
// nothing.
func decodeExact(raw json.RawMessage, into any) error {
	if len(raw) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(into)
}

func checkOutput(c Call, output json.RawMessage, most int) (json.RawMessage, error) {
	if len(output) == 0 {
		output = json.RawMessage("null")
	}
	if len(output) > most {
		return nil, fault.New(fault.LimitExceeded, "the output of %s has %d bytes; at most %d are kept", c.Action.Name, len(output), most).
			With(fault.Detail{Code: "size", Message: "the output is too large", Remedy: "ask for less, or have the action return a reference"})
	}
	doc, err := normalizeJSON(output, plainText)
	if e, ok := errors.AsType[*jsonError](err); ok {
		return nil, fault.New(fault.OutputInvalid, "the output of %s is not usable", c.Action.Name).With(fault.Detail{Code: e.Code, Message: e.Error()})
	}
	if c.Action.Output == nil {
		return doc, nil
	}
	return doc, violates(c.Action.Output.Validate(doc, ""), fault.OutputInvalid, "the output of %s does not satisfy its output_schema", c.Action.Name)
}
