package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/oap-runtime/oap/examples"
	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/server"
)

type demoCmd struct {
	Example      string   `arg:"" optional:"" enum:"meetbot,report,triage,approval,services" default:"meetbot" help:"Which one: meetbot books a meeting, report mails a summary of data, triage reads a mailbox, approval asks you first."`
	SeedManifest bool     `help:"Use MeetBot's manifest as the protocol's first publication has it, byte for byte."`
	Keep         bool     `help:"Keep everything running afterwards, to try the API by hand. Ctrl-C ends it."`
	Port         int      `help:"Port of the server; by default a free one."`
	NoWait       bool     `help:"Do not ask questions at the terminal: leave the session waiting and end with exit code 3."`
	AllowOrigin  []string `help:"Let scripts of this web origin call the API." placeholder:"ORIGIN"`
	modelFlags
	servicesFlags
}

func (*demoCmd) Help() string {
	return `Starts a small world on loopback ports — a calendar, a CRM, a mailbox, a database — and the
server, posts a request, shows each step as it happens, then prints the transcript and
checks it. A script stands in for the model, so no key is needed and every run is alike;
with OPENAI_API_KEY or --base-url a real model decides instead.

  oap demo                     book a meeting in four steps
  oap demo approval            ... that asks you before it sends a mail
  oap demo report --keep       ... and try the API with curl afterwards`
}

// An example is one directory of package examples.
type example struct {
	name     string
	manifest manifestSource
	request  []byte
	script   []byte
}

func loadExample(name string, seedManifest bool) (example, error) {
	x := example{name: name}
	var err error
	read := func(file string) (data []byte) {
		if err == nil {
			data, err = fs.ReadFile(examples.FS, path.Join(name, file))
		}
		return data
	}
	x.request, x.script = read("request.json"), read("script.json")
	file := "manifest.json"
	if seedManifest {
		file = "seed-manifest.json"
	} else if _, missing := fs.Stat(examples.FS, path.Join(name, file)); missing != nil {
		file = "manifest.yaml"
	}
	x.manifest = manifestSource{path.Join("examples", name, file), read(file)}
	return x, err
}

func (c *demoCmd) Run(a *app) error {
	if c.Example == "services" {
		return c.runServices(a)
	}
	if c.SeedManifest && c.Example != "meetbot" {
		return usageError("only the meetbot example has a seed manifest")
	}
	x, err := loadExample(c.Example, c.SeedManifest)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "oap-demo-")
	if err != nil {
		return err
	}
	world, err := startWorld(a.ctx, x.script)
	if err != nil {
		return err
	}
	defer world.close()

	// The first publication's manifest does not ask for the model its code
	// uses: there the operator grants it.
	cfg := engineConfig{
		db: filepath.Join(dir, "oap.db"), files: filepath.Join(dir, "files"), manifests: []manifestSource{x.manifest},
		grantLLM: c.SeedManifest, logger: a.quietLogger(),
	}
	world.configure(&cfg)
	if c.real() {
		if err := c.configure(&cfg); err != nil {
			return err
		}
	}
	// Everything behind the show outlives an interrupt, which has to be carried
	// out there.
	e, err := newEngine(context.WithoutCancel(a.ctx), cfg)
	if err != nil {
		return err
	}
	defer e.close(a.ctx)
	ln, err := listen(a.ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	defer closeListener(ln)
	v, _ := buildVersion()
	srv, err := server.New(server.Config{Manager: e.manager, Logger: cfg.logger, Version: v, Origins: c.AllowOrigin})
	if err != nil {
		return err
	}
	if len(e.languages()) > 0 && !a.json {
		a.stdout.printf("%s\n", a.stdout.dim("preparing the sandbox (the first time takes longest) …"))
	}
	if err := e.warm(a.ctx); err != nil {
		return err
	}
	serve := func(ctx context.Context) error { return srv.Serve(ctx, ln) }
	return behind(a.ctx, func(ctx context.Context) error {
		return c.show(ctx, a, x, e.manifests[0], dir, "http://"+ln.Addr().String(), cfg)
	}, world.serve, e.work, serve)
}

