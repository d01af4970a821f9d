package python_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/wasm-modules/python"
)

// TestArtefactsMatchTheirSums: what is embedded, what the code expects and what SHA256SUMS records are the same.
func TestArtefactsMatchTheirSums(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile("SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range map[string]string{"python-reactor.wasm": python.SHA256, "python-stdlib.zip": python.LibrarySHA256} {
		if !strings.Contains(string(sums), sum+"  "+name+"\n") {
			t.Errorf("SHA256SUMS does not give %s for %s", sum, name)
		}
	}
	gz, err := os.ReadFile("python-reactor.wasm.gz")
	if err != nil {
		t.Fatal(err)
	}
	if line := fmt.Sprintf("%x  python-reactor.wasm.gz\n", sha256.Sum256(gz)); !strings.Contains(string(sums), line) {
		t.Errorf("SHA256SUMS lacks %s", line)
	}
	wasm, err := python.Wasm()
	if err != nil || string(wasm[:4]) != "\x00asm" {
		t.Errorf("Wasm: %v", err)
	}
}

func TestLibrary(t *testing.T) {
	t.Parallel()
	library, err := python.Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"json/__init__.pyc", "asyncio/base_events.pyc", "tzdata/America/New_York", "tzdata/UTC"} {
		if _, err := fs.Stat(library, name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"sqlite3", "tkinter", "test", "json/__init__.py"} {
		if _, err := fs.Stat(library, name); err == nil {
			t.Errorf("the library contains %s", name)
		}
	}
	if _, err := fs.Stat(python.Guest(), "oap_guest.py"); err != nil {
		t.Error(err)
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
