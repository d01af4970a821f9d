package executor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// excerptMax bounds, in bytes, what a failure repeats of an answer; the
	// rest is left out.
	excerptMax = 512
	// excerptRead bounds what is read of a failure's body. Secrets are
	// replaced in all of it before it is cut to an excerpt.
	excerptRead = 64 << 10
	// retryAfterMax bounds what is believed of a Retry-After header.
	retryAfterMax = 24 * time.Hour
)

// retryStatuses are the statuses worth repeating, unless an action lists its
// own (C-29).
var retryStatuses = []int{408, 425, 429, 500, 502, 503, 504}

// errTimeLimit is the cause of a context that a time limit of the call ended.
var errTimeLimit = errors.New("time limit reached")

// interrupted reports whether ctx ended for another reason than a time limit
// of the call: then nothing is known to be wrong with the call, and it stays
// open.
func interrupted(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeLimit)
}

// lost is the outcome of an exchange that the transport could not complete.
func (x *exchange) lost(ctx context.Context, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if interrupted(ctx) {
		return fmt.Errorf("call %s: %w", x.call.ID, context.Cause(ctx))
	}
	timedOut := ctx.Err() != nil || isTimeout(err)
	host := quoteShort(hostOf(x.call.Action.HTTP.Endpoint))
	reason, final := x.reasonOf(err)
	if timedOut {
		reason, final = "the time limit was reached", false
	}
	switch {
	case errors.Is(err, errBlocked):
		return fault.Wrap(err, fault.EgressBlocked, "host %s is not called", host).With(fault.Detail{
			Message: "its address is private or reserved, or its port is not one for HTTP", Remedy: "ask the operator to allow it",
		})
	case !x.sent.Load() && final:
		return fault.Wrap(err, fault.EgressFailed, "no connection to %s: %s", host, reason)
	case !x.sent.Load():
		return fault.Wrap(err, fault.EgressFailed, "no connection to %s: %s", host, reason).Retry(0)
	}
	switch x.call.Action.Effect {
	case manifest.Read, manifest.Idempotent:
		code := fault.EgressFailed
		if timedOut {
			code = fault.Timeout
		}
		return fault.Wrap(err, code, "no complete answer from %s: %s", host, reason).Retry(0)
	case manifest.Keyed:
		f := x.unknown("no complete answer came from " + host + ": " + reason)
		f.Err = err
		return f.Retry(0)
	default:
		f := x.unknown("no complete answer came from " + host + ": " + reason)
		f.Err = err
		return f
	}
}

// reasonOf names the reason of a transport's error without addresses, and
// whether another try is pointless.
func (x *exchange) reasonOf(err error) (reason string, final bool) {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "the host name does not exist", false
		}
		return "the host name cannot be resolved", false
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "its certificate is expired or not yet valid", true
		}
		return "its certificate is not valid", true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for another name", true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by an unknown authority", true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS", true
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused", false
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset", false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed", false
	case x.badTLS.Load():
		return "the TLS handshake failed", true
	}
	return "the connection broke", false
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// failed is the outcome of an answer with a status other than 2xx (S2-50).
func (x *exchange) failed(resp *http.Response, body string, cut bool) error {
	status := resp.StatusCode
	message := strconv.Itoa(status) + " " + http.StatusText(status)
	excerpt := x.excerpt(body, cut)
	if isRedirect(status) {
		excerpt = "redirects are not followed; it leads to " + x.excerpt(resp.Header.Get("Location"), false)
	}
	detail := fault.Detail{Code: "http_" + strconv.Itoa(status), Message: excerpt}
	if excerpt == "" {
		detail.Message = "the answer has no body"
	}
	after := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	effect := x.call.Action.Effect
	statuses := x.call.Action.Retry.Statuses
	if statuses == nil {
		statuses = retryStatuses
	}
	f := fault.New(fault.ActionFailed, "%s answered %s", x.call.Action.Name, message).With(detail)
	switch {
	case status == http.StatusConflict && effect == manifest.Keyed && (x.call.Repeated || after > 0):
		// The receiver holds this key and has not finished with it.
		return x.unknown("the receiver says that this call is still in progress").With(detail).Retry(after)
	case status == http.StatusTooEarly || status == http.StatusTooManyRequests:
		// Refused before anything was done, so safe for every effect.
		if slices.Contains(statuses, status) {
			return f.Retry(after)
		}
	case effect == manifest.Once:
		if slices.Contains([]int{408, 502, 503, 504}, status) {
			return x.unknown("an intermediary answered " + message).With(detail)
		}
	case slices.Contains(statuses, status):
		return f.Retry(after)
	}
	return f
}

// refused is the outcome of an answer that is not acceptable as a whole.
func (x *exchange) refused(resp *http.Response, why string) error {
	return fault.New(fault.ActionFailed, "%s answered %d %s", x.call.Action.Name, resp.StatusCode, http.StatusText(resp.StatusCode)).
		With(fault.Detail{Code: "http_" + strconv.Itoa(resp.StatusCode), Message: why})
}

// excerpt makes text of a receiver fit for a message: without secrets, on one
// line, and short. Cut says that more text followed it.
func (x *exchange) excerpt(text string, cut bool) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if cut {
		text = x.h.cfg.Secrets.Redactor().RedactCut(text)
	} else {
		text = x.redact(text)
	}
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }), " ")
	if len(text) > excerptMax {
		text = strings.ToValidUTF8(text[:excerptMax], "") + "…"
	}
	return text
}

// clean replaces secrets in every text of an outcome: host names, headers and
// the transport's own errors can all repeat what the receiver sent.
func (x *exchange) clean(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	f := *e
	f.Message = x.redact(f.Message)
	f.Details = slices.Clone(f.Details)
	for i := range f.Details {
		f.Details[i].Message = x.redact(f.Details[i].Message)
	}
	if f.Err != nil {
		f.Err = errors.New(x.redact(f.Err.Error()))
	}
	return &f
}

func (x *exchange) redact(s string) string { return x.h.cfg.Secrets.Redactor().Redact(s) }

// retryAfter reads a Retry-After header: seconds or a date. What is neither,
// or in the past, is zero.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		if err != nil || seconds > int64(retryAfterMax/time.Second) {
			return retryAfterMax
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), retryAfterMax)
}

func hostOf(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}
