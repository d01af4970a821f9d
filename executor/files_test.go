package executor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

func file(t testing.TB, kind manifest.Type, path, encoding string) *manifest.Action {
	t.Helper()
	return &manifest.Action{
		Name: "file", Type: kind, Input: schema(t, `{"type":"object"}`), Effect: manifest.Idempotent,
		File: &manifest.FileOptions{Path: path, Encoding: encoding},
	}
}

// newS3 returns a bucket of an S3 server in this process.
func newS3(t testing.TB, prefix string) *executor.S3Bucket {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("my-bucket"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s.Close)
	b, err := executor.NewS3Bucket(executor.S3Config{Endpoint: s.URL, Bucket: "my-bucket", Prefix: prefix, AccessKey: "access", SecretKey: "canary-secret"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// S2-07, S2-08: files are written and read back in every encoding, in the
// agent's directory and in shared buckets.
func TestFiles(t *testing.T) {
	t.Parallel()
	x := executor.NewFiles(executor.FilesConfig{Dir: t.TempDir(), Buckets: map[string]executor.Mount{"my-bucket": {Bucket: newS3(t, "shared/")}}})
	for _, base := range []string{"", "s3://my-bucket/"} {
		for _, tc := range []struct{ encoding, content, want string }{
			{"text", `"line 1\nline 2 ü\n"`, `"line 1\nline 2 ü\n"`},
			{"text", `""`, `""`},
			{"json", `{"id": 9007199254740993, "b": [1.10]}`, `{"id":9007199254740993,"b":[1.10]}`},
			{"base64", `"AP/+"`, `"AP/+"`},
		} {
			path := base + "reports/" + tc.encoding + "/today.txt"
			w := file(t, manifest.WriteFile, "", tc.encoding)
			for range 2 { // idempotent
				res := mustRun(t, x, call(w, `{"path":`+quoted(path)+`,"content":`+tc.content+`}`))
				if !strings.Contains(string(res.Output), `"path":`+quoted(path)) || !strings.Contains(string(res.Output), `"sha256":"`) {
					t.Errorf("write %s: Output = %s", path, res.Output)
				}
			}
			res := mustRun(t, x, call(file(t, manifest.ReadFile, base+"reports/{kind}/today.txt", tc.encoding), `{"kind":`+quoted(tc.encoding)+`}`))
			if got := string(res.Output); got != tc.want {
				t.Errorf("read %s: Output = %s, want %s", path, got, tc.want)
			}
		}
		_, err := run(t, x, call(file(t, manifest.ReadFile, base+"absent.txt", "text"), `{}`))
		wantCode(t, err, fault.FileNotFound)
		mustRun(t, x, call(file(t, manifest.WriteFile, base+"binary", "base64"), `{"content":"/w=="}`))
		_, err = run(t, x, call(file(t, manifest.ReadFile, base+"binary", "text"), `{}`))
		if f := wantCode(t, err, fault.OutputInvalid); detailCode(f) != "utf8" {
			t.Errorf("%sbinary: %v", base, f)
		}
		_, err = run(t, x, call(file(t, manifest.ReadFile, base+"binary", "json"), `{}`))
		wantCode(t, err, fault.OutputInvalid)
		small := file(t, manifest.WriteFile, base+"small", "text")
		small.File.MaxBytes = 4
		_, err = run(t, x, call(small, `{"content":"12345"}`))
		wantCode(t, err, fault.LimitExceeded)
		mustRun(t, x, call(file(t, manifest.WriteFile, base+"small", "text"), `{"content":"12345"}`))
		small.Type = manifest.ReadFile
		_, err = run(t, x, call(small, `{}`))
		wantCode(t, err, fault.LimitExceeded)
	}
	for _, args := range []string{`{}`, `{"content":1}`, `{"content":{"a":1}}`, `{"content":null}`} {
		_, err := run(t, x, call(file(t, manifest.WriteFile, "x", "text"), args))
		wantCode(t, err, fault.ActionInvalid)
	}
	_, err := run(t, x, call(file(t, manifest.WriteFile, "x", "base64"), `{"content":"%%"}`))
	wantCode(t, err, fault.ActionInvalid)
	_, err = run(t, x, call(file(t, manifest.ReadFile, "", "text"), `{}`))
	wantCode(t, err, fault.ActionInvalid)
}

// SB4 for actions: no path leads out of the agent's directory.
func TestFilePaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := executor.NewFiles(executor.FilesConfig{Dir: dir, Buckets: map[string]executor.Mount{
		"my-bucket": {Bucket: newS3(t, "shared/")},
		"others":    {Bucket: newS3(t, ""), Tenants: []string{"other"}},
		"fixed":     {Bucket: newS3(t, ""), ReadOnly: true},
	}})
	for _, path := range []string{
		"", ".", "..", "../x", "a/../../x", "a/..", "./x", "/etc/passwd", "//x", "a//b", "a/", "~/../x/..", `..\x`, `a\b`, "a\x00b", "a\nb", "a/./b", "a.", "a ", " a", "...", "\ufffd",
		strings.Repeat("a", 300), strings.Repeat("a/", 40) + "a", strings.Repeat("abcdefgh/", 200) + "a", ".oap-tmp-x", "a/.oap-tmp-x",
		"file:///etc/passwd", "http://127.0.0.1/x", "S3://my-bucket/x", "s3://", "s3:///x", "s3://my-bucket", "s3://my-bucket/", "s3://my-bucket/../x", "s3://my-bucket/a/../../x",
		"s3://my-bucket//x", "s3://unknown/x", "s3://others/x", "s3://my-bucket:80/x", "s3://user@my-bucket/x",
	} {
		for _, kind := range []manifest.Type{manifest.ReadFile, manifest.WriteFile} {
			_, err := run(t, x, call(file(t, kind, "", "text"), `{"path":`+quoted(path)+`,"content":"x"}`))
			wantCode(t, err, fault.FileDenied)
		}
	}
	_, err := run(t, x, call(file(t, manifest.WriteFile, "s3://fixed/x", "text"), `{"content":"x"}`))
	wantCode(t, err, fault.FileDenied)
	for _, value := range []string{"..", ".", "", "a/b", "../x", `a\b`} {
		for _, template := range []string{"reports/{name}", "s3://my-bucket/{name}/x"} {
			_, err := run(t, x, call(file(t, manifest.ReadFile, template, "text"), `{"name":`+quoted(value)+`}`))
			wantCode(t, err, fault.ActionInvalid)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("refused paths left %v", left)
	}
}

// SB6: agents do not see each other's files.
func TestFilesOfAgents(t *testing.T) {
	t.Parallel()
	x := executor.NewFiles(executor.FilesConfig{Dir: t.TempDir()})
	owners := []string{"default/Bot", "default/bot", "other/Bot", "default/../other/Bot", "..", "", "default-bot", strings.Repeat("x", 500)}
	for _, owner := range owners {
		c := call(file(t, manifest.WriteFile, "mine", "text"), `{"content":`+quoted(owner)+`}`)
		c.AgentID = owner
		mustRun(t, x, c)
	}
	for _, owner := range owners {
		c := call(file(t, manifest.ReadFile, "mine", "text"), `{}`)
		c.AgentID = owner
		if res := mustRun(t, x, c); string(res.Output) != quoted(owner) {
			t.Errorf("%q reads %s", owner, res.Output)
		}
	}
}

// SB5: an agent's directory has a quota of bytes and of files.
func TestQuota(t *testing.T) {
	t.Parallel()
	x := executor.NewFiles(executor.FilesConfig{Dir: t.TempDir(), AgentBytesMax: 100, AgentFilesMax: 5})
	w := file(t, manifest.WriteFile, "", "text")
	put := func(path string, n int) error {
		_, err := run(t, x, call(w, `{"path":"`+path+`","content":"`+strings.Repeat("x", n)+`"}`))
		return err
	}
	if err := put("a", 90); err != nil {
		t.Fatal(err)
	}
	if f := wantCode(t, put("b", 20), fault.LimitExceeded); detailCode(f) != "quota" {
		t.Errorf("error = %v", f)
	}
	if err := put("a", 100); err != nil { // in place of its own bytes
		t.Fatal(err)
	}
	if err := put("a", 1); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 20 && err == nil; i++ {
		err = put(fmt.Sprintf("d%d/f", i), 1)
	}
	wantCode(t, err, fault.LimitExceeded)
}

// A bucket keeps its contract, whatever stores it.
func TestBuckets(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]executor.Bucket{
		"local": executor.LocalBucket{Dir: filepath.Join(t.TempDir(), "agent")}, "s3": newS3(t, "agents/x/"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if _, err := b.Get(ctx, "a", 10); !errors.Is(err, executor.ErrFileNotFound) {
				t.Errorf("Get of nothing: %v", err)
			}
			if _, err := b.Stat(ctx, "a/b"); !errors.Is(err, executor.ErrFileNotFound) {
				t.Errorf("Stat of nothing: %v", err)
			}
			if err := b.Delete(ctx, "a"); err != nil {
				t.Errorf("Delete of nothing: %v", err)
			}
			if list, err := b.List(ctx, "", 10); err != nil || len(list) != 0 {
				t.Errorf("List of nothing = %v, %v", list, err)
			}
			for _, key := range []string{"b/2", "a", "b/1", "b/c/3"} {
				if err := b.Put(ctx, key, []byte("<"+key+">")); err != nil {
					t.Fatalf("Put(%s): %v", key, err)
				}
			}
			if err := b.Put(ctx, "a", []byte("new")); err != nil {
				t.Fatal(err)
			}
			if data, err := b.Get(ctx, "a", 3); err != nil || string(data) != "new" {
				t.Errorf("Get = %q, %v", data, err)
			}
			if _, err := b.Get(ctx, "a", 2); !errors.Is(err, executor.ErrFileTooLarge) {
				t.Errorf("Get over the limit: %v", err)
			}
			if info, err := b.Stat(ctx, "b/1"); err != nil || info.Bytes != 5 || info.Key != "b/1" || time.Since(info.Modified) > time.Hour {
				t.Errorf("Stat = %+v, %v", info, err)
			}
			keys := func(prefix string, most int) string {
				list, err := b.List(ctx, prefix, most)
				if err != nil {
					t.Fatal(err)
				}
				var k []string
				for _, i := range list {
					k = append(k, i.Key)
				}
				return strings.Join(k, " ")
			}
			if got := keys("", 10); got != "a b/1 b/2 b/c/3" {
				t.Errorf("List = %s", got)
			}
			if got := keys("b/", 2); got != "b/1 b/2" {
				t.Errorf("List of b/ = %s", got)
			}
			if err := b.Delete(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Get(ctx, "a", 10); !errors.Is(err, executor.ErrFileNotFound) {
				t.Errorf("Get after Delete: %v", err)
			}
			done, cancel := context.WithCancel(ctx)
			cancel()
			if err := b.Put(done, "late", nil); err == nil {
				t.Error("Put with a cancelled context succeeded")
			}
			if _, err := b.Get(ctx, "late", 10); !errors.Is(err, executor.ErrFileNotFound) {
				t.Errorf("the cancelled Put left something: %v", err)
			}
		})
	}
}

// Readers of a file that is written meanwhile see one content or the other.
func TestAtomicWrites(t *testing.T) {
	t.Parallel()
	b := executor.LocalBucket{Dir: t.TempDir()}
	contents := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 50_000)}
	if err := b.Put(t.Context(), "f", []byte(contents[0])); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				if err := b.Put(t.Context(), "f", []byte(contents[i%2])); err != nil {
					t.Errorf("Put: %v", err)
				}
				data, err := b.Get(t.Context(), "f", 1<<20)
				if err != nil || string(data) != contents[0] && string(data) != contents[1] {
					t.Errorf("Get = %d bytes, %v", len(data), err)
				}
			}
		})
	}
	wg.Wait()
	if left, _ := os.ReadDir(b.Dir); len(left) != 1 {
		t.Errorf("%d entries are left", len(left))
	}
}