// show plays the client's part over HTTP.
func (c *demoCmd) show(ctx context.Context, a *app, x example, m *manifest.Manifest, dir, url string, cfg engineConfig) error {
	t := a.stdout
	say := func(format string, args ...any) {
		if !a.json {
			t.printf(format, args...)
		}
	}
	model := "a script stands in for the model"
	if c.real() {
		model = "a real model decides"
		if cfg.model.name != "" {
			model = "the model is " + cfg.model.name
		}
	}
	say("%s\n", t.dim(fmt.Sprintf("server %s · database %s · %s", url, cfg.db, model)))
	say("%s\n\n", t.dim("POST /sessions with examples/"+x.name+"/request.json, then POST /sessions/{id}/run"))

	cl := &client.Client{BaseURL: url}
	s, err := cl.Create(ctx, x.request, "")
	if err != nil {
		return err
	}
	if _, err := cl.Run(ctx, s.SessionID); err != nil {
		return err
	}
	d := newDriver(a, cl, s.SessionID, t, !c.NoWait && a.canAsk(), m)
	d.owner = true
	status, err := d.follow(ctx)
	if err != nil {
		return err
	}
	if c.Keep && status == client.Waiting {
		say("\n%s\n", t.bold("Answer from another terminal"))
		say("  oap sessions input %s ANSWER --server %s\n", s.SessionID, url)
		d.patient = true
		if status, err = d.follow(ctx); err != nil {
			return err
		}
	}
	if status == client.Waiting {
		say("\nThe session waits for an answer. To give one, run the demo in a terminal, or with --keep.\n")
		return exitError{code: exitWaiting}
	}
	if err := c.conclude(ctx, a, cl, s.SessionID, dir); err != nil {
		return err
	}
	if c.Keep {
		say("\n%s\n", t.bold("Everything keeps running until Ctrl-C. Try"))
		say("  curl %s/sessions/%s\n", url, s.SessionID)
		say("  curl -N %s/sessions/%s/events\n", url, s.SessionID)
		say("  curl -X POST %s/sessions -H 'Content-Type: application/json' -d @%s\n", url, filepath.Join(dir, "request.json"))
		say("  oap sessions list --server %s\n", url)
		say("  %s/docs in a browser\n", url)
		<-ctx.Done()
		return nil
	}
	say("\n%s\n", t.bold("Look further"))
	say("  oap transcript %s --db %s --format json\n", s.SessionID, cfg.db)
	say("  oap demo approval            a session that asks you\n")
	say("  oap demo --keep              the same with the API left running, for curl\n")
	say("  rm -r %s    when you are done\n", dir)
	return statusExit(status)
}

// conclude closes the session, keeps and prints its transcript, and has it
// checked.
func (c *demoCmd) conclude(ctx context.Context, a *app, cl *client.Client, id, dir string) error {
	raw, err := cl.Close(ctx, id)
	if err != nil {
		return err
	}
	v, err := cl.Verify(ctx, id)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "transcript.json")
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	if err := errors.Join(os.WriteFile(file, indented.Bytes(), 0o600), c.keepRequest(dir)); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"session_id": id, "transcript": raw, "verification": v, "transcript_file": file})
	}
	t := a.stdout
	t.printf("\n%s\n", t.bold("── transcript "+line(t.width-14)))
	if err := a.printTranscript(raw, "text"); err != nil {
		return err
	}
	t.printf("\n%s\n", t.bold("── proof "+line(t.width-9)))
	a.showVerification(v)
	t.printf("  %s\n", t.dim("the whole transcript is in "+file))
	if !v.OK {
		return exitError{code: exitFailed}
	}
	return nil
}

func (c *demoCmd) keepRequest(dir string) error {
	x, err := loadExample(c.Example, c.SeedManifest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "request.json"), x.request, 0o600)
}

// line returns a line of n characters.
func line(n int) string {
	b := make([]rune, max(n, 0))
	for i := range b {
		b[i] = '─'
	}
	return string(b)
}
