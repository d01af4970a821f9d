//go:build unix

package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// These tests run parts of themselves in a process of their own, which is this
// test binary again: something in it is killed, or its files may not grow.
const (
	crashEnv    = "OAP_STORE_TEST_CRASH"
	diskFullEnv = "OAP_STORE_TEST_DISK_FULL"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(crashEnv) != "":
		crashChild(os.Getenv(crashEnv))
	case os.Getenv(diskFullEnv) != "":
		diskFullChild(os.Getenv(diskFullEnv))
	default:
		os.Exit(m.Run())
	}
}

func runChild(t *testing.T, env, value string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), env+"="+value)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("child: %v\n%s", err, out)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

// crashChild commits to one session until it is killed, and says how far it
// is after every commit that was acknowledged.
func crashChild(path string) {
	ctx := context.Background()
	db := must(tryOpen(ctx, path))
	must(db.ReleaseOthers(ctx, strconv.Itoa(os.Getpid())))
	rows, _, err := db.List(ctx, session.Query{Tenant: "t"})
	must(rows, err)
	l := must(db.ClaimID(ctx, "t", rows[0].ID, strconv.Itoa(os.Getpid()), time.Minute))
	row := l.Session
	for {
		row.Steps++
		events := []session.NewEvent{{Type: session.EventPlanned, Data: fmt.Appendf(nil, "%d", row.Steps)}, {Type: session.EventCallFinished, Data: []byte(strings.Repeat("x", 5000))}}
		stored, _, err := db.Commit(ctx, l, session.Commit{
			Session: row, Events: events, TTL: time.Minute,
			Effects: []session.Effect{{ID: "e", Attempts: row.Steps}},
		})
		row = must(stored, err)
		fmt.Println(row.Steps)
	}
}

// ST1, ST3: kill -9 at any moment, also in the middle of a transaction.
func TestSQLiteSurvivesKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	db, err := tryOpen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := mustCreate(t, db, newCreation(false))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for round := range 25 {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), crashEnv+"="+path)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for target := rand.IntN(30); target >= 0 && lines.Scan(); target-- {
			acknowledged, _ = strconv.Atoi(lines.Text())
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { c.Process.Signal(syscall.SIGKILL) })
		for lines.Scan() { // what was acknowledged before it died counts
			acknowledged, _ = strconv.Atoi(lines.Text())
		}
		timer.Stop()
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() == 1 {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}

		db, err := tryOpen(t.Context(), path)
		if err != nil {
			t.Fatalf("round %d: Open() after the kill = %v", round, err)
		}
		row, err := db.Get(t.Context(), "t", s.ID)
		if err != nil {
			t.Fatal(err)
		}
		// One commit more may have taken effect that nobody heard of.
		if row.Steps < acknowledged || row.Steps > acknowledged+1 {
			t.Errorf("round %d: Steps = %d, acknowledged were %d", round, row.Steps, acknowledged)
		}
		if n := wholeLog(t, db, row); n != 1+2*row.Steps {
			t.Errorf("round %d: %d events after %d steps", round, n, row.Steps)
		}
		effects, err := db.Effects(t.Context(), s.ID)
		if err != nil || len(effects) != 1 || effects[0].Attempts != row.Steps {
			t.Errorf("round %d: Effects() = %+v, %v after %d steps", round, effects, err, row.Steps)
		}
		acknowledged = row.Steps
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// ST3: the disk refuses to take more, at every size of the file in turn.
func TestSQLiteDiskFull(t *testing.T) {
	t.Parallel()
	runChild(t, diskFullEnv, t.TempDir())
}

// diskFullChild writes with a limit on the size of files that falls at a
// different place each time, until the store says that it cannot. Whatever it
// acknowledged must be there afterwards.
func diskFullChild(dir string) {
	ctx := context.Background()
	for i := range 12 {
		path := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		db := must(tryOpen(ctx, path))
		var old syscall.Rlimit
		must(0, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
		// Above the limit writes fail with EFBIG; Go ignores the signal.
		must(0, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 400_000 + uint64(i)*1234, Max: old.Max}))
		var acknowledged []string
		var failure error
		for failure == nil {
			c := newCreation(true)
			c.Events[0].Data = []byte(strings.Repeat("y", 3000))
			var s session.Session
			if s, failure = db.Create(ctx, c); failure == nil {
				acknowledged = append(acknowledged, s.ID)
			}
		}
		must(0, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		if f := fault.From(failure); f.Code != fault.Unavailable || !f.Retryable {
			must(0, fmt.Errorf("round %d: Create(disk full) = %w (%s), want a retryable %s", i, failure, f.Code, fault.Unavailable))
		}
		must(db.Create(ctx, newCreation(true))) // there is room again
		must(0, db.Close())
		db = must(tryOpen(ctx, path))
		for _, id := range acknowledged {
			must(db.Get(ctx, "t", id))
		}
		total := 0
		for cursor, more := "", true; more; more = cursor != "" {
			rows, next, err := db.List(ctx, session.Query{Tenant: "t", Limit: 200, Cursor: cursor})
			must(rows, err)
			total, cursor = total+len(rows), next
		}
		if total != len(acknowledged)+1 {
			must(0, fmt.Errorf("round %d: %d sessions, acknowledged were %d", i, total, len(acknowledged)+1))
		}
		must(0, db.Close())
	}
}
