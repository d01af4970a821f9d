package session_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/session"
)

var (
	simSeeds = flag.Int("seeds", 1000, "how many histories the simulator makes")
	simSeed  = flag.Int("seed", -1, "make the history of this seed only, and tell it")
)

const (
	simCalm     = 15 * time.Minute // after it no new faults happen, so that every session can end
	simDeadline = 6 * time.Hour    // a session that has not ended by then is stuck

	simAftermath = 10 * time.Minute // how long a history goes on after its first problem
)

// A sim is one history: processes that die, a store that fails, a world that
// is slow and people who change their minds, all decided by the seed. What
// happens in it is checked as it happens (simoracle_test.go).
type sim struct {
	t     testing.TB
	seed  uint64
	plant simPlant
	store *simStore     // the truth
	inner session.Store // what the processes reach; the truth, unless a fault is planted in it
	began time.Time

	broken chan struct{} // closed at the first problem

	mu       sync.Mutex // guards everything below; taken within the store's
	rolls    map[string]int
	counts   map[string]int
	problems []string
	sessions map[string]*simSession
	byName   []string // ids of sessions in order of creation
	receipts map[string]json.RawMessage
	procs    []*simProc // by slot; nil while a process is gone
}

// A simPlant is a deliberate defect that the simulator must notice.
type simPlant struct {
	name     string
	want     string // part of the problem that gives it away
	store    func(*simStore) session.Store
	executor func(executor.Executor) executor.Executor
}

