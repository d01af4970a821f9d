package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
)

// A failure is one attempt that gave no answer.
type failure struct {
	status    int // HTTP status; 0 when there was none
	message   string
	param     string // that the provider names as the culprit
	retryable bool
	after     time.Duration // with hasAfter: when the provider wants to be asked again
	hasAfter  bool
}

func (f *failure) Error() string { return f.message }

// broken is a failure of the transport or of the answer's form. It may be gone
// the next time.
func broken(format string, args ...any) *failure {
	return &failure{message: fmt.Sprintf(format, args...), retryable: true}
}

var (
	errTimeout = errors.New("the answer took too long")
	errIdle    = errors.New("the provider fell silent in the middle of its answer")
)

// messageMax is how many bytes of a provider's words are repeated in an error.
const messageMax = 500

// asFailure reads any error of an attempt.
func (c *client) asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, errTimeout), errors.Is(err, errIdle):
		return broken("%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return broken("%v", errTimeout)
	}
	return broken("the connection failed: %v", err)
}

// final returns the fault that a model's caller sees.
func (c *client) final(f *failure, attempts int) error {
	detail := fault.Detail{Message: clip(c.redact(f.message), messageMax), Remedy: remedies[f.status]}
	if f.status != 0 {
		detail.Message = fmt.Sprintf("the provider answered %d: %s", f.status, detail.Message)
	}
	if attempts > 1 {
		detail.Message += fmt.Sprintf(" (%d attempts)", attempts)
	}
	if !f.retryable {
		return fault.New(fault.ModelMisconfigured, "LLM request failed").With(detail)
	}
	return fault.New(fault.ModelFailed, "LLM request failed").With(detail).Retry(f.after)
}

var remedies = map[int]string{
	http.StatusUnauthorized:    "check the API key",
	http.StatusPaymentRequired: "check the account's balance",
	http.StatusForbidden:       "check what the API key may use",
	http.StatusNotFound:        "check the base URL and the model's name",
}

// errorBodyMax is how many bytes of an error answer are read; the rest is not.
const errorBodyMax = 64 << 10

// statusFailure reads an answer with an error status.
func statusFailure(resp *http.Response) *failure {
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBodyMax))
	if err != nil && len(body) == 0 {
		body = []byte("(no message)")
	}
	f := providerFailure(resp.StatusCode, body)
	f.after, f.hasAfter = retryAfter(resp.Header, time.Now())
	return f
}

// providerFailure reads an error body of any of the known shapes: {"error":
// {"message", "type", "code", "param"}}, {"error": "text"}, {"message"},
// {"detail"}, or plain text.
func providerFailure(status int, body []byte) *failure {
	f := &failure{status: status}
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	var inner struct {
		Message json.RawMessage `json:"message"`
		Type    string          `json:"type"`
		Param   string          `json:"param"`
		Code    json.RawMessage `json:"code"`
	}
	var code string
	if json.Unmarshal(body, &outer) == nil {
		switch {
		case json.Unmarshal(outer.Error, &f.message) == nil && f.message != "":
		case len(outer.Error) > 0 && outer.Error[0] == '{':
			json.Unmarshal(outer.Error, &inner) // what cannot be read stays empty
			if json.Unmarshal(inner.Message, &f.message) != nil {
				f.message = string(inner.Message)
			}
			f.param = inner.Param
			code = strings.Trim(string(inner.Code), `"`)
		case outer.Message != "":
			f.message = outer.Message
		default:
			f.message = string(outer.Detail)
		}
	}
	if f.message == "" {
		f.message = plain(body)
	}
	if f.message == "" {
		f.message = http.StatusText(status)
	}
	f.retryable = retryable(status, inner.Type, code)
	return f
}

// retryable decides by status and, for errors inside an answer with status
// 200, by what kind the provider says it is.
func retryable(status int, kind, code string) bool {
	if code == "insufficient_quota" {
		return false
	}
	if n, err := strconv.Atoi(code); err == nil && n >= 400 && n <= 599 && status == http.StatusOK {
		status = n
	}
	switch {
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict,
		status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return true
	case status >= 300:
		return false
	}
	switch kind {
	case "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "billing_error", "request_too_large":
		return false
	}
	return true
}

// retryAfterMax is the longest time that a Retry-After is believed to mean.
const retryAfterMax = 24 * time.Hour

// retryAfter reads when a provider wants to be asked again: retry-after-ms,
// seconds, or a date. A date in the past means now; nonsense is no statement.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, err := strconv.ParseInt(h.Get("Retry-After-Ms"), 10, 64); err == nil && ms >= 0 {
		return time.Duration(min(ms, retryAfterMax.Milliseconds())) * time.Millisecond, true
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(text, 64); err == nil && s >= 0 {
		return time.Duration(min(s, retryAfterMax.Seconds()) * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), retryAfterMax), true
	}
	return 0, false
}

// plain makes a text of unknown kind fit for a message of one line.
func plain(body []byte) string {
	return clip(strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "\uFFFD")), " "), messageMax)
}

// clip shortens s to at most n bytes, whole characters, and marks the cut.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
