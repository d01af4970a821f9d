package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const (
	// streamMax is how many bytes of one streamed answer are read, events and
	// all; longer ones fail. What counts for the text itself is textMax.
	streamMax = 64 << 20

	// wholeMax is the same for an answer in one piece.
	wholeMax = 8 << 20
)

// send makes one request and returns its answer's events as a body whose size
// and silence are bounded. An error status, a web page, an error or garbage in
// place of an answer are failures. A whole answer to a request for a stream is
// returned as one event: not every server streams.
func (c *client) send(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		return nil, err
	}
	body := &guardedBody{body: resp.Body, left: streamMax, idle: c.idle, ctx: ctx, cancel: cancel}
	body.timer = time.AfterFunc(c.idle, func() { cancel(errIdle) })
	resp.Body = body
	if err := c.inspect(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// inspect refuses what is no answer and turns a whole answer into one event.
func (c *client) inspect(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return &failure{status: resp.StatusCode, message: "redirects are not followed: the base URL must be the final one"}
	}
	if resp.StatusCode != http.StatusOK {
		return statusFailure(resp)
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		kind = "" // read as a stream, which then fails for what it is
	}
	switch {
	case kind == "text/html":
		return broken("the provider answered with a web page")
	case kind == "application/json", strings.HasSuffix(kind, "+json"):
		return wholeAnswer(resp)
	}
	return nil
}

func wholeAnswer(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, wholeMax+1))
	if err != nil {
		return err
	}
	if len(raw) > wholeMax {
		return broken("the answer has more than %d bytes", wholeMax)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return broken("the answer is not JSON: %s", plain(raw))
	}
	var v struct {
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return broken("the answer is not an object: %s", plain(raw))
	}
	if len(v.Error) > 0 && string(v.Error) != "null" {
		return providerFailure(resp.StatusCode, raw)
	}
	events := io.MultiReader(strings.NewReader("data: "), &line, strings.NewReader("\n\ndata: [DONE]\n\n"))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{events, resp.Body}
	return nil
}

// A guardedBody bounds how much is read and how long nothing comes.
type guardedBody struct {
	body   io.ReadCloser
	left   int64
	idle   time.Duration
	timer  *time.Timer // ends ctx; reset by each read that brings something
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, broken("the answer has more than %d bytes", streamMax)
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if n > 0 {
		b.timer.Reset(b.idle)
	}
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.body.Close()
}
