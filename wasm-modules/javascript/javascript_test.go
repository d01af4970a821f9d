package javascript_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/wasm-modules/javascript"
)

// TestArtefactMatchesItsSums: what is embedded, what the code expects and what SHA256SUMS records are the same.
func TestArtefactMatchesItsSums(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile("SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	gz, err := os.ReadFile("quickjs.wasm.gz")
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range map[string]string{
		"quickjs.wasm": javascript.SHA256, "quickjs.wasm.gz": fmt.Sprintf("%x", sha256.Sum256(gz)),
	} {
		if !strings.Contains(string(sums), sum+"  "+name+"\n") {
			t.Errorf("SHA256SUMS does not give %s for %s", sum, name)
		}
	}
	wasm, err := javascript.Wasm()
	if err != nil || string(wasm[:4]) != "\x00asm" {
		t.Errorf("Wasm: %v", err)
	}
}

// TestNoticesAreComplete: NOTICE names every licence file and no other.
func TestNoticesAreComplete(t *testing.T) {
	t.Parallel()
	notice, err := os.ReadFile("NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("licences")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(string(notice), "licences/"+f.Name()) {
			t.Errorf("NOTICE does not mention %s", f.Name())
		}
	}
	if mentioned := strings.Count(string(notice), "licences/"); mentioned != len(files) {
		t.Errorf("NOTICE mentions %d licences, there are %d", mentioned, len(files))
	}
}
