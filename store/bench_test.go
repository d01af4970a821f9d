package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

// The private server of pgtest does not wait for the disk. To measure one that
// does, name it in OAP_TEST_POSTGRES.
func benchmark(b *testing.B, run func(b *testing.B, db *store.DB)) {
	b.Run("sqlite", func(b *testing.B) { run(b, open(b, filepath.Join(b.TempDir(), "oap.db"))) })
	b.Run("postgres", func(b *testing.B) { run(b, open(b, pgtest.DSN(b))) })
}

func newCreation(run bool) session.Creation {
	return session.Creation{
		Session: session.Session{ID: uuid.Must(uuid.NewV7()).String(), Tenant: "t", Goal: "find the answer", MaxSteps: 10, Status: session.Queued, Run: run},
		Events:  []session.NewEvent{{Type: session.EventCreated, Data: []byte(`{"goal":"find the answer"}`)}},
		State:   session.StateVersion{ID: uuid.Must(uuid.NewV7()).String(), Hash: emptyHash, Snapshot: []byte(`{}`)},
	}
}

const emptyHash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}

func mustCreate(tb testing.TB, db *store.DB, c session.Creation) session.Session {
	tb.Helper()
	s, err := db.Create(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func BenchmarkCreate(b *testing.B) {
	benchmark(b, func(b *testing.B, db *store.DB) {
		for b.Loop() {
			mustCreate(b, db, newCreation(true))
		}
	})
}

func BenchmarkClaim(b *testing.B) {
	benchmark(b, func(b *testing.B, db *store.DB) {
		for range 1000 {
			mustCreate(b, db, newCreation(true))
		}
		for b.Loop() { // each ends at once, so there are always sessions due
			if _, err := db.Claim(b.Context(), "w", time.Millisecond); err != nil && err != session.ErrNoneDue {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCommit writes what a step usually does: two events, a patch, an
// effect and the row.
func BenchmarkCommit(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d at once", clients), func(b *testing.B) {
			benchmark(b, func(b *testing.B, db *store.DB) {
				var next atomic.Int64
				leases := make([]session.Lease, clients)
				for i := range leases {
					s := mustCreate(b, db, newCreation(false))
					l, err := db.ClaimID(b.Context(), "t", s.ID, "w", time.Minute)
					if err != nil {
						b.Fatal(err)
					}
					leases[i] = l
				}
				b.SetParallelism((clients + 1) / 2) // times GOMAXPROCS, 2 where this is measured
				if clients == 1 {
					var n int
					for b.Loop() {
						commitStep(b, db, &leases[0], n)
						n++
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					l := &leases[int(next.Add(1)-1)%clients]
					for n := 0; pb.Next(); n++ {
						commitStep(b, db, l, n)
					}
				})
			})
		})
	}
}

func commitStep(b *testing.B, db *store.DB, l *session.Lease, n int) {
	row := l.Session
	v := session.StateVersion{ID: uuid.Must(uuid.NewV7()).String(), ParentID: row.StateID, Hash: emptyHash, Patch: []byte(`[{"op":"add","path":"/environment/x","value":"` + strings.Repeat("x", 200) + `"}]`)}
	if n%64 == 63 {
		v.Patch, v.Snapshot = nil, []byte(`{}`)
	}
	row.StateID = v.ID
	data := []byte(`{"call_id":"c","action":"lookup","args":{"json":{"q":"` + strings.Repeat("y", 300) + `"}}}`)
	row, _, err := db.Commit(b.Context(), *l, session.Commit{
		Session: row,
		Events:  []session.NewEvent{{Type: session.EventCallFinished, Data: data}, {Type: session.EventPlanned, Data: data}},
		States:  []session.StateVersion{v},
		Effects: []session.Effect{{ID: fmt.Sprint(n), Action: "lookup", Class: "read", IdempotencyKey: "k", Status: session.Settled}},
		TTL:     time.Minute,
	})
	if err != nil {
		b.Error(err)
		return
	}
	l.Session = row
}
