package wasmedit_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
	"github.com/oap-runtime/oap/sandbox/wasmedit"
	"github.com/oap-runtime/oap/wasm-modules/javascript"
	"github.com/oap-runtime/oap/wasm-modules/python"
)

// process is a deterministic environment without limits.
type process struct {
	files  wasi.Files
	random *rand.ChaCha8
	clock  int64
	output bytes.Buffer
}

func (p *process) Charge(int64)             {}
func (p *process) Realtime() int64          { p.clock += 1000; return p.clock }
func (p *process) Monotonic() int64         { return p.Realtime() }
func (p *process) CPU() int64               { return 0 }
func (p *process) Sleep(ns int64)           { p.clock += ns }
func (p *process) Random(b []byte)          { p.random.Read(b) }
func (p *process) Write(_ uint32, b []byte) { p.output.Write(b) }
func (p *process) Exit(uint32)              { panic("exit") }
func (p *process) Files() *wasi.Files       { return &p.files }

// guest is one instance of an engine, original or metered.
type guest struct {
	t       *testing.T
	ctx     context.Context
	module  api.Module
	process *process
}

func (g *guest) call(name string, args ...uint64) uint64 {
	g.t.Helper()
	results, err := g.module.ExportedFunction(name).Call(g.ctx, args...)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", name, err, g.process.output.String())
	}
	if len(results) == 0 {
		return 0
	}
	return uint64(uint32(results[0]))
}

func (g *guest) write(at uint64, text string) {
	if !g.module.Memory().WriteString(uint32(at), text) {
		g.t.Fatal("write outside the memory")
	}
}

func (g *guest) memory() []byte {
	b, ok := g.module.Memory().Read(0, g.module.Memory().Size())
	if !ok {
		g.t.Fatal("read outside the memory")
	}
	return b
}

// cache keeps compiled engines between test processes.
func cache(t *testing.T) wazero.CompilationCache {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("oap-wasmedit-test-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// newGuest instantiates wasm with the imports of both engines. The door records what comes through it.
func newGuest(t *testing.T, wasm []byte, tree *wasi.Tree) *guest {
	t.Helper()
	g := &guest{t: t, process: &process{random: rand.NewChaCha8([32]byte{1})}}
	g.ctx = wasi.WithProcess(t.Context(), g.process)
	r := wazero.NewRuntimeWithConfig(g.ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache(t)))
	t.Cleanup(func() { r.Close(context.Background()) })
	if err := wasi.Instantiate(g.ctx, r, tree, "/lib"); err != nil {
		t.Fatal(err)
	}
	i32 := func(n int) []api.ValueType { return bytes.Repeat([]byte{api.ValueTypeI32}, n) }
	door := func(_ context.Context, m api.Module, stack []uint64) {
		if b, ok := m.Memory().Read(uint32(stack[0]), uint32(stack[1])); ok {
			g.process.output.Write(b)
		}
		stack[0] = 0
	}
	refuel := func(_ context.Context, m api.Module, _ []uint64) {
		m.ExportedGlobal("fuel").(api.MutableGlobal).Set(1 << 62)
	}
	none := func(context.Context, api.Module, []uint64) {}
	zero := func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 0 }
	sandbox := r.NewHostModuleBuilder("sandbox")
	sandbox.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(door), i32(2), i32(1)).Export("call")
	sandbox.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(none), i32(2), nil).Export("take")
	sandbox.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(refuel), nil, nil).Export("refuel")
	env := r.NewHostModuleBuilder("env")
	for name, params := range map[string]int{"host_call": 5, "host_interrupt": 0, "host_module_normalize": 2, "host_module_load": 2, "host_get_timezone_offset": 2} {
		env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(zero), i32(params), i32(1)).Export(name)
	}
	env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(none), i32(3), nil).Export("host_promise_rejection")
	for _, b := range []wazero.HostModuleBuilder{sandbox, env} {
		if _, err := b.Instantiate(g.ctx); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if g.module, err = r.InstantiateWithConfig(g.ctx, wasm, wazero.NewModuleConfig().WithStartFunctions("_initialize")); err != nil {
		t.Fatal(err)
	}
	return g
}

