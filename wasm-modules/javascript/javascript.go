// Package javascript embeds QuickJS-NG as a WebAssembly reactor, with the bootstrap script that runs users' code in it.
//
// The module is the quickjs.wasm of the npm package quickjs-wasi, fetched and checked by recipe/fetch.sh; licences/ holds
// the notices of everything linked into it. NOTICE says which is which.
package javascript

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"sync"

	wasmmodules "github.com/oap-runtime/oap/wasm-modules"
)

const (
	// Version is the release of QuickJS-NG.
	Version = "0.17.0"

	// SHA256 is the digest of the decompressed module.
	SHA256 = "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"
)

//go:embed quickjs.wasm.gz
var compressed []byte

// Bootstrap is the script that is evaluated once before the snapshot. Its value is the function that runs a request.
//
//go:embed guest/bootstrap.js
var Bootstrap string

// Digest identifies everything that decides how JavaScript code runs: the module and the bootstrap script.
var Digest = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(SHA256 + "\n" + Bootstrap))
	return "sha256:" + hex.EncodeToString(sum[:])
})

// Wasm decompresses and verifies the module. Every call gives a fresh copy.
func Wasm() ([]byte, error) { return wasmmodules.Unpack(compressed, SHA256) }
