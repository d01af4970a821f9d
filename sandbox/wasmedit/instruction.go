package wasmedit

// Opcodes that the package treats specially or emits.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI64LtS       = 0x53
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opPrefixBulk   = 0xfc
	opPrefixVector = 0xfd

	blockEmpty = 0x40
)

// Instructions behind opPrefixBulk.
const (
	bulkTruncLast  = 7 // saturating truncations are 0 to 7
	bulkMemoryInit = 8
	bulkDataDrop   = 9
	bulkMemoryCopy = 10
	bulkMemoryFill = 11
	bulkTableInit  = 12
	bulkElemDrop   = 13
	bulkTableCopy  = 14
	bulkTableGrow  = 15
	bulkTableSize  = 16
	bulkTableFill  = 17
)

// instruction is one decoded instruction; its bytes are data[start:end] of the reader.
type instruction struct {
	op         byte
	sub        uint32 // for prefixed instructions
	fn         uint32 // function index of call and ref.func
	start, end int
}

// instruction decodes one instruction with all its immediates.
func (r *reader) instruction() instruction {
	in := instruction{start: r.pos}
	in.op = r.byte()
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		r.blockType()
	case op == opBr || op == opBrIf:
		r.u32()
	case op == opBrTable:
		for range r.count() {
			r.u32()
			if r.err != nil {
				break
			}
		}
		r.u32()
	case op == opCall || op == opRefFunc:
		in.fn = r.u32()
	case op == opCallIndirect:
		r.u32()
		r.u32()
	case op == opSelectTyped:
		r.valueTypes()
	case op >= opLocalGet && op <= opTableSet:
		r.u32()
	case op >= 0x28 && op <= 0x3e: // loads and stores
		r.memoryArgument()
	case op == opMemorySize || op == opMemoryGrow:
		r.memoryIndex()
	case op == opI32Const:
		r.signed(32)
	case op == opI64Const:
		r.signed(64)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opRefNull:
		r.refType()
	case op == opPrefixBulk:
		in.sub = r.u32()
		r.bulkImmediates(in.sub)
	case op == opPrefixVector:
		in.sub = r.u32()
		r.vectorImmediates(in.sub)
	case op == opUnreachable, op == opElse, op == opEnd, op == opReturn, op == opRefIsNull,
		op == 0x01, op == 0x1a, op == 0x1b, // nop, drop, select
		op >= 0x45 && op <= 0xc4: // numeric instructions and sign extensions
	default:
		r.failf("instruction %#x is not supported", op)
	}
	in.end = r.pos
	return in
}

// blockType is empty, one value type, or a type index; all three fit a signed 33-bit number.
func (r *reader) blockType() { r.signed(33) }

func (r *reader) memoryArgument() {
	if align := r.u32(); align >= 32 {
		r.failf("memory argument flags %#x", align)
	}
	r.u32()
}

func (r *reader) memoryIndex() {
	if r.byte() != 0 {
		r.failf("memory other than 0")
	}
}

func (r *reader) bulkImmediates(sub uint32) {
	switch sub {
	case bulkMemoryInit:
		r.u32()
		r.memoryIndex()
	case bulkDataDrop, bulkElemDrop, bulkTableGrow, bulkTableSize, bulkTableFill:
		r.u32()
	case bulkMemoryCopy:
		r.memoryIndex()
		r.memoryIndex()
	case bulkMemoryFill:
		r.memoryIndex()
	case bulkTableInit, bulkTableCopy:
		r.u32()
		r.u32()
	default:
		if sub > bulkTruncLast {
			r.failf("instruction %#x %d is not supported", opPrefixBulk, sub)
		}
	}
}

func (r *reader) vectorImmediates(sub uint32) {
	switch {
	case sub <= 11 || sub == 92 || sub == 93: // loads, splats of memory, store
		r.memoryArgument()
	case sub == 12 || sub == 13: // const, shuffle
		r.bytes(16)
	case sub >= 21 && sub <= 34: // lane access
		r.byte()
	case sub >= 84 && sub <= 91: // lane loads and stores
		r.memoryArgument()
		r.byte()
	case sub > 255:
		r.failf("instruction %#x %d is not supported", opPrefixVector, sub)
	}
}

// flow is what an instruction does to the straight run of instructions that it is part of.
type flow int

const (
	flowOn     flow = iota // the next instruction follows
	flowSplit              // the next instruction may be reached in another way too, or may not be reached
	flowHeader             // the next instruction is the first of a loop's iteration
	flowAway               // the next instruction cannot be reached from here
)

func (in instruction) flow() flow {
	switch in.op {
	case opIf, opElse, opEnd, opBrIf:
		return flowSplit
	case opLoop:
		return flowHeader
	case opBr, opBrTable, opReturn, opUnreachable:
		return flowAway
	}
	return flowOn
}

// works tells whether an instruction makes machine code of its own; locals and constants become operands of others.
func (in instruction) works() bool {
	switch in.op {
	case opBlock, 0x01, 0x1a, opI32Const, opI64Const, opF32Const, opF64Const: // nop is 0x01, drop 0x1a
		return false
	}
	return in.op < opLocalGet || in.op > opLocalTee
}

// runLength counts the instructions that work from the position of r up to the first that is not flowOn. r does not move.
func (r *reader) runLength() (n int64) {
	ahead := *r
	for !ahead.done() {
		in := ahead.instruction()
		if in.flow() != flowOn {
			break
		}
		if in.works() {
			n++
		}
	}
	return n
}

// bulkLength tells whether an instruction works on as many bytes or elements as the i32 on top of the stack says.
func (in instruction) bulkLength() bool {
	if in.op != opPrefixBulk {
		return false
	}
	switch in.sub {
	case bulkMemoryInit, bulkMemoryCopy, bulkMemoryFill, bulkTableInit, bulkTableCopy, bulkTableGrow, bulkTableFill:
		return true
	}
	return false
}

// mutatesTable tells whether an instruction can change what a table or element segment holds.
func (in instruction) mutatesTable() bool {
	if in.op == opTableSet {
		return true
	}
	if in.op != opPrefixBulk {
		return false
	}
	switch in.sub {
	case bulkTableInit, bulkElemDrop, bulkTableCopy, bulkTableGrow, bulkTableFill:
		return true
	}
	return false
}

// usesData tells whether an instruction refers to a data segment at run time.
func (in instruction) usesData() bool {
	return in.op == opPrefixBulk && (in.sub == bulkMemoryInit || in.sub == bulkDataDrop)
}
