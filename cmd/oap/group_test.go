package main

import (
	"context"
	"errors"
	"testing"
)

func waits(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }

func TestTogether(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name  string
		ctx   context.Context
		parts []part
		want  error
	}{
		{"one fails", t.Context(), []part{waits, func(context.Context) error { return failure }, waits}, failure},
		{"one ends", t.Context(), []part{waits, func(context.Context) error { return nil }}, nil},
		{"all are stopped", stopped, []part{waits, waits}, nil},
		{"one fails to stop", stopped, []part{waits, func(ctx context.Context) error { <-ctx.Done(); return failure }}, failure},
	}
	for _, tt := range tests {
		if got := together(tt.ctx, tt.parts...); !errors.Is(got, tt.want) {
			t.Errorf("%s: together = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBehind(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	returns := func(err error) part { return func(context.Context) error { return err } }

	if got := behind(t.Context(), returns(failure), waits); !errors.Is(got, failure) {
		t.Errorf("a failing front = %v, want %v", got, failure)
	}
	if got := behind(t.Context(), waits, returns(failure)); !errors.Is(got, failure) {
		t.Errorf("a failing part = %v, want %v", got, failure)
	}
	if got := behind(t.Context(), waits, returns(nil)); !errors.Is(got, errPartEnded) {
		t.Errorf("a part that ends = %v, want %v", got, errPartEnded)
	}

	// An interrupt reaches the front only: the part behind is still there.
	ctx, interrupt := context.WithCancel(t.Context())
	asked := make(chan struct{})
	answers := func(ctx context.Context) error {
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
			t.Error("the part behind was interrupted")
		}
		<-ctx.Done()
		return nil
	}
	front := func(ctx context.Context) error {
		interrupt()
		<-ctx.Done()
		<-asked
		return failure
	}
	if got := behind(ctx, front, answers); !errors.Is(got, failure) {
		t.Errorf("an interrupted front = %v, want %v", got, failure)
	}
}
