package executor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/secret"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// httpTimeout is the default of HTTPConfig.Timeout (S2-49).
	httpTimeout = 10 * time.Second
	// responseBodyMax is the default of HTTPConfig.MaxResponse.
	responseBodyMax = 1 << 20
	// redirectsMax bounds the redirects that are followed when an action asks
	// for it; one more fails the call.
	redirectsMax = 3
)

// HTTPConfig configures an HTTP executor. Nothing in it can be reached from a
// manifest, a model or a receiver.
type HTTPConfig struct {
	// Secrets resolves the references in auth and headers. Nil means a
	// resolver over the environment that allows every name.
	Secrets *secret.Resolver
	// AllowPrivate lists the private, loopback and other special addresses
	// that may be called, on any port. Nil means none.
	AllowPrivate []netip.Prefix
	// Rewrite sends what is declared for one origin to another, such as
	// "https://api.calendar.example.com" to "http://127.0.0.1:9101". The
	// target is trusted whatever its address; it sees its own name in Host.
	Rewrite map[string]string
	// Timeout bounds one attempt, from resolving the name to the last byte of
	// the answer, unless the action says otherwise. Default 10 s.
	Timeout time.Duration
	// MaxResponse bounds the answer's body in bytes, as sent and as
	// decompressed, unless the action says otherwise. Default 1 MiB.
	MaxResponse int64
	// UserAgent is sent with every request. Default "oap".
	UserAgent string
	// RootCAs are trusted to sign the certificates of receivers. Nil means
	// the system's.
	RootCAs *x509.CertPool
	// Resolver resolves host names. Nil means net.DefaultResolver.
	Resolver *net.Resolver
}

func (c HTTPConfig) withDefaults() HTTPConfig {
	if c.Secrets == nil {
		c.Secrets = secret.NewResolver(secret.Config{})
	}
	if c.Timeout == 0 {
		c.Timeout = httpTimeout
	}
	if c.MaxResponse == 0 {
		c.MaxResponse = responseBodyMax
	}
	if c.UserAgent == "" {
		c.UserAgent = "oap"
	}
	return c
}

// Validate reports the first field that is not usable.
func (c HTTPConfig) Validate() error {
	if c.Timeout < 0 || c.MaxResponse < 0 {
		return errors.New("timeout and response limit must not be negative")
	}
	_, err := newEgress(c)
	return err
}

// HTTP performs invoke_api actions.
//
// It always verifies certificates, never uses a proxy, keeps no cookies, and
// checks every address at the moment of dialling. What it cannot know it does
// not guess: when a request may have been sent and no complete answer came, an
// action that must happen at most once fails with EffectUnknown, and so does
// its answer 408, 502, 503 or 504, which an intermediary gives without knowing
// what the receiver did. Every other status is the receiver's word.
//
// A fault it returns is Retryable only when repeating the same call, with the
// same key, is safe for the action's effect.
type HTTP struct {
	cfg    HTTPConfig
	egress *egress
}

var _ Executor = (*HTTP)(nil)

// NewHTTP returns an HTTP executor. It panics when cfg is not valid: check
// what an operator wrote with cfg.Validate first.
func NewHTTP(cfg HTTPConfig) *HTTP {
	cfg = cfg.withDefaults()
	e, err := newEgress(cfg)
	if err != nil {
		panic("executor: " + err.Error())
	}
	return &HTTP{cfg: cfg, egress: e}
}

// Close drops idle connections. Calls in flight are not affected.
func (h *HTTP) Close() { h.egress.close() }

// Execute performs one request, and follows redirects when the action asks for
// it. The result's usage is set with an error, too.
func (h *HTTP) Execute(ctx context.Context, c Call, emit func(Progress)) (Result, error) {
	if err := context.Cause(ctx); err != nil {
		return Result{}, fmt.Errorf("call %s: %w", c.ID, err)
	}
	x := exchange{h: h, call: c, usage: Usage{Attempts: 1}}
	if c.Repeated && c.Action.Effect == manifest.Once {
		return Result{}, x.unknown("an earlier attempt may have taken effect")
	}
	out, err := build(c, h.cfg.Secrets, h.cfg.UserAgent)
	if err != nil {
		return Result{}, err
	}
	timeout := h.cfg.Timeout
	if c.Action.Timeout > 0 {
		timeout = c.Action.Timeout
	}
	attempt, cancel := context.WithTimeoutCause(ctx, timeout, errTimeLimit)
	defer cancel()
	output, err := x.run(attempt, out)
	if err != nil {
		err = x.clean(err)
	}
	return Result{Output: output, Usage: x.usage}, err
}

