package wasmedit

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// function is a function of a module under test: its type, its locals (all i32) and its instructions without the end.
type function struct {
	kind   FuncType
	locals byte
	code   []byte
}

var (
	i32ToI32 = FuncType{[]ValueType{I32}, []ValueType{I32}}
	toI32    = FuncType{nil, []ValueType{I32}}
	nothing  = FuncType{}
)

// module makes a module with a memory of one page and a table, both exported, whose functions are exported as f0, f1, ...
func module(functions ...function) *Module {
	m := &Module{
		Memory: &Limits{Min: 1},
		tables: []table{{FuncRef, Limits{Min: 4}}},
	}
	m.Exports = append(m.Exports, Export{"memory", KindMemory, 0})
	for i, f := range functions {
		m.Types = append(m.Types, f.kind)
		m.funcs = append(m.funcs, uint32(i))
		body := []byte{0}
		if f.locals > 0 {
			body = []byte{1, f.locals, byte(I32)}
		}
		m.bodies = append(m.bodies, append(append(body, f.code...), opEnd))
		m.Exports = append(m.Exports, Export{"f" + string(rune('0'+i)), KindFunction, uint32(i)})
	}
	return m
}

// countdown loops n times and returns 7: local.get 0; loop; local.get 0; i32.const -1; i32.add; local.tee 0; br_if 0; end.
var countdown = function{i32ToI32, 0, []byte{
	opLoop, blockEmpty, opLocalGet, 0, opI32Const, 0x7f, opI32Add, opLocalTee, 0, opBrIf, 0, opEnd, opI32Const, 7,
}}

// recurse calls itself n times: local.get 0; if i32; local.get 0; i32.const -1; i32.add; call 0; else; i32.const 7; end.
var recurse = function{i32ToI32, 0, []byte{
	opLocalGet, 0, opIf, byte(I32), opLocalGet, 0, opI32Const, 0x7f, opI32Add, opCall, 0, opElse, opI32Const, 7, opEnd,
}}

var meterConfig = Meter{RefuelModule: "host", RefuelName: "refuel", FuelGlobal: "fuel", StackGlobal: "stack", StackStart: 1 << 20}

// host runs a metered module, giving fuel in slices until the budget is used up.
type host struct {
	module      api.Module
	fuel, stack api.MutableGlobal
	budget      int64
	given       int64
}

var errSpent, errDeep = errors.New("fuel spent"), errors.New("stack spent")

const slice = 1000

func start(t *testing.T, m *Module, budget int64) *host {
	t.Helper()
	ctx := t.Context()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(context.Background()) })
	h := &host{budget: budget}
	_, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(h.refuel), nil, nil).Export("refuel").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h.module, err = r.Instantiate(ctx, m.Encode()); err != nil {
		t.Fatal(err)
	}
	h.fuel = h.module.ExportedGlobal("fuel").(api.MutableGlobal)
	h.stack = h.module.ExportedGlobal("stack").(api.MutableGlobal)
	return h
}

func (h *host) used() int64 { return h.given - int64(h.fuel.Get()) }

func (h *host) refuel(_ context.Context, m api.Module, _ []uint64) {
	if h.fuel == nil { // a start function runs before the globals can be looked up
		h.fuel = m.ExportedGlobal("fuel").(api.MutableGlobal)
		h.stack = m.ExportedGlobal("stack").(api.MutableGlobal)
	}
	if int32(uint32(h.stack.Get())) < 0 {
		panic(errDeep)
	}
	used := h.used()
	if used > h.budget {
		panic(errSpent)
	}
	next := min(slice, h.budget-used)
	h.fuel.Set(uint64(next))
	h.given = used + next
}

