package sandbox

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero/api"

	"github.com/oap-runtime/oap/sandbox/internal/wasi"
)

// quickjsCalls makes calls into the reactor and keeps the first error; later calls then do nothing and return 0.
type quickjsCalls struct {
	ctx context.Context
	in  *instance
	q   *quickjs
	err error
}

// errThrown marks that a call left an exception in the engine.
var errThrown = errors.New("exception in the engine")

func (c *quickjsCalls) call(name string, args ...uint64) uint64 {
	if c.err != nil {
		return 0
	}
	result, err := c.in.call(c.ctx, name, args...)
	c.err = err
	return uint64(uint32(result))
}

// value makes a call that returns a handle, which may be an exception.
func (c *quickjsCalls) value(name string, args ...uint64) uint64 {
	h := c.call(name, args...)
	if c.err == nil && (h == 0 || c.call("qjs_is_exception", h) != 0) {
		c.err = errThrown
	}
	return h
}

// invoke calls the guest function f with at most scratchBytes/4 arguments.
func (c *quickjsCalls) invoke(f uint64, args ...uint64) uint64 {
	for i, a := range args {
		c.in.module.Memory().WriteUint32Le(uint32(c.q.scratch)+4*uint32(i), uint32(a))
	}
	return c.value("qjs_call", f, c.q.undefined, uint64(len(args)), c.q.scratch)
}

// text copies s, with a terminating zero, into guest memory that the caller may free.
func (c *quickjsCalls) text(s string) uint64 {
	at := c.call("wasm_malloc", uint64(len(s))+1)
	if c.err != nil {
		return 0
	}
	memory := c.in.module.Memory()
	if at == 0 || !memory.WriteString(uint32(at), s) || !memory.WriteByte(uint32(at)+uint32(len(s)), 0) {
		c.err = memoryError(c.in)
	}
	return at
}

// job executes one pending job and tells whether there may be more.
func (c *quickjsCalls) job() bool {
	status := int32(uint32(c.call("qjs_execute_pending_job")))
	if c.err == nil && status < 0 {
		c.err = errThrown
	}
	return status > 0
}

// string reads the text of a handle.
func (c *quickjsCalls) string(h uint64) string {
	length := c.q.scratch + scratchLength
	at := c.call("qjs_get_string_len", h, length)
	if c.err != nil || at == 0 {
		return ""
	}
	memory := c.in.module.Memory()
	n, _ := memory.ReadUint32Le(uint32(length))
	b, ok := memory.Read(uint32(at), n)
	if !ok {
		return ""
	}
	s := string(b)
	c.call("qjs_free_cstring", at)
	return s
}

// thrown turns errThrown into a failure of the execution: the bootstrap script reports what users' code throws, so that
// what arrives here is the engine running out of memory or stack.
func (c *quickjsCalls) thrown(err error) error {
	if !errors.Is(err, errThrown) {
		return err
	}
	c.err = nil
	kind, message := "InternalError", c.string(c.call("qjs_get_exception"))
	if c.err != nil {
		return c.err
	}
	c.in.x.door.failure = &GuestError{Kind: kind, Message: message}
	return nil
}

// quickjsDoor serves host_call(name, length, this, argc, argv): the first argument is the message, the result a string.
func quickjsDoor(ctx context.Context, m api.Module, stack []uint64) {
	x := wasi.ProcessOf(ctx).(*execution)
	argc, argv := uint32(stack[3]), uint32(stack[4])
	stack[0] = 0
	handle, ok := m.Memory().ReadUint32Le(argv)
	if argc == 0 || !ok {
		return
	}
	// The guest is in the middle of a call. Converting a string does not run its code, unless it found a way to call the
	// door with something else; nested deeper than once, that is refused.
	if x.door.busy {
		panic(&stopped{&TrapError{Reason: "the host was called from within a host call"}})
	}
	x.door.busy = true
	defer func() { x.door.busy = false }()
	c := &quickjsCalls{ctx: ctx, in: x.in, q: x.language.(*quickjs)}
	message := c.string(uint64(handle))
	if c.err != nil {
		panic(&stopped{c.err})
	}
	reply := x.request([]byte(message))
	at := c.text(string(reply))
	result := c.value("qjs_new_string", at, uint64(len(reply)))
	c.call("wasm_free", at)
	if c.err != nil {
		panic(&stopped{c.err})
	}
	stack[0] = result
}
