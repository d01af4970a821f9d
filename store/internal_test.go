package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00", `\`, `\0`, `\x00`, "\xff", "ünï😀", "\xed\xa0\x80", "\ufffd"} {
		f.Add(s, s+"\x00")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		store := func(s string) string {
			v, err := text(s).Value()
			if err != nil {
				t.Fatal(err)
			}
			stored := v.(string)
			if !utf8.ValidString(stored) || strings.ContainsRune(stored, 0) {
				t.Fatalf("%q is stored as %q, which Postgres refuses", s, stored)
			}
			var back text
			if err := back.Scan(stored); err != nil || string(back) != s {
				t.Fatalf("%q came back as %q, %v", s, back, err)
			}
			return stored
		}
		if (store(a) == store(b)) != (a == b) {
			t.Fatalf("%q and %q are stored alike", a, b)
		}
	})
}

func FuzzTextScan(f *testing.F) {
	for _, s := range []string{`\`, `\q`, `\x`, `\x0`, `\xzz`, `a\\b\0c\xff`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		var v text
		_ = v.Scan(stored) // an error or a value, never a panic
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("", int64(0), "")
	f.Add("MTIuYQ", int64(1700000000000000), "name\x00version")
	f.Fuzz(func(t *testing.T, s string, at int64, key string) {
		if _, _, err := parseCursor(s); err != nil && !errors.Is(err, errCursor) {
			t.Fatal(err)
		}
		gotAt, gotKey, err := parseCursor(cursor(at, key))
		if err != nil || gotAt != at || gotKey != key {
			t.Fatalf("cursor(%d, %q) came back as %d, %q, %v", at, key, gotAt, gotKey, err)
		}
	})
}

func FuzzCodec(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(1, int64(3), []byte("\x28\xb5\x2f\xfd\x04\x00"))
	f.Fuzz(func(t *testing.T, codec int, size int64, data []byte) {
		_, _ = c.unpack(packed{codec, size, data}) // damaged rows give errors
		kind, stored := c.pack(data)
		back, err := c.unpack(packed{kind, int64(len(data)), stored})
		if err != nil || !slices.Equal(back, data) || len(stored) > len(data) {
			t.Fatalf("%d bytes came back as %d, %v", len(data), len(back), err)
		}
	})
}

// One transaction takes the commits of many sessions; those whose lease is
// lost do not disturb the others, a damaged one fails all.
func TestCommitOfMany(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": func(testing.TB) string { return "" }, "postgres": pgtest.DSN} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := Open(t.Context(), Config{DSN: dsn(t), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			const n = 20
			var ps []*pending
			for range n {
				s, err := db.Create(t.Context(), session.Creation{
					Session: session.Session{ID: uuid.Must(uuid.NewV7()).String(), Tenant: "t", Status: session.Queued},
					Events:  []session.NewEvent{{Type: "created"}},
					State:   session.StateVersion{ID: uuid.Must(uuid.NewV7()).String(), Hash: hashOf([]byte("{}")), Snapshot: []byte("{}")},
				})
				if err != nil {
					t.Fatal(err)
				}
				l, err := db.ClaimID(t.Context(), "t", s.ID, "w", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				p := &pending{lease: l, commit: session.Commit{Session: l.Session, Events: []session.NewEvent{{Type: "x"}}, TTL: time.Minute}}
				if err := db.prepare(p); err != nil {
					t.Fatal(err)
				}
				ps = append(ps, p)
			}
			ps[3].lease.Epoch++
			ps[7].lease.Owner = "other"
			check := func(want int64) {
				t.Helper()
				for i, p := range ps {
					row, err := db.Get(t.Context(), "t", p.lease.Session.ID)
					if err != nil {
						t.Fatal(err)
					}
					fenced := i == 3 || i == 7
					if fenced && (p.err != session.ErrLeaseLost || row.LastSeq != 1) || !fenced && (p.err != nil || row.LastSeq != want) {
						t.Errorf("commit %d: LastSeq = %d, error %v", i, row.LastSeq, p.err)
					}
				}
			}
			if err := db.commit(t.Context(), ps); err != nil {
				t.Fatal(err)
			}
			check(2)
			ps[11].content = []statement{insertPatch.with(uid(uuid.NewString()), uid(ps[11].lease.Session.ID), uid(""), digest(hashOf(nil)), uid(""), uid(""), 0, []byte("[]"))}
			if err := db.commit(t.Context(), ps); err == nil {
				t.Fatal("a commit without its parent state succeeded")
			}
			check(2)
			ps[11].content = nil
			if err := db.commit(t.Context(), ps); err != nil {
				t.Fatal(err)
			}
			check(3)
		})
	}
}

func TestEndedKeepsTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := ended(ctx); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended() = %v, want both the cause and Canceled", err)
	}
}
