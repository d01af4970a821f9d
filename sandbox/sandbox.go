package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Runtime names a language that the sandbox can run.
type Runtime string

const (
	Python     Runtime = "python"
	JavaScript Runtime = "javascript"
)

// Config configures a [Sandbox]. The zero value is usable.
type Config struct {
	// CacheDir keeps compiled engines between processes, so that a later start takes a fraction of a second. It must be
	// a directory that only this user can enter (mode 0700; created when missing): it holds native code, so whoever can
	// write to it controls the process. Empty means that nothing is kept on disk.
	CacheDir string

	// Workers is how many runs execute at the same time; more wait in order of arrival. Default: GOMAXPROCS.
	Workers int

	// QueueMax is how many runs may wait for a worker; one more gets [ErrBusy]. Default: 1024.
	QueueMax int
}

// Program is one piece of code and the circumstances it runs in.
type Program struct {
	Runtime Runtime

	// Name is the action's name. It takes part in finding the entry point and is the file name in tracebacks.
	Name string

	// Code is the source text, at most 1 MiB of UTF-8.
	Code string

	// Entrypoint is the function to call. When empty, the first of these that the code defines is called: a function
	// with the action's name, "generate", "main", the only function. Python code without any function is a script whose
	// variable "result" is the output; JavaScript code without any is the body of async function (input).
	Entrypoint string

	Limits Limits
	Grants Grants

	// Now is the recorded clock of this step: what time.time() and Date.now() report when the run starts. It advances by
	// a fixed amount per reading and by every sleep, never with real time. Zero means the Unix epoch.
	Now time.Time

	// Seed is the source of all randomness in the run.
	Seed [32]byte
}

// Grants are the host functions a run may use. The zero value grants nothing.
type Grants struct {
	// LLM answers the guest's openai module: the request is the JSON body of a chat.completions call, the reply the
	// JSON response. It is called on the goroutine of Run with a context that ends with the run. An error reaches the
	// guest as an exception with its text; keep secrets out of it. Nil means not granted: in Python "import openai"
	// raises, in JavaScript there is no global openai.
	LLM func(ctx context.Context, request json.RawMessage) (json.RawMessage, error)
}

// Outcome is what a run produced. Run returns it with errors too: output streams and usage up to that point.
type Outcome struct {
	// Output is the result as JSON text; nil when Run returned an error.
	Output json.RawMessage

	// Stdout and Stderr are what the code printed, as valid UTF-8, together at most Limits.LogBytes.
	Stdout, Stderr string

	// Truncated tells that the code printed more than Limits.LogBytes and the rest was dropped.
	Truncated bool

	Usage Usage

	// Notes are remarks for the author of the code, such as which language version ran it.
	Notes []string
}

// Usage is what a run consumed.
type Usage struct {
	Fuel            int64         // metered work, in units of the runtime; the same on every machine
	CPU             time.Duration // Fuel expressed as time of the reference machine, comparable with Limits.CPU
	Wall            time.Duration // real time of the run, host calls included, waiting for a worker not
	HostTime        time.Duration // part of Wall spent in granted host functions
	MemoryPeakBytes int64         // largest size of the linear memory, the engine itself included
	OutputBytes     int64
	StdoutBytes     int64 // bytes printed, also those that were dropped
	StderrBytes     int64
	HostCalls       int
}

var (
	// ErrBusy is returned by Run when Config.QueueMax runs are waiting already. Nothing was run; it may be repeated.
	ErrBusy = errors.New("sandbox: too many runs are waiting")

	// ErrClosed is returned by Run and Warm after Close.
	ErrClosed = errors.New("sandbox: closed")
)

// Sandbox runs programs. Create it with [New]; one per process is enough.
type Sandbox struct {
	config  Config
	workers *workers
}

const (
	queueDefault, queueMax = 1024, 1 << 20
	workersMax             = 1024
)

// New checks cfg and prepares a Sandbox. Engines are compiled when they are first needed, or by [Sandbox.Warm].
func New(cfg Config) (*Sandbox, error) {
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.QueueMax == 0 {
		cfg.QueueMax = queueDefault
	}
	if cfg.Workers < 1 || cfg.Workers > workersMax {
		return nil, &InvalidError{"workers", fmt.Sprintf("%d is not between 1 and %d", cfg.Workers, workersMax)}
	}
	if cfg.QueueMax < 1 || cfg.QueueMax > queueMax {
		return nil, &InvalidError{"queue_max", fmt.Sprintf("%d is not between 1 and %d", cfg.QueueMax, queueMax)}
	}
	return &Sandbox{config: cfg, workers: newWorkers(cfg.Workers, cfg.QueueMax)}, nil
}

// Warm blocks until the engines of the given runtimes (all when none is given) are ready to run code.
func (s *Sandbox) Warm(ctx context.Context, rt ...Runtime) error {
	return nil
}

// Run executes p with input, a JSON text (empty means {}), and waits for its result.
func (s *Sandbox) Run(ctx context.Context, p Program, input json.RawMessage) (Outcome, error) {
	if err := p.Limits.Validate(); err != nil {
		return Outcome{}, err
	}
	if err := s.workers.acquire(ctx); err != nil {
		return Outcome{}, err
	}
	defer s.workers.release()
	return Outcome{}, &InvalidError{"runtime", fmt.Sprintf("%q is not built in", p.Runtime)}
}

// Close stops accepting runs, waits for those in flight until ctx ends and frees the engines.
func (s *Sandbox) Close(ctx context.Context) error {
	return nil
}
