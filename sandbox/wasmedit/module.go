package wasmedit

import (
	"errors"
	"fmt"
)

// PageSize is the unit of linear memory.
const PageSize = 65536

// Kind tells what an import or export refers to.
type Kind byte

const (
	KindFunction Kind = iota
	KindTable
	KindMemory
	KindGlobal
)

// ValueType is the encoding of a value type.
type ValueType byte

const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// FuncType is the signature of a function.
type FuncType struct {
	Params, Results []ValueType
}

// Limits bound a memory (in pages) or a table (in elements).
type Limits struct {
	Min    uint32
	Max    uint32 // meaningful when HasMax
	HasMax bool
}

// Import is one thing a module takes from its host.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         uint32 // of a function: index of its FuncType
	desc         []byte // encoding of everything else
}

// Export is one thing a module gives to its host.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32
}

// Global is a global variable that the module defines.
type Global struct {
	Type    ValueType
	Mutable bool
	init    []byte // constant expression, end included
}

type table struct {
	elem ValueType
	lim  Limits
}

// dataSegment is a part of the data section. Active segments carry the offset at which they are copied.
type dataSegment struct {
	active bool
	offset []byte // constant expression, end included
	bytes  []byte
}

// Module is a decoded module. Its byte slices alias the input of Parse, which must stay unchanged.
type Module struct {
	Types   []FuncType
	Imports []Import
	Memory  *Limits // nil when the module defines no memory
	Globals []Global
	Exports []Export

	funcs     []uint32 // type of each defined function
	tables    []table
	start     *uint32
	elements  []byte // body of the element section, nil when absent
	dataCount bool
	bodies    [][]byte
	data      []dataSegment

	importedFuncs, importedGlobals, importedTables, importedMemories uint32
}

const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

// sectionOrder is the place of each section in a file; the data count comes before the code.
var sectionOrder = [...]int{sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5,
	sectionGlobal: 6, sectionExport: 7, sectionStart: 8, sectionElement: 9, sectionDataCount: 10, sectionCode: 11, sectionData: 12}

var header = []byte("\x00asm\x01\x00\x00\x00")

var (
	errNotWasm   = errors.New("wasmedit: not a WebAssembly module")
	errComponent = errors.New("wasmedit: a WebAssembly component, not a core module: compile for wasm32-wasip1")
)

// Parse decodes a module. The error names the section that is malformed or uses a feature outside the accepted set.
func Parse(wasm []byte) (*Module, error) {
	if len(wasm) < len(header) || string(wasm[:4]) != string(header[:4]) {
		return nil, errNotWasm
	}
	if string(wasm[4:8]) == "\x0d\x00\x01\x00" {
		return nil, errComponent
	}
	if string(wasm[4:8]) != string(header[4:]) {
		return nil, errNotWasm
	}
	m := &Module{}
	r := &reader{data: wasm, pos: len(header)}
	last := 0
	for !r.done() {
		id := r.byte()
		body := r.bytes(r.u32())
		if r.err != nil {
			break
		}
		if id == sectionCustom {
			continue
		}
		if int(id) >= len(sectionOrder) || sectionOrder[id] <= last {
			return nil, fmt.Errorf("wasmedit: section %d is unknown, repeated or out of order", id)
		}
		last = sectionOrder[id]
		s := &reader{data: body}
		m.parseSection(id, s)
		if s.err == nil && s.pos != len(body) {
			s.failf("%d bytes left over", len(body)-s.pos)
		}
		if s.err != nil {
			return nil, fmt.Errorf("wasmedit: section %d: %w", id, s.err)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("wasmedit: %w", r.err)
	}
	if len(m.funcs) != len(m.bodies) {
		return nil, fmt.Errorf("wasmedit: %d functions declared, %d bodies given", len(m.funcs), len(m.bodies))
	}
	return m, nil
}

func (m *Module) parseSection(id byte, r *reader) {
	switch id {
	case sectionType:
		for range r.count() {
			m.Types = append(m.Types, r.funcType())
			if r.err != nil {
				return
			}
		}
	case sectionImport:
		for range r.count() {
			m.parseImport(r)
			if r.err != nil {
				return
			}
		}
	case sectionFunction:
		for range r.count() {
			t := r.u32()
			if r.err == nil && int64(t) >= int64(len(m.Types)) {
				r.failf("type %d does not exist", t)
			}
			if r.err != nil {
				return
			}
			m.funcs = append(m.funcs, t)
		}
	case sectionTable:
		for range r.count() {
			m.tables = append(m.tables, table{r.refType(), r.limits()})
			if r.err != nil {
				return
			}
		}
	case sectionMemory:
		switch n := r.count(); {
		case n > 1:
			r.failf("several memories are not supported")
		case n == 1:
			l := r.limits()
			m.Memory = &l
		}
	case sectionGlobal:
		for range r.count() {
			g := Global{Type: r.valueType(), Mutable: r.bool()}
			g.init = r.constExpr(nil)
			if r.err != nil {
				return
			}
			m.Globals = append(m.Globals, g)
		}
	case sectionExport:
		for range r.count() {
			e := Export{Name: r.name(), Kind: Kind(r.byte()), Index: r.u32()}
			if r.err != nil {
				return
			}
			m.Exports = append(m.Exports, e)
		}
	case sectionStart:
		f := r.u32()
		m.start = &f
	case sectionElement:
		m.elements = r.data
		r.elements(nil)
	case sectionCode:
		for range r.count() {
			body := r.bytes(r.u32())
			if r.err != nil {
				return
			}
			m.bodies = append(m.bodies, body)
		}
	case sectionData:
		for range r.count() {
			d := r.dataSegment()
			if r.err != nil {
				return
			}
			m.data = append(m.data, d)
		}
	case sectionDataCount:
		r.u32()
		m.dataCount = true
	}
}

func (m *Module) parseImport(r *reader) {
	im := Import{Module: r.name(), Name: r.name(), Kind: Kind(r.byte())}
	start := r.pos
	switch im.Kind {
	case KindFunction:
		im.Type = r.u32()
		if r.err == nil && int64(im.Type) >= int64(len(m.Types)) {
			r.failf("type %d does not exist", im.Type)
		}
		m.importedFuncs++
	case KindTable:
		r.refType()
		r.limits()
		m.importedTables++
	case KindMemory:
		r.limits()
		m.importedMemories++
	case KindGlobal:
		r.valueType()
		r.bool()
		m.importedGlobals++
	default:
		r.failf("import kind %d", im.Kind)
	}
	if r.err != nil {
		return
	}
	im.desc = r.data[start:r.pos]
	m.Imports = append(m.Imports, im)
}

func (r *reader) funcType() FuncType {
	if form := r.byte(); form != 0x60 {
		r.failf("type form %#x is not a function", form)
	}
	return FuncType{r.valueTypes(), r.valueTypes()}
}

func (r *reader) valueTypes() []ValueType {
	n := r.count()
	out := make([]ValueType, 0, n)
	for range n {
		out = append(out, r.valueType())
	}
	return out
}

func (r *reader) valueType() ValueType {
	t := ValueType(r.byte())
	switch t {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef:
	default:
		r.failf("value type %#x", byte(t))
	}
	return t
}

func (r *reader) refType() ValueType {
	t := r.valueType()
	if r.err == nil && t != FuncRef && t != ExternRef {
		r.failf("reference type %#x", byte(t))
	}
	return t
}

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.failf("flag %d", b)
	}
	return b == 1
}

