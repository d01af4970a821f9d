package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	postgresConns = 16 // default of Config.Conns

	// postgresAttempts is how often a transaction is tried that the database
	// ended in favour of another one. Then the caller gets Unavailable.
	postgresAttempts = 4

	// postgresWrite bounds the last round trip of a transaction, in which it
	// commits. It is not cut short by the caller's context, because then nobody
	// would know whether it took effect.
	postgresWrite = 30 * time.Second

	postgresRollback = 5 * time.Second // then the connection is dropped, which rolls back as well
)

// postgresDB is a Postgres database. Single statements and queries go through
// GORM; transactions go to the driver's own connection in two round trips, see
// run. GORM's PrepareStmt stays off: the driver keeps prepared statements, and
// a second cache doubles the round trips.
type postgresDB struct {
	db   *gorm.DB
	pool *sql.DB
	log  *slog.Logger
}

func openPostgres(ctx context.Context, c Config) (_ backend, err error) {
	cfg, err := pgx.ParseConfig(c.DSN)
	if err != nil {
		return nil, fault.Wrap(err, fault.Validation, "the Postgres DSN is not usable").
			With(fault.Detail{Message: err.Error(), Remedy: "give postgres://user:password@host:5432/database?sslmode=require"})
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "oap"
	}
	n := c.Conns
	if n == 0 {
		n = postgresConns
	}
	d := &postgresDB{pool: stdlib.OpenDB(*cfg), log: c.Logger}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	d.pool.SetMaxOpenConns(n)
	d.pool.SetMaxIdleConns(n)
	d.pool.SetConnMaxIdleTime(5 * time.Minute)
	if d.db, err = gorm.Open(postgres.New(postgres.Config{Conn: d.pool}), gormConfig()); err != nil {
		return nil, fmt.Errorf("open Postgres: %w", err)
	}
	if err := d.pool.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open Postgres: %w", d.fail(ctx, err))
	}
	if err := migrate(ctx, c.Logger, "postgres", d.pool); err != nil {
		return nil, fmt.Errorf("open Postgres: %w", d.fail(ctx, err))
	}
	return d, nil
}

func (d *postgresDB) write(ctx context.Context) *gorm.DB { return d.db.WithContext(ctx) }
func (d *postgresDB) read(ctx context.Context) *gorm.DB  { return d.db.WithContext(ctx) }

func (d *postgresDB) Close() error { return d.pool.Close() }

var postgresDialect = &dialect{
	now:      "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint",
	skipHeld: "FOR UPDATE SKIP LOCKED",
}

func (d *postgresDB) sql() *dialect { return postgresDialect }

func (d *postgresDB) transact(ctx context.Context, ids []uid, plan func(int64, []*sessionRow) ([]statement, error)) error {
	for attempt := 1; ; attempt++ {
		refused, err := d.once(ctx, ids, plan)
		if refused != nil {
			return refused
		}
		var pg *pgconn.PgError
		if err != nil && attempt < postgresAttempts && errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") {
			d.log.DebugContext(ctx, "transaction repeated", "attempt", attempt, "code", pg.Code)
			continue
		}
		return d.fail(ctx, err)
	}
}

// once runs a transaction on one connection. What plan returned comes back
// apart from what the database said.
func (d *postgresDB) once(ctx context.Context, ids []uid, plan func(int64, []*sessionRow) ([]statement, error)) (refused, err error) {
	conn, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		var err error
		refused, err = run(ctx, c.(*stdlib.Conn).Conn(), ids, plan)
		return err
	})
	return refused, err
}

// run needs two round trips: one begins, locks and tells the time, one writes
// and commits.
func run(ctx context.Context, c *pgx.Conn, ids []uid, plan func(int64, []*sessionRow) ([]statement, error)) (refused, err error) {
	defer func() {
		if refused != nil || err != nil {
			abandon(ctx, c)
		}
	}()
	now, rows, err := lockSessions(ctx, c, ids)
	if err != nil {
		return nil, err
	}
	stmts, err := plan(now, rows)
	if err != nil {
		return err, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), postgresWrite)
	defer cancel()
	var b pgx.Batch
	for _, s := range stmts {
		b.Queue(s.numbered, s.args...)
	}
	b.Queue("COMMIT")
	return nil, c.SendBatch(writing, &b).Close()
}

// lockSessions begins a transaction and locks the sessions, always in the same
// order. The time is read when the locks are held, so that it does not lie
// before the last change.
func lockSessions(ctx context.Context, c *pgx.Conn, ids []uid) (now int64, rows []*sessionRow, err error) {
	var b pgx.Batch
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	if len(ids) > 0 {
		wanted := make([]string, 0, len(ids))
		for _, id := range ids {
			if id.valid() {
				wanted = append(wanted, string(id))
			}
		}
		b.Queue("SELECT "+sessionColumns+" FROM sessions WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE", wanted)
	}
	b.Queue("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
	res := c.SendBatch(ctx, &b)
	defer func() { err = errors.Join(err, res.Close()) }()
	if _, err := res.Exec(); err != nil {
		return 0, nil, err
	}
	if len(ids) > 0 {
		found, err := res.Query()
		if err != nil {
			return 0, nil, err
		}
		rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (*sessionRow, error) {
			r := &sessionRow{}
			return r, row.Scan(r.scan()...)
		})
		if err != nil {
			return 0, nil, err
		}
	}
	err = res.QueryRow().Scan(&now)
	return now, rows, err
}

// abandon ends the transaction that c is in. A connection on which that fails
// is closed, which the pool notices, and so is one whose context ended in the
// middle: what interrupted it may still disturb whoever gets it next.
func abandon(ctx context.Context, c *pgx.Conn) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), postgresRollback)
	defer cancel()
	switch {
	case c.IsClosed():
	case ctx.Err() != nil:
		c.Close(ending)
	case c.PgConn().TxStatus() != 'I':
		if _, err := c.Exec(ending, "ROLLBACK"); err != nil {
			c.Close(ending)
		}
	}
}

func (d *postgresDB) duplicate(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// away holds the classes and codes of errors after which trying again later
// may help: https://www.postgresql.org/docs/current/errcodes-appendix.html.
var away = map[string]bool{
	"08": true, "53": true, "57": true, "58": true, "40": true, // connection, resources, operator, system, rollback
	"25006": true, "55P03": true, "25P03": true, // read-only standby, lock timeout, idle in transaction timeout
}

func (d *postgresDB) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	unavailable := fault.Wrap(err, fault.Unavailable, "the database does not answer").Retry(time.Second)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "57014" && ctx.Err() != nil { // cancelled at our own request
			return ended(ctx)
		}
		if away[pg.Code] || away[pg.Code[:2]] {
			return unavailable
		}
		return err
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, context.DeadlineExceeded), pgconn.SafeToRetry(err):
		return unavailable
	}
	return err
}
