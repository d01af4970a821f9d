package sandbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/sandbox"
)

// TestHostileProgramsStop covers S2-14, S2-82 and row SB2 of the threat model: every program ends with the typed error of
// the limit it reached, under the limits that are on by default.
func TestHostileProgramsStop(t *testing.T) {
	t.Parallel()
	const cpu, memory, stack = sandbox.LimitCPU, sandbox.LimitMemory, sandbox.LimitStack
	for _, tt := range []struct {
		rt         sandbox.Runtime
		name, code string
		want       []string // limits, or kinds of guest errors
	}{
		{sandbox.Python, "loop", "while True: pass", []string{cpu}},
		{sandbox.Python, "loop that catches everything", "while True:\n try:\n  while True: pass\n except BaseException: pass", []string{cpu}},
		{sandbox.Python, "loop inside C", "sum(range(10**12))", []string{cpu}},
		{sandbox.Python, "recursion", "def f(n): return f(n)\nf(1)", []string{"RecursionError"}},
		{sandbox.Python, "recursion without limit", "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", []string{memory, cpu, stack, "SystemError"}},
		{sandbox.Python, "recursion through C", "class A:\n def __getattr__(self, n): return getattr(self, n + 'x')\nA().a", []string{"RecursionError"}},
		{sandbox.Python, "deep repr", "x = []\nfor _ in range(10**5): x = [x]\nrepr(x)", []string{"RecursionError"}},
		{sandbox.Python, "deep deallocation", "x = None\nfor _ in range(3*10**5): x = (x,)\ndel x\nwhile True: pass", []string{cpu, memory}},
		{sandbox.Python, "regex", "import re\nre.match(r'(a+)+$', 'a'*60 + 'b')", []string{cpu}},
		{sandbox.Python, "big integers", "10**10**8", []string{cpu, memory}},
		{sandbox.Python, "integer to text", "import sys\nsys.set_int_max_str_digits(0)\nstr(1 << 10**7)", []string{cpu, memory}},
		{sandbox.Python, "sort", "class A:\n def __lt__(a, b): return True\nwhile True: sorted(A() for _ in range(10**4))", []string{cpu}},
		{sandbox.Python, "bytearrays", "x = []\nwhile True: x.append(bytearray(10**6))", []string{memory}},
		{sandbox.Python, "one huge list", "[0] * 10**9", []string{memory}},
		{sandbox.Python, "text doubling", "x = 'x'\nwhile True: x += x", []string{memory}},
		{sandbox.Python, "generators", "def g():\n yield from g()\nlist(g())", []string{"RecursionError", memory}},
		{sandbox.Python, "product of iterators", "import itertools\nlist(itertools.product(range(100), repeat=5))", []string{memory, cpu}},
		{sandbox.Python, "deep JSON", "import json\njson.loads('[' * 10**6)", []string{"RecursionError", memory}},
		{sandbox.Python, "deep source", "eval('(' * 10**5)", []string{"MemoryError", "SyntaxError", memory}},
		{sandbox.Python, "hashing", "import hashlib\nwhile True: hashlib.sha256(b'x' * 10**6)", []string{cpu}},
		{sandbox.Python, "randomness", "import os\nwhile True: os.urandom(10**6)", []string{cpu}},
		{sandbox.Python, "clock", "import time\nwhile True: time.time()", []string{cpu}},
		{sandbox.Python, "files", "while True:\n for n in __import__('os').listdir('/lib'): open('/lib/' + n if '.' in n else '/lib/os.pyc', 'rb').read()", []string{cpu, memory}},
		{sandbox.Python, "sleep", "import time\ntime.sleep(10**6)", []string{sandbox.LimitWall}},
		{sandbox.Python, "event loop", "import asyncio\nasync def main():\n while True: await asyncio.sleep(0)", []string{cpu}},
		{sandbox.Python, "large result", "result = 'x' * (2 << 20)", []string{sandbox.LimitOutput}},

		{sandbox.JavaScript, "loop", "while (true) {}", []string{cpu}},
		{sandbox.JavaScript, "loop that catches everything", "for (;;) try { for (;;) {} } catch {}", []string{cpu}},
		{sandbox.JavaScript, "microtasks", "const f = () => Promise.resolve().then(f); await f()", []string{cpu, memory}},
		{sandbox.JavaScript, "timers", "await new Promise(() => setInterval(() => {}, 1e6))", []string{sandbox.LimitWall}},
		{sandbox.JavaScript, "recursion", "(function f() { return f() + 1 })()", []string{"RangeError"}},
		{sandbox.JavaScript, "recursion that catches", "(function f() { try { f() } catch { f() } })()", []string{cpu, stack}},
		{sandbox.JavaScript, "recursion through sort", "(function f() { [2, 1].sort(f) })()", []string{"RangeError", stack}},
		{sandbox.JavaScript, "recursion through proxies", "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x", []string{"RangeError", stack, "InternalError"}},
		{sandbox.JavaScript, "recursion through toString", "const o = {toString() { return '' + o }}; return '' + o", []string{"RangeError", stack}},
		{sandbox.JavaScript, "regex", "return /^(a+)+$/.test('a'.repeat(60) + 'b')", []string{cpu}},
		{sandbox.JavaScript, "big integers", "let x = 3n; for (;;) x = x * x", []string{cpu, memory, "RangeError"}},
		{sandbox.JavaScript, "sort", "const a = Array.from({length: 1e6}, (_, i) => i); return a.sort(() => Math.random() - 0.5).length", []string{cpu, memory}},
		{sandbox.JavaScript, "buffers", "const x = []; for (;;) x.push(new Uint8Array(1 << 20))", []string{memory, "RangeError"}},
		{sandbox.JavaScript, "one huge array", "return new Array(1e9).fill(0).length", []string{cpu, memory, "RangeError"}},
		{sandbox.JavaScript, "text doubling", "let x = 'x'; for (;;) x += x", []string{memory}},
		{sandbox.JavaScript, "repeat", "return 'x'.repeat(1 << 29)", []string{memory}},
		{sandbox.JavaScript, "generators", "function* g() { yield* g() }; return [...g()]", []string{"RangeError", stack, memory}},
		{sandbox.JavaScript, "deep JSON", "return JSON.parse('['.repeat(1e6))", []string{stack, memory, "RangeError", "SyntaxError"}},
		{sandbox.JavaScript, "deep source", "return eval('('.repeat(1e6))", []string{stack, memory, "RangeError", "SyntaxError"}},
		{sandbox.JavaScript, "large result", "return 'x'.repeat(2 << 20)", []string{sandbox.LimitOutput}},
	} {
		t.Run(string(tt.rt)+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, program(tt.rt, tt.code), "")
			got := ""
			switch e := err.(type) {
			case *sandbox.LimitError:
				got = e.Limit
				if e.Used < 0 || e.Max <= 0 || e.Unit == "" || e.Remedy == "" {
					t.Errorf("incomplete error %+v", e)
				}
			case *sandbox.GuestError:
				got = e.Kind
			}
			for _, want := range tt.want {
				if got == want {
					if out.Output != nil {
						t.Errorf("output %.40s besides the error", out.Output)
					}
					return
				}
			}
			t.Errorf("Run error = %T %v, want one of %v", err, err, tt.want)
		})
	}
}

