//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/internal/demo"
	"github.com/oap-runtime/oap/internal/pgtest"
	"github.com/oap-runtime/oap/session"
)

// loadSessions is how many sessions the load and crash tests run: few, so that
// every change can afford it, or as many as OAP_TEST_SESSIONS says.
func loadSessions(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("OAP_TEST_SESSIONS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("OAP_TEST_SESSIONS=%q is not a number of sessions", text)
	}
	return n
}

// databases runs a test on both.
func databases(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "oap.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, pgtest.DSN(t)) })
}

// Independent sessions run at the same time and each reaches its end with its
// own effects (S2-90; OAP_TEST_SESSIONS=1000 for the full size).
func TestThousandSessions(t *testing.T) {
	databases(t, func(t *testing.T, dsn string) {
		n := loadSessions(t, 40)
		f := setup(t, "meetbot", func(c *engineConfig) { c.db, c.workers = dsn, 128 })
		if err := f.engine.warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ids := createSessions(t, f.client, n)
		created := time.Now()
		followAll(t, f.client, ids)
		took := time.Since(began)
		t.Logf("%d sessions: created in %v, completed in %v, %.0f sessions and %.0f steps per second", n,
			created.Sub(began).Round(time.Millisecond), took.Round(time.Millisecond), float64(n)/took.Seconds(), float64(4*n)/took.Seconds())
		checkOutcome(t, f.client, f.world.services, ids)
	})
}

// createSessions posts n sessions that run at once. A key makes each post
// repeatable, so that a server that dies in the middle costs nothing.
func createSessions(t *testing.T, cl *client.Client, n int) []string {
	t.Helper()
	body := request(t, "meetbot")
	ids := make([]string, n)
	forEach(n, func(i int) {
		for {
			s, err := cl.Create(t.Context(), body, fmt.Sprintf("session-%d", i))
			if err == nil {
				ids[i] = s.SessionID
				return
			}
			if t.Context().Err() != nil {
				t.Errorf("create session %d: %v", i, err)
				return
			}
			await(t, cl)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return ids
}

// await returns when the server answers.
func await(t *testing.T, cl *client.Client) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for cl.Ready(t.Context()) != nil {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Error("the server did not answer")
			return
		}
	}
}

// forEach calls f for 0 to n-1, a bounded number of calls at a time.
func forEach(n int, f func(int)) {
	const parallel = 48
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(parallel, n) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// followAll follows every session to its end, through restarts of the server.
func followAll(t *testing.T, cl *client.Client, ids []string) {
	t.Helper()
	forEach(len(ids), func(i int) {
		var status client.Status
		err := cl.Follow(t.Context(), ids[i], 0, func(e client.Event) error {
			status = statusAfter(e, status)
			return nil
		})
		if err != nil || status != client.Completed {
			t.Errorf("session %s: %v %v, want completed", ids[i], status, err)
		}
	})
}

// checkOutcome asserts that every session has the seed's four steps, a record
// that holds, and exactly one effect of each kind in the world.
func checkOutcome(t *testing.T, cl *client.Client, world *demo.World, ids []string) {
	t.Helper()
	keys := map[string][]string{} // operation → keys that took effect
	for _, e := range world.Effects() {
		if e.Count != 1 {
			t.Errorf("effect %s %q of %s happened %d times", e.Operation, e.Key, e.Service, e.Count)
		}
		keys[e.Service+" "+e.Operation] = append(keys[e.Service+" "+e.Operation], e.Key)
	}
	for _, op := range []string{"calendar POST /v1/events", "crm POST /v1/meetings"} {
		if got := len(keys[op]); got != len(ids) {
			t.Errorf("%s happened for %d keys, want %d", op, got, len(ids))
		}
	}
	steps := []string{"search_free_slots", "generate_agenda", "create_event", "log_meeting_crm"}
	var mu sync.Mutex
	events := map[string]bool{}
	forEach(len(ids), func(i int) {
		s, err := cl.Get(t.Context(), ids[i])
		if err != nil {
			t.Errorf("session %s: %v", ids[i], err)
			return
		}
		var names []string
		for _, r := range s.History {
			names = append(names, r.ActionName)
			if !r.Success {
				t.Errorf("session %s: %s failed: %s", ids[i], r.ActionName, *r.Error)
			}
		}
		if !slices.Equal(names, steps) || s.Steps != 4 {
			t.Errorf("session %s took the steps %v", ids[i], names)
			return
		}
		mu.Lock()
		if event := string(s.History[2].Output); events[event] {
			t.Errorf("session %s shares its event %s with another", ids[i], event)
		} else {
			events[event] = true
		}
		mu.Unlock()
		if v, err := cl.Verify(t.Context(), ids[i]); err != nil || !v.OK {
			t.Errorf("session %s: verification %+v %v", ids[i], v, err)
		}
	})
}

// A process is the real command as a process of its own.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
}

// start starts the command. Its log goes to the test's.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), append(env, asMain+"=1")...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // a killed process has no better result
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process without a warning and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.exited
}

