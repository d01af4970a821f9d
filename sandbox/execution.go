package sandbox

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
)

const (
	// fuelSlice is how much fuel the guest gets at a time. Between slices the host looks at the wall clock and the
	// context, and the Go scheduler and collector get their turn: about half a millisecond.
	fuelSlice = 100_000

	// clockStep is how far every reading advances the clock, so that successive readings differ.
	clockStep = time.Microsecond
)

// execution is the state of one run on the host's side. It is used by one goroutine, the one that calls the guest.
type execution struct {
	ctx      context.Context
	program  Program
	limits   Limits
	language language

	in        *instance // whose fuel and stack globals are read
	granted   int64     // fuel given so far; granted minus what is left in the instance has been used
	budget    int64
	fuelPerMS int64

	started  time.Time
	hostTime time.Duration // spent in host functions
	waited   time.Duration // spent waiting for a worker after them
	ticket   *ticket
	ticks    int64 // virtual nanoseconds that clock readings and sleeping have added
	slept    int64

	random         *rand.ChaCha8
	stdout, stderr capture
	logLeft        int64
	files          wasi.Files

	door door
}

var _ wasi.Process = (*execution)(nil)

// newExecution prepares a run of p, whose limits are complete, with a budget of fuel.
func newExecution(ctx context.Context, p Program, l language, budget int64) *execution {
	return &execution{
		ctx: ctx, program: p, limits: p.Limits, language: l, budget: budget, fuelPerMS: l.fuelPerMS(),
		started: time.Now(), random: rand.NewChaCha8(p.Seed), logLeft: p.Limits.LogBytes,
	}
}

// used is the fuel consumed so far.
func (x *execution) used() int64 { return x.granted - int64(x.in.fuel.Get()) }

func (x *execution) cpu() time.Duration { return fuelTime(x.used(), x.fuelPerMS) }

func fuelTime(fuel, perMS int64) time.Duration {
	return time.Duration(fuel/perMS*int64(time.Millisecond)) + time.Duration(fuel%perMS*int64(time.Millisecond)/perMS)
}

// refuel is called by the guest's metering code when fuel or stack have become negative.
func (x *execution) refuel() {
	if int32(uint32(x.in.stack.Get())) < 0 {
		panic(&stopped{stackError(x.limits.StackBytes)})
	}
	used := x.used()
	if used > x.budget {
		panic(&stopped{&LimitError{
			Limit: LimitCPU, Used: int64(x.cpu() / time.Millisecond), Max: int64(x.limits.CPU / time.Millisecond), Unit: "ms",
			Remedy: "do less work in one call, or raise limits.cpu",
		}})
	}
	if x.ctx.Err() != nil {
		panic(&stopped{context.Cause(x.ctx)})
	}
	x.checkWall(time.Since(x.started) - x.hostTime - x.waited)
	slice := min(fuelSlice, x.budget-used)
	x.in.fuel.Set(uint64(slice))
	x.granted = used + slice
}

func (x *execution) checkWall(d time.Duration) {
	if d <= x.limits.Wall {
		return
	}
	panic(&stopped{&LimitError{
		Limit: LimitWall, Used: d.Milliseconds(), Max: x.limits.Wall.Milliseconds(), Unit: "ms",
		Remedy: "wait less, or raise limits.wall",
	}})
}

func stackError(bytes int64) *LimitError {
	return &LimitError{Limit: LimitStack, Used: bytes, Max: bytes, Unit: "bytes",
		Remedy: "recurse less deeply, or raise limits.stack_bytes"}
}

func refuel(ctx context.Context, _ api.Module, _ []uint64) {
	wasi.ProcessOf(ctx).(*execution).refuel()
}

// Charge takes fuel for work on the host.
func (x *execution) Charge(units int64) {
	left := int64(x.in.fuel.Get()) - units
	x.in.fuel.Set(uint64(left))
	if left < 0 {
		x.refuel()
	}
}

// elapsed is the virtual time since the run started. Computing and sleeping advance it, both deterministic.
func (x *execution) elapsed() int64 {
	x.ticks += int64(clockStep)
	return int64(x.cpu()) + x.slept + x.ticks
}

func (x *execution) Monotonic() int64 { return x.elapsed() }
func (x *execution) CPU() int64       { return int64(x.cpu()) }

func (x *execution) Realtime() int64 {
	elapsed := x.elapsed()
	if x.program.Now.IsZero() {
		return elapsed
	}
	return x.program.Now.UnixNano() + elapsed
}

// Sleep moves the clock without waiting. The sum is bounded like real waiting would be.
func (x *execution) Sleep(ns int64) {
	if total := x.slept + ns; total < x.slept || total > int64(x.limits.Wall) {
		x.checkWall(max(time.Duration(total), x.limits.Wall+time.Millisecond))
	}
	x.slept += ns
}

// Random never fails: the generator's Read always fills the buffer.
func (x *execution) Random(b []byte) { x.random.Read(b) }

func (x *execution) Write(fd uint32, b []byte) {
	c := &x.stdout
	if fd == 2 {
		c = &x.stderr
	}
	x.logLeft -= c.write(b, x.logLeft)
}

func (x *execution) Exit(code uint32) { panic(&stopped{&exited{code}}) }

func (x *execution) Files() *wasi.Files { return &x.files }

// capture keeps the beginning of an output stream and counts the rest.
type capture struct {
	kept  []byte
	total int64
}

// write keeps at most room bytes of b and tells how many it kept.
func (c *capture) write(b []byte, room int64) int64 {
	c.total += int64(len(b))
	n := min(int64(len(b)), room)
	c.kept = append(c.kept, b[:n]...)
	return n
}

// String gives what was kept, with everything that is not UTF-8 replaced.
func (c *capture) String() string { return strings.ToValidUTF8(string(c.kept), "\uFFFD") }

// usage sums up after the guest has stopped.
func (x *execution) usage() Usage {
	return Usage{
		Fuel: x.used(), CPU: x.cpu(), Wall: time.Since(x.started) - x.waited, HostTime: x.hostTime,
		MemoryPeakBytes: int64(x.in.memory.Peak()), OutputBytes: int64(len(x.door.result)),
		StdoutBytes: x.stdout.total, StderrBytes: x.stderr.total, HostCalls: x.door.calls,
	}
}