// same runs a scenario in the original and the metered engine and compares what they wrote and every byte of memory.
func same(t *testing.T, wasm []byte, tree *wasi.Tree, scenario func(g *guest)) {
	t.Helper()
	m, err := wasmedit.Parse(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Meter(wasmedit.Meter{RefuelModule: "sandbox", RefuelName: "refuel", FuelGlobal: "fuel", StackGlobal: "stack", StackStart: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	original, metered := newGuest(t, wasm, tree), newGuest(t, m.Encode(), tree)
	scenario(original)
	scenario(metered)
	if !bytes.Equal(original.process.output.Bytes(), metered.process.output.Bytes()) {
		t.Errorf("output differs:\n%s\n%s", original.process.output.String(), metered.process.output.String())
	}
	if !bytes.Equal(original.memory(), metered.memory()) {
		t.Error("memory differs")
	}
	if left := int64(metered.module.ExportedGlobal("fuel").Get()); left == 1<<62 || left < 0 {
		t.Errorf("no fuel was used: %d left", left)
	}
	if left := int32(metered.module.ExportedGlobal("stack").Get()); left != 64<<20 {
		t.Errorf("the stack budget is %d after all calls returned", left)
	}
}

func TestMeteringChangesNothingInJavaScript(t *testing.T) {
	t.Parallel()
	wasm, err := javascript.Wasm()
	if err != nil {
		t.Fatal(err)
	}
	same(t, wasm, wasi.NewTree(), func(g *guest) {
		if g.call("qjs_init") != 0 {
			t.Fatal("qjs_init failed")
		}
		g.call("qjs_set_max_stack_size", 512<<10)
		name := g.call("wasm_malloc", 8)
		g.write(name, "a.js\x00")
		for _, code := range []string{
			"[1,2,3].map(x => x * 2).join()",
			"JSON.stringify(Array.from({length: 2000}, (_, i) => ({i, s: 'x'.repeat(i % 50), d: i / 7})))",
			"'a1b22c333'.replace(/\\d+/g, m => m.length) + /^(a+)+$/.test('a'.repeat(15) + 'b')",
			"let n = 1n; for (let i = 1n; i < 300n; i++) n *= i; String(n)",
			"(function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) })(18)",
			"[...Array(3000).keys()].sort((a, b) => Math.sin(a) - Math.sin(b)).slice(0, 20).join()",
			"try { (function f() { f() })() } catch (e) { e.name }",
			"class A { #x = 1; get x() { return this.#x } }; Object.groupBy([new A(), new A()], a => a.x)[1].length",
		} {
			at := g.call("wasm_malloc", uint64(len(code))+1)
			g.write(at, code+"\x00")
			value := g.call("qjs_eval", at, uint64(len(code)), name, 0)
			text := g.call("qjs_get_string", value)
			b, _ := g.module.Memory().Read(uint32(text), 64)
			g.process.output.Write(b)
		}
	})
}

func TestMeteringChangesNothingInPython(t *testing.T) {
	t.Parallel()
	wasm, err := python.Wasm()
	if err != nil {
		t.Fatal(err)
	}
	library, err := python.Library()
	if err != nil {
		t.Fatal(err)
	}
	tree := wasi.NewTree()
	if err := tree.Add(library); err != nil {
		t.Fatal(err)
	}
	if err := tree.Add(python.Guest()); err != nil {
		t.Fatal(err)
	}
	same(t, wasm, tree, func(g *guest) {
		pass := func(function, text string) {
			g.write(g.call("py_buffer", uint64(len(text))), text)
			if status := int32(g.call(function, uint64(len(text)))); status != 0 {
				t.Fatalf("%s returned %d: %s", function, status, g.process.output.String())
			}
		}
		pass("py_boot", "oap_guest")
		for _, code := range []string{
			`import json\nresult = json.dumps([{'i': i, 's': 'x' * (i % 50), 'd': i / 7} for i in range(2000)])[-100:]`,
			`import re, math, decimal, hashlib\nresult = [re.findall('[a-c]+', 'abcd' * 50)[-1], math.factorial(200), str(decimal.Decimal(2).sqrt()), hashlib.sha256(b'x' * 10000).hexdigest()]`,
			`def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nresult = [fib(15), sorted(range(2000), key=lambda v: v * 7919 % 1009)[:10]]`,
			`def f(n): return f(n + 1)\nf(0)`,
			`import random, datetime, zoneinfo\nresult = [random.random(), str(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')))]`,
		} {
			pass("py_run", `{"name":"demo","entrypoint":"","llm":false,"input":{},"code":"`+code+`"}`)
		}
	})
}
