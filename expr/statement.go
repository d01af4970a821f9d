package expr

import (
	"context"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// A Statement is a compiled assignment or append, such as
// "state.emails = result.emails" or "state.meetings.append(result.event_id)".
// It is immutable and safe for concurrent use.
type Statement struct {
	program *program // evaluates to a list: the value, then the computed keys
	target  []target
	appends bool
}

// A target is one step of the path that is written: a key known from the
// source, or one computed by the program.
type target struct {
	key      key
	computed int // position in the program's list; 0 when the key is known
}

// CompileStatement compiles "state.path = expression" or
// "state.path.append(expression)". The error is a [*SyntaxError].
func CompileStatement(src string) (*Statement, error) {
	s, err := scan(src)
	if err != nil {
		return nil, err
	}
	if s.assigns >= 0 {
		return compileAssignment(src, s)
	}
	p, err := parse(src, s, 0, len(s.text))
	if err != nil {
		return nil, err
	}
	if p.expr.Kind() == ast.CallKind {
		if call := p.expr.AsCall(); call.IsMemberFunction() && call.FunctionName() == "append" && len(call.Args()) == 1 {
			return compileWrite(p, p, call.Target(), call.Args()[0], true)
		}
	}
	return nil, p.errorf(p.expr, "write \"state.path = value\" or \"state.list.append(value)\"", "this is not a statement")
}

func compileAssignment(src string, s *scanned) (*Statement, error) {
	left, right := s.text[:s.assigns], s.text[s.assigns+1:]
	if strings.TrimSpace(left) == "" || strings.TrimSpace(right) == "" {
		return nil, &SyntaxError{Source: src, Offset: s.sourceOffset(s.assigns), Message: "a side of the assignment is empty", Remedy: "write \"state.path = value\""}
	}
	path, err := parse(src, s, 0, s.assigns)
	if err != nil {
		return nil, err
	}
	value, err := parse(src, s, s.assigns+1, len(s.text))
	if err != nil {
		return nil, err
	}
	return compileWrite(path, value, path.expr, value.expr, false)
}

// compileWrite compiles writing value, parsed in right, to path, parsed in
// left; the two are the same for an append.
func compileWrite(left, right *parsed, path, value ast.Expr, appends bool) (*Statement, error) {
	st := &Statement{appends: appends}
	steps, err := writtenSteps(left, path)
	if err != nil {
		return nil, err
	}
	prog, err := compile(right, func(r *rewriter) ast.Expr {
		list := []ast.Expr{r.value(value)}
		for _, step := range steps {
			k, known := constantKey(step)
			if known {
				st.target = append(st.target, target{key: k})
				continue
			}
			st.target = append(st.target, target{computed: len(list)})
			// The index may come from the other side's tree, whose ids and
			// offsets mean nothing here.
			list = append(list, r.from(left, step.AsCall().Args()[1]))
		}
		return r.make.NewList(r.nextID(), list, nil)
	})
	if err != nil {
		return nil, err
	}
	st.program = prog
	return st, nil
}

// from rewrites an expression that was parsed on the other side of an
// assignment.
func (r *rewriter) from(other *parsed, e ast.Expr) ast.Expr {
	here := r.parsed
	r.parsed = other
	made := r.value(e)
	r.parsed = here
	return made
}

// writtenSteps takes the path of a statement apart. It must lead from the root
// "state" to something below it.
func writtenSteps(p *parsed, path ast.Expr) ([]ast.Expr, error) {
	const remedy = "write to a path below state, as in state.result"
	var steps []ast.Expr
	for e := path; ; e = stepOperand(e) {
		switch {
		case isWildcard(e):
			return nil, p.errorf(e, "write to one element, or build the list on the right side", "[*] cannot be written to")
		case isStep(e):
			steps = append(steps, e)
			continue
		case e.Kind() != ast.IdentKind:
			return nil, p.errorf(e, remedy, "only a path can be written to")
		case e.AsIdent() != "state":
			return nil, p.errorf(e, remedy, "%s cannot be written to", p.text(path))
		case len(steps) == 0:
			return nil, p.errorf(e, remedy, "the whole state cannot be replaced")
		}
		slices.Reverse(steps)
		return steps, nil
	}
}

// constantKey returns the key of a step when the source says it.
func constantKey(step ast.Expr) (key, bool) {
	if step.Kind() == ast.SelectKind {
		name := step.AsSelect().FieldName()
		return key{name: &name}, true
	}
	index := step.AsCall().Args()[1]
	if index.Kind() != ast.LiteralKind {
		return key{}, false
	}
	switch v := index.AsLiteral().(type) {
	case types.String:
		name := string(v)
		return key{name: &name}, true
	case types.Int:
		return key{index: int(v)}, true
	}
	return key{}, false
}

// Apply returns the state that v.State becomes. The input is not changed; the
// new state shares with it, and with the value that was written, everything
// that the statement does not touch. The error is an [*EvalError].
func (s *Statement) Apply(ctx context.Context, v Vars) (any, error) {
	out, err := s.program.run(ctx, conditionScope(&v))
	if err != nil {
		return nil, err
	}
	list := out.(traits.Lister)
	value := native(list.Get(types.Int(0)))
	path := make([]key, 0, len(s.target))
	for _, t := range s.target {
		k := t.key
		if t.computed > 0 {
			if k, err = computedKey(list.Get(types.Int(t.computed))); err != nil {
				return nil, s.program.explainError(ctx, err)
			}
		}
		path = append(path, k)
	}
	state, err := update(v.State, "state", path, func(old any, at string) (any, error) {
		if s.appends {
			return appended(old, at, value)
		}
		return value, nil
	})
	if err != nil {
		return nil, s.program.explainError(ctx, err)
	}
	return state, nil
}

func computedKey(v ref.Val) (key, error) {
	switch v := v.(type) {
	case types.String:
		name := string(v)
		return key{name: &name}, nil
	case number:
		d, err := v.decimal()
		if err != nil {
			return key{}, err
		}
		if i, ok := d.integer(); ok {
			return key{index: i}, nil
		}
	case absent:
		return key{}, evalErrorf(ReasonPath, "test it for null first", "%s is missing, so it cannot be an index to write to", v.path)
	}
	return key{}, evalErrorf(ReasonType, "index with a whole number or a string", "%s cannot be an index to write to", kind(native(v)))
}

// Source returns the text the statement was compiled from.
func (s *Statement) Source() string { return s.program.source }

// Names returns the bare names the statement reads, sorted: those that are
// looked up in the result, the state and the outputs.
func (s *Statement) Names() []string { return slices.Clone(s.program.names) }
