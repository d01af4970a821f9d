package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

const (
	// patchesMax is how many patches may follow a snapshot. The schema refuses
	// a longer chain, because reading a state would cost ever more.
	patchesMax = 256
	// blobBytesMax bounds one blob or snapshot. Both databases stop at 1 GB; a
	// larger value than this is refused with fault.TooLarge.
	blobBytesMax = 256 << 20
	// patchCopyMax bounds what "copy" operations may add to a document, which
	// could otherwise double it with every one of them.
	patchCopyMax = 64 << 20
)

var (
	insertBlob = newQuery(`INSERT INTO blobs (hash, codec, size, bytes) VALUES (?,?,?,?) ON CONFLICT (hash) DO NOTHING`)

	insertSnapshot = newQuery(`INSERT INTO states (id, session_id, parent_id, hash, depth, codec) VALUES (?,?,?,?,0,0)`)

	// Without its parent in the session depth is NULL, which the schema refuses.
	insertPatch = newQuery(`INSERT INTO states (id, session_id, parent_id, hash, depth, codec, patch)
		VALUES (?,?,?,?,(SELECT depth + 1 FROM states WHERE id = ? AND session_id = ?),?,?)`)
)

// content returns the statements that store states and blobs, after checking
// them against their hashes.
func (d *DB) content(sessionID string, states []session.StateVersion, blobs []session.Blob) ([]statement, error) {
	var stmts []statement
	all := slices.Clone(blobs)
	for _, s := range states {
		switch {
		case !uid(s.ID).valid() || !digest(s.Hash).valid():
			return nil, fmt.Errorf("state %q with hash %q: not a UUID and a SHA-256", s.ID, s.Hash)
		case s.Snapshot != nil && s.Patch != nil || s.Snapshot == nil && s.Patch == nil:
			return nil, fmt.Errorf("state %s: it must be a snapshot or a patch", s.ID)
		case s.Snapshot != nil:
			canonical, err := canonical(s.Snapshot)
			if err != nil || !bytes.Equal(canonical, s.Snapshot) {
				return nil, fmt.Errorf("state %s: the snapshot is not in canonical form (%v)", s.ID, err)
			}
			all = append(all, session.Blob{Hash: s.Hash, Data: s.Snapshot})
			stmts = append(stmts, insertSnapshot.with(uid(s.ID), uid(sessionID), uid(s.ParentID), digest(s.Hash)))
		default:
			codec, packed := d.codec.pack(s.Patch)
			stmts = append(stmts, insertPatch.with(uid(s.ID), uid(sessionID), uid(s.ParentID), digest(s.Hash), uid(s.ParentID), uid(sessionID), codec, packed))
		}
	}
	// Everybody inserts blobs in the same order, so no two transactions wait
	// for each other.
	slices.SortFunc(all, func(a, b session.Blob) int { return strings.Compare(a.Hash, b.Hash) })
	all = slices.CompactFunc(all, func(a, b session.Blob) bool { return a.Hash == b.Hash })
	inserts := make([]statement, 0, len(all)+len(stmts))
	for _, b := range all {
		if len(b.Data) > blobBytesMax {
			return nil, fault.New(fault.TooLarge, "a value of %d bytes is too large to store", len(b.Data)).
				With(fault.Detail{Message: "value too large", Remedy: fmt.Sprintf("at most %d bytes", blobBytesMax)})
		}
		if got := hashOf(b.Data); got != b.Hash {
			return nil, fmt.Errorf("blob %s: its content has hash %s", b.Hash, got)
		}
		codec, packed := d.codec.pack(b.Data)
		inserts = append(inserts, insertBlob.with(digest(b.Hash), codec, int64(len(b.Data)), notNil(packed)))
	}
	return append(inserts, stmts...), nil
}

// Blob implements session.Store. A blob that does not match its hash is an
// error that names it.
func (d *DB) Blob(ctx context.Context, hash string) ([]byte, error) {
	if !digest(hash).valid() {
		return nil, fault.New(fault.NotFound, "no content has the hash %.80q", hash)
	}
	var found []packed
	err := d.read(ctx).Raw(`SELECT codec, size, bytes FROM blobs WHERE hash = ?`, digest(hash)).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", hash, d.fail(ctx, err))
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "no content has the hash %s", hash)
	}
	data, err := d.codec.unpack(found[0])
	if err != nil {
		return nil, fmt.Errorf("blob %s is damaged: %w", hash, err)
	}
	if got := hashOf(data); got != hash {
		return nil, fmt.Errorf("blob %s is damaged: its content has hash %s", hash, got)
	}
	return data, nil
}

