// Package wasmmodules holds helpers that the embedded language runtimes below it share: each sub-package carries one
// runtime as a compressed WebAssembly module, its licences, its digests and the recipe that makes it.
package wasmmodules

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// moduleBytesMax bounds what Unpack decompresses; the largest runtime is 7 MB.
const moduleBytesMax = 64 << 20

// Unpack decompresses a gzip stream and checks the SHA-256 of its content, given in hexadecimal. A mismatch means that
// the binary was not built from the committed artefacts.
func Unpack(gz []byte, sum string) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return nil, fmt.Errorf("decompress wasm module: %w", err)
	}
	wasm, err := io.ReadAll(io.LimitReader(z, moduleBytesMax))
	if err != nil {
		return nil, fmt.Errorf("decompress wasm module: %w", err)
	}
	if err := Verify(wasm, sum); err != nil {
		return nil, err
	}
	return wasm, nil
}

// Verify compares the SHA-256 of data with sum, given in hexadecimal.
func Verify(data []byte, sum string) error {
	got := sha256.Sum256(data)
	if hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("wasm module has sha256 %x, want %s", got, sum)
	}
	return nil
}
