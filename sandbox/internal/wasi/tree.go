package wasi

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
)

// Tree is a read-only directory tree. Build it with Add before guests see it; after that it is safe for concurrent use.
type Tree struct {
	root  node
	nodes uint64
}

// node is a file, or a directory when children is not nil.
type node struct {
	inode    uint64
	children map[string]*node
	names    []string // of the children, sorted
	size     int64
	content  func() ([]byte, error)
}

func (n *node) directory() bool { return n.children != nil }

// NewTree returns an empty tree.
func NewTree() *Tree {
	return &Tree{root: node{inode: 1, children: map[string]*node{}}, nodes: 1}
}

// Add puts every regular file of f into the tree; a file that is there already is an error. Contents are read when a
// guest first opens the file and kept.
func (t *Tree) Add(f fs.FS) error {
	return fs.WalkDir(f, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return t.addFile(name, info.Size(), sync.OnceValues(func() ([]byte, error) { return fs.ReadFile(f, name) }))
	})
}

func (t *Tree) addFile(name string, size int64, content func() ([]byte, error)) error {
	at := &t.root
	directory, base := path.Split(name)
	for part := range strings.SplitSeq(strings.Trim(directory, "/"), "/") {
		if part == "" {
			continue
		}
		next := at.children[part]
		if next == nil {
			next = t.newNode()
			next.children = map[string]*node{}
			at.add(part, next)
		}
		if !next.directory() {
			return fmt.Errorf("add %s to the guest's files: %s is a file", name, part)
		}
		at = next
	}
	if at.children[base] != nil {
		return fmt.Errorf("add %s to the guest's files: it exists", name)
	}
	file := t.newNode()
	file.size, file.content = size, content
	at.add(base, file)
	return nil
}

func (t *Tree) newNode() *node {
	t.nodes++
	return &node{inode: t.nodes}
}

func (n *node) add(name string, child *node) {
	n.children[name] = child
	i := sort.SearchStrings(n.names, name)
	n.names = append(n.names, "")
	copy(n.names[i+1:], n.names[i:])
	n.names[i] = name
}

// lookup follows a slash-separated path from base. ".." stays inside base, so that no path leaves the tree.
func lookup(base *node, name string) *node {
	at := base
	for part := range strings.SplitSeq(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		at = at.children[part] // nil for files, which have no children
		if at == nil {
			return nil
		}
	}
	return at
}
