package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A rewriter turns a parsed tree into one that CEL evaluates with our
// meaning: fields of nothing read as absent, bare names and roots are looked
// up, numbers keep their digits, and a [*] in a comparison matches any
// element. It refuses every construct it does not know, so the language is
// exactly what is written here.
type rewriter struct {
	*parsed
	make  ast.ExprFactory
	id    int64
	names map[string]bool // bare names read so far
	loops int             // comprehensions made so far
	// truths maps a node that stands where true or false is needed to the
	// node made of it.
	truths map[int64]int64
	err    error // the first refusal
}

func newRewriter(p *parsed) *rewriter {
	r := &rewriter{parsed: p, make: ast.NewExprFactory(), names: map[string]bool{}, truths: map[int64]int64{}}
	// New nodes get ids above the parser's, so that what is observed at an
	// original id belongs to the original node.
	r.id = ast.MaxID(ast.NewAST(p.expr, p.info))
	return r
}

func (r *rewriter) nextID() int64 { r.id++; return r.id }

func (r *rewriter) refuse(e ast.Expr, remedy, format string, args ...any) ast.Expr {
	if r.err == nil {
		r.err = r.errorf(e, remedy, format, args...)
	}
	return r.literal(types.NullValue)
}

func (r *rewriter) literal(v ref.Val) ast.Expr { return r.make.NewLiteral(r.nextID(), v) }

func (r *rewriter) path(e ast.Expr) ast.Expr { return r.literal(types.String(r.text(e))) }

func (r *rewriter) call(name string, args ...ast.Expr) ast.Expr {
	return r.make.NewCall(r.nextID(), name, args...)
}

// comparisons maps the boolean operators on values to our functions.
var comparisons = map[string]string{
	operators.Equals:        fnEqual,
	operators.NotEquals:     fnNotEqual,
	operators.Less:          fnLess,
	operators.LessEquals:    fnLessEq,
	operators.Greater:       fnGreater,
	operators.GreaterEquals: fnGreaterEq,
	operators.In:            fnIn,
}

var arithmetics = map[string]string{
	operators.Add:      fnAdd,
	operators.Subtract: fnSubtract,
	operators.Multiply: fnMultiply,
	operators.Divide:   fnDivide,
	operators.Modulo:   fnModulo,
	operators.Negate:   fnNegate,
}

// predicates are the boolean functions that are called on a value.
var predicates = map[string]string{
	"contains":   fnContains,
	"startsWith": fnStartsWith,
	"endsWith":   fnEndsWith,
}

// truth rewrites e where true or false is needed.
func (r *rewriter) truth(e ast.Expr) ast.Expr {
	made := r.test(e)
	r.truths[e.ID()] = made.ID()
	return made
}

func (r *rewriter) test(e ast.Expr) ast.Expr {
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.LogicalAnd, operators.LogicalOr:
			return r.make.NewCall(e.ID(), call.FunctionName(), r.all(call.Args(), r.truth)...)
		case operators.LogicalNot:
			return r.make.NewCall(e.ID(), fnNot, r.truth(call.Args()[0]))
		case operators.Conditional:
			return r.make.NewCall(e.ID(), operators.Conditional, r.all(call.Args(), r.truth)...)
		}
		if c := r.comparison(e); c != nil {
			return c
		}
	}
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() {
		return r.value(e)
	}
	return r.any([]ast.Expr{e}, func(args []ast.Expr) ast.Expr {
		return r.call(fnTruth, args[0], r.path(e))
	})
}

// comparison rewrites e when it is a comparison, membership or predicate, and
// returns nil when it is not.
func (r *rewriter) comparison(e ast.Expr) ast.Expr {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if fn, ok := predicates[name]; ok {
		if !call.IsMemberFunction() || len(args) != 1 {
			return r.refuse(e, fmt.Sprintf("write x.%s('part')", name), "%s is called on a value with one argument", name)
		}
		return r.any([]ast.Expr{call.Target(), args[0]}, func(args []ast.Expr) ast.Expr {
			return r.make.NewCall(e.ID(), fn, args...)
		})
	}
	fn, ok := comparisons[name]
	if !ok || call.IsMemberFunction() {
		return nil
	}
	if name == operators.In {
		// The right side of "in" is the list to search, projected or not.
		in := r.value(args[1])
		return r.any(args[:1], func(args []ast.Expr) ast.Expr {
			return r.make.NewCall(e.ID(), fn, args[0], in)
		})
	}
	return r.any(args, func(args []ast.Expr) ast.Expr {
		return r.make.NewCall(e.ID(), fn, args...)
	})
}

