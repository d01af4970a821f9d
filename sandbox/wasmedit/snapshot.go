package wasmedit

import (
	"errors"
	"fmt"
)

// DetachData takes the module's initial memory out of it: it returns the image that the active data segments produce in
// a memory of Memory.Min pages, and empties those segments, so that instantiation leaves memory as the host gives it.
// Offsets must be constants. The module must define its memory and have no start function.
func (m *Module) DetachData() ([]byte, error) {
	if m.Memory == nil {
		return nil, errors.New("wasmedit: the module defines no memory")
	}
	if m.start != nil {
		return nil, errors.New("wasmedit: the module has a start function")
	}
	if m.Memory.Min > imagePagesMax {
		return nil, fmt.Errorf("wasmedit: initial memory of %d pages is more than %d", m.Memory.Min, imagePagesMax)
	}
	image := make([]byte, int(m.Memory.Min)*PageSize)
	for i, d := range m.data {
		if !d.active {
			continue
		}
		r := &reader{data: d.offset}
		if r.byte() != opI32Const {
			return nil, fmt.Errorf("wasmedit: data segment %d: offset is not a constant", i)
		}
		offset := uint64(uint32(r.signed(32)))
		if r.byte() != opEnd || r.err != nil {
			return nil, fmt.Errorf("wasmedit: data segment %d: offset is not a constant", i)
		}
		if offset+uint64(len(d.bytes)) > uint64(len(image)) {
			return nil, fmt.Errorf("wasmedit: data segment %d ends outside the memory", i)
		}
		copy(image[offset:], d.bytes)
		m.data[i] = dataSegment{} // passive and empty: indexes of other segments stay valid
	}
	return image, nil
}

// imagePagesMax bounds the image that DetachData allocates: 256 MiB.
const imagePagesMax = 4096

// ExportMutableGlobals exports every mutable number global that the module defines as prefix followed by its position
// and returns those names in order.
func (m *Module) ExportMutableGlobals(prefix string) []string {
	var names []string
	for i, g := range m.Globals {
		switch g.Type {
		case I32, I64, F32, F64:
		default:
			continue
		}
		if !g.Mutable {
			continue
		}
		name := fmt.Sprintf("%s%d", prefix, i)
		m.Exports = append(m.Exports, Export{name, KindGlobal, m.importedGlobals + uint32(i)})
		names = append(names, name)
	}
	return names
}

// KeepExports removes every export that keep refuses.
func (m *Module) KeepExports(keep func(Export) bool) {
	kept := m.Exports[:0:0]
	for _, e := range m.Exports {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	m.Exports = kept
}

// ClampMemory lowers the maximum of the module's memory to maxPages and fails when its minimum is above.
func (m *Module) ClampMemory(maxPages uint32) error {
	if m.Memory == nil {
		return nil
	}
	if m.Memory.Min > maxPages {
		return fmt.Errorf("wasmedit: memory starts with %d pages, more than %d", m.Memory.Min, maxPages)
	}
	if !m.Memory.HasMax || m.Memory.Max > maxPages {
		m.Memory.HasMax, m.Memory.Max = true, maxPages
	}
	return nil
}

// ClampTables lowers the maximum of every table to maxElements and fails when a minimum is above.
func (m *Module) ClampTables(maxElements uint32) error {
	for i := range m.tables {
		l := &m.tables[i].lim
		if l.Min > maxElements {
			return fmt.Errorf("wasmedit: table %d starts with %d elements, more than %d", i, l.Min, maxElements)
		}
		if !l.HasMax || l.Max > maxElements {
			l.HasMax, l.Max = true, maxElements
		}
	}
	return nil
}
