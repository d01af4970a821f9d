package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// onBoth runs a test on each database with a way to run SQL behind the store's
// back. In the SQL "$id" stands for an id given as text.
func onBoth(t *testing.T, run func(t *testing.T, db *store.DB, sql func(string) error)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "oap.db")
		db := open(t, path)
		other := raw(t, path)
		run(t, db, func(q string) error { _, err := other.Exec(q); return err })
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.DSN(t)
		db := open(t, dsn)
		other := admin(t, dsn)
		run(t, db, func(q string) error { _, err := other.Exec(t.Context(), q); return err })
	})
}

func TestEventsAreAppendOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *store.DB, sql func(string) error) {
		s := mustCreate(t, db, newCreation(true))
		for _, q := range []string{
			`UPDATE events SET type = 'x'`,
			`UPDATE events SET seq = 2`,
			`DELETE FROM events`,
			`DELETE FROM events WHERE session_id = '` + s.ID + `'`,
			`TRUNCATE events`,
			`INSERT OR REPLACE INTO events SELECT session_id, seq, 'x', at, data, prev_hash, hash FROM events`,
			`INSERT INTO events SELECT session_id, seq, 'x', at, data, prev_hash, hash FROM events`,
			`INSERT INTO events SELECT session_id, seq, 'x', at, data, prev_hash, hash FROM events WHERE true ON CONFLICT (session_id, seq) DO UPDATE SET type = 'x'`,
			`REPLACE INTO events SELECT session_id, seq, 'x', at, data, prev_hash, hash FROM events`,
		} {
			if err := sql(q); err == nil {
				t.Errorf("%s succeeded", q)
			}
		}
		if n := wholeLog(t, db, s); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// ST7: whatever is done to the log behind the triggers, reading it back shows
// the first entry that does not hold.
func TestTamperedLogIsVisible(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *store.DB, sql func(string) error) {
		for _, q := range []string{
			`DROP TRIGGER events_append_only ON events`, `DROP TRIGGER events_no_truncate ON events`,
			`DROP TRIGGER events_no_update`, `DROP TRIGGER events_no_delete`, `DROP TRIGGER events_no_replace`,
		} {
			sql(q) // those of the other database do not exist
		}
		other := mustCreate(t, db, newCreation(true))
		for _, tt := range []struct {
			name, sql string // one statement or more, ; between them
			bad       int64  // first entry that does not hold
		}{
			{"data", `UPDATE events SET data = '{"n":9}' WHERE $at 4`, 4},
			{"type", `UPDATE events SET type = 'other' WHERE $at 3`, 3},
			{"time", `UPDATE events SET at = at + 1 WHERE $at 2`, 2},
			{"hash", `UPDATE events SET hash = (SELECT hash FROM events WHERE $at 1) WHERE $at 5`, 5},
			{"data and hash", `UPDATE events SET data = '{}', hash = $made WHERE $at 4`, 4},
			{"dropped", `DELETE FROM events WHERE $at 3`, 4},
			{"dropped and renumbered", `DELETE FROM events WHERE $at 3; UPDATE events SET seq = 3 WHERE $at 4; UPDATE events SET seq = 4 WHERE $at 5`, 3},
			{"swapped", `UPDATE events SET seq = 100 WHERE $at 2; UPDATE events SET seq = 2 WHERE $at 3; UPDATE events SET seq = 3 WHERE $at 100`, 2},
			{"first dropped", `DELETE FROM events WHERE $at 1`, 2},
			{"inserted", `INSERT INTO events SELECT session_id, 6, type, at, data, hash, hash FROM events WHERE $at 5`, 6},
			{"spliced from another session", `DELETE FROM events WHERE $at 1; INSERT INTO events SELECT '$id', seq, type, at, data, prev_hash, hash FROM events WHERE session_id = '` + other.ID + `'`, 1},
			{"tail cut", `DELETE FROM events WHERE $at 5`, 0}, // the row tells, see below
		} {
			s := mustCreate(t, db, newCreation(true))
			for i := range 4 {
				var err error
				if s, _, err = db.Annotate(t.Context(), "t", s.ID, session.NewEvent{Type: "x", Data: []byte(`{"n":` + string(rune('0'+i)) + `}`)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			q := strings.NewReplacer("$at ", "session_id = '"+s.ID+"' AND seq = ", "$id", s.ID).Replace(tt.sql)
			for one := range strings.SplitSeq(q, "; ") {
				literal := "x'" + hash(nil) + "'"
				if err := sql(strings.ReplaceAll(one, "$made", literal)); err != nil {
					if err = sql(strings.ReplaceAll(one, "$made", `'\x`+hash(nil)+`'`)); err != nil {
						t.Fatalf("%s: %s: %v", tt.name, one, err)
					}
				}
			}
			es, err := db.Events(t.Context(), s.ID, 0, 100)
			if err != nil {
				t.Fatalf("%s: Events() = %v, want what is stored", tt.name, err)
			}
			bad, prev := int64(0), session.Event{}
			for _, e := range es {
				if e.Seq != prev.Seq+1 || e.PrevHash != prev.Hash || e.Hash != e.ComputeHash() {
					bad = e.Seq
					break
				}
				prev = e
			}
			if bad != tt.bad {
				t.Errorf("%s: first bad entry is %d, want %d", tt.name, bad, tt.bad)
			}
			if tt.bad == 0 && (s.LastSeq == prev.Seq || s.LastHash == prev.Hash) {
				t.Errorf("%s: the row does not tell", tt.name)
			}
		}
	})
}

func TestTamperedContentIsNamed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *store.DB, sql func(string) error) {
		run := func(q string) {
			t.Helper()
			if err := sql(q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		setup := func() (st, child session.StateVersion, b session.Blob) {
			t.Helper()
			doc := []byte(`{"id":"` + uuid.NewString() + `","pad":"` + strings.Repeat("x", 400) + `"}`)
			c := newCreation(true)
			c.State = session.StateVersion{ID: uuid.Must(uuid.NewV7()).String(), Hash: hash(doc), Snapshot: doc}
			s := mustCreate(t, db, c)
			after := []byte(strings.TrimSuffix(string(doc), "}") + `,"z":1}`)
			child = session.StateVersion{ID: uuid.Must(uuid.NewV7()).String(), ParentID: c.State.ID, Hash: hash(after), Patch: []byte(`[{"op":"add","path":"/z","value":1}]`)}
			data := []byte(uuid.NewString() + strings.Repeat("y", 300))
			b = session.Blob{Hash: hash(data), Data: data}
			l := lease(t, db, s.ID)
			if _, _, err := db.Commit(t.Context(), l, session.Commit{Session: l.Session, States: []session.StateVersion{child}, Blobs: []session.Blob{b}, TTL: time.Minute}); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{c.State.ID, child.ID} {
				if _, err := db.State(t.Context(), id); err != nil {
					t.Fatalf("State() before = %v", err)
				}
			}
			return c.State, child, b
		}
		wantState := func(what, id string, damaged bool) {
			t.Helper()
			_, err := db.State(t.Context(), id)
			if damaged && (err == nil || !strings.Contains(err.Error(), id)) || !damaged && err != nil {
				t.Errorf("%s: State(%s) = %v, damaged should be %t", what, id, err, damaged)
			}
		}
		ofHash := func(h string) string { return ` WHERE lower(hex(hash)) = '` + h + `'` }
		if sql(`SELECT hex(hash) FROM blobs`) != nil { // Postgres calls it otherwise
			ofHash = func(h string) string { return ` WHERE encode(hash, 'hex') = '` + h + `'` }
		}

		st, child, b := setup()
		run(`UPDATE blobs SET codec = 0, bytes = 'abc', size = 3` + ofHash(b.Hash))
		if _, err := db.Blob(t.Context(), b.Hash); err == nil || !strings.Contains(err.Error(), b.Hash) {
			t.Errorf("Blob(replaced) = %v, want an error that names it", err)
		}
		run(`UPDATE blobs SET codec = 1, bytes = 'abc'` + ofHash(b.Hash))
		if _, err := db.Blob(t.Context(), b.Hash); err == nil || !strings.Contains(err.Error(), b.Hash) {
			t.Errorf("Blob(not zstd) = %v, want an error that names it", err)
		}
		run(`UPDATE blobs SET codec = 7` + ofHash(b.Hash))
		if _, err := db.Blob(t.Context(), b.Hash); err == nil || !strings.Contains(err.Error(), b.Hash) {
			t.Errorf("Blob(unknown codec) = %v, want an error that names it", err)
		}
		wantState("other blob", child.ID, false)

		run(`UPDATE blobs SET codec = 0, bytes = '{}', size = 2` + ofHash(st.Hash))
		wantState("snapshot replaced", st.ID, true)
		wantState("snapshot replaced", child.ID, true)

		st, child, _ = setup()
		run(`UPDATE states SET codec = 0, patch = '[]' WHERE id = '` + child.ID + `'`)
		wantState("patch replaced", child.ID, true)
		wantState("patch replaced", st.ID, false)

		st, child, _ = setup()
		run(`DELETE FROM states WHERE id = '` + st.ID + `'`)
		wantState("parent deleted", child.ID, true)

		st, child, _ = setup()
		run(`DELETE FROM blobs` + ofHash(st.Hash))
		wantState("snapshot deleted", st.ID, true)

		st, child, _ = setup()
		run(`UPDATE states SET hash = (SELECT hash FROM states WHERE id = '` + st.ID + `') WHERE id = '` + child.ID + `'`)
		wantState("hash replaced", child.ID, true)

		st, child, _ = setup()
		run(`UPDATE states SET depth = 1, parent_id = '` + child.ID + `' WHERE id = '` + st.ID + `'`)
		wantState("a chain that bites its tail", child.ID, true)
	})
}