// A link is a state in the chain from one to its nearest snapshot.
type link struct {
	ID        uid
	SessionID uid
	ParentID  uid
	Hash      digest
	Depth     int
	Codec     int
	Patch     []byte
	BlobCodec *int
	BlobSize  *int64
	BlobBytes []byte
}

const selectChain = `WITH RECURSIVE chain (id, session_id, parent_id, hash, depth, codec, patch, n) AS (
		SELECT id, session_id, parent_id, hash, depth, codec, patch, 0 FROM states WHERE id = ?
		UNION ALL
		SELECT s.id, s.session_id, s.parent_id, s.hash, s.depth, s.codec, s.patch, chain.n + 1
		FROM states s JOIN chain ON s.id = chain.parent_id WHERE chain.depth > 0 AND chain.n < ?
	)
	SELECT chain.id, session_id, parent_id, chain.hash, depth, chain.codec, patch,
		blobs.codec AS blob_codec, blobs.size AS blob_size, blobs.bytes AS blob_bytes
	FROM chain LEFT JOIN blobs ON chain.depth = 0 AND blobs.hash = chain.hash ORDER BY n`

// State implements session.Store. A state that cannot be rebuilt, or whose
// document does not match its hash, is an error that names it.
func (d *DB) State(ctx context.Context, stateID string) (session.State, error) {
	var chain []link
	if err := d.read(ctx).Raw(selectChain, uid(stateID), patchesMax).Scan(&chain).Error; err != nil {
		return session.State{}, fmt.Errorf("state %s: %w", stateID, d.fail(ctx, err))
	}
	if len(chain) == 0 {
		return session.State{}, fault.New(fault.NotFound, "there is no state %.80q", stateID)
	}
	doc, err := d.rebuild(chain)
	if err != nil {
		return session.State{}, fmt.Errorf("state %s is damaged: %w", stateID, err)
	}
	s := chain[0]
	return session.State{ID: stateID, SessionID: string(s.SessionID), ParentID: string(s.ParentID), Hash: string(s.Hash), Document: doc, Patches: s.Depth}, nil
}

// rebuild returns the document of the first state in chain.
func (d *DB) rebuild(chain []link) (json.RawMessage, error) {
	base := chain[len(chain)-1]
	if base.Depth != 0 || base.BlobCodec == nil {
		return nil, fmt.Errorf("the snapshot it builds on is missing (the chain ends at state %s)", base.ID)
	}
	doc, err := d.codec.unpack(packed{Codec: *base.BlobCodec, Size: *base.BlobSize, Bytes: base.BlobBytes})
	if err != nil {
		return nil, fmt.Errorf("snapshot of state %s: %w", base.ID, err)
	}
	if len(chain) > 1 {
		var all jsonpatch.Patch // one patch, so that the document is parsed once
		for _, l := range slices.Backward(chain[:len(chain)-1]) {
			raw, err := d.codec.unpack(packed{Codec: l.Codec, Size: -1, Bytes: l.Patch})
			if err != nil {
				return nil, fmt.Errorf("patch of state %s: %w", l.ID, err)
			}
			ops, err := jsonpatch.DecodePatch(raw)
			if err != nil {
				return nil, fmt.Errorf("patch of state %s: %w", l.ID, err)
			}
			all = append(all, ops...)
		}
		if doc, err = all.ApplyWithOptions(doc, &jsonpatch.ApplyOptions{AccumulatedCopySizeLimit: patchCopyMax}); err != nil {
			return nil, fmt.Errorf("apply patches: %w", err)
		}
		if doc, err = canonical(doc); err != nil {
			return nil, fmt.Errorf("apply patches: %w", err)
		}
	}
	if got := hashOf(doc); got != string(chain[0].Hash) {
		return nil, fmt.Errorf("its document has hash %s, not %s", got, chain[0].Hash)
	}
	return doc, nil
}

// canonical returns JSON with members sorted, without white space and without
// escapes for HTML; numbers keep every digit.
func canonical(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more follows after the JSON value")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
