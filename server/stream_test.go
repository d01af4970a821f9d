package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/server"
	"github.com/oap-runtime/oap/session"
)

// A message is one server-sent event, or a comment with name ":".
type message struct {
	id, name, data string
}

// A stream reads server-sent events.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	scan *bufio.Scanner
	stop context.CancelFunc
}

// follow opens a stream. It ends with the test at the latest.
func (b *bench) follow(path string, headers ...string) *stream {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute) // fails instead of hanging
	r, err := http.NewRequestWithContext(ctx, "GET", b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Accel-Buffering") != "no" {
		text, _ := io.ReadAll(resp.Body)
		b.t.Fatalf("GET %s = %d %v %s", path, resp.StatusCode, resp.Header, text)
	}
	s := &stream{b.t, resp.Body, bufio.NewScanner(resp.Body), cancel}
	s.scan.Buffer(nil, 8<<20)
	b.t.Cleanup(s.close)
	return s
}

func (s *stream) close() {
	s.stop()
	_ = s.body.Close()
}

// next returns the next message, or false at the end.
func (s *stream) next() (message, bool) {
	var m message
	for s.scan.Scan() {
		line := s.scan.Text()
		if strings.HasPrefix(line, ":") {
			m.name = ":"
			continue
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.name = value
		case "data":
			m.data += value
		case "retry":
			m.name, m.data = "retry", value
		case "":
			if m != (message{}) {
				return m, true
			}
		}
	}
	return m, false
}

// until reads up to the first message with the name, which it returns last.
func (s *stream) until(name string) []message {
	s.t.Helper()
	var seen []message
	for {
		m, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended before %q; it sent %v (%v)", name, seen, s.scan.Err())
		}
		seen = append(seen, m)
		if m.name == name {
			return seen
		}
	}
}

func ids(ms []message) (list []string) {
	for _, m := range ms {
		if m.id != "" {
			list = append(list, m.id)
		}
	}
	return list
}

// A stream shows what was, then what happens, then the end, and closes.
func TestStreamFollowsASession(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("slow")))
	b.work()
	id := b.create(`{"goal":"watch me"}`)
	s := b.follow("/sessions/" + id + "/events")
	if got := ids(s.until("caught_up")); !slices.Equal(got, []string{"1"}) {
		t.Errorf("before caught_up: events %v, want 1", got)
	}
	b.do("POST", "/sessions/"+id+"/run", "")
	live := s.until("progress")
	if p := live[len(live)-1]; p.id != "" || !strings.Contains(p.data, "working") || !strings.Contains(p.data, `"call_id"`) {
		t.Errorf("progress = %+v, want the executor's words, the call, and no id", p)
	}
	b.world.slow <- struct{}{}
	rest := s.until("end")
	if last := rest[len(rest)-1]; !strings.Contains(last.data, `"status":"completed"`) {
		t.Errorf("end = %+v, want the status completed", last)
	}
	got := ids(append(live, rest...))
	for i, want := 0, 2; i < len(got); i, want = i+1, want+1 {
		if got[i] != fmt.Sprint(want) {
			t.Fatalf("live events %v, want every seq from 2 on, once and in order", got)
		}
	}
	if m, ok := s.next(); ok {
		t.Errorf("after end came %+v, want the stream to close", m)
	}
}

// A client that reconnects with the last id it got misses nothing and gets
// nothing twice, wherever it was cut.
func TestStreamResumesExactly(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("search_free_slots"), does("broken"), does("log_meeting_crm")))
	id := b.create(`{"goal":"cut me anywhere"}`)
	for range 3 {
		b.do("POST", "/sessions/"+id+"/step", "")
	}
	all := b.follow("/sessions/" + id + "/events").until("end")
	whole := ids(all)
	if len(whole) != 11 {
		t.Fatalf("events %v, want 11", whole)
	}
	for cut := range whole {
		for _, at := range []string{"?after=" + whole[cut], ""} {
			headers := []string{"Last-Event-ID: " + whole[cut]}
			if at != "" {
				headers = nil
			}
			if cut == len(whole)-1 && at == "" {
				// Nothing is left: an EventSource must be told to stop.
				if a := b.do("GET", "/sessions/"+id+"/events", "", headers...); a.status != http.StatusNoContent {
					t.Errorf("after the last event = %d, want 204", a.status)
				}
				continue
			}
			got := b.follow("/sessions/"+id+"/events"+at, headers...).until("end")
			if !slices.Equal(ids(got), whole[cut+1:]) {
				t.Errorf("resumed after %s: %v, want %v", whole[cut], ids(got), whole[cut+1:])
			}
		}
	}
	// The header outranks the parameter: EventSource repeats the URL it had.
	got := b.follow("/sessions/"+id+"/events?after=1", "Last-Event-ID: 9").until("end")
	if !slices.Equal(ids(got), []string{"10", "11"}) {
		t.Errorf("events %v, want 10 and 11", ids(got))
	}
	filtered := b.follow("/sessions/" + id + "/events?types=call.finished").until("end")
	if !slices.Equal(ids(filtered), []string{"4", "7", "10"}) {
		t.Errorf("call.finished = %v, want 4, 7 and 10", ids(filtered))
	}
}

