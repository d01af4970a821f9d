// Package scripted stands in for a model where nothing may be left to chance:
// demos, tests and replays. [New] is a planner that plays rounds of calls;
// [Server] speaks the wire protocols of real providers and answers from a
// [Script], faults included, so that everything up to the socket is real.
//
// Neither keeps state of a session: what they answer follows from the request.
package scripted
