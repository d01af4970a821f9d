package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// Config says which database to use.
type Config struct {
	// DSN is "postgres://…" (or "postgresql://…") for Postgres, a path or
	// "sqlite:PATH" for a SQLite file that is created when missing, and "" or
	// ":memory:" for a private database that is gone after Close.
	DSN string
	// Conns bounds the connections to Postgres; 0 means 16. More callers wait.
	Conns int
	// Logger is told of migrations and of transactions that were repeated; nil
	// means slog.Default.
	Logger *slog.Logger
}

// DB is a session.Store in a database. It is safe for use by many goroutines.
type DB struct {
	backend
	codec *codec
}

var _ session.Store = (*DB)(nil)

// A backend is one kind of database.
type backend interface {
	// write and read give access for single statements. They are the same
	// where readers do not need connections of their own.
	write(ctx context.Context) *gorm.DB
	read(ctx context.Context) *gorm.DB

	// transact locks the sessions with the given ids, hands plan the time and
	// the rows that exist, and carries out what plan returns: all of it or, on
	// any error, nothing. It returns plan's own errors as they are. plan may be
	// called again when the database had to give up before writing.
	transact(ctx context.Context, ids []uid, plan func(now int64, rows []*sessionRow) ([]statement, error)) error

	// sql returns the parts of SQL in which databases differ.
	sql() *dialect

	// fail returns an error of the database as callers should see it: the
	// context's, fault.Unavailable when trying again may help, or err itself.
	fail(ctx context.Context, err error) error

	// duplicate reports whether err says that a unique value is taken.
	duplicate(err error) bool

	Close() error
}

// A dialect holds the statements that are not the same everywhere.
type dialect struct {
	now      string // the time in microseconds; it may pass within a statement
	skipHeld string // makes a subquery lock its row and pass over locked ones
}

// Open connects to the database and brings its schema up to date. A database
// that a newer version of the program has changed is refused, and so is a
// SQLite file that another process has open ([LockedError]).
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Conns < 0 {
		return nil, fault.New(fault.Validation, "the number of database connections is negative").
			With(fault.Detail{Message: "got a negative number", Remedy: "give a positive number, or 0 for the default of 16"})
	}
	var b backend
	var err error
	switch scheme, rest, _ := strings.Cut(c.DSN, ":"); {
	case c.DSN == "" || c.DSN == ":memory:":
		b, err = openTemporary(ctx, c)
	case strings.HasPrefix(c.DSN, "postgres://") || strings.HasPrefix(c.DSN, "postgresql://"):
		b, err = openPostgres(ctx, c)
	case scheme == "sqlite":
		b, err = openSQLite(ctx, c, strings.TrimPrefix(rest, "//"))
	case strings.Contains(c.DSN, "://"):
		err = fault.New(fault.Validation, "the database is of a kind that is not supported: %s", scheme).
			With(fault.Detail{Message: "unknown scheme " + scheme, Remedy: "give postgres://…, sqlite:PATH, a path, or :memory:"})
	default:
		b, err = openSQLite(ctx, c, c.DSN)
	}
	if err != nil {
		return nil, err
	}
	codec, err := newCodec()
	if err != nil {
		b.Close()
		return nil, err
	}
	return &DB{backend: b, codec: codec}, nil
}

// Close ends the connections and gives the file free. Transactions under way
// fail.
func (d *DB) Close() error {
	d.codec.close()
	return d.backend.Close()
}

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return d.fail(ctx, d.read(ctx).Raw("SELECT 1").Scan(&one).Error)
}

// gormConfig is shared by all connections. Every write is one statement or an
// explicit transaction, so GORM adds none; errors are returned, not logged.
func gormConfig() *gorm.Config {
	return &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		Logger:                 logger.Discard,
	}
}

// A query is SQL that both databases understand, with ? for its arguments. It
// must hold no other question mark.
type query struct {
	plain    string
	numbered string // with $1, $2 …, for Postgres without GORM
}

// queries holds every query of the package, for a database that prepares them
// beforehand. It does not change after initialization.
var queries []*query

func newQuery(plain string) *query {
	var b strings.Builder
	for i, part := range strings.Split(plain, "?") {
		if i > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	q := &query{plain: plain, numbered: b.String()}
	queries = append(queries, q)
	return q
}

func (q *query) with(args ...any) statement { return statement{q, args} }

// A statement is a query with its arguments.
type statement struct {
	*query
	args []any
}

// ended returns the error of a context that is done, with its cause.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