// TestSimulation proves what the loop promises about crashes, lost leases and
// races (S2-57, C-22, D-2) over many histories.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed >= 0 {
		s := simulate(t, uint64(*simSeed), simPlant{})
		s.tell(t)
		return
	}
	var mu sync.Mutex
	counts := map[string]int{}
	const lanes = 4
	t.Run("histories", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				seeds := []int{}
				for seed := lane; seed < *simSeeds; seed += lanes {
					seeds = append(seeds, seed)
				}
				if lane == 0 {
					seeds = append(seeds, simPast...)
				}
				for _, seed := range seeds {
					if t.Failed() {
						return
					}
					s := simulate(t, uint64(seed), simPlant{})
					for _, p := range s.problems {
						t.Errorf("-seed %d: %s", seed, p)
					}
					mu.Lock()
					for what, n := range s.counts {
						counts[what] += n
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%7d %s", counts[what], what)
	}
	if *simSeeds < 200 || t.Failed() {
		return
	}
	for _, what := range simRare {
		if counts[what] == 0 {
			t.Errorf("%q never happened: the histories do not test it", what)
		}
	}
}

// simPast are seeds that found a fault which few others find.
var simPast = []int{1217, 1268, 4244}

// simRare is what must have happened somewhere in the histories of a run.
var simRare = []string{
	"call repeated", "keyed effect deduplicated", "once refused to be repeated", "placeholder filled",
	"write lost", "write took effect and failed", "claim took effect and failed", "renewal failed", "read failed",
	"process killed", "process stopped", "killed before an effect", "killed after an effect", "killed by a claim",
	"lease taken over", "zombie fenced", "commit of a lease that ran out", "signal between load and commit",
	"planner broke", "planner failed for good", "planner failed, to be tried again", "waited to be started again", "started again",
	"waited for input", "waited for effect", "waited for timer", "question answered", "answer refused", "step busy",
	"cancelled in the middle of a call", "cancelled while waiting", "closed while it ran",
	"call finished with agent.effect_unknown", "call finished with agent.skipped", "call finished with agent.max_steps", "call finished with agent.canceled",
	"session completed finished", "session completed goal", "session failed agent.max_steps", "session cancelled cancelled",
}

// simulate makes one history.
func simulate(t *testing.T, seed uint64, plant simPlant) (s *sim) {
	synctest.Test(t, func(t *testing.T) {
		s = &sim{
			t: t, seed: seed, plant: plant, store: newSimStore(), began: time.Now(),
			rolls: map[string]int{}, counts: map[string]int{}, sessions: map[string]*simSession{}, receipts: map[string]json.RawMessage{},
			procs: make([]*simProc, 2), broken: make(chan struct{}),
		}
		s.inner = s.store
		if plant.store != nil {
			s.inner = plant.store(s.store)
		}
		s.store.wrote = s.saw
		s.run(t)
	})
	return s
}

func (s *sim) run(t *testing.T) {
	man, err := simParsed()
	if err != nil {
		t.Fatal(err)
	}
	ref := session.ManifestRef{Name: man.Name, Version: man.Version, Digest: man.Digest()}
	if _, err := s.store.PutManifest(t.Context(), session.StoredManifest{Tenant: auth.Anonymous.Tenant, Ref: ref, Source: man.JSON()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var servers, people sync.WaitGroup
	for slot := range s.procs {
		servers.Go(func() { s.serve(ctx, slot) })
	}
	for i := range 1 + int(s.roll("sessions")*3) {
		people.Go(func() { s.accompany(ctx, fmt.Sprintf("s%d", i)) })
	}
	ended := make(chan struct{})
	go func() { people.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-s.broken:
		_ = sleepIn(t.Context(), simAftermath)
	case <-time.After(simDeadline):
		s.mu.Lock()
		for _, id := range s.byName {
			if r := s.sessions[id].row; !r.Status.Terminal() {
				s.problem("%s: stuck: %s (%s %s), run %t, cancel %t, %d of %d signals handled, wakes at %v", r.ExternalID, r.Status, r.Reason, r.Detail, r.Run, r.Cancel, r.Handled, r.Signals, r.WakeAt)
			}
		}
		s.problem("a person waits in vain")
		s.mu.Unlock()
	}
	stop()
	<-ended
	servers.Wait()
	s.counts["lease taken over"] += s.store.takenOver
	s.counts["zombie fenced"] += s.store.fenced
	s.counts["commit of a lease that ran out"] += s.store.late
	s.counts["signal between load and commit"] += s.store.raced
	s.counts["session"] += len(s.byName)
	s.verdict()
}

var simParsed = sync.OnceValues(func() (*manifest.Manifest, error) { return manifest.Parse([]byte(simManifest)) })

// accompany is the front-end of one session and everybody who cares for it:
// it creates the session, answers its questions, starts it again after its
// planner failed, steps it when no worker may, and perhaps cancels it.
func (s *sim) accompany(ctx context.Context, name string) {
	_ = sleepIn(ctx, s.span(name+" begins", 0, 20*time.Second))
	run := s.roll(name+" runs by itself") < 0.7
	id := ""
	for id == "" && ctx.Err() == nil {
		p := s.door(ctx, s.nth(name+" create"))
		if p == nil {
			return
		}
		v, _, err := p.Create(ctx, session.CreateRequest{Goal: "goal of " + name, ExternalID: name, IdempotencyKey: "key of " + name, Run: run,
			MaxSteps: 2 + int(s.roll(name+" steps")*14)})
		if err == nil {
			id = v.Session.ID
			break
		}
		_ = sleepIn(ctx, time.Second)
	}
	var all sync.WaitGroup
	all.Go(func() { s.answer(ctx, name, id) })
	if s.roll(name+" has two friends") < 0.4 {
		all.Go(func() { s.answer(ctx, name+"'", id) })
	}
	if !run {
		all.Go(func() { s.drive(ctx, name, id) })
	}
	if s.roll(name+" is cancelled") < 0.3 {
		all.Go(func() { s.abort(ctx, name, id) })
	}
	all.Wait()
}

// answer looks at a session now and then until it has ended, and gives it what
// it asks for.
func (s *sim) answer(ctx context.Context, name, id string) {
	for ctx.Err() == nil {
		what := s.nth(name + " looks")
		_ = sleepIn(ctx, s.span(what, time.Second, 30*time.Second))
		p := s.door(ctx, what)
		if p == nil {
			return
		}
		v, err := p.Get(ctx, id)
		if err != nil {
			continue
		}
		row := v.Session
		switch {
		case row.Status.Terminal():
			return
		case row.Cancel: // nobody answers for a session that is to end
		case row.Status == session.Waiting && row.WakeAt.IsZero() && strings.HasPrefix(row.Reason, "agent.") && row.Run: // its planner failed
			if _, err := p.Start(ctx, id); err == nil {
				s.count("started again")
			}
		case len(v.Waiting) > 0:
			q := v.Waiting[int(s.roll(what+" chooses")*float64(len(v.Waiting)))]
			if s.roll(what+" errs") < 0.1 {
				if _, err := p.Input(ctx, id, session.InputRequest{CallID: q.CallID, Value: json.RawMessage(`{"v":1}`)}); err == nil {
					s.fail("%s: a wrong answer was accepted", name)
				} else if fault.CodeOf(err) == fault.Validation {
					s.count("answer refused")
				}
				continue
			}
			_, _ = p.Input(ctx, id, session.InputRequest{CallID: q.CallID, Value: s.reply(what, q)})
		}
	}
}

// reply is what a person says. About effects they know the truth.
func (s *sim) reply(what string, q session.Question) json.RawMessage {
	if q.Wait.Kind == executor.WaitInput {
		return fmt.Appendf(nil, `{"v":%q}`, what)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ss := range s.sessions {
		if c := ss.calls[q.CallID]; c != nil && c.applied > 0 {
			return fmt.Appendf(nil, `{"outcome":"succeeded","output":{"v":%q}}`, what)
		}
	}
	return json.RawMessage(`{"outcome":"failed"}`)
}

// drive steps a session until it has ended, or until it leaves that to the
// workers.
func (s *sim) drive(ctx context.Context, name, id string) {
	for ctx.Err() == nil {
		what := s.nth(name + " steps")
		_ = sleepIn(ctx, s.span(what, 100*time.Millisecond, 10*time.Second))
		p := s.door(ctx, what)
		if p == nil {
			return
		}
		if s.roll(what+" lets go") < 0.05 {
			if _, err := p.Start(ctx, id); err == nil {
				return
			}
		}
		_, err := p.Step(ctx, id)
		switch codeOf(err) {
		case fault.SessionBusy:
			s.count("step busy")
		case fault.SessionCompleted:
			return
		}
	}
}

// abort wants a session to end early.
func (s *sim) abort(ctx context.Context, name, id string) {
	_ = sleepIn(ctx, s.span(name+" aborts", 0, s.pick(name+" abort pace", 10*time.Second, time.Minute, 3*time.Minute)))
	for ctx.Err() == nil {
		what := s.nth(name + " abort")
		p := s.door(ctx, what)
		if p == nil {
			return
		}
		// Cancelling is asked for once; whoever accepted it must see to it.
		if s.roll(name+" closes") < 0.3 {
			_, err := p.Close(ctx, id)
			if err == nil {
				s.count("closed while it ran")
				return
			}
		} else if _, err := p.Cancel(ctx, id, what); err == nil {
			return
		} else if row, err := s.store.Get(ctx, "", id); err == nil && row.Cancel {
			return
		}
		_ = sleepIn(ctx, s.span(what+" again", time.Second, 10*time.Second))
	}
}

// roll returns the number in [0, 1) that the seed gives to a question. It does
// not depend on what was asked before, so that a seed gives the same history
// again although goroutines do not run in the same order. Only a tie at the
// same microsecond can still turn out otherwise.
func (s *sim) roll(what string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rollLocked(what)
}

func (s *sim) rollLocked(what string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what))
	x := h.Sum64() ^ (s.seed+1)*0x9e3779b97f4a7c15
	for range 2 { // splitmix64
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float64(x>>11) / (1 << 53)
}

// nth numbers the occasions of something that happens many times.
func (s *sim) nth(what string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rolls[what]++
	return fmt.Sprintf("%s %d", what, s.rolls[what])
}

// fault decides whether something goes wrong.
func (s *sim) fault(p float64, what string) bool {
	return time.Since(s.began) < simCalm && s.roll(what) < p
}

// span returns a time between lo and hi, in whole microseconds as databases
// keep it.
func (s *sim) span(what string, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(s.roll(what)*float64(hi-lo)).Truncate(time.Microsecond)
}

func (s *sim) pick(what string, of ...time.Duration) time.Duration {
	return of[int(s.roll(what)*float64(len(of)))]
}

func (s *sim) name(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss := s.sessions[id]; ss != nil {
		return ss.name
	}
	return "new"
}

func (s *sim) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem(format, args...)
}

// problem records a broken promise. The caller holds mu.
func (s *sim) problem(format string, args ...any) {
	if len(s.problems) == 0 {
		close(s.broken)
	}
	if len(s.problems) < 20 { // the first ones tell the story
		s.problems = append(s.problems, fmt.Sprintf("%.3fs: ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
	}
}

// tell writes a history down for whoever looks into it.
func (s *sim) tell(t *testing.T) {
	for _, id := range s.byName {
		t.Log("\n" + strings.Join(s.sessions[id].trace, "\n"))
	}
	for _, p := range s.problems {
		t.Errorf("-seed %d: %s", s.seed, p)
	}
}
