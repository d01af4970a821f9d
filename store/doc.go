// Package store keeps sessions, their logs and their content in a database:
// SQLite in one file, or Postgres.
//
// [DB] implements session.Store on both. Every method is one transaction.
// Whoever appends to a session's log locks its row first, so sequence numbers
// have no gaps, the chain of hashes never forks and a holder whose lease moved
// on is refused, however many processes share the database.
//
// Times are int64 microseconds since 1970: of the database server on Postgres,
// of the machine on SQLite, where both are the same. Text is kept in an escaped
// form that any Go string survives (see column.go); JSON is kept as bytes,
// exactly as it was given. Content is stored once under its SHA-256, compressed
// when that makes it smaller, and checked against the hash when it is read.
//
// A SQLite database belongs to one process at a time, which a lock file beside
// it enforces. The schema is numbered SQL, embedded and applied by [Open]; the
// package never alters a schema by itself otherwise.
package store
