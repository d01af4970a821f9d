package executor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// fileBytesMax is the default of FilesConfig.MaxBytes.
	fileBytesMax = 1 << 20
	// pathMax, segmentMax and segmentsMax bound a path, in bytes and parts; a
	// longer one is refused.
	pathMax, segmentMax, segmentsMax = 1024, 200, 32
)

// FilesConfig configures Files.
type FilesConfig struct {
	// Dir holds one directory for every agent, which relative paths lead to.
	// Empty means that relative paths are refused.
	Dir string
	// AgentBytesMax and AgentFilesMax bound what one agent's directory holds.
	// Default 256 MiB and 10,000 files.
	AgentBytesMax int64
	AgentFilesMax int
	// Buckets are what paths of the form s3://name/key lead to, by name. Any
	// other name is refused.
	Buckets map[string]Mount
	// MaxBytes bounds one file, unless the action says otherwise. Default
	// 1 MiB.
	MaxBytes int64
}

// A Mount is a shared bucket and who may use it.
type Mount struct {
	Bucket   Bucket
	Tenants  []string // nil means all
	ReadOnly bool
}

// Files performs read_file and write_file actions (S2-07, S2-08).
//
// The output of read_file is the content: a string, or the document itself
// with encoding json. The output of write_file is an object with the path, the
// bytes and their sha256.
type Files struct {
	cfg FilesConfig
}

var _ Executor = (*Files)(nil)

// NewFiles returns a Files. It opens nothing.
func NewFiles(cfg FilesConfig) *Files {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = fileBytesMax
	}
	return &Files{cfg: cfg}
}

// Execute reads or writes one file. Both may be repeated.
func (x *Files) Execute(ctx context.Context, c Call, _ func(Progress)) (Result, error) {
	if err := context.Cause(ctx); err != nil {
		return Result{}, fmt.Errorf("call %s: %w", c.ID, err)
	}
	args, err := parseArgs(c.Args)
	if err != nil {
		return Result{}, err
	}
	name, err := filePath(c.Action.File.Path, args)
	if err != nil {
		return Result{}, err
	}
	bucket, key, err := x.locate(c, name)
	if err != nil {
		return Result{}, err
	}
	most := x.cfg.MaxBytes
	if m := c.Action.File.MaxBytes; m > 0 {
		most = m
	}
	if c.Action.Type == manifest.WriteFile {
		return write(ctx, c, bucket, key, name, most, args)
	}
	data, err := bucket.Get(ctx, key, most)
	if err != nil {
		return Result{}, fileFault(ctx, c, name, most, err)
	}
	output, err := decodeFile(c.Action.File.Encoding, data, name)
	return Result{Output: output, Usage: Usage{Attempts: 1, BytesIn: int64(len(data))}}, err
}

