package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/session"
)

type sessionsCmd struct {
	List   sessionsListCmd   `cmd:"" help:"List sessions, newest first."`
	Show   sessionsShowCmd   `cmd:"" help:"Show where a session stands."`
	Watch  sessionsWatchCmd  `cmd:"" help:"Follow a session from its beginning until it ends."`
	Input  sessionsInputCmd  `cmd:"" help:"Answer the question that a session waits for."`
	Run    sessionsRunCmd    `cmd:"" help:"Let the server's workers advance a session by themselves."`
	Step   sessionsStepCmd   `cmd:"" help:"Make one step of a session now."`
	Cancel sessionsCancelCmd `cmd:"" help:"End a session as soon as its running step allows."`
	Close  sessionsCloseCmd  `cmd:"" help:"Seal a session and print its transcript."`
}

type sessionsListCmd struct {
	targetFlags
	Status   string `help:"Only sessions in this status: ${enum}." enum:"queued,running,waiting,completed,failed,cancelled,any" default:"any"`
	Manifest string `help:"Only sessions of the agent with this name." placeholder:"NAME"`
	Limit    int    `help:"At most so many sessions." default:"20"`
}

// listPage is how many sessions one request asks for.
const listPage = 200

func (c *sessionsListCmd) Run(a *app) error {
	if c.Limit < 1 {
		return usageError("--limit must be at least 1")
	}
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	status := c.Status
	if status == "any" {
		status = ""
	}
	list, cursor := []client.Session{}, ""
	for len(list) < c.Limit {
		p, err := cl.List(a.ctx, status, c.Manifest, min(c.Limit-len(list), listPage), cursor)
		if err != nil {
			return err
		}
		list = append(list, p.Sessions...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		a.stdout.printf("No sessions.\n")
		return nil
	}
	t := a.stdout
	const fixed = 36 + 2 + 9 + 2 + 7 + 2 + 16 + 2
	t.printf("%s\n", t.bold(fmt.Sprintf("%-36s  %-9s  %7s  %-16s  %s", "SESSION", "STATUS", "STEPS", "UPDATED", "GOAL")))
	for _, s := range list {
		t.printf("%-36s  %s  %7s  %-16s  %s\n", s.SessionID, t.status(s.Status, 9),
			fmt.Sprintf("%d/%d", s.Steps, s.MaxSteps), s.UpdatedAt.Local().Format("2006-01-02 15:04"),
			oneLine(s.Goal.Description, max(t.width-fixed, 20)))
	}
	return nil
}

// status returns a status in its colour, padded.
func (t *terminal) status(s client.Status, width int) string {
	text := fmt.Sprintf("%-*s", width, s)
	switch s {
	case client.Completed:
		return t.green(text)
	case client.Failed:
		return t.red(text)
	case client.Waiting, client.Cancelled:
		return t.yellow(text)
	}
	return t.cyan(text)
}

// oneSession is what every command about one session takes.
type oneSession struct {
	targetFlags
	ID string `arg:"" help:"The session's id." placeholder:"ID"`
}

type sessionsShowCmd struct{ oneSession }

func (c *sessionsShowCmd) Run(a *app) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	s, err := cl.Get(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	a.showSession(s)
	return nil
}

// showSession prints where a session stands.
func (a *app) showSession(s client.Session) {
	t := a.stdout
	p := progress{t: t}
	t.printf("%s\n", t.bold(oneLine(s.Goal.Description, t.width)))
	t.printf("  session   %s\n", s.SessionID)
	t.printf("  agent     %s %s\n", clean(s.Manifest.Name), clean(s.Manifest.Version))
	status := t.status(s.Status, 0)
	if s.Detail != "" {
		status += " — " + oneLine(s.Detail, t.width-24)
	}
	t.printf("  status    %s\n", status)
	t.printf("  steps     %d of at most %d\n", s.Steps, s.MaxSteps)
	t.printf("  created   %s\n", s.CreatedAt.Local().Format(time.DateTime))
	if n := s.Usage.PromptTokens + s.Usage.CompletionTokens; n > 0 {
		t.printf("  model     %d tokens, $%.4f\n", n, s.Usage.CostUSD)
	}
	for i, r := range s.History {
		t.printf("\n%s %s\n", t.cyan(fmt.Sprint(i+1)), t.bold(clean(r.ActionName)))
		if r.Success {
			p.value("output", r.Output, outputLines)
		} else if r.Error != nil {
			t.printf("  %s  %s\n", t.red("failed"), oneLine(*r.Error, t.width-12))
		}
	}
	for _, q := range s.Waiting {
		p.question(q.Wait.Prompt)
		if len(q.Wait.Choices) > 0 {
			t.printf("  %s\n", t.dim("one of: "+clean(strings.Join(q.Wait.Choices, ", "))))
		}
		t.printf("  answer with: oap sessions input %s --call %s ANSWER\n", s.SessionID, q.CallID)
	}
	if len(s.Answer) > 0 && string(s.Answer) != "null" {
		t.printf("\n%s\n", strings.Join(block(s.Answer, t.width, 40), "\n"))
	}
	if s.Error != nil {
		t.printf("\n%s %s\n", t.red(clean(s.Error.Code)+":"), clean(s.Error.Message))
	}
}

type sessionsWatchCmd struct {
	oneSession
	After         int64 `help:"Start after the event with this number." default:"0" placeholder:"SEQ"`
	UntilQuestion bool  `help:"End, with exit code 3, when the session waits for a person."`
}

func (c *sessionsWatchCmd) Run(a *app) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	d := newDriver(a, cl, c.ID, a.stdout, false, nil)
	d.after, d.patient = c.After, !c.UntilQuestion
	if a.json {
		lines := json.NewEncoder(a.stdout.w)
		lines.SetEscapeHTML(false)
		d.show = func(e client.Event) {
			if e.Seq > 0 {
				_ = lines.Encode(e) // a reader that has gone away needs no more
			}
		}
	}
	status, err := d.follow(a.ctx)
	if err != nil {
		return err
	}
	return statusExit(status)
}

