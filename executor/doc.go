// Package executor performs actions: HTTP calls, code, files and questions to
// people, each behind the same interface.
//
// It does not decide what is performed, and it stores nothing: the caller has
// written down its intent before, and records the result after.
package executor