// filePath returns the path of a call: the action's template, or the argument
// path.
func filePath(template string, args []member) (string, error) {
	f := filler{args: args}
	if template == "" {
		return f.scalar("path")
	}
	return f.fill(template, func(s string) (string, string) {
		if s == "" || dots(s) || strings.ContainsAny(s, `/\`) {
			return "", "the argument is one part of a file's path and must not be empty, \".\" or \"..\" or hold a slash"
		}
		return s, ""
	})
}

// locate returns the bucket and key of a path.
func (x *Files) locate(c Call, name string) (Bucket, string, error) {
	scheme, rest, absolute := strings.Cut(name, "://")
	if !absolute {
		if x.cfg.Dir == "" {
			return nil, "", denied(name, "this runtime keeps no files of agents", "use a path of the form s3://bucket/key")
		}
		if problem := checkKey(name); problem != "" {
			return nil, "", denied(name, problem, "use a relative path such as reports/today.txt")
		}
		dir := filepath.Join(x.cfg.Dir, agentDir(c.AgentID))
		return LocalBucket{Dir: dir, BytesMax: x.cfg.AgentBytesMax, FilesMax: x.cfg.AgentFilesMax}, name, nil
	}
	bucket, key, _ := strings.Cut(rest, "/")
	m, known := x.cfg.Buckets[bucket]
	switch {
	case scheme != "s3":
		return nil, "", denied(name, "only relative paths and s3:// paths are read", "")
	case !known || m.Tenants != nil && !slices.Contains(m.Tenants, c.Principal.Tenant):
		return nil, "", denied(name, "there is no such bucket here", "ask the operator to configure it")
	case m.ReadOnly && c.Action.Type == manifest.WriteFile:
		return nil, "", denied(name, "the bucket can only be read", "")
	}
	if problem := checkKey(key); problem != "" {
		return nil, "", denied(name, problem, "use a path such as s3://bucket/reports/today.txt")
	}
	return m.Bucket, key, nil
}

// checkKey returns what is wrong with a key. The rules are the strictest of
// all stores, so that a path means the same thing everywhere.
func checkKey(key string) string {
	segments := strings.Split(key, "/")
	switch {
	case key == "":
		return "the path is empty"
	case len(key) > pathMax || len(segments) > segmentsMax:
		return fmt.Sprintf("the path has over %d bytes or over %d parts", pathMax, segmentsMax)
	case !utf8.ValidString(key) || strings.ContainsFunc(key, func(c rune) bool { return unicode.IsControl(c) || c == '\\' || c == utf8.RuneError }):
		return "the path holds a backslash or control characters"
	}
	for _, s := range segments {
		switch {
		case s == "" || dots(s):
			return `the path is absolute, or one of its parts is empty, "." or ".."`
		case len(s) > segmentMax:
			return fmt.Sprintf("a part of the path has over %d bytes", segmentMax)
		case strings.HasPrefix(s, tempPrefix) || strings.TrimRight(s, " .") != s || strings.TrimLeft(s, " ") != s:
			return "a part of the path begins or ends in a way that is reserved"
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(key)) { // device names, on some systems
		return "the path is reserved by the operating system"
	}
	return ""
}

func decodeFile(encoding string, data []byte, name string) (json.RawMessage, error) {
	unusable := func(code, message, remedy string) error {
		return fault.New(fault.OutputInvalid, "file %s is not what the action expects", quoteShort(name)).With(fault.Detail{Code: code, Message: message, Remedy: remedy})
	}
	switch encoding {
	case "base64":
		return jsonString(base64.StdEncoding.EncodeToString(data)), nil
	case "json":
		doc, err := normalizeJSON(data, plainText)
		if e, ok := errors.AsType[*jsonError](err); ok {
			return nil, unusable(e.Code, e.Error(), "")
		}
		return doc, nil
	}
	if !utf8.Valid(data) {
		return nil, unusable("utf8", "it is not text in UTF-8", `read it with "encoding": "base64"`)
	}
	return jsonString(string(data)), nil
}

func encodeFile(encoding string, content json.RawMessage) ([]byte, error) {
	if encoding == "json" {
		return content, nil
	}
	var text string
	if err := json.Unmarshal(content, &text); err != nil || content[0] != '"' {
		return nil, badArg("content", "the content must be a string", `for other values declare "encoding": "json"`)
	}
	if encoding == "base64" {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, badArg("content", "the content is not base64", "")
		}
		return data, nil
	}
	return []byte(text), nil
}

func write(ctx context.Context, c Call, bucket Bucket, key, name string, most int64, args []member) (Result, error) {
	i := slices.IndexFunc(args, func(m member) bool { return m.Name == "content" })
	if i < 0 {
		return Result{}, badArg("content", "the content is missing", "")
	}
	data, err := encodeFile(c.Action.File.Encoding, args[i].Value)
	if err != nil {
		return Result{}, err
	}
	if int64(len(data)) > most {
		return Result{}, fileFault(ctx, c, name, most, ErrFileTooLarge)
	}
	if err := bucket.Put(ctx, key, data); err != nil {
		return Result{}, fileFault(ctx, c, name, most, err)
	}
	sum := sha256.Sum256(data)
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"path":%s,"bytes":%d,"sha256":"%s"}`, jsonString(name), len(data), hex.EncodeToString(sum[:]))
	return Result{Output: b.Bytes(), Usage: Usage{Attempts: 1, BytesOut: int64(len(data))}}, nil
}

// fileFault returns the outcome that a bucket's error means.
func fileFault(ctx context.Context, c Call, name string, most int64, err error) error {
	name = quoteShort(name)
	switch {
	case errors.Is(err, ErrFileNotFound):
		return fault.New(fault.FileNotFound, "there is no file %s", name)
	case errors.Is(err, ErrFileDenied):
		return fault.Wrap(err, fault.FileDenied, "file %s cannot be used", name)
	case errors.Is(err, ErrFileTooLarge):
		return fault.New(fault.LimitExceeded, "file %s has more than %d bytes", name, most).With(fault.Detail{Code: "size", Message: "the file is too large", Remedy: "raise max_kb"})
	case errors.Is(err, ErrFileFull):
		return fault.Wrap(err, fault.LimitExceeded, "there is no room for file %s", name).With(fault.Detail{Code: "quota", Message: err.Error(), Remedy: "write less, or ask the operator for more room"})
	case ctx.Err() != nil && interrupted(ctx):
		return fmt.Errorf("call %s: %w", c.ID, context.Cause(ctx))
	case ctx.Err() != nil:
		return fault.Wrap(err, fault.Timeout, "file %s was not ready in time", name).Retry(0)
	}
	return fault.Wrap(err, fault.EgressFailed, "the storage of file %s cannot be used now", name).Retry(0)
}

func denied(name, message, remedy string) error {
	return fault.New(fault.FileDenied, "file %s cannot be used", quoteShort(name)).With(fault.Detail{Message: message, Remedy: remedy})
}
