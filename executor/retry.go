package executor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// attemptsMax bounds the attempts of one call, whatever a manifest says.
	attemptsMax = 20
	// The defaults of RetryConfig (C-29).
	attemptsDefault    = 4
	backoffDefault     = time.Second
	backoffMaxDefault  = 30 * time.Second
	retryBudgetDefault = time.Minute
)

// RetryConfig configures Retry. An action's own retry settings go before
// Attempts and Backoff.
type RetryConfig struct {
	// Attempts is how often a call is tried in all. Default 4, at most 20.
	Attempts int
	// Backoff is the time before the second attempt, doubling after. Half of
	// each wait is random. Default 1 s.
	Backoff time.Duration
	// BackoffMax bounds a single wait, also one that the receiver asked for.
	// Default 30 s.
	BackoffMax time.Duration
	// Budget bounds the waits of one call together. When the next one does not
	// fit, the last failure is the outcome. Default 1 min.
	Budget time.Duration
	// Wait blocks for d or until ctx ends, with ctx's error. Nil waits for
	// real.
	Wait func(ctx context.Context, d time.Duration) error
}

func (c RetryConfig) withDefaults() RetryConfig {
	if c.Attempts == 0 {
		c.Attempts = attemptsDefault
	}
	if c.Backoff == 0 {
		c.Backoff = backoffDefault
	}
	if c.BackoffMax == 0 {
		c.BackoffMax = backoffMaxDefault
	}
	if c.Budget == 0 {
		c.Budget = retryBudgetDefault
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	return c
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Retry returns an executor that repeats a call, with the same id and key,
// while next fails with a Retryable fault. Next marks as such only what is
// safe to repeat for the action's effect; EffectUnknown of an action with
// effect once is never repeated, even if marked.
//
// A repetition of a call that may have taken effect is made with Repeated
// set. The outcome is the last attempt's, with the usage of all.
func Retry(next Executor, cfg RetryConfig) Executor {
	cfg = cfg.withDefaults()
	return Func(func(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
		attempts, backoff := cfg.Attempts, cfg.Backoff
		if a := c.Action.Retry.Attempts; a > 0 {
			attempts = a
		}
		if b := c.Action.Retry.Backoff; b > 0 {
			backoff = b
		}
		attempts = min(attempts, attemptsMax)
		// The call's own randomness: two calls spread out, one call repeats
		// itself.
		jitter := rand.New(rand.NewChaCha8(c.Seed))
		var used Usage
		var waited time.Duration
		for n := 1; ; n++ {
			res, err := next.Execute(ctx, c, emit)
			used = addUsage(used, res.Usage)
			res.Usage = used
			f, again := repeatable(c, err)
			if !again || n >= attempts {
				return res, err
			}
			d := min(max(delay(backoff, n, cfg.BackoffMax, jitter), f.RetryAfter), cfg.BackoffMax)
			if deadline, ok := ctx.Deadline(); waited+d > cfg.Budget || ok && time.Now().Add(d).After(deadline) {
				return res, err
			}
			send(emit, Progress{Kind: "attempt", Text: fmt.Sprintf("attempt %d of %d failed (%s); the next is in %s", n, attempts, f.Message, d.Round(time.Millisecond))})
			if err := cfg.Wait(ctx, d); err != nil {
				if interrupted(ctx) {
					return res, fmt.Errorf("call %s: wait before attempt %d: %w", c.ID, n+1, err)
				}
				return res, f
			}
			waited += d
			c.Repeated = c.Repeated || f.Code != fault.EgressFailed
		}
	})
}

// repeatable returns err as a fault, and whether the call may be made again.
func repeatable(c Call, err error) (*fault.Error, bool) {
	if err == nil || !fault.IsOutcome(err) {
		return nil, false
	}
	f := fault.From(err)
	return f, f.Retryable && (c.Action.Effect != manifest.Once || f.Code != fault.EffectUnknown)
}

// delay returns the wait after attempt n: exponential, half of it random.
func delay(backoff time.Duration, n int, most time.Duration, jitter *rand.Rand) time.Duration {
	d := most
	if n <= 32 && backoff <= most>>(n-1) {
		d = backoff << (n - 1)
	}
	return d/2 + time.Duration(jitter.Int64N(int64(d/2)+1))
}

func addUsage(a, b Usage) Usage {
	b.Attempts = a.Attempts + max(b.Attempts, 1)
	b.BytesIn += a.BytesIn
	b.BytesOut += a.BytesOut
	if b.HTTPStatus == 0 {
		b.HTTPStatus = a.HTTPStatus
	}
	if b.Sandbox == nil {
		b.Sandbox = a.Sandbox
	}
	if a.Model != nil {
		m := *a.Model
		if b.Model != nil {
			m.Calls += b.Model.Calls
			m.PromptTokens += b.Model.PromptTokens
			m.CompletionTokens += b.Model.CompletionTokens
			m.CostUSD += b.Model.CostUSD
		}
		b.Model = &m
	}
	return b
}

// send reports progress to a caller who wants it.
func send(emit func(Progress), p Progress) {
	if emit != nil {
		emit(p)
	}
}
