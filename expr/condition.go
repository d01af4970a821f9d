package expr

import (
	"context"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// A Condition is a compiled boolean expression such as
// "state.intents[*].intent == 'schedule_meeting'". It is immutable and safe
// for concurrent use.
type Condition struct{ program *program }

// CompileCondition compiles a boolean expression. The error is a
// [*SyntaxError].
func CompileCondition(src string) (*Condition, error) {
	p, err := parseExpression(src)
	if err != nil {
		return nil, err
	}
	prog, err := compile(p, func(r *rewriter) ast.Expr { return r.truth(p.expr) })
	if err != nil {
		return nil, err
	}
	return &Condition{prog}, nil
}

// parseExpression parses a source that must be one expression.
func parseExpression(src string) (*parsed, error) {
	s, err := scan(src)
	if err != nil {
		return nil, err
	}
	if s.assigns >= 0 {
		return nil, &SyntaxError{Source: src, Offset: s.sourceOffset(s.assigns), Message: "an expression cannot assign", Remedy: "write == to compare"}
	}
	return parse(src, s, 0, len(s.text))
}

// Eval reports whether the condition holds. Missing values are null, and
// comparing null with < or > is false, so the usual answer to incomplete data
// is false, not an error. The error is an [*EvalError].
func (c *Condition) Eval(ctx context.Context, v Vars) (bool, error) {
	out, err := c.program.run(ctx, conditionScope(&v))
	if err != nil {
		return false, err
	}
	return out == types.True, nil
}

// Source returns the text the condition was compiled from.
func (c *Condition) Source() string { return c.program.source }

// Names returns the bare names the condition reads, sorted: those that are
// looked up in the result, the state and the outputs.
func (c *Condition) Names() []string { return slices.Clone(c.program.names) }