// statusAfter returns the status that an event leads to.
func statusAfter(e client.Event, before client.Status) client.Status {
	switch session.EventType(e.Type) {
	case session.EventCompleted:
		return client.Completed
	case session.EventFailed:
		return client.Failed
	case session.EventCancelled:
		return client.Cancelled
	case session.EventCallWaiting:
		return client.Waiting
	case session.EventInput, session.EventCallStarted:
		return client.Status(session.Running)
	}
	return before
}

// statusExit turns a session's status into the exit code of a command that
// followed it.
func statusExit(s client.Status) error {
	switch s {
	case client.Completed, "":
		return nil
	case client.Failed:
		return exitError{code: exitFailed}
	case client.Cancelled:
		return exitError{code: exitCancelled}
	case client.Waiting:
		return exitError{code: exitWaiting}
	}
	return nil
}

type sessionsInputCmd struct {
	oneSession
	Answer string `arg:"" help:"The answer: text, or a JSON object or array."`
	Call   string `help:"The call that asked, if several do." placeholder:"CALL_ID"`
	Raw    bool   `name:"json-answer" help:"Read the answer as JSON whatever it looks like: true, 42, \"text\"."`
}

func (c *sessionsInputCmd) Run(a *app) error {
	if c.Raw && !json.Valid([]byte(c.Answer)) {
		return usageError("the answer is not valid JSON: %s", oneLine(c.Answer, 80))
	}
	return c.act(a, func(cl *client.Client) (client.Session, error) {
		if c.Raw {
			return cl.Input(a.ctx, c.ID, c.Call, json.RawMessage(c.Answer))
		}
		s, err := cl.Get(a.ctx, c.ID)
		if err != nil {
			return s, err
		}
		var schema json.RawMessage
		for _, q := range s.Waiting {
			if c.Call == "" || c.Call == q.CallID {
				schema = q.Wait.Schema
			}
		}
		return cl.Input(a.ctx, c.ID, c.Call, answerJSON(c.Answer, schema))
	})
}

type sessionsRunCmd struct{ oneSession }

func (c *sessionsRunCmd) Run(a *app) error {
	if c.DB != "" {
		return usageError("workers belong to a server; start one with: oap serve --db %s", redactDSN(c.DB))
	}
	return c.act(a, func(cl *client.Client) (client.Session, error) { return cl.Run(a.ctx, c.ID) })
}

type sessionsCancelCmd struct {
	oneSession
	Reason string `help:"Why, for the record." placeholder:"TEXT"`
}

func (c *sessionsCancelCmd) Run(a *app) error {
	return c.act(a, func(cl *client.Client) (client.Session, error) { return cl.Cancel(a.ctx, c.ID, c.Reason) })
}

// act changes a session and shows its new status.
func (c *oneSession) act(a *app, f func(*client.Client) (client.Session, error)) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	s, err := f(cl)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	a.stdout.printf("%s  %s\n", s.SessionID, a.stdout.status(s.Status, 0))
	return nil
}

type sessionsStepCmd struct{ oneSession }

func (c *sessionsStepCmd) Run(a *app) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	s, err := cl.Step(a.ctx, c.ID)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	t := a.stdout
	p := progress{t: t}
	results := s.Results
	if results == nil && s.Result != nil {
		results = []client.Result{*s.Result}
	}
	for _, r := range results {
		if r.Success {
			t.printf("%s\n", t.bold(clean(r.ActionName)))
			p.value("output", r.Output, outputLines)
		} else if r.Error != nil {
			t.printf("%s %s\n", t.bold(clean(r.ActionName)), t.red(clean(*r.Error)))
		}
	}
	for _, q := range s.Waiting {
		p.question(q.Wait.Prompt)
	}
	if s.Detail != "" {
		t.printf("%s\n", clean(s.Detail))
	}
	if len(s.Waiting) > 0 {
		return exitError{code: exitWaiting}
	}
	return nil
}

type sessionsCloseCmd struct {
	oneSession
	Format string `help:"Form of the transcript: ${enum}." enum:"text,json" default:"text"`
}

func (c *sessionsCloseCmd) Run(a *app) error {
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	t, err := cl.Close(a.ctx, c.ID)
	if err != nil {
		return err
	}
	return a.printTranscript(t, c.Format)
}
