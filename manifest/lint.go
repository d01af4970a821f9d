package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Warning is something in a valid manifest that its author should look at.
type Warning struct {
	Pointer string `json:"pointer"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Lint returns warnings in document order: what a plan would probably trip
// over, what would leave an effect in doubt, and what looks like a credential.
func (m *Manifest) Lint() []Warning {
	l := linter{}
	l.document(m)
	actions := m.root
	if actions.kind == object {
		actions = actions.get("actions")
	}
	for i, a := range m.Actions {
		n := actions.items[i]
		l.contract(a, n)
		l.effect(a, n)
		l.result(a, n)
		l.transport(a, n)
	}
	l.credentials(m.root)
	slices.SortStableFunc(l.warnings, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return l.warnings
}

type linter struct{ warnings []Warning }

func (l *linter) warn(n *node, remedy, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Pointer: n.pointer(), Line: n.line, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (l *linter) document(m *Manifest) {
	if m.root.kind == array {
		l.warn(m.root, `write {"name": …, "version": …, "actions": […]}`, "a bare list has no name and version; it is %s %s", bareName, bareVersion)
	} else if m.Version != m.semver.String() {
		l.warn(m.root.get("version"), fmt.Sprintf("write %q", m.semver), "the version %q is taken for %s", m.Version, m.semver)
	}
	if m.Completion == nil && !slices.ContainsFunc(m.Actions, func(a *Action) bool { return a.Terminal }) {
		l.warn(m.root, `mark the last action "terminal": true, or state the goal in "completion"`, "nothing says when the goal is reached: sessions run until the planner says so, or out of steps")
	}
}

// contract looks at what the planner is told about an action.
func (l *linter) contract(a *Action, n *node) {
	if strings.TrimSpace(a.Description) == "" {
		l.warn(n, `add "description": what it does, when to use it, what it leaves where`, "%s has no description; the planner goes by its name alone", a.Name)
	}
	if a.Type != InvokeAPI && a.Type != RunCode {
		return
	}
	if n.get("input_schema") == nil && n.get("parameters_schema") == nil && n.get("inputSchema") == nil {
		l.warn(n, `add "input_schema"`, "%s has no input schema; the planner must guess its arguments", a.Name)
	}
	if a.Output == nil {
		l.warn(n, `add "output_schema"`, "%s has no output schema; whatever it returns becomes part of the state", a.Name)
	}
	if a.Code != nil && !a.Code.LLM && importsOpenAI.MatchString(a.Code.Code) {
		l.warn(n.get("code"), `add "permissions": {"llm": true}`, "the code imports openai, which fails without the permission")
	}
}

var importsOpenAI = regexp.MustCompile(`(?m)^\s*(?:import|from)\s+openai\b`)

// effect looks at what happens when the outcome of a call is not known (S0-28).
func (l *linter) effect(a *Action, n *node) {
	if a.Effect != Once || a.Verify != "" || a.Compensate != "" {
		return
	}
	if at := n.get("effect"); at != nil {
		l.warn(at, `name a "verify" action that looks, or a "compensate" action that undoes; or make it "keyed"`, "%s is done once and has neither verify nor compensate: when its outcome is not known, a person must find out", a.Name)
		return
	}
	l.warn(n, `add "effect": "read", "idempotent", "keyed" (the receiver honours Idempotency-Key) or "once"`, "%s is a %s without an effect class, taken for once: it is never sent again when its outcome is not known", a.Name, a.HTTP.Method)
}

func (l *linter) result(a *Action, n *node) {
	if len(a.ResultPath) > 0 && len(a.Postconditions) > 0 {
		l.warn(n.get("result_path"), "keep one of them", "%s has postconditions, so its result_path is not used", a.Name)
	}
	if len(a.ResultSelect) > 0 && len(a.ResultPath) == 0 {
		l.warn(n.get("result_select"), `add "result_path"`, "result_select is used with result_path only")
	}
}

func (l *linter) transport(a *Action, n *node) {
	if a.HTTP == nil || !strings.HasPrefix(a.HTTP.Endpoint, "http://") {
		return
	}
	secret := a.HTTP.Auth != ""
	for _, v := range a.HTTP.Headers {
		secret = secret || strings.Contains(v, "${")
	}
	if secret {
		l.warn(n.get("endpoint"), "use https", "%s sends credentials without encryption", a.Name)
	}
}

// credentials looks for credentials in every string. Those in auth and headers
// are errors, which Parse has reported.
func (l *linter) credentials(root *node) {
	root.walk(func(n *node) {
		if n.kind != text {
			return
		}
		if what := credentialIn(n.text); what != "" {
			l.warn(n, `remove it and revoke it; write "${NAME}" in auth or headers instead`, "the text seems to hold %s", what)
		}
	})
}
