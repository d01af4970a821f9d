package wasmedit

// Encode writes the module in the binary format.
func (m *Module) Encode() []byte {
	out := append([]byte(nil), header...)
	section := func(id byte, count int, body []byte) {
		if count == 0 {
			return
		}
		body = append(appendU32(nil, uint32(count)), body...)
		out = appendU32(append(out, id), uint32(len(body)))
		out = append(out, body...)
	}

	var b []byte
	for _, t := range m.Types {
		b = append(b, 0x60)
		b = appendValueTypes(b, t.Params)
		b = appendValueTypes(b, t.Results)
	}
	section(sectionType, len(m.Types), b)

	b = nil
	for _, im := range m.Imports {
		b = append(appendName(appendName(b, im.Module), im.Name), byte(im.Kind))
		if im.Kind == KindFunction {
			b = appendU32(b, im.Type)
		} else {
			b = append(b, im.desc...)
		}
	}
	section(sectionImport, len(m.Imports), b)

	b = nil
	for _, t := range m.funcs {
		b = appendU32(b, t)
	}
	section(sectionFunction, len(m.funcs), b)

	b = nil
	for _, t := range m.tables {
		b = appendLimits(append(b, byte(t.elem)), t.lim)
	}
	section(sectionTable, len(m.tables), b)

	if m.Memory != nil {
		section(sectionMemory, 1, appendLimits(nil, *m.Memory))
	}

	b = nil
	for _, g := range m.Globals {
		b = append(b, byte(g.Type), 0)
		if g.Mutable {
			b[len(b)-1] = 1
		}
		b = append(b, g.init...)
	}
	section(sectionGlobal, len(m.Globals), b)

	b = nil
	for _, e := range m.Exports {
		b = appendU32(append(appendName(b, e.Name), byte(e.Kind)), e.Index)
	}
	section(sectionExport, len(m.Exports), b)

	if m.start != nil {
		b = appendU32(nil, *m.start)
		out = append(appendU32(append(out, sectionStart), uint32(len(b))), b...)
	}
	if m.elements != nil {
		out = append(appendU32(append(out, sectionElement), uint32(len(m.elements))), m.elements...)
	}
	if m.dataCount {
		b = appendU32(nil, uint32(len(m.data)))
		out = append(appendU32(append(out, sectionDataCount), uint32(len(b))), b...)
	}

	b = nil
	for _, body := range m.bodies {
		b = append(appendU32(b, uint32(len(body))), body...)
	}
	section(sectionCode, len(m.bodies), b)

	b = nil
	for _, d := range m.data {
		if d.active {
			b = append(append(b, 0), d.offset...)
		} else {
			b = append(b, 1)
		}
		b = append(appendU32(b, uint32(len(d.bytes))), d.bytes...)
	}
	section(sectionData, len(m.data), b)
	return out
}

func appendValueTypes(b []byte, ts []ValueType) []byte {
	b = appendU32(b, uint32(len(ts)))
	for _, t := range ts {
		b = append(b, byte(t))
	}
	return b
}

func appendLimits(b []byte, l Limits) []byte {
	if !l.HasMax {
		return appendU32(append(b, 0), l.Min)
	}
	return appendU32(appendU32(append(b, 1), l.Min), l.Max)
}
