package wasmedit

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// FuzzRewrite feeds arbitrary bytes to the editor. Whatever it accepts encodes to a fixed point; a module that the
// runtime accepts is still accepted after metering; and when it runs, it computes the same.
func FuzzRewrite(f *testing.F) {
	f.Add(module(countdown, recurse).Encode())
	f.Add(module(function{toI32, 1, []byte{opI32Const, 5, opLocalTee, 0, opLocalGet, 0, opI32Add}}).Encode())
	f.Add(module(function{toI32, 0, []byte{opI32Const, 0, opI32Const, 1, opI32Const, 100, opPrefixBulk, bulkMemoryFill, 0, opI32Const, 0, 0x28, 2, 0}}).Encode())
	withData := module(function{toI32, 0, []byte{opI32Const, 0, opCallIndirect, 0, 0}})
	withData.data = []dataSegment{{true, []byte{opI32Const, 0, opEnd}, []byte("data")}, {bytes: []byte("passive")}}
	withData.elements = []byte{1, 0, opI32Const, 0, opEnd, 1, 0}
	withData.Globals = []Global{{Type: I64, Mutable: true, init: []byte{opI64Const, 1, opEnd}}}
	withData.dataCount = true
	f.Add(withData.Encode())

	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := Parse(wasm)
		if err != nil {
			return
		}
		encoded := m.Encode()
		again, err := Parse(encoded)
		if err != nil {
			t.Fatalf("what Encode wrote is refused: %v", err)
		}
		if !bytes.Equal(again.Encode(), encoded) {
			t.Fatal("encoding twice differs")
		}
		if _, err := again.Meter(meterConfig); err != nil {
			return
		}
		compare(t, wasm, m, again)
	})
}

// compare runs the functions without parameters of both modules when that is cheap.
func compare(t *testing.T, wasm []byte, original, metered *Module) {
	if len(wasm) > 1<<12 || len(original.Imports) > 0 || original.ClampMemory(4) != nil || original.ClampTables(100) != nil ||
		metered.ClampMemory(4) != nil || metered.ClampTables(100) != nil || slices.ContainsFunc(original.bodies, manyLocals) {
		return
	}
	ctx := t.Context()
	plain := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer plain.Close(ctx)
	if _, err := plain.CompileModule(ctx, original.Encode()); err != nil {
		return
	}
	counted := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer counted.Close(ctx)
	h := &host{budget: 10_000}
	_, err := counted.NewHostModuleBuilder("host").NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(h.refuel), nil, nil).Export("refuel").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := counted.CompileModule(ctx, metered.Encode())
	if err != nil {
		t.Fatalf("a valid module is refused after metering: %v", err)
	}
	if original.start != nil {
		return // instantiating the original could run without end
	}
	config := wazero.NewModuleConfig().WithStartFunctions()
	m, err := counted.InstantiateModule(ctx, compiled, config)
	o, plainErr := plain.InstantiateWithConfig(ctx, original.Encode(), config)
	if (err == nil) != (plainErr == nil) {
		t.Fatalf("instantiating: %v, metered: %v", plainErr, err)
	}
	if err != nil {
		return
	}
	h.fuel, h.stack = m.ExportedGlobal("fuel").(api.MutableGlobal), m.ExportedGlobal("stack").(api.MutableGlobal)
	for _, e := range original.Exports {
		f := o.ExportedFunction(e.Name)
		if e.Kind != KindFunction || f == nil || len(f.Definition().ParamTypes()) > 0 {
			continue
		}
		h.stack.Set(1 << 16)
		got, err := m.ExportedFunction(e.Name).Call(ctx)
		if errors.Is(err, errSpent) || errors.Is(err, errDeep) {
			return
		}
		want, plainErr := f.Call(context.WithoutCancel(ctx))
		if (err == nil) != (plainErr == nil) || !slices.Equal(got, want) {
			t.Fatalf("%s = %v, %v; metered %v, %v", e.Name, want, plainErr, got, err)
		}
		if o.Memory() == nil {
			continue
		}
		before, _ := o.Memory().Read(0, o.Memory().Size())
		after, _ := m.Memory().Read(0, m.Memory().Size())
		if !bytes.Equal(before, after) {
			t.Fatalf("after %s the memories differ", e.Name)
		}
	}
}

// manyLocals tells whether compiling a body would take much memory.
func manyLocals(body []byte) bool {
	r := &reader{data: body}
	return r.locals() > 1000
}
