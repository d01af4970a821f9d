package wasi

import (
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero/api"
)

// openMax is how many files a process may have open; EMFILE beyond.
const openMax = 64

// Files is the table of files that one process has opened. The zero value has none.
type Files struct {
	open map[uint32]*openFile
}

type openFile struct {
	node   *node
	offset int64
}

// add opens n under the lowest free number above the fixed ones.
func (t *Files) add(n *node) (uint32, bool) {
	if len(t.open) >= openMax {
		return 0, false
	}
	if t.open == nil {
		t.open = map[uint32]*openFile{}
	}
	fd := uint32(fdRoot + 1)
	for t.open[fd] != nil {
		fd++
	}
	t.open[fd] = &openFile{node: n}
	return fd, true
}

// fileSystem serves the calls about files from a read-only tree.
type fileSystem struct {
	root  *Tree
	mount string
}

func (fs *fileSystem) functions() []function {
	return []function{
		{"fd_advise", []api.ValueType{i32, i64, i64, i32}, succeed},
		{"fd_close", []api.ValueType{i32}, fdClose},
		{"fd_datasync", []api.ValueType{i32}, succeed},
		{"fd_sync", []api.ValueType{i32}, succeed},
		{"fd_fdstat_get", []api.ValueType{i32, i32}, fs.fdStat},
		{"fd_fdstat_set_flags", []api.ValueType{i32, i32}, succeed},
		{"fd_filestat_get", []api.ValueType{i32, i32}, fs.fdFileStat},
		{"fd_read", []api.ValueType{i32, i32, i32, i32}, fdRead},
		{"fd_pread", []api.ValueType{i32, i32, i32, i64, i32}, fdReadAt},
		{"fd_write", []api.ValueType{i32, i32, i32, i32}, fdWrite},
		{"fd_seek", []api.ValueType{i32, i64, i32, i32}, fdSeek},
		{"fd_tell", []api.ValueType{i32, i32}, fdTell},
		{"fd_readdir", []api.ValueType{i32, i32, i32, i64, i32}, fs.readDir},
		{"fd_prestat_get", []api.ValueType{i32, i32}, fs.prestat},
		{"fd_prestat_dir_name", []api.ValueType{i32, i32, i32}, fs.prestatName},
		{"path_open", []api.ValueType{i32, i32, i32, i32, i32, i64, i64, i32, i32}, fs.open},
		{"path_filestat_get", []api.ValueType{i32, i32, i32, i32, i32}, fs.pathStat},
		{"path_readlink", []api.ValueType{i32, i32, i32, i32, i32, i32}, fs.readLink},
	}
}

// node returns what fd stands for: the root, or an open file or directory.
func (fs *fileSystem) node(c *call, fd uint32) *node {
	if fd == fdRoot {
		return &fs.root.root
	}
	if f := c.Files().open[fd]; f != nil {
		return f.node
	}
	return nil
}

// resolve finds the node that a path argument names, relative to the directory fd.
func (fs *fileSystem) resolve(c *call, fd, at, length uint32) (*node, errno) {
	base := fs.node(c, fd)
	if base == nil {
		return nil, errnoBadf
	}
	if !base.directory() {
		return nil, errnoNotdir
	}
	if length > pathMax {
		return nil, errnoNametoolong
	}
	name, ok := c.mem.Read(at, length)
	if !ok {
		return nil, errnoFault
	}
	n := lookup(base, string(name))
	if n == nil {
		return nil, errnoNoent
	}
	return n, errnoSuccess
}

// fdClose keeps the fixed numbers open: closing a stream must not let another file take its place.
func fdClose(c *call) errno {
	fd := c.u32(0)
	if fd <= fdRoot {
		return errnoSuccess
	}
	if c.Files().open[fd] == nil {
		return errnoBadf
	}
	delete(c.Files().open, fd)
	return errnoSuccess
}

