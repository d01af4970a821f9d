package expr

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// The functions the rewriter emits. Their names begin with '@', which no
// source text can contain, so an expression reaches them only in the shapes
// that the rewriter builds.
const (
	fnField      = "@field"   // object, name, path of the result
	fnIndex      = "@index"   // list or object, index, path of the result
	fnPresent    = "@present" // is not absent
	fnTruth      = "@truth"   // boolean or null, path → boolean
	fnNot        = "@not"
	fnEqual      = "@equal"
	fnNotEqual   = "@not_equal"
	fnLess       = "@less"
	fnLessEq     = "@less_equal"
	fnGreater    = "@greater"
	fnGreaterEq  = "@greater_equal"
	fnIn         = "@in"
	fnContains   = "@contains"
	fnStartsWith = "@starts_with"
	fnEndsWith   = "@ends_with"
	fnSize       = "@size"
	fnAdd        = "@add"
	fnSubtract   = "@subtract"
	fnMultiply   = "@multiply"
	fnDivide     = "@divide"
	fnModulo     = "@modulo"
	fnNegate     = "@negate"
	fnElements   = "@elements" // list or null, path → list
	fnPending    = "@pending"  // any-match: no match so far
	fnFlatten    = "@flatten"  // list of lists → list
)

// textMax bounds a text that an expression or template builds (1 MiB); a
// longer one is a size error. Copying a longer text is fine.
const textMax = 1 << 20

// environment is the one CEL environment of the process. It holds no function
// and no macro of CEL's library: everything an expression can do is in the
// table below.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewCustomEnv(
		cel.CustomTypeAdapter(jsonAdapter{}),
		function(fnPending, 1, unary(pending), cel.OverloadIsNonStrict()),
		function(operators.Add, 2, binary(appendElement)),
		function(fnField, 3, variadic(readField)),
		function(fnIndex, 3, variadic(readIndex)),
		function(fnPresent, 1, unary(func(v ref.Val) ref.Val { _, gone := v.(absent); return types.Bool(!gone) })),
		function(fnTruth, 2, binary(truth)),
		function(fnNot, 1, unary(func(v ref.Val) ref.Val { return types.Bool(v != types.True) })),
		function(fnEqual, 2, equality(true)),
		function(fnNotEqual, 2, equality(false)),
		function(fnLess, 2, ordering(func(c int) bool { return c < 0 })),
		function(fnLessEq, 2, ordering(func(c int) bool { return c <= 0 })),
		function(fnGreater, 2, ordering(func(c int) bool { return c > 0 })),
		function(fnGreaterEq, 2, ordering(func(c int) bool { return c >= 0 })),
		function(fnIn, 2, binary(func(item, in ref.Val) ref.Val { return member(native(item), native(in)) })),
		function(fnContains, 2, binary(contains)),
		function(fnStartsWith, 2, affix("startsWith", strings.HasPrefix)),
		function(fnEndsWith, 2, affix("endsWith", strings.HasSuffix)),
		function(fnSize, 1, unary(size)),
		function(fnAdd, 2, binary(add)),
		function(fnSubtract, 2, arithmetic("-", (*big.Rat).Sub)),
		function(fnMultiply, 2, arithmetic("*", (*big.Rat).Mul)),
		function(fnDivide, 2, binary(divide)),
		function(fnModulo, 2, binary(modulo)),
		function(fnNegate, 1, unary(negate)),
		function(fnElements, 2, binary(elements)),
		function(fnFlatten, 1, unary(flatten)),
	)
})

// function declares one function that takes any values. The rewriter
// guarantees the number of arguments, the function itself checks their kinds.
func function(name string, arity int, opts ...cel.OverloadOpt) cel.EnvOption {
	params := slices.Repeat([]*cel.Type{cel.DynType}, arity)
	return cel.Function(name, decls.DisableTypeGuards(true), cel.Overload(name+"_any", params, cel.DynType, opts...))
}

func unary(fn functions.UnaryOp) cel.OverloadOpt       { return cel.UnaryBinding(fn) }
func binary(fn functions.BinaryOp) cel.OverloadOpt     { return cel.BinaryBinding(fn) }
func variadic(fn functions.FunctionOp) cel.OverloadOpt { return cel.FunctionBinding(fn) }

// readField reads a field of an object. Reading a field of anything else,
// null included, is absent.
func readField(args ...ref.Val) ref.Val {
	if gone, ok := args[0].(absent); ok {
		return gone
	}
	if object, ok := args[0].(traits.Mapper); ok {
		if v, found := object.Find(args[1]); found {
			return v
		}
	}
	return absent{path: string(args[2].(types.String))}
}

