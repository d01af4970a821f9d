package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/oap-runtime/oap/sandbox/internal/cow"
	"github.com/oap-runtime/oap/sandbox/internal/wasi"
	"github.com/oap-runtime/oap/sandbox/wasmedit"
)

// language is what differs between the runtimes.
type language interface {
	// wasm returns the reactor module.
	wasm() ([]byte, error)

	// files returns what guests see under /lib.
	files() (*wasi.Tree, error)

	// host provides the reactor's own imports in r.
	host(ctx context.Context, r wazero.Runtime) error

	// exports lists the functions of the reactor that boot and run call.
	exports() []string

	// boot brings a new instance to the state that is snapshotted.
	boot(ctx context.Context, in *instance) error

	// run executes a request in an instance that started from the snapshot. The outcome is in the instance's execution;
	// an error means that the guest was stopped.
	run(ctx context.Context, in *instance, request []byte) error

	// outOfMemory tells whether an exception is the language's way to say that memory was refused.
	outOfMemory(e *GuestError) bool

	// fuelPerMS is how much fuel the language burns in a millisecond of the reference machine.
	fuelPerMS() int64
}

const (
	hostModule   = "sandbox"
	refuelImport = "refuel"
	fuelGlobal   = "sandbox.fuel"
	stackGlobal  = "sandbox.stack"
	statePrefix  = "sandbox.state."

	// bootMemoryBytes bounds the memory an engine may take while it starts.
	bootMemoryBytes = 256 << 20

	// bootFuel bounds its work: about a minute. Reaching it is a defect of the engine.
	bootFuel = 10_000_000_000

	// primeMax bounds how many instances are made before there is work for them.
	primeMax = 8

	// compileWorkers is how many goroutines compile one module. More gain little, and the machine has other work.
	compileWorkers = 2
)

// engine is a language that is ready to run: compiled once, started once, and snapshotted.
type engine struct {
	language language
	runtime  wazero.Runtime
	compiled wazero.CompiledModule

	copies     int // how many runs execute at a time
	image      cow.Image
	imageBytes int
	state      []globalValue // mutable globals of the module itself, as they were in the snapshot

	mu   sync.Mutex
	idle []*instance // restored to the snapshot, at most copies
}

type globalValue struct {
	name  string
	value uint64
}

// buildEngine compiles and starts a language, for as many runs at a time as copies says. It takes seconds without a cache
// and a fraction of one with it.
func buildEngine(ctx context.Context, l language, cache wazero.CompilationCache, copies int) (*engine, error) {
	wasm, err := l.wasm()
	if err != nil {
		return nil, err
	}
	module, err := wasmedit.Parse(wasm)
	if err != nil {
		return nil, err
	}
	names := module.ExportMutableGlobals(statePrefix)
	report, err := module.Meter(wasmedit.Meter{
		RefuelModule: hostModule, RefuelName: refuelImport, FuelGlobal: fuelGlobal, StackGlobal: stackGlobal, StackStart: stackMax,
	})
	if err != nil {
		return nil, err
	}
	if report.TableChanges || report.DataUses {
		return nil, errors.New("the engine keeps state outside its memory and globals")
	}
	initial, err := module.DetachData()
	if err != nil {
		return nil, err
	}
	if err := module.ClampMemory(memoryMax / wasmedit.PageSize); err != nil {
		return nil, err
	}
	keep := map[string]bool{fuelGlobal: true, stackGlobal: true, "memory": true}
	for _, n := range append(names, l.exports()...) {
		keep[n] = true
	}
	module.KeepExports(func(e wasmedit.Export) bool { return keep[e.Name] })

	// The engine lives as long as its Sandbox: nothing in it may depend on the context of whoever asked for it first.
	ctx = context.WithoutCancel(ctx)
	config := wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false)
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	e := &engine{language: l, copies: copies, runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	if err := e.prepare(ctx, module.Encode(), initial, names); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	if err := e.prime(ctx); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

// prime runs something small in as many instances as will run at a time, up to primeMax. They are used again, so that the
// first real runs find a warm one.
func (e *engine) prime(ctx context.Context) error {
	text, err := json.Marshal(request{Input: json.RawMessage("{}")})
	if err != nil {
		return err
	}
	for range min(e.copies, primeMax) {
		x := newExecution(ctx, Program{Limits: Limits{Wall: wallMax}.WithDefaults()}, e.language, bootFuel)
		in, err := e.spawn(ctx, x)
		if err != nil {
			return err
		}
		stop := e.language.run(wasi.WithProcess(ctx, x), in, text)
		defer e.release(ctx, in, stop == nil)
		if err := x.verdict(stop); err != nil {
			return fmt.Errorf("first run: %w", err)
		}
	}
	return nil
}

func (e *engine) prepare(ctx context.Context, wasm, initial []byte, names []string) error {
	files, err := e.language.files()
	if err != nil {
		return err
	}
	if err := wasi.Instantiate(ctx, e.runtime, files, "/lib"); err != nil {
		return fmt.Errorf("provide WASI: %w", err)
	}
	if err := e.language.host(ctx, e.runtime); err != nil {
		return fmt.Errorf("provide host functions: %w", err)
	}
	e.compiled, err = e.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, compileWorkers), wasm)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	return e.snapshot(ctx, initial, names)
}

