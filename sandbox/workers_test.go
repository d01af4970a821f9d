package sandbox

import (
	"context"
	"errors"
	"runtime"
	"testing"
)

// waitFor returns when n runs wait.
func (w *workers) waitFor(n int64) {
	for w.waiting.Load() < n {
		runtime.Gosched()
	}
}

func TestWorkersQueue(t *testing.T) {
	t.Parallel()
	w := newWorkers(1, 2)
	first, err := w.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		name   string
		ticket *ticket
		err    error
	}
	results := make(chan result)
	start := func(ctx context.Context, name string) {
		ticket, err := w.acquire(ctx)
		results <- result{name, ticket, err}
	}
	go start(t.Context(), "second")
	w.waitFor(1)
	ctx, cancel := context.WithCancelCause(t.Context())
	go start(ctx, "third")
	w.waitFor(2)

	if _, err := w.acquire(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("acquire with a full queue = %v, want ErrBusy", err)
	}
	errGone := errors.New("gone")
	cancel(errGone)
	if r := <-results; r.name != "third" || !errors.Is(r.err, errGone) {
		t.Errorf("after cancelling the third: %s, %v; want its cause", r.name, r.err)
	}
	first.release()
	first.release() // without effect: the slot is not ours any more
	r := <-results
	if r.name != "second" || r.err != nil {
		t.Fatalf("after the first released: %s, %v; want the second", r.name, r.err)
	}

	// A run that comes back from a host function waits even when the queue is full.
	w.max = 0
	back := make(chan error)
	go func() { back <- first.reacquire(t.Context()) }()
	r.ticket.release()
	if err := <-back; err != nil {
		t.Errorf("reacquire = %v", err)
	}
	first.release()
}