// An unreachable store is worth another try, and its address stays inside.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(nil)
	s.Close()
	b, err := executor.NewS3Bucket(executor.S3Config{Endpoint: s.URL, Bucket: "b", AccessKey: "access", SecretKey: "canary-secret"})
	if err != nil {
		t.Fatal(err)
	}
	x := executor.NewFiles(executor.FilesConfig{Buckets: map[string]executor.Mount{"b": {Bucket: b}}})
	_, err = run(t, x, call(file(t, manifest.ReadFile, "s3://b/k", "text"), `{}`))
	if f := wantCode(t, err, fault.EgressFailed); !f.Retryable || strings.Contains(f.Error(), "127.0.0.1") || strings.Contains(fmt.Sprint(f, f.Err), "canary") {
		t.Errorf("error = %v (%v), retryable %t", f, f.Err, f.Retryable)
	}
	_, err = run(t, x, call(file(t, manifest.ReadFile, "local.txt", "text"), `{}`))
	wantCode(t, err, fault.FileDenied)
	for _, cfg := range []executor.S3Config{{}, {Endpoint: "s3.example"}, {Endpoint: "ftp://x", Bucket: "b"}, {Endpoint: "https://x"}, {Endpoint: "https://x/path", Bucket: "b"}} {
		if _, err := executor.NewS3Bucket(cfg); err == nil {
			t.Errorf("NewS3Bucket(%+v) succeeded", cfg)
		}
	}
}
