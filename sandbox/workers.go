package sandbox

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// workers lets a fixed number of runs execute at a time and keeps the rest in order of arrival.
type workers struct {
	slots   *semaphore.Weighted
	n       int64
	waiting atomic.Int64
	max     int64 // bound of waiting; beyond it acquire fails with ErrBusy
}

func newWorkers(n, queueMax int) *workers {
	return &workers{slots: semaphore.NewWeighted(int64(n)), n: int64(n), max: int64(queueMax)}
}

// acquire waits for a slot until ctx ends. Every successful call is paired with one release.
func (w *workers) acquire(ctx context.Context) error {
	if w.slots.TryAcquire(1) {
		return nil
	}
	if w.waiting.Add(1) > w.max {
		w.waiting.Add(-1)
		return ErrBusy
	}
	defer w.waiting.Add(-1)
	if err := w.slots.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (w *workers) release() { w.slots.Release(1) }

// drain waits until no run holds a slot, and keeps them all until resume.
func (w *workers) drain(ctx context.Context) error {
	if err := w.slots.Acquire(ctx, w.n); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (w *workers) resume() { w.slots.Release(w.n) }
