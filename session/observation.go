package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/uuid"
	"github.com/wI2L/jsondiff"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	snapshotEvery = 64 // patches before a state is stored whole again, which bounds a rebuild

	environmentMaxBytes = 16 << 20 // an observation that would grow past it fails the call that grew it
)

// An observation is the document {timestamp, user_context, environment} of one
// state, with its place in the chain of states.
type observation struct {
	id      string
	raw     json.RawMessage // canonical
	doc     map[string]any
	patches int // since the nearest snapshot
}

// newObservation checks what a client sent as the first observation.
func newObservation(raw json.RawMessage, now time.Time) (observation, error) {
	doc := map[string]any{}
	if len(raw) > 0 && string(raw) != "null" {
		v, err := decode(raw)
		if err != nil {
			return observation{}, invalid("/observation", "is not JSON: "+err.Error(), "send an object with timestamp, user_context and environment")
		}
		m, ok := v.(map[string]any)
		if !ok {
			return observation{}, invalid("/observation", "is not an object", "send an object with timestamp, user_context and environment")
		}
		doc = m
	}
	for k := range doc {
		if k != "timestamp" && k != "user_context" && k != "environment" {
			return observation{}, invalid("/observation/"+escapePointer(k), "is not a member of an observation", "put it under environment or user_context")
		}
	}
	for _, k := range []string{"user_context", "environment"} {
		switch doc[k].(type) {
		case nil:
			doc[k] = map[string]any{}
		case map[string]any:
		default:
			return observation{}, invalid("/observation/"+k, "is not an object", "send a JSON object")
		}
	}
	switch t := doc["timestamp"].(type) {
	case nil:
		doc["timestamp"] = now.UTC().Format(time.RFC3339)
	case string:
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return observation{}, invalid("/observation/timestamp", "is not an RFC 3339 time", "send a time such as 2026-03-28T14:00:00Z")
		}
	default:
		return observation{}, invalid("/observation/timestamp", "is not a string", "send a time such as 2026-03-28T14:00:00Z")
	}
	o := observation{id: newID(), raw: encode(doc), doc: doc}
	if len(o.raw) > environmentMaxBytes {
		return observation{}, invalid("/observation", fmt.Sprintf("is larger than %d bytes", environmentMaxBytes), "keep large content elsewhere and refer to it")
	}
	return o, nil
}

// observationOf reads a stored state.
func observationOf(s State) (observation, error) {
	v, err := decode(s.Document)
	if err != nil {
		return observation{}, fmt.Errorf("state %s: %w", s.ID, err)
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return observation{}, fmt.Errorf("state %s is not an object", s.ID)
	}
	return observation{id: s.ID, raw: s.Document, doc: doc, patches: s.Patches}, nil
}

func (o observation) environment() map[string]any {
	m, _ := o.doc["environment"].(map[string]any)
	return m
}

func (o observation) user() any { return o.doc["user_context"] }

// first returns the version that starts a chain.
func (o observation) first() StateVersion {
	return StateVersion{ID: o.id, Hash: hashOf(o.raw), Snapshot: o.raw}
}

// with returns the observation that has another environment, and the version
// that leads to it: a patch, or the whole document when that is smaller or the
// chain of patches has become long.
func (o observation) with(env map[string]any) (observation, StateVersion, error) {
	doc := maps.Clone(o.doc)
	doc["environment"] = env
	next := observation{id: newID(), raw: encode(doc), doc: doc, patches: o.patches + 1}
	if len(next.raw) > environmentMaxBytes {
		return o, StateVersion{}, fault.New(fault.LimitExceeded, "the observation would grow to %d bytes, more than the %d allowed", len(next.raw), environmentMaxBytes)
	}
	v := StateVersion{ID: next.id, ParentID: o.id, Hash: hashOf(next.raw)}
	if next.patches < snapshotEvery {
		v.Patch = diff(o.raw, next.raw)
	}
	if v.Patch == nil || len(v.Patch) >= len(next.raw) {
		v.Patch, v.Snapshot, next.patches = nil, next.raw, 0
	}
	return next, v, nil
}

// diff returns an RFC 6902 patch from a to b, or nil when the patch does not
// lead to b byte for byte.
func diff(a, b json.RawMessage) []byte {
	p, err := jsondiff.CompareJSON(a, b, jsondiff.UnmarshalFunc(func(raw []byte, v any) error {
		doc, err := decode(raw)
		if err != nil {
			return err
		}
		*v.(*any) = doc
		return nil
	}))
	if err != nil {
		return nil
	}
	patch := encode(p)
	if len(p) == 0 {
		patch = []byte("[]")
	}
	ops, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil
	}
	got, err := ops.Apply(a)
	if err != nil {
		return nil
	}
	doc, err := decode(got)
	if err != nil || string(encode(doc)) != string(b) {
		return nil
	}
	return patch
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func invalid(pointer, message, remedy string) *fault.Error {
	return fault.New(fault.Validation, "%s %s", pointer, message).With(fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
}