const (
	typeCharacterDevice, typeDirectory, typeRegular = 2, 3, 4

	statBytes, fdStatBytes = 64, 24

	// allRights are the rights that fd_fdstat_get reports; what is really allowed is decided by each call.
	allRights = 1<<29 - 1

	openCreate, openDirectory, openTruncate = 1, 2, 8
	rightWrite                              = 1 << 6
)

func fileType(n *node) byte {
	if n.directory() {
		return typeDirectory
	}
	return typeRegular
}

func (fs *fileSystem) fdStat(c *call) errno {
	var b [fdStatBytes]byte
	if fd := c.u32(0); fd <= fdStderr {
		b[0] = typeCharacterDevice
	} else if n := fs.node(c, fd); n != nil {
		b[0] = fileType(n)
	} else {
		return errnoBadf
	}
	binary.LittleEndian.PutUint64(b[8:], allRights)
	binary.LittleEndian.PutUint64(b[16:], allRights)
	return c.put(c.u32(1), b[:])
}

// putStat writes a file status whose times are all zero.
func putStat(c *call, at uint32, n *node) errno {
	var b [statBytes]byte
	b[16], b[24] = typeCharacterDevice, 1
	if n != nil {
		binary.LittleEndian.PutUint64(b[8:], n.inode)
		b[16] = fileType(n)
		binary.LittleEndian.PutUint64(b[32:], uint64(n.size))
	}
	return c.put(at, b[:])
}

func (fs *fileSystem) fdFileStat(c *call) errno {
	fd := c.u32(0)
	if fd <= fdStderr {
		return putStat(c, c.u32(1), nil)
	}
	n := fs.node(c, fd)
	if n == nil {
		return errnoBadf
	}
	return putStat(c, c.u32(1), n)
}

func (fs *fileSystem) pathStat(c *call) errno {
	n, err := fs.resolve(c, c.u32(0), c.u32(2), c.u32(3))
	if err != errnoSuccess {
		return err
	}
	return putStat(c, c.u32(4), n)
}

// readLink finds no link: the tree has none.
func (fs *fileSystem) readLink(c *call) errno {
	if _, err := fs.resolve(c, c.u32(0), c.u32(1), c.u32(2)); err != errnoSuccess {
		return err
	}
	return errnoInval
}

func (fs *fileSystem) open(c *call) errno {
	flags, rights := c.u32(4), c.u64(5)
	n, err := fs.resolve(c, c.u32(0), c.u32(2), c.u32(3))
	switch {
	case flags&(openCreate|openTruncate) != 0 && (err == errnoSuccess || err == errnoNoent):
		return errnoRofs
	case err != errnoSuccess:
		return err
	case flags&openDirectory != 0 && !n.directory():
		return errnoNotdir
	case !n.directory() && rights&rightWrite != 0:
		return errnoRofs
	}
	fd, ok := c.Files().add(n)
	if !ok {
		return errnoMfile
	}
	return c.putU32(c.u32(8), fd)
}

// vectors calls use with each buffer of an iovec array, until use says that it is enough.
func vectors(c *call, at, count uint32, use func(buffer []byte) bool) errno {
	if count > vectorsMax {
		return errnoInval
	}
	array, ok := c.mem.Read(at, count*8)
	if !ok {
		return errnoFault
	}
	for ; len(array) > 0; array = array[8:] {
		b, ok := c.mem.Read(binary.LittleEndian.Uint32(array), binary.LittleEndian.Uint32(array[4:]))
		if !ok {
			return errnoFault
		}
		c.Charge(int64(len(b)) / bytesPerUnit)
		if !use(b) {
			break
		}
	}
	return errnoSuccess
}

// read copies from a file into an iovec array and tells how much.
func read(c *call, n *node, offset int64, at, count uint32) (int64, errno) {
	if n.directory() {
		return 0, errnoIsdir
	}
	content, err := n.content()
	if err != nil {
		panic(err) // a damaged embedded archive is a defect of the binary
	}
	source := content[min(offset, int64(len(content))):]
	total := int64(0)
	result := vectors(c, at, count, func(b []byte) bool {
		k := copy(b, source)
		source = source[k:]
		total += int64(k)
		return len(source) > 0
	})
	return total, result
}

