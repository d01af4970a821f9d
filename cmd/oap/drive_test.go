package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/client"
)

// person starts an approval session and a driver that asks a person, who types
// the given text.
func person(t *testing.T, typed io.Reader) (*fixture, *driver, *bytes.Buffer) {
	t.Helper()
	f := setup(t, "approval", nil)
	s, err := f.client.Create(t.Context(), request(t, "approval"), "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	screen := &terminal{w: &out, tty: true, cursor: true, width: 80}
	a := &app{ctx: t.Context(), input: bufio.NewReader(typed), stdout: screen, stderr: screen}
	d := newDriver(a, f.client, s.SessionID, screen, true, nil)
	d.owner = true
	return f, d, &out
}

func mails(f *fixture) (n int) {
	for _, e := range f.world.services.Effects() {
		if e.Service == "mail" {
			n += e.Count
		}
	}
	return n
}

// A person answers at the terminal, by number or in words; an answer that does
// not fit is asked for again.
func TestQuestionsAtTheTerminal(t *testing.T) {
	t.Parallel()
	f, d, out := person(t, strings.NewReader("perhaps\n2\nSend it\n"))
	status, err := d.follow(t.Context())
	if err != nil || status != client.Completed {
		t.Fatalf("follow = %s, %v, want completed; the screen shows\n%s", status, err, out)
	}
	for _, want := range []string{"[1] Send it", "common.validation", "order A-1002 is taking longer", "✓ completed 3 steps"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the screen does not show %q but\n%s", want, out)
		}
	}
	if n := mails(f); n != 1 {
		t.Errorf("%d mails were sent, want 1", n)
	}
}

// When the terminal closes, the session stays and waits.
func TestTerminalCloses(t *testing.T) {
	t.Parallel()
	f, d, _ := person(t, strings.NewReader(""))
	if status, err := d.follow(t.Context()); err != nil || status != client.Waiting {
		t.Errorf("follow = %s, %v, want waiting", status, err)
	}
	if n := mails(f); n != 0 {
		t.Errorf("%d mails were sent, want none", n)
	}
}

// An interrupt at a question cancels the session.
func TestInterruptAtAQuestion(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	f, d, _ := person(t, readerFunc(func([]byte) (int, error) {
		interrupt()
		<-t.Context().Done() // nobody types anything
		return 0, io.EOF
	}))
	if status, err := d.follow(ctx); err != nil || status != client.Cancelled {
		t.Errorf("follow = %s, %v, want cancelled", status, err)
	}
	if n := mails(f); n != 0 {
		t.Errorf("%d mails were sent, want none", n)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
