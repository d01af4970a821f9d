package store_test

import (
	"log/slog"
	"testing"

	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
	"github.com/oap-runtime/oap/store/storetest"
)

func open(t testing.TB, dsn string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DSN: dsn, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return db
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, "") })
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	pgtest.DSN(t)
	storetest.Run(t, func(t *testing.T) session.Store { return open(t, pgtest.DSN(t)) })
}

// wholeLog checks the chain of a session and returns its length.
func wholeLog(t *testing.T, db *store.DB, row session.Session) int {
	t.Helper()
	es, err := db.Events(t.Context(), row.ID, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	prev := ""
	for i, e := range es {
		if e.Seq != int64(i+1) || e.PrevHash != prev || e.Hash != e.ComputeHash() {
			t.Fatalf("the log breaks at seq %d", e.Seq)
		}
		prev = e.Hash
	}
	if row.LastHash != prev || row.LastSeq != int64(len(es)) {
		t.Fatalf("row ends at seq %d, the log at %d", row.LastSeq, len(es))
	}
	return len(es)
}