// A server that is killed in the middle of its work, again and again, loses
// nothing and does nothing twice.
func TestKillNineRepeatsNothing(t *testing.T) {
	t.Parallel()
	databases(t, func(t *testing.T, dsn string) {
		t.Parallel()
		n := loadSessions(t, 12)
		x, err := loadExample("meetbot", false)
		if err != nil {
			t.Fatal(err)
		}
		w, err := startWorld(t.Context(), x.script)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		worldEnded := make(chan error, 1)
		go func() { worldEnded <- w.serve(ctx) }()
		defer func() {
			stop()
			if err := <-worldEnded; err != nil {
				t.Errorf("the world ended with %v", err)
			}
		}()
		// Requests take a while on both sides of their effect, so that the kills
		// find some of them on either side.
		if err := w.services.Inject(demo.Fault{LatencyMS: 15, ResponseLatencyMS: 15}); err != nil {
			t.Fatal(err)
		}
		manifest := filepath.Join(t.TempDir(), "manifest.json")
		if err := os.WriteFile(manifest, x.manifest.data, 0o600); err != nil {
			t.Fatal(err)
		}
		env := []string{"OPENAI_API_KEY=" + w.key, "XDG_CACHE_HOME=" + cacheHome()}
		args := []string{"serve", "--addr", freeAddress(t), "--db", dsn, "--files", t.TempDir(), "--manifest", manifest,
			"--base-url", w.modelURL(), "--log-level", "error"}
		for _, s := range w.listener.Addresses.Services {
			args = append(args, "--rewrite", s.Origin+"="+s.URL)
			env = append(env, s.TokenEnv+"="+s.Token)
		}
		cl := &client.Client{BaseURL: "http://" + args[2], HTTP: &http.Client{Transport: &http.Transport{}}}
		defer cl.HTTP.CloseIdleConnections()

		p := start(t, env, args...)
		await(t, cl)
		ids := createSessions(t, cl, n)
		kills := 0
		for _, at := range []struct{ event, action string }{
			{string(session.EventCallStarted), "create_event"},
			{string(session.EventCallStarted), "log_meeting_crm"},
			{string(session.EventPlanned), ""},
		} {
			if !killWhen(t, cl, p, ids, at.event, at.action) {
				continue // everything had ended before
			}
			kills++
			p = start(t, env, args...)
			await(t, cl)
		}
		followAll(t, cl, ids)
		repeated := 0
		for _, e := range w.services.Effects() {
			repeated += e.Requests - 1
		}
		t.Logf("%d sessions, %d kills, %d requests were sent again and answered from the first", n, kills, repeated)
		if kills == 0 {
			t.Error("no kill found the server at work")
		}
		checkOutcome(t, cl, w.services, ids)
	})
}

// killWhen kills the process as soon as one of the sessions, none of which it
// has seen do so before, records an event. It reports false when all ended
// without.
func killWhen(t *testing.T, cl *client.Client, p *process, ids []string, event, action string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	killed := false
	var wg sync.WaitGroup
	for _, id := range ids[:min(len(ids), 32)] {
		wg.Go(func() {
			live := false
			_ = cl.Follow(ctx, id, 0, func(e client.Event) error { // ends with the kill
				live = live || e.Type == client.CaughtUp
				if live && e.Type == event && (action == "" || actionOf(e) == action) {
					once.Do(func() { killed = true; p.kill(); cancel() })
					return client.ErrStop
				}
				return nil
			})
		})
	}
	wg.Wait()
	return killed
}

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func actionOf(e client.Event) string {
	var d struct {
		Action string `json:"action"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Action
}
