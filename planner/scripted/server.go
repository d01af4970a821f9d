package scripted

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ServerConfig says how a Server behaves beside its script. The zero value
// asks for no key.
type ServerConfig struct {
	// APIKey, when set, is required: as "Authorization: Bearer" by the OpenAI
	// routes and as "x-api-key" by the Anthropic route.
	APIKey string
	// Keep is how many of the newest requests Requests returns; 0 means 1000.
	Keep int
}

const (
	// bodyMax is how many bytes a request may have; larger ones get 413.
	bodyMax = 16 << 20

	keepDefault = 1000
)

// A Server answers chat requests from a script over HTTP: POST
// /v1/chat/completions and GET /v1/models as OpenAI's servers do, POST
// /v1/messages as Anthropic's does, whole or streamed. It is safe for
// concurrent use, and an answer depends on nothing but the request and on how
// often rules with Times were used.
type Server struct {
	script *Script
	cfg    ServerConfig
	mux    *http.ServeMux

	mu       sync.Mutex
	requests []Received // protected by mu; at most cfg.Keep
}

// A Received is one request that a Server got.
type Received struct {
	Path   string
	Header http.Header
	Body   json.RawMessage
	Rule   string // name of the rule that answered, "" for none
}

// NewServer returns a handler that answers from a loaded script.
func NewServer(s *Script, cfg ServerConfig) *Server {
	if cfg.Keep <= 0 {
		cfg.Keep = keepDefault
	}
	srv := &Server{script: s, cfg: cfg, mux: http.NewServeMux()}
	srv.mux.HandleFunc("GET /v1/models", srv.models)
	srv.mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		srv.chat(w, r, openAI{}, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})
	srv.mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, r *http.Request) {
		srv.chat(w, r, anthropic{}, r.Header.Get("X-Api-Key"))
	})
	srv.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		openAI{}.fail(w, http.StatusNotFound, "invalid_request_error", "unknown route "+r.Method+" "+r.URL.Path)
	})
	return srv
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Requests returns the newest chat requests, oldest first.
func (s *Server) Requests() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.requests...)
}

func (s *Server) record(r Received) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == s.cfg.Keep {
		s.requests = s.requests[1:]
	}
	s.requests = append(s.requests, r)
}

func (s *Server) authorized(key string) bool {
	return s.cfg.APIKey == "" || subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) == 1
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		openAI{}.fail(w, http.StatusUnauthorized, "invalid_request_error", "Incorrect API key provided")
		return
	}
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	names := s.script.Models
	if len(names) == 0 {
		names = []string{"scripted"}
	}
	for _, n := range names {
		list.Data = append(list.Data, model{ID: n, Object: "model", OwnedBy: "script"})
	}
	writeJSON(w, http.StatusOK, list)
}

// A wire is one provider's protocol.
type wire interface {
	read(body []byte) (prompt, error)
	fail(w http.ResponseWriter, status int, kind, message string)
	whole(w http.ResponseWriter, a answer)
	stream(a answer) events
}

// An events is the stream of one answer, in three phases.
type events struct {
	begin  []string              // before the first piece
	piece  func(s string) string // one piece of text
	middle []string              // reasoning and tool calls, sent whole after the text
	end    []string              // reason to end, usage, end mark
	failed string                // an error event, for mid_stream_error
}

// An answer is what a rule says to one prompt.
type answer struct {
	prompt prompt
	rule   *Rule
	text   string
	fault  Fault
	usage  Usage
}

// finish returns OpenAI's word for why the answer ends.
func (a answer) finish() string {
	switch {
	case a.fault.Finish != "":
		return a.fault.Finish
	case len(a.rule.ToolCalls) > 0:
		return "tool_calls"
	}
	return "stop"
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, wr wire, key string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		status, kind := http.StatusBadRequest, "invalid_request_error"
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			status, kind = http.StatusRequestEntityTooLarge, "request_too_large"
		}
		wr.fail(w, status, kind, "the request body cannot be read")
		return
	}
	got := Received{Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	refuse := func(status int, kind, message string) {
		s.record(got)
		wr.fail(w, status, kind, message)
	}
	if !s.authorized(key) {
		refuse(http.StatusUnauthorized, "authentication_error", "Incorrect API key provided")
		return
	}
	p, err := wr.read(body)
	if err != nil {
		refuse(http.StatusBadRequest, "invalid_request_error", "the request cannot be read: "+err.Error())
		return
	}
	rule, found := s.script.choose(p)
	if rule == nil {
		refuse(http.StatusBadRequest, "invalid_request_error", "no rule of the script matches this prompt")
		return
	}
	got.Rule = rule.Name
	a := answer{prompt: p, rule: rule}
	if rule.Fault != nil {
		a.fault = *rule.Fault
	}
	if a.text, err = rule.reply.fill(found); err != nil {
		refuse(http.StatusBadRequest, "invalid_request_error", "the script's reply cannot be filled: "+err.Error())
		return
	}
	a.usage = a.count()
	s.record(got) // before the answer, so that who has read it finds the request
	a.send(w, r, wr)
}

