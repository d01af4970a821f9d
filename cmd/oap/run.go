package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/manifest"
)

// observationBytesMax bounds an observation file; a longer one is refused.
const observationBytesMax = 8 << 20

type runCmd struct {
	Goal        string `arg:"" help:"What to achieve, in your own words."`
	Manifest    string `short:"m" help:"The agent: a manifest file. With --server also the name of one that is registered there." placeholder:"FILE"`
	Observation string `short:"o" help:"What is known at the start: a JSON file with timestamp, user_context and environment; - reads the standard input." placeholder:"FILE"`
	MaxSteps    int    `help:"Stop after so many actions." placeholder:"N"`
	Server      string `help:"Run on this server instead of in this process." env:"OAP_SERVER" placeholder:"URL" group:"server"`
	APIKey      string `name:"api-key" help:"Key for the server." env:"OAP_API_KEY" placeholder:"KEY" group:"server"`
	DB          string `name:"db" help:"Keep the session in this database: a SQLite file or a postgres:// URL. Without it, it is forgotten when it has ended." placeholder:"DSN" group:"engine"`
	modelFlags
	executorFlags
}

func (*runCmd) Help() string {
	return `Runs one session from a goal to its answer and shows every step as it happens. Questions
to a person are asked here when this is a terminal; otherwise the command ends with exit
code 3 and says how to answer later. Ctrl-C cancels the session.

  oap run "Book a demo with alice@example.com" --manifest agent.json
  oap run "…" --manifest MeetBot --server http://127.0.0.1:8000

The answer goes to the standard output, progress to the standard error, so that
answer=$(oap run …) works.`
}

func (c *runCmd) Run(a *app) error {
	body, err := c.request(a)
	if err != nil {
		return err
	}
	if c.Server != "" {
		if c.DB != "" {
			return usageError("--db and --server exclude each other: the server has its own database")
		}
		cl := &client.Client{BaseURL: c.Server, Key: c.APIKey}
		if body.Manifest, err = c.register(a, cl); err != nil {
			return err
		}
		return c.drive(a.ctx, a, cl, body, "", nil)
	}
	return c.embedded(a, body)
}

// A newSession is the body of POST /sessions.
type newSession struct {
	Goal        client.Goal     `json:"goal"`
	Observation json.RawMessage `json:"observation,omitempty"`
	MaxSteps    int             `json:"max_steps,omitempty"`
	Manifest    string          `json:"manifest,omitempty"`
	Run         bool            `json:"run"`
}

func (c *runCmd) request(a *app) (newSession, error) {
	b := newSession{Goal: client.Goal{Description: c.Goal}, MaxSteps: c.MaxSteps, Run: true}
	if strings.TrimSpace(c.Goal) == "" {
		return b, usageError("the goal is empty")
	}
	if c.MaxSteps < 0 {
		return b, usageError("--max-steps must not be negative")
	}
	if c.Observation != "" {
		data, err := a.readFile(c.Observation, observationBytesMax)
		if err != nil {
			return b, err
		}
		if !json.Valid(data) {
			return b, fmt.Errorf("%s is not valid JSON", c.Observation)
		}
		b.Observation = data
	}
	return b, nil
}

// register makes sure that the server knows the manifest and returns how to
// name it there.
func (c *runCmd) register(a *app, cl *client.Client) (string, error) {
	if c.Manifest == "" {
		return "", nil // the server's default
	}
	source, err := a.readFile(c.Manifest, manifestBytesMax)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(c.Manifest, `/\`) && filepath.Ext(c.Manifest) == "" {
		return c.Manifest, nil // no file of that name: it means one that is registered
	}
	if err != nil {
		return "", err
	}
	r, err := cl.Register(a.ctx, source)
	if err != nil {
		return "", fmt.Errorf("register %s: %w", c.Manifest, err)
	}
	return r.Digest, nil
}

// embedded runs the session in this process.
func (c *runCmd) embedded(a *app, body newSession) error {
	if c.Manifest == "" {
		return usageError("name the agent with --manifest FILE, or a server with --server URL")
	}
	source, err := a.readFile(c.Manifest, manifestBytesMax)
	if err != nil {
		return err
	}
	cfg := engineConfig{db: c.DB, manifests: []manifestSource{{c.Manifest, source}}, logger: a.quietLogger()}
	if err := errors.Join(c.modelFlags.configure(&cfg), c.executorFlags.configure(&cfg)); err != nil {
		return err
	}
	if cfg.model.missing() {
		return missingModel{cfg.model.provider}.err()
	}
	temp := ""
	if cfg.db == "" {
		dir, err := os.MkdirTemp("", "oap-run-")
		if err != nil {
			return err
		}
		temp, cfg.db = dir, filepath.Join(dir, "oap.db")
		if cfg.files == "" {
			cfg.files = filepath.Join(dir, "files")
		}
	}
	e, err := newEngine(context.WithoutCancel(a.ctx), cfg)
	if err != nil {
		return err
	}
	cl, serve, err := e.inProcess()
	if err == nil {
		err = behind(a.ctx, func(ctx context.Context) error {
			return c.drive(ctx, a, cl, body, cfg.db, e.manifests[0])
		}, e.work, serve)
	}
	e.close(a.ctx)
	if temp != "" && !errors.Is(err, errLeftWaiting) {
		err = errors.Join(err, os.RemoveAll(temp))
	}
	return err
}

// errLeftWaiting ends the command when a session waits for a person who is not
// here.
var errLeftWaiting error = exitError{code: exitWaiting}

// drive creates a session, follows it to its end and prints the answer. db is
// the database of an embedded engine, and m its manifest.
func (c *runCmd) drive(ctx context.Context, a *app, cl *client.Client, body newSession, db string, m *manifest.Manifest) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	s, err := cl.Create(ctx, data, "")
	if err != nil {
		return err
	}
	d := newDriver(a, cl, s.SessionID, a.stderr, a.canAsk(), m)
	d.owner = true
	status, err := d.follow(ctx)
	if err != nil {
		return err
	}
	final, err := cl.Get(context.WithoutCancel(ctx), s.SessionID)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(final); err != nil {
			return err
		}
	} else if len(final.Answer) > 0 && string(final.Answer) != "null" {
		a.stdout.printf("%s\n", clean(textOf(final.Answer)))
	}
	if status == client.Waiting {
		c.explainWaiting(a, final, db)
		return errLeftWaiting
	}
	return statusExit(status)
}

// explainWaiting says how to answer a session that is left waiting.
func (c *runCmd) explainWaiting(a *app, s client.Session, db string) {
	if a.json {
		return
	}
	t := a.stderr
	t.printf("\nThe session waits for an answer. Give it with\n")
	call := ""
	if len(s.Waiting) > 1 {
		call = " --call " + s.Waiting[0].CallID
	}
	if db != "" {
		t.printf("  oap serve --db %s &\n", redactDSN(db))
		t.printf("  oap sessions input %s%s ANSWER\n", s.SessionID, call)
		return
	}
	t.printf("  oap sessions input %s%s ANSWER --server %s\n", s.SessionID, call, c.Server)
}

// canAsk reports whether a person is at the terminal.
func (a *app) canAsk() bool {
	return !a.json && a.stderr.tty && term.IsTerminal(int(a.stdin.Fd()))
}
