package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
	"github.com/oap-runtime/oap/wasm-modules/javascript"
)

// quickjs drives the QuickJS-NG reactor. Values of the guest are handles: addresses of boxes that the reactor hands out.
// The fields are set by boot and are part of the snapshot.
type quickjs struct {
	runFunction, advanceFunction uint64 // of the bootstrap script
	undefined                    uint64
	scratch                      uint64 // address of scratchBytes of guest memory
}

const (
	// quickjsFuelPerMS was measured with the benchmarks of this package on the reference machine.
	quickjsFuelPerMS = 200_000

	// quickjsHeapBytes is allocated and freed once before the snapshot, so that small programs never grow the memory.
	quickjsHeapBytes = 1 << 20

	// quickjsStackBytes is where the engine turns recursion into an exception; its own stack is 1 MiB.
	quickjsStackBytes = 512 << 10

	// scratchBytes of guest memory serve for arguments, and from scratchLength on for the length of a string.
	scratchBytes, scratchLength = 64, 48
)

func (*quickjs) wasm() ([]byte, error)      { return javascript.Wasm() }
func (*quickjs) files() (*wasi.Tree, error) { return wasi.NewTree(), nil }
func (*quickjs) fuelPerMS() int64           { return quickjsFuelPerMS }

func (*quickjs) outOfMemory(e *GuestError) bool {
	return e.Kind == "InternalError" && (strings.Contains(e.Message, "out of memory") || strings.Contains(e.Message, "string too long"))
}

func (*quickjs) exports() []string {
	return []string{
		"_initialize", "qjs_init", "qjs_set_max_stack_size", "wasm_malloc", "wasm_free", "qjs_eval", "qjs_new_host_function",
		"qjs_call", "qjs_new_string", "qjs_get_undefined", "qjs_get_prop_string", "qjs_free_value", "qjs_is_exception",
		"qjs_is_undefined", "qjs_get_exception", "qjs_get_string_len", "qjs_free_cstring", "qjs_execute_pending_job",
	}
}

// host provides the imports of the reactor. Only host_call is used: it is the door.
func (*quickjs) host(ctx context.Context, r wazero.Runtime) error {
	builder := r.NewHostModuleBuilder("env")
	add := func(name string, f api.GoModuleFunc, params int, results ...api.ValueType) {
		builder.NewFunctionBuilder().WithGoModuleFunction(f, i32s(params), results).Export(name)
	}
	zero := func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 0 }
	add("host_call", quickjsDoor, 5, api.ValueTypeI32)
	add("host_interrupt", zero, 0, api.ValueTypeI32)
	add("host_promise_rejection", func(context.Context, api.Module, []uint64) {}, 3)
	add("host_module_normalize", zero, 2, api.ValueTypeI32)
	add("host_module_load", zero, 2, api.ValueTypeI32)
	add("host_get_timezone_offset", zero, 2, api.ValueTypeI32)
	if _, err := builder.Instantiate(ctx); err != nil {
		return err
	}
	_, err := r.NewHostModuleBuilder(hostModule).
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(refuel), nil, nil).Export(refuelImport).
		Instantiate(ctx)
	return err
}

func i32s(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = api.ValueTypeI32
	}
	return types
}

// boot starts the engine, evaluates the bootstrap script and gives it the door.
func (q *quickjs) boot(ctx context.Context, in *instance) error {
	if _, err := in.call(ctx, "_initialize"); err != nil {
		return err
	}
	if status, err := in.call(ctx, "qjs_init"); err != nil || int32(uint32(status)) != 0 {
		return errors.Join(fmt.Errorf("qjs_init returned %d", int32(uint32(status))), err)
	}
	if _, err := in.call(ctx, "qjs_set_max_stack_size", quickjsStackBytes); err != nil {
		return err
	}
	c := &quickjsCalls{ctx: ctx, in: in, q: q}
	q.scratch = c.call("wasm_malloc", scratchBytes)
	q.undefined = c.call("qjs_get_undefined")
	code, name, door := c.text(javascript.Bootstrap), c.text("sandbox.js"), c.text("door")
	setup := c.value("qjs_eval", code, uint64(len(javascript.Bootstrap)), name, 0)
	functions := c.invoke(setup, c.call("qjs_new_host_function", door, uint64(len("door")), 0))
	q.runFunction = c.value("qjs_get_prop_string", functions, c.text("run"))
	q.advanceFunction = c.value("qjs_get_prop_string", functions, c.text("advance"))
	c.call("wasm_free", c.call("wasm_malloc", quickjsHeapBytes))
	if err := c.thrown(c.err); err != nil {
		return err
	}
	if in.x.door.failure != nil {
		return in.x.door.failure
	}
	return nil
}

// run executes a request: call, let promises settle, and move the clock to the next timer until there is an outcome.
func (q *quickjs) run(ctx context.Context, in *instance, request []byte) error {
	c := &quickjsCalls{ctx: ctx, in: in, q: q}
	at := c.text(string(request))
	argument := c.value("qjs_new_string", at, uint64(len(request)))
	c.call("wasm_free", at)
	c.invoke(q.runFunction, argument)
	for c.err == nil {
		for c.err == nil && c.job() {
		}
		if in.x.door.result != nil || in.x.door.failure != nil {
			break
		}
		if c.call("qjs_is_undefined", c.invoke(q.advanceFunction)) != 0 {
			in.x.door.failure = &GuestError{Kind: "Error", Message: "the promise that was returned never settles: nothing is left to run"}
			break
		}
	}
	return c.thrown(c.err)
}
