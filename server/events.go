package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

const (
	pageEventsMax = 200     // events in one answer of the page form
	pageBytesMax  = 4 << 20 // of their data; the page ends early, next_after tells where
	readEventsMin = 16      // events asked of the log at first; twice as many after each small answer
	readEventsMax = 256     // at most
)

// typeProgress names the live events that the log does not hold.
const typeProgress = "progress"

// eventTypes are the names that types= may select.
var eventTypes = []string{
	string(session.EventCreated), string(session.EventPlanned), string(session.EventPlanFailed),
	string(session.EventCallStarted), string(session.EventCallWaiting), string(session.EventCallFinished),
	string(session.EventInput), string(session.EventCancelAsked), string(session.EventRunRequested),
	string(session.EventCompleted), string(session.EventFailed), string(session.EventCancelled),
	string(session.EventSessionClosed), typeProgress,
}

// Names of the events that belong to the stream and not to the session.
const (
	eventCaughtUp = "caught_up"
	eventEnd      = "end"
	eventProblem  = "problem"
)

type eventsInput struct {
	SessionPath
	LastEventID string `header:"Last-Event-ID" maxLength:"100" doc:"seq of the last event you have; EventSource sends it when it reconnects. It outranks after="`
	After       int64  `query:"after" minimum:"0" default:"0" doc:"seq of the last event you have"`
	Types       string `query:"types" maxLength:"500" doc:"only these types, separated by commas" example:"call.finished,session.completed"`
	Follow      bool   `query:"follow" default:"true" doc:"stream only: false ends it at caught_up"`
	Limit       int    `query:"limit" minimum:"1" maximum:"200" default:"100" doc:"page only: events on it"`
	Wait        int    `query:"wait" minimum:"0" maximum:"60" default:"0" doc:"page only: seconds to wait for a first event"`
	AccessToken string `query:"access_token" maxLength:"500" doc:"the API key, for EventSource, which cannot send headers"`
}

// events answers with the log of a session, as a page or as a stream.
func (s *Server) events(ctx context.Context, in *eventsInput) (*written, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	types, err := selectTypes(in.Types)
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Manager.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &logReader{manager: s.cfg.Manager, id: id, types: types, ended: v.Session.Status.Terminal(), status: v.Session.Status}
	if r.after, err = position(in, v.Session.LastSeq); err != nil {
		return nil, err
	}
	if prefers(ctx, "application/json", "text/event-stream") {
		page, err := s.eventPage(ctx, r, in)
		if err != nil {
			return nil, err
		}
		return &written{Body: func(hc huma.Context) { s.writePage(hc, in, page) }}, nil
	}
	if in.LastEventID != "" && r.ended && r.after >= v.Session.LastSeq {
		// The answer that tells an EventSource to stop reconnecting.
		return &written{Body: func(hc huma.Context) { hc.SetStatus(http.StatusNoContent) }}, nil
	}
	release, err := s.enter()
	if err != nil {
		return nil, err
	}
	return &written{Body: func(hc huma.Context) {
		defer release()
		c := humagin.Unwrap(hc)
		w := &eventWriter{w: c.Writer}
		w.begin(c.Writer.Header())
		if requestFrom(ctx).method == http.MethodHead {
			return
		}
		s.stream(ctx, r, w, in.Follow)
	}}, nil
}

// position is the seq after which the client wants to read.
func position(in *eventsInput, last int64) (int64, error) {
	after, name := in.After, "/query/after"
	if in.LastEventID != "" {
		name = "/header/Last-Event-ID"
		n, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != in.LastEventID {
			return 0, fault.New(fault.Validation, "Last-Event-ID is not the id of an event").With(fault.Detail{
				Pointer: name, Message: "not a whole number from 0 on", Remedy: remedies[name],
			})
		}
		after = n
	}
	if after > last {
		return 0, fault.New(fault.Validation, "the session has no event %d yet; its newest is %d", after, last).With(fault.Detail{
			Pointer: name, Message: "is ahead of the session", Remedy: remedies[name],
		})
	}
	return after, nil
}

// selectTypes reads types=. nil selects everything.
func selectTypes(list string) (map[string]bool, error) {
	if list == "" {
		return nil, nil
	}
	types := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(eventTypes, name) {
			return nil, fault.New(fault.Validation, "there is no event type %q", name).With(fault.Detail{
				Pointer: "/query/types", Message: "unknown event type", Remedy: "use " + strings.Join(eventTypes, ", "),
			})
		}
		types[name] = true
	}
	return types, nil
}

// A logReader reads a session's log forward.
type logReader struct {
	manager Manager
	id      string
	types   map[string]bool // nil means all
	after   int64           // seq of the last event read
	ended   bool            // the session has ended
	status  session.Status  // of the ended session
	limit   int             // of the next read
}

func (r *logReader) wants(name string) bool { return r.types == nil || r.types[name] }

// read returns the selected ones of the next events, and whether the log had
// no more.
func (r *logReader) read(ctx context.Context, most int) (selected []session.Event, bytes int, caughtUp bool, err error) {
	r.limit = max(r.limit, readEventsMin)
	limit := min(r.limit, most)
	all, err := r.manager.Events(ctx, r.id, r.after, limit)
	if err != nil {
		return nil, 0, false, err
	}
	for _, e := range all {
		r.after = e.Seq
		bytes += len(e.Data)
		if status, ok := endings[e.Type]; ok {
			r.ended, r.status = true, status
		}
		if r.wants(string(e.Type)) {
			selected = append(selected, e)
		}
	}
	if bytes < pageBytesMax/16 {
		r.limit = min(2*r.limit, readEventsMax)
	} else {
		r.limit = readEventsMin
	}
	return selected, bytes, len(all) < limit, nil
}

