// Package cow makes private copies of a memory image, as cheaply as the platform allows.
//
// On Linux the image is a sealed file in memory and every copy a private mapping of it: making one costs two system
// calls, reading shares the image's pages, and writing copies single pages. A freed copy is not thrown away: the kernel
// tells which of its pages were written, those are put back to what the image holds, and the next copy finds its pages
// mapped already, which saves most of the page faults of a run. Elsewhere, or where a self-test finds that one of this
// does not work, a copy is made anew or is a plain copy. All are linear memories for the WebAssembly runtime, which cannot
// tell them apart.
package cow

import (
	"github.com/tetratelabs/wazero/experimental"
)

// Image is an immutable memory content that copies start from. Its methods are safe for concurrent use.
type Image interface {
	// Memory returns a copy that can grow to limit bytes and reads as zeros beyond the image. Limit is at least the
	// size of the image. The copy belongs to one instance, whose closing frees it.
	Memory(limit int) (Memory, error)

	// Close releases the image. Copies that are in use stay valid.
	Close() error
}

// Memory is the linear memory of one instance.
type Memory interface {
	experimental.LinearMemory

	// Restore puts the content back to the image's and tells whether it did. No code of the instance may be running. The
	// size stays: an instance whose memory has grown cannot be used as if it were new.
	Restore() bool

	// Relimit makes limit the bound of further growth and tells whether the copy can hold that much.
	Relimit(limit int) bool

	// Peak is the largest size in bytes that was handed out since the copy was made or relimited.
	Peak() int

	// Refused is the size in bytes of the last growth beyond the limit that was asked for, 0 when there was none.
	Refused() uint64
}

// New makes an image of content, which it does not keep. The length must be a multiple of 64 KiB and not zero. At most
// reuse freed copies are kept for later.
func New(content []byte, reuse int) (Image, error) { return newImage(content, reuse) }

// usage records what an instance asked of its memory.
type usage struct {
	peak    int
	refused uint64
}

func (u *usage) Peak() int       { return u.peak }
func (u *usage) Refused() uint64 { return u.refused }

// grant decides on a request for size bytes.
func (u *usage) grant(size uint64, limit int) bool {
	if size > uint64(limit) {
		u.refused = size
		return false
	}
	u.peak = max(u.peak, int(size))
	return true
}
