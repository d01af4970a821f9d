package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/oap-runtime/oap/sandbox/internal/cow"
	"github.com/oap-runtime/oap/sandbox/internal/wasi"
)

// testCache is the compile cache that TestMain of the external tests uses too.
func testCache(t *testing.T) wazero.CompilationCache {
	t.Helper()
	cache, err := openCache(filepath.Join(os.TempDir(), fmt.Sprintf("oap-sandbox-test-%d", os.Getuid())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close(context.Background()) })
	return cache
}

// TestUsedInstancesEqualTheSnapshot looks behind the public interface: after programs that do what they can to leave
// something behind, the memory of the instance that is used next is byte for byte that of a new one (SB6).
func TestUsedInstancesEqualTheSnapshot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		language language
		codes    []string
	}{
		{&quickjs{}, []string{
			"return 1",
			"globalThis.x = Array(1e4).fill('canary'); return 1",
			"Object.prototype.x = 1; throw new Error('no')",
			"console.log('x'.repeat(1e5)); setTimeout(() => {}, 1); return 1",
			"(function f() { return f() + 1 })()",
			"const a = ;",
		}},
		{cpython{}, []string{
			"result = 1",
			"import builtins\nbuiltins.x = ['canary'] * 10**5",
			"import os\nos.close(0); os.close(1); os.close(2); os.close(3)\nopen('/lib/os.pyc', 'rb')",
			"def f(): return f()\nf()",
			"raise SystemExit(3)",
			"import gc, sys, random\ngc.disable()\nsys.setrecursionlimit(10**6)\nrandom.seed(1)",
			"import turtle",
			"import unittest.mock, sqlite3",
		}},
	} {
		ctx := context.Background()
		e, err := buildEngine(ctx, tt.language, testCache(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := e.image.Memory(e.imageBytes)
		if err != nil {
			t.Fatal(err)
		}
		want := fresh.Reallocate(uint64(e.imageBytes))
		reused := 0
		for _, code := range tt.codes {
			p := Program{Code: code, Limits: Limits{Wall: wallMax}.WithDefaults()}
			x := newExecution(ctx, p, e.language, bootFuel)
			in, err := e.acquire(ctx, x)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(request{Code: code, Input: json.RawMessage("{}")})
			if err != nil {
				t.Fatal(err)
			}
			stop := e.language.run(wasi.WithProcess(ctx, x), in, text)
			if err := e.release(ctx, in, stop == nil); err != nil {
				t.Fatal(err)
			}
			if len(e.idle) == 0 {
				continue // it grew or was stopped, and was thrown away
			}
			reused++
			got, ok := e.idle[0].module.Memory().Read(0, uint32(e.imageBytes))
			if !ok || !bytes.Equal(got, want) {
				t.Errorf("after %q the memory differs from the snapshot", code)
			}
		}
		if reused < len(tt.codes)/2 {
			t.Errorf("only %d of %d instances were used again", reused, len(tt.codes))
		}
		fresh.Free()
		if err := e.close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestSnapshotsRepeat: starting an engine twice gives the same memory, so that runs do not depend on the process.
func TestSnapshotsRepeat(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var images [2][]byte
	for i := range images {
		e, err := buildEngine(ctx, &quickjs{}, testCache(t), 1)
		if err != nil {
			t.Fatal(err)
		}
		m, err := e.image.Memory(e.imageBytes)
		if err != nil {
			t.Fatal(err)
		}
		images[i] = bytes.Clone(m.Reallocate(uint64(e.imageBytes)))
		m.Free()
		if err := e.close(ctx); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two snapshots of the same engine differ")
	}
}

// TestPlainCopies runs a language on the portable memory that other platforms use.
func TestPlainCopies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	e, err := buildEngine(ctx, &quickjs{}, testCache(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	m, err := e.image.Memory(e.imageBytes)
	if err != nil {
		t.Fatal(err)
	}
	mapped := e.image
	e.image, e.idle = cow.NewPlain(m.Reallocate(uint64(e.imageBytes))), nil
	m.Free()
	for range 3 {
		p := Program{Code: "const a = []; for (let i = 0; i < 1e5; i++) a.push({i}); return a.length", Limits: Limits{Wall: wallMax}.WithDefaults()}
		out, err := e.run(ctx, p, json.RawMessage("{}"), nil)
		if err != nil || string(out.Output) != "100000" {
			t.Errorf("run on plain memory = %s, %v", out.Output, err)
		}
	}
	if err := mapped.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzDepth(f *testing.F) {
	for _, s := range []string{`[]`, `{"a":[{}]}`, `"[[["`, `"\"["`, `["\\",[]]`, `1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			return
		}
		want, now := 0, 0
		for d := json.NewDecoder(bytes.NewReader(text)); ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('['), json.Delim('{'):
				now++
				want = max(want, now)
			case json.Delim(']'), json.Delim('}'):
				now--
			}
		}
		if got := depth(text); got != want {
			t.Errorf("depth(%s) = %d, want %d", text, got, want)
		}
	})
}

func FuzzParseFailure(f *testing.F) {
	f.Add([]byte(`{"kind":"ValueError","message":"no","traceback":"line 1"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, body []byte) {
		g := parseFailure(body)
		if g.Kind == "" || len(g.Kind) > nameBytesMax || len(g.Message) > messageBytesMax || len(g.Traceback) > traceBytesMax {
			t.Errorf("parseFailure(%q) = %+v", body, g)
		}
	})
}
