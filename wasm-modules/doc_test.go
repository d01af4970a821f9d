package wasmmodules_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"testing"

	wasmmodules "github.com/oap-runtime/oap/wasm-modules"
)

func TestUnpack(t *testing.T) {
	t.Parallel()
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write([]byte("module"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("module")))
	if b, err := wasmmodules.Unpack(gz.Bytes(), sum); err != nil || string(b) != "module" {
		t.Errorf("Unpack = %q, %v", b, err)
	}
	for name, bad := range map[string][]byte{"not gzip": []byte("module"), "truncated": gz.Bytes()[:gz.Len()-6]} {
		if _, err := wasmmodules.Unpack(bad, sum); err == nil {
			t.Errorf("%s: Unpack succeeded", name)
		}
	}
	if _, err := wasmmodules.Unpack(gz.Bytes(), fmt.Sprintf("%x", sha256.Sum256(nil))); err == nil {
		t.Error("Unpack with another sum succeeded")
	}
}
