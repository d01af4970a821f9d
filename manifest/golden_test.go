package manifest_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// S2-11: an invalid manifest is refused with every problem, each with its
// place and remedy. The listings are the files beside the documents.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, file := range invalidDocuments(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			m, err := manifest.Parse(readFile(t, file))
			if err == nil {
				t.Fatalf("Parse = %s, want an error", m.Name)
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != fault.ManifestInvalid {
				t.Fatalf("error = %v, want a fault with code %s", err, fault.ManifestInvalid)
			}
			var b strings.Builder
			fmt.Fprintln(&b, f.Message)
			for _, d := range f.Details {
				fmt.Fprintf(&b, "%d:%d %s [%s] %s", d.Line, d.Column, d.Pointer, d.Code, d.Message)
				if d.Remedy != "" {
					fmt.Fprintf(&b, "\n\t%s", d.Remedy)
				}
				fmt.Fprintln(&b)
			}
			golden(t, file+".txt", b.String())
		})
	}
}

func invalidDocuments(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"testdata/invalid/*.json", "testdata/invalid/*.yaml", "testdata/seed-actions.yaml"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, matches...)
	}
	return files
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(readFile(t, file)); got != want {
		t.Errorf("%s differs; got\n%s\nwant\n%s", file, got, want)
	}
}

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