func fdRead(c *call) errno {
	if c.u32(0) == fdStdin {
		return c.putU32(c.u32(3), 0) // always at its end
	}
	f := c.Files().open[c.u32(0)]
	if f == nil {
		return errnoBadf
	}
	n, err := read(c, f.node, f.offset, c.u32(1), c.u32(2))
	if err != errnoSuccess {
		return err
	}
	f.offset += n
	return c.putU32(c.u32(3), uint32(n))
}

func fdReadAt(c *call) errno {
	f := c.Files().open[c.u32(0)]
	if f == nil {
		return errnoBadf
	}
	n, err := read(c, f.node, int64(min(c.u64(3), math.MaxInt64)), c.u32(1), c.u32(2))
	if err != errnoSuccess {
		return err
	}
	return c.putU32(c.u32(4), uint32(n))
}

func fdWrite(c *call) errno {
	fd := c.u32(0)
	if fd != fdStdout && fd != fdStderr {
		return errnoBadf
	}
	total := uint32(0)
	err := vectors(c, c.u32(1), c.u32(2), func(b []byte) bool {
		c.Write(fd, b)
		total += uint32(len(b))
		return true
	})
	if err != errnoSuccess {
		return err
	}
	return c.putU32(c.u32(3), total)
}

func fdSeek(c *call) errno {
	if c.u32(0) <= fdStderr {
		return errnoSpipe
	}
	f := c.Files().open[c.u32(0)]
	if f == nil {
		return errnoBadf
	}
	var base int64
	switch c.u32(2) {
	case 0:
	case 1:
		base = f.offset
	case 2:
		base = f.node.size
	default:
		return errnoInval
	}
	offset := base + int64(c.u64(1))
	if offset < 0 {
		return errnoInval
	}
	f.offset = offset
	return c.putU64(c.u32(3), uint64(offset))
}

func fdTell(c *call) errno {
	f := c.Files().open[c.u32(0)]
	if f == nil {
		return errnoBadf
	}
	return c.putU64(c.u32(1), uint64(f.offset))
}

const entryBytes = 24

// readDir lists a directory in sorted order, starting at the cookie, until the buffer is full.
func (fs *fileSystem) readDir(c *call) errno {
	n := fs.node(c, c.u32(0))
	if n == nil {
		return errnoBadf
	}
	if !n.directory() {
		return errnoNotdir
	}
	buffer, ok := c.mem.Read(c.u32(1), c.u32(2))
	if !ok {
		return errnoFault
	}
	used := 0
	for i := c.u64(3); i < uint64(len(n.names)) && used < len(buffer); i++ {
		name := n.names[i]
		child := n.children[name]
		var entry [entryBytes]byte
		binary.LittleEndian.PutUint64(entry[:], i+1)
		binary.LittleEndian.PutUint64(entry[8:], child.inode)
		binary.LittleEndian.PutUint32(entry[16:], uint32(len(name)))
		entry[20] = fileType(child)
		used += copy(buffer[used:], entry[:])
		used += copy(buffer[used:], name)
	}
	c.Charge(int64(used) / bytesPerUnit)
	return c.putU32(c.u32(4), uint32(used))
}

func (fs *fileSystem) prestat(c *call) errno {
	if c.u32(0) != fdRoot {
		return errnoBadf
	}
	return first(c.putU32(c.u32(1), 0), c.putU32(c.u32(1)+4, uint32(len(fs.mount))))
}

func (fs *fileSystem) prestatName(c *call) errno {
	if c.u32(0) != fdRoot {
		return errnoBadf
	}
	if int(c.u32(2)) < len(fs.mount) {
		return errnoNametoolong
	}
	return c.put(c.u32(1), []byte(fs.mount))
}