// TestCPULimitIsDeterministic: the verdict comes at the same unit of fuel every time.
func TestCPULimitIsDeterministic(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		p := program(rt, map[sandbox.Runtime]string{
			sandbox.Python:     "n = 0\nwhile True:\n n += 1\n if n % 10000 == 0: print(n)",
			sandbox.JavaScript: "let n = 0; for (;;) { n++; if (n % 10000 === 0) console.log(n) }",
		}[rt])
		p.Limits.CPU = 20 * time.Millisecond
		first, err := run(t, p, "")
		l := limited(t, err, sandbox.LimitCPU)
		if l.Max != 20 || l.Unit != "ms" {
			t.Errorf("limit = %+v, want a maximum of 20 ms", l)
		}
		if first.Stdout == "" {
			t.Error("nothing of what was printed before the limit is left")
		}
		for range 5 {
			again, err := run(t, p, "")
			limited(t, err, sandbox.LimitCPU)
			if again.Usage.Fuel != first.Usage.Fuel || again.Stdout != first.Stdout {
				t.Errorf("stopped after %d units and %q, before after %d and %q", again.Usage.Fuel, again.Stdout, first.Usage.Fuel, first.Stdout)
			}
		}
	})
}

// TestCPULimitScales: twice the limit is twice the fuel.
func TestCPULimitScales(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		p := program(rt, map[sandbox.Runtime]string{sandbox.Python: "while True: pass", sandbox.JavaScript: "for (;;) {}"}[rt])
		var fuel [2]int64
		for i, ms := range []time.Duration{10, 20} {
			p.Limits.CPU = ms * time.Millisecond
			out, err := run(t, p, "")
			limited(t, err, sandbox.LimitCPU)
			fuel[i] = out.Usage.Fuel
			if d := out.Usage.CPU - p.Limits.CPU; d < 0 || d > time.Millisecond {
				t.Errorf("usage %v for a limit of %v", out.Usage.CPU, p.Limits.CPU)
			}
		}
		if ratio := float64(fuel[1]) / float64(fuel[0]); ratio < 1.99 || ratio > 2.01 {
			t.Errorf("fuel %d and %d, want a ratio of 2", fuel[0], fuel[1])
		}
	})
}

func TestMemoryLimitIsCatchable(t *testing.T) {
	t.Parallel()
	p := program(sandbox.Python, "try:\n x = bytearray(10**9)\nexcept MemoryError:\n result = 'caught'")
	if got := output(t, p, ""); got != `"caught"` {
		t.Errorf("output = %s, want \"caught\"", got)
	}
	p = program(sandbox.JavaScript, "try { return 'x'.repeat(1 << 29) } catch (e) { return 'caught' }")
	if got := output(t, p, ""); got != `"caught"` {
		t.Errorf("output = %s, want \"caught\"", got)
	}
}

