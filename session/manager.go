package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
)

const (
	defaultLeaseTTL = 15 * time.Second
	defaultWorkers  = 64
	defaultPoll     = 500 * time.Millisecond

	blobCacheBytes = 32 << 20 // prompts and schemas that every turn needs again
	manifestCached = 256      // compiled manifests kept

	cancelPatience = 10 * time.Second // how long Cancel and Close wait for a running turn to notice
)

// Config wires a Manager. Store, Planner and Executor are required.
type Config struct {
	Store    Store
	Planner  planner.Planner
	Executor executor.Executor
	Owner    string        // identity of this process in leases; "" makes a random one
	LeaseTTL time.Duration // 0 means 15 s; renewed every third of it
	Workers  int           // sessions advanced at once by Run; 0 means 64
	Poll     time.Duration // how often Run looks for work it was not told of; 0 means 500 ms
	Default  string        // manifest for sessions that name none: "name", "name@version" or digest
	Logger   *slog.Logger
}

// A Manager creates sessions, advances them and answers questions about them.
// Every method acts for the principal in its context (package auth) and sees
// only that tenant's sessions. It is safe for concurrent use.
type Manager struct {
	cfg       Config
	log       *slog.Logger
	hub       hub
	inflight  inflight
	wake      chan struct{} // holds one token when there may be work; never closed
	blobs     *cache[json.RawMessage]
	manifests *cache[*manifest.Manifest]
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Manager, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("session: Config.Store is required")
	case cfg.Planner == nil:
		return nil, errors.New("session: Config.Planner is required")
	case cfg.Executor == nil:
		return nil, errors.New("session: Config.Executor is required")
	case cfg.LeaseTTL < 0 || cfg.Workers < 0 || cfg.Poll < 0:
		return nil, errors.New("session: Config.LeaseTTL, Workers and Poll must not be negative")
	}
	if cfg.Owner == "" {
		host, _ := os.Hostname()
		cfg.Owner = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), newID())
	}
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = defaultLeaseTTL
	}
	if cfg.Workers == 0 {
		cfg.Workers = defaultWorkers
	}
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1),
		blobs:     newCache(blobCacheBytes, func(v json.RawMessage) int { return len(v) }),
		manifests: newCache(manifestCached, func(*manifest.Manifest) int { return 1 }),
	}, nil
}

// now is the clock of this process. It decides when to try again, never what
// came first.
func (m *Manager) now() time.Time { return time.Now().UTC() }

// Owner returns the identity of this process in leases.
func (m *Manager) Owner() string { return m.cfg.Owner }

// Ready reports whether the database answers.
func (m *Manager) Ready(ctx context.Context) error { return m.cfg.Store.Ping(ctx) }

// Get returns a session with its observation and history.
func (m *Manager) Get(ctx context.Context, id string) (View, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return View{}, err
	}
	return m.view(ctx, row)
}

func (m *Manager) row(ctx context.Context, id string) (Session, error) {
	return m.cfg.Store.Get(ctx, auth.From(ctx).Tenant, id)
}

// List returns rows of the caller's tenant, newest first.
func (m *Manager) List(ctx context.Context, q Query) (rows []Session, next string, err error) {
	q.Tenant = auth.From(ctx).Tenant
	return m.cfg.Store.List(ctx, q)
}

// Start lets workers advance the session from now on. A session that waits
// because its planner failed is tried again at once.
func (m *Manager) Start(ctx context.Context, id string) (Session, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if row.Status.Terminal() {
		return Session{}, errCompleted
	}
	row, err = m.cfg.Store.SetRun(ctx, row.Tenant, id, true)
	if err != nil {
		return Session{}, err
	}
	m.moved(row)
	m.nudge()
	return row, nil
}

var errCompleted = fault.New(fault.SessionCompleted, "Session already completed")

