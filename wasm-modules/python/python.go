// Package python embeds CPython as a WebAssembly reactor, with its standard library and the guest modules that run users'
// code in it.
//
// recipe/build.sh makes the artefacts from Debian source packages, byte for byte the same on every machine; SHA256SUMS
// and INPUTS.sha256 record what came out and what went in. licences/ holds the notices of everything that is linked in;
// NOTICE says which is which.
package python

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"sync"

	wasmmodules "github.com/oap-runtime/oap/wasm-modules"
)

const (
	// Version is the release of CPython.
	Version = "3.13.5"

	// SHA256 is the digest of the decompressed module.
	SHA256 = "3d6590cdf84ade861e91a6cced5bf05526abf18830400b309117fb2222851e3c"

	// LibrarySHA256 is the digest of the zip with the standard library.
	LibrarySHA256 = "a29605a83ea6c1803fa9c91ecd7b7bd1af323f36a4d891366a8b1b9654dbd779"
)

//go:embed python-reactor.wasm.gz
var compressed []byte

//go:embed python-stdlib.zip
var library []byte

//go:embed guest/*.py
var guest embed.FS

// Wasm decompresses and verifies the module. Every call gives a fresh copy.
func Wasm() ([]byte, error) { return wasmmodules.Unpack(compressed, SHA256) }

// Library verifies and opens the standard library: byte code at the top level, the time zone database under tzdata/.
// Files are decompressed when they are read.
func Library() (*zip.Reader, error) {
	if err := wasmmodules.Verify(library, LibrarySHA256); err != nil {
		return nil, err
	}
	z, err := zip.NewReader(bytes.NewReader(library), int64(len(library)))
	if err != nil {
		return nil, fmt.Errorf("open python library: %w", err)
	}
	return z, nil
}

// Digest identifies everything that decides how Python code runs: the module, the library and the guest modules.
var Digest = sync.OnceValue(func() string {
	h := sha256.New()
	io.WriteString(h, SHA256+LibrarySHA256)
	if err := fs.WalkDir(guest, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		source, err := guest.ReadFile(name)
		fmt.Fprintf(h, "\n%s %d\n%s", name, len(source), source)
		return err
	}); err != nil {
		panic(err) // the files are embedded above
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
})

// Guest holds the modules, in source form, that belong next to the library: oap_guest, whose function run serves the
// reactor's py_run, and what it imports.
func Guest() fs.FS {
	sub, err := fs.Sub(guest, "guest")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}
