package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestDSNGivesSeparateDatabases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	names := map[string]bool{}
	for range 2 {
		c, err := pgx.Connect(ctx, DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		var name string
		if err := c.QueryRow(ctx, "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		names[name] = true
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) != 2 {
		t.Errorf("databases = %v, want two", names)
	}
}
