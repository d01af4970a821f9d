package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/sandbox"
)

// box answers every run alike and remembers the program.
type box struct {
	program sandbox.Program
	input   json.RawMessage
	out     sandbox.Outcome
	err     error
	llm     []string // requests to make of the model
	replies []string
}

func (b *box) Run(ctx context.Context, p sandbox.Program, input json.RawMessage) (sandbox.Outcome, error) {
	b.program, b.input = p, input
	for _, r := range b.llm {
		reply, err := p.Grants.LLM(ctx, json.RawMessage(r))
		b.replies = append(b.replies, fmt.Sprintf("%s %v", reply, err))
	}
	return b.out, b.err
}

func code(o manifest.CodeOptions) *manifest.Action {
	return &manifest.Action{Name: "generate_agenda", Type: manifest.RunCode, Effect: manifest.Read, Code: &o}
}

// S2-06, S2-30, S2-36: what the manifest declares reaches the sandbox, with
// the call's recorded clock and randomness.
func TestCodeProgram(t *testing.T) {
	t.Parallel()
	b := &box{out: sandbox.Outcome{
		Output: json.RawMessage(`"x"`), Stdout: "out", Stderr: "err", Truncated: true, Notes: []string{"python3.11 runs CPython"},
		Usage: sandbox.Usage{Fuel: 7, CPU: 12 * time.Millisecond, Wall: 40 * time.Millisecond, MemoryPeakBytes: 1 << 20, HostCalls: 2},
	}}
	a := code(manifest.CodeOptions{Runtime: "python3.11", Code: "def f(): pass", Entrypoint: "f", Limits: manifest.Limits{
		CPU: time.Second, Wall: 3 * time.Second, MemoryBytes: 128 << 20, OutputBytes: 10, LogBytes: 20, HostCalls: 5,
	}})
	c := call(a, `{"purpose":"x"}`)
	res := mustRun(t, executor.NewCode(executor.CodeConfig{Sandbox: b}), c)
	p := b.program
	if p.Runtime != sandbox.Python || p.Name != "generate_agenda" || p.Code != "def f(): pass" || p.Entrypoint != "f" || !p.Now.Equal(c.Now) || p.Seed != c.Seed || p.Grants.LLM != nil {
		t.Errorf("Program = %+v", p)
	}
	if l := p.Limits; l.CPU != time.Second || l.Wall != 3*time.Second || l.MemoryBytes != 128<<20 || l.OutputBytes != 10 || l.LogBytes != 20 || l.HostCalls != 5 {
		t.Errorf("Limits = %+v", l)
	}
	want := executor.SandboxUsage{
		Fuel: 7, CPUMS: 12, CPULimitMS: 1000, WallMS: 40, MemoryBytes: 1 << 20, MemoryLimit: 128 << 20, HostCalls: 2,
		Stdout: "out", Stderr: "err", Truncated: true,
	}
	if string(b.input) != `{"purpose":"x"}` || string(res.Output) != `"x"` || *res.Usage.Sandbox != want || res.Usage.Model != nil {
		t.Errorf("input %s, Output %s, usage %+v", b.input, res.Output, res.Usage.Sandbox)
	}
	if notes := strings.Join(res.Notes, "\n"); strings.Count(notes, "python3.11 runs") < 1 || !strings.Contains(notes, "20 bytes") {
		t.Errorf("Notes = %q", res.Notes)
	}
	mustRun(t, executor.NewCode(executor.CodeConfig{Sandbox: b}), call(code(manifest.CodeOptions{Runtime: "js"}), ""))
	if l := b.program.Limits; l.CPU != 200*time.Millisecond || l.MemoryBytes != 64<<20 || string(b.input) != "{}" { // C-11
		t.Errorf("default Limits = %+v, input %s", l, b.input)
	}
	_, err := run(t, executor.NewCode(executor.CodeConfig{Sandbox: b}), call(code(manifest.CodeOptions{Runtime: "cobol"}), `{}`))
	wantCode(t, err, fault.ActionUnsupported)
}

// C-12, D-5, S2-37: a guest reaches the model only by grant, and what it
// spends is counted.
func TestCodeModel(t *testing.T) {
	t.Parallel()
	llm := func(_ context.Context, r json.RawMessage) (json.RawMessage, executor.ModelUsage, error) {
		if string(r) == `"fail"` {
			return nil, executor.ModelUsage{PromptTokens: 1}, errors.New("model away")
		}
		return json.RawMessage(`"reply"`), executor.ModelUsage{PromptTokens: 10, CompletionTokens: 5, CostUSD: 0.25}, nil
	}
	for _, tc := range []struct {
		manifest, operator, granted bool
	}{{false, false, false}, {true, false, true}, {false, true, true}} {
		b := &box{}
		mustRun(t, executor.NewCode(executor.CodeConfig{Sandbox: b, LLM: llm, GrantLLM: tc.operator}), call(code(manifest.CodeOptions{Runtime: "python", LLM: tc.manifest}), `{}`))
		if (b.program.Grants.LLM != nil) != tc.granted {
			t.Errorf("%+v: granted = %t", tc, b.program.Grants.LLM != nil)
		}
	}
	b := &box{llm: []string{`"a"`, `"fail"`, `"b"`}, err: &sandbox.GuestError{Kind: "ValueError", Message: "x"}}
	res, err := run(t, executor.NewCode(executor.CodeConfig{Sandbox: b, LLM: llm}), call(code(manifest.CodeOptions{Runtime: "python", LLM: true}), `{}`))
	wantCode(t, err, fault.SandboxError)
	if want := (executor.ModelUsage{Calls: 3, PromptTokens: 21, CompletionTokens: 10, CostUSD: 0.5}); res.Usage.Model == nil || *res.Usage.Model != want {
		t.Errorf("Model = %+v, want %+v", res.Usage.Model, want)
	}
	res = mustRun(t, executor.NewCode(executor.CodeConfig{Sandbox: &box{}}), call(code(manifest.CodeOptions{Runtime: "python", LLM: true}), `{}`))
	if !strings.Contains(strings.Join(res.Notes, " "), "none is configured") {
		t.Errorf("Notes = %q", res.Notes)
	}
}

func TestCodeErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	limit := func(name string) error {
		return &sandbox.LimitError{Limit: name, Used: 201, Max: 200, Unit: "ms", Remedy: "raise limits"}
	}
	for _, tc := range []struct {
		err  error
		code fault.Code
		text []string
	}{
		{limit(sandbox.LimitCPU), fault.SandboxCPU, []string{"201 of 200 ms", "raise limits", "cpu"}},
		{limit(sandbox.LimitMemory), fault.SandboxMemory, []string{"memory"}},
		{limit(sandbox.LimitStack), fault.SandboxMemory, []string{"stack"}},
		{limit(sandbox.LimitWall), fault.SandboxWall, []string{"wall"}},
		{limit(sandbox.LimitHostTime), fault.SandboxWall, []string{"host time"}},
		{limit(sandbox.LimitOutput), fault.SandboxOutput, []string{"output"}},
		{limit(sandbox.LimitHostCalls), fault.LimitExceeded, []string{"host calls"}},
		{&sandbox.GuestError{Kind: "ValueError", Message: "bad zone", Traceback: "line 3"}, fault.SandboxError, []string{"ValueError: bad zone", "line 3"}},
		{&sandbox.GuestError{Kind: "ValueError", Message: long, Traceback: long + "the end"}, fault.SandboxError, []string{"the end"}},
		{&sandbox.TrapError{Reason: "unreachable"}, fault.SandboxError, []string{"unreachable"}},
		{&sandbox.InvalidError{Field: "limits.memory_bytes", Message: "too much"}, fault.ActionInvalid, []string{"/limits/memory_bytes", "too much"}},
	} {
		b := &box{err: fmt.Errorf("run: %w", tc.err), out: sandbox.Outcome{Stdout: "printed before"}}
		res, err := run(t, executor.NewCode(executor.CodeConfig{Sandbox: b}), call(code(manifest.CodeOptions{Runtime: "python"}), `{}`))
		f := wantCode(t, err, tc.code)
		for _, want := range tc.text {
			if !strings.Contains(f.Error(), want) {
				t.Errorf("%v: error = %v, want %q in it", tc.err, f, want)
			}
		}
		if f.Retryable || len(f.Error()) > 10_000 || res.Output != nil || res.Usage.Sandbox.Stdout != "printed before" {
			t.Errorf("%v: error of %d bytes, result %+v", tc.err, len(f.Error()), res)
		}
	}
	for _, ours := range []error{context.Canceled, sandbox.ErrClosed, sandbox.ErrBusy} {
		_, err := run(t, executor.NewCode(executor.CodeConfig{Sandbox: &box{err: ours}}), call(code(manifest.CodeOptions{Runtime: "python"}), `{}`))
		if err == nil || fault.IsOutcome(err) || !errors.Is(err, ours) {
			t.Errorf("error = %v, want %v and no outcome", err, ours)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("NewCode accepted no sandbox")
		}
	}()
	executor.NewCode(executor.CodeConfig{})
}

// S2-17, S2-35: code runs in the real sandbox, and the same call gives the
// same result.
func TestCodeRuns(t *testing.T) {
	t.Parallel()
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	x := executor.NewCode(executor.CodeConfig{Sandbox: s})
	a := code(manifest.CodeOptions{Runtime: "javascript", Code: `function generate_agenda(input) { console.log("hi"); return {p: input.purpose, r: Math.random(), t: Date.now()} }`})
	first := mustRun(t, x, call(a, `{"purpose":"plan"}`))
	second := mustRun(t, x, call(a, `{"purpose":"plan"}`))
	if string(first.Output) != string(second.Output) || !strings.Contains(string(first.Output), `"p":"plan"`) {
		t.Errorf("Output = %s, then %s", first.Output, second.Output)
	}
	if u := first.Usage.Sandbox; u.Stdout != "hi\n" || u.Fuel == 0 || u.CPULimitMS != 200 || u.Fuel != second.Usage.Sandbox.Fuel {
		t.Errorf("usage = %+v", u)
	}
	_, err = run(t, x, call(code(manifest.CodeOptions{Runtime: "javascript", Code: `function f() { for (;;); }`}), `{}`))
	wantCode(t, err, fault.SandboxCPU)
	_, err = run(t, x, call(code(manifest.CodeOptions{Runtime: "javascript", Code: `function f() { throw new TypeError("bad zone") }`}), `{}`))
	if f := wantCode(t, err, fault.SandboxError); !strings.Contains(f.Error(), "bad zone") {
		t.Errorf("error = %v", f)
	}
}
