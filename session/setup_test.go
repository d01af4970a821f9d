package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

// testManifest declares one action of each behaviour that the loop knows.
const testManifest = `{
 "name": "Tester", "version": "1.0.0", "description": "Actions for tests.",
 "actions": [
  {"type":"invoke_api","name":"look","description":"Reads.","method":"GET","endpoint":"https://api.example.com/look",
   "input_schema":{"type":"object","properties":{"q":{}}},"output_schema":{"type":"object"},"result_path":"environment.calendar.free_slots","result_select":"slots"},
  {"type":"invoke_api","name":"fetch","description":"Reads.","method":"GET","endpoint":"https://api.example.com/fetch","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"send","description":"Sends once.","method":"POST","endpoint":"https://api.example.com/send","effect":"once","input_schema":{"type":"object"},"output_schema":{"type":"object"}},
  {"type":"invoke_api","name":"put","description":"Sends with a key.","method":"POST","endpoint":"https://api.example.com/put","effect":"keyed","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"note","description":"Keeps a list.","method":"POST","endpoint":"https://api.example.com/note","effect":"keyed","input_schema":{"type":"object"},"output_schema":{"type":"object"},"postconditions":["state.notes.append(result.id)"]},
  {"type":"invoke_api","name":"finish","description":"Ends.","method":"POST","endpoint":"https://api.example.com/finish","effect":"keyed","terminal":true,"input_schema":{"type":"object"},"output_schema":{}},
  {"type":"human_intervention","name":"ask","description":"Asks.","prompt":"Which zone?","input_schema":{"type":"object"},"output_schema":{"type":"object","properties":{"zone":{"type":"string"}},"required":["zone"]}}
 ]}`

// A world performs the test manifest's actions as each test says.
type world struct {
	mu    sync.Mutex
	calls []executor.Call
	do    map[string]func(context.Context, executor.Call) (executor.Result, error)
	asks  json.RawMessage // schema of every question; nil means the action's output_schema
}

func (w *world) Execute(ctx context.Context, c executor.Call, _ func(executor.Progress)) (executor.Result, error) {
	w.mu.Lock()
	w.calls = append(w.calls, c)
	f := w.do[c.Action.Name]
	w.mu.Unlock()
	if c.Action.Type == manifest.HumanIntervention {
		if c.Answer == nil {
			schema := w.asks
			if schema == nil {
				schema = c.Action.Output.JSON()
			}
			return executor.Result{Wait: &executor.Wait{Kind: executor.WaitInput, Prompt: "Which zone?", Schema: schema}}, nil
		}
		return executor.Result{Output: c.Answer.Value}, nil
	}
	if f == nil {
		return executor.Result{Output: json.RawMessage(`{"ok":true}`)}, nil
	}
	return f(ctx, c)
}

func (w *world) on(name string, f func(context.Context, executor.Call) (executor.Result, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.do == nil {
		w.do = map[string]func(context.Context, executor.Call) (executor.Result, error){}
	}
	w.do[name] = f
}

func (w *world) answers(name, output string) {
	w.on(name, func(context.Context, executor.Call) (executor.Result, error) {
		return executor.Result{Output: json.RawMessage(output)}, nil
	})
}

func (w *world) made() []executor.Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]executor.Call(nil), w.calls...)
}

// rounds is a planner that plays decisions in order and then finishes. Unlike a
// planner that counts history it also works when calls are skipped.
func rounds(ds ...planner.Decision) planner.Planner {
	var mu sync.Mutex
	next := map[string]int{}
	return planner.Func(func(_ context.Context, r planner.Request) (planner.Decision, error) {
		mu.Lock()
		defer mu.Unlock()
		n := next[r.SessionID]
		next[r.SessionID]++
		if n >= len(ds) {
			return planner.Decision{Finish: true, Answer: json.RawMessage(`"done"`)}, nil
		}
		return ds[n], nil
	})
}

func calls(cs ...planner.Intent) planner.Decision { return planner.Decision{Calls: cs} }

func call(action, args string) planner.Intent {
	return planner.Intent{Action: action, Args: json.RawMessage(args)}
}

type bundle struct {
	*session.Manager
	store session.Store
	world *world
	cfg   session.Config
}

func setup(t *testing.T, p planner.Planner) *bundle {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DSN: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return setupOn(t, db, p)
}

func setupOn(t *testing.T, db session.Store, p planner.Planner) *bundle {
	t.Helper()
	w := &world{}
	cfg := session.Config{Store: db, Planner: p, Executor: w, Poll: 20 * time.Millisecond, Workers: 8}
	m, err := session.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.RegisterManifest(t.Context(), []byte(testManifest)); err != nil {
		t.Fatal(err)
	}
	return &bundle{m, db, w, cfg}
}

func (b *bundle) create(t *testing.T, r session.CreateRequest) session.View {
	t.Helper()
	if r.Goal == "" {
		r.Goal = "test"
	}
	v, _, err := b.Create(t.Context(), r)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return v
}

func (b *bundle) step(t *testing.T, id string) session.StepResult {
	t.Helper()
	r, err := b.Step(t.Context(), id)
	if err != nil {
		t.Fatalf("Step: %v", err)
	}
	return r
}

// run advances sessions in the background until the test ends.
func (b *bundle) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := b.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
}

// await follows a session until cond holds for its row.
func (b *bundle) await(t *testing.T, id string, what string, cond func(session.Session) bool) session.Session {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute) // a bound for a broken build, not an assertion
	defer stop()
	sub := b.Watch(id)
	defer sub.Close()
	for {
		v, err := b.Get(ctx, id)
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		if cond(v.Session) {
			return v.Session
		}
		select {
		case <-sub.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: session is %s (%s %s)", what, v.Session.Status, v.Session.Reason, v.Session.Detail)
		}
	}
}

func (b *bundle) verify(t *testing.T, id string) {
	t.Helper()
	v, err := b.Verify(t.Context(), id)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if !v.OK {
		t.Errorf("Verify(%s) = event %d: %s", id, v.BadSeq, v.Problem)
	}
}

func (b *bundle) types(t *testing.T, id string) (out []string) {
	t.Helper()
	es, err := b.Events(t.Context(), id, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		out = append(out, string(e.Type))
	}
	return out
}

func codeOf(err error) fault.Code {
	if err == nil {
		return ""
	}
	return fault.CodeOf(err)
}

func member(t *testing.T, doc json.RawMessage, path ...string) string {
	t.Helper()
	for _, p := range path {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(doc, &m); err != nil {
			t.Fatalf("no object at %q: %v", p, err)
		}
		doc = m[p]
	}
	return string(doc)
}

func outcome(code fault.Code, format string, args ...any) (executor.Result, error) {
	return executor.Result{}, fault.New(code, "%s", fmt.Sprintf(format, args...))
}