// The events of a stream and of pages are the same, and their hashes chain.
func TestPagesHoldWhatTheStreamHolds(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("search_free_slots"), does("log_meeting_crm")))
	id := b.create(`{"goal":"page me"}`)
	b.do("POST", "/sessions/"+id+"/step", "")
	b.do("POST", "/sessions/"+id+"/step", "")
	var streamed []string
	for _, m := range b.follow("/sessions/" + id + "/events").until("end") {
		if m.id != "" {
			streamed = append(streamed, m.data)
		}
	}
	var paged []string
	prev := ""
	for path, ended := "/sessions/"+id+"/events?limit=3", false; !ended; {
		a := b.do("GET", path, "", "Accept: application/json")
		var page struct {
			Events []json.RawMessage `json:"events"`
			Ended  bool              `json:"ended"`
		}
		a.json(t, &page)
		for _, e := range page.Events {
			paged = append(paged, string(e))
			var chained struct{ Hash, PrevHash string }
			_ = json.Unmarshal([]byte(strings.Replace(string(e), "prev_hash", "PrevHash", 1)), &chained)
			if chained.PrevHash != prev {
				t.Errorf("prev_hash %q, want %q", chained.PrevHash, prev)
			}
			prev = chained.Hash
		}
		if ended = page.Ended; !ended {
			link := a.header.Get("Link")
			path = strings.TrimPrefix(link[:strings.Index(link, ">")], "<")
		}
	}
	if !slices.Equal(paged, streamed) {
		t.Errorf("pages hold\n%v\nthe stream\n%v", paged, streamed)
	}
}

// A long-poll answers as soon as something happens, and not before.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("search_free_slots")))
	id := b.create(`{"goal":"wait for me"}`)
	got := make(chan answer, 1)
	go func() { got <- b.do("GET", "/sessions/"+id+"/events?after=1&wait=60", "", "Accept: application/json") }()
	b.do("POST", "/sessions/"+id+"/step", "")
	a := <-got
	var page server.EventPage
	a.json(t, &struct {
		NextAfter *int64 `json:"next_after"`
	}{&page.NextAfter})
	if a.status != http.StatusOK || page.NextAfter < 2 {
		t.Errorf("long-poll = %d %s, want at least event 2", a.status, a.body)
	}
	a = b.do("GET", "/sessions/"+id+"/events?after=4&wait=1", "", "Accept: application/json")
	if a.status != http.StatusOK || !strings.Contains(a.body, `"events":[]`) {
		t.Errorf("long-poll without news = %d %s, want an empty page", a.status, a.body)
	}
}

// run?wait= comes back when the session asks, and when it has ended.
func TestRunWaits(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("ask_user")))
	b.work()
	id := b.create(`{"goal":"run me"}`)
	a := b.do("POST", "/sessions/"+id+"/run?wait=60", "")
	if a.status != http.StatusOK || !strings.Contains(a.body, `"status":"waiting"`) || !strings.Contains(a.body, "Which time zone?") {
		t.Fatalf("run = %d %s, want it waiting", a.status, a.body)
	}
	b.do("POST", "/sessions/"+id+"/input", `{"answer":{"zone":"UTC"}}`)
	for { // the answer wakes it; until a worker has it, it still waits
		a = b.do("POST", "/sessions/"+id+"/run?wait=60", "")
		if a.status != http.StatusOK || !strings.Contains(a.body, `"status":"waiting"`) {
			break
		}
	}
	if !strings.Contains(a.body, `"status":"completed"`) && !strings.Contains(a.body, "already completed") {
		t.Errorf("run = %d %s, want it completed", a.status, a.body)
	}
}

// Heartbeats keep a silent stream open, and are long enough to get through.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(), func(c *server.Config) { c.Heartbeat = 10 * time.Millisecond })
	id := b.create(`{"goal":"say nothing"}`)
	s := b.follow("/sessions/" + id + "/events")
	s.until("caught_up")
	s.until(":")
	s.until(":")
}

