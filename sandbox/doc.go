// Package sandbox runs untrusted Python and JavaScript inside WebAssembly and returns their JSON result.
//
// A [Sandbox] owns the language engines of package wasm-modules: a real CPython and a real QuickJS-NG, compiled once
// per process and snapshotted after their own start-up. Every [Sandbox.Run] starts from that snapshot in its own linear
// memory, so that a run costs little more than the code it runs and can leave nothing behind for the next one.
//
// What a caller may rely on:
//
//   - Every run ends. CPU time is metered as fuel, counted by instructions that package wasmedit injects into the engine;
//     memory, stack, output, log and host calls have their own bounds, and a wall clock stands behind all of them. A bound
//     that was reached is a [*LimitError] which says which one, by how much, and what to do about it.
//   - A run is deterministic. Clock and randomness come from [Program.Now] and [Program.Seed], sleeping moves the clock
//     without waiting, and the same program, input, seed and clock give the same bytes and the same fuel on every machine.
//     Only wall-clock verdicts and the answers of granted host functions come from outside.
//   - Guest code has no network, no process, no thread, no environment and no file except a read-only copy of its own
//     standard library. The only ways out are its result, its two output streams and the functions in [Grants].
//
// The package imports nothing else of this module except the engines, and no type of the WebAssembly runtime leaves it.
// Errors that the guest caused are [*GuestError], [*LimitError] and [*TrapError]; anything else that Run returns is the
// caller's ([*InvalidError], [ErrBusy], a cancelled context) or a defect of the sandbox itself.
//
// Goroutines: a Sandbox starts one per engine while that engine is being prepared; a run executes on its caller's
// goroutine. All methods are safe for concurrent use.
package sandbox
