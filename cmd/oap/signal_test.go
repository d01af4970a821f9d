//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/internal/demo"
)

// A conversation is the real command with its error output read line by line.
type conversation struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *bufio.Reader
	seen   strings.Builder
}

func converse(t *testing.T, env []string, args ...string) *conversation {
	t.Helper()
	c := &conversation{t: t, cmd: exec.Command(os.Args[0], args...)}
	c.cmd.Env = append(os.Environ(), append(env, asMain+"=1", "XDG_CACHE_HOME="+cacheHome())...)
	c.cmd.Stdout = &c.stdout
	pipe, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stderr = bufio.NewReader(pipe)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it has ended if all went well
	return c
}

// until reads the error output until a line holds text.
func (c *conversation) until(text string) {
	c.t.Helper()
	for {
		line, err := c.stderr.ReadString('\n')
		c.seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			c.t.Fatalf("%q did not appear; the command said\n%s", text, c.seen.String())
		}
	}
}

// end waits for the command's end and returns its exit code.
func (c *conversation) end() int {
	c.t.Helper()
	rest, err := io.ReadAll(c.stderr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seen.Write(rest)
	_ = c.cmd.Wait() // the exit code says it
	return c.cmd.ProcessState.ExitCode()
}

// An interrupt cancels the session that runs in this process and ends with
// exit code 4, while an action is still under way.
func TestInterruptCancels(t *testing.T) {
	t.Parallel()
	f := setup(t, "meetbot", nil)
	if err := f.world.services.Inject(demo.Fault{Service: "calendar", LatencyMS: 60_000}); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "oap.db")
	args := []string{"run", "Schedule product demo with Alice and Bob", "-m", "../../examples/meetbot/manifest.json",
		"-o", observationFile(t), "--base-url", f.world.modelURL(), "--db", db}
	env := []string{"OPENAI_API_KEY=" + f.world.key}
	for _, s := range f.world.listener.Addresses.Services {
		args = append(args, "--rewrite", s.Origin+"="+s.URL)
		env = append(env, s.TokenEnv+"="+s.Token)
	}
	c := converse(t, env, args...)
	c.until("search_free_slots")
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := c.end(); code != exitCancelled || !strings.Contains(c.seen.String(), "cancelled") {
		t.Errorf("exit code %d, want %d; the command said\n%s", code, exitCancelled, c.seen.String())
	}
	if c.stdout.Len() > 0 {
		t.Errorf("standard output = %q, want nothing", c.stdout.String())
	}
}

// observationFile returns a file with the observation of the meetbot example.
func observationFile(t *testing.T) string {
	t.Helper()
	x, err := loadExample("meetbot", false)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Observation json.RawMessage `json:"observation"`
	}
	if err := json.Unmarshal(x.request, &body); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "observation.json")
	if err := os.WriteFile(name, body.Observation, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A server is configured by its environment alone, as in a container, asks for
// its keys, is found alive, and ends in order on SIGTERM (S2-66, C-18).
func TestServeInAContainer(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), "k-0123456789abcdef"
	host, port, _ := strings.Cut(freeAddress(t), ":")
	env := []string{"HOST=" + host, "PORT=" + port, "OAP_DB=" + filepath.Join(dir, "oap.db"), "OAP_FILES=" + filepath.Join(dir, "files"),
		"OAP_API_KEYS=" + key, "OAP_MANIFESTS=../../examples/approval/manifest.json", "OPENAI_API_KEY=none", "HOME="}
	c := converse(t, env, "serve")
	c.until(`"msg":"serving"`)

	if out, err := command(env, "healthcheck").CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Errorf("healthcheck = %q, %v", out, err)
	}
	url := "http://" + host + ":" + port
	stranger := client.Client{BaseURL: url}
	if _, err := stranger.List(t.Context(), "", "", 0, ""); err == nil || !strings.Contains(err.Error(), "agent.token_invalid") {
		t.Errorf("without a key: %v, want agent.token_invalid", err)
	}
	out, err := command(append(env, "OAP_SERVER="+url, "OAP_API_KEY="+key), "sessions", "list", "--json").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "[]" {
		t.Errorf("sessions list = %q, %v", out, err)
	}

	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.end(); code != exitOK || !strings.Contains(c.seen.String(), `"msg":"stopped"`) {
		t.Errorf("exit code %d, want 0; the server said\n%s", code, c.seen.String())
	}
	if strings.Contains(c.seen.String(), key) {
		t.Error("the log holds the API key")
	}
}

func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), append(env, asMain+"=1")...)
	return cmd
}

// "oap demo services" gives a server under test everything around it.
func TestDemoServices(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ports.json")
	c := converse(t, nil, "demo", "services", "--port-file", file, "--play", "report", "--latency", "1ms")
	c.until("serving the world of report")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the tokens has mode %v, %v, want 0600", info.Mode(), err)
	}
	var a worldAddresses
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	get := func(url, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	if len(a.Services) != 4 {
		t.Errorf("%d services, want 4", len(a.Services))
	}
	for _, s := range a.Services {
		if s.Name == "mail" {
			if status, body := get(s.URL+"/v1/unread", s.Token); status != 200 || !strings.Contains(body, "msg-1") {
				t.Errorf("unread = %d %s", status, body)
			}
		}
	}
	if status, body := get(a.Control.URL+"/_effects", a.Control.Token); status != 200 || body != `{"effects":[]}` {
		t.Errorf("effects = %d %s", status, body)
	}
	if status, body := get(a.Model.BaseURL+"/models", a.Model.APIKey); status != 200 {
		t.Errorf("models = %d %s", status, body)
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := c.end(); code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	}
}