// Streams and waiting requests have a limit in number; who comes too late is
// told to come back, and a place that is left is free again.
func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(), func(c *server.Config) { c.Waiters = 2 })
	id := b.create(`{"goal":"crowded"}`)
	first := b.follow("/sessions/" + id + "/events")
	first.until("caught_up")
	b.follow("/sessions/" + id + "/events").until("caught_up")
	for _, path := range []string{"/events", "/events?wait=1"} {
		a := b.do("GET", "/sessions/"+id+path, "", "Accept: "+map[bool]string{true: "application/json", false: "text/event-stream"}[strings.Contains(path, "wait")])
		p := wantProblem(t, a, http.StatusTooManyRequests, fault.RateLimited)
		if !p.Retryable || a.header.Get("Retry-After") != "5" {
			t.Errorf("429 = %s, Retry-After %q, want it retryable after 5", a.body, a.header.Get("Retry-After"))
		}
	}
	if a := b.do("GET", "/sessions/"+id+"/events", "", "Accept: application/json"); a.status != http.StatusOK {
		t.Errorf("a page that does not wait = %d, want 200", a.status)
	}
	first.close()
	for { // the server notices the closed connection in its own time
		a := b.do("GET", "/sessions/"+id+"/events?follow=false", "")
		if a.status == http.StatusOK {
			break
		}
		wantProblem(t, a, http.StatusTooManyRequests, fault.RateLimited)
	}
}

// A client that opens a stream and does not read it is cut off by the deadline
// of a write, and its place is free again.
func TestSlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	id, other := b.create(`{"goal":"flood"}`), b.create(`{"goal":"drip"}`)
	flood := &floodingManager{Manager: b.manager, id: id, begun: make(chan struct{})}
	b = serve(t, flood, func(c *server.Config) { c.WriteTimeout, c.Waiters = 100*time.Millisecond, 1 })

	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /sessions/%s/events HTTP/1.1\r\nHost: localhost\r\n\r\n", id)
	<-flood.begun // events without end go to a reader that does not read
	for {
		a := b.do("GET", "/sessions/"+other+"/events?follow=false", "")
		if a.status == http.StatusOK {
			break
		}
		wantProblem(t, a, http.StatusTooManyRequests, fault.RateLimited)
	}
}

// A floodingManager has endless events of a megabyte in one session.
type floodingManager struct {
	server.Manager
	id    string
	begun chan struct{}
	once  sync.Once
}

func (f *floodingManager) Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error) {
	if id != f.id {
		return f.Manager.Events(ctx, id, after, limit)
	}
	f.once.Do(func() { close(f.begun) })
	events := make([]session.Event, limit)
	for i := range events {
		events[i] = session.Event{SessionID: id, Seq: after + 1 + int64(i), Type: session.EventCallStarted, Data: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)}
	}
	return events, ctx.Err()
}

// HEAD is GET without the body, also on a stream, which it does not hold open.
func TestHead(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	id := b.create(`{"goal":"head"}`)
	for _, path := range []string{"/healthz", "/sessions", "/sessions/" + id, "/sessions/" + id + "/events", "/docs"} {
		a := b.do("HEAD", path, "")
		if a.status != http.StatusOK || a.body != "" || a.header.Get("Content-Type") == "" {
			t.Errorf("HEAD %s = %d %q, want 200 and headers only", path, a.status, a.body)
		}
	}
	if a := b.do("HEAD", "/nothing", ""); a.status != http.StatusNotFound {
		t.Errorf("HEAD /nothing = %d, want 404", a.status)
	}
}

// Many clients at once, on one session and on many (hammer for -race).
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("search_free_slots"), does("log_meeting_crm")))
	b.work()
	shared := b.create(`{"goal":"shared"}`)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards statuses
	statuses := map[int]int{}
	for i := range 16 {
		wg.Go(func() {
			a := b.do("POST", "/sessions", `{"goal":"mine","run":true}`, fmt.Sprintf("Idempotency-Key: key-%d", i/2))
			id := path.Base(a.header.Get("Location"))
			mu.Lock()
			statuses[a.status]++
			mu.Unlock()
			end := b.follow("/sessions/" + id + "/events").until("end")
			if got := end[len(end)-1].data; !strings.Contains(got, "completed") {
				t.Errorf("session %s ended with %s", id, got)
			}
			if a := b.do("POST", "/sessions/"+shared+"/step", ""); a.status >= 500 {
				t.Errorf("step = %d %s", a.status, a.body)
			}
			if a := b.do("GET", "/sessions?limit=3", ""); a.status != http.StatusOK {
				t.Errorf("list = %d", a.status)
			}
			if a := b.do("GET", "/sessions/"+id+"/verify", ""); !strings.Contains(a.body, `"ok":true`) {
				t.Errorf("verify = %s", a.body)
			}
		})
	}
	wg.Wait()
	if statuses[http.StatusCreated] != 8 || statuses[http.StatusOK] != 8 {
		t.Errorf("two requests for each of 8 keys were answered %v, want 8 sessions and 8 replays (AU5)", statuses)
	}
}