// snapshot starts the engine in an instance of its own and keeps what its memory and globals became.
func (e *engine) snapshot(ctx context.Context, initial []byte, names []string) (err error) {
	blank, err := cow.New(initial, 0)
	if err != nil {
		return err
	}
	e.image, e.imageBytes = blank, len(initial)
	defer func() {
		err = errors.Join(err, blank.Close())
		if e.image == blank {
			e.image = nil
		}
	}()

	limits := Limits{MemoryBytes: bootMemoryBytes, StackBytes: stackMax, Wall: wallMax}.WithDefaults()
	x := newExecution(ctx, Program{Limits: limits}, e.language, bootFuel)
	in, err := e.spawn(ctx, x)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.module.Close(ctx)) }()
	if err := e.language.boot(wasi.WithProcess(ctx, x), in); err != nil {
		return fmt.Errorf("start: %w (%s)", err, x.stderr.String())
	}
	for _, n := range names {
		e.state = append(e.state, globalValue{n, in.module.ExportedGlobal(n).Get()})
	}
	memory := in.module.Memory()
	content, ok := memory.Read(0, memory.Size())
	if !ok {
		return errors.New("start: the memory cannot be read")
	}
	e.image, err = cow.New(content, e.copies)
	e.imageBytes = len(content)
	return err
}

// instance is one copy of an engine, executing for x. It is used by one goroutine at a time.
type instance struct {
	engine      *engine
	module      api.Module
	memory      cow.Memory
	functions   map[string]api.Function
	fuel, stack api.MutableGlobal
	state       []api.MutableGlobal // in the order of the engine's
	x           *execution
}

// acquire gives an instance in the state of the snapshot, limited as x says: one that ran before and was restored, or a
// new one.
func (e *engine) acquire(ctx context.Context, x *execution) (*instance, error) {
	limit := int(x.limits.MemoryBytes)
	e.mu.Lock()
	for i := len(e.idle) - 1; i >= 0; i-- {
		if in := e.idle[i]; in.memory.Relimit(limit) {
			e.idle = append(e.idle[:i], e.idle[i+1:]...)
			e.mu.Unlock()
			in.attach(x)
			return in, nil
		}
	}
	e.mu.Unlock()
	return e.spawn(ctx, x)
}

// release takes an instance back. Only one whose calls have all returned may be used again: a guest that was stopped
// leaves its engine in the middle of something. Memory that has grown cannot shrink.
func (e *engine) release(ctx context.Context, in *instance, returned bool) error {
	in.x = nil
	if returned && int(in.module.Memory().Size()) == e.imageBytes && in.memory.Restore() && e.keep(in) {
		return nil
	}
	return in.module.Close(context.WithoutCancel(ctx))
}

// keep makes an instance available again and tells whether there was room for it.
func (e *engine) keep(in *instance) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.idle) >= e.copies {
		return false
	}
	e.idle = append(e.idle, in)
	return true
}

// spawn makes an instance from the engine's image.
func (e *engine) spawn(ctx context.Context, x *execution) (*instance, error) {
	memory, err := e.image.Memory(int(x.limits.MemoryBytes))
	if err != nil {
		return nil, err
	}
	// The instance outlives ctx, whose values it must not hold.
	ctx = context.Background()
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	give := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return memory })
	module, err := e.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, give), e.compiled, config)
	if err != nil {
		memory.Free()
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	in := &instance{engine: e, module: module, memory: memory, functions: map[string]api.Function{}}
	in.fuel = module.ExportedGlobal(fuelGlobal).(api.MutableGlobal)
	in.stack = module.ExportedGlobal(stackGlobal).(api.MutableGlobal)
	for _, g := range e.state {
		in.state = append(in.state, module.ExportedGlobal(g.name).(api.MutableGlobal))
	}
	if missing := e.imageBytes - int(module.Memory().Size()); missing > 0 {
		if _, ok := module.Memory().Grow(uint32(missing / wasmedit.PageSize)); !ok {
			return nil, errors.Join(errors.New("instantiate: the image does not fit"), module.Close(ctx))
		}
	}
	in.attach(x)
	return in, nil
}

// attach makes x the execution of the instance and sets all globals as the snapshot and the limits say.
func (in *instance) attach(x *execution) {
	for i, g := range in.engine.state {
		in.state[i].Set(g.value)
	}
	in.fuel.Set(0)
	in.stack.Set(uint64(x.limits.StackBytes))
	in.x, x.in = x, in
}

// call calls an exported function and returns its result, 0 when it has none.
func (in *instance) call(ctx context.Context, name string, args ...uint64) (uint64, error) {
	f := in.functions[name]
	if f == nil {
		f = in.module.ExportedFunction(name)
		in.functions[name] = f
	}
	var stack [6]uint64 // the longest list of parameters has five
	copy(stack[:], args)
	err := f.CallWithStack(ctx, stack[:max(len(args), 1)])
	return stack[0], err
}

// stackPointerLost tells whether the engine's own stack, which lies below its data, has run over its end.
func (in *instance) stackPointerLost() bool {
	const least = 4096
	for i, g := range in.engine.state {
		now := uint32(in.state[i].Get())
		if now < least || now > uint32(g.value) {
			return true
		}
	}
	return false
}

func (e *engine) close(ctx context.Context) error {
	err := e.runtime.Close(ctx)
	if e.image != nil {
		err = errors.Join(err, e.image.Close())
	}
	return err
}

// stopped is what a host function panics with to stop the guest; the WebAssembly runtime hands it back as an error.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }
func (s *stopped) Unwrap() error { return s.err }

// exited is the error of a guest that called exit.
type exited struct{ code uint32 }

func (e *exited) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// hostDefect tells whether err comes from a Go panic in a host function, which is our mistake and not the guest's.
func hostDefect(err error) bool {
	var fault runtime.Error
	return errors.As(err, &fault)
}
