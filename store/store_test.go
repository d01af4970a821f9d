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
