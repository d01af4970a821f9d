package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

func Example() {
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	defer s.Close(ctx)
	out, err := s.Run(ctx, sandbox.Program{
		Runtime: sandbox.JavaScript,
		Code:    "function greet({name}) { return `Hello, ${name}!` }",
	}, json.RawMessage(`{"name":"Ada"}`))
	fmt.Println(string(out.Output), err)
	// Output: "Hello, Ada!" <nil>
}

// TestParseRuntime covers S2-06 and S2-30: the names that manifests use.
func TestParseRuntime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		want sandbox.Runtime
		note string // part of it; "-" means none
	}{
		{"python", sandbox.Python, "-"},
		{"Python 3", sandbox.Python, "-"},
		{"python3.13", sandbox.Python, "-"},
		{"python3.11", sandbox.Python, "CPython 3.13.5"},
		{"python2", sandbox.Python, "CPython 3.13.5"},
		{"py", sandbox.Python, "-"},
		{"javascript", sandbox.JavaScript, "-"},
		{"js", sandbox.JavaScript, "-"},
		{"node20", sandbox.JavaScript, "without Node.js modules"},
		{"nodejs@22.1", sandbox.JavaScript, "without Node.js modules"},
		{"ruby", "", ""},
		{"pythonista", "", ""},
		{"", "", ""},
		{"python" + strings.Repeat("3", 100), "", ""},
	} {
		rt, note, ok := sandbox.ParseRuntime(tt.name)
		if rt != tt.want || ok != (tt.want != "") || (tt.note == "-") != (ok && note == "") || (tt.note != "-" && !strings.Contains(note, tt.note)) {
			t.Errorf("ParseRuntime(%q) = %q, %q, %v; want %q with note %q", tt.name, rt, note, ok, tt.want, tt.note)
		}
	}
	if got := sandbox.Python.Version(); got != "CPython 3.13.5" {
		t.Errorf("Version = %q", got)
	}
}

func TestDigestsAreDistinct(t *testing.T) {
	t.Parallel()
	a, b := sandbox.Python.Digest(), sandbox.JavaScript.Digest()
	if len(a) != len("sha256:")+64 || len(b) != len(a) || a == b || sandbox.Runtime("ruby").Digest() != "" {
		t.Errorf("digests %q and %q", a, b)
	}
}

// TestVersionIsTrue: the documented versions are those that run.
func TestVersionIsTrue(t *testing.T) {
	t.Parallel()
	got := output(t, program(sandbox.Python, "import sys\nresult = '.'.join(map(str, sys.version_info[:3]))"), "")
	if want := `"` + strings.TrimPrefix(sandbox.Python.Version(), "CPython ") + `"`; got != want {
		t.Errorf("Python reports %s, want %s", got, want)
	}
}

func TestInvalidPrograms(t *testing.T) {
	t.Parallel()
	valid := program(sandbox.JavaScript, "return 1")
	for field, edit := range map[string]func(p *sandbox.Program, input *string){
		"runtime":             func(p *sandbox.Program, _ *string) { p.Runtime = "ruby" },
		"code":                func(p *sandbox.Program, _ *string) { p.Code = strings.Repeat(" ", 2<<20) },
		"name":                func(p *sandbox.Program, _ *string) { p.Name = strings.Repeat("x", 1000) },
		"entrypoint":          func(p *sandbox.Program, _ *string) { p.Entrypoint = "\xff" },
		"limits.cpu":          func(p *sandbox.Program, _ *string) { p.Limits.CPU = -1 },
		"limits.memory_bytes": func(p *sandbox.Program, _ *string) { p.Limits.MemoryBytes = 1 << 20 },
		"input":               func(_ *sandbox.Program, input *string) { *input = "{" },
	} {
		p, input := valid, "{}"
		edit(&p, &input)
		_, err := box.Run(t.Context(), p, json.RawMessage(input))
		if e, ok := errors.AsType[*sandbox.InvalidError](err); !ok || e.Field != field {
			t.Errorf("Run = %v, want an InvalidError of %s", err, field)
		}
	}
	for name, bad := range map[string]sandbox.Program{
		"not UTF-8": program(sandbox.Python, "\xff"), "NUL": program(sandbox.Python, "a\x00b"),
	} {
		if _, err := run(t, bad, ""); err == nil || !strings.Contains(err.Error(), "code") {
			t.Errorf("%s: Run = %v, want an error about the code", name, err)
		}
	}
	if _, err := run(t, valid, strings.Repeat("[", 300)+strings.Repeat("]", 300)); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("deep input: Run = %v, want an error about nesting", err)
	}
}

func TestNewChecksConfig(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]sandbox.Config{
		"workers": {Workers: -1}, "queue_max": {QueueMax: -1},
	} {
		if _, err := sandbox.New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("New(%+v) = %v, want an error about %s", cfg, err, field)
		}
	}
}

func TestCacheDirectoryMustBePrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // permission bits have no meaning there
	}
	dir := filepath.Join(t.TempDir(), "a", "cache")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.New(sandbox.Config{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Warm(t.Context(), sandbox.JavaScript)
	if e, ok := errors.AsType[*sandbox.InvalidError](err); !ok || e.Field != "cache_dir" || !strings.Contains(e.Message, "chmod 700") {
		t.Errorf("Warm with an open cache directory = %v, want an InvalidError of cache_dir with the remedy", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	s, err := sandbox.New(sandbox.Config{CacheDir: dir, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := program(sandbox.JavaScript, "await openai.chat.completions.create({}); return 1")
	started, finish := make(chan struct{}), make(chan struct{})
	p.Grants = grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
		close(started)
		<-finish
		return json.RawMessage(`{}`), nil
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if out, err := s.Run(t.Context(), p, nil); err != nil || string(out.Output) != "1" {
			t.Errorf("run in flight while closing = %s, %v; want 1", out.Output, err)
		}
	})
	<-started
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(expired); !errors.Is(err, context.Canceled) {
		t.Errorf("Close with an ended context = %v, want its error", err)
	}
	if _, err := s.Run(t.Context(), p, nil); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Run after Close = %v, want ErrClosed", err)
	}
	close(finish)
	wg.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Warm(t.Context()); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Warm after Close = %v, want ErrClosed", err)
	}
	if info, err := os.Stat(dir); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o700) {
		t.Errorf("cache directory: %v, %v; want mode 0700", info, err)
	}
}
