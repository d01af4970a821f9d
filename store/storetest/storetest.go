package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// Run runs the whole suite. open returns a new, empty store and arranges that
// it is closed when the test ends.
func Run(t *testing.T, open func(t *testing.T) session.Store) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Create", createTests},
		{"Read", readTests},
		{"Claim", claimTests},
		{"Lease", leaseTests},
		{"Commit", commitTests},
		{"Outside", outsideTests},
		{"Content", contentTests},
		{"Manifest", manifestTests},
		{"Text", textTests},
		{"Hammer", hammerTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range g.tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					tt.run(t, open(t))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(t *testing.T, st session.Store)
}

const (
	tenant = "acme"
	ttl    = time.Minute // of leases that are not meant to run out
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func blob(data []byte) session.Blob { return session.Blob{Hash: hashOf(data), Data: data} }

func event(typ session.EventType, format string, args ...any) session.NewEvent {
	return session.NewEvent{Type: typ, Data: fmt.Appendf(nil, format, args...)}
}

// snapshot returns a state version that holds a whole document, which must be
// canonical.
func snapshot(parent, doc string) session.StateVersion {
	return session.StateVersion{ID: newID(), ParentID: parent, Hash: hashOf([]byte(doc)), Snapshot: []byte(doc)}
}

// patched returns a state version that turns its parent into doc.
func patched(parent, patch, doc string) session.StateVersion {
	return session.StateVersion{ID: newID(), ParentID: parent, Hash: hashOf([]byte(doc)), Patch: []byte(patch)}
}

// creation returns a queued session that workers may advance.
func creation() session.Creation {
	return session.Creation{
		Session: session.Session{
			ID: newID(), Tenant: tenant, Goal: "find the answer", MaxSteps: 10, Status: session.Queued, Run: true,
			Manifest: session.ManifestRef{Name: "shop", Version: "1.2.0", Digest: "d1"},
		},
		Events: []session.NewEvent{event(session.EventCreated, `{"goal":"find the answer"}`)},
		State:  snapshot("", `{"environment":{}}`),
	}
}

func create(t *testing.T, st session.Store, edit ...func(*session.Creation)) session.Session {
	t.Helper()
	c := creation()
	for _, e := range edit {
		e(&c)
	}
	s, err := st.Create(t.Context(), c)
	if err != nil {
		t.Fatalf("Create() = %v", err)
	}
	return s
}

func parked(c *session.Creation) { c.Session.Run = false }

func claim(t *testing.T, st session.Store, owner string) session.Lease {
	t.Helper()
	l, err := st.Claim(t.Context(), owner, ttl)
	if err != nil {
		t.Fatalf("Claim(%q) = %v", owner, err)
	}
	return l
}

func claimID(t *testing.T, st session.Store, id, owner string) session.Lease {
	t.Helper()
	l, err := st.ClaimID(t.Context(), tenant, id, owner, ttl)
	if err != nil {
		t.Fatalf("ClaimID(%q) = %v", owner, err)
	}
	return l
}

func commit(t *testing.T, st session.Store, l session.Lease, c session.Commit) (session.Session, []session.Event) {
	t.Helper()
	if !c.Release && c.TTL == 0 {
		c.TTL = ttl
	}
	s, es, err := st.Commit(t.Context(), l, c)
	if err != nil {
		t.Fatalf("Commit() = %v", err)
	}
	return s, es
}

// release commits nothing but the row and the end of the lease.
func release(t *testing.T, st session.Store, l session.Lease, edit func(*session.Session)) session.Session {
	t.Helper()
	row := l.Session
	row.Status = session.Queued
	if edit != nil {
		edit(&row)
	}
	s, _ := commit(t, st, l, session.Commit{Session: row, Release: true})
	return s
}

func get(t *testing.T, st session.Store, id string) session.Session {
	t.Helper()
	s, err := st.Get(t.Context(), tenant, id)
	if err != nil {
		t.Fatalf("Get(%s) = %v", id, why(err))
	}
	return s
}

// why adds the internal cause of a fault, which its message leaves out.
func why(err error) string {
	if f := fault.From(err); f != nil && f.Err != nil {
		return fmt.Sprintf("%v (%v)", err, f.Err)
	}
	return fmt.Sprint(err)
}

// events returns the whole log.
func events(t *testing.T, st session.Store, id string) []session.Event {
	t.Helper()
	var all []session.Event
	for {
		after := int64(0)
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		es, err := st.Events(t.Context(), id, after, 100)
		if err != nil {
			t.Fatalf("Events(%s) = %v", id, err)
		}
		if all = append(all, es...); len(es) < 100 {
			return all
		}
	}
}

// checkLog checks that the log of a session is whole: no gaps, time that does
// not go back, hashes that chain, and a row that names its end.
func checkLog(t *testing.T, st session.Store, id string) []session.Event {
	t.Helper()
	es := events(t, st, id)
	prev := session.Event{}
	for i, e := range es {
		switch {
		case e.SessionID != id:
			t.Fatalf("event %d is of session %s, want %s", i, e.SessionID, id)
		case e.Seq != int64(i+1):
			t.Fatalf("event %d has seq %d", i, e.Seq)
		case e.PrevHash != prev.Hash:
			t.Fatalf("seq %d: PrevHash = %q, want %q", e.Seq, e.PrevHash, prev.Hash)
		case e.Hash != e.ComputeHash():
			t.Fatalf("seq %d: Hash = %q, want %q", e.Seq, e.Hash, e.ComputeHash())
		case e.Time.Before(prev.Time):
			t.Fatalf("seq %d: Time = %v, before %v", e.Seq, e.Time, prev.Time)
		case !e.Time.Equal(e.Time.Truncate(time.Microsecond)):
			t.Fatalf("seq %d: Time = %v is finer than microseconds", e.Seq, e.Time)
		}
		prev = e
	}
	if row := get(t, st, id); row.LastSeq != int64(len(es)) || row.LastHash != prev.Hash {
		t.Fatalf("row ends at seq %d with hash %q, the log at %d with %q", row.LastSeq, row.LastHash, len(es), prev.Hash)
	}
	return es
}

// equal compares what can be written as JSON.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(g) != string(w) {
		t.Errorf("%s =\n  %s, want\n  %s", what, g, w)
	}
}

func wantCode(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != code {
		t.Errorf("%s = %v, want code %s", what, err, code)
	}
}

// eventually waits until ok, which looks at the store again each time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not happen", what)
		}
	}
}
