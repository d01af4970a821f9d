package sandbox

import (
	"fmt"
	"os"
	"runtime"

	"github.com/tetratelabs/wazero"
)

// openCache opens the directory of compiled engines, creating it when it is missing. It refuses a directory that others
// can enter, because what it holds is executed.
func openCache(dir string) (wazero.CompilationCache, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create cache directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("check cache directory: %w", err)
	}
	// Permission bits mean something else on Windows, where the profile directory is private already.
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, &InvalidError{"cache_dir", fmt.Sprintf("%s has mode %#o: it must be accessible to its owner only (chmod 700)", dir, mode)}
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache directory: %w", err)
	}
	return cache, nil
}
