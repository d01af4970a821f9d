// Package pgtest gives tests a Postgres database of their own.
//
// The first test of a process that asks starts a private server; a watchdog
// process stops it and removes its files when the test process ends, however
// it ends. No other package of the product may import this one.
package pgtest
