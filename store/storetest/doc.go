// Package storetest checks that an implementation of session.Store keeps what
// the interface promises.
//
// Every test gets a store of its own, works through the interface only, and
// may run at the same time as the others.
package storetest
