package cow

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageBytes is the granularity at which zeros are left out of the image's file.
const pageBytes = 4096

func newImage(content []byte) (Image, error) {
	if !supported() {
		return newPlainImage(content), nil
	}
	return newMappedImage(content)
}

// supported runs a self-test once: kernels and container policies differ in what they allow.
var supported = sync.OnceValue(func() bool {
	content := bytes.Repeat([]byte{1}, 2*os.Getpagesize())
	im, err := newMappedImage(content)
	if err != nil {
		return false
	}
	defer im.Close()
	first, err := im.Memory(4 * len(content))
	if err != nil {
		return false
	}
	defer first.Free()
	b := first.Reallocate(uint64(3 * len(content)))
	if !bytes.Equal(b[:len(content)], content) || b[len(content)] != 0 {
		return false
	}
	clear(b)
	second, err := im.Memory(len(content))
	if err != nil {
		return false
	}
	defer second.Free()
	return bytes.Equal(second.Reallocate(uint64(len(content))), content)
})

// mappedImage is a sealed file in memory. The file is closed when the image is no longer used.
type mappedImage struct {
	file *os.File
	size int
}

func newMappedImage(content []byte) (*mappedImage, error) {
	fd, err := unix.MemfdCreate("wasm-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create memory image: %w", err)
	}
	im := &mappedImage{file: os.NewFile(uintptr(fd), "wasm-image"), size: len(content)}
	if err := im.fill(content); err != nil {
		return nil, errors.Join(fmt.Errorf("fill memory image: %w", err), im.Close())
	}
	return im, nil
}

// fill writes the pages that are not zero, so that the others take no memory, and forbids any later change.
func (im *mappedImage) fill(content []byte) error {
	if err := im.file.Truncate(int64(len(content))); err != nil {
		return err
	}
	var zero [pageBytes]byte
	for offset := 0; offset < len(content); offset += pageBytes {
		page := content[offset:min(offset+pageBytes, len(content))]
		if bytes.Equal(page, zero[:len(page)]) {
			continue
		}
		if _, err := im.file.WriteAt(page, int64(offset)); err != nil {
			return err
		}
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	_, err := unix.FcntlInt(im.file.Fd(), unix.F_ADD_SEALS, seals)
	return err
}

func (im *mappedImage) Close() error { return im.file.Close() }

func (im *mappedImage) Memory(limit int) (Memory, error) {
	const access, kind = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_NORESERVE
	reserved, err := unix.Mmap(-1, 0, limit, access, kind|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", limit, err)
	}
	base := unsafe.Pointer(unsafe.SliceData(reserved))
	if _, err := unix.MmapPtr(int(im.file.Fd()), 0, base, uintptr(im.size), access, kind|unix.MAP_FIXED); err != nil {
		return nil, errors.Join(fmt.Errorf("map memory image: %w", err), unix.Munmap(reserved))
	}
	runtime.KeepAlive(im.file)
	return &mappedMemory{reserved: reserved}, nil
}

// mappedMemory is an address range of the limit's size whose start shows the image.
type mappedMemory struct {
	usage
	reserved []byte
}

// Reallocate implements the linear memory of the WebAssembly runtime; nil makes memory.grow fail in the guest.
func (m *mappedMemory) Reallocate(size uint64) []byte {
	if !m.grant(size, len(m.reserved)) {
		return nil
	}
	return m.reserved[:size:size]
}

// Free unmaps the range. No code of the instance may be running.
func (m *mappedMemory) Free() {
	if m.reserved == nil {
		return
	}
	if err := unix.Munmap(m.reserved); err != nil {
		panic(fmt.Sprintf("unmap %d bytes: %v", len(m.reserved), err)) // only possible when the range is not ours
	}
	m.reserved = nil
}
