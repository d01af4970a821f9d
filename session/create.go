package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
)

const (
	defaultMaxSteps = 10 // S2-38
	maxSteps        = 10_000
	goalMaxBytes    = 16 << 10
	labelsMax       = 32
	labelMaxBytes   = 256
	nameMaxBytes    = 256 // external ids and idempotency keys
)

// Create stores a new session. With an idempotency key that was used before
// for the same request it returns that session and replayed=true; for another
// request it fails with fault.IdempotencyReused.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (v View, replayed bool, err error) {
	who := auth.From(ctx)
	if err := r.check(); err != nil {
		return View{}, false, err
	}
	fingerprint := r.fingerprint()
	if r.IdempotencyKey != "" {
		switch v, err := m.existing(ctx, who.Tenant, r.IdempotencyKey, fingerprint); {
		case err == nil:
			return v, true, nil
		case !errors.Is(err, ErrNotFound):
			return View{}, false, err
		}
	}
	man, ref, err := m.forNewSession(ctx, who.Tenant, r.Manifest)
	if err != nil {
		return View{}, false, err
	}
	for i, name := range r.AllowedActions {
		if _, ok := man.Action(name); !ok {
			return View{}, false, invalid(fmt.Sprintf("/allowed_actions/%d", i), fmt.Sprintf("names %q, which the manifest does not declare", name), "name actions of "+ref.Name)
		}
	}
	now := m.now()
	obs, err := newObservation(r.Observation, now)
	if err != nil {
		return View{}, false, err
	}
	if err := checkState(man, obs.environment(), "/observation/environment"); err != nil {
		return View{}, false, err
	}
	s := Session{
		ID: newID(), Tenant: who.Tenant, ExternalID: r.ExternalID, Goal: r.Goal, Manifest: ref, Status: Queued, Run: r.Run,
		MaxSteps: firstOf(r.MaxSteps, man.MaxSteps, defaultMaxSteps), StateID: obs.id,
		Options: Options{AllowedActions: r.AllowedActions, Model: r.Model, Labels: r.Labels, Subject: who.Subject, Scopes: who.Scopes},
	}
	first := obs.first()
	row, err := m.cfg.Store.Create(ctx, Creation{
		Session: s, State: first, IdempotencyKey: r.IdempotencyKey, Fingerprint: fingerprint,
		Events: []NewEvent{newEvent(EventCreated, Created{
			Goal: s.Goal, Manifest: ref, MaxSteps: s.MaxSteps, Options: s.Options, ExternalID: s.ExternalID,
			StateID: obs.id, StateHash: first.Hash, Template: planner.TemplateVersion,
		})},
	})
	if errors.Is(err, ErrDuplicate) {
		if r.IdempotencyKey != "" {
			if v, eerr := m.existing(ctx, who.Tenant, r.IdempotencyKey, fingerprint); !errors.Is(eerr, ErrNotFound) {
				return v, eerr == nil, eerr
			}
		}
		return View{}, false, fault.New(fault.Conflict, "external_id %q belongs to another session", r.ExternalID).With(
			fault.Detail{Pointer: "/external_id", Message: "is taken", Remedy: "use the existing session or another id"})
	}
	if err != nil {
		return View{}, false, fmt.Errorf("create session: %w", err)
	}
	if row.Run {
		m.nudge()
	}
	return View{Session: row, Observation: obs.raw, History: []ActionResult{}}, false, nil
}

// existing returns the session that an idempotency key made.
func (m *Manager) existing(ctx context.Context, tenant, key, fingerprint string) (View, error) {
	id, made, err := m.cfg.Store.Existing(ctx, tenant, key)
	if err != nil {
		return View{}, err
	}
	if made != fingerprint {
		return View{}, fault.New(fault.IdempotencyReused, "the Idempotency-Key was used before for another request").With(
			fault.Detail{Message: "its session is " + id, Remedy: "use a new key for a new request"})
	}
	return m.Get(ctx, id)
}

