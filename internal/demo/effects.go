package demo

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
)

// effectsMax bounds the ledger; beyond it services answer 503, so that a
// runaway client cannot fill the memory.
const effectsMax = 1_000_000

// An Effect is what the world knows of one Idempotency-Key.
type Effect struct {
	Service   string `json:"service"`
	Operation string `json:"operation"`
	Key       string `json:"key"`      // "" gathers all requests without a key
	Count     int    `json:"count"`    // how often the effect took place
	Requests  int    `json:"requests"` // how often it was asked for
}

// A ledger carries out each effect at most once per key.
type ledger struct {
	mu      sync.Mutex
	entries map[ledgerKey]*entry
}

type ledgerKey struct{ service, operation, key string }

type entry struct {
	count, requests int
	fingerprint     [sha256.Size]byte
	running         bool
	done            bool
	status          int
	body            []byte
}

type answer struct {
	status   int
	body     []byte
	replayed bool
}

// once runs the effect, or answers with what the first run under this key
// answered. A key that is in use by a running request answers 409, one that
// was used with another body 422. A failed run leaves the key free.
func (l *ledger) once(service, operation, key string, body []byte, run func() (int, []byte)) answer {
	k, sum := ledgerKey{service, operation, key}, sha256.Sum256(body)

	l.mu.Lock()
	if l.entries == nil {
		l.entries = make(map[ledgerKey]*entry)
	}
	e := l.entries[k]
	if e == nil {
		if len(l.entries) >= effectsMax {
			l.mu.Unlock()
			return refuse(problem{Code: "full", Message: "the demo world remembers no more effects; restart it"})
		}
		e = &entry{}
		l.entries[k] = e
	}
	e.requests++
	if key != "" {
		switch {
		case (e.running || e.done) && e.fingerprint != sum:
			l.mu.Unlock()
			return refuse(problem{Code: "key_reused", Message: "this Idempotency-Key was used with another body"})
		case e.running:
			l.mu.Unlock()
			return refuse(problem{Code: "in_flight", Message: "a request with this Idempotency-Key is being carried out"})
		case e.done:
			a := answer{e.status, e.body, true}
			l.mu.Unlock()
			return a
		}
		e.running, e.fingerprint = true, sum
	}
	l.mu.Unlock()

	status, out := run()

	l.mu.Lock()
	defer l.mu.Unlock()
	e.running = false
	if status < 300 {
		e.count++
		if key != "" {
			e.done, e.status, e.body = true, status, out
		}
	}
	return answer{status: status, body: out}
}

func refuse(p problem) answer { return answer{status: p.status(), body: encode(p)} }

// Effects returns what has been asked for and what took place, by service,
// operation and key.
func (w *World) Effects() []Effect {
	w.ledger.mu.Lock()
	out := make([]Effect, 0, len(w.ledger.entries))
	for k, e := range w.ledger.entries {
		out = append(out, Effect{k.service, k.operation, k.key, e.count, e.requests})
	}
	w.ledger.mu.Unlock()
	slices.SortFunc(out, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Key, b.Key))
	})
	return out
}
