package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// localURL returns the URL of a server on this machine.
func localURL(host string, port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// isLoopback reports whether only this machine can reach an address to listen
// on. An empty host means all interfaces.
func isLoopback(hostport string) (bool, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false, usageError("%q is not an address; write it like 127.0.0.1:8000", hostport)
	}
	if strings.EqualFold(host, "localhost") {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback(), nil
}

// listen opens an address.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	ln, err := c.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

// closeListener gives an address back. Serving closes it, too, so the error
// says nothing new.
func closeListener(ln net.Listener) { _ = ln.Close() }

// redactDSN returns a database's name without its password.
func redactDSN(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		if isPostgres(dsn) {
			return "the Postgres database" // whatever it holds, it is not shown
		}
		return dsn
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
		return u.Redacted()
	}
	if u.User == nil {
		return dsn
	}
	return u.Redacted()
}

// dataDir returns the directory for the user's data, after the conventions of
// the system: XDG_DATA_HOME, else ~/.local/share (on macOS ~/Library/
// Application Support, on Windows %LocalAppData%), with /oap.
func dataDir() (string, error) {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "oap"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no home directory to keep data in: %w; name a database with --db", err)
	}
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", "oap"), nil
	case "windows":
		if d := os.Getenv("LocalAppData"); d != "" {
			return filepath.Join(d, "oap"), nil
		}
	}
	return filepath.Join(home, ".local", "share", "oap"), nil
}

// engineCacheDir returns where compiled engines are kept between processes, or
// "" where there is no place for it.
func engineCacheDir() string {
	d, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(d, "oap", "engines")
}
