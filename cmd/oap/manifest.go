package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// manifestBytesMax bounds a manifest file; a longer one is refused.
const manifestBytesMax = 8 << 20

type manifestCmd struct {
	Validate manifestValidateCmd `cmd:"" help:"Check manifests and say line by line what is wrong."`
	Lint     manifestLintCmd     `cmd:"" help:"Point out what is allowed but risky or unclear."`
	Diff     manifestDiffCmd     `cmd:"" help:"Compare two versions of a manifest and tell which version step the changes need."`
	Schema   manifestSchemaCmd   `cmd:"" help:"Print the JSON Schema of manifests, or those of an agent's actions."`
}

// readManifest reads and parses a file, or the standard input for "-".
func (a *app) readManifest(path string) (*manifest.Manifest, error) {
	data, err := a.readFile(path, manifestBytesMax)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readFile reads a file of at most most bytes, or the standard input for "-".
func (a *app) readFile(path string, most int64) ([]byte, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return data, nil
}

type manifestValidateCmd struct {
	Files []string `arg:"" help:"Manifest files, JSON or YAML; - reads the standard input." placeholder:"FILE"`
}

// A manifestReport is what validate and lint say of one file.
type manifestReport struct {
	File     string             `json:"file"`
	Valid    bool               `json:"valid"`
	Name     string             `json:"name,omitempty"`
	Version  string             `json:"version,omitempty"`
	Digest   string             `json:"digest,omitempty"`
	Actions  int                `json:"actions,omitempty"`
	Problems []fault.Detail     `json:"problems"`
	Warnings []manifest.Warning `json:"warnings"`
}

func (c *manifestValidateCmd) Run(a *app) error { return a.checkManifests(c.Files, false) }

type manifestLintCmd struct {
	Files  []string `arg:"" help:"Manifest files, JSON or YAML; - reads the standard input." placeholder:"FILE"`
	Strict bool     `help:"Fail when there is a warning."`
}

func (c *manifestLintCmd) Run(a *app) error { return a.checkManifests(c.Files, c.Strict) }

// checkManifests reports on each file. It fails when one is invalid or, if
// strict, has a warning.
func (a *app) checkManifests(files []string, strict bool) error {
	failed := false
	reports := []manifestReport{}
	for _, path := range files {
		r := manifestReport{File: path, Problems: []fault.Detail{}, Warnings: []manifest.Warning{}}
		m, err := a.readManifest(path)
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Code != fault.Internal {
			if r.Problems = f.Details; len(f.Details) == 0 {
				r.Problems = []fault.Detail{{Message: f.Message}}
			}
		} else if err != nil {
			return err
		} else {
			r.Valid, r.Name, r.Version, r.Digest, r.Actions = true, m.Name, m.Version, m.Digest(), len(m.Actions)
			r.Warnings = append(r.Warnings, m.Lint()...)
		}
		failed = failed || !r.Valid || strict && len(r.Warnings) > 0
		reports = append(reports, r)
		if !a.json {
			a.showReport(r)
		}
	}
	if a.json {
		if err := a.printJSON(reports); err != nil {
			return err
		}
	}
	if failed {
		return exitError{code: exitFailed}
	}
	return nil
}

func (a *app) showReport(r manifestReport) {
	t := a.stdout
	if r.Valid {
		t.printf("%s %s: %s %s, %s\n", t.green("✓"), r.File, clean(r.Name), clean(r.Version), plural(r.Actions, "action"))
	} else {
		t.printf("%s %s: %s\n", t.red("✗"), r.File, plural(len(r.Problems), "problem"))
	}
	line := func(mark string, n int, pointer, message, remedy string) {
		at := r.File
		if n > 0 {
			at = fmt.Sprintf("%s:%d", r.File, n)
		}
		if pointer != "" {
			at += " " + pointer
		}
		t.printf("  %s %s: %s\n", mark, clean(at), clean(message))
		if remedy != "" {
			t.printf("      %s\n", t.dim(clean(remedy)))
		}
	}
	for _, p := range r.Problems {
		line(t.red("✗"), p.Line, p.Pointer, p.Message, p.Remedy)
	}
	for _, w := range r.Warnings {
		line(t.yellow("!"), w.Line, w.Pointer, w.Message, w.Remedy)
	}
}

type manifestDiffCmd struct {
	Old string `arg:"" help:"The version there is." placeholder:"OLD"`
	New string `arg:"" help:"The version to come." placeholder:"NEW"`
}

func (c *manifestDiffCmd) Run(a *app) error {
	before, err := a.readManifest(c.Old)
	if err != nil {
		return err
	}
	after, err := a.readManifest(c.New)
	if err != nil {
		return err
	}
	d := manifest.Compare(before, after)
	if a.json {
		err = a.printJSON(d)
	} else {
		t := a.stdout
		for _, ch := range d.Changes {
			mark := t.green("compatible")
			if ch.Breaking {
				mark = t.red("breaking  ")
			}
			t.printf("%s %-7s %s  %s\n", mark, ch.Kind, clean(ch.Pointer), clean(ch.Message))
		}
		if len(d.Changes) == 0 {
			t.printf("no changes\n")
		}
		verdict := t.green("fits")
		if !d.OK {
			verdict = t.red("is too small a step")
		}
		t.printf("needs a %s step; %s → %s is %s: %s\n", d.Required, clean(before.Version), clean(after.Version), d.Declared, verdict)
	}
	if err == nil && !d.OK {
		err = exitError{code: exitFailed}
	}
	return err
}

type manifestSchemaCmd struct {
	File   string `arg:"" optional:"" help:"Print the schemas of this agent's actions: a manifest file, JSON or YAML; - reads the standard input." placeholder:"FILE"`
	Action string `arg:"" optional:"" help:"Only this action." placeholder:"ACTION"`
}

// An actionSchemas holds the schemas of one action.
type actionSchemas struct {
	Name   string          `json:"name"`
	Type   manifest.Type   `json:"type"`
	Input  json.RawMessage `json:"input_schema"`
	Output json.RawMessage `json:"output_schema,omitempty"`
}

func (c *manifestSchemaCmd) Run(a *app) error {
	if c.File == "" {
		return a.printJSON(manifest.DocumentSchema())
	}
	m, err := a.readManifest(c.File)
	if err != nil {
		return err
	}
	list := []actionSchemas{}
	for _, act := range m.Actions {
		if c.Action != "" && act.Name != c.Action {
			continue
		}
		s := actionSchemas{Name: act.Name, Type: act.Type, Input: act.Input.JSON()}
		if act.Output != nil {
			s.Output = act.Output.JSON()
		}
		list = append(list, s)
	}
	if c.Action != "" && len(list) == 0 {
		return fmt.Errorf("%s has no action %q", c.File, c.Action)
	}
	return a.printJSON(list)
}