// limits reads the plain forms only: shared memories and 64-bit indexes have other flags.
func (r *reader) limits() Limits {
	l := Limits{HasMax: r.bool(), Min: r.u32()}
	if l.HasMax {
		l.Max = r.u32()
	}
	return l
}

func (r *reader) dataSegment() dataSegment {
	switch mode := r.u32(); mode {
	case 0, 2:
		if mode == 2 && r.u32() != 0 {
			r.failf("data for memory other than 0")
		}
		return dataSegment{active: true, offset: r.constExpr(nil), bytes: r.bytes(r.u32())}
	case 1:
		return dataSegment{bytes: r.bytes(r.u32())}
	default:
		r.failf("data segment mode %d", mode)
		return dataSegment{}
	}
}

// constExpr returns the bytes of a constant expression, with function indexes mapped by remap when it is not nil.
func (r *reader) constExpr(remap func(uint32) uint32) []byte {
	var out []byte
	for r.err == nil {
		start := r.pos
		switch op := r.byte(); op {
		case opEnd:
			return append(out, opEnd)
		case opI32Const:
			r.signed(32)
		case opI64Const:
			r.signed(64)
		case opF32Const:
			r.bytes(4)
		case opF64Const:
			r.bytes(8)
		case opGlobalGet:
			r.u32()
		case opRefNull:
			r.refType()
		case opRefFunc:
			f := r.u32()
			if remap != nil {
				out = appendU32(append(out, op), remap(f))
				continue
			}
		case opPrefixVector:
			if sub := r.u32(); sub != 12 {
				r.failf("vector instruction %d in a constant expression", sub)
			}
			r.bytes(16)
		default:
			r.failf("instruction %#x in a constant expression", op)
		}
		out = append(out, r.data[start:r.pos]...)
	}
	return nil
}

// elements walks the body of the element section and returns it with function indexes mapped by remap (may be nil).
func (r *reader) elements(remap func(uint32) uint32) []byte {
	n := r.count()
	out := appendU32(nil, n)
	for range n {
		if r.err != nil {
			return nil
		}
		flags := r.u32()
		if flags > 7 {
			r.failf("element segment flags %d", flags)
			return nil
		}
		out = appendU32(out, flags)
		passive, explicit, expressions := flags&1 != 0, flags&2 != 0, flags&4 != 0
		if !passive {
			if explicit {
				out = appendU32(out, r.u32())
			}
			out = append(out, r.constExpr(remap)...)
		}
		if passive || explicit {
			out = append(out, r.byte()) // element kind or reference type
		}
		items := r.count()
		out = appendU32(out, items)
		for range items {
			if r.err != nil {
				return nil
			}
			switch {
			case expressions:
				out = append(out, r.constExpr(remap)...)
			case remap != nil:
				out = appendU32(out, remap(r.u32()))
			default:
				out = appendU32(out, r.u32())
			}
		}
	}
	return out
}
