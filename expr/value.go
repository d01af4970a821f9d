package expr

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	// nestingMax bounds how deep a value may be nested when it is compared,
	// measured or written as text; deeper values are a size error. It is what
	// encoding/json decodes.
	nestingMax = 10_000
	// compareNodesMax bounds the nodes one comparison visits; larger documents
	// are a cost error. It equals costMax, which such a comparison would use up.
	compareNodesMax = costMax
)

// jsonAdapter turns decoded JSON into CEL values lazily: containers keep the
// Go value they wrap, so that reading one whole gives back the original.
type jsonAdapter struct{}

// NativeToValue implements the adapter interface of CEL.
func (jsonAdapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case nil:
		return types.NullValue
	case ref.Val:
		return v
	case bool:
		return types.Bool(v)
	case string:
		return types.String(v)
	case []any:
		if v == nil {
			return types.NullValue
		}
		return types.NewList(jsonAdapter{}, v)
	case map[string]any:
		if v == nil {
			return types.NullValue
		}
		return types.NewMap(jsonAdapter{}, v)
	}
	if text, ok := numberText(v); ok {
		return number{native: v, text: text}
	}
	return fail(ReasonType, "pass decoded JSON values only", "a value of Go type %T is not JSON", v)
}

// A number is a JSON number that remembers the value it came from, so that
// copying it never rounds.
type number struct {
	native any    // json.Number or a Go number
	text   string // its JSON text
}

var numberType = types.NewOpaqueType("number")

func newNumber(text string) number { return number{native: json.Number(text), text: text} }

func (n number) decimal() (decimal, error) {
	d, ok := parseDecimal(n.text)
	if !ok {
		return decimal{}, evalErrorf(ReasonRange, "", "%q is not a number that can be computed with", clip(n.text, valueShownMax))
	}
	return d, nil
}

// The methods below make number a value that CEL can carry. CEL's own
// operators are not reachable from an expression, so none of them computes.

func (n number) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("number cannot be converted to %s", t)
}
func (n number) ConvertToType(ref.Type) ref.Val { return types.NoSuchOverloadErr() }
func (n number) Equal(other ref.Val) ref.Val    { return types.Bool(n == other) }
func (n number) Type() ref.Type                 { return numberType }
func (n number) Value() any                     { return n.native }

// absent is what a path that leads nowhere reads as. It behaves as null, and
// names the first step that is missing.
type absent struct{ path string }

func (a absent) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a missing value cannot be converted to %s", t)
}
func (a absent) ConvertToType(ref.Type) ref.Val { return types.NoSuchOverloadErr() }
func (a absent) Equal(other ref.Val) ref.Val    { return types.Bool(a == other) }
func (a absent) Type() ref.Type                 { return types.NullType }
func (a absent) Value() any                     { return nil }

// native returns the JSON value behind v. Containers that came from the
// caller come back as they were; those an expression built are built anew.
func native(v ref.Val) any {
	switch v := v.(type) {
	case types.Bool:
		return bool(v)
	case types.String:
		return string(v)
	case types.Null, absent:
		return nil
	case number:
		return v.native
	case traits.Lister:
		if list, ok := v.Value().([]any); ok {
			return list
		}
		size, _ := v.Size().(types.Int)
		list := make([]any, 0, size)
		for it := v.Iterator(); it.HasNext() == types.True; {
			list = append(list, native(it.Next()))
		}
		return list
	case traits.Mapper:
		if object, ok := v.Value().(map[string]any); ok {
			return object
		}
		object := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			if name, ok := key.(types.String); ok {
				object[string(name)] = native(v.Get(key))
			}
		}
		return object
	}
	return nil
}

// kind names the JSON kind of a value for messages.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	if _, ok := numberText(v); ok {
		return "a number"
	}
	return fmt.Sprintf("a value of Go type %T", v)
}

// A comparison counts the nodes visited so that comparing two large documents
// stays within the cost of an evaluation.
type comparison struct{ nodes int }

// equal reports whether a and b are the same JSON value. Numbers are equal
// when they denote the same quantity: 1, 1.0 and 1e0 are equal.
func (c *comparison) equal(a, b any, depth int) (bool, error) {
	if c.nodes++; c.nodes > compareNodesMax {
		return false, evalErrorf(ReasonCost, "compare a smaller part of the documents", "comparing two large values exceeds the cost limit of %d", costMax)
	}
	if depth > nestingMax {
		return false, evalErrorf(ReasonSize, "", "a value is nested deeper than %d", nestingMax)
	}
	switch a := a.(type) {
	case nil:
		return b == nil, nil
	case bool:
		other, ok := b.(bool)
		return ok && a == other, nil
	case string:
		other, ok := b.(string)
		return ok && a == other, nil
	case []any:
		other, ok := b.([]any)
		if !ok || len(a) != len(other) {
			return false, nil
		}
		for i := range a {
			if same, err := c.equal(a[i], other[i], depth+1); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false, nil
		}
		for name, v := range a {
			w, ok := other[name]
			if !ok {
				return false, nil
			}
			if same, err := c.equal(v, w, depth+1); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	x, ok := numberText(a)
	if !ok {
		return false, evalErrorf(ReasonType, "pass decoded JSON values only", "%s is not JSON", kind(a))
	}
	y, ok := numberText(b)
	if !ok {
		return false, nil
	}
	d, err := newNumber(x).decimal()
	if err != nil {
		return false, err
	}
	e, err := newNumber(y).decimal()
	if err != nil {
		return false, err
	}
	return d.compare(e) == 0, nil
}

// order compares two values of the same kind, both strings or both numbers.
// It reports false when either is null, which has no order.
func order(a, b any) (int, bool, error) {
	if a == nil || b == nil {
		return 0, false, nil
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), true, nil
		}
	}
	x, okX := numberText(a)
	y, okY := numberText(b)
	if !okX || !okY {
		return 0, false, evalErrorf(ReasonType, "compare numbers with numbers and strings with strings", "%s and %s have no order", kind(a), kind(b))
	}
	d, err := newNumber(x).decimal()
	if err != nil {
		return 0, false, err
	}
	e, err := newNumber(y).decimal()
	if err != nil {
		return 0, false, err
	}
	return d.compare(e), true, nil
}

// A meter measures values against a budget in bytes of compact JSON.
type meter struct{ left int }

// take reports whether v still fits the budget, and spends it. Sizes are
// approximate: escapes in strings are not counted.
func (m *meter) take(v any, depth int) bool {
	if m.left < 0 || depth > nestingMax {
		return false
	}
	switch v := v.(type) {
	case string:
		m.left -= len(v) + 2
	case []any:
		m.left -= len(v) + 1
		for _, item := range v {
			if !m.take(item, depth+1) {
				return false
			}
		}
	case map[string]any:
		m.left -= len(v) + 1
		for name, item := range v {
			m.left -= len(name) + 3
			if !m.take(item, depth+1) {
				return false
			}
		}
	case nil, bool:
		m.left -= 4
	default:
		text, _ := numberText(v)
		m.left -= len(text)
	}
	return m.left >= 0
}

// fail is the CEL value of an error of ours.
func fail(reason Reason, remedy, format string, args ...any) ref.Val {
	return types.WrapErr(evalErrorf(reason, remedy, format, args...))
}
