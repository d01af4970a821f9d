//go:build unix

package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// portNumber names the socket in the private directory; nothing listens on TCP.
const portNumber = "5432"

// start makes a cluster in a temporary directory and runs a server on it that
// listens on a Unix socket there.
func start() (dsn string, err error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "oap-pg-") // short: the path of a Unix socket holds about 100 bytes
	if err != nil {
		return "", err
	}
	as, err := serverUser(dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	if err := watch(dir); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	data := filepath.Join(dir, "data")
	if err := command(ctx, dir, as, filepath.Join(bin, "initdb"), "-D", data, "-U", "oap", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		return "", err
	}
	// Tests lose nothing when the machine stops, so nothing waits for the disk.
	options := "-c listen_addresses= -c max_connections=200 -c fsync=off -c synchronous_commit=off -c full_page_writes=off -k " + dir + " -p " + portNumber
	if err := command(ctx, dir, as, filepath.Join(bin, "pg_ctl"), "-D", data, "-l", filepath.Join(dir, "log"), "-o", options, "-w", "start"); err != nil {
		return "", err
	}
	return "postgres://oap@/postgres?host=" + url.QueryEscape(dir) + "&port=" + portNumber, nil
}

func command(ctx context.Context, dir string, as func(*exec.Cmd), name string, args ...string) error {
	// Output goes to a file: the server inherits it and would keep a pipe open.
	out, err := os.Create(filepath.Join(dir, filepath.Base(name)+".out"))
	if err != nil {
		return err
	}
	defer out.Close()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Stdout, c.Stderr = dir, out, out
	as(c)
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(said))
	}
	return nil
}

// binaries returns the directory that holds the newest server.
func binaries() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errNoBinaries
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b) // "9.6" < "15" < "100"
		}
		return strings.Compare(a, b)
	})), nil
}

// lifeline is the end of a pipe that only this process holds. The kernel
// closes it when the process ends, even by SIGKILL.
var lifeline *os.File //nolint:unused // held so that the collector does not close it early

// watch starts a shell that outlives this process by as long as it takes to
// stop the server and remove the directory.
func watch(dir string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	const script = `cat >/dev/null
if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
	kill -QUIT "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi
rm -rf "$1"`
	c := exec.Command("/bin/sh", "-c", script, "sh", dir)
	c.Stdin = r
	detach(c)
	if err := c.Start(); err != nil {
		w.Close()
		return fmt.Errorf("watchdog: %w", err)
	}
	lifeline = w
	return nil
}

// serverUser returns how to run a command as the user that owns the cluster:
// ourselves, or postgres when we are root, because Postgres refuses root.
func serverUser(dir string) (func(*exec.Cmd), error) {
	if os.Getuid() != 0 {
		return func(*exec.Cmd) {}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}, nil
}

// detach keeps signals for our process group away from c.
func detach(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