var endings = map[session.EventType]session.Status{
	session.EventCompleted: session.Completed,
	session.EventFailed:    session.Failed,
	session.EventCancelled: session.Cancelled,
}

// eventPage collects one page, waiting for a first event if asked to.
func (s *Server) eventPage(ctx context.Context, r *logReader, in *eventsInput) (EventPage, error) {
	p := EventPage{Events: []session.Event{}}
	bytes := 0
	fill := func() (bool, error) {
		for len(p.Events) < in.Limit && bytes < pageBytesMax {
			events, n, caughtUp, err := r.read(ctx, in.Limit-len(p.Events))
			if err != nil {
				return true, err
			}
			p.Events, bytes = append(p.Events, events...), bytes+n
			if p.CaughtUp = caughtUp; caughtUp {
				break
			}
		}
		return len(p.Events) > 0 || bytes >= pageBytesMax || r.ended, nil
	}
	err := s.await(ctx, r.id, time.Duration(in.Wait)*time.Second, fill)
	p.NextAfter, p.Ended = r.after, r.ended && p.CaughtUp
	return p, err
}

func (s *Server) writePage(hc huma.Context, in *eventsInput, page EventPage) {
	if !page.Ended {
		q := url.Values{"after": {strconv.FormatInt(page.NextAfter, 10)}, "limit": {strconv.Itoa(in.Limit)}}
		if in.Types != "" {
			q.Set("types", in.Types)
		}
		hc.SetHeader("Link", linkNext("/sessions/"+in.ID+"/events", q))
	}
	s.writeJSON(hc, page)
}

// stream sends what the log holds, then follows the session until it ends, the
// client goes or the server stops. A client that does not read is noticed by
// the deadline of a write, and loses nothing: it comes back with the id of the
// last event it got.
func (s *Server) stream(ctx context.Context, r *logReader, w *eventWriter, follow bool) {
	sub := s.cfg.Manager.Watch(r.id)
	defer sub.Close()
	heartbeat := time.NewTicker(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()

	caughtUp := false
	for w.err == nil {
		for more := true; more && w.err == nil; {
			events, _, done, err := r.read(ctx, readEventsMax)
			if err != nil {
				w.problem(problem(ctx, err))
				return
			}
			for _, e := range events {
				w.event(strconv.FormatInt(e.Seq, 10), string(e.Type), e)
			}
			more = !done
		}
		if !caughtUp {
			caughtUp = true
			w.event("", eventCaughtUp, CaughtUp{LastSeq: r.after})
		}
		if r.ended {
			w.event("", eventEnd, End{LastSeq: r.after, Status: r.status})
			return
		}
		if w.flush(); !follow {
			return
		}
		for idle := true; idle && w.err == nil; {
			select {
			case n := <-sub.C:
				if n.Progress == nil {
					idle = false
				} else if r.wants(typeProgress) {
					w.event("", typeProgress, n.Progress)
					w.flush()
				}
			case <-poll.C:
				idle = false
			case <-heartbeat.C:
				w.heartbeat()
			case <-s.draining:
				w.retry(retryDrain)
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

const (
	retryUsual = 2 * time.Second        // before a client reconnects by itself
	retryDrain = 500 * time.Millisecond // when the server stops: another one is there soon
	padding    = 1 << 10                // bytes of a heartbeat, enough for proxies that hold back small pieces
)

// An eventWriter writes server-sent events until the first error.
type eventWriter struct {
	w interface {
		http.ResponseWriter
		http.Flusher
	}
	err error
}

func (w *eventWriter) begin(h http.Header) {
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx passes each event on at once
	w.w.WriteHeader(http.StatusOK)
	w.retry(retryUsual)
}

func (w *eventWriter) write(text string) {
	if w.err == nil {
		_, w.err = w.w.Write([]byte(text))
	}
}

func (w *eventWriter) flush() {
	if w.err == nil {
		w.w.Flush()
	}
}

func (w *eventWriter) retry(d time.Duration) {
	w.write("retry: " + strconv.FormatInt(d.Milliseconds(), 10) + "\n\n")
	w.flush()
}

func (w *eventWriter) heartbeat() {
	w.write(":" + strings.Repeat(" ", padding) + "\n\n")
	w.flush()
}

// event writes one event. id is "" for what the log does not hold.
func (w *eventWriter) event(id, name string, data any) {
	if w.err != nil {
		return
	}
	text, err := json.Marshal(data) // one line: Marshal compacts what it embeds
	if err != nil {
		w.err = fmt.Errorf("event %s: %w", name, err)
		return
	}
	var b strings.Builder
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("event: " + name + "\ndata: ")
	b.Write(text)
	b.WriteString("\n\n")
	w.write(b.String())
}

// problem tells a client that already has a status why the stream breaks off.
func (w *eventWriter) problem(p *Problem) {
	w.event("", eventProblem, p)
	w.retry(retryUsual)
}