func TestMemoryLimitIsPerRun(t *testing.T) {
	t.Parallel()
	code := "x = bytearray(60 << 20)\nresult = len(x)"
	small, large := program(sandbox.Python, code), program(sandbox.Python, code)
	large.Limits.MemoryBytes = 128 << 20
	_, err := run(t, small, "")
	l := limited(t, err, sandbox.LimitMemory)
	if l.Max != 64<<20 || l.Used <= l.Max {
		t.Errorf("limit = %+v, want more than 64 MiB of 64 MiB", l)
	}
	out, err := run(t, large, "")
	if err != nil {
		t.Fatal(err)
	}
	if peak := out.Usage.MemoryPeakBytes; peak < 80<<20 || peak > 128<<20 {
		t.Errorf("peak = %d, want between 80 and 128 MiB", peak)
	}
}

func TestStackLimit(t *testing.T) {
	t.Parallel()
	p := program(sandbox.JavaScript, "return JSON.parse('['.repeat(5000) + ']'.repeat(5000)).length")
	if got := output(t, p, ""); got != "1" {
		t.Errorf("output = %s, want 1", got)
	}
	p.Limits.StackBytes = 256 << 10
	_, err := run(t, p, "")
	if l := limited(t, err, sandbox.LimitStack); l.Max != 256<<10 {
		t.Errorf("limit = %+v, want a maximum of 256 KiB", l)
	}
}

// TestOutputStreams covers SB3: streams are cut at the limit, marked, and always text.
func TestOutputStreams(t *testing.T) {
	t.Parallel()
	p := program(sandbox.Python, "import sys\nprint('a' * 100)\nprint('e', file=sys.stderr)\nsys.stdout.buffer.write(b'\\xff\\x00')\nresult = 1")
	out, err := run(t, p, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("a", 100) + "\n\uFFFD\x00"; out.Stdout != want || out.Stderr != "e\n" || out.Truncated {
		t.Errorf("stdout %q, stderr %q, truncated %v; want %q, \"e\\n\", false", out.Stdout, out.Stderr, out.Truncated, want)
	}
	p.Limits.LogBytes = 10
	if out, err = run(t, p, ""); err != nil {
		t.Fatal(err)
	}
	if out.Stdout != "aaaaaaaaaa" || out.Stderr != "" || !out.Truncated || out.Usage.StdoutBytes != 103 || out.Usage.StderrBytes != 2 {
		t.Errorf("stdout %q, stderr %q, truncated %v, usage %+v; want 10 bytes of 103 and none of 2", out.Stdout, out.Stderr, out.Truncated, out.Usage)
	}

	p = program(sandbox.JavaScript, "console.log('a', {b: [1]}, undefined, 2n); console.error(new Error('no')); return 1")
	if out, err = run(t, p, ""); err != nil {
		t.Fatal(err)
	}
	if out.Stdout != "a {\"b\":[1]} undefined 2n\n" || !strings.HasPrefix(out.Stderr, "Error: no\n") {
		t.Errorf("stdout %q, stderr %q", out.Stdout, out.Stderr)
	}
}

func TestEndlessOutputStops(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		out, err := run(t, program(rt, map[sandbox.Runtime]string{
			sandbox.Python: "while True: print('x' * 1000)", sandbox.JavaScript: "for (;;) console.log('x'.repeat(1000))",
		}[rt]), "")
		limited(t, err, sandbox.LimitCPU)
		if len(out.Stdout) != 64<<10 || !out.Truncated {
			t.Errorf("kept %d bytes, truncated %v; want 65536, true", len(out.Stdout), out.Truncated)
		}
	})
}

func TestLimitsValidate(t *testing.T) {
	t.Parallel()
	if err := (sandbox.Limits{}).Validate(); err != nil {
		t.Errorf("the zero value is invalid: %v", err)
	}
	d := sandbox.Limits{}.WithDefaults()
	if d.CPU != 200*time.Millisecond || d.MemoryBytes != 64<<20 || d.Wall != 2*time.Second || d.OutputBytes != 1<<20 || d.LogBytes != 64<<10 {
		t.Errorf("defaults = %+v", d)
	}
	if d := (sandbox.Limits{CPU: time.Second}).WithDefaults(); d.Wall != 5*time.Second {
		t.Errorf("wall for a second of CPU = %v, want 5s", d.Wall)
	}
	for field, l := range map[string]sandbox.Limits{
		"limits.cpu":          {CPU: time.Hour},
		"limits.wall":         {Wall: -1},
		"limits.host_time":    {HostTime: 2 * time.Hour},
		"limits.memory_bytes": {MemoryBytes: 1},
		"limits.stack_bytes":  {StackBytes: 1},
		"limits.output_bytes": {OutputBytes: -1},
		"limits.log_bytes":    {LogBytes: 1 << 40},
		"limits.host_calls":   {HostCalls: -1},
	} {
		err, ok := l.Validate().(*sandbox.InvalidError)
		if !ok || err.Field != field || !strings.Contains(err.Message, "between") {
			t.Errorf("Validate(%+v) = %v, want an InvalidError of %s with the bounds", l, err, field)
		}
	}
}
