package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTimeout bounds initdb, the start of the server and every statement to
// it. Then the test fails with what they printed.
const startTimeout = 2 * time.Minute

// errNoBinaries says that this machine has no Postgres to start.
var errNoBinaries = errors.New("no PostgreSQL server binaries (initdb, postgres) in PATH or /usr/lib/postgresql")

var server = sync.OnceValues(func() (string, error) {
	if dsn := os.Getenv("OAP_TEST_POSTGRES"); dsn != "" {
		return dsn, nil
	}
	return start()
})

var databases atomic.Int64

// DSN returns the address of a new, empty database that is dropped when the
// test ends. The server is the one that OAP_TEST_POSTGRES names (a DSN of a
// role that may create databases), else a private one. On a machine without
// Postgres the test is skipped, unless OAP_TEST_REQUIRE lists "postgres": then
// it fails.
func DSN(t testing.TB) string {
	t.Helper()
	base, err := server()
	if errors.Is(err, errNoBinaries) && !slices.Contains(strings.Split(os.Getenv("OAP_TEST_REQUIRE"), ","), "postgres") {
		t.Skipf("%v: install PostgreSQL, or set OAP_TEST_POSTGRES to the DSN of a server", err)
	}
	if err != nil {
		t.Fatalf("postgres for tests: %v", err)
	}
	name := fmt.Sprintf("oap_test_%d_%d", os.Getpid(), databases.Add(1))
	if err := admin(base, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("postgres for tests: %v", err)
	}
	t.Cleanup(func() {
		if err := admin(base, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("postgres for tests: %v", err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("postgres for tests: OAP_TEST_POSTGRES must be a URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

func admin(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, sql)
	return err
}