func (r CreateRequest) check() error {
	var ds []fault.Detail
	bad := func(pointer, message, remedy string) {
		ds = append(ds, fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
	}
	switch {
	case strings.TrimSpace(r.Goal) == "":
		bad("/goal/description", "is empty", "say what is to be achieved")
	case len(r.Goal) > goalMaxBytes:
		bad("/goal/description", fmt.Sprintf("has %d bytes, more than the %d allowed", len(r.Goal), goalMaxBytes), "put details into the observation")
	}
	if r.MaxSteps < 0 || r.MaxSteps > maxSteps {
		bad("/max_steps", fmt.Sprintf("is %d", r.MaxSteps), fmt.Sprintf("choose 1 to %d, or leave it out", maxSteps))
	}
	if len(r.ExternalID) > nameMaxBytes {
		bad("/external_id", "is too long", fmt.Sprintf("use at most %d bytes", nameMaxBytes))
	}
	if len(r.IdempotencyKey) > nameMaxBytes {
		bad("", "the Idempotency-Key is too long", fmt.Sprintf("use at most %d bytes", nameMaxBytes))
	}
	if len(r.Model) > nameMaxBytes {
		bad("/model", "is too long", fmt.Sprintf("use at most %d bytes", nameMaxBytes))
	}
	if len(r.Labels) > labelsMax {
		bad("/labels", fmt.Sprintf("has %d members", len(r.Labels)), fmt.Sprintf("use at most %d", labelsMax))
	}
	for k, v := range r.Labels {
		if len(k) > labelMaxBytes || len(v) > labelMaxBytes {
			bad("/labels/"+escapePointer(k), "is too long", fmt.Sprintf("use at most %d bytes", labelMaxBytes))
		}
	}
	if len(ds) == 0 {
		return nil
	}
	return fault.New(fault.Validation, "the session cannot be created").With(ds...)
}

func (r CreateRequest) fingerprint() string {
	r.IdempotencyKey = ""
	if c, err := canonical(r.Observation); err == nil {
		r.Observation = c
	}
	return hashOf(encode(r))
}

// pinned returns the manifest a session started with.
func (m *Manager) pinned(ctx context.Context, tenant string, ref ManifestRef) (*manifest.Manifest, error) {
	if man, ok := m.manifests.get(ref.Digest); ok {
		return man, nil
	}
	stored, err := m.cfg.Store.GetManifest(ctx, tenant, ManifestRef{Digest: ref.Digest})
	if err != nil {
		return nil, err
	}
	return m.compile(stored)
}

func (m *Manager) compile(stored StoredManifest) (*manifest.Manifest, error) {
	if man, ok := m.manifests.get(stored.Ref.Digest); ok {
		return man, nil
	}
	man, err := manifest.Parse(stored.Source)
	if err != nil {
		return nil, fmt.Errorf("stored manifest %s: %w", stored.Ref.Digest, err)
	}
	m.manifests.put(stored.Ref.Digest, man)
	return man, nil
}

// forNewSession finds the manifest a new session is pinned to: the one it
// names, the server's default, or the only one there is.
func (m *Manager) forNewSession(ctx context.Context, tenant, ref string) (*manifest.Manifest, ManifestRef, error) {
	named := firstOf(ref, m.cfg.Default)
	if named == "" {
		rows, _, err := m.cfg.Store.ListManifests(ctx, tenant, 200, "")
		if err != nil {
			return nil, ManifestRef{}, err
		}
		names := map[string]bool{}
		for _, r := range rows {
			names[r.Ref.Name] = true
		}
		if len(names) != 1 {
			return nil, ManifestRef{}, invalid("/manifest", fmt.Sprintf("is missing, and %d manifests are registered", len(names)), "register a manifest, then name it as name or name@version")
		}
		named = rows[0].Ref.Name
	}
	man, stored, err := m.Manifest(ctx, named)
	if errors.Is(err, fault.New(fault.NotFound, "")) {
		return nil, ManifestRef{}, invalid("/manifest", fmt.Sprintf("%q is not registered", named), "register it with POST /manifests, or see GET /manifests for what there is")
	}
	if err != nil {
		return nil, ManifestRef{}, err
	}
	return man, stored.Ref, nil
}

// RegisterManifest checks and stores a manifest (JSON or YAML). Registering the
// same content again is not an error (created=false). A new version must be an
// honest step from the newest one of its name (S2-93).
func (m *Manager) RegisterManifest(ctx context.Context, source []byte) (man *manifest.Manifest, created bool, err error) {
	tenant := auth.From(ctx).Tenant
	man, err = manifest.Parse(source)
	if err != nil {
		return nil, false, err
	}
	ref := ManifestRef{Name: man.Name, Version: man.Version, Digest: man.Digest()}
	newest, err := m.cfg.Store.GetManifest(ctx, tenant, ManifestRef{Name: man.Name})
	switch {
	case err == nil && newest.Ref.Digest != ref.Digest:
		old, err := m.compile(newest)
		if err != nil {
			return nil, false, err
		}
		if c := manifest.Compare(old, man); man.Semver().GreaterThan(old.Semver()) && !c.OK {
			f := fault.New(fault.ManifestConflict, "version %s of %s claims to be a %s step from %s, but its changes are %s", man.Version, man.Name, c.Declared, old.Version, c.Required)
			for _, ch := range c.Changes {
				if ch.Breaking {
					f = f.With(fault.Detail{Pointer: ch.Pointer, Message: ch.Message, Remedy: "raise the major version, or undo the change"})
				}
			}
			return nil, false, f
		}
	case err != nil && !errors.Is(err, fault.New(fault.NotFound, "")):
		return nil, false, err
	}
	created, err = m.cfg.Store.PutManifest(ctx, StoredManifest{Tenant: tenant, Ref: ref, Source: man.JSON(), CreatedAt: m.now()})
	if err != nil {
		return nil, false, err
	}
	m.manifests.put(ref.Digest, man)
	return man, created, nil
}

// Manifest finds a manifest by "name", "name@version" or digest.
func (m *Manager) Manifest(ctx context.Context, ref string) (*manifest.Manifest, StoredManifest, error) {
	stored, err := m.cfg.Store.GetManifest(ctx, auth.From(ctx).Tenant, parseRef(ref))
	if err != nil {
		return nil, StoredManifest{}, err
	}
	man, err := m.compile(stored)
	return man, stored, err
}

func parseRef(ref string) ManifestRef {
	if len(ref) == 64 && strings.Trim(ref, "0123456789abcdef") == "" {
		return ManifestRef{Digest: ref}
	}
	name, version, _ := strings.Cut(ref, "@")
	return ManifestRef{Name: name, Version: version}
}

// Manifests lists what the tenant has registered, newest first.
func (m *Manager) Manifests(ctx context.Context, limit int, cursor string) (rows []StoredManifest, next string, err error) {
	return m.cfg.Store.ListManifests(ctx, auth.From(ctx).Tenant, limit, cursor)
}

func firstOf[T comparable](vs ...T) T {
	var zero T
	for _, v := range vs {
		if v != zero {
			return v
		}
	}
	return zero
}
