package wasi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"testing/fstest"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// recorder is a process that remembers what the host module asked of it.
type recorder struct {
	files   Files
	charged int64
	slept   int64
	clock   int64
	out     [3]bytes.Buffer
}

var errCharged = errors.New("charged too much")

func (p *recorder) Charge(units int64) {
	if p.charged += units; p.charged > 1<<20 {
		panic(errCharged)
	}
}
func (p *recorder) Realtime() int64           { p.clock++; return p.clock }
func (p *recorder) Monotonic() int64          { return p.Realtime() }
func (p *recorder) CPU() int64                { return 7 }
func (p *recorder) Sleep(ns int64)            { p.slept += ns }
func (p *recorder) Random(b []byte)           { copy(b, bytes.Repeat([]byte{4}, len(b))) }
func (p *recorder) Write(fd uint32, b []byte) { p.out[fd].Write(b) }
func (p *recorder) Exit(uint32)               { panic("exit") }
func (p *recorder) Files() *Files             { return &p.files }

// memoryModule defines and exports one page of memory.
var memoryModule = []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01\x07\x0a\x01\x06memory\x02\x00")

type guest struct {
	t      testing.TB
	memory api.Memory
	calls  map[string]function
	*recorder
}

func newGuest(t testing.TB) *guest {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { r.Close(ctx) })
	m, err := r.Instantiate(ctx, memoryModule)
	if err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	if err := tree.Add(fstest.MapFS{
		"a.txt": {Data: []byte("hello")}, "dir/b.txt": {Data: []byte("b")}, "dir/sub/c.txt": {Data: []byte("c")},
	}); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, memory: m.Memory(), calls: map[string]function{}, recorder: &recorder{}}
	fs := &fileSystem{root: tree, mount: "/lib"}
	for _, group := range [][]function{processFunctions, fs.functions(), refusedFunctions} {
		for _, f := range group {
			g.calls[f.name] = f
		}
	}
	return g
}

func (g *guest) call(name string, args ...uint64) errno {
	g.t.Helper()
	f, ok := g.calls[name]
	if !ok || len(args) != len(f.params) {
		g.t.Fatalf("%s with %d arguments does not exist", name, len(args))
	}
	return f.handle(&call{Process: g.recorder, mem: g.memory, args: args})
}

// text puts s at address 1000 and returns address and length.
func (g *guest) text(s string) (at, n uint64) {
	g.memory.WriteString(1000, s)
	return 1000, uint64(len(s))
}

func (g *guest) u32(at uint32) uint32 {
	v, _ := g.memory.ReadUint32Le(at)
	return v
}

// open opens a path for reading and returns the file's number, or the error.
func (g *guest) open(path string) (uint64, errno) {
	at, n := g.text(path)
	e := g.call("path_open", fdRoot, 0, at, n, 0, 0, 0, 0, 2000)
	return uint64(g.u32(2000)), e
}

// read reads up to 100 bytes.
func (g *guest) read(fd uint64) string {
	g.t.Helper()
	g.memory.WriteUint32Le(3000, 4000)
	g.memory.WriteUint32Le(3004, 100)
	if e := g.call("fd_read", fd, 3000, 1, 3100); e != 0 {
		g.t.Fatalf("fd_read = %d", e)
	}
	b, _ := g.memory.Read(4000, g.u32(3100))
	return string(b)
}

func TestFilesCanOnlyBeRead(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	for path, want := range map[string]string{
		"a.txt": "hello", "/a.txt": "hello", "./dir/../a.txt": "hello", "../../a.txt": "hello", "dir/sub/c.txt": "c",
	} {
		fd, e := g.open(path)
		if e != 0 || g.read(fd) != want || g.read(fd) != "" {
			t.Errorf("open %s = %d, want content %q", path, e, want)
		}
		if e := g.call("fd_close", fd); e != 0 {
			t.Errorf("close = %d", e)
		}
	}
	for path, want := range map[string]errno{
		"missing": errnoNoent, "a.txt/x": errnoNoent, "/etc/passwd": errnoNoent, "a.txt\x00": errnoNoent, "": 0,
		string(bytes.Repeat([]byte("x"), pathMax+1)): errnoNametoolong,
	} {
		if _, e := g.open(path); e != want {
			t.Errorf("open %.20q = %d, want %d", path, e, want)
		}
	}
	at, n := g.text("a.txt")
	for flags, want := range map[uint64]errno{openCreate: errnoRofs, openTruncate: errnoRofs, openDirectory: errnoNotdir} {
		if e := g.call("path_open", fdRoot, 0, at, n, flags, 0, 0, 0, 2000); e != want {
			t.Errorf("open with flags %d = %d, want %d", flags, e, want)
		}
	}
	if e := g.call("path_open", fdRoot, 0, at, n, 0, rightWrite, 0, 0, 2000); e != errnoRofs {
		t.Errorf("open for writing = %d, want %d", e, errnoRofs)
	}
	for _, name := range []string{"path_create_directory", "path_unlink_file", "path_remove_directory"} {
		if e := g.call(name, fdRoot, at, n); e != errnoRofs {
			t.Errorf("%s = %d, want %d", name, e, errnoRofs)
		}
	}
}

