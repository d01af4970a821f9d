package executor

import (
	"context"
	"errors"
	"time"
)

// A Bucket stores files under keys such as "reports/today.txt". Keys are
// clean: relative, with forward slashes, without "." and "..". Every method
// may be repeated with the same effect, honours ctx and is safe for concurrent
// use.
//
// Errors are ErrFileNotFound, ErrFileDenied, ErrFileTooLarge or ErrFileFull
// where those apply; any other means that the store cannot be used now.
type Bucket interface {
	// Get returns a file of at most most bytes.
	Get(ctx context.Context, key string, most int64) ([]byte, error)
	// Put stores a file in place of what was there. Readers see the old or the
	// new content and nothing between.
	Put(ctx context.Context, key string, data []byte) error
	// Stat describes a file without reading it.
	Stat(ctx context.Context, key string) (FileInfo, error)
	// List describes the files whose keys begin with prefix, in order of key,
	// at most most of them.
	List(ctx context.Context, prefix string, most int) ([]FileInfo, error)
	// Delete removes a file. One that does not exist is no error.
	Delete(ctx context.Context, key string) error
}

// FileInfo describes a stored file.
type FileInfo struct {
	Key      string
	Bytes    int64
	Modified time.Time
}

// The errors of a Bucket.
var (
	ErrFileNotFound = errors.New("no such file")
	ErrFileDenied   = errors.New("access denied")
	ErrFileTooLarge = errors.New("file too large")
	ErrFileFull     = errors.New("storage quota reached")
)
