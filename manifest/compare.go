package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// A Change is one difference between two manifests that matters to those who
// use them: planners and clients that call the actions, and readers of what
// the actions leave in the state.
type Change struct {
	Pointer  string `json:"pointer"` // into the new document, or into the old one for what was removed
	Kind     string `json:"kind"`    // "added", "removed", "changed"
	Breaking bool   `json:"breaking"`
	Step     string `json:"step"` // the version step this change alone asks for: "patch", "minor", "major"
	Message  string `json:"message"`
}

// A Comparison says what changed between two manifests, and whether the
// version says so too.
type Comparison struct {
	Changes  []Change `json:"changes"`
	Required string   `json:"required"` // "none", "patch", "minor", "major": the smallest honest version step
	Declared string   `json:"declared"` // what the versions say
	OK       bool     `json:"ok"`
}

// changesMax bounds the changes that are listed; all of them count.
const changesMax = 500

// Steps in the order of their weight.
const (
	stepNone = iota
	stepPatch
	stepMinor
	stepMajor
)

var stepNames = [...]string{"none", "patch", "minor", "major"}

// Compare finds what changed from old to new (S2-93). The step each change
// asks for:
//
//	major  an action removed, or hidden behind an off flag
//	       its type, endpoint, method, query, path, encoding, choices or effect changed
//	       its result_path, result_select, postconditions or terminal changed
//	       a precondition added or changed, a scope added, risk raised, confirmation asked for
//	       an input narrowed: a new required argument without default, an argument
//	       removed, fewer types, fewer enum values, tighter bounds
//	       an output widened: a member removed or no longer certain, more types,
//	       more enum values, looser bounds
//	       completion changed, state_schema narrowed
//	minor  an action added or no longer hidden
//	       a precondition or scope removed, risk lowered, confirmation no longer asked for
//	       verify or compensate changed, permissions.llm changed
//	       an input widened or an output narrowed
//	patch  anything else: texts, code, limits, auth, headers, timeouts, planner, extensions
//
// Schemas that cannot be compared (a changed pattern, not, if) count as
// narrowed and widened. A change of the version alone is none. Before 1.0.0 a
// minor step may break and a patch may add, as semantic versioning has it.
func Compare(old, new *Manifest) Comparison {
	c := comparer{old: old, new: new}
	c.document()
	declared := declaredStep(old, new)
	return Comparison{
		Changes:  c.changes,
		Required: stepNames[c.required],
		Declared: stepNames[declared],
		OK:       declared >= c.required,
	}
}

// declaredStep returns what the versions promise: a step of a version before
// 1.0.0 allows one more, and after a pre-release everything is allowed.
func declaredStep(old, new *Manifest) int {
	a, b := old.semver, new.semver
	var step int
	switch {
	case !b.GreaterThan(a):
		return stepNone
	case a.Prerelease() != "" || b.Major() > a.Major():
		return stepMajor
	case b.Minor() > a.Minor():
		step = stepMinor
	default:
		step = stepPatch
	}
	if a.Major() == 0 {
		step++
	}
	return step
}

type comparer struct {
	old, new *Manifest
	changes  []Change
	required int
	work     int               // schema comparisons so far
	seen     map[[2]*node]bool // schema pairs compared in the current schema
}

func (c *comparer) add(step int, pointer, kind, format string, args ...any) {
	c.required = max(c.required, step)
	if len(c.changes) < changesMax {
		c.changes = append(c.changes, Change{pointer, kind, step == stepMajor, stepNames[step], fmt.Sprintf(format, args...)})
	}
}