// Input answers a question the session waits for.
func (m *Manager) Input(ctx context.Context, id string, r InputRequest) (Session, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if row.Status.Terminal() {
		return Session{}, errCompleted
	}
	t, err := m.peek(ctx, row)
	if err != nil {
		return Session{}, err
	}
	q, err := pickQuestion(t.tail.questions(), r.CallID)
	if err != nil {
		return Session{}, err
	}
	value, err := t.checkAnswer(q, r.Value)
	if err != nil {
		return Session{}, err
	}
	who := auth.From(ctx)
	seen := t.tail.seq
	row, ev, err := m.cfg.Store.Signal(ctx, row.Tenant, id, Signal{
		Event: newEvent(EventInput, Input{CallID: q.CallID, Value: value, By: who.Subject}),
	}, func(now Session) error {
		if now.Status.Terminal() {
			return errCompleted
		}
		if now.LastSeq != seen { // somebody else was faster: look again
			return errMoved
		}
		return nil
	})
	if errors.Is(err, errMoved) {
		return m.Input(ctx, id, r)
	}
	if err != nil {
		return Session{}, err
	}
	m.log.Info("input", slog.String("session_id", id), slog.Int64("seq", ev.Seq))
	m.moved(row)
	m.nudge()
	return row, nil
}

var errMoved = errors.New("session: moved since it was read")

func pickQuestion(qs []Question, callID string) (Question, error) {
	if len(qs) == 0 {
		return Question{}, fault.New(fault.NotWaiting, "the session does not wait for an answer")
	}
	if callID == "" {
		if len(qs) > 1 {
			d := fault.Detail{Pointer: "/call_id", Message: "is needed, because several questions are open", Remedy: "name one of them:"}
			for _, q := range qs {
				d.Remedy += " " + q.CallID
			}
			return Question{}, fault.New(fault.Validation, "which question is answered?").With(d)
		}
		return qs[0], nil
	}
	for _, q := range qs {
		if q.CallID == callID {
			return q, nil
		}
	}
	return Question{}, fault.New(fault.NotWaiting, "call %s does not wait for an answer", callID)
}

