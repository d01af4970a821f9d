package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A LockedError says that another process has a SQLite database open.
type LockedError struct {
	Path string
	PID  int // of the other process; 0 when not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("database %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("database %s is in use by process %d", e.Path, e.PID)
}

// A fileLock keeps other processes away from a database file. The operating
// system ends it with the process, so a crash leaves no lock behind. The file
// stays: removing it would let two processes hold locks on different files of
// the same name.
type fileLock struct{ f *os.File }

func (l *fileLock) release() error { return l.f.Close() }

// sign leaves our process id in the file, for the error others will see.
func (l *fileLock) sign() {
	if l.f.Truncate(0) == nil {
		l.f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
