package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
)

var createTests = []test{
	{"stores everything", func(t *testing.T, st session.Store) {
		c := creation()
		data := []byte(`{"some":"content"}`)
		c.Blobs = []session.Blob{blob(data)}
		c.Events = append(c.Events, event(session.EventRunRequested, `{"n":2}`))
		c.Session.ExternalID = "order-7"
		c.Session.Options = session.Options{AllowedActions: []string{"a"}, Model: "m", Labels: map[string]string{"k": "v"}, Subject: "s", Scopes: []string{}}
		got, err := st.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if got.CreatedAt.IsZero() || got.CreatedAt.Location() != time.UTC || !got.UpdatedAt.Equal(got.CreatedAt) {
			t.Errorf("CreatedAt = %v, UpdatedAt = %v, want one moment in UTC", got.CreatedAt, got.UpdatedAt)
		}
		want := c.Session
		want.StateID, want.LastSeq, want.LastHash, want.CreatedAt, want.UpdatedAt = c.State.ID, 2, got.LastHash, got.CreatedAt, got.UpdatedAt
		equal(t, "Create()", got, want)
		equal(t, "Get()", get(t, st, got.ID), want)

		es := checkLog(t, st, got.ID)
		if len(es) != 2 || string(es[0].Data) != string(c.Events[0].Data) || es[1].Type != session.EventRunRequested || !es[0].Time.Equal(got.CreatedAt) {
			t.Errorf("Events() = %v", es)
		}
		state, err := st.State(t.Context(), c.State.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "State()", state, session.State{ID: c.State.ID, SessionID: got.ID, Hash: c.State.Hash, Document: c.State.Snapshot})
		if b, err := st.Blob(t.Context(), c.Blobs[0].Hash); err != nil || string(b) != string(data) {
			t.Errorf("Blob() = %q, %v", b, err)
		}
	}},
	{"options keep nil and empty apart", func(t *testing.T, st session.Store) {
		s := create(t, st, func(c *session.Creation) { c.Session.Options = session.Options{AllowedActions: []string{}} })
		// An empty list would allow nothing where nil allows everything.
		if got := get(t, st, s.ID).Options; got.Scopes != nil {
			t.Errorf("Scopes = %#v, want nil", got.Scopes)
		}
	}},
	{"idempotency key taken", func(t *testing.T, st session.Store) {
		first := create(t, st, func(c *session.Creation) { c.IdempotencyKey, c.Fingerprint = "k", "f1" })
		c := creation()
		c.IdempotencyKey, c.Fingerprint, c.Blobs = "k", "f2", []session.Blob{blob([]byte("not stored"))}
		checkDuplicate(t, st, c, first.ID)
		id, fingerprint, err := st.Existing(t.Context(), tenant, "k")
		if id != first.ID || fingerprint != "f1" || err != nil {
			t.Errorf("Existing() = %s, %q, %v, want %s and the first fingerprint", id, fingerprint, err, first.ID)
		}
	}},
	{"external id taken", func(t *testing.T, st session.Store) {
		first := create(t, st, func(c *session.Creation) { c.Session.ExternalID = "x" })
		c := creation()
		c.Session.ExternalID, c.IdempotencyKey, c.Blobs = "x", "unused", []session.Blob{blob([]byte("not stored"))}
		checkDuplicate(t, st, c, first.ID)
		if _, _, err := st.Existing(t.Context(), tenant, "unused"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Existing() = %v, want the key of a refused creation to stay free", err)
		}
	}},
	{"names are per tenant and optional", func(t *testing.T, st session.Store) {
		named := func(c *session.Creation) { c.Session.ExternalID, c.IdempotencyKey = "x", "k" }
		mine := create(t, st, named)
		theirs := create(t, st, named, func(c *session.Creation) { c.Session.Tenant = "other" })
		if id, _, err := st.Existing(t.Context(), "other", "k"); id != theirs.ID || err != nil {
			t.Errorf("Existing(other) = %s, %v, want %s", id, err, theirs.ID)
		}
		if id, _, err := st.Existing(t.Context(), tenant, "k"); id != mine.ID || err != nil {
			t.Errorf("Existing(%s) = %s, %v, want %s", tenant, id, err, mine.ID)
		}
		if _, _, err := st.Existing(t.Context(), "third", "k"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Existing(third) = %v, want ErrNotFound", err)
		}
		create(t, st)
		create(t, st) // no external id twice is no conflict
	}},
	{"32 at once make one session", func(t *testing.T, st session.Store) {
		const n = 32
		ids, errs := make([]string, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				c := creation()
				c.IdempotencyKey, c.Fingerprint = "same", "f"
				s, err := st.Create(t.Context(), c)
				ids[i], errs[i] = s.ID, err
			})
		}
		wg.Wait()
		made := 0
		for i := range n {
			switch {
			case errs[i] == nil:
				made++
			case !errors.Is(errs[i], session.ErrDuplicate):
				t.Errorf("Create() = %v, want ErrDuplicate", errs[i])
			}
			if ids[i] != ids[0] {
				t.Errorf("Create() returned ids %s and %s", ids[0], ids[i])
			}
		}
		rows, _, err := st.List(t.Context(), session.Query{Tenant: tenant})
		if made != 1 || len(rows) != 1 || err != nil {
			t.Errorf("%d created, %d listed (%v), want 1 and 1", made, len(rows), err)
		}
	}},
	{"long names are refused with their field", func(t *testing.T, st session.Store) {
		c := creation()
		c.Session.ExternalID = string(make([]byte, 5000))
		_, err := st.Create(t.Context(), c)
		wantCode(t, "Create()", err, fault.Validation)
		if f := fault.From(err); len(f.Details) != 1 || f.Details[0].Pointer != "/external_id" || f.Details[0].Remedy == "" {
			t.Errorf("Create() details = %+v, want /external_id with a remedy", f.Details)
		}
	}},
	{"usage and counters start as given", func(t *testing.T, st session.Store) {
		s := create(t, st, func(c *session.Creation) {
			c.Session.Spent = planner.Usage{PromptTokens: 5, CostUSD: 0.125}
			c.Session.Signals, c.Session.Handled, c.Session.Cancel = 7, 7, true // not the creator's to set
		})
		got := get(t, st, s.ID)
		if got.Spent.PromptTokens != 5 || got.Spent.CostUSD != 0.125 || got.Signals != 0 || got.Handled != 0 || got.Cancel {
			t.Errorf("Get() = %+v", got)
		}
	}},
}

// checkDuplicate checks that c is refused in favour of an existing session and
// leaves no trace.
func checkDuplicate(t *testing.T, st session.Store, c session.Creation, existing string) {
	t.Helper()
	s, err := st.Create(t.Context(), c)
	if !errors.Is(err, session.ErrDuplicate) || s.ID != existing {
		t.Errorf("Create() = %s, %v, want %s and ErrDuplicate", s.ID, err, existing)
	}
	if _, err := st.Get(t.Context(), tenant, c.Session.ID); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("Get(refused) = %v, want ErrNotFound", err)
	}
	if es, err := st.Events(t.Context(), c.Session.ID, 0, 10); len(es) > 0 || err != nil {
		t.Errorf("Events(refused) = %v, %v, want none", es, err)
	}
	if _, err := st.State(t.Context(), c.State.ID); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("State(refused) = %v, want not found", err)
	}
	for _, b := range c.Blobs {
		if _, err := st.Blob(t.Context(), b.Hash); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Blob(refused) = %v, want not found", err)
		}
	}
}