func TestSeekAndTell(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	fd, _ := g.open("a.txt")
	for _, tt := range []struct {
		offset int64
		whence uint64
		want   errno
		rest   string
	}{{1, 0, 0, "ello"}, {-2, 2, 0, "lo"}, {-1, 1, 0, "o"}, {-9, 1, errnoInval, ""}, {0, 7, errnoInval, ""}, {1 << 40, 0, 0, ""}} {
		if e := g.call("fd_seek", fd, uint64(tt.offset), tt.whence, 2000); e != tt.want {
			t.Errorf("seek %d from %d = %d, want %d", tt.offset, tt.whence, e, tt.want)
		} else if e == 0 && g.read(fd) != tt.rest {
			t.Errorf("after seek %d from %d: other content than %q", tt.offset, tt.whence, tt.rest)
		}
	}
	if e := g.call("fd_seek", fdStdout, 0, 0, 2000); e != errnoSpipe {
		t.Errorf("seek in a stream = %d, want %d", e, errnoSpipe)
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	for range openMax {
		if _, e := g.open("a.txt"); e != 0 {
			t.Fatalf("open = %d", e)
		}
	}
	if _, e := g.open("a.txt"); e != errnoMfile {
		t.Errorf("one more = %d, want %d", e, errnoMfile)
	}
}

func TestDirectoriesAreSorted(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	names := []string{}
	for cookie := uint64(0); ; {
		// A buffer for one entry and a bit: the caller continues from the last complete one.
		if e := g.call("fd_readdir", fdRoot, 5000, entryBytes+6, cookie, 2000); e != 0 {
			t.Fatalf("fd_readdir = %d", e)
		}
		used := g.u32(2000)
		if used == 0 {
			break
		}
		b, _ := g.memory.Read(5000, used)
		cookie = binary.LittleEndian.Uint64(b)
		names = append(names, string(b[entryBytes:entryBytes+binary.LittleEndian.Uint32(b[16:])]))
	}
	if len(names) != 2 || names[0] != "a.txt" || names[1] != "dir" {
		t.Errorf("names = %v", names)
	}
}

func TestSleepMovesTheClockToTheEarliest(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	subscribe := func(i int, tag byte, timeout uint64) {
		b := make([]byte, subscriptionBytes)
		binary.LittleEndian.PutUint64(b, uint64(100+i))
		b[8] = tag
		binary.LittleEndian.PutUint64(b[24:], timeout)
		g.memory.Write(uint32(1000+i*subscriptionBytes), b)
	}
	subscribe(0, subscribeClock, 5000)
	subscribe(1, 1, 0) // a file: never ready
	subscribe(2, subscribeClock, 3000)
	if e := g.call("poll_oneoff", 1000, 2000, 3, 3000); e != 0 || g.slept != 3000 || g.u32(3000) != 1 || g.u32(2000) != 102 {
		t.Errorf("poll = %d after %d ns with event %d, want 3000 ns and event 102", e, g.slept, g.u32(2000))
	}
	for n, want := range map[uint64]errno{0: errnoInval, subscriptionsMax + 1: errnoInval} {
		if e := g.call("poll_oneoff", 1000, 2000, n, 3000); e != want {
			t.Errorf("poll of %d = %d, want %d", n, e, want)
		}
	}
	g.slept = 0
	subscribe(0, subscribeClock, 1<<63)
	if e := g.call("poll_oneoff", 1000, 2000, 1, 3000); e != 0 || g.slept != math.MaxInt64 {
		t.Errorf("endless sleep = %d after %d", e, g.slept)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	at, n := g.text("out")
	g.memory.WriteUint32Le(3000, uint32(at))
	g.memory.WriteUint32Le(3004, uint32(n))
	if e := g.call("fd_write", fdStderr, 3000, 1, 3100); e != 0 || g.out[2].String() != "out" || g.u32(3100) != 3 {
		t.Errorf("write = %d, %q", e, g.out[2].String())
	}
	for fd, want := range map[uint64]errno{fdStdin: errnoBadf, fdRoot: errnoBadf, 9: errnoBadf} {
		if e := g.call("fd_write", fd, 3000, 1, 3100); e != want {
			t.Errorf("write to %d = %d, want %d", fd, e, want)
		}
	}
	if e := g.call("fd_write", fdStdout, 3000, vectorsMax+1, 3100); e != errnoInval {
		t.Errorf("too many buffers = %d, want %d", e, errnoInval)
	}
}

// FuzzCalls covers SB9: no arguments make a call panic, and what a call costs is charged.
func FuzzCalls(f *testing.F) {
	for i := range byte(50) {
		f.Add(i, []byte{3, 0xff, 8, 200, 0, 0, 0, 0, 7})
	}
	names := []string{}
	for _, group := range [][]function{processFunctions, (&fileSystem{}).functions(), refusedFunctions} {
		for _, fn := range group {
			names = append(names, fn.name)
		}
	}
	g := newGuest(f)
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		g.t, g.recorder = t, &recorder{}
		if fd, e := g.open("dir"); e != 0 || fd != fdRoot+1 {
			t.Fatalf("open = %d, %d", fd, e)
		}
		fn := g.calls[names[int(which)%len(names)]]
		args := make([]uint64, max(len(fn.params), 1))
		for i := range args {
			if i < len(raw) {
				// Small numbers, addresses near both ends of memory and extreme values are all likely.
				args[i] = uint64(int64(int8(raw[i]))) << (raw[i] % 5 * 8)
			}
		}
		defer func() {
			if r := recover(); r != nil && r != errCharged {
				t.Fatalf("%s%v panicked: %v", fn.name, args, r)
			}
		}()
		fn.handle(&call{Process: g.recorder, mem: g.memory, args: args})
	})
}
