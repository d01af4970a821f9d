package wasi

import (
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero/api"
)

// processFunctions are the calls about arguments, environment, clocks and randomness.
var processFunctions = []function{
	{"args_get", []api.ValueType{i32, i32}, succeed},
	{"args_sizes_get", []api.ValueType{i32, i32}, twoZeros},
	{"environ_get", []api.ValueType{i32, i32}, succeed},
	{"environ_sizes_get", []api.ValueType{i32, i32}, twoZeros},
	{"clock_res_get", []api.ValueType{i32, i32}, clockResolution},
	{"clock_time_get", []api.ValueType{i32, i64, i32}, clockTime},
	{"poll_oneoff", []api.ValueType{i32, i32, i32, i32}, poll},
	{"random_get", []api.ValueType{i32, i32}, random},
	{"sched_yield", nil, succeed},
}

// refusedFunctions are calls that need something the sandbox does not have.
var refusedFunctions = []function{
	{"sock_accept", []api.ValueType{i32, i32, i32}, unsupported},
	{"sock_recv", []api.ValueType{i32, i32, i32, i32, i32, i32}, unsupported},
	{"sock_send", []api.ValueType{i32, i32, i32, i32, i32}, unsupported},
	{"sock_shutdown", []api.ValueType{i32, i32}, unsupported},
	{"proc_raise", []api.ValueType{i32}, unsupported},
	{"fd_renumber", []api.ValueType{i32, i32}, unsupported},
	{"fd_allocate", []api.ValueType{i32, i64, i64}, readOnly},
	{"fd_fdstat_set_rights", []api.ValueType{i32, i64, i64}, unsupported},
	{"fd_filestat_set_size", []api.ValueType{i32, i64}, readOnly},
	{"fd_filestat_set_times", []api.ValueType{i32, i64, i64, i32}, readOnly},
	{"fd_pwrite", []api.ValueType{i32, i32, i32, i64, i32}, readOnly},
	{"path_create_directory", []api.ValueType{i32, i32, i32}, readOnly},
	{"path_filestat_set_times", []api.ValueType{i32, i32, i32, i32, i64, i64, i32}, readOnly},
	{"path_link", []api.ValueType{i32, i32, i32, i32, i32, i32, i32}, readOnly},
	{"path_remove_directory", []api.ValueType{i32, i32, i32}, readOnly},
	{"path_rename", []api.ValueType{i32, i32, i32, i32, i32, i32}, readOnly},
	{"path_symlink", []api.ValueType{i32, i32, i32, i32, i32}, readOnly},
	{"path_unlink_file", []api.ValueType{i32, i32, i32}, readOnly},
}

func succeed(*call) errno     { return errnoSuccess }
func unsupported(*call) errno { return errnoNotsup }
func readOnly(*call) errno    { return errnoRofs }

// twoZeros answers the size queries: no arguments and no environment.
func twoZeros(c *call) errno {
	return first(c.putU32(c.u32(0), 0), c.putU32(c.u32(1), 0))
}

const (
	clockRealtime, clockMonotonic = 0, 1
	clockProcess, clockThread     = 2, 3

	clockResolutionNS = 1000
)

func clockResolution(c *call) errno {
	if c.u32(0) > clockThread {
		return errnoInval
	}
	return c.putU64(c.u32(1), clockResolutionNS)
}

func clockTime(c *call) errno {
	var ns int64
	switch c.u32(0) {
	case clockRealtime:
		ns = c.Realtime()
	case clockMonotonic:
		ns = c.Monotonic()
	case clockProcess, clockThread:
		ns = c.CPU()
	default:
		return errnoInval
	}
	return c.putU64(c.u32(2), uint64(ns))
}

func random(c *call) errno {
	n := c.u32(1)
	b, ok := c.mem.Read(c.u32(0), n)
	if !ok {
		return errnoFault
	}
	c.Charge(int64(n) / bytesPerUnit)
	c.Random(b)
	return errnoSuccess
}

const (
	subscriptionBytes, eventBytes = 48, 32

	subscribeClock    = 0
	subscribeAbsolute = 1
)

// poll serves sleeping: of the clock subscriptions the earliest happens, at once, and moves the clock. Nothing else can
// become ready in the sandbox.
func poll(c *call) errno {
	n := c.u32(2)
	if n == 0 || n > subscriptionsMax {
		return errnoInval
	}
	subscriptions, ok := c.mem.Read(c.u32(0), n*subscriptionBytes)
	if !ok {
		return errnoFault
	}
	earliest, user := int64(math.MaxInt64), uint64(0)
	found := false
	for ; len(subscriptions) > 0; subscriptions = subscriptions[subscriptionBytes:] {
		s := subscriptions[:subscriptionBytes]
		if s[8] != subscribeClock {
			continue
		}
		delay := int64(min(binary.LittleEndian.Uint64(s[24:]), math.MaxInt64))
		if binary.LittleEndian.Uint16(s[40:])&subscribeAbsolute != 0 {
			now := c.Monotonic()
			if binary.LittleEndian.Uint32(s[16:]) == clockRealtime {
				now = c.Realtime()
			}
			delay -= now
		}
		if !found || delay < earliest {
			found, earliest, user = true, delay, binary.LittleEndian.Uint64(s)
		}
	}
	if !found {
		return errnoNotsup
	}
	c.Sleep(max(earliest, 0))
	var event [eventBytes]byte
	binary.LittleEndian.PutUint64(event[:], user)
	return first(c.put(c.u32(1), event[:]), c.putU32(c.u32(3), 1))
}
