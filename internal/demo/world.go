package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// bodyBytesMax bounds a request's body; a longer one is refused with 413.
const bodyBytesMax = 1 << 20

// A World is everything the services share. It is safe for concurrent use.
type World struct {
	services []*Service
	control  string // bearer token of the control endpoint
	ledger   ledger
	faults   faults
	calendar calendar
	crm      crm
	mail     mailbox
	data     database
}

// A Service is one HTTP service of the world.
type Service struct {
	Name     string // "calendar", "crm", "mail", "data"
	Origin   string // the origin under which manifests know it
	TokenEnv string // the variable under which manifests know its token
	Token    string // generated with the world

	handler http.Handler
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(rw http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(rw, r) }

// New returns a world in its first state, with fresh tokens.
func New() *World {
	w := &World{control: rand.Text(), data: newDatabase()}
	w.add("calendar", "CALENDAR_TOKEN", map[string]operation{
		"POST /v1/free_slots": {run: w.calendar.freeSlots},
		"POST /v1/events":     {run: w.calendar.createEvent, effect: true},
		"POST /v1/meetings":   {run: w.calendar.createMeeting, effect: true},
		"GET /v1/events":      {run: w.calendar.listEvents},
	})
	w.add("crm", "CRM_TOKEN", map[string]operation{
		"POST /v1/meetings": {run: w.crm.recordMeeting, effect: true},
		"GET /v1/meetings":  {run: w.crm.listMeetings},
	})
	w.add("mail", "MAIL_TOKEN", map[string]operation{
		"GET /v1/unread": {run: w.mail.unread},
		"POST /v1/send":  {run: w.mail.send, effect: true},
		"GET /v1/sent":   {run: w.mail.listSent},
	})
	w.add("data", "DATA_TOKEN", map[string]operation{
		"POST /v1/query": {run: w.data.query},
	})
	return w
}

// Services returns the services in a fixed order.
func (w *World) Services() []*Service { return w.services }

// ControlToken returns the bearer token of the control endpoint.
func (w *World) ControlToken() string { return w.control }

// An operation is one route of a service. run may be called concurrently.
type operation struct {
	run    func(request) (any, error)
	effect bool // it changes the world, so Idempotency-Key applies
}

// A request is what an operation sees.
type request struct {
	body  []byte
	query func(name string) string
}

func (w *World) add(name, tokenEnv string, ops map[string]operation) {
	s := &Service{
		Name:     name,
		Origin:   "https://api." + name + ".example.com",
		TokenEnv: tokenEnv,
		Token:    rand.Text(),
	}
	mux := http.NewServeMux()
	for route, op := range ops {
		mux.Handle(route, w.serve(s, route, op))
	}
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		respond(rw, http.StatusNotFound, problem{Code: "not_found", Message: "no such operation: " + r.Method + " " + r.URL.Path})
	})
	s.handler = mux
	w.services = append(w.services, s)
}

// serve wraps an operation in what every operation has: the token check, the
// injected faults and the ledger of effects.
func (w *World) serve(s *Service, route string, op operation) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !bearer(r, s.Token) {
			rw.Header().Set("WWW-Authenticate", "Bearer")
			respond(rw, http.StatusUnauthorized, problem{Code: "unauthorized", Message: "send the header Authorization: Bearer <token of the " + s.Name + " service>"})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, bodyBytesMax))
		if err != nil {
			status := http.StatusBadRequest
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				status = http.StatusRequestEntityTooLarge
			}
			respond(rw, status, problem{Code: "unreadable", Message: "the body cannot be read: " + err.Error()})
			return
		}

		f := w.faults.next(s.Name, route)
		if !wait(r, f.LatencyMS) {
			return // the caller has gone; nothing has happened yet
		}
		if f.Mode == ModeError {
			respond(rw, f.Status, problem{Code: "injected", Message: "injected failure"})
			return
		}

		run := func() (int, []byte) {
			out, err := op.run(request{body: body, query: r.URL.Query().Get})
			if err != nil {
				p := asProblem(err)
				return p.status(), encode(p)
			}
			return http.StatusOK, encode(out)
		}
		var a answer
		if op.effect {
			a = w.ledger.once(s.Name, route, r.Header.Get("Idempotency-Key"), body, run)
		} else {
			a.status, a.body = run()
		}

		if !wait(r, f.ResponseLatencyMS) {
			return
		}
		if f.Mode == ModeDrop {
			// What the effect did stays done: the caller cannot know.
			panic(http.ErrAbortHandler) // net/http's way to break a connection
		}
		if a.replayed {
			rw.Header().Set("Idempotency-Replayed", "true")
		}
		if a.status == http.StatusConflict {
			rw.Header().Set("Retry-After", "1")
		}
		write(rw, a.status, a.body)
	})
}

// wait lets ms milliseconds pass. It reports false when the caller went away
// first.
func wait(r *http.Request, ms int) bool {
	if ms <= 0 {
		return r.Context().Err() == nil
	}
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func bearer(r *http.Request, token string) bool {
	scheme, got, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	// Hashed first, so that the comparison's time tells nothing of the length.
	g, want := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(g[:], want[:]) == 1
}

// A problem is the error body of every service.
type problem struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Fields  []fieldProblem `json:"fields,omitempty"`
}

type fieldProblem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (p problem) Error() string { return p.Code + ": " + p.Message }

func (p problem) status() int {
	switch p.Code {
	case "forbidden":
		return http.StatusForbidden
	case "full":
		return http.StatusServiceUnavailable
	case "in_flight":
		return http.StatusConflict
	case "key_reused":
		return http.StatusUnprocessableEntity
	}
	return http.StatusBadRequest
}

func respond(rw http.ResponseWriter, status int, v any) { write(rw, status, encode(v)) }

func write(rw http.ResponseWriter, status int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(body) // a client that went away needs no answer
}

func encode(v any) []byte {
	b, _ := json.Marshal(v) // only our own types come here, which always encode
	return append(b, '\n')
}
