package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
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
// only that tenant's sessions.
type Manager struct{ cfg Config }

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Manager, error) { panic("") }

// Run advances sessions until ctx is done, then lets running turns end.
func (m *Manager) Run(ctx context.Context) error { panic("") }

// Create stores a new session. With an idempotency key that was used before
// for the same request it returns that session and replayed=true; for another
// request it fails with fault.IdempotencyReused.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (v View, replayed bool, err error) {
	panic("")
}

// Get returns a session with its observation and history.
func (m *Manager) Get(ctx context.Context, id string) (View, error) { panic("") }

// List returns rows of the caller's tenant, newest first.
func (m *Manager) List(ctx context.Context, q Query) (rows []Session, next string, err error) {
	panic("")
}

// Step makes one turn now and returns when it is committed (S2-57).
func (m *Manager) Step(ctx context.Context, id string) (StepResult, error) { panic("") }

// Start lets workers advance the session from now on.
func (m *Manager) Start(ctx context.Context, id string) (Session, error) { panic("") }

// Input answers a question the session waits for.
func (m *Manager) Input(ctx context.Context, id string, r InputRequest) (Session, error) { panic("") }

// Cancel ends the session as soon as its running turn allows. It is idempotent.
func (m *Manager) Cancel(ctx context.Context, id, reason string) (Session, error) { panic("") }

// Close ends the session if it has not ended, seals it and returns its
// transcript. It is idempotent (C-22).
func (m *Manager) Close(ctx context.Context, id string) (Transcript, error) { panic("") }

// Transcript returns everything that has happened so far.
func (m *Manager) Transcript(ctx context.Context, id string) (Transcript, error) { panic("") }

// Events returns up to limit events after a seq. Values that the log holds by
// reference are filled in.
func (m *Manager) Events(ctx context.Context, id string, after int64, limit int) ([]Event, error) {
	panic("")
}

// Verify checks the session's chain of events, its states and its blobs.
func (m *Manager) Verify(ctx context.Context, id string) (Verification, error) { panic("") }

// A Subscription delivers notices of one session until Close. A slow reader
// loses notices, never order: after a gap it reads the log.
type Subscription struct {
	C <-chan Notice
}

// Watch subscribes to a session. It does not check that the session exists.
func (m *Manager) Watch(id string) *Subscription { panic("") }

// Close ends the subscription.
func (s *Subscription) Close() { panic("") }

// RegisterManifest checks and stores a manifest (JSON or YAML). Registering the
// same content again is not an error (created=false).
func (m *Manager) RegisterManifest(ctx context.Context, source []byte) (mf *manifest.Manifest, created bool, err error) {
	panic("")
}

// Manifest finds a manifest by "name", "name@version" or digest.
func (m *Manager) Manifest(ctx context.Context, ref string) (*manifest.Manifest, StoredManifest, error) {
	panic("")
}

// Manifests lists what the tenant has registered, newest first.
func (m *Manager) Manifests(ctx context.Context, limit int, cursor string) (rows []StoredManifest, next string, err error) {
	panic("")
}

// Ready reports whether the database answers.
func (m *Manager) Ready(ctx context.Context) error { panic("") }
