package executor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// localBytesMax and localFilesMax are the defaults of LocalBucket; a write
	// that would pass them fails with ErrFileFull.
	localBytesMax = 256 << 20
	localFilesMax = 10_000
	// tempPrefix begins the names of files being written. No key may use it.
	tempPrefix = ".oap-tmp-"
	// tempAge is the age at which such a file is taken for the leftover of a
	// crash and removed.
	tempAge = time.Hour
)

// A LocalBucket is a directory. Nothing outside of it is reachable, also not
// through symbolic links in it, and only regular files are opened.
type LocalBucket struct {
	Dir      string // created, for this user only, with the first write
	BytesMax int64  // of all files together; 0 means 256 MiB
	FilesMax int    // 0 means 10,000
}

var _ Bucket = LocalBucket{}

// agentDir returns the name of an agent's directory: readable, and unique
// also where file names ignore case.
func agentDir(agentID string) string {
	readable := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, agentID)
	sum := sha256.Sum256([]byte(agentID))
	return strings.Trim(readable[:min(len(readable), 60)], "-") + "-" + hex.EncodeToString(sum[:8])
}

func (b LocalBucket) open() (*os.Root, error) {
	root, err := os.OpenRoot(b.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrFileNotFound
	}
	return root, err
}

// Get implements Bucket.
func (b LocalBucket) Get(ctx context.Context, key string, most int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := b.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A pipe would block a plain open until somebody writes to it.
	f, err := root.OpenFile(filepath.FromSlash(key), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, localError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, ErrFileDenied
	case info.Size() > most:
		return nil, ErrFileTooLarge
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most { // it grew
		err = ErrFileTooLarge
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Put implements Bucket. The content is on disk when it returns.
func (b LocalBucket) Put(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return err
	}
	root, err := b.open()
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.FromSlash(key)
	if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return ErrFileDenied
	}
	if err := b.room(root, key, int64(len(data))); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return localError(err)
	}
	temp := filepath.Join(dir, tempPrefix+rand.Text())
	if err := writeSynced(root, temp, data); err != nil {
		_ = root.Remove(temp)
		return localError(err)
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return localError(err)
	}
	return syncDirs(root, dir)
}

func writeSynced(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, bytes.NewReader(data)); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDirs makes a rename in dir, and the folders that lead to it, survive a
// power failure.
func syncDirs(root *os.Root, dir string) error {
	for {
		d, err := root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// room fails when a write would pass the quota. It counts anew each time: the
// directory is the only truth, and holds few files. Writes at the same moment
// may pass the quota by what they add together.
func (b LocalBucket) room(root *os.Root, key string, size int64) error {
	bytesMax, filesMax := b.BytesMax, b.FilesMax
	if bytesMax == 0 {
		bytesMax = localBytesMax
	}
	if filesMax == 0 {
		filesMax = localFilesMax
	}
	total, files, parents := size, 1, strings.Count(key, "/")
	err := walk(root, func(name string, info fs.FileInfo) error {
		if strings.HasPrefix(path.Base(name), tempPrefix) && time.Since(info.ModTime()) > tempAge {
			return root.Remove(filepath.FromSlash(name))
		}
		if name != key {
			total += info.Size()
			files++
		}
		return nil
	}, &parents)
	switch {
	case err != nil:
		return err
	case total > bytesMax:
		return fmt.Errorf("%w: %d bytes of at most %d", ErrFileFull, total, bytesMax)
	case files+parents > filesMax:
		return fmt.Errorf("%w: %d files and folders of at most %d", ErrFileFull, files+parents, filesMax)
	}
	return nil
}

// walk visits every regular file, by its key, and counts the folders.
func walk(root *os.Root, visit func(key string, info fs.FileInfo) error, folders *int) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			*folders++
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		return visit(name, info)
	})
}

// Stat implements Bucket.
func (b LocalBucket) Stat(ctx context.Context, key string) (FileInfo, error) {
	if err := ctx.Err(); err != nil {
		return FileInfo{}, err
	}
	root, err := b.open()
	if err != nil {
		return FileInfo{}, err
	}
	defer root.Close()
	info, err := root.Stat(filepath.FromSlash(key))
	if err != nil {
		return FileInfo{}, localError(err)
	}
	if !info.Mode().IsRegular() {
		return FileInfo{}, ErrFileDenied
	}
	return FileInfo{Key: key, Bytes: info.Size(), Modified: info.ModTime()}, nil
}

// List implements Bucket.
func (b LocalBucket) List(ctx context.Context, prefix string, most int) ([]FileInfo, error) {
	root, err := b.open()
	if errors.Is(err, ErrFileNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var list []FileInfo
	err = walk(root, func(name string, info fs.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(path.Base(name), tempPrefix) {
			return nil
		}
		list = append(list, FileInfo{Key: name, Bytes: info.Size(), Modified: info.ModTime()})
		return nil
	}, new(int))
	if err != nil {
		return nil, err
	}
	sortFiles(list)
	return list[:min(len(list), most)], nil
}

// Delete implements Bucket.
func (b LocalBucket) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := b.open()
	if errors.Is(err, ErrFileNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.FromSlash(key)
	info, err := root.Lstat(name)
	if err == nil && info.IsDir() {
		return ErrFileDenied
	}
	if err == nil {
		err = root.Remove(name)
	}
	if err = localError(err); errors.Is(err, ErrFileNotFound) {
		return nil
	}
	return err
}

// localError turns the ways in which a path can be wrong into a Bucket's
// errors: what leaves the directory is as good as absent.
func localError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return ErrFileNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFileFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, fs.ErrExist):
		return ErrFileDenied
	}
	if _, system := errors.AsType[syscall.Errno](err); !system {
		return ErrFileDenied // os.Root itself refused: the path leaves the directory
	}
	return err
}
