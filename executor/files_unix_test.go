//go:build unix

package executor_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/oap-runtime/oap/executor"
)

// SB4: what somebody else planted in the directory leads nowhere.
func TestPlantedFiles(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := executor.LocalBucket{Dir: dir}
	for name, target := range map[string]string{"abs": canary, "dir": outside, "up": "../" + filepath.Base(outside) + "/canary", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"abs", "dir", "dir/canary", "up", "loop", "pipe"} {
		if data, err := b.Get(t.Context(), key, 100); err == nil {
			t.Errorf("Get(%s) = %q", key, data)
		}
		if err := b.Put(t.Context(), key, []byte("overwritten")); err == nil {
			t.Errorf("Put(%s) succeeded", key)
		}
		if info, err := b.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%s) = %v", key, info)
		}
	}
	if list, err := b.List(t.Context(), "", 100); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	if err := b.Delete(t.Context(), "dir/canary"); err == nil {
		t.Error("Delete(dir/canary) succeeded")
	}
	if data, err := os.ReadFile(canary); err != nil || string(data) != "canary" {
		t.Errorf("the file outside = %q, %v", data, err)
	}
}