// readIndex reads an element of a list, counting from the end when the index
// is negative, or a member of an object by name.
func readIndex(args ...ref.Val) ref.Val {
	switch index := args[1].(type) {
	case types.String:
		return readField(args...)
	case number:
		if gone, ok := args[0].(absent); ok {
			return gone
		}
		list, ok := args[0].(traits.Lister)
		if !ok {
			break
		}
		d, err := index.decimal()
		if err != nil {
			return types.WrapErr(err)
		}
		i, whole := d.integer()
		n, _ := list.Size().(types.Int)
		if i < 0 {
			i += int(n)
		}
		if whole && i >= 0 && i < int(n) {
			return list.Get(types.Int(i))
		}
	case types.Null, absent:
	default:
		return fail(ReasonType, "index with a number or a string", "%s cannot be an index", kind(native(index)))
	}
	return absent{path: string(args[2].(types.String))}
}

// truth lets null stand for false and refuses everything else that is not a
// boolean: a condition that happens to be a string is a mistake, not a yes.
func truth(v, path ref.Val) ref.Val {
	switch v := v.(type) {
	case types.Bool:
		return v
	case types.Null, absent:
		return types.False
	}
	return fail(ReasonType, "compare it, as in \"x == 'a'\" or \"x != null\"", "%s is %s where true or false is needed", path.(types.String), kind(native(v)))
}

// pending keeps an any-match going until it is true. An element that cannot
// be compared does not end it: a later element may match.
func pending(v ref.Val) ref.Val { return types.Bool(v != types.True) }

func equality(want bool) cel.OverloadOpt {
	return binary(func(a, b ref.Val) ref.Val {
		same, err := new(comparison).equal(native(a), native(b), 0)
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Bool(same == want)
	})
}

func ordering(holds func(int) bool) cel.OverloadOpt {
	return binary(func(a, b ref.Val) ref.Val {
		c, ordered, err := order(native(a), native(b))
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Bool(ordered && holds(c))
	})
}

// member reports whether in, a list, has an element equal to item, or in, an
// object, has a field of that name. Nothing is in null.
func member(item, in any) ref.Val {
	switch in := in.(type) {
	case nil:
		return types.False
	case []any:
		var c comparison
		for _, v := range in {
			same, err := c.equal(item, v, 0)
			if err != nil {
				return types.WrapErr(err)
			}
			if same {
				return types.True
			}
		}
		return types.False
	case map[string]any:
		name, ok := item.(string)
		if !ok {
			return types.False
		}
		_, ok = in[name]
		return types.Bool(ok)
	}
	return fail(ReasonType, "use a list or an object; for text write x.contains('part')", "%s has no members for \"in\"", kind(in))
}

// contains searches text for a part, or a list for an element.
func contains(v, part ref.Val) ref.Val {
	switch v := native(v).(type) {
	case nil:
		return types.False
	case string:
		if p, ok := native(part).(string); ok {
			return types.Bool(strings.Contains(v, p))
		}
		return fail(ReasonType, "pass a string", "a string cannot contain %s", kind(native(part)))
	case []any:
		return member(native(part), v)
	default:
		return fail(ReasonType, "call it on a string or a list", "contains does not apply to %s", kind(v))
	}
}

func affix(name string, matches func(s, part string) bool) cel.OverloadOpt {
	return binary(func(v, part ref.Val) ref.Val {
		if native(v) == nil {
			return types.False
		}
		s, okS := native(v).(string)
		p, okP := native(part).(string)
		if !okS || !okP {
			return fail(ReasonType, "use strings", "%s does not apply to %s and %s", name, kind(native(v)), kind(native(part)))
		}
		return types.Bool(matches(s, p))
	})
}

// size counts the elements of a list, the fields of an object or the
// characters of a text. Null has none.
func size(v ref.Val) ref.Val {
	n := 0
	switch v := native(v).(type) {
	case nil:
	case string:
		n = utf8.RuneCountInString(v)
	case []any:
		n = len(v)
	case map[string]any:
		n = len(v)
	default:
		return fail(ReasonType, "call it on a string, list or object", "%s has no size", kind(v))
	}
	return newNumber(strconv.Itoa(n))
}

// add sums numbers and joins texts or lists.
func add(a, b ref.Val) ref.Val {
	switch x := native(a).(type) {
	case string:
		y, ok := native(b).(string)
		if !ok {
			break
		}
		if len(x)+len(y) > textMax {
			return fail(ReasonSize, "", "the text would be longer than %d bytes", textMax)
		}
		return types.String(x + y)
	case []any:
		y, ok := native(b).([]any)
		if !ok {
			break
		}
		if len(x)+len(y) > listMax {
			return fail(ReasonSize, "", "the list would be longer than %d elements", listMax)
		}
		return jsonAdapter{}.NativeToValue(slices.Concat(x, y))
	}
	return calculate("+", a, b, (*big.Rat).Add)
}

func arithmetic(symbol string, op func(z, x, y *big.Rat) *big.Rat) cel.OverloadOpt {
	return binary(func(a, b ref.Val) ref.Val { return calculate(symbol, a, b, op) })
}

func calculate(symbol string, a, b ref.Val, op func(z, x, y *big.Rat) *big.Rat) ref.Val {
	x, y, bad := operands(symbol, a, b)
	if bad != nil {
		return bad
	}
	return result(symbol, op(new(big.Rat), x, y))
}

