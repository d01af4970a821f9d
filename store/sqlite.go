package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	// sqliteReaders is how many readers work at once beside the one writer;
	// more wait. Each holds a page cache of about 2 MB.
	sqliteReaders = 4
	// sqliteBusy is how long a connection waits for a lock of the file that
	// another program holds (a backup, a shell) before it reports Unavailable.
	sqliteBusy = 5 * time.Second
)

// sqliteDB is one SQLite file: a single connection that writes, so writers
// queue in Go where their contexts can end the wait, and a few that read
// committed snapshots meanwhile.
type sqliteDB struct {
	writer, readers *gorm.DB
	writerPool      *sql.DB
	readerPool      *sql.DB
	prepared        map[*query]*sql.Stmt // on the writer; not changed after opening
	lock            *fileLock
	temporary       string // directory to remove at Close
}

func openTemporary(ctx context.Context, c Config) (backend, error) {
	dir, err := os.MkdirTemp("", "oap-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary database: %w", err)
	}
	b, err := openFile(ctx, c, filepath.Join(dir, "oap.db"), "off") // nothing to keep, so nothing to sync
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	b.temporary = dir
	return b, nil
}

func openSQLite(ctx context.Context, c Config, path string) (backend, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, fault.New(fault.Validation, "the database has no usable file name").
			With(fault.Detail{Message: "sqlite: without a path", Remedy: "give sqlite:PATH, or :memory: for a database that is not kept"})
	}
	b, err := openFile(ctx, c, path, "full")
	if err != nil {
		return nil, err
	}
	return b, nil
}

func openFile(ctx context.Context, c Config, path, sync string) (_ *sqliteDB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot make the directory of the database: %v", err)
	}
	d := &sqliteDB{}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.lock, err = lockFile(path + ".lock"); err != nil {
		if held, ok := errors.AsType[*LockedError](err); ok {
			held.Path = path
			return nil, fault.Wrap(held, fault.Unavailable, "%s", held.Error()).
				With(fault.Detail{Message: "a SQLite database belongs to one process at a time", Remedy: "stop the other process, give this one another file, or let both use Postgres"})
		}
		return nil, fault.Wrap(err, fault.Unavailable, "cannot lock the database %s: %v", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "cannot open the database %s for writing: %v", path, err)
	}
	f.Close()

	if d.writerPool, err = openPool(path, sync, false); err != nil {
		return nil, err
	}
	if d.writer, err = gorm.Open(gormlite.OpenDB(d.writerPool), gormConfig()); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if err := d.writerPool.PingContext(ctx); err != nil {
		if errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.CORRUPT) {
			return nil, fault.Wrap(err, fault.Unavailable, "%s is not a SQLite database, or it is damaged", path).
				With(fault.Detail{Message: err.Error(), Remedy: "name another file, or restore this one from a backup"})
		}
		return nil, fmt.Errorf("open database %s: %w", path, d.fail(ctx, err))
	}
	if err := migrate(ctx, c.Logger, "sqlite", d.writerPool); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	// The index of the log has no content, but nobody else should write to it.
	if err := os.Chmod(path+"-shm", 0o600); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	if d.readerPool, err = openPool(path, sync, true); err != nil {
		return nil, err
	}
	if d.readers, err = gorm.Open(gormlite.OpenDB(d.readerPool), gormConfig()); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// Preparing costs as much as running here. GORM keeps the statements that it
	// runs by itself; in a transaction it would prepare them again every time.
	d.prepared = make(map[*query]*sql.Stmt, len(queries))
	for _, q := range queries {
		if d.prepared[q], err = d.writerPool.PrepareContext(ctx, q.plain); err != nil {
			return nil, fmt.Errorf("open database %s: %w", path, err)
		}
	}
	d.writer = d.writer.Session(&gorm.Session{PrepareStmt: true})
	d.readers = d.readers.Session(&gorm.Session{PrepareStmt: true})
	return d, nil
}