// An exchange is one attempt at a call.
type exchange struct {
	h     *HTTP
	call  Call
	usage Usage

	// Both are set by goroutines of the transport.
	sent   atomic.Bool // a request may have reached a receiver
	badTLS atomic.Bool // a handshake failed
}

func (x *exchange) run(ctx context.Context, out *outgoing) ([]byte, error) {
	for hop := 0; ; hop++ {
		resp, err := x.send(ctx, out)
		if err != nil {
			return nil, x.lost(ctx, err)
		}
		x.usage.HTTPStatus = resp.StatusCode
		if !x.call.Action.HTTP.FollowRedirects || !isRedirect(resp.StatusCode) {
			return x.receive(ctx, resp)
		}
		_ = resp.Body.Close()
		if hop == redirectsMax {
			return nil, x.refused(resp, fmt.Sprintf("it redirects more than %d times", redirectsMax))
		}
		if out, err = x.redirect(out, resp); err != nil {
			return nil, err
		}
	}
}

// send performs one request and returns the answer's header; its body is not
// read yet. Any error but a fault is of the transport.
func (x *exchange) send(ctx context.Context, out *outgoing) (*http.Response, error) {
	dial, route, err := x.h.egress.destination(out.url, out.credentials)
	if err != nil {
		return nil, err
	}
	// A connection in hand counts as sent: the transport writes on its own
	// goroutine, possibly after it has reported that the time is up.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:          func(httptrace.GotConnInfo) { x.sent.Store(true) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { x.badTLS.Store(err != nil) },
	})
	var body io.Reader
	if out.body != nil {
		body = bytes.NewReader(out.body)
	}
	req, err := http.NewRequestWithContext(ctx, out.method, dial.String(), body)
	if err != nil {
		return nil, badEndpoint("the request cannot be made of it")
	}
	req.Header = out.header
	once := x.call.Action.Effect == manifest.Once
	resp, err := route.transport(once).RoundTrip(req)
	if err == nil {
		x.usage.BytesOut += int64(len(out.body))
	}
	return resp, err
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect returns the request of the next hop. Within the origin it is the
// same request, or a GET as browsers do. Another origin gets neither headers
// nor a body, and never by way of a rewrite or without encryption.
func (x *exchange) redirect(out *outgoing, resp *http.Response) (*outgoing, error) {
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, x.refused(resp, "it redirects without a usable location")
	}
	next := *out
	dialled, _, err := x.h.egress.destination(out.url, out.credentials)
	if err != nil {
		return nil, err
	}
	next.url = out.url.ResolveReference(location)
	next.url.Fragment = ""
	if origin(next.url) == origin(dialled) { // a rewritten target that knows its own name
		next.url.Scheme, next.url.Host = out.url.Scheme, out.url.Host
	}
	if err := checkURL(next.url); err != nil {
		return nil, err
	}
	keeps := resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect
	if !keeps && out.method != http.MethodHead {
		next.method, next.body = http.MethodGet, nil
		next.header = out.header.Clone()
		next.header.Del("Content-Type")
	}
	if origin(next.url) == origin(out.url) {
		return &next, nil
	}
	_, rewritten := x.h.egress.rewrite[origin(next.url)]
	switch {
	case rewritten:
		return nil, blocked(next.url, "a redirect from another origin leads to an address that only the operator may choose", "")
	case out.url.Scheme == "https" && next.url.Scheme != "https":
		return nil, blocked(next.url, "a redirect leaves encryption", "")
	case next.body != nil || !bodyless(next.method):
		return nil, blocked(next.url, "a redirect would carry the request's body to another origin", "declare the endpoint that it leads to")
	}
	next.credentials = false
	next.header = http.Header{}
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent"} {
		next.header.Set(name, out.header.Get(name))
	}
	return &next, nil
}

// unknown is the outcome of a call that must not be sent again.
func (x *exchange) unknown(why string) *fault.Error {
	d := fault.Detail{Message: why, Remedy: "find out what happened before it is done again"}
	if v := x.call.Action.Verify; v != "" {
		d.Remedy = "run " + v + ", which tells whether it took effect"
	}
	return fault.New(fault.EffectUnknown, "it is not known whether %s took effect", x.call.Action.Name).With(d)
}
