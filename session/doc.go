// Package session drives goals to completion, one durable turn at a time.
//
// A session is rows, not a goroutine: a turn claims a lease, loads, decides,
// commits, acts and commits, and nothing that matters lives in memory between
// turns. The append-only event log of a session is the only truth; status,
// history, transcript and live streams are views of it. Only a committed plan
// is executed, and a call is executed under the id it was committed with.
//
// The package does not know which database holds the rows ([Store]), who
// decides ([planner.Planner]) or how actions are performed
// ([executor.Executor]).
package session
