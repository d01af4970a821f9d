package executor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"code.dny.dev/ssrf"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	// connectTimeout bounds name resolution and connecting, and the TLS
	// handshake, each; then the attempt fails as not sent.
	connectTimeout = 5 * time.Second
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = 60 * time.Second
	// idleConnsMax and idleConnsPerHostMax bound the unused connections that
	// are kept; more are closed.
	idleConnsMax, idleConnsPerHostMax = 256, 32
	// responseHeaderMax bounds the header of an answer; a larger one breaks
	// the connection.
	responseHeaderMax = 64 << 10
	// hostMax is the longest name that DNS has; a longer one is refused.
	hostMax = 253
)

// errBlocked is in the tree of every error that says an address may not be
// dialled.
var errBlocked = errors.New("destination not allowed")

// An egress holds the only ways from an action to the network. There is one
// for every kind of destination, because a pooled connection must never serve
// a request that would not have been allowed to open it:
//
//   - public is for what a manifest declares: public addresses on ports 80,
//     443 and from 1024 up, and the operator's private ones on any port.
//   - private is for credentials without encryption, and reaches nothing but
//     the operator's private addresses.
//   - exact is for targets that the operator wrote down in Rewrite, and
//     reaches nothing else.
//
// No proxy is ever used and no cookie is kept.
type egress struct {
	public, private, exact route
	rewrite                map[string]*url.URL // by normalized origin
}

// A route is a way to the network. Single never reuses a connection: on a
// reused one a request can fail without it being known whether it was sent,
// and the standard library silently repeats requests that carry an
// Idempotency-Key. Calls that must not be repeated use it.
type route struct{ pooled, single *http.Transport }

func (r route) transport(once bool) *http.Transport {
	if once {
		return r.single
	}
	return r.pooled
}

func newEgress(cfg HTTPConfig) (*egress, error) {
	e := &egress{rewrite: map[string]*url.URL{}}
	exact := map[string]bool{}
	for from, to := range cfg.Rewrite {
		f, err := parseOrigin(from)
		if err != nil {
			return nil, fmt.Errorf("rewrite: %q %w", from, err)
		}
		t, err := parseOrigin(to)
		if err != nil {
			return nil, fmt.Errorf("rewrite: %q %w", to, err)
		}
		e.rewrite[origin(f)] = t
		exact[hostPort(t)] = true
	}
	g := guard{private: cfg.AllowPrivate, public: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(cloudMetadata))}
	public := net.Dialer{Timeout: connectTimeout, Resolver: cfg.Resolver, Control: g.check}
	private := net.Dialer{Timeout: connectTimeout, Resolver: cfg.Resolver, Control: g.checkPrivate}
	operator := net.Dialer{Timeout: connectTimeout, Resolver: cfg.Resolver}
	e.public = newRoute(cfg.RootCAs, public.DialContext)
	e.private = newRoute(cfg.RootCAs, private.DialContext)
	e.exact = newRoute(cfg.RootCAs, func(ctx context.Context, network, address string) (net.Conn, error) {
		if !exact[strings.ToLower(address)] {
			return nil, fmt.Errorf("%w: %s is not a target of a rewrite", errBlocked, address)
		}
		return operator.DialContext(ctx, network, address)
	})
	return e, nil
}

func newRoute(roots *x509.CertPool, dial func(context.Context, string, string) (net.Conn, error)) route {
	t := &http.Transport{
		Proxy:                  nil, // the environment must not redirect credentials
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    connectTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // decompressed by us, with a limit
		MaxIdleConns:           idleConnsMax,
		MaxIdleConnsPerHost:    idleConnsPerHostMax,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: responseHeaderMax,
	}
	single := t.Clone()
	single.DisableKeepAlives = true
	return route{pooled: t, single: single}
}

// close drops the connections that are idle.
func (e *egress) close() {
	for _, r := range []route{e.public, e.private, e.exact} {
		r.pooled.CloseIdleConnections()
		r.single.CloseIdleConnections()
	}
}

