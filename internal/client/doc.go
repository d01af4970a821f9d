// Package client speaks to a server of the runtime over HTTP: it sends what
// the routes ask for and gives back typed answers, event streams and
// [fault.Error] failures.
//
// It keeps no state and starts no goroutine. Methods may be called
// concurrently.
package client
