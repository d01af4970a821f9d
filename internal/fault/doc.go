// Package fault defines the errors that callers outside the process may see,
// and every code they can carry.
//
// There are three kinds of failure. A caller's problem (4xx) and a model's or
// tool's problem (the outcome of a step) are both an [Error] with a stable
// code. Everything else is ours: it is wrapped with %w, logged once at the
// edge, and shown as [Internal].
package fault
