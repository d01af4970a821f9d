package sandbox

import (
	"fmt"
	"time"
)

// Limits bound one run. A zero field means its default; see [Limits.WithDefaults].
type Limits struct {
	// CPU bounds the work of the user's code, metered as fuel: the same program stops at the same instruction on every
	// machine. The duration is that of the reference machine. The engine's own start-up does not count. Default 200 ms,
	// from 1 ms to 10 min.
	CPU time.Duration

	// Wall bounds real time without host calls; it is a backstop for slow machines. Default: five times CPU but at
	// least 2 s. At most 1 h.
	Wall time.Duration

	// HostTime bounds the real time spent in granted host functions, together. Default 60 s, at most 1 h.
	HostTime time.Duration

	// MemoryBytes bounds the linear memory: code, data, heap and stack of the program and of the engine that runs it
	// (CPython takes about 21 MiB of it, QuickJS about 6 MiB). Default 64 MiB, at most 2 GiB.
	MemoryBytes int64

	// StackBytes bounds the native stack that nested calls of the engine take. Default 4 MiB, from 256 KiB to 32 MiB.
	StackBytes int64

	// OutputBytes bounds the JSON result. Default 1 MiB, at most 64 MiB.
	OutputBytes int64

	// LogBytes bounds stdout and stderr together; what is printed beyond it is dropped and the outcome marked
	// truncated. Default 64 KiB, at most 16 MiB.
	LogBytes int64

	// HostCalls bounds the number of calls of granted host functions. Default 16, at most 10,000.
	HostCalls int
}

const (
	cpuDefault, cpuMin, cpuMax          = 200 * time.Millisecond, time.Millisecond, 10 * time.Minute
	wallFactor, wallFloor, wallMax      = 5, 2 * time.Second, time.Hour
	hostTimeDefault, hostTimeMax        = time.Minute, time.Hour
	memoryDefault, memoryMin, memoryMax = 64 << 20, 1 << 20, 2 << 30
	stackDefault, stackMin, stackMax    = 4 << 20, 256 << 10, 32 << 20
	outputDefault, outputMax            = 1 << 20, 64 << 20
	logDefault, logMax                  = 64 << 10, 16 << 20
	hostCallsDefault, hostCallsMax      = 16, 10_000
	codeBytesMax, inputBytesMax         = 1 << 20, 64 << 20
	nameBytesMax                        = 256
)

// WithDefaults returns l with every zero field set to its default.
func (l Limits) WithDefaults() Limits {
	setDefault(&l.CPU, cpuDefault)
	setDefault(&l.Wall, min(max(wallFactor*l.CPU, wallFloor), wallMax))
	setDefault(&l.HostTime, hostTimeDefault)
	setDefault(&l.MemoryBytes, memoryDefault)
	setDefault(&l.StackBytes, stackDefault)
	setDefault(&l.OutputBytes, outputDefault)
	setDefault(&l.LogBytes, logDefault)
	setDefault(&l.HostCalls, hostCallsDefault)
	return l
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports the first field outside its bounds as an [*InvalidError]. Zero fields are valid.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	for _, f := range []struct {
		name        string
		value       int64
		least, most int64
		unit        string
	}{
		{"limits.cpu", int64(l.CPU), int64(cpuMin), int64(cpuMax), "duration"},
		{"limits.wall", int64(l.Wall), int64(cpuMin), int64(wallMax), "duration"},
		{"limits.host_time", int64(l.HostTime), int64(cpuMin), int64(hostTimeMax), "duration"},
		{"limits.memory_bytes", l.MemoryBytes, memoryMin, memoryMax, "bytes"},
		{"limits.stack_bytes", l.StackBytes, stackMin, stackMax, "bytes"},
		{"limits.output_bytes", l.OutputBytes, 1, outputMax, "bytes"},
		{"limits.log_bytes", l.LogBytes, 1, logMax, "bytes"},
		{"limits.host_calls", int64(l.HostCalls), 1, hostCallsMax, "calls"},
	} {
		if f.value >= f.least && f.value <= f.most {
			continue
		}
		if f.unit == "duration" {
			return &InvalidError{f.name, fmt.Sprintf("%v is not between %v and %v",
				time.Duration(f.value), time.Duration(f.least), time.Duration(f.most))}
		}
		return &InvalidError{f.name, fmt.Sprintf("%d %s is not between %d and %d", f.value, f.unit, f.least, f.most)}
	}
	return nil
}