func (c *comparer) document() {
	old, new := c.old, c.new
	for i, a := range new.Actions {
		if b, ok := old.byName[a.Name]; ok {
			c.action(b, a, actionPointer(new, i))
		} else {
			c.add(stepMinor, actionPointer(new, i), "added", "the action %q is new", a.Name)
		}
	}
	for i, b := range old.Actions {
		if _, ok := new.byName[b.Name]; !ok {
			c.add(stepMajor, actionPointer(old, i), "removed", "the action %q is gone", b.Name)
		}
	}
	c.schemas(old.StateSchema, new.StateSchema, "/state_schema", input)
	if text := textOf(new.root, "completion"); textOf(old.root, "completion") != text {
		c.add(stepMajor, "/completion", "changed", "sessions end at another point")
	}
	c.rest(old.root, new.root, "", "name", "version", "actions", "state_schema", "completion", "$schema", "flags")
	if old.Name != new.Name {
		c.add(stepMajor, "/name", "changed", "the name was %q", old.Name)
	}
}

func actionPointer(m *Manifest, i int) string {
	if m.root.kind == array {
		return fmt.Sprintf("/%d", i)
	}
	return fmt.Sprintf("/actions/%d", i)
}

func (c *comparer) action(old, new *Action, at string) {
	o, n := c.old.nodeOf(old), c.new.nodeOf(new)
	oldShown, newShown := c.old.shown(old), c.new.shown(new)
	switch {
	case oldShown && !newShown:
		c.add(stepMajor, at+"/flag", "removed", "%q is hidden behind the flag %q", new.Name, new.Flag)
	case !oldShown && newShown:
		c.add(stepMinor, at, "added", "%q is no longer hidden behind the flag %q", new.Name, old.Flag)
	}
	if old.Type != new.Type {
		c.add(stepMajor, at+"/type", "changed", "the type was %s", old.Type)
	}
	if old.Effect != new.Effect {
		c.add(stepMajor, at+"/effect", "changed", "the effect was %s and is %s", old.Effect, new.Effect)
	}
	for _, f := range []struct {
		name     string
		old, new string
	}{
		{"endpoint", endpointOf(old), endpointOf(new)},
		{"method", methodOf(old), methodOf(new)},
		{"query", textOf(o, "query"), textOf(n, "query")},
		{"path", textOf(o, "path"), textOf(n, "path")},
		{"encoding", textOf(o, "encoding"), textOf(n, "encoding")},
		{"choices", textOf(o, "choices"), textOf(n, "choices")},
		{"result_path", strings.Join(old.ResultPath, "."), strings.Join(new.ResultPath, ".")},
		{"result_select", strings.Join(old.ResultSelect, "."), strings.Join(new.ResultSelect, ".")},
		{"postconditions", sources(old.Postconditions), sources(new.Postconditions)},
		{"terminal", fmt.Sprint(old.Terminal), fmt.Sprint(new.Terminal)},
	} {
		if f.old != f.new {
			c.add(stepMajor, at+"/"+f.name, "changed", "%s of %q was %s", f.name, new.Name, quoteOr(f.old))
		}
	}
	c.conditions(old, new, at)
	c.permissions(old, new, at)
	c.schemas(old.Input, new.Input, at+"/input_schema", input)
	c.schemas(old.Output, new.Output, at+"/output_schema", output)
	c.rest(o, n, at, comparedFields...)
}

// comparedFields are the fields of an action that action looks at in detail.
var comparedFields = []string{
	"name", "action_id", "type", "effect", "endpoint", "method", "query", "path", "encoding", "choices",
	"result_path", "result_select", "preconditions", "postconditions", "terminal",
	"scopes", "requiredScopes", "security", "risk", "destructive", "requires_confirmation", "requiresConfirmation",
	"verify", "compensate", "permissions", "flag",
	"input_schema", "parameters_schema", "inputSchema", "output_schema", "outputSchema",
}

func (c *comparer) conditions(old, new *Action, at string) {
	before, after := sourceList(old.Preconditions), sourceList(new.Preconditions)
	for i, s := range after {
		if !slices.Contains(before, s) {
			c.add(stepMajor, fmt.Sprintf("%s/preconditions/%d", at, i), "added", "%q has a new precondition: %s", new.Name, clip(s))
		}
	}
	for _, s := range before {
		if !slices.Contains(after, s) {
			c.add(stepMinor, at+"/preconditions", "removed", "%q has one precondition less: %s", new.Name, clip(s))
		}
	}
}

