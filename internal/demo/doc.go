// Package demo serves the small outside world that the examples act on: a
// calendar, a CRM, a mailbox and a database, each a real HTTP service with its
// own origin, bearer token, input checks and Idempotency-Key handling.
//
// Every effect is counted, so that a test which kills and restarts an engine
// can prove that nothing happened twice, and delays and failures can be
// injected through a control endpoint. The world lives in memory and is
// forgotten with the process.
//
// The package knows nothing of the runtime: to it, the runtime is one more
// client.
package demo
