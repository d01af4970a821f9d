package main

import (
	"github.com/oap-runtime/oap/internal/client"
)

type verifyCmd struct {
	targetFlags
	ID  string `arg:"" optional:"" help:"The session's id." placeholder:"ID"`
	All bool   `help:"Check every session."`
}

func (c *verifyCmd) Run(a *app) error {
	if (c.ID == "") != c.All {
		return usageError("name one session, or give --all")
	}
	cl, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()

	bad, checked := 0, []client.Verification{}
	check := func(id string) error {
		v, err := cl.Verify(a.ctx, id)
		if err != nil {
			return err
		}
		if !v.OK {
			bad++
		}
		if a.json {
			checked = append(checked, v)
		} else if !c.All || !v.OK {
			a.showVerification(v)
		}
		return nil
	}
	n := 0
	if c.All {
		for cursor := ""; ; {
			p, err := cl.List(a.ctx, "", "", listPage, cursor)
			if err != nil {
				return err
			}
			for _, s := range p.Sessions {
				if err := check(s.SessionID); err != nil {
					return err
				}
				n++
			}
			if cursor = p.NextCursor; cursor == "" {
				break
			}
		}
	} else if err := check(c.ID); err != nil {
		return err
	}

	switch {
	case a.json && c.All:
		err = a.printJSON(checked)
	case a.json:
		err = a.printJSON(checked[0])
	case c.All:
		a.stdout.printf("%s checked, %d not in order\n", plural(n, "session"), bad)
	}
	if err == nil && bad > 0 {
		err = exitError{code: exitFailed}
	}
	return err
}

func (a *app) showVerification(v client.Verification) {
	t := a.stdout
	if v.OK {
		t.printf("%s %s  %s\n", t.green("✓ verified"), v.SessionID, t.dim(plural(int(v.Events), "event")+", "+plural(v.States, "state")+", "+plural(v.Blobs, "blob")+", head "+v.Head))
		return
	}
	t.printf("%s %s  event %d: %s\n", t.red("✗ altered"), v.SessionID, v.BadSeq, clean(v.Problem))
}