// cloudMetadata is a cloud's metadata service that lives at a public address.
var cloudMetadata = netip.MustParsePrefix("168.63.129.16/32")

// A guard decides about the addresses that names resolved to, at the moment
// of dialling, so that no second resolution can lead elsewhere.
type guard struct {
	private []netip.Prefix
	public  *ssrf.Guardian
}

func (g guard) check(network, address string, c syscall.RawConn) error {
	if g.checkPrivate(network, address, c) == nil {
		return nil
	}
	at, err := addrPort(network, address)
	if err != nil {
		return err
	}
	if p := at.Port(); p != 80 && p != 443 && p < 1024 {
		return fmt.Errorf("%w: port %d of %s", errBlocked, p, at.Addr())
	}
	if err := g.public.SafeAddr(at.Addr()); err != nil {
		return fmt.Errorf("%w: %w", errBlocked, err)
	}
	return nil
}

func (g guard) checkPrivate(network, address string, _ syscall.RawConn) error {
	at, err := addrPort(network, address)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(g.private, func(p netip.Prefix) bool { return p.Contains(at.Addr()) }) {
		return fmt.Errorf("%w: %s is not a private address that is allowed", errBlocked, at.Addr())
	}
	return nil
}

func addrPort(network, address string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Port() == 0 || network != "tcp4" && network != "tcp6" {
		return at, fmt.Errorf("%w: %s %s", errBlocked, network, address)
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

// destination returns the URL to dial for a declared URL, and the route to it.
// Credentials tells whether the request carries secrets. The error has code
// EgressBlocked.
func (e *egress) destination(declared *url.URL, credentials bool) (*url.URL, route, error) {
	if err := checkURL(declared); err != nil {
		return nil, route{}, err
	}
	if to, ok := e.rewrite[origin(declared)]; ok {
		u := *declared
		u.Scheme, u.Host = to.Scheme, to.Host
		return &u, e.exact, nil
	}
	if declared.Scheme == "http" && credentials {
		return declared, e.private, nil
	}
	return declared, e.public, nil
}

// checkURL refuses what is not plainly an HTTP URL with an unambiguous host.
func checkURL(u *url.URL) error {
	host := u.Hostname()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return blocked(u, "only https and http are spoken", "use an https URL")
	case u.User != nil:
		return blocked(u, "a URL must not hold a user name or password", "use the action's auth field")
	case host == "" || u.Opaque != "" || len(host) > hostMax:
		return blocked(u, "the URL has no usable host", "use an absolute https URL")
	case strings.ContainsFunc(host, func(c rune) bool { return c == '%' || unicode.IsControl(c) || unicode.IsSpace(c) }):
		return blocked(u, "the host holds characters that names do not have", "")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return blocked(u, "the port is not between 1 and 65535", "")
		}
	}
	// Resolvers disagree about spellings such as 0x7f.1, 2130706433 and
	// 127.0.0.1. (with a dot), so none is asked.
	if _, err := netip.ParseAddr(host); err != nil && endsInNumber(host) {
		return blocked(u, "the host is a number that is not an IP address in its usual form", "write it as four decimal numbers")
	}
	return nil
}

func endsInNumber(host string) bool {
	host = strings.TrimRight(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// blocked returns the outcome that refuses a URL. It shows the host whole or
// not at all: a secret in it could not be recognized when cut.
func blocked(u *url.URL, message, remedy string) error {
	host := u.Hostname()
	if len(host) > hostMax {
		host = "…"
	}
	return fault.New(fault.EgressBlocked, "host %q is not called", host).With(fault.Detail{Message: message, Remedy: remedy})
}

// parseOrigin reads "https://host" or "https://host:port".
func parseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if err := checkURL(u); err != nil {
		return nil, fmt.Errorf("is not an origin: %w", err)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not an origin: give scheme, host and port only")
	}
	return u, nil
}

// origin returns the scheme, host and port of u in one spelling.
func origin(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