// any builds a test over operands, true when it holds for any combination of
// the elements their [*] stand for.
func (r *rewriter) any(operands []ast.Expr, test func([]ast.Expr) ast.Expr) ast.Expr {
	bound := make([]ast.Expr, 0, len(operands))
	var bind func() ast.Expr
	bind = func() ast.Expr {
		if len(bound) == len(operands) {
			return test(slices.Clone(bound))
		}
		operand := operands[len(bound)]
		if !isProjection(operand) {
			bound = append(bound, r.value(operand))
			return bind()
		}
		base, steps := r.chain(operand)
		return r.anyOf(base, steps, func(element ast.Expr) ast.Expr {
			bound = append(bound, element)
			return bind()
		})
	}
	return bind()
}

func (r *rewriter) anyOf(base ast.Expr, steps []ast.Expr, test func(ast.Expr) ast.Expr) ast.Expr {
	list, rest, found := r.untilWildcard(base, steps)
	if !found {
		return test(list)
	}
	element, matched := r.loopNames()
	body := r.anyOf(r.make.NewIdent(r.nextID(), element), rest, test)
	matchedIdent := func() ast.Expr { return r.make.NewIdent(r.nextID(), matched) }
	return r.make.NewComprehension(r.nextID(), list, element, matched,
		r.literal(types.False),
		r.call(fnPending, matchedIdent()),
		r.call(operators.LogicalOr, matchedIdent(), body),
		matchedIdent())
}

// project builds the list of what a path with [*] leads to.
func (r *rewriter) project(base ast.Expr, steps []ast.Expr) ast.Expr {
	list, rest, found := r.untilWildcard(base, steps)
	if !found {
		return list
	}
	element, so := r.loopNames()
	nested := slices.ContainsFunc(rest, isWildcard)
	body := r.project(r.make.NewIdent(r.nextID(), element), rest)
	soFar := func() ast.Expr { return r.make.NewIdent(r.nextID(), so) }
	// CEL appends in place only to an accumulator of exactly this shape.
	loop := r.make.NewComprehension(r.nextID(), list, element, so,
		r.make.NewList(r.nextID(), nil, nil),
		r.literal(types.True),
		r.call(operators.Add, soFar(), r.make.NewList(r.nextID(), []ast.Expr{body}, nil)),
		soFar())
	if nested {
		return r.call(fnFlatten, loop)
	}
	return loop
}

func (r *rewriter) loopNames() (element, result string) {
	r.loops++
	n := strconv.Itoa(r.loops)
	return "@element" + n, "@result" + n
}

// untilWildcard applies steps to base up to the first [*], whose list it
// returns with the steps after it.
func (r *rewriter) untilWildcard(base ast.Expr, steps []ast.Expr) (list ast.Expr, rest []ast.Expr, found bool) {
	for i, step := range steps {
		if isWildcard(step) {
			return r.call(fnElements, base, r.path(step.AsCall().Args()[0])), steps[i+1:], true
		}
		base = r.step(base, step)
	}
	return base, nil, false
}

// step applies one field or index to an object that is already rewritten.
func (r *rewriter) step(object, step ast.Expr) ast.Expr {
	if step.Kind() == ast.SelectKind {
		return r.make.NewCall(step.ID(), fnField, object, r.literal(types.String(step.AsSelect().FieldName())), r.path(step))
	}
	return r.make.NewCall(step.ID(), fnIndex, object, r.value(step.AsCall().Args()[1]), r.path(step))
}

// chain takes a path apart into its rewritten base and the steps from it.
func (r *rewriter) chain(e ast.Expr) (base ast.Expr, steps []ast.Expr) {
	for isStep(e) {
		steps = append(steps, e)
		e = stepOperand(e)
	}
	slices.Reverse(steps)
	return r.value(e), steps
}

// isStep reports whether e reads a field or an element of something.
func isStep(e ast.Expr) bool {
	switch e.Kind() {
	case ast.SelectKind:
		return !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		return e.AsCall().FunctionName() == operators.Index
	}
	return false
}

func stepOperand(e ast.Expr) ast.Expr {
	if e.Kind() == ast.SelectKind {
		return e.AsSelect().Operand()
	}
	return e.AsCall().Args()[0]
}

func isWildcard(e ast.Expr) bool {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return false
	}
	index := e.AsCall().Args()[1]
	if index.Kind() != ast.LiteralKind {
		return false
	}
	_, ok := index.AsLiteral().(types.Bytes)
	return ok
}