// checkAnswer validates a person's answer before it is stored.
func (t *turn) checkAnswer(q Question, value json.RawMessage) (json.RawMessage, error) {
	value, err := canonical(value)
	if err != nil {
		return nil, invalid("/answer", "is not JSON", "send any JSON value")
	}
	if len(value) > answerMaxBytes {
		return nil, fault.New(fault.TooLarge, "the answer has %d bytes, more than the %d allowed", len(value), answerMaxBytes)
	}
	if len(q.Wait.Schema) > 0 {
		s, err := manifest.CompileSchema(q.Wait.Schema)
		if err != nil {
			return nil, fmt.Errorf("schema of question %s: %w", q.CallID, err)
		}
		if err := s.Validate(value, "/answer"); err != nil {
			// A question without fields of its own has the member "answer"; a
			// plain value stands for it.
			wrapped := encode(map[string]json.RawMessage{"answer": value})
			if value[0] == '{' || s.Validate(wrapped, "/answer") != nil {
				return nil, err
			}
			value = wrapped
		}
	}
	if q.Wait.Kind == waitEffect {
		var said struct{ Output json.RawMessage }
		if err := json.Unmarshal(value, &said); err != nil {
			return nil, invalid("/answer", "is not an object", "send {outcome, output}")
		}
		if a, err := t.action(q.Action); err == nil && a.Output != nil && said.Output != nil {
			if err := a.Output.Validate(said.Output, "/answer/output"); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// answerMaxBytes bounds a person's answer.
const answerMaxBytes = 64 << 10

// Cancel ends the session as soon as its running turn allows. It is idempotent.
// When another process runs the turn, the returned row is not terminal yet.
func (m *Manager) Cancel(ctx context.Context, id, reason string) (Session, error) {
	row, err := m.row(ctx, id)
	if err != nil || row.Status.Terminal() {
		return row, err
	}
	sub := m.Watch(id)
	defer sub.Close()
	if !row.Cancel {
		row, _, err = m.cfg.Store.Signal(ctx, row.Tenant, id, Signal{
			Event:  newEvent(EventCancelAsked, CancelAsked{By: auth.From(ctx).Subject, Reason: reason}),
			Cancel: true,
		}, func(now Session) error {
			if now.Status.Terminal() {
				return errCompleted
			}
			return nil
		})
		if errors.Is(err, errCompleted) {
			return m.row(ctx, id)
		}
		if err != nil {
			return Session{}, err
		}
		m.moved(row)
	}
	m.inflight.cancel(id, errCancelled)
	ctx, stop := context.WithTimeout(ctx, cancelPatience)
	defer stop()
	for {
		lease, err := m.cfg.Store.ClaimID(ctx, row.Tenant, id, m.cfg.Owner, m.cfg.LeaseTTL)
		switch {
		case errors.Is(err, errCompleted) || errors.Is(err, ErrNotFound):
			return m.row(context.WithoutCancel(ctx), id)
		case err == nil:
			t, err := m.hold(ctx, lease, func(ctx context.Context, t *turn) error { return t.cancel(ctx) })
			if err != nil {
				return Session{}, err
			}
			return t.row, nil
		case !errors.Is(err, ErrLeased):
			return Session{}, err
		}
		select {
		case <-sub.C:
		case <-time.After(m.cfg.Poll):
		case <-ctx.Done():
			return m.row(context.WithoutCancel(ctx), id)
		}
		if row, err = m.row(ctx, id); err != nil || row.Status.Terminal() {
			return row, err
		}
	}
}

// Close ends the session if it has not ended, seals it and returns its
// transcript. It is idempotent (C-22).
func (m *Manager) Close(ctx context.Context, id string) (Transcript, error) {
	row, err := m.row(ctx, id)
	if err != nil {
		return Transcript{}, err
	}
	if !row.Status.Terminal() {
		if row, err = m.Cancel(ctx, id, "closed before the goal was reached"); err != nil {
			return Transcript{}, err
		}
		if !row.Status.Terminal() {
			return Transcript{}, fault.New(fault.SessionBusy, "the session's running turn has not ended yet").Retry(2 * time.Second)
		}
	}
	if row.ClosedAt.IsZero() {
		row, _, err = m.cfg.Store.Annotate(ctx, row.Tenant, id, newEvent(EventSessionClosed, Closed{By: auth.From(ctx).Subject}), func(now *Session) error {
			if !now.ClosedAt.IsZero() {
				return errMoved
			}
			now.ClosedAt, now.Run = m.now(), false
			return nil
		})
		if err != nil && !errors.Is(err, errMoved) {
			return Transcript{}, err
		}
		if err == nil {
			m.moved(row)
		}
	}
	return m.Transcript(ctx, id)
}

// Events returns up to limit events after a seq. Values that the log holds by
// reference are filled in.
func (m *Manager) Events(ctx context.Context, id string, after int64, limit int) ([]Event, error) {
	if _, err := m.row(ctx, id); err != nil {
		return nil, err
	}
	es, err := m.cfg.Store.Events(ctx, id, after, limit)
	if err != nil {
		return nil, err
	}
	for i := range es {
		if es[i].Data, err = m.flatten(ctx, es[i].Data); err != nil {
			return nil, fmt.Errorf("event %d of session %s: %w", es[i].Seq, id, err)
		}
	}
	return es, nil
}

// Watch subscribes to a session. It does not check that the session exists.
func (m *Manager) Watch(id string) *Subscription { return m.hub.watch(id) }

func (m *Manager) moved(row Session) {
	m.hub.publish(Notice{SessionID: row.ID, Seq: row.LastSeq})
}

func (m *Manager) progress(sessionID, callID, kind, text string) {
	m.hub.publish(Notice{SessionID: sessionID, Progress: &Progress{CallID: callID, Kind: kind, Text: text, At: m.now()}})
}

// nudge tells the workers that there may be work.
func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