func openPool(path, sync string, readOnly bool) (*sql.DB, error) {
	lock := "immediate" // a transaction that reads first must not find its snapshot outdated when it writes
	if readOnly {
		lock = "deferred"
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	modeof := strings.ReplaceAll(url.QueryEscape(path), "+", "%20")                                  // SQLite takes + for itself
	dsn := url.URL{Scheme: "file", Path: slashed, RawQuery: "_txlock=" + lock + "&modeof=" + modeof} // the log gets the mode of the database
	pool, err := driver.Open(dsn.String(), func(c *sqlite3.Conn) error {
		if err := c.BusyTimeout(sqliteBusy); err != nil {
			return err
		}
		if err := c.Exec(`PRAGMA foreign_keys=on; PRAGMA temp_store=memory`); err != nil {
			return err
		}
		if readOnly {
			return c.Exec(`PRAGMA query_only=on`)
		}
		if err := c.CreateFunction("oap_now", 0, sqlite3.INNOCUOUS, func(c sqlite3.Context, _ ...sqlite3.Value) {
			c.ResultInt64(time.Now().UnixMicro())
		}); err != nil {
			return err
		}
		return c.Exec(`PRAGMA journal_mode=wal; PRAGMA synchronous=` + sync)
	})
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	n := sqliteReaders
	if !readOnly {
		n = 1
	}
	pool.SetMaxOpenConns(n)
	pool.SetMaxIdleConns(n)
	return pool, nil
}

func (d *sqliteDB) write(ctx context.Context) *gorm.DB { return d.writer.WithContext(ctx) }
func (d *sqliteDB) read(ctx context.Context) *gorm.DB  { return d.readers.WithContext(ctx) }

var sqliteDialect = &dialect{now: "oap_now()"}

func (d *sqliteDB) sql() *dialect { return sqliteDialect }

var selectSession = newQuery(`SELECT ` + sessionColumns + ` FROM sessions WHERE id = ?`)

func (d *sqliteDB) transact(ctx context.Context, ids []uid, plan func(int64, []*sessionRow) ([]statement, error)) error {
	refused, err := d.once(ctx, ids, plan)
	if refused != nil {
		return refused
	}
	return d.fail(ctx, err)
}

// once runs a transaction. What plan returned comes back apart from what the
// database said.
func (d *sqliteDB) once(ctx context.Context, ids []uid, plan func(int64, []*sessionRow) ([]statement, error)) (refused, err error) {
	tx, err := d.writerPool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // does nothing after Commit
	var rows []*sessionRow
	for _, id := range ids {
		r := &sessionRow{}
		err := tx.StmtContext(ctx, d.prepared[selectSession]).QueryRowContext(ctx, id).Scan(r.scan()...)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	stmts, err := plan(time.Now().UnixMicro(), rows)
	if err != nil {
		return err, nil
	}
	for _, s := range stmts {
		if _, err := tx.StmtContext(ctx, d.prepared[s.query]).ExecContext(ctx, s.args...); err != nil {
			return nil, err
		}
	}
	return nil, tx.Commit()
}

func (d *sqliteDB) duplicate(err error) bool {
	return errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) || errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY)
}

func (d *sqliteDB) fail(ctx context.Context, err error) error {
	unavailable := func(format string, args ...any) error {
		return fault.Wrap(err, fault.Unavailable, format, args...).Retry(time.Second)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // SQLite only says that it was interrupted
		return ended(ctx)
	case errors.Is(err, sqlite3.BUSY), errors.Is(err, sqlite3.LOCKED):
		return unavailable("the database is locked by another program")
	case errors.Is(err, sqlite3.FULL):
		return unavailable("the disk of the database is full")
	case errors.Is(err, sqlite3.READONLY), errors.Is(err, sqlite3.PERM), errors.Is(err, sqlite3.CANTOPEN):
		return unavailable("the database cannot be written to")
	case errors.Is(err, sqlite3.IOERR):
		return unavailable("the disk of the database reports an error")
	case errors.Is(err, sql.ErrConnDone):
		return unavailable("the database is closed")
	}
	return err
}

func (d *sqliteDB) Close() error {
	var errs []error
	// GORM's prepared statements end with their pools. The writer closes last:
	// the last connection folds the write-ahead log into the file.
	for _, pool := range []*sql.DB{d.readerPool, d.writerPool} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	if d.lock != nil {
		errs = append(errs, d.lock.release())
	}
	if d.temporary != "" {
		errs = append(errs, os.RemoveAll(d.temporary))
	}
	return errors.Join(errs...)
}
