package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

// admin opens a Postgres database behind the store's back.
func admin(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func runSQL(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func lease(t *testing.T, db *store.DB, id string) session.Lease {
	t.Helper()
	l, err := db.ClaimID(t.Context(), "t", id, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPostgresManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := tryOpen(t.Context(), dsn)
			if err != nil {
				t.Errorf("Open() = %v", err)
				return
			}
			db.Close()
		})
	}
	wg.Wait()
	mustCreate(t, open(t, dsn), newCreation(true))
}

func TestPostgresRefusesNewerSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db, err := tryOpen(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	runSQL(t, admin(t, dsn), `INSERT INTO oap_schema (version_id, is_applied) VALUES (9999, true)`)
	_, err = tryOpen(t.Context(), dsn)
	if err == nil || fault.CodeOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "9999") {
		t.Errorf("Open(newer) = %v", err)
	}
}

// ST2: connections that end under the store give a retryable error at most,
// and it recovers by itself.
func TestPostgresConnectionsEnd(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db := open(t, dsn)
	c := admin(t, dsn)
	s := mustCreate(t, db, newCreation(true))
	l := lease(t, db, s.ID)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			}
		}
	})
	stored, failures := 1, 0
	for i := 0; i < 2000 && failures < 20; i++ {
		_, _, err := db.Commit(t.Context(), l, session.Commit{Session: l.Session, Events: []session.NewEvent{{Type: "x", Data: []byte("1")}}, TTL: time.Minute})
		if f := fault.From(err); err != nil && (f.Code != fault.Unavailable || !f.Retryable) {
			t.Fatalf("Commit() = %v, want a retryable %s", err, fault.Unavailable)
		}
		if err == nil {
			stored++
		} else {
			failures++
		}
	}
	close(stop)
	killer.Wait()
	if failures == 0 {
		t.Error("no connection was lost: the test shows nothing")
	}
	// A commit whose answer got lost may have taken effect all the same.
	var row session.Session
	for { // the pool may still hold dead connections
		var err error
		if row, err = db.Get(t.Context(), "t", s.ID); err == nil {
			break
		}
		if fault.CodeOf(err) != fault.Unavailable {
			t.Fatalf("Get() = %v", err)
		}
	}
	if n := wholeLog(t, db, row); n < stored || n > stored+failures {
		t.Errorf("%d events, acknowledged were %d and %d are unknown", n, stored, failures)
	}
	t.Logf("%d commits acknowledged, %d lost their connection", stored-1, failures)
}

func TestPostgresGivesUpOnALock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db := open(t, dsn+"&lock_timeout=50")
	s := mustCreate(t, db, newCreation(true))
	tx, err := admin(t, dsn).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE`, s.ID); err != nil {
		t.Fatal(err)
	}
	_, err = db.SetRun(t.Context(), "t", s.ID, true)
	if f := fault.From(err); err == nil || f.Code != fault.Unavailable || !f.Retryable {
		t.Errorf("SetRun(locked) = %v, want a retryable %s", err, fault.Unavailable)
	}
	// Claim passes over what is locked instead of waiting for it.
	if _, err := db.Claim(t.Context(), "w", time.Minute); !errors.Is(err, session.ErrNoneDue) {
		t.Errorf("Claim(locked) = %v, want ErrNoneDue", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := db.SetRun(ctx, "t", s.ID, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SetRun(locked, short context) = %v, want the context's error", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.SetRun(t.Context(), "t", s.ID, true); err != nil {
		t.Errorf("SetRun() = %v", err)
	}
}

// A transaction that Postgres sacrifices to end a deadlock is repeated.
func TestPostgresRepeatsAfterDeadlock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db := open(t, dsn+"&deadlock_timeout=1500") // looks once, by when the other side must wait too
	s := mustCreate(t, db, newCreation(true))
	l := lease(t, db, s.ID)
	data := []byte("contended")
	c := admin(t, dsn)
	runSQL(t, c, `SET deadlock_timeout = '1h'`) // never the one who notices, so never the victim
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO blobs (hash, codec, size, bytes) VALUES (sha256($1), 0, 9, $1)`, data); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // holds the row, waits for the blob
		_, _, err := db.Commit(t.Context(), l, session.Commit{Session: l.Session, Blobs: []session.Blob{{Hash: hash(data), Data: data}}, Events: []session.NewEvent{{Type: "x", Data: data}}, TTL: time.Minute})
		done <- err
	}()
	watch := admin(t, dsn)
	for waiting := 0; waiting == 0; {
		if err := watch.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE`, s.ID); err != nil {
		t.Fatalf("the other side was the victim: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("Commit() = %v, want it repeated", err)
	}
	var deadlocks int
	for deadlocks == 0 { // statistics come a little later
		if err := watch.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks); err != nil {
			t.Fatal(err)
		}
	}
	row, err := db.Get(t.Context(), "t", s.ID)
	if err != nil || wholeLog(t, db, row) != 2 {
		t.Errorf("row = %+v, %v, want two events", row, err)
	}
}

// The layout of table sessions pays only if commits that keep the lease are
// heap-only updates, and claims do not read the whole table.
func TestPostgresLayout(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db := open(t, dsn)
	c := admin(t, dsn)
	s := mustCreate(t, db, newCreation(true))
	l := lease(t, db, s.ID)
	count := func() (hot, all int) {
		t.Helper()
		if err := c.QueryRow(t.Context(), `SELECT pg_stat_get_tuples_hot_updated('sessions'::regclass), pg_stat_get_tuples_updated('sessions'::regclass)`).Scan(&hot, &all); err != nil {
			t.Fatal(err)
		}
		return hot, all
	}
	const n = 100
	for i := range n {
		row := l.Session
		row.Steps = i
		if _, _, err := db.Commit(t.Context(), l, session.Commit{Session: row, Events: []session.NewEvent{{Type: "x", Data: []byte("1")}}, TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	db.Close() // its connections report their statistics when they end
	hot, all := count()
	for all < n+1 {
		hot, all = count()
	}
	if hot < n*9/10 {
		t.Errorf("%d of %d updates were heap-only, want nearly all", hot, all)
	}

	runSQL(t, c, `INSERT INTO sessions SELECT (r).* FROM (SELECT jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(), 'due_at', null)) AS r FROM sessions s, generate_series(1, 20000)) t`)
	runSQL(t, c, `ANALYZE sessions`)
	rows, err := c.Query(t.Context(), `EXPLAIN SELECT id FROM sessions WHERE due_at <= (extract(epoch FROM statement_timestamp()) * 1000000)::bigint AND lease_until <= (extract(epoch FROM statement_timestamp()) * 1000000)::bigint ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if plan := strings.Join(lines, "\n"); err != nil || !strings.Contains(plan, "Index Scan using sessions_due") || strings.Contains(plan, "Sort") {
		t.Errorf("plan of Claim:\n%s\n%v", plan, err)
	}
}

func TestPostgresPoolIsBounded(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	db, err := store.Open(t.Context(), store.Config{DSN: dsn + "&application_name=bounded", Conns: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			c := newCreation(true)
			c.IdempotencyKey = fmt.Sprint(i)
			if _, err := db.Create(t.Context(), c); err != nil {
				t.Errorf("Create() = %v", err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := admin(t, dsn).QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bounded'`).Scan(&n); err != nil || n == 0 || n > 3 {
		t.Errorf("%d connections, %v, want at most 3", n, err)
	}
	if _, err := store.Open(t.Context(), store.Config{DSN: dsn, Conns: -1}); fault.CodeOf(err) != fault.Validation {
		t.Errorf("Open(Conns: -1) = %v, want %s", err, fault.Validation)
	}
}