func (c *comparer) permissions(old, new *Action, at string) {
	for _, s := range new.Scopes {
		if !slices.Contains(old.Scopes, s) {
			c.add(stepMajor, at+"/scopes", "added", "%q asks for the scope %q", new.Name, s)
		}
	}
	for _, s := range old.Scopes {
		if !slices.Contains(new.Scopes, s) {
			c.add(stepMinor, at+"/scopes", "removed", "%q no longer asks for the scope %q", new.Name, s)
		}
	}
	levels := []Risk{Low, Medium, High}
	if before, after := slices.Index(levels, old.Risk), slices.Index(levels, new.Risk); before != after {
		step := stepMinor
		if after > before {
			step = stepMajor
		}
		c.add(step, at+"/risk", "changed", "the risk of %q was %s and is %s", new.Name, old.Risk, new.Risk)
	}
	if old.RequiresConfirmation != new.RequiresConfirmation {
		step := stepMinor
		if new.RequiresConfirmation {
			step = stepMajor
		}
		c.add(step, at+"/requires_confirmation", "changed", "whether %q asks for confirmation was %t", new.Name, old.RequiresConfirmation)
	}
	if old.Verify != new.Verify {
		c.add(stepMinor, at+"/verify", "changed", "verify of %q was %s", new.Name, quoteOr(old.Verify))
	}
	if old.Compensate != new.Compensate {
		c.add(stepMinor, at+"/compensate", "changed", "compensate of %q was %s", new.Name, quoteOr(old.Compensate))
	}
	if llm := new.Code != nil && new.Code.LLM; llm != (old.Code != nil && old.Code.LLM) {
		c.add(stepMinor, at+"/permissions/llm", "changed", "whether %q may call the model was %t", new.Name, !llm)
	}
}

// rest reports differences in fields that change no contract.
func (c *comparer) rest(old, new *node, at string, except ...string) {
	if old.kind != object || new.kind != object {
		return
	}
	for _, m := range new.members {
		if slices.Contains(except, m.name) {
			continue
		}
		before := old.get(m.name)
		if before == nil {
			c.add(stepPatch, at+"/"+escapePointer(m.name), "added", "%s is new", m.name)
		} else if !bytes.Equal(before.canonical(), m.value.canonical()) {
			c.add(stepPatch, at+"/"+escapePointer(m.name), "changed", "%s changed", m.name)
		}
	}
	for _, m := range old.members {
		if !slices.Contains(except, m.name) && new.get(m.name) == nil {
			c.add(stepPatch, at+"/"+escapePointer(m.name), "removed", "%s is gone", m.name)
		}
	}
}

// nodeOf returns the part of the document that declares an action.
func (m *Manifest) nodeOf(a *Action) *node {
	list := m.root
	if list.kind == object {
		list = list.get("actions")
	}
	return list.items[slices.Index(m.Actions, a)]
}

func (m *Manifest) shown(a *Action) bool { return a.Flag == "" || m.Flags[a.Flag] }

func endpointOf(a *Action) string {
	if a.HTTP == nil {
		return ""
	}
	return a.HTTP.Endpoint
}

func methodOf(a *Action) string {
	if a.HTTP == nil {
		return ""
	}
	return a.HTTP.Method
}

// textOf returns a member as canonical JSON, or "".
func textOf(n *node, name string) string {
	if m := n.get(name); m != nil {
		return string(m.canonical())
	}
	return ""
}

func quoteOr(s string) string {
	if s == "" {
		return "absent"
	}
	return clip(s)
}

func sourceList[T interface{ Source() string }](list []T) []string {
	sources := make([]string, len(list))
	for i, e := range list {
		sources[i] = e.Source()
	}
	return sources
}

func sources[T interface{ Source() string }](list []T) string {
	return strings.Join(sourceList(list), "; ")
}
