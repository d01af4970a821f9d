// Package wasi answers the WASI preview 1 calls of the language engines without touching the machine it runs on.
//
// The host module keeps no state of its own: everything that belongs to one execution is in the [Process] that travels in
// the context of the call, so that instances can be created, reset and discarded freely. A guest sees its two output
// streams, an empty input, a virtual clock, seeded randomness and one read-only directory tree. Whatever would write,
// connect, signal or wait for real is answered with an error. Pointers and lengths that do not fit the guest's memory give
// EFAULT; work that a call causes on the host is charged to the guest's fuel first.
package wasi

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Process is one execution of guest code as the host module sees it. Methods are called on the goroutine that executes
// the guest and may panic to stop it.
type Process interface {
	// Charge takes fuel for work done on the host.
	Charge(units int64)

	// Realtime is the virtual wall clock in nanoseconds since the Unix epoch, Monotonic the time since the process
	// started, CPU the time it computed. Reading advances the first two.
	Realtime() int64
	Monotonic() int64
	CPU() int64

	// Sleep advances the clocks by ns nanoseconds without waiting.
	Sleep(ns int64)

	// Random fills b.
	Random(b []byte)

	// Write takes output for stdout (1) or stderr (2).
	Write(fd uint32, b []byte)

	// Exit handles proc_exit; it must panic.
	Exit(code uint32)

	// Files is the process's table of open files, whose zero value is the initial one.
	Files() *Files
}

type processKey struct{}

// WithProcess returns a context for calls into an instance on behalf of p.
func WithProcess(ctx context.Context, p Process) context.Context {
	return context.WithValue(ctx, processKey{}, p)
}

// ProcessOf returns the process of a context made by [WithProcess]. Host functions are only reached through such calls.
func ProcessOf(ctx context.Context) Process {
	return ctx.Value(processKey{}).(Process)
}

type errno uint32

const (
	errnoSuccess     errno = 0
	errnoBadf        errno = 8
	errnoFault       errno = 21
	errnoInval       errno = 28
	errnoIsdir       errno = 31
	errnoMfile       errno = 33
	errnoNametoolong errno = 37
	errnoNoent       errno = 44
	errnoNotdir      errno = 54
	errnoNotsup      errno = 58
	errnoRofs        errno = 69
	errnoSpipe       errno = 70
)

const (
	// callCost is charged for every call: leaving and entering the guest.
	callCost = 20

	// bytesPerUnit converts bytes that a call moves or makes into fuel.
	bytesPerUnit = 64

	// vectorsMax bounds the buffers of one read or write (EINVAL beyond), pathMax a path (ENAMETOOLONG beyond) and
	// subscriptionsMax what one poll waits for (EINVAL beyond).
	vectorsMax       = 1024
	pathMax          = 4096
	subscriptionsMax = 64

	fdStdin, fdStdout, fdStderr, fdRoot = 0, 1, 2, 3
)

// call is one WASI call: arguments as the guest passed them, with its memory and process.
type call struct {
	Process
	mem  api.Memory
	args []uint64
}

func (c *call) u32(i int) uint32 { return uint32(c.args[i]) } // the upper half of an i32 parameter is undefined
func (c *call) u64(i int) uint64 { return c.args[i] }

func (c *call) putU32(at, v uint32) errno { return fault(c.mem.WriteUint32Le(at, v)) }

func (c *call) putU64(at uint32, v uint64) errno { return fault(c.mem.WriteUint64Le(at, v)) }

func (c *call) put(at uint32, b []byte) errno { return fault(c.mem.Write(at, b)) }

func fault(ok bool) errno {
	if !ok {
		return errnoFault
	}
	return errnoSuccess
}

// first returns the first of several results that is an error.
func first(results ...errno) errno {
	for _, e := range results {
		if e != errnoSuccess {
			return e
		}
	}
	return errnoSuccess
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

type function struct {
	name   string
	params []api.ValueType
	handle func(*call) errno
}

// Instantiate provides the module wasi_snapshot_preview1 in r. root is what the guest sees as its only directory, under
// the path mount.
func Instantiate(ctx context.Context, r wazero.Runtime, root *Tree, mount string) error {
	builder := r.NewHostModuleBuilder("wasi_snapshot_preview1")
	fs := &fileSystem{root: root, mount: mount}
	for _, group := range [][]function{processFunctions, fs.functions(), refusedFunctions} {
		for _, f := range group {
			builder.NewFunctionBuilder().WithGoModuleFunction(f.wrap(), f.params, []api.ValueType{i32}).Export(f.name)
		}
	}
	builder.NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(exit), []api.ValueType{i32}, nil).Export("proc_exit")
	_, err := builder.Instantiate(ctx)
	return err
}

func (f function) wrap() api.GoModuleFunction {
	return api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
		c := call{Process: ProcessOf(ctx), mem: m.Memory(), args: stack}
		c.Charge(callCost)
		stack[0] = uint64(f.handle(&c))
	})
}

func exit(ctx context.Context, _ api.Module, stack []uint64) {
	ProcessOf(ctx).Exit(uint32(stack[0]))
}
