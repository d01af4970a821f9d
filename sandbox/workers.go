package sandbox

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// workers lets a fixed number of runs execute at a time and keeps the rest in order of arrival.
type workers struct {
	slots   *semaphore.Weighted
	waiting atomic.Int64
	max     int64 // bound of waiting; beyond it acquire fails with ErrBusy
}

func newWorkers(n, queueMax int) *workers {
	return &workers{slots: semaphore.NewWeighted(int64(n)), max: int64(queueMax)}
}

// ticket is one run's right to execute. It is given up while the run waits for a host function, so that slow answers do
// not keep others from executing.
type ticket struct {
	slots *semaphore.Weighted
	held  bool
}

// acquire waits for a slot until ctx ends. The ticket must be released.
func (w *workers) acquire(ctx context.Context) (*ticket, error) {
	t := &ticket{slots: w.slots}
	if w.slots.TryAcquire(1) {
		t.held = true
		return t, nil
	}
	if w.waiting.Add(1) > w.max {
		w.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer w.waiting.Add(-1)
	return t, t.reacquire(ctx)
}

// release gives the slot up; it may be called again without effect.
func (t *ticket) release() {
	if t.held {
		t.held = false
		t.slots.Release(1)
	}
}

// reacquire waits for a slot again, regardless of how many others wait.
func (t *ticket) reacquire(ctx context.Context) error {
	if err := t.slots.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	t.held = true
	return nil
}
