package storetest

import (
	"strings"
	"testing"

	"github.com/oap-runtime/oap/session"
)

// difficult holds strings that databases are known to refuse or to change.
var difficult = map[string]string{
	"nul":           "a\x00b",
	"only nul":      "\x00",
	"not UTF-8":     "a\xff\xfe\x80b",
	"cut rune":      "a\xe2\x82",
	"surrogate":     "\xed\xa0\x80",
	"backslashes":   `\ \\ \0 \x00 \xzz c:\new`,
	"ends in slash": `abc\`,
	"unicode":       "Grüße 日本語 😀 e\u0301 \u200b\u202e\u2028",
	"quotes":        `'; DROP TABLE sessions; -- " $1 ? @x %s`,
	"controls":      "\x01\x1b[31m\r\n\t\x7f",
	"replacement":   "\ufffd",
	"spaces":        "  kept  ",
}

var textTests = []test{
	{"every string survives", func(t *testing.T, st session.Store) {
		for name, v := range difficult {
			s := create(t, st, func(c *session.Creation) {
				c.Session.Tenant, c.Session.Goal, c.Session.ExternalID, c.IdempotencyKey, c.Fingerprint = v, v, v, v, v
				c.Session.Manifest = session.ManifestRef{Name: v, Version: v, Digest: v}
				c.Events = []session.NewEvent{{Type: session.EventType(v), Data: []byte(v)}}
			})
			l, err := st.Claim(t.Context(), v, ttl)
			if err != nil || l.Owner != v || l.Session.ID != s.ID {
				t.Fatalf("%s: Claim() = %q, %v", name, l.Owner, err)
			}
			row := l.Session
			row.Status, row.Reason, row.Detail = session.Completed, v, v
			_, _, err = st.Commit(t.Context(), l, session.Commit{
				Session: row, Events: []session.NewEvent{{Type: "x", Data: []byte(v)}}, Release: true,
				Effects: []session.Effect{{ID: v, Action: v, Class: v, IdempotencyKey: v, RequestDigest: v, Status: session.EffectStatus(v)}},
			})
			if err != nil {
				t.Fatalf("%s: Commit() = %v", name, err)
			}
			got, err := st.Get(t.Context(), v, s.ID)
			if err != nil {
				t.Fatalf("%s: Get() = %v", name, err)
			}
			if got.Tenant != v || got.Goal != v || got.ExternalID != v || got.Reason != v || got.Detail != v || got.Manifest != s.Manifest || got.Manifest.Name != v {
				t.Errorf("%s: Get() = %+v", name, got)
			}
			es := events(t, st, s.ID)
			if len(es) != 2 || string(es[0].Type) != v || string(es[0].Data) != v || es[0].Hash != es[0].ComputeHash() || es[1].Hash != es[1].ComputeHash() {
				t.Errorf("%s: Events() = %+v", name, es)
			}
			if id, fingerprint, err := st.Existing(t.Context(), v, v); id != s.ID || fingerprint != v || err != nil {
				t.Errorf("%s: Existing() = %s, %q, %v", name, id, fingerprint, err)
			}
			effects, err := st.Effects(t.Context(), s.ID)
			if err != nil || len(effects) != 1 || effects[0].ID != v || effects[0].Action != v || string(effects[0].Status) != v {
				t.Errorf("%s: Effects() = %+v, %v", name, effects, err)
			}
			rows, _, err := st.List(t.Context(), session.Query{Tenant: v, Manifest: v})
			if err != nil || len(rows) != 1 {
				t.Errorf("%s: List() = %d rows, %v", name, len(rows), err)
			}
			m := manifestOf(v, v, v, v)
			m.Source = []byte(v)
			putManifest(t, st, m)
			if back, err := st.GetManifest(t.Context(), v, m.Ref); err != nil || back.Ref != m.Ref || string(back.Source) != v {
				t.Errorf("%s: GetManifest() = %+q, %v", name, back, err)
			}
		}
	}},
	{"long texts survive", func(t *testing.T, st session.Store) {
		long := strings.Repeat("long 😀 \x00 ", 200_000)
		s := create(t, st, func(c *session.Creation) {
			c.Session.Goal = long
			c.Session.Options.Labels = map[string]string{"l": strings.Repeat("x", 100_000)}
			c.Events[0].Data = []byte(`"` + strings.Repeat("y", 3<<20) + `"`)
		})
		if got := get(t, st, s.ID); got.Goal != long || len(got.Options.Labels["l"]) != 100_000 {
			t.Errorf("Get() = a goal of %d bytes, want %d", len(got.Goal), len(long))
		}
		checkLog(t, st, s.ID)
	}},
	{"an event without data", func(t *testing.T, st session.Store) {
		s := create(t, st)
		if _, _, err := st.Annotate(t.Context(), tenant, s.ID, session.NewEvent{Type: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		if es := checkLog(t, st, s.ID); es[1].Data != nil {
			t.Errorf("Data = %q, want nil", es[1].Data)
		}
	}},
}
