package cow

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// reserveMin is the least address space of a copy, so that copies with small limits serve each other; reserveMax is
	// the most with which a copy is kept.
	reserveMin, reserveMax = 64 << 20, 256 << 20

	// dirtyBytesMax is how much a freed copy may have written and still be kept; above, its pages go back to the system.
	dirtyBytesMax = 16 << 20
)

func newImage(content []byte, reuse int) (Image, error) {
	able := supported()
	if !able.mapping {
		return newPlainImage(content), nil
	}
	if !able.restoring {
		reuse = 0
	}
	return newMappedImage(content, reuse)
}

type abilities struct{ mapping, restoring bool }

// supported runs a self-test once: kernels and container policies differ in what they allow.
var supported = sync.OnceValue(func() (able abilities) {
	content := bytes.Repeat([]byte{1}, 4*os.Getpagesize())
	im, err := newMappedImage(content, 1)
	if err != nil {
		return able
	}
	defer im.Close()
	m, err := im.Memory(len(content))
	if err != nil {
		return able
	}
	defer m.Free()
	b := m.Reallocate(uint64(len(content)))
	if !bytes.Equal(b, content) {
		return able
	}
	b[0], b[len(b)-1] = 2, 2
	fresh, err := im.Memory(len(content))
	if err != nil {
		return able
	}
	defer fresh.Free()
	able.mapping = bytes.Equal(fresh.Reallocate(uint64(len(content))), content)
	able.restoring = m.Restore() && bytes.Equal(b, content)
	return able
})

// mappedImage is a sealed file in memory.
type mappedImage struct {
	file    *os.File
	content []byte // read-only view of the file
	reuse   int

	mu     sync.Mutex
	free   []*mappedMemory // restored copies, at most reuse
	used   int             // copies in use
	closed bool
}

func newMappedImage(content []byte, reuse int) (*mappedImage, error) {
	fd, err := unix.MemfdCreate("wasm-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create memory image: %w", err)
	}
	file := os.NewFile(uintptr(fd), "wasm-image")
	if err := fill(file, content); err != nil {
		return nil, errors.Join(fmt.Errorf("fill memory image: %w", err), file.Close())
	}
	view, err := unix.Mmap(fd, 0, len(content), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map memory image: %w", err), file.Close())
	}
	return &mappedImage{file: file, content: view, reuse: reuse}, nil
}

// fill writes the pages that are not zero, so that the others take no memory, and forbids any later change.
func fill(file *os.File, content []byte) error {
	if err := file.Truncate(int64(len(content))); err != nil {
		return err
	}
	zero := make([]byte, os.Getpagesize())
	for offset := 0; offset < len(content); offset += len(zero) {
		page := content[offset:min(offset+len(zero), len(content))]
		if bytes.Equal(page, zero[:len(page)]) {
			continue
		}
		if _, err := file.WriteAt(page, int64(offset)); err != nil {
			return err
		}
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	_, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals)
	return err
}

func (im *mappedImage) Close() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, m := range im.free {
		m.unmap()
	}
	im.free, im.closed = nil, true
	im.releaseView()
	return im.file.Close()
}

// releaseView unmaps the view when the image is closed and no copy needs it any more. im.mu is held.
func (im *mappedImage) releaseView() {
	if im.closed && im.used == 0 && im.content != nil {
		unmap(im.content)
		im.content = nil
	}
}

func (im *mappedImage) Memory(limit int) (Memory, error) {
	if m := im.take(limit); m != nil {
		return m, nil
	}
	const access, kind = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_NORESERVE
	size := max(limit, reserveMin)
	reserved, err := unix.Mmap(-1, 0, size, access, kind|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
	}
	base := unsafe.Pointer(unsafe.SliceData(reserved))
	if _, err := unix.MmapPtr(int(im.file.Fd()), 0, base, uintptr(len(im.content)), access, kind|unix.MAP_FIXED); err != nil {
		return nil, errors.Join(fmt.Errorf("map memory image: %w", err), unix.Munmap(reserved))
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.used++
	return &mappedMemory{image: im, reserved: reserved, limit: limit}, nil
}

// take gives a kept copy with enough address space, the one used last first.
func (im *mappedImage) take(limit int) *mappedMemory {
	im.mu.Lock()
	defer im.mu.Unlock()
	for i := len(im.free) - 1; i >= 0; i-- {
		m := im.free[i]
		if len(m.reserved) >= limit {
			im.free = append(im.free[:i], im.free[i+1:]...)
			m.Relimit(limit)
			im.used++
			return m
		}
	}
	return nil
}

// giveBack ends the use of a copy: it is kept when it was restored and there is room, and unmapped otherwise.
func (im *mappedImage) giveBack(m *mappedMemory, restored bool) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.used--
	if restored && !im.closed && len(im.free) < im.reuse {
		im.free = append(im.free, m)
		return
	}
	m.unmap()
	im.releaseView()
}

// mappedMemory is an address range whose start shows the image.
type mappedMemory struct {
	usage
	image    *mappedImage
	reserved []byte
	limit    int
	flags    []byte // buffer for Restore
}

// Reallocate implements the linear memory of the WebAssembly runtime; nil makes memory.grow fail in the guest.
func (m *mappedMemory) Reallocate(size uint64) []byte {
	if !m.grant(size, m.limit) {
		return nil
	}
	return m.reserved[:size:size]
}

func (m *mappedMemory) Relimit(limit int) bool {
	m.limit, m.usage = limit, usage{peak: len(m.image.content)}
	return limit <= len(m.reserved)
}

// Free gives the copy back. No code of the instance may be running.
func (m *mappedMemory) Free() {
	m.image.giveBack(m, m.image.reuse > 0 && len(m.reserved) <= reserveMax && m.Restore())
}

func (m *mappedMemory) unmap() {
	unmap(m.reserved)
	m.reserved = nil
}

func unmap(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic(fmt.Sprintf("unmap %d bytes: %v", len(b), err)) // only possible when the range is not ours
	}
}

// Flags of an entry in /proc/self/pagemap, and its size.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageShared  = 1 << 61 // backed by the image's file

	pagemapEntry = 8
)

var pagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

// Restore puts every page that was written back to the image, or to zero beyond it. A page was written when the process has a page of its own for it, in memory or swapped out.
func (m *mappedMemory) Restore() bool {
	file, err := pagemap()
	if err != nil {
		return false
	}
	pageBytes := os.Getpagesize()
	pages := (m.peak + pageBytes - 1) / pageBytes
	if need := pages * pagemapEntry; cap(m.flags) < need {
		m.flags = make([]byte, need)
	}
	flags := m.flags[:pages*pagemapEntry]
	base := int64(uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved)))) / int64(pageBytes)
	if _, err := file.ReadAt(flags, base*pagemapEntry); err != nil {
		return false
	}
	dirty := 0
	for i := range pages {
		entry := *(*uint64)(unsafe.Pointer(&flags[i*pagemapEntry])) // native byte order, as the kernel writes it
		if entry&(pagePresent|pageSwapped) == 0 || entry&(pagePresent|pageShared) == pagePresent|pageShared {
			continue
		}
		if dirty += pageBytes; dirty > dirtyBytesMax {
			return false
		}
		offset := i * pageBytes
		page := m.reserved[offset : offset+pageBytes]
		if offset < len(m.image.content) {
			copy(page, m.image.content[offset:])
		} else {
			clear(page)
		}
	}
	return true
}
