package storetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

var readTests = []test{
	{"ping", func(t *testing.T, st session.Store) {
		if err := st.Ping(t.Context()); err != nil {
			t.Errorf("Ping() = %v", err)
		}
	}},
	{"get is per tenant", func(t *testing.T, st session.Store) {
		s := create(t, st)
		if got, err := st.Get(t.Context(), "", s.ID); err != nil || got.ID != s.ID {
			t.Errorf("Get(any tenant) = %s, %v", got.ID, err)
		}
		for _, at := range []struct{ tenant, id string }{{"other", s.ID}, {tenant, newID()}, {"", newID()}, {tenant, ""}, {tenant, "nonsense"}, {tenant, s.ID + "\x00"}} {
			if _, err := st.Get(t.Context(), at.tenant, at.id); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Get(%q, %q) = %v, want ErrNotFound", at.tenant, at.id, err)
			}
		}
	}},
	{"list is newest first in stable pages", func(t *testing.T, st session.Store) {
		var want []string
		for range 7 {
			want = append(want, create(t, st).ID)
		}
		create(t, st, func(c *session.Creation) { c.Session.Tenant = "other" })
		slices.Reverse(want)
		var got []string
		q := session.Query{Tenant: tenant, Limit: 3}
		for page := 0; ; page++ {
			rows, next, err := st.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.ID)
			}
			create(t, st) // newer than the page: must not move the others
			if next == "" {
				break
			}
			if len(rows) != 3 || page > 3 {
				t.Fatalf("page %d has %d rows and a cursor", page, len(rows))
			}
			q.Cursor = next
		}
		if !slices.Equal(got, want) {
			t.Errorf("List() =\n%v, want\n%v", got, want)
		}
		whole, next, err := st.List(t.Context(), session.Query{Tenant: tenant, Limit: 10})
		if err != nil || len(whole) != 10 || next != "" {
			t.Errorf("List(10) = %d rows, cursor %q, %v: want exactly the 10 and no cursor", len(whole), next, err)
		}
	}},
	{"list filters", func(t *testing.T, st session.Store) {
		a := create(t, st)
		b := create(t, st, parked, func(c *session.Creation) { c.Session.Manifest.Name = "desk" })
		release(t, st, claim(t, st, "w"), func(s *session.Session) { s.Status = session.Completed })
		for _, tt := range []struct {
			q    session.Query
			want []string
		}{
			{session.Query{Tenant: tenant}, []string{b.ID, a.ID}},
			{session.Query{Tenant: tenant, Status: session.Completed}, []string{a.ID}},
			{session.Query{Tenant: tenant, Status: session.Queued}, []string{b.ID}},
			{session.Query{Tenant: tenant, Manifest: "desk"}, []string{b.ID}},
			{session.Query{Tenant: tenant, Manifest: "desk", Status: session.Completed}, nil},
			{session.Query{Tenant: "other"}, nil},
			{session.Query{}, nil},
		} {
			rows, next, err := st.List(t.Context(), tt.q)
			var got []string
			for _, r := range rows {
				got = append(got, r.ID)
			}
			if err != nil || next != "" || !slices.Equal(got, tt.want) {
				t.Errorf("List(%+v) = %v, %q, %v, want %v", tt.q, got, next, err, tt.want)
			}
		}
		rows, _, err := st.List(t.Context(), session.Query{Tenant: tenant, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "List() row", rows[0], get(t, st, b.ID))
	}},
	{"list refuses cursors that are not its own", func(t *testing.T, st session.Store) {
		for _, c := range []string{"x", "!!!", "MTI", "MTIuYQ", "LjE", "\x00"} {
			_, _, err := st.List(t.Context(), session.Query{Tenant: tenant, Cursor: c})
			wantCode(t, "List(cursor "+c+")", err, fault.Validation)
		}
	}},
	{"events by page", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		for i := range 9 {
			commit(t, st, l, session.Commit{Session: l.Session, Events: []session.NewEvent{event(session.EventPlanned, `%d`, i)}})
		}
		for _, tt := range []struct {
			after int64
			limit int
			want  []int64
		}{
			{0, 3, []int64{1, 2, 3}},
			{3, 3, []int64{4, 5, 6}},
			{8, 100, []int64{9, 10}},
			{10, 5, nil},
			{1 << 60, 5, nil},
			{-5, 2, []int64{1, 2}},
			{0, 0, nil},
			{0, -1, nil},
		} {
			es, err := st.Events(t.Context(), s.ID, tt.after, tt.limit)
			var got []int64
			for _, e := range es {
				got = append(got, e.Seq)
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("Events(%d, %d) = %v, %v, want %v", tt.after, tt.limit, got, err, tt.want)
			}
		}
		for _, id := range []string{newID(), "nonsense", ""} {
			if es, err := st.Events(t.Context(), id, 0, 5); len(es) != 0 || err != nil {
				t.Errorf("Events(%q) = %v, %v, want none", id, es, err)
			}
			if es, err := st.Effects(t.Context(), id); len(es) != 0 || err != nil {
				t.Errorf("Effects(%q) = %v, %v, want none", id, es, err)
			}
		}
	}},
}
