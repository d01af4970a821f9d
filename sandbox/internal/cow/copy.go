package cow

// plainImage is the portable Image.
type plainImage struct {
	content []byte
}

// NewPlain makes an image whose copies are plain copies, as New does where nothing better works.
func NewPlain(content []byte) Image { return newPlainImage(content) }

func newPlainImage(content []byte) *plainImage {
	return &plainImage{content: append([]byte(nil), content...)}
}

func (im *plainImage) Memory(limit int) (Memory, error) {
	return &plainMemory{image: im, buffer: append([]byte(nil), im.content...), limit: limit}, nil
}

func (im *plainImage) Close() error { return nil }

// plainMemory is a slice that is moved when it grows.
type plainMemory struct {
	usage
	image  *plainImage
	buffer []byte
	limit  int
}

// Reallocate implements the linear memory of the WebAssembly runtime; nil makes memory.grow fail in the guest.
func (m *plainMemory) Reallocate(size uint64) []byte {
	if !m.grant(size, m.limit) {
		return nil
	}
	if n := int(size); n > len(m.buffer) {
		if n > cap(m.buffer) {
			grown := make([]byte, len(m.buffer), min(max(2*cap(m.buffer), n), m.limit))
			copy(grown, m.buffer)
			m.buffer = grown
		}
		m.buffer = m.buffer[:n]
	}
	return m.buffer[:size:size]
}

func (m *plainMemory) Free() { m.buffer = nil }

func (m *plainMemory) Restore() bool {
	clear(m.buffer[copy(m.buffer, m.image.content):])
	return true
}

func (m *plainMemory) Relimit(limit int) bool {
	m.limit, m.usage = limit, usage{peak: len(m.buffer)}
	return len(m.buffer) <= limit
}
