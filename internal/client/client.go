package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
)

// answerBytesMax bounds an answer that is read as a whole; a longer one is an
// error. Transcripts of long sessions are the largest.
const answerBytesMax = 256 << 20

// A Client asks one server.
type Client struct {
	BaseURL string       // "http://127.0.0.1:8000", without a path
	Key     string       // API key; "" sends none
	HTTP    *http.Client // nil means http.DefaultClient; must not have a Timeout, which would end streams
}

// do sends a request and decodes the answer into out, which may be nil or a
// *json.RawMessage. It returns the answer's header.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, in, out any) (http.Header, error) {
	resp, err := c.send(ctx, method, path, header, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			return nil, fmt.Errorf("%s%s does not answer as a server of this runtime: %w", c.BaseURL, path, err)
		}
	}
	return resp.Header, nil
}

// send sends a request. An answer with status 400 or more is returned as a
// *fault.Error.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, ok := in.([]byte)
		if !ok {
			var err error
			if b, err = json.Marshal(in); err != nil {
				return nil, fmt.Errorf("encode the request: %w", err)
			}
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.BaseURL, "/")+path, body)
	if err != nil {
		return nil, fault.New(fault.Validation, "%q is not a server's URL; write it like http://127.0.0.1:8000", c.BaseURL)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.Key)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		f := fault.Wrap(err, fault.Unavailable, "no server answers at %s: %v", c.BaseURL, err)
		f.Retryable = true
		return nil, f
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return resp, nil
}

// problem reads a failure's body.
func problem(resp *http.Response) error {
	body, err := readAll(resp.Body)
	var p struct {
		Code      fault.Code     `json:"code"`
		Message   string         `json:"message"`
		Details   []fault.Detail `json:"details"`
		Retryable bool           `json:"retryable"`
		RequestID string         `json:"request_id"`
	}
	if err != nil || json.Unmarshal(body, &p) != nil || p.Code == "" {
		return fault.New(fault.Internal, "the server answered %s, in a form that is not this runtime's", resp.Status)
	}
	f := fault.New(p.Code, "%s", p.Message).With(p.Details...)
	if p.Code == fault.Internal && p.RequestID != "" {
		f.Message += " (the server's log has more under request_id " + p.RequestID + ")"
	}
	f.Retryable = p.Retryable
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		f.RetryAfter = time.Duration(s) * time.Second
	}
	return f
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, answerBytesMax+1))
	if err == nil && len(b) > answerBytesMax {
		err = fmt.Errorf("it is longer than %d bytes", answerBytesMax)
	}
	return b, err
}
