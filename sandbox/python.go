package sandbox

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
	"github.com/oap-runtime/oap/wasm-modules/python"
)

// cpython drives the CPython reactor of package python.
type cpython struct{}

// cpythonFuelPerMS was measured with the benchmarks of this package on the reference machine.
const cpythonFuelPerMS = 150_000

// Results of py_boot and py_run, as the reactor defines them.
const (
	pyOK       = 0
	pyNoMemory = -2
)

func (cpython) wasm() ([]byte, error) { return python.Wasm() }
func (cpython) fuelPerMS() int64      { return cpythonFuelPerMS }
func (cpython) exports() []string     { return []string{"_initialize", "py_buffer", "py_boot", "py_run"} }

func (cpython) outOfMemory(e *GuestError) bool { return e.Kind == "MemoryError" }

func (cpython) files() (*wasi.Tree, error) {
	library, err := python.Library()
	if err != nil {
		return nil, err
	}
	tree := wasi.NewTree()
	if err := tree.Add(library); err != nil {
		return nil, err
	}
	if err := tree.Add(python.Guest()); err != nil {
		return nil, err
	}
	return tree, nil
}

// host provides the door: call hands a message over, take copies the reply.
func (cpython) host(ctx context.Context, r wazero.Runtime) error {
	i32 := []api.ValueType{api.ValueTypeI32}
	builder := r.NewHostModuleBuilder(hostModule)
	builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(refuel), nil, nil).Export(refuelImport)
	builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(pythonCall), i32s(2), i32).Export("call")
	builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(pythonTake), i32s(2), nil).Export("take")
	_, err := builder.Instantiate(ctx)
	return err
}

func pythonCall(ctx context.Context, m api.Module, stack []uint64) {
	x := wasi.ProcessOf(ctx).(*execution)
	message, ok := m.Memory().Read(uint32(stack[0]), uint32(stack[1]))
	if !ok {
		refused := int32(-1)
		stack[0] = uint64(uint32(refused))
		return
	}
	x.door.reply = x.request(message)
	stack[0] = uint64(len(x.door.reply))
}

func pythonTake(ctx context.Context, m api.Module, stack []uint64) {
	x := wasi.ProcessOf(ctx).(*execution)
	reply := x.door.reply
	x.door.reply = nil
	m.Memory().Write(uint32(stack[0]), reply[:min(uint64(len(reply)), uint64(uint32(stack[1])))])
}

func (p cpython) boot(ctx context.Context, in *instance) error {
	if _, err := in.call(ctx, "_initialize"); err != nil {
		return err
	}
	status, err := p.pass(ctx, in, "py_boot", []byte("oap_guest"))
	if err != nil {
		return err
	}
	if status != pyOK {
		return fmt.Errorf("py_boot returned %d", status)
	}
	return nil
}

func (p cpython) run(ctx context.Context, in *instance, request []byte) error {
	status, err := p.pass(ctx, in, "py_run", request)
	switch {
	case err != nil:
		return err
	case status == pyNoMemory:
		return memoryError(in)
	case status != pyOK:
		return &TrapError{Reason: fmt.Sprintf("the interpreter returned %d", status)}
	}
	return nil
}

// pass calls an exported function with text in the guest's buffer.
func (cpython) pass(ctx context.Context, in *instance, function string, text []byte) (int32, error) {
	at, err := in.call(ctx, "py_buffer", uint64(len(text)))
	if err != nil {
		return 0, err
	}
	if at == 0 || !in.module.Memory().Write(uint32(at), text) {
		return 0, memoryError(in)
	}
	status, err := in.call(ctx, function, uint64(len(text)))
	return int32(uint32(status)), err
}
