package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oap-runtime/oap/sandbox"
)

// box is shared by all tests of the package: preparing the engines takes seconds without a cache.
var box *sandbox.Sandbox

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		// Compiled engines are kept between test processes, as a server keeps them between its own.
		cache := filepath.Join(os.TempDir(), fmt.Sprintf("oap-sandbox-test-%d", os.Getuid()))
		if box, err = sandbox.New(sandbox.Config{CacheDir: cache, Workers: 4}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := box.Warm(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := box.Close(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// patient is a wall limit for tests whose subject is something else, on machines that are slow or busy.
const patient = 5 * time.Minute

func program(rt sandbox.Runtime, code string) sandbox.Program {
	return sandbox.Program{
		Runtime: rt, Name: "demo", Code: code,
		Now:    time.Date(2026, 3, 28, 14, 32, 10, 0, time.UTC),
		Seed:   [32]byte{1, 2, 3},
		Limits: sandbox.Limits{Wall: patient},
	}
}

func run(t *testing.T, p sandbox.Program, input string) (sandbox.Outcome, error) {
	t.Helper()
	return box.Run(t.Context(), p, json.RawMessage(input))
}

// output runs a program that must succeed.
func output(t *testing.T, p sandbox.Program, input string) string {
	t.Helper()
	out, err := run(t, p, input)
	if err != nil {
		t.Fatalf("Run failed: %v%s\nstderr: %s", err, traceback(err), out.Stderr)
	}
	return string(out.Output)
}

func traceback(err error) string {
	if g, ok := errors.AsType[*sandbox.GuestError](err); ok {
		return "\n" + g.Traceback
	}
	return ""
}

// raised checks that err is a GuestError of the given kind.
func raised(t *testing.T, err error, kind string) *sandbox.GuestError {
	t.Helper()
	g, ok := errors.AsType[*sandbox.GuestError](err)
	if !ok || g.Kind != kind {
		t.Fatalf("Run error = %T %v, want a GuestError of kind %s", err, err, kind)
	}
	return g
}

// limited checks that err is a LimitError about one of the given limits.
func limited(t *testing.T, err error, limits ...string) *sandbox.LimitError {
	t.Helper()
	l, ok := errors.AsType[*sandbox.LimitError](err)
	if ok {
		for _, want := range limits {
			if l.Limit == want {
				return l
			}
		}
	}
	t.Fatalf("Run error = %T %v, want a LimitError about %v", err, err, limits)
	return nil
}

// both runs a subtest for each language.
func both(t *testing.T, test func(t *testing.T, rt sandbox.Runtime)) {
	for _, rt := range []sandbox.Runtime{sandbox.Python, sandbox.JavaScript} {
		t.Run(string(rt), func(t *testing.T) {
			t.Parallel()
			test(t, rt)
		})
	}
}
