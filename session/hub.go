package session

import (
	"context"
	"sync"
)

// subscriptionBuffer is how many notices a watcher may lag behind before it
// loses some. A watcher that loses notices reads the log.
const subscriptionBuffer = 64

// A hub tells watchers in this process that a session moved. Notices carry no
// data that matters: the log does.
type hub struct {
	mu   sync.Mutex // guards subs
	subs map[string]map[*Subscription]chan Notice
}

// A Subscription delivers notices of one session until Close. A slow reader
// loses notices, never order: after a gap it reads the log.
type Subscription struct {
	C <-chan Notice

	hub *hub
	id  string
}

func (h *hub) watch(id string) *Subscription {
	c := make(chan Notice, subscriptionBuffer)
	s := &Subscription{C: c, hub: h, id: id}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[string]map[*Subscription]chan Notice{}
	}
	if h.subs[id] == nil {
		h.subs[id] = map[*Subscription]chan Notice{}
	}
	h.subs[id][s] = c
	return s
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subs[s.id], s)
	if len(s.hub.subs[s.id]) == 0 {
		delete(s.hub.subs, s.id)
	}
}

func (h *hub) publish(n Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.subs[n.SessionID] {
		select {
		case c <- n:
		default:
		}
	}
}

// inflight is the set of turns under way in this process, so that a
// cancellation need not wait for a slow tool. A turn that lost its lease may
// still be winding down while the next one runs.
type inflight struct {
	mu    sync.Mutex // guards turns
	turns map[string]*context.CancelCauseFunc
}

// add registers a turn until the returned function is called.
func (f *inflight) add(id string, cancel context.CancelCauseFunc) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.turns == nil {
		f.turns = map[string]*context.CancelCauseFunc{}
	}
	mine := &cancel
	f.turns[id] = mine
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.turns[id] == mine {
			delete(f.turns, id)
		}
	}
}

func (f *inflight) cancel(id string, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.turns[id]; c != nil {
		(*c)(cause)
	}
}
