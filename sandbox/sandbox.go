package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
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
	engines map[Runtime]*slot

	cacheOnce sync.Once
	cache     wazero.CompilationCache // nil without a CacheDir
	cacheErr  error

	mu     sync.Mutex
	closed bool           // no run or build may start
	freed  bool           // the engines are gone
	work   sync.WaitGroup // runs and builds; added to under mu
}

// slot is the place of one engine. Building starts with the first use and happens once.
type slot struct {
	language language
	once     sync.Once
	done     chan struct{} // closed when engine and err are final
	engine   *engine
	err      error
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
	return &Sandbox{
		config:  cfg,
		workers: newWorkers(cfg.Workers, cfg.QueueMax),
		engines: map[Runtime]*slot{
			Python:     {language: cpython{}, done: make(chan struct{})},
			JavaScript: {language: &quickjs{}, done: make(chan struct{})},
		},
	}, nil
}

// Warm blocks until the engines of the given runtimes (all when none is given) are ready to run code.
func (s *Sandbox) Warm(ctx context.Context, rt ...Runtime) error {
	if len(rt) == 0 {
		rt = []Runtime{Python, JavaScript}
	}
	for _, r := range rt {
		if err := s.start(r); err != nil {
			return err
		}
	}
	for _, r := range rt {
		if _, err := s.engine(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// start makes sure that the engine of rt is being built.
func (s *Sandbox) start(rt Runtime) error {
	slot := s.engines[rt]
	if slot == nil {
		return &InvalidError{"runtime", fmt.Sprintf("%q is unknown; known are %q and %q", rt, Python, JavaScript)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	slot.once.Do(func() {
		s.work.Go(func() {
			defer close(slot.done)
			if slot.engine, slot.err = s.build(slot.language); slot.err != nil {
				slot.err = fmt.Errorf("sandbox: prepare %s: %w", rt, slot.err)
			}
		})
	})
	return nil
}

func (s *Sandbox) build(l language) (*engine, error) {
	s.cacheOnce.Do(func() { s.cache, s.cacheErr = openCache(s.config.CacheDir) })
	if s.cacheErr != nil {
		return nil, s.cacheErr
	}
	return buildEngine(context.Background(), l, s.cache, s.config.Workers)
}

// engine waits until the engine of rt is ready.
func (s *Sandbox) engine(ctx context.Context, rt Runtime) (*engine, error) {
	if err := s.start(rt); err != nil {
		return nil, err
	}
	slot := s.engines[rt]
	select {
	case <-slot.done:
		return slot.engine, slot.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin counts a run, which must be ended with s.work.Done.
func (s *Sandbox) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.work.Add(1)
	return nil
}

// Close stops accepting runs, waits for those in flight until ctx ends and frees the engines. When ctx ends first, the
// engines are left alone and Close may be called again.
func (s *Sandbox) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() { // ends with the last run, whose limits bound it
		s.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freed {
		return nil
	}
	s.freed = true
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, slot := range s.engines {
		if slot.engine != nil {
			errs = append(errs, slot.engine.close(ctx))
		}
	}
	if s.cache != nil {
		errs = append(errs, s.cache.Close(ctx))
	}
	return errors.Join(errs...)
}
