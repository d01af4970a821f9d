package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, as the help states them.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2
	exitWaiting   = 3
	exitCancelled = 4
)

const description = `Give a goal to an agent and get an answer, with every step written down.

An agent is a manifest: a file that lists the actions it may take. A session is one goal
on its way to an answer. It survives crashes, waits for people, and can be checked
afterwards event by event.

New here? Run "oap demo": it needs no key and no network.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waits for a person, 4 cancelled.`

type cli struct {
	JSON bool `help:"Print JSON for programs instead of text for people." name:"json"`

	Serve      serveCmd      `cmd:"" group:"run" help:"Start the server: HTTP API and workers."`
	Run        runCmd        `cmd:"" group:"run" help:"Give an agent a goal and follow it to its answer."`
	Demo       demoCmd       `cmd:"" group:"run" help:"See a complete session now: no key, no network, nothing to set up."`
	Sessions   sessionsCmd   `cmd:"" group:"look" help:"List, watch and steer sessions."`
	Transcript transcriptCmd `cmd:"" group:"look" help:"Print everything that happened in a session."`
	Verify     verifyCmd     `cmd:"" group:"look" help:"Check that a session's record was not altered."`
	Manifest   manifestCmd   `cmd:"" group:"write" help:"Check, compare and describe manifests."`

	Healthcheck healthcheckCmd `cmd:"" group:"other" help:"Ask a server whether it is alive; for containers."`
	Version     versionCmd     `cmd:"" group:"other" help:"Print the version."`
}

func main() {
	// The first signal asks every command to end in order; a second one ends
	// the process at once, because the handler is gone by then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run parses the arguments, runs the command and returns the exit code.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr *os.File) int {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("oap"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "run", Title: "Run agents:"},
			{Key: "look", Title: "Look at sessions:"},
			{Key: "write", Title: "Write agents:"},
			{Key: "other", Title: "Other:"},
			{Key: "model", Title: "Model:"},
			{Key: "engine", Title: "Engine:"},
			{Key: "listen", Title: "Listening:"},
			{Key: "server", Title: "Server to ask:"},
			{Key: "log", Title: "Log:"},
		}),
	)
	if err != nil { // the struct above is wrong
		fmt.Fprintf(stderr, "oap: %v\n", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		command := "oap"
		if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil && p.Context.Selected() != nil {
			command += " " + p.Context.Selected().Path()
		}
		fmt.Fprintf(stderr, "oap: %v\nRun \"%s --help\" to see how it is used.\n", err, command)
		return exitUsage
	}
	a := &app{ctx: ctx, json: c.JSON, stdin: stdin, input: bufio.NewReader(stdin), stdout: newTerminal(stdout), stderr: newTerminal(stderr)}
	err = k.Run(a)
	return a.exit(err)
}

// An app is what every command gets.
type app struct {
	ctx            context.Context
	json           bool
	stdin          *os.File
	input          *bufio.Reader // of stdin, for lines that a person types
	stdout, stderr *terminal
}

// An exitError ends the process with a code. With a nil Err the command has
// said all there is to say.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usageError says that the command was called in a way that cannot work.
func usageError(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exit shows err and returns its exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	if e, ok := errors.AsType[exitError](err); ok {
		code = e.code
		if e.err == nil {
			return code
		}
	} else if errors.Is(err, context.Canceled) && a.ctx.Err() != nil {
		return exitCancelled
	}
	a.printError(err)
	return code
}

// out is where results go.
func (a *app) out() io.Writer { return a.stdout.w }
