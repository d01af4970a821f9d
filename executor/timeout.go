package executor

import (
	"context"
	"errors"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// Timeout returns an executor that gives next a limited time for a whole call,
// repetitions included: the action's timeout, or d. An executor that knows
// what the end of the time means for the call reports that; for others the
// outcome is Timeout, or EffectUnknown for an action that must happen at most
// once.
func Timeout(next Executor, d time.Duration) Executor {
	return Func(func(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
		most := d
		if c.Action.Timeout > 0 {
			most = c.Action.Timeout
		}
		limited, cancel := context.WithTimeoutCause(ctx, most, errTimeLimit)
		defer cancel()
		res, err := next.Execute(limited, c, emit)
		if err == nil || fault.IsOutcome(err) || ctx.Err() != nil || limited.Err() == nil {
			return res, err
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errTimeLimit) {
			return res, err
		}
		if c.Action.Effect == manifest.Once {
			return res, fault.Wrap(err, fault.EffectUnknown, "it is not known whether %s took effect: it did not end within %s", c.Action.Name, most)
		}
		return res, fault.Wrap(err, fault.Timeout, "%s did not end within %s", c.Action.Name, most).
			With(fault.Detail{Pointer: "/timeout_ms", Message: "the time limit of the action was reached", Remedy: "raise it, or ask for less at once"})
	})
}
