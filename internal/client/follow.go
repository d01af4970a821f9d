package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	// reconnectPatience is how long Follow keeps trying to reach a server that
	// it has already heard from; then it gives up with the last error.
	reconnectPatience = time.Minute
	// reconnectPause lies between two attempts.
	reconnectPause = 500 * time.Millisecond
)

// ErrStop is returned by the function given to Follow to end it without an error.
var ErrStop = errors.New("client: stop following")

// Follow calls each with the session's events after a seq, in order and
// without gaps, and with live signs as they come, until the session has ended
// and everything was delivered, each returns an error, or ctx is done. When
// the connection breaks it comes back and continues where it was.
func (c *Client) Follow(ctx context.Context, id string, after int64, each func(Event) error) error {
	var lostAt time.Time // when the server was last heard from; zero before the first answer
	for {
		ended, heard, err := c.stream(ctx, id, &after, each)
		switch {
		case ended || errors.Is(err, ErrStop):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case heard:
			lostAt = time.Now()
		}
		var broken brokenError
		if !errors.As(err, &broken) {
			return err
		}
		if lostAt.IsZero() || time.Since(lostAt) > reconnectPatience {
			return broken.err
		}
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func problemText(data []byte) string {
	var p struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &p) != nil || p.Message == "" {
		return "no reason given"
	}
	return p.Message
}

var errEnded = fault.New(fault.Unavailable, "the stream ended")

// A brokenError is a failure of the connection, which may be better next time.
type brokenError struct{ err error }

func (e brokenError) Error() string { return e.err.Error() }
func (e brokenError) Unwrap() error { return e.err }

// stream reads one connection's events and moves after along. heard tells
// whether the server answered.
func (c *Client) stream(ctx context.Context, id string, after *int64, each func(Event) error) (ended, heard bool, err error) {
	h := http.Header{"Accept": {"text/event-stream"}}
	if *after > 0 {
		h.Set("Last-Event-ID", strconv.FormatInt(*after, 10))
	}
	resp, err := c.send(ctx, http.MethodGet, session(id, "/events"), h, nil)
	if err != nil {
		if f := fault.From(err); f.Code == fault.Unavailable || f.Retryable {
			err = brokenError{err}
		}
		return false, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return true, true, nil // it has ended and we have everything
	}
	r := newSSEReader(resp.Body)
	for {
		m, err := r.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errEnded
			}
			return false, true, brokenError{err}
		}
		switch m.name {
		case "end":
			return true, true, nil
		case "problem":
			return false, true, brokenError{fault.New(fault.Unavailable, "the server broke off the stream: %s", problemText(m.data))}
		}
		e := Event{SessionID: id, Type: m.name, Data: m.data}
		if m.id != "" {
			e = Event{SessionID: id}
			if err := json.Unmarshal(m.data, &e); err != nil {
				return false, true, fmt.Errorf("event %s of session %s cannot be read: %w", m.id, id, err)
			}
			if e.Seq <= *after {
				continue
			}
			if e.Seq != *after+1 {
				return false, true, fmt.Errorf("session %s: event %d came after event %d", id, e.Seq, *after)
			}
			*after = e.Seq
		}
		if err := each(e); err != nil {
			return false, true, err
		}
	}
}
