package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Create posts a session. body is the JSON of the request, sent as it is; key
// is its Idempotency-Key, "" for none.
func (c *Client) Create(ctx context.Context, body []byte, key string) (s Session, err error) {
	h := http.Header{}
	if key != "" {
		h.Set("Idempotency-Key", key)
	}
	_, err = c.do(ctx, http.MethodPost, "/sessions", h, body, &s)
	return s, err
}

// Get returns a session with its content.
func (c *Client) Get(ctx context.Context, id string) (s Session, err error) {
	_, err = c.do(ctx, http.MethodGet, session(id, ""), nil, nil, &s)
	return s, err
}

// List returns a page of sessions, newest first.
func (c *Client) List(ctx context.Context, status, manifest string, limit int, cursor string) (p Page, err error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("status", status)
	set("manifest", manifest)
	set("cursor", cursor)
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	_, err = c.do(ctx, http.MethodGet, "/sessions?"+q.Encode(), nil, nil, &p)
	return p, err
}

// Step makes one turn and waits for it.
func (c *Client) Step(ctx context.Context, id string) (s StepAnswer, err error) {
	_, err = c.do(ctx, http.MethodPost, session(id, "/step"), nil, nil, &s)
	return s, err
}

// Run lets the server's workers advance the session from now on.
func (c *Client) Run(ctx context.Context, id string) (s Session, err error) {
	_, err = c.do(ctx, http.MethodPost, session(id, "/run"), nil, nil, &s)
	return s, err
}

// Input answers a question. call may be "" when only one question waits.
func (c *Client) Input(ctx context.Context, id, call string, answer json.RawMessage) (s Session, err error) {
	in := struct {
		CallID string          `json:"call_id,omitempty"`
		Answer json.RawMessage `json:"answer"`
	}{call, answer}
	_, err = c.do(ctx, http.MethodPost, session(id, "/input"), nil, in, &s)
	return s, err
}

// Cancel asks a session to end.
func (c *Client) Cancel(ctx context.Context, id, reason string) (s Session, err error) {
	in := struct {
		Reason string `json:"reason,omitempty"`
	}{reason}
	_, err = c.do(ctx, http.MethodPost, session(id, "/cancel"), nil, in, &s)
	return s, err
}

// Close seals a session and returns its transcript as it was sent.
func (c *Client) Close(ctx context.Context, id string) (json.RawMessage, error) {
	var out struct {
		Transcript json.RawMessage `json:"transcript"`
	}
	_, err := c.do(ctx, http.MethodPost, session(id, "/close"), nil, nil, &out)
	return out.Transcript, err
}

// Transcript returns everything that has happened so far, as it was sent.
func (c *Client) Transcript(ctx context.Context, id string) (t json.RawMessage, err error) {
	_, err = c.do(ctx, http.MethodGet, session(id, "/transcript"), nil, nil, &t)
	return t, err
}

// Log copies a session's log to w, one event a line.
func (c *Client) Log(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, session(id, "/transcript?format=jsonl"), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("copy the log of session %s: %w", id, err)
	}
	return nil
}

// Verify has the server check a session's record.
func (c *Client) Verify(ctx context.Context, id string) (v Verification, err error) {
	_, err = c.do(ctx, http.MethodGet, session(id, "/verify"), nil, nil, &v)
	return v, err
}

// Register stores a manifest, JSON or YAML.
func (c *Client) Register(ctx context.Context, source []byte) (r ManifestRef, err error) {
	h := http.Header{"Content-Type": {"application/yaml"}}
	if json.Valid(source) {
		h.Set("Content-Type", "application/json")
	}
	_, err = c.do(ctx, http.MethodPost, "/manifests", h, source, &r)
	return r, err
}

// Health returns nil when the server's process lives.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/healthz", nil, nil, nil)
	return err
}

// Ready returns nil when the server can do its work.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/readyz", nil, nil, nil)
	return err
}

func session(id, rest string) string { return "/sessions/" + url.PathEscape(id) + rest }
