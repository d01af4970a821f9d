package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/oap-runtime/oap/server"
)

// Each testdata/*.txtar is a conversation: a preamble in English, optionally
// plan.json (what the planner decides) and keys (API keys, one a line), then
// requests and the responses they get. What differs from run to run is written
// as {id1}, {sha1}, {time}; a request may use the same names.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runScript(t, file)
		})
	}
}

func runScript(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(ar.Comment)) < 40 {
		t.Error("the script has no preamble that says what it shows")
	}
	var plan []planned
	var change []func(*server.Config)
	for _, f := range ar.Files {
		switch f.Name {
		case "plan.json":
			if err := json.Unmarshal(f.Data, &plan); err != nil {
				t.Fatal(err)
			}
		case "keys":
			change = append(change, withKeys(t, strings.Fields(string(f.Data))...))
		}
	}
	b := setup(t, plays(plan...), change...)
	names := &nameTable{values: map[string]string{}, counts: map[string]int{}}
	changed := false
	for i := range ar.Files {
		f := &ar.Files[i]
		number, ok := strings.CutSuffix(f.Name, " request")
		if !ok {
			continue
		}
		a := b.send(names.fill(string(f.Data)))
		if a.status == http.StatusInternalServerError {
			t.Errorf("%s: answered 500, which no script may expect\n%s", f.Name, b.logs)
		}
		got := names.hide(render(a))
		if i+1 >= len(ar.Files) || ar.Files[i+1].Name != number+" response" {
			t.Fatalf("%q is not followed by its response", f.Name)
		}
		response := &ar.Files[i+1]
		if string(response.Data) == got {
			continue
		}
		if *update {
			response.Data, changed = []byte(got), true
			continue
		}
		t.Errorf("%s: response differs; run with -update if it is right\n--- got\n%s--- want\n%s", f.Name, got, response.Data)
	}
	if changed {
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// send sends a request as a script writes it: a line with method and path,
// headers, an empty line, the body.
func (b *bench) send(text string) answer {
	b.t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
	method, path, ok := strings.Cut(lines[0], " ")
	if !ok {
		b.t.Fatalf("%q is no request line", lines[0])
	}
	return b.do(method, path, strings.TrimSuffix(body, "\n"), append([]string{"X-Request-Id: test"}, lines[1:]...)...)
}

// shownHeaders are the ones a script shows, in this order.
var shownHeaders = []string{"Content-Type", "Location", "ETag", "Link", "Allow", "Retry-After", "Idempotency-Replayed", "WWW-Authenticate", "Content-Disposition", "Cache-Control"}

func render(a answer) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.status)
	for _, name := range shownHeaders {
		value := a.header.Get(name)
		if value != "" && !(name == "Cache-Control" && value == "no-store") {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	body := a.body
	var indented bytes.Buffer
	if json.Indent(&indented, []byte(body), "", "  ") == nil {
		body = indented.String()
	}
	if body = strings.TrimRight(body, "\n"); body != "" {
		fmt.Fprintf(&b, "\n%s\n", body)
	}
	return b.String()
}

// A nameTable gives values that differ from run to run names that do not.
type nameTable struct {
	values map[string]string // by name
	counts map[string]int    // by kind
}

var (
	changing = []struct {
		kind string
		re   *regexp.Regexp
	}{
		{"id", regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)},
		{"sha", regexp.MustCompile(`\b[0-9a-f]{64}\b`)},
		{"cursor", regexp.MustCompile(`cursor(?:": "|=)([A-Za-z0-9_%=.-]+)`)},
	}
	timestamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	durations  = regexp.MustCompile(`("(?:duration_ms|wall_ms)": ?)\d+`)
)

func (n *nameTable) hide(text string) string {
	text = timestamps.ReplaceAllStringFunc(text, func(s string) string {
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil && time.Since(at).Abs() < 24*time.Hour {
			return "{time}"
		}
		return s
	})
	text = durations.ReplaceAllString(text, "${1}0")
	for _, c := range changing {
		for _, m := range c.re.FindAllStringSubmatch(text, -1) {
			n.learn(c.kind, m[len(m)-1])
		}
	}
	for name, value := range n.values {
		text = strings.ReplaceAll(text, value, "{"+name+"}")
	}
	return text
}

func (n *nameTable) learn(kind, value string) {
	for _, v := range n.values {
		if v == value {
			return
		}
	}
	n.counts[kind]++
	n.values[fmt.Sprintf("%s%d", kind, n.counts[kind])] = value
}

func (n *nameTable) fill(text string) string {
	for name, value := range n.values {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}
