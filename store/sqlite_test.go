package store_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/driver"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

// raw opens a SQLite file behind the store's back.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := driver.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func tryOpen(ctx context.Context, dsn string) (*store.DB, error) {
	return store.Open(ctx, store.Config{DSN: dsn, Logger: slog.New(slog.DiscardHandler)})
}

func TestSQLiteKeepsSessions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"plain.db", "with space.db", "a?b#c%20d&e=f+g.db", "ünï😀.db", "x/y/z/deep.db"} {
		path := filepath.Join(dir, name)
		db, err := tryOpen(t.Context(), "sqlite:"+path)
		if err != nil {
			t.Fatalf("Open(%s) = %v", name, err)
		}
		s := mustCreate(t, db, newCreation(true))
		if err := db.Close(); err != nil {
			t.Fatalf("Close(%s) = %v", name, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the database is not where it was asked for: %v", err)
		}
		again := open(t, path)
		if got, err := again.Get(t.Context(), "t", s.ID); err != nil || got.Goal != s.Goal {
			t.Errorf("Get() after reopening %s = %+v, %v", name, got, err)
		}
	}
}

func TestTemporaryDatabaseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, dsn := range []string{"", ":memory:"} {
		db, err := tryOpen(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		mustCreate(t, db, newCreation(true))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSQLiteFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	db := open(t, filepath.Join(dir, "oap.db"))
	mustCreate(t, db, newCreation(true))
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s, want nothing for others", path, info.Mode())
		}
		return nil
	})
	if err != nil || seen < 5 { // directory, database, -wal, -shm, .lock
		t.Errorf("saw %d files, %v", seen, err)
	}
}

// ST3: two processes on one file.
func TestSQLiteRefusesToShare(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	db, err := tryOpen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tryOpen(t.Context(), path)
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || locked.PID != os.Getpid() || locked.Path != path {
		t.Fatalf("Open(in use) = %v, want a LockedError that names process %d", err, os.Getpid())
	}
	if f := fault.From(err); f.Code != fault.Unavailable || len(f.Details) != 1 || f.Details[0].Remedy == "" || !strings.Contains(f.Message, path) {
		t.Errorf("Open(in use) = %+v, want a fault with the path and a remedy", f)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping() after a refused Open = %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path) // free again
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noDatabase := filepath.Join(dir, "text.db")
	if err := os.WriteFile(noDatabase, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	db, err := tryOpen(t.Context(), newer)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := raw(t, newer).Exec(`INSERT INTO oap_schema (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dsn string
		code      fault.Code
		says      string
	}{
		{"newer schema", newer, fault.Unavailable, "9999"},
		{"no database", noDatabase, fault.Unavailable, "not a SQLite database"},
		{"a directory", dir, fault.Unavailable, dir},
		{"below a file", filepath.Join(noDatabase, "x.db"), fault.Unavailable, "directory"},
		{"no path", "sqlite:", fault.Validation, "file name"},
		{"nul in path", "a\x00b", fault.Validation, "file name"},
		{"other database", "mysql://root@localhost/x", fault.Validation, "mysql"},
		{"bad Postgres DSN", "postgres://u:hunter2@host:notaport/x", fault.Validation, "Postgres"},
		{"nobody listens", "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=5", fault.Unavailable, "does not answer"},
	} {
		db, err := tryOpen(t.Context(), tt.dsn)
		if err == nil {
			db.Close()
			t.Errorf("%s: Open() succeeded", tt.name)
			continue
		}
		f := fault.From(err)
		if f.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Open() = %v, want code %s and %q", tt.name, err, tt.code, tt.says)
		}
		if strings.Contains(f.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", tt.name, f)
		}
	}
}

// A newer schema is refused without being touched, and one that another
// migration left half done does not exist: each is one transaction.
func TestMigrationIsAllOrNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	// A table in the way makes the first migration fail after it made others.
	if _, err := raw(t, path).Exec(`CREATE TABLE manifests (x)`); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t.Context(), path); err == nil {
		t.Fatal("Open() succeeded on a foreign schema")
	}
	var tables int
	if err := raw(t, path).QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'sessions'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables of a failed migration are left, %v", tables, err)
	}
	if _, err := raw(t, path).Exec(`DROP TABLE manifests`); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, open(t, path), newCreation(true))
}

func TestSQLiteReadOnlyFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		// Root writes to any file; what remains to test is a file system that
		// refuses, which the disk-full test does.
		return
	}
	path := filepath.Join(t.TempDir(), "oap.db")
	db, err := tryOpen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err = tryOpen(t.Context(), path)
	if f := fault.From(err); err == nil || f.Code != fault.Unavailable {
		t.Errorf("Open(read-only) = %v, want code %s", err, fault.Unavailable)
	}
}

func TestSQLiteLockedByAnotherProgram(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	db := open(t, path)
	s := mustCreate(t, db, newCreation(true))
	other := raw(t, path)
	tx, err := other.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable}) // begins immediate
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Create(t.Context(), newCreation(true))
	if f := fault.From(err); err == nil || f.Code != fault.Unavailable || !f.Retryable {
		t.Errorf("Create(locked) = %v, want a retryable %s", err, fault.Unavailable)
	}
	if _, err := db.Get(t.Context(), "t", s.ID); err != nil {
		t.Errorf("Get(locked) = %v, want readers not to wait", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, db, newCreation(true))
}

func TestSQLiteSettings(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	open(t, path)
	var version, mode string
	if err := raw(t, path).QueryRow(`SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode)`).Scan(&version, &mode); err != nil {
		t.Fatal(err)
	}
	if version < "3.53" || mode != "wal" {
		t.Errorf("SQLite %s in mode %s, want at least 3.53 and wal", version, mode)
	}
}

// A claim must not read the whole table.
func TestSQLiteClaimUsesItsIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oap.db")
	open(t, path)
	var plan string
	var skip any
	// random() stands for the clock: neither is the same twice.
	row := raw(t, path).QueryRow(`EXPLAIN QUERY PLAN SELECT id FROM sessions WHERE due_at <= random() AND lease_until <= random() ORDER BY due_at LIMIT 1`)
	if err := row.Scan(&skip, &skip, &skip, &plan); err != nil || !strings.Contains(plan, "USING INDEX sessions_due (due_at<?)") {
		t.Errorf("plan of Claim = %q, %v", plan, err)
	}
}

func TestClosedDatabase(t *testing.T) {
	t.Parallel()
	db, err := tryOpen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := db.Ping(ctx); err == nil {
		t.Error("Ping() on a closed database succeeded")
	}
	if _, err := db.Claim(ctx, "w", time.Minute); err == nil || errors.Is(err, session.ErrNoneDue) {
		t.Errorf("Claim() on a closed database = %v", err)
	}
}
