package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/oap-runtime/oap/internal/fault"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// migrate applies the migrations that db lacks, each in a transaction. On
// Postgres processes that start together take turns.
func migrate(ctx context.Context, log *slog.Logger, kind string, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations/"+kind)
	if err != nil {
		return fmt.Errorf("migrations for %s: %w", kind, err)
	}
	options := []goose.ProviderOption{goose.WithTableName("oap_schema"), goose.WithDisableGlobalRegistry(true)}
	dialect := goose.DialectSQLite3
	if kind == "postgres" {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120)) // tries every second for two minutes
		if err != nil {
			return fmt.Errorf("lock for migrations: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("migrations for %s: %w", kind, err)
	}
	results, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range results {
		log.InfoContext(ctx, "database migrated", "version", r.Source.Version, "duration_ms", r.Duration.Milliseconds())
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("schema version: %w", err)
	}
	if current > target {
		return fault.New(fault.Unavailable, "the database has schema %d, made by a newer version of this program, which knows %d", current, target).
			With(fault.Detail{Message: "a downgrade would lose data", Remedy: "run the newer version, or use another database"})
	}
	return nil
}