// count returns the rule's usage, or four characters to the token.
func (a answer) count() Usage {
	if a.rule.Usage != nil {
		return *a.rule.Usage
	}
	return Usage{PromptTokens: int64(len(a.prompt.text(""))+3) / 4, CompletionTokens: int64(len(a.text)+3) / 4}
}

// send writes the answer with the rule's fault, if it has one.
func (a answer) send(w http.ResponseWriter, r *http.Request, wr wire) {
	f := a.fault
	for name, value := range f.Headers {
		w.Header().Set(name, value)
	}
	kind, text := f.Type, f.Message
	if kind == "" {
		kind = "server_error"
	}
	if text == "" {
		text = "scripted fault"
	}
	switch {
	case f.Reset:
		panic(http.ErrAbortHandler)
	case f.Hang:
		<-r.Context().Done()
	case f.Status != 0 && f.Status != http.StatusOK:
		wr.fail(w, f.Status, kind, text)
	case f.ErrorIn200:
		wr.fail(w, http.StatusOK, kind, text)
	case f.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>Bad gateway</title><h1>502 Bad Gateway</h1>")
	case f.Garbage:
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("\x00\xff{]not an answer"))
	case a.prompt.stream:
		a.stream(r.Context(), w, wr.stream(a))
	default:
		if pause(r.Context(), a.rule.DelayMS) {
			wr.whole(w, a)
		}
	}
}

// stream sends server-sent events. What fails to be written is not reported:
// the client has gone.
func (a answer) stream(ctx context.Context, w http.ResponseWriter, e events) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	send := func(s string) bool {
		if _, err := io.WriteString(w, s); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	for range a.fault.Comments {
		if !send(": keep-alive\n\n") {
			return
		}
	}
	pieces := pieces(a.text, a.rule.Chunk)
	if a.fault.EmptyChoices {
		pieces = nil
	}
	send(strings.Join(e.begin, ""))
	for i, p := range pieces {
		if i >= len(pieces)/2 && a.breakOff(ctx, send, e) {
			return
		}
		if !pause(ctx, a.rule.DelayMS) || !send(e.piece(p)) {
			return
		}
	}
	if len(pieces) == 0 && a.breakOff(ctx, send, e) {
		return
	}
	line := strings.Repeat("all work and no play ", 50)
	for sent := int64(0); a.fault.Flood < 0 || sent < a.fault.Flood; sent += int64(len(line)) {
		if ctx.Err() != nil || !send(e.piece(line)) {
			return
		}
	}
	send(strings.Join(e.middle, ""))
	if !a.fault.NoEnd {
		send(strings.Join(e.end, ""))
	}
}

// breakOff carries out the faults of the middle of a stream and reports
// whether it has ended.
func (a answer) breakOff(ctx context.Context, send func(string) bool, e events) bool {
	switch {
	case a.fault.Cut:
		panic(http.ErrAbortHandler)
	case a.fault.Stall:
		<-ctx.Done()
	case a.fault.MidStreamError:
		send(e.failed)
	default:
		return false
	}
	return true
}

// pause waits and reports whether the client is still there.
func pause(ctx context.Context, ms int) bool {
	if ms <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// pieces cuts a text into pieces of n characters.
func pieces(s string, n int) (out []string) {
	for len(s) > 0 {
		i, count := 0, 0
		for i = range s {
			if count == n {
				break
			}
			count++
		}
		if count < n || i == 0 {
			return append(out, s)
		}
		out, s = append(out, s[:i]), s[i:]
	}
	return out
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(encode(v))
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("scripted: encode: " + err.Error())
	}
	return raw
}