func divide(a, b ref.Val) ref.Val {
	x, y, bad := operands("/", a, b)
	if bad != nil {
		return bad
	}
	if y.Sign() == 0 {
		return fail(ReasonRange, "test the divisor first", "division by zero")
	}
	return result("/", new(big.Rat).Quo(x, y))
}

func modulo(a, b ref.Val) ref.Val {
	x, y, bad := operands("%", a, b)
	if bad != nil {
		return bad
	}
	switch {
	case !x.IsInt() || !y.IsInt():
		return fail(ReasonType, "use whole numbers", "%% needs whole numbers")
	case y.Sign() == 0:
		return fail(ReasonRange, "test the divisor first", "division by zero")
	}
	return result("%", new(big.Rat).SetInt(new(big.Int).Rem(x.Num(), y.Num())))
}

func negate(v ref.Val) ref.Val {
	return calculate("-", newNumber("0"), v, (*big.Rat).Sub)
}

func operands(symbol string, a, b ref.Val) (x, y *big.Rat, bad ref.Val) {
	n, okN := a.(number)
	m, okM := b.(number)
	if !okN || !okM {
		for _, v := range []ref.Val{a, b} {
			if gone, ok := v.(absent); ok {
				return nil, nil, fail(ReasonType, "test it for null first", "%s is missing, so %q cannot be computed", gone.path, symbol)
			}
		}
		return nil, nil, fail(ReasonType, "use numbers on both sides", "%q does not apply to %s and %s", symbol, kind(native(a)), kind(native(b)))
	}
	rats := make([]*big.Rat, 0, 2)
	for _, v := range []number{n, m} {
		d, err := v.decimal()
		if err != nil {
			return nil, nil, types.WrapErr(err)
		}
		r, ok := d.rat()
		if !ok {
			return nil, nil, fail(ReasonRange, "", "%s has too many digits to compute with", clip(v.text, valueShownMax))
		}
		rats = append(rats, r)
	}
	return rats[0], rats[1], nil
}

func result(symbol string, r *big.Rat) ref.Val {
	text, ok := ratText(r)
	if !ok {
		return fail(ReasonRange, "", "the result of %q has too many digits", symbol)
	}
	return newNumber(text)
}

// elements is what [*] ranges over. Null has no elements.
func elements(v, path ref.Val) ref.Val {
	switch v := v.(type) {
	case traits.Lister:
		return v
	case types.Null, absent:
		return types.NewList(jsonAdapter{}, []any{})
	}
	return fail(ReasonType, "use [*] on lists only", "%s is %s, so [*] has nothing to go through", path.(types.String), kind(native(v)))
}

// appendElement grows the list that a projection builds.
func appendElement(list, element ref.Val) ref.Val { return list.(traits.Adder).Add(element) }

// flatten joins the lists that an inner [*] made into one.
func flatten(lists ref.Val) ref.Val {
	var all []ref.Val
	outer, ok := lists.(traits.Lister)
	if !ok {
		return lists
	}
	for it := outer.Iterator(); it.HasNext() == types.True; {
		inner, ok := it.Next().(traits.Lister)
		if !ok {
			continue
		}
		for each := inner.Iterator(); each.HasNext() == types.True; {
			all = append(all, each.Next())
		}
	}
	return types.NewRefValList(jsonAdapter{}, all)
}

// callCosts charges functions for the data they walk, so that the cost limit
// bounds work and not only the number of operations. It must never charge less
// than a unit for about a hundred bytes or a node visited.
type callCosts struct{}

// CallCost implements the cost estimator of CEL.
func (callCosts) CallCost(name, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	switch name {
	case fnEqual, fnNotEqual, fnLess, fnLessEq, fnGreater, fnGreaterEq:
		cost += min(weight(args[0]), weight(args[1]))
	case fnIn, fnContains, fnStartsWith, fnEndsWith:
		cost += weight(args[0]) + weight(args[1])
	case fnSize:
		if text, ok := args[0].(types.String); ok {
			cost += weight(text)
		}
	case fnAdd, fnFlatten:
		cost += weight(result)
	}
	return &cost
}

// weight is the cost of walking v once: a unit for each node and each 100
// bytes of text, up to just over the cost limit.
func weight(v ref.Val) uint64 {
	nodes := 0
	weigh(v, &nodes)
	return uint64(nodes)
}

func weigh(v any, nodes *int) {
	const bytesPerUnit = 100
	if *nodes > costMax {
		return
	}
	*nodes++
	switch v := v.(type) {
	case types.String:
		*nodes += len(v) / bytesPerUnit
	case string:
		*nodes += len(v) / bytesPerUnit
	case number:
		*nodes += len(v.text) / bytesPerUnit
	case traits.Lister, traits.Mapper:
		weigh(native(v.(ref.Val)), nodes)
	case []any:
		for _, item := range v {
			weigh(item, nodes)
		}
	case map[string]any:
		for _, item := range v {
			weigh(item, nodes)
		}
	}
}
