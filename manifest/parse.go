package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/oap-runtime/oap/expr"
)

const (
	// actionsMax bounds the actions of a manifest; one with more is refused.
	actionsMax = 500
	// expressionsMax bounds the pre- and the postconditions of an action, and
	// expressionsTotalMax those of a manifest: compiling one takes a tenth of a
	// millisecond.
	expressionsMax, expressionsTotalMax = 64, 4000
	// titleMax and descriptionMax bound texts in bytes: they are sent to the
	// model with every plan.
	titleMax, descriptionMax = 256, 8192
	// stepsMax bounds max_steps.
	stepsMax = 10_000
	// flagsMax bounds the feature flags.
	flagsMax = 100
)

// What a bare list of definitions is called, as it has no name and version.
const (
	bareName    = "actions"
	bareVersion = "0.0.0"
)

var (
	nameSyntax = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`)
	// idSyntax also takes UUIDs, which may start with a digit (S1-11).
	idSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
)

// Parse reads a manifest from JSON or YAML: an object with name, version and
// actions, or a bare list of action definitions. The error is a *fault.Error
// with code ManifestInvalid that lists every problem with its place in the
// document and its remedy.
func Parse(data []byte) (*Manifest, error) {
	var p problems
	root := read(data, &p)
	if root == nil {
		return nil, p.err()
	}
	if !checkNumbers(root, &p) {
		return nil, p.err() // compiling schemas computes with the numbers
	}
	d := decoder{p: &p}
	m := d.manifest(root)
	if err := p.err(); err != nil {
		return nil, err
	}
	m.root = root
	m.source = root.canonical()
	sum := sha256.Sum256(m.source)
	m.digest = hex.EncodeToString(sum[:])
	return m, nil
}

// A decoder turns the tree of a document into a Manifest.
type decoder struct {
	p           *problems
	expressions int // compiled so far
}

func (d *decoder) manifest(root *node) *Manifest {
	m := &Manifest{byName: map[string]*Action{}}
	if root.kind == array {
		m.Name, m.Version = bareName, bareVersion
		m.semver = semver.MustParse(bareVersion)
		d.actions(m, root)
		return m
	}
	f := fieldsOf(root, d.p)
	m.Name = f.required(nameSyntax, "name")
	d.version(m, f)
	m.Title = f.text(titleMax, "title")
	m.Description = f.text(descriptionMax, "description")
	d.flags(m, f)
	actions := f.of(array, "actions")
	if actions == nil && f.n != nil && f.n.get("actions") == nil {
		d.p.report(f.n, "required", `add "actions", a list`, "actions is missing")
	}
	m.StateSchema = d.schema(f.node("state_schema"), false)
	m.Completion = d.condition(f.of(text, "completion"))
	m.MaxSteps = int(f.int(1, stepsMax, "max_steps"))
	m.Planner = d.planner(f.node("planner"))
	m.Extensions = f.raw("extensions")
	f.node("$schema") // for editors
	f.done()
	if actions != nil {
		d.actions(m, actions)
	}
	return m
}

func (d *decoder) version(m *Manifest, f *fields) {
	n := f.node("version")
	switch {
	case n == nil:
		if f.n != nil {
			d.p.report(f.n, "required", `add "version", such as "1.0.0"`, "version is missing")
		}
		return
	case n.kind == number:
		// YAML reads an unquoted 2.0 as a number; its text is what was meant.
		n.kind = text
	case n.kind != text:
		d.p.report(n, "type", "", "got %s, want a string", n.kind)
		return
	}
	v, err := semver.NewVersion(n.text)
	if err != nil || len(n.text) > 128 {
		d.p.report(n, "version", `write major.minor.patch, such as "1.0.0"`, "%q is not a semantic version", clip(n.text))
		return
	}
	m.Version, m.semver = n.text, v
}

func (d *decoder) flags(m *Manifest, f *fields) {
	n := f.of(object, "flags")
	if n == nil {
		return
	}
	if len(n.members) > flagsMax {
		d.p.report(n, "too_long", "", "there are %d flags, the most is %d", len(n.members), flagsMax)
		return
	}
	m.Flags = map[string]bool{}
	g := fieldsOf(n, d.p)
	for _, mem := range n.members {
		if !nameSyntax.MatchString(mem.name) {
			d.p.reportAt(mem.value.pointer(), mem.line, mem.column, "pattern", "use letters, digits, '_', '-' and '.', and a letter first", "%q is not a name", clip(mem.name))
		}
		m.Flags[mem.name] = g.bool(mem.name)
	}
}

func (d *decoder) planner(n *node) PlannerOptions {
	f := fieldsOf(n, d.p)
	o := PlannerOptions{
		Model:         f.text(256, "model"),
		Temperature:   f.float(0, 2, "temperature"),
		MaxTokens:     int(f.int(1, 1_000_000, "max_tokens")),
		Instructions:  f.text(32<<10, "instructions"),
		OnInvalidPlan: f.choice("on_invalid_plan", "human", "error"),
	}
	if o.OnInvalidPlan == "" {
		o.OnInvalidPlan = "human"
	}
	f.done()
	return o
}

func (d *decoder) actions(m *Manifest, list *node) {
	if len(list.items) == 0 {
		d.p.report(list, "required", "add an action", "there are no actions")
		return
	}
	if len(list.items) > actionsMax {
		d.p.report(list, "too_long", "split the actions over several manifests", "there are %d actions, the most is %d", len(list.items), actionsMax)
		return
	}
	seen := map[string]*node{}
	for _, n := range list.items {
		a := d.action(n)
		if a == nil || a.Name == "" {
			continue
		}
		if first, dup := seen[a.Name]; dup {
			at := n.get("action_id")
			if at == nil {
				at = n.get("name")
			}
			d.p.report(at, "duplicate", "give each action a name of its own", "the action %q is declared twice, first on line %d", a.Name, first.line)
			continue
		}
		seen[a.Name] = n
		m.byName[a.Name] = a
		m.Actions = append(m.Actions, a)
	}
	names := make([]string, 0, len(seen))
	for _, a := range m.Actions {
		names = append(names, a.Name)
	}
	for _, a := range m.Actions {
		d.references(m, a, seen[a.Name], names)
	}
}

// references checks that what an action names exists.
func (d *decoder) references(m *Manifest, a *Action, n *node, names []string) {
	for field, target := range map[string]string{"compensate": a.Compensate, "verify": a.Verify} {
		if target == "" {
			continue
		}
		at := n.get(field)
		if target == a.Name {
			d.p.report(at, "reference", "name another action", "the action %q cannot be its own %s action", a.Name, field)
		} else if m.byName[target] == nil {
			d.unknown(at, "action", target, names)
		} else if field == "verify" && m.byName[target].Effect != Read {
			d.p.report(at, "reference", `name an action that only reads, or declare "effect": "read" on it`, "%q is run to find out whether %q took effect, but has effect %s itself", target, a.Name, m.byName[target].Effect)
		}
	}
	if a.Flag != "" {
		if _, ok := m.Flags[a.Flag]; !ok {
			var flags []string
			for name := range m.Flags {
				flags = append(flags, name)
			}
			slices.Sort(flags)
			d.unknown(n.get("flag"), "flag", a.Flag, flags)
		}
	}
}

func (d *decoder) unknown(at *node, what, name string, known []string) {
	remedy := fmt.Sprintf("declare it, or remove %q", at.name)
	if near := nearest(name, known); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	d.p.report(at, "reference", remedy, "there is no %s %q", what, clip(name))
}

func (d *decoder) condition(n *node) *expr.Condition {
	if n == nil {
		return nil
	}
	c, err := expr.CompileCondition(n.text)
	if err != nil {
		d.expression(n, err)
		return nil
	}
	return c
}

// expression reports an expression that does not compile.
func (d *decoder) expression(n *node, err error) {
	var syntax *expr.SyntaxError
	if !errors.As(err, &syntax) {
		d.p.report(n, "expression", "", "%v", err)
		return
	}
	where := ""
	if syntax.Offset > 0 && syntax.Offset < len(syntax.Source) {
		where = fmt.Sprintf(" at %q", clip(syntax.Source[syntax.Offset:]))
	}
	d.p.report(n, "expression", syntax.Remedy, "%s%s", syntax.Message, where)
}

// expressions compiles the strings of a list.
func expressions[T any](d *decoder, n *node, compile func(string) (T, error)) []T {
	if n == nil {
		return nil
	}
	if len(n.items) > expressionsMax {
		d.p.report(n, "too_long", "", "there are %d expressions, the most is %d", len(n.items), expressionsMax)
		return nil
	}
	before := d.expressions
	if d.expressions += len(n.items); d.expressions > expressionsTotalMax {
		if before <= expressionsTotalMax {
			d.p.report(n, "too_long", "split the actions over several manifests", "the manifest has more than %d expressions", expressionsTotalMax)
		}
		return nil
	}
	var list []T
	for _, item := range n.items {
		if item.kind != text {
			d.p.report(item, "type", "", "got %s, want a string", item.kind)
			continue
		}
		c, err := compile(item.text)
		if err != nil {
			d.expression(item, err)
			continue
		}
		list = append(list, c)
	}
	return list
}

// schema compiles a schema of the document; object says that it must accept
// objects only.
func (d *decoder) schema(n *node, objects bool) *Schema {
	if n == nil {
		return nil
	}
	if n.kind != object && n.kind != boolean {
		d.p.report(n, "type", "write a JSON Schema, such as {\"type\": \"object\"}", "got %s, want a JSON Schema", n.kind)
		return nil
	}
	if objects && !acceptsObject(n) {
		d.p.report(n, "schema", `write "type": "object" and name the arguments in "properties"`, "arguments are an object, which this schema does not accept")
		return nil
	}
	return compileNode(n, d.p)
}
