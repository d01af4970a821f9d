package main

import (
	"context"
	"errors"
)

// errPartEnded is the cause with which the other parts of a group are stopped
// after the first has ended.
var errPartEnded = errors.New("another part of the program has ended")

// A part is a piece of the program that runs until its context is done.
type part func(context.Context) error

// together runs parts until ctx is done or the first of them ends, then stops
// the others and waits for all. It returns the first error that was not caused
// by the stopping.
func together(ctx context.Context, parts ...part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan error, len(parts)) // one per part, so that none is left sending
	for _, p := range parts {
		go func() { results <- p(ctx) }()
	}
	var first error
	for range parts {
		err := <-results
		cancel(errPartEnded)
		if first == nil && err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errPartEnded) {
			first = err
		}
	}
	return first
}

// behind runs front while parts run behind it, and stops them afterwards: an
// interrupt reaches front only, which may need the parts to end in order. When
// a part ends by itself, front is cancelled. A failure behind explains the one
// in front, so it is returned first.
func behind(ctx context.Context, front part, parts ...part) error {
	back, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1) // the one result of the parts
	go func() {
		err := together(back, parts...)
		cancel(errPartEnded)
		ended <- err
	}()
	err := front(ctx)
	stop()
	if failure := <-ended; failure != nil {
		return failure
	}
	return err
}
