package expr

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

const (
	// sourceMax is the longest source in bytes; a longer one does not compile.
	sourceMax = 4096
	// depthMax is the deepest nesting of operators, brackets and path steps; a
	// deeper expression does not compile.
	depthMax = 64
	// costMax bounds the work of one evaluation, in CEL's cost units (a unit is
	// an operation, or a hundred bytes or a node of data walked). An evaluation
	// that needs more ends in a cost error.
	costMax = 100_000
	// evalMax bounds the time of one evaluation that goes through lists. An
	// evaluation that takes longer ends in a deadline error.
	evalMax = 50 * time.Millisecond
	// interruptEvery is after how many elements of a list the clock is read.
	interruptEvery = 64
)

// A program is one compiled expression. It is immutable and safe for
// concurrent use.
type program struct {
	source  string
	parsed  *parsed
	tree    *ast.AST
	plan    cel.Program
	names   []string // bare names it reads, sorted
	loops   bool
	truths  map[int64]int64             // see rewriter
	tracing func() (cel.Program, error) // the same plan, recording every value
}

// compile plans the tree that rewrite makes of p.
func compile(p *parsed, rewrite func(*rewriter) ast.Expr) (*program, error) {
	r := newRewriter(p)
	expr := rewrite(r)
	if r.err != nil {
		return nil, r.err
	}
	prog := &program{
		source: p.source,
		parsed: p,
		tree:   ast.NewAST(expr, p.info),
		names:  slices.Sorted(maps.Keys(r.names)),
		loops:  r.loops > 0,
		truths: r.truths,
	}
	var err error
	if prog.plan, err = prog.planWith(); err != nil {
		return nil, p.errorAt(0, "", "%v", err)
	}
	prog.tracing = sync.OnceValues(func() (cel.Program, error) {
		return prog.planWith(cel.EvalOptions(cel.OptTrackState))
	})
	return prog, nil
}

func (p *program) planWith(opts ...cel.ProgramOption) (cel.Program, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	return env.PlanProgram(p.tree, append(opts,
		cel.CostTracking(callCosts{}),
		cel.CostLimit(costMax),
		cel.InterruptCheckFrequency(interruptEvery))...)
}

// run evaluates the program. Every error is an *EvalError.
func (p *program) run(ctx context.Context, s scope) (ref.Val, error) {
	v, _, err := p.exec(ctx, p.plan, s)
	return v, err
}

func (p *program) exec(ctx context.Context, plan cel.Program, s scope) (ref.Val, *cel.EvalDetails, error) {
	if ctx.Err() != nil {
		return nil, nil, p.explainError(ctx, context.Cause(ctx))
	}
	// Only loops look at the clock; everything else is bounded by its cost.
	if p.loops {
		limited, cancel := context.WithTimeoutCause(ctx, evalMax, errDeadline)
		defer cancel()
		v, details, err := plan.ContextEval(limited, s)
		return v, details, p.explainError(limited, err)
	}
	v, details, err := plan.Eval(s)
	return v, details, p.explainError(ctx, err)
}

var errDeadline = errors.New("evaluation deadline exceeded")

// explainError turns what CEL reports into an *EvalError.
func (p *program) explainError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var ours *EvalError
	var canceled interpreter.EvalCancelledError
	cause := context.Cause(ctx)
	switch {
	case errors.As(err, &ours):
		located := *ours
		located.Source = p.source
		return &located
	case errors.As(err, &canceled) && canceled.Cause == interpreter.CostLimitExceeded:
		ours = evalErrorf(ReasonCost, "test fewer or smaller values", "the evaluation exceeds the cost limit of %d", costMax)
	case errors.Is(cause, errDeadline):
		ours = evalErrorf(ReasonDeadline, "test fewer or smaller values", "the evaluation takes longer than %v", evalMax)
	case cause != nil:
		ours = evalErrorf(ReasonCanceled, "", "the evaluation was canceled: %v", cause)
		ours.Err = cause
	default:
		ours = evalErrorf(ReasonInternal, "", "%v", err)
		ours.Err = err
	}
	ours.Source = p.source
	return ours
}

// rootNames are the names that never resolve to anything else.
var rootNames = []string{"state", "result", "user", "session", "args", "goal"}

// A scope resolves the names of an expression for one evaluation.
type scope struct {
	vars *Vars
	bare [3]any // where bare names are looked up, in order
}

// conditionScope looks bare names up in the last result, then the state.
func conditionScope(v *Vars) scope { return scope{v, [3]any{v.Result, v.State, v.Outputs}} }

// templateScope looks bare names up in the outputs of earlier steps first.
func templateScope(v *Vars) scope { return scope{v, [3]any{v.Outputs, v.Result, v.State}} }

// ResolveName implements the activation interface of CEL.
func (s scope) ResolveName(name string) (any, bool) {
	switch name {
	case "state":
		return s.vars.State, true
	case "result":
		return s.vars.Result, true
	case "user":
		return s.vars.User, true
	case "session":
		return s.vars.Session, true
	case "args":
		return s.vars.Args, true
	case "goal":
		return s.vars.Goal, true
	}
	for _, source := range s.bare {
		if object, ok := source.(map[string]any); ok {
			if v, found := object[name]; found {
				return v, true
			}
		}
	}
	return absent{path: name}, true
}

// Parent implements the activation interface of CEL.
func (s scope) Parent() interpreter.Activation { return nil }