// isProjection reports whether e is a path with a [*] in it.
func isProjection(e ast.Expr) bool {
	for ; isStep(e); e = stepOperand(e) {
		if isWildcard(e) {
			return true
		}
	}
	return false
}

// value rewrites e where any value is wanted.
func (r *rewriter) value(e ast.Expr) ast.Expr {
	switch e.Kind() {
	case ast.LiteralKind:
		return r.constant(e)
	case ast.IdentKind:
		name := e.AsIdent()
		if strings.HasPrefix(name, ".") {
			return r.refuse(e, "remove the dot", "a name cannot begin with a dot")
		}
		if !slices.Contains(rootNames, name) {
			r.names[name] = true
		}
		return r.make.NewIdent(e.ID(), name)
	case ast.SelectKind:
		if s := e.AsSelect(); s.IsTestOnly() {
			field := r.make.NewSelect(r.nextID(), s.Operand(), s.FieldName())
			return r.any([]ast.Expr{field}, func(args []ast.Expr) ast.Expr {
				return r.make.NewCall(e.ID(), fnPresent, args[0])
			})
		}
		return r.read(e)
	case ast.ListKind:
		return r.make.NewList(e.ID(), r.all(e.AsList().Elements(), r.value), nil)
	case ast.MapKind:
		return r.object(e)
	case ast.CallKind:
		return r.callValue(e)
	}
	return r.refuse(e, "write an object as {'name': value}", "this construct is not part of the language")
}

func (r *rewriter) read(e ast.Expr) ast.Expr {
	if isProjection(e) {
		base, steps := r.chain(e)
		return r.project(base, steps)
	}
	return r.step(r.value(stepOperand(e)), e)
}

func (r *rewriter) callValue(e ast.Expr) ast.Expr {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	switch name {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
		return r.truth(e)
	case operators.Index:
		return r.read(e)
	case operators.Conditional:
		return r.make.NewCall(e.ID(), name, r.truth(args[0]), r.value(args[1]), r.value(args[2]))
	case "size":
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		if len(args) != 1 {
			return r.refuse(e, "write size(state.list)", "size takes one argument")
		}
		return r.make.NewCall(e.ID(), fnSize, r.value(args[0]))
	}
	if fn, ok := arithmetics[name]; ok && !call.IsMemberFunction() {
		return r.make.NewCall(e.ID(), fn, r.all(args, r.value)...)
	}
	if c := r.comparison(e); c != nil {
		return c
	}
	if name == "append" {
		return r.refuse(e, "write it alone, as in \"state.list.append(value)\"", "append is a statement of its own")
	}
	return r.refuse(e, "the functions are size, has, contains, startsWith and endsWith; [*] goes through lists", "%s is not a function", name)
}

func (r *rewriter) constant(e ast.Expr) ast.Expr {
	switch v := e.AsLiteral().(type) {
	case types.Bool, types.String, types.Null:
		return r.make.NewLiteral(e.ID(), v)
	case types.Int, types.Uint, types.Double:
		if text, ok := numberText(v.Value()); ok {
			return r.make.NewLiteral(e.ID(), newNumber(text))
		}
		return r.refuse(e, "", "the number is out of range")
	}
	return r.refuse(e, "[*] follows a path, as in state.items[*].id", "this literal is not part of the language")
}

func (r *rewriter) object(e ast.Expr) ast.Expr {
	entries := e.AsMap().Entries()
	made := make([]ast.EntryExpr, 0, len(entries))
	seen := map[types.String]bool{}
	for _, entry := range entries {
		key := entry.AsMapEntry().Key()
		var name types.String
		ok := key.Kind() == ast.LiteralKind
		if ok {
			name, ok = key.AsLiteral().(types.String)
		}
		switch {
		case !ok:
			return r.refuse(key, "write the name in quotes, as in {'name': value}", "the name of a field must be a string")
		case seen[name]:
			return r.refuse(key, "remove one", "the field %q is given twice", string(name))
		}
		seen[name] = true
		made = append(made, r.make.NewMapEntry(entry.ID(), r.make.NewLiteral(key.ID(), name), r.value(entry.AsMapEntry().Value()), false))
	}
	return r.make.NewMap(e.ID(), made)
}

func (r *rewriter) all(list []ast.Expr, rewrite func(ast.Expr) ast.Expr) []ast.Expr {
	made := make([]ast.Expr, 0, len(list))
	for _, e := range list {
		made = append(made, rewrite(e))
	}
	return made
}
