package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/server"
)

// asMain makes the test binary behave as the real one, for tests that need a
// process to kill.
const asMain = "OAP_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"oap": main})
}

// A fixture is a demo world with a server in front of it, all in this process.
type fixture struct {
	world  *world
	engine *engine
	client *client.Client
	url    string
}

// setup starts an example's world and a server for it. edit may change the
// engine's configuration.
func setup(t testing.TB, name string, edit func(*engineConfig)) *fixture {
	t.Helper()
	x, err := loadExample(name, false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := startWorld(t.Context(), x.script)
	if err != nil {
		t.Fatal(err)
	}
	cfg := engineConfig{
		db: filepath.Join(t.TempDir(), "oap.db"), files: t.TempDir(), manifests: []manifestSource{x.manifest}, logger: testLogger(t),
	}
	w.configure(&cfg)
	if edit != nil {
		edit(&cfg)
	}
	e, err := newEngine(t.Context(), cfg)
	if err != nil {
		w.close()
		t.Fatal(err)
	}
	srv, err := server.New(server.Config{Manager: e.manager, Logger: cfg.logger, Waiters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{world: w, engine: e, url: "http://" + ln.Addr().String()}
	f.client = &client.Client{BaseURL: f.url, HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- together(ctx, w.serve, e.work, func(ctx context.Context) error { return srv.Serve(ctx, ln) })
	}()
	t.Cleanup(func() {
		f.client.HTTP.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		e.close(t.Context())
		w.close()
	})
	return f
}

// request returns an example's request with run set.
func request(t testing.TB, name string) []byte {
	t.Helper()
	x, err := loadExample(name, false)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(x.request, &body); err != nil {
		t.Fatal(err)
	}
	body["run"] = true
	out, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestScripts runs the command line through the real main. Beside testscript's
// own commands, "code N oap …" checks an exit code and "json FIELD TEXT" looks
// into the standard output. $SERVER is a running server of the approval
// example, $MODEL and the rewrites lead embedded engines into its world.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    scriptCode,
			"member":  scriptMember,
			"capture": scriptCapture,
		},
		Setup: func(env *testscript.Env) error {
			t := env.T().(testing.TB)
			f := setup(t, "approval", nil)
			env.Setenv("SERVER", f.url)
			env.Setenv("NOBODY", "http://127.0.0.1:1")
			env.Setenv("MODEL", f.world.modelURL())
			env.Setenv("OPENAI_API_KEY", "")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", cacheHome())
			env.Setenv("MODEL_KEY", f.world.key)
			env.Setenv("AGENDA", agenda)
			var rewrites []string
			for _, s := range f.world.listener.Addresses.Services {
				rewrites = append(rewrites, s.Origin+"="+s.URL)
				env.Setenv(s.TokenEnv, s.Token)
			}
			env.Setenv("REWRITE", strings.Join(rewrites, ","))
			examples, err := filepath.Abs("../../examples")
			env.Setenv("EXAMPLES", examples)
			return err
		},
	})
}

// agenda is what the seed's second step returns.
const agenda = `Agenda:
1. Introduction & objectives (5 min)
2. Data pipeline overview (10 min)
3. Model training walkthrough (15 min)
4. Live analytics demo (10 min)
5. Q&A (5 min)`

// cacheHome is the user's own cache, so that the sandbox is compiled once and
// not by every script.
func cacheHome() string {
	d, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return d
}

// scriptCode runs a command that must end with an exit code.
func scriptCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N command args…")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("%q is not an exit code", args[0])
	}
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptMember compares a member of the standard output's JSON, such as
// history.0.action_name, with a text.
func scriptMember(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: member PATH TEXT")
	}
	if got := memberOf(ts, args[0]); got != args[1] {
		ts.Fatalf("%s = %s, want %s", args[0], got, args[1])
	}
}

// scriptCapture puts a member of the standard output's JSON into a variable.
func scriptCapture(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: capture PATH NAME")
	}
	ts.Setenv(args[1], memberOf(ts, args[0]))
}

func memberOf(ts *testscript.TestScript, path string) string {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("the output is not JSON: %v", err)
	}
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				ts.Fatalf("there is no element %s of %s", name, path)
			}
			v = x[i]
		default:
			ts.Fatalf("there is nothing at %s", path)
		}
	}
	return fmt.Sprint(v)
}

// testLogger writes failures to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}
