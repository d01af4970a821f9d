package wasmedit

import (
	"errors"
	"fmt"
	"math"
)

// Meter says under which names a metered module talks to its host.
type Meter struct {
	// RefuelModule and RefuelName import the function, without parameters and results, that is called when the fuel
	// global or the stack global has become negative. It either adds fuel and returns or stops the instance by trapping;
	// with a negative stack it must not return.
	RefuelModule, RefuelName string

	// FuelGlobal exports a mutable i64: what is left of the current slice of fuel. It starts at 0.
	FuelGlobal string

	// StackGlobal exports a mutable i32: what is left of the stack budget, in bytes. The host must set it before every
	// call, because a trap leaves it low. It starts at StackStart, which serves a start function.
	StackGlobal string
	StackStart  int32
}

const (
	// growCost is charged for memory.grow besides its effect on the heap: a call into the host.
	growCost = 64

	// bulkShift turns lengths of bulk operations into fuel: one unit per 128 bytes or elements.
	bulkShift = 7

	// runUnit is how many working instructions in a straight run make one unit of fuel. Runs shorter than runMin that do
	// not start a function or an iteration are free: charging them would cost more than executing them.
	runUnit, runMin = 32, 64

	// frameBase and frameLocal estimate the native frame of a function: fixed part, and bytes per local.
	frameBase, frameLocal = 64, 8

	// leafBytesMax is the longest body that is left unmetered when it has no loop, call or bulk operation: its work is
	// bounded, and the loop or function that repeats it pays.
	leafBytesMax = 160

	// frameMax keeps one frame representable; a function with so many locals is refused.
	frameMax = 1 << 24
)

// Metered reports what metering found in the code.
type Metered struct {
	Functions, Leaves, Loops int
	// TableChanges is set when the code can change tables or drop element segments, DataUses when it refers to data
	// segments: a snapshot of memory and globals is then not the whole state of an instance.
	TableChanges, DataUses bool
}

// Meter rewrites the code so that its work is counted. Fuel: one unit at every function entry and loop iteration, one per
// 32 instructions of long straight runs, and one per 128 bytes or elements of bulk operations, charged before they run.
// Stack: every call takes an estimate of its caller's frame and gives it back. Small leaf functions are left alone. Equal
// executions consume equal fuel.
func (m *Module) Meter(cfg Meter) (Metered, error) {
	e := &meterEdit{m: m, imported: m.importedFuncs}
	refuelType := uint32(len(m.Types))
	m.Types = append(m.Types, FuncType{})
	m.Imports = append(m.Imports, Import{Module: cfg.RefuelModule, Name: cfg.RefuelName, Kind: KindFunction, Type: refuelType})
	m.importedFuncs++
	e.refuel = e.imported

	e.fuel = m.addGlobal(Global{Type: I64, Mutable: true, init: []byte{opI64Const, 0, opEnd}}, cfg.FuelGlobal)
	e.stack = m.addGlobal(Global{Type: I32, Mutable: true,
		init: append(appendSigned([]byte{opI32Const}, int64(cfg.StackStart)), opEnd)}, cfg.StackGlobal)

	if err := m.shiftFunctions(e.shift); err != nil {
		return Metered{}, err
	}
	if err := e.findLeaves(); err != nil {
		return Metered{}, err
	}
	for i, body := range m.bodies {
		rewritten, err := e.rewrite(i, body)
		if err != nil {
			return Metered{}, fmt.Errorf("wasmedit: function %d: %w", i, err)
		}
		m.bodies[i] = rewritten
	}
	e.report.Functions = len(m.bodies)
	return e.report, nil
}

func (m *Module) addGlobal(g Global, export string) uint32 {
	index := m.importedGlobals + uint32(len(m.Globals))
	m.Globals = append(m.Globals, g)
	m.Exports = append(m.Exports, Export{export, KindGlobal, index})
	return index
}

// shiftFunctions maps every function index outside the code.
func (m *Module) shiftFunctions(remap func(uint32) uint32) error {
	for i, x := range m.Exports {
		if x.Kind == KindFunction {
			m.Exports[i].Index = remap(x.Index)
		}
	}
	if m.start != nil {
		f := remap(*m.start)
		m.start = &f
	}
	for i, g := range m.Globals {
		r := &reader{data: g.init}
		m.Globals[i].init = r.constExpr(remap)
	}
	if m.elements != nil {
		r := &reader{data: m.elements}
		m.elements = r.elements(remap)
		if r.err != nil {
			return fmt.Errorf("wasmedit: elements: %w", r.err)
		}
	}
	return nil
}

// meterEdit is the state of one Meter call. Function indexes in bodies are those of the original module.
type meterEdit struct {
	m           *Module
	imported    uint32 // number of imported functions before the edit
	refuel      uint32
	fuel, stack uint32 // global indexes
	leaf        []bool
	report      Metered
}

// shift maps an original function index: the new import follows the old ones.
func (e *meterEdit) shift(f uint32) uint32 {
	if f >= e.imported && f != math.MaxUint32 {
		return f + 1
	}
	return f
}

func (e *meterEdit) findLeaves() error {
	e.leaf = make([]bool, len(e.m.bodies))
	for i, body := range e.m.bodies {
		if len(body) > leafBytesMax {
			continue
		}
		r := &reader{data: body}
		r.locals()
		leaf := true
		for leaf && !r.done() {
			in := r.instruction()
			leaf = in.op != opLoop && in.op != opCall && in.op != opCallIndirect && in.op != opMemoryGrow && !in.bulkLength()
		}
		if r.err != nil {
			return fmt.Errorf("wasmedit: function %d: %w", i, r.err)
		}
		if leaf {
			e.leaf[i] = true
			e.report.Leaves++
		}
	}
	return nil
}

