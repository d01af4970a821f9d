package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

func (s *simStore) State(_ context.Context, id string) (session.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.states[id]
	if !ok {
		return st, fault.New(fault.NotFound, "there is no state %q", id)
	}
	return st, nil
}

func (s *simStore) Blob(_ context.Context, hash string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[hash]
	if !ok {
		return nil, fault.New(fault.NotFound, "no content has the hash %q", hash)
	}
	return b, nil
}

// build returns the states that versions lead to. It refuses what does not fit
// its hash or its parent.
func (s *simStore) build(sessionID string, versions []session.StateVersion) ([]session.State, error) {
	var built []session.State
	for _, v := range versions {
		st := session.State{ID: v.ID, SessionID: sessionID, ParentID: v.ParentID, Hash: v.Hash, Document: v.Snapshot}
		_, taken := s.states[v.ID]
		if taken || (v.Snapshot == nil) == (v.Patch == nil) {
			return nil, fmt.Errorf("state %s: its id is taken, or it is not a snapshot or a patch", v.ID)
		}
		if v.Patch != nil {
			parent, ok := s.states[v.ParentID]
			if i := slices.IndexFunc(built, func(b session.State) bool { return b.ID == v.ParentID }); i >= 0 {
				parent, ok = built[i], true
			}
			if !ok || parent.SessionID != sessionID || parent.Patches >= 256 {
				return nil, fmt.Errorf("state %s: its parent is missing or the chain too long", v.ID)
			}
			ops, err := jsonpatch.DecodePatch(v.Patch)
			if err != nil {
				return nil, fmt.Errorf("state %s: %w", v.ID, err)
			}
			if st.Document, err = ops.Apply(parent.Document); err != nil {
				return nil, fmt.Errorf("state %s: %w", v.ID, err)
			}
			if st.Document, err = simCanonical(st.Document); err != nil {
				return nil, fmt.Errorf("state %s: %w", v.ID, err)
			}
			st.Patches = parent.Patches + 1
		}
		if c, err := simCanonical(st.Document); err != nil || !bytes.Equal(c, st.Document) || simHash(c) != v.Hash {
			return nil, fmt.Errorf("state %s: its document is not canonical or not what its hash says", v.ID)
		}
		built = append(built, st)
	}
	return built, nil
}

func checkBlobs(blobs []session.Blob) error {
	for _, b := range blobs {
		if simHash(b.Data) != b.Hash {
			return fmt.Errorf("blob %s: its content has another hash", b.Hash)
		}
	}
	return nil
}

func (s *simStore) put(states []session.State, blobs []session.Blob) {
	for _, st := range states {
		s.states[st.ID] = st
	}
	for _, b := range blobs {
		s.blobs[b.Hash] = b.Data
	}
}

func simHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// simCanonical returns JSON with members sorted and every digit kept.
func simCanonical(raw []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (s *simStore) PutManifest(_ context.Context, m session.StoredManifest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.manifests {
		if have.Tenant == m.Tenant && have.Ref.Name == m.Ref.Name && have.Ref.Version == m.Ref.Version {
			if have.Ref.Digest != m.Ref.Digest {
				return false, fault.New(fault.ManifestConflict, "%s@%s has other content", m.Ref.Name, m.Ref.Version)
			}
			return false, nil
		}
	}
	m.CreatedAt = simNow()
	s.manifests = append(s.manifests, m)
	return true, nil
}

func (s *simStore) GetManifest(_ context.Context, tenant string, ref session.ManifestRef) (session.StoredManifest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range slices.Backward(s.manifests) {
		switch {
		case m.Tenant != tenant:
		case ref.Digest != "" && m.Ref.Digest == ref.Digest,
			ref.Digest == "" && ref.Name != "" && m.Ref.Name == ref.Name && (ref.Version == "" || m.Ref.Version == ref.Version):
			return m, nil
		}
	}
	return session.StoredManifest{}, fault.New(fault.NotFound, "no such manifest")
}

func (s *simStore) ListManifests(_ context.Context, tenant string, limit int, cursor string) (rows []session.StoredManifest, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := simCursor(cursor, len(s.manifests))
	if err != nil {
		return nil, "", err
	}
	for i := from - 1; i >= 0; i-- {
		m := s.manifests[i]
		if m.Tenant != tenant {
			continue
		}
		if len(rows) == limit {
			return rows, "c" + strconv.Itoa(i+1), nil
		}
		m.Source = nil
		rows = append(rows, m)
	}
	return rows, "", nil
}
