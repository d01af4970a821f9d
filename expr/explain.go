package expr

import (
	"context"
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// explanationMax bounds an explanation in bytes; a longer one is cut.
const explanationMax = 1000

// Explain evaluates like [Condition.Eval] and says why the answer is what it
// is, for transcripts: the parts of the condition that decided it, with the
// values they met, as in
//
//	state.session.step >= 2 is false: state.session is missing
//
// It takes longer than Eval. The text repeats data of v and is not stable.
func (c *Condition) Explain(ctx context.Context, v Vars) (bool, string, error) {
	plan, err := c.program.tracing()
	if err != nil {
		return false, "", c.program.explainError(ctx, err)
	}
	out, details, err := c.program.exec(ctx, plan, conditionScope(&v))
	if err != nil {
		return false, "", err
	}
	t := trace{c.program, details.State()}
	return out == types.True, clip(t.why(c.program.parsed.expr), explanationMax), nil
}

// A trace is the values that one evaluation met.
type trace struct {
	program *program
	state   interpreter.EvalState
}

// outcome returns whether e was true, or false when it was not evaluated or
// failed.
func (t trace) outcome(e ast.Expr) (value, known bool) {
	v, _ := t.state.Value(t.program.truths[e.ID()])
	b, known := v.(types.Bool)
	return bool(b), known
}

// why explains the value of e, which stands where true or false is needed. It
// returns nothing for what was not evaluated.
func (t trace) why(e ast.Expr) string {
	value, known := t.outcome(e)
	if !known {
		return ""
	}
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.LogicalAnd:
			return t.join(call.Args(), " and ", value, !value)
		case operators.LogicalOr:
			return t.join(call.Args(), " and ", value, value)
		case operators.LogicalNot:
			return t.why(call.Args()[0])
		case operators.Conditional:
			return t.join(call.Args()[:1], "", true, false) + ", so " + t.join(call.Args()[1:], "", value, true)
		}
	}
	return t.leaf(e, value)
}

// join explains operands. When one of them decides, only the first with the
// given value matters.
func (t trace) join(operands []ast.Expr, with string, value, oneDecides bool) string {
	var parts []string
	for _, operand := range operands {
		got, known := t.outcome(operand)
		if !known || oneDecides && got != value {
			continue
		}
		parts = append(parts, t.why(operand))
		if oneDecides {
			break
		}
	}
	return strings.Join(parts, with)
}

// leaf explains a comparison by the values of the paths in it.
func (t trace) leaf(e ast.Expr, value bool) string {
	said := fmt.Sprintf("%s is %t", t.program.parsed.text(e), value)
	var facts []string
	t.facts(e, value, &facts)
	if len(facts) == 0 {
		return said
	}
	return said + ": " + strings.Join(facts, ", ")
}

func (t trace) facts(e ast.Expr, value bool, facts *[]string) {
	name := func() string { return t.program.parsed.text(e) }
	switch {
	case isProjection(e):
		if value {
			*facts = append(*facts, "an element of "+name()+" matches")
		} else {
			*facts = append(*facts, "no element of "+name()+" matches")
		}
	case isStep(e), e.Kind() == ast.IdentKind:
		v, met := t.state.Value(e.ID())
		if gone, missing := v.(absent); missing {
			*facts = append(*facts, gone.path+" is missing")
		} else if met {
			*facts = append(*facts, name()+" is "+shown(native(v)))
		}
	case e.Kind() == ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			t.facts(call.Target(), value, facts)
		}
		for _, arg := range call.Args() {
			t.facts(arg, value, facts)
		}
	case e.Kind() == ast.ListKind:
		for _, item := range e.AsList().Elements() {
			t.facts(item, value, facts)
		}
	}
}

// shown writes a value for people: small ones as JSON, others by their size.
func shown(value any) string {
	if s, ok := value.(string); ok {
		value = clip(s, valueShownMax)
	}
	budget := meter{left: valueShownMax + 10}
	if budget.take(value, 0) {
		if text, err := compactJSON(value); err == nil {
			return text
		}
	}
	switch value := value.(type) {
	case []any:
		return fmt.Sprintf("a list of %d elements", len(value))
	case map[string]any:
		return fmt.Sprintf("an object of %d fields", len(value))
	}
	return kind(value)
}