func (h *host) call(t *testing.T, name string, args ...uint64) (uint64, error) {
	t.Helper()
	h.stack.Set(1 << 20)
	results, err := h.module.ExportedFunction(name).Call(t.Context(), args...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return results[0], nil
}

func meter(t *testing.T, m *Module) Metered {
	t.Helper()
	report, err := m.Meter(meterConfig)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestFuelCountsIterationsAndCalls(t *testing.T) {
	t.Parallel()
	m := module(countdown, function{i32ToI32, 0, recurse.code})
	m.bodies[1] = append([]byte{0}, append(bytes.Replace(recurse.code, []byte{opCall, 0}, []byte{opCall, 1}, 1), opEnd)...)
	report := meter(t, m)
	if report.Functions != 2 || report.Loops != 1 || report.Leaves != 0 || report.TableChanges || report.DataUses {
		t.Errorf("report = %+v", report)
	}
	h := start(t, m, 1<<40)
	for _, n := range []uint64{1, 10, 999, 1000, 100_000} {
		before := h.used()
		if v, err := h.call(t, "f0", n); err != nil || v != 7 {
			t.Fatalf("countdown(%d) = %d, %v", n, v, err)
		}
		if used := h.used() - before; used != int64(n)+1 {
			t.Errorf("countdown(%d) used %d units, want one per iteration and one for the call", n, used)
		}
	}
	for _, n := range []uint64{0, 10, 5000} {
		before := h.used()
		if v, err := h.call(t, "f1", n); err != nil || v != 7 {
			t.Fatalf("recurse(%d) = %d, %v", n, v, err)
		}
		if used := h.used() - before; used != int64(n)+1 {
			t.Errorf("recurse(%d) used %d units, want one per call", n, used)
		}
	}
	if got := int32(h.stack.Get()); got != 1<<20 {
		t.Errorf("the stack budget is %d after calls have returned, want what it was", got)
	}
}

func TestFuelStopsExactly(t *testing.T) {
	t.Parallel()
	for _, budget := range []int64{1, 500, 1000, 12_345} {
		m := module(countdown)
		meter(t, m)
		h := start(t, m, budget)
		if _, err := h.call(t, "f0", 1<<30); !errors.Is(err, errSpent) {
			t.Fatalf("budget %d: %v, want the panic of the host", budget, err)
		}
		if h.used() != budget+1 {
			t.Errorf("stopped after %d units, want %d", h.used(), budget+1)
		}
		// A stopped instance runs again when it gets fuel.
		h.budget = 1 << 40
		if v, err := h.call(t, "f0", 3); err != nil || v != 7 {
			t.Errorf("after refuelling: %d, %v", v, err)
		}
	}
}

func TestStackStopsRecursion(t *testing.T) {
	t.Parallel()
	m := module(recurse)
	meter(t, m)
	h := start(t, m, 1<<40)
	const frame = frameBase + frameLocal
	if _, err := h.call(t, "f0", 1<<20/frame-1); err != nil {
		t.Errorf("recursion that just fits: %v", err)
	}
	if _, err := h.call(t, "f0", 1<<30); !errors.Is(err, errDeep) {
		t.Errorf("endless recursion: %v, want the panic of the host", err)
	}
	if v, err := h.call(t, "f0", 10); err != nil || v != 7 {
		t.Errorf("after resetting the budget: %d, %v", v, err)
	}
}

func TestBulkOperationsPayByLength(t *testing.T) {
	t.Parallel()
	fill := function{i32ToI32, 0, []byte{opI32Const, 0, opI32Const, 1, opLocalGet, 0, opPrefixBulk, bulkMemoryFill, 0, opI32Const, 7}}
	move := function{i32ToI32, 0, []byte{opI32Const, 0, opI32Const, 0, opLocalGet, 0, opPrefixBulk, bulkMemoryCopy, 0, 0, opI32Const, 7}}
	grow := function{i32ToI32, 0, []byte{opLocalGet, 0, opMemoryGrow, 0}}
	m := module(fill, move, grow)
	meter(t, m)
	h := start(t, m, 1<<40)
	for _, tt := range []struct {
		name string
		n    uint64
		want int64
	}{{"f0", 0, 1}, {"f0", 127, 1}, {"f0", 128, 2}, {"f0", 65536, 513}, {"f1", 65536, 513}, {"f2", 0, 1 + growCost}} {
		before := h.used()
		if _, err := h.call(t, tt.name, tt.n); err != nil {
			t.Fatal(err)
		}
		if used := h.used() - before; used != tt.want {
			t.Errorf("%s(%d) used %d units, want %d", tt.name, tt.n, used, tt.want)
		}
	}
	before := h.used()
	if _, err := h.call(t, "f0", 1<<31); err == nil || strings.Contains(err.Error(), "spent") {
		t.Errorf("filling more than there is: %v, want a trap", err)
	}
	if used := h.used() - before; used != 1+1<<24 {
		t.Errorf("a refused fill used %d units, want the length charged before", used)
	}
}

func TestLongRunsPay(t *testing.T) {
	t.Parallel()
	code := []byte{opI32Const, 1}
	for range 320 {
		code = append(code, opI32Const, 1, opI32Add)
	}
	m := module(function{toI32, 0, code})
	meter(t, m)
	h := start(t, m, 1<<40)
	if v, err := h.call(t, "f0"); err != nil || v != 321 {
		t.Fatalf("f0 = %d, %v", v, err)
	}
	if h.used() != 1+320/runUnit {
		t.Errorf("used %d units, want %d", h.used(), 1+320/runUnit)
	}
}

func TestLeavesAreFree(t *testing.T) {
	t.Parallel()
	leaf := function{toI32, 0, []byte{opI32Const, 3}}
	caller := function{toI32, 0, []byte{opCall, 0, opCall, 0, opI32Add}}
	m := module(leaf, caller)
	if report := meter(t, m); report.Leaves != 1 {
		t.Errorf("report = %+v, want one leaf", report)
	}
	h := start(t, m, 1<<40)
	if v, err := h.call(t, "f1"); err != nil || v != 6 || h.used() != 1 {
		t.Errorf("f1 = %d, %v using %d units; want 6 for 1 unit", v, err, h.used())
	}
}

// TestIndexesAreShifted: the new import moves every defined function by one, wherever its index stands.
func TestIndexesAreShifted(t *testing.T) {
	t.Parallel()
	three := function{toI32, 0, []byte{opI32Const, 3}}
	indirect := function{toI32, 0, []byte{opI32Const, 1, opCallIndirect, 0, 0}} // type 0 is that of function 0
	reference := function{toI32, 0, []byte{opRefFunc, 0, opRefIsNull}}
	begin := function{nothing, 0, []byte{opI32Const, 0, opI32Const, 42, 0x36, 2, 0}} // i32.store
	m := module(three, indirect, reference, begin)
	m.Globals = append(m.Globals, Global{Type: FuncRef, init: []byte{opRefFunc, 0, opEnd}})
	first := uint32(3)
	m.start = &first
	// Segments in every form: active with indexes, passive and declared, with table index, with expressions.
	m.elements = []byte{5,
		0, opI32Const, 1, opEnd, 1, 0,
		1, 0, 1, 0,
		2, 0, opI32Const, 2, opEnd, 0, 1, 0,
		3, 0, 1, 0,
		4, opI32Const, 3, opEnd, 1, opRefFunc, 0, opEnd,
	}
	original := m.Encode()
	m, err := Parse(original)
	if err != nil {
		t.Fatal(err)
	}
	meter(t, m)
	h := start(t, m, 1<<40)
	for name, want := range map[string]uint64{"f0": 3, "f1": 3, "f2": 0} {
		if v, err := h.call(t, name); err != nil || v != want {
			t.Errorf("%s = %d, %v; want %d", name, v, err, want)
		}
	}
	if v, ok := h.module.Memory().ReadUint32Le(0); !ok || v != 42 {
		t.Errorf("memory after the start function = %d, want 42", v)
	}
}

func TestDetachData(t *testing.T) {
	t.Parallel()
	m := module(function{i32ToI32, 0, []byte{opLocalGet, 0, 0x28, 2, 0}}) // i32.load
	m.data = []dataSegment{
		{active: true, offset: []byte{opI32Const, 8, opEnd}, bytes: []byte{1, 2, 3, 4}},
		{bytes: []byte("passive")},
		{active: true, offset: []byte{opI32Const, 10, opEnd}, bytes: []byte{9}},
	}
	image, err := m.DetachData()
	if err != nil {
		t.Fatal(err)
	}
	if len(image) != PageSize || !bytes.Equal(image[:13], []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 9, 4, 0}) {
		t.Errorf("image starts with %v", image[:13])
	}
	meter(t, m)
	h := start(t, m, 1<<40)
	if v, err := h.call(t, "f0", 8); err != nil || v != 0 {
		t.Errorf("memory of the detached module = %#x, %v; want zero", v, err)
	}

	for name, edit := range map[string]func(m *Module){
		"no memory":      func(m *Module) { m.Memory = nil },
		"start function": func(m *Module) { m.start = new(uint32) },
		"outside": func(m *Module) {
			m.data = []dataSegment{{true, []byte{opI32Const, 0, opEnd}, make([]byte, PageSize+1)}}
		},
		"negative offset": func(m *Module) { m.data = []dataSegment{{true, []byte{opI32Const, 0x7f, opEnd}, []byte{1}}} },
		"global offset":   func(m *Module) { m.data = []dataSegment{{true, []byte{opGlobalGet, 0, opEnd}, []byte{1}}} },
		"large memory":    func(m *Module) { m.Memory.Min = 65536 },
	} {
		m := module(countdown)
		edit(m)
		if _, err := m.DetachData(); err == nil {
			t.Errorf("%s: DetachData succeeded", name)
		}
	}
}

func TestExportsAndClamps(t *testing.T) {
	t.Parallel()
	m := module(countdown)
	m.Globals = []Global{
		{Type: I32, Mutable: true, init: []byte{opI32Const, 5, opEnd}},
		{Type: I32, init: []byte{opI32Const, 5, opEnd}},
		{Type: F64, Mutable: true, init: append(append([]byte{opF64Const}, make([]byte, 8)...), opEnd)},
		{Type: FuncRef, Mutable: true, init: []byte{opRefNull, byte(FuncRef), opEnd}},
	}
	if names := m.ExportMutableGlobals("g"); len(names) != 2 || names[0] != "g0" || names[1] != "g2" {
		t.Errorf("names = %v, want g0 and g2", names)
	}
	m.KeepExports(func(e Export) bool { return e.Kind == KindGlobal })
	if len(m.Exports) != 2 {
		t.Errorf("exports = %v, want the globals", m.Exports)
	}
	if err := m.ClampMemory(0); err == nil {
		t.Error("ClampMemory below the minimum succeeded")
	}
	if err := m.ClampTables(3); err == nil {
		t.Error("ClampTables below the minimum succeeded")
	}
	if err := errors.Join(m.ClampMemory(2), m.ClampTables(10)); err != nil || m.Memory.Max != 2 || m.tables[0].lim.Max != 10 {
		t.Errorf("clamped to %+v and %+v, %v", *m.Memory, m.tables[0].lim, err)
	}
	if err := m.ClampMemory(5); err != nil || m.Memory.Max != 2 {
		t.Errorf("a clamp above the maximum changed it to %d, %v", m.Memory.Max, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	valid := module(countdown).Encode()
	with := func(tail ...byte) []byte { return append(bytes.Clone(valid), tail...) }
	for name, tt := range map[string]struct {
		wasm []byte
		want string
	}{
		"nothing":            {nil, "not a WebAssembly module"},
		"text":               {[]byte("(module)"), "not a WebAssembly module"},
		"other version":      {[]byte("\x00asm\x02\x00\x00\x00"), "not a WebAssembly module"},
		"component":          {[]byte("\x00asm\x0d\x00\x01\x00"), "wasm32-wasip1"},
		"truncated":          {valid[:len(valid)-3], "unexpected end"},
		"repeated section":   {with(sectionType, 1, 0), "out of order"},
		"unknown section":    {with(13, 1, 0), "unknown"},
		"long length":        {with(sectionData, 0xff, 0xff, 0xff, 0xff, 0x0f), "unexpected end"},
		"overlong number":    {with(sectionData, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), "longer than 32 bits"},
		"four billion types": {append(bytes.Clone(header), sectionType, 5, 0xff, 0xff, 0xff, 0xff, 0x0f), "unexpected end"},
		"missing bodies":     {append(bytes.Clone(header), sectionType, 4, 1, 0x60, 0, 0, sectionFunction, 2, 1, 0), "1 functions declared, 0 bodies"},
		"type out of range":  {append(bytes.Clone(header), sectionFunction, 2, 1, 0), "type 0 does not exist"},
		"several memories":   {append(bytes.Clone(header), sectionMemory, 5, 2, 0, 1, 0, 1), "several memories"},
		"shared memory":      {append(bytes.Clone(header), sectionMemory, 4, 1, 3, 1, 1), "flag 3"},
		"left over":          {append(bytes.Clone(header), sectionMemory, 4, 1, 0, 1, 1), "left over"},
		"segment mode":       {append(bytes.Clone(header), sectionData, 2, 1, 3), "data segment mode 3"},
		"element flags":      {append(bytes.Clone(header), sectionElement, 2, 1, 8), "element segment flags 8"},
		"recursive type":     {append(bytes.Clone(header), sectionType, 3, 1, 0x4e, 0), "not a function"},
	} {
		if _, err := Parse(tt.wasm); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Parse = %v, want an error with %q", name, err, tt.want)
		}
	}
}

func TestMeterRefuses(t *testing.T) {
	t.Parallel()
	body := func(code ...byte) []byte { return append([]byte{0}, code...) }
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"four billion locals":  {[]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, byte(I32), opEnd}, "too many locals"},
		"no end":               {body(opI32Const, 0), "unexpected end"},
		"after the end":        {body(opEnd, opEnd), "after the end"},
		"tail call":            {body(0x12, 0, opEnd), "not supported"},
		"exceptions":           {body(0x06, blockEmpty, opEnd, opEnd), "not supported"},
		"threads":              {body(0xfe, 0, 2, 0, opEnd), "not supported"},
		"relaxed vectors":      {body(opPrefixVector, 0x80, 0x02, opEnd), "not supported"},
		"unknown bulk":         {body(opPrefixBulk, 18, opEnd), "not supported"},
		"wide alignment":       {body(opI32Const, 0, 0x28, 0x40, 0, opEnd), "memory argument"},
		"four billion targets": {body(opBrTable, 0xff, 0xff, 0xff, 0xff, 0x0f), "unexpected end"},
	} {
		m := module(countdown)
		m.bodies[0] = tt.body
		if _, err := m.Meter(meterConfig); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Meter = %v, want an error with %q", name, err, tt.want)
		}
	}
}