// locals passes over the local declarations of a body and counts them.
func (r *reader) locals() (n uint64) {
	for range r.count() {
		n += uint64(r.u32())
		r.valueType()
		if r.err != nil {
			return 0
		}
	}
	return n
}

var errFrame = errors.New("too many locals")

func (e *meterEdit) rewrite(i int, body []byte) ([]byte, error) {
	r := &reader{data: body}
	groups := r.u32()
	declStart := r.pos
	r.pos = 0
	locals := r.locals() + uint64(len(e.m.Types[e.m.funcs[i]].Params))
	if r.err != nil {
		return nil, r.err
	}
	frame := frameBase + frameLocal*locals
	if frame > frameMax {
		return nil, errFrame
	}
	w := bodyWriter{meterEdit: e, frame: int64(frame), scratch64: uint32(locals), scratch32: uint32(locals) + 1}
	w.out = appendU32(make([]byte, 0, len(body)+len(body)/2+32), groups+2)
	w.out = append(w.out, body[declStart:r.pos]...)
	w.out = append(w.out, 1, byte(I64), 1, byte(I32))
	at := flowHeader // a function entry is charged like an iteration
	for depth := 1; depth > 0; {
		if !e.leaf[i] {
			w.chargeRun(at, r)
		}
		in := r.instruction()
		if r.err != nil {
			return nil, r.err
		}
		switch in.op {
		case opBlock, opIf, opLoop:
			depth++
		case opEnd:
			depth--
		}
		at = in.flow()
		w.instruction(in, body)
	}
	if r.pos != len(body) {
		return nil, errors.New("instructions after the end")
	}
	return w.out, nil
}

// bodyWriter emits one rewritten body.
type bodyWriter struct {
	*meterEdit
	out                  []byte
	frame                int64
	scratch64, scratch32 uint32 // two locals added to the function
}

func (w *bodyWriter) instruction(in instruction, body []byte) {
	raw := body[in.start:in.end]
	w.report.TableChanges = w.report.TableChanges || in.mutatesTable()
	w.report.DataUses = w.report.DataUses || in.usesData()
	switch {
	case in.op == opLoop:
		w.report.Loops++
		w.out = append(w.out, raw...)
	case in.op == opCall:
		nested := in.fn >= w.imported && !w.isLeaf(in.fn)
		w.enter(nested)
		w.op(opCall, w.shift(in.fn))
		w.leave(nested)
	case in.op == opCallIndirect:
		w.enter(true)
		w.out = append(w.out, raw...)
		w.leave(true)
	case in.op == opRefFunc:
		w.op(opRefFunc, w.shift(in.fn))
	case in.op == opMemoryGrow:
		w.charge(growCost)
		w.out = append(w.out, raw...)
	case in.bulkLength():
		w.chargeLength()
		w.out = append(w.out, raw...)
	default:
		w.out = append(w.out, raw...)
	}
}

func (w *bodyWriter) isLeaf(fn uint32) bool {
	i := fn - w.imported
	return int64(i) < int64(len(w.leaf)) && w.leaf[i]
}

// op emits an instruction with one index.
func (w *bodyWriter) op(op byte, index uint32) { w.out = appendU32(append(w.out, op), index) }

// charge emits: fuel -= n; if fuel < 0 { refuel() }.
func (w *bodyWriter) charge(n int64) {
	w.op(opGlobalGet, w.fuel)
	w.out = appendSigned(append(w.out, opI64Const), n)
	w.settle()
}

// chargeRun charges for the straight run that starts at r, when one starts there.
func (w *bodyWriter) chargeRun(at flow, r *reader) {
	switch at {
	case flowHeader:
		w.charge(1 + r.runLength()/runUnit)
	case flowSplit:
		if n := r.runLength(); n >= runMin {
			w.charge(n / runUnit)
		}
	}
}

// chargeLength emits the same with n = (value on top of the stack) / 128, which it leaves there.
func (w *bodyWriter) chargeLength() {
	w.op(opLocalTee, w.scratch32)
	w.op(opGlobalGet, w.fuel)
	w.op(opLocalGet, w.scratch32)
	w.out = append(w.out, opI64ExtendU, opI64Const, bulkShift, opI64ShrU)
	w.settle()
}

func (w *bodyWriter) settle() {
	w.out = append(w.out, opI64Sub)
	w.op(opLocalTee, w.scratch64) // the new value stays in a register for the comparison
	w.op(opGlobalSet, w.fuel)
	w.op(opLocalGet, w.scratch64)
	w.out = append(w.out, opI64Const, 0, opI64LtS)
	w.callRefuelIf()
}

func (w *bodyWriter) callRefuelIf() {
	w.out = append(w.out, opIf, blockEmpty)
	w.op(opCall, w.refuel)
	w.out = append(w.out, opEnd)
}

// enter emits: stack -= frame; if stack < 0 { refuel() }.
func (w *bodyWriter) enter(nested bool) {
	if !nested {
		return
	}
	w.op(opGlobalGet, w.stack)
	w.out = appendSigned(append(w.out, opI32Const), w.frame)
	w.out = append(w.out, opI32Sub)
	w.op(opLocalTee, w.scratch32)
	w.op(opGlobalSet, w.stack)
	w.op(opLocalGet, w.scratch32)
	w.out = append(w.out, opI32Const, 0, opI32LtS)
	w.callRefuelIf()
}

// leave emits: stack += frame.
func (w *bodyWriter) leave(nested bool) {
	if !nested {
		return
	}
	w.op(opGlobalGet, w.stack)
	w.out = appendSigned(append(w.out, opI32Const), w.frame)
	w.out = append(w.out, opI32Add)
	w.op(opGlobalSet, w.stack)
}
