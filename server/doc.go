// Package server is the HTTP face of the runtime: it turns requests into calls
// of the session manager and its answers into JSON, pages and event streams.
//
// Every failure, from an unknown route to a panic, is answered with one body
// ([Problem]), and one table maps its code to a status. Input is read
// strictly: what the OpenAPI document does not describe is refused with a JSON
// Pointer and a remedy, and nothing has changed. Everything a client can make
// the server hold (body, nesting, headers, waiting requests, unread output) has
// a bound.
//
// The package keeps no state of its own about sessions. It does not know where
// they are stored nor who decides for them, and a caller must not assume that a
// session id is a capability: the manager checks ownership on every call.
//
// Goroutines: net/http's, one for each request. A stream lives in its request's
// goroutine and ends with the request, with the session, or with the server.
package server
