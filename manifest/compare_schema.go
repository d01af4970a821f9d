package manifest

import (
	"bytes"
	"math/big"
	"slices"
	"strings"
)

// A direction says which way values flow through a schema: an input must go on
// accepting what it accepted, an output must not bring what it did not bring.
type direction bool

const (
	input  direction = false
	output direction = true
)

// comparisonsMax bounds the schema pairs that are compared; what is left counts
// as narrowed and widened.
const comparisonsMax = 50_000

// How a change moves the set of values that a schema accepts.
type move int

const (
	narrowed move = iota
	widened
	unclear // neither can be excluded
)

func (c *comparer) move(d direction, m move, pointer, kind, format string, args ...any) {
	step := stepMinor
	if m == unclear || (m == narrowed) == (d == input) {
		step = stepMajor
	}
	c.add(step, pointer, kind, format, args...)
}

// schemas compares two schemas, either of which may be absent.
func (c *comparer) schemas(old, new *Schema, at string, d direction) {
	switch {
	case old == nil && new == nil:
		return
	case old == nil:
		c.move(d, narrowed, at, "added", "there is a schema now")
		return
	case new == nil:
		c.move(d, widened, at, "removed", "there is no schema any more")
		return
	case bytes.Equal(old.raw, new.raw):
		return
	}
	c.seen = map[[2]*node]bool{}
	s := schemaComparer{comparer: c, old: old.root, new: new.root, d: d}
	before := len(c.changes)
	s.compare(old.root, new.root, at)
	if len(c.changes) == before {
		c.add(stepPatch, at, "changed", "descriptions or the order of the schema changed")
	}
}

type schemaComparer struct {
	*comparer
	old, new *node // the roots
	d        direction
}

// compare compares two subschemas that apply to the same value.
func (s *schemaComparer) compare(old, new *node, at string) {
	old, new = deref(s.old, old), deref(s.new, new)
	if s.seen[[2]*node{old, new}] {
		return
	}
	s.seen[[2]*node{old, new}] = true
	if s.work++; s.work > comparisonsMax {
		if s.work == comparisonsMax+1 {
			s.move(s.d, unclear, at, "changed", "the schemas are too large to be compared further")
		}
		return
	}
	if oldNever, newNever := never(old), never(new); oldNever || newNever {
		switch {
		case !oldNever:
			s.move(s.d, narrowed, at, "changed", "nothing is accepted any more")
		case !newNever:
			s.move(s.d, widened, at, "changed", "nothing was accepted")
		}
		return
	}
	s.types(old, new, at)
	s.values(old, new, at)
	s.bounds(old, new, at)
	s.objects(old, new, at)
	s.lists(old, new, at)
	s.combinations(old, new, at)
	if s.d == input {
		s.defaults(old, new, at)
	}
}

// deref follows references within the schema, unless something stands beside
// them.
func deref(root, n *node) *node {
	for range refsMax {
		target := target(root, n)
		if target == nil || constrains(n) {
			return n
		}
		n = target
	}
	return n
}

// target returns what the reference in n leads to within the schema, or nil.
func target(root, n *node) *node {
	ref := n.get("$ref")
	if ref == nil || ref.kind != text {
		return nil
	}
	fragment, local := strings.CutPrefix(ref.text, "#")
	if !local {
		return nil
	}
	return root.find(fragment)
}

// annotations are the keywords that accept or refuse nothing.
var annotations = []string{
	"$ref", "$comment", "$defs", "definitions", "$schema", "$id", "title", "description", "examples", "default",
	"deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema",
}

// constrains reports whether a schema says anything besides its reference.
func constrains(n *node) bool {
	return slices.ContainsFunc(n.members, func(m member) bool { return !slices.Contains(annotations, m.name) })
}

func never(n *node) bool { return n.kind == boolean && n.text == "false" }

// types compares "type".
func (s *schemaComparer) types(old, new *node, at string) {
	before, after := typesOf(old), typesOf(new)
	if m, ok := sets(before, after); ok {
		s.move(s.d, m, at+"/type", "changed", "the type was %s and is %s", typeNames(old), typeNames(new))
	}
}

// typesOf lists the types a schema accepts; a number is an integer or not.
func typesOf(n *node) []string {
	var list []string
	t := n.get("type")
	switch {
	case t == nil:
		list = []string{"null", "boolean", "number", "string", "array", "object"}
	case t.kind == array:
		for _, item := range t.items {
			list = append(list, item.text)
		}
	default:
		list = []string{t.text}
	}
	if i := slices.Index(list, "number"); i >= 0 {
		list[i] = "fraction"
		list = append(list, "integer")
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func typeNames(n *node) string {
	t := n.get("type")
	switch {
	case t == nil:
		return "any"
	case t.kind == array:
		names := make([]string, len(t.items))
		for i, item := range t.items {
			names[i] = item.text
		}
		return strings.Join(names, " or ")
	}
	return t.text
}

// sets compares two sets of accepted things; ok is false when they are equal.
func sets(before, after []string) (m move, ok bool) {
	fewer := slices.ContainsFunc(before, func(s string) bool { return !slices.Contains(after, s) })
	more := slices.ContainsFunc(after, func(s string) bool { return !slices.Contains(before, s) })
	switch {
	case fewer && more:
		return unclear, true
	case fewer:
		return narrowed, true
	case more:
		return widened, true
	}
	return 0, false
}

// values compares "enum" and "const".
func (s *schemaComparer) values(old, new *node, at string) {
	before, limited := allowed(old)
	after, limits := allowed(new)
	switch {
	case !limited && !limits:
	case !limited:
		s.move(s.d, narrowed, at, "changed", "only %s is accepted", clip(strings.Join(after, ", ")))
	case !limits:
		s.move(s.d, widened, at, "changed", "any value is accepted, not just %s", clip(strings.Join(before, ", ")))
	default:
		if m, ok := sets(before, after); ok {
			s.move(s.d, m, at, "changed", "the values were %s and are %s", clip(strings.Join(before, ", ")), clip(strings.Join(after, ", ")))
		}
	}
}

func allowed(n *node) (values []string, limited bool) {
	if c := n.get("const"); c != nil {
		return []string{string(c.canonical())}, true
	}
	e := n.get("enum")
	if e == nil {
		return nil, false
	}
	for _, item := range e.items {
		values = append(values, string(item.canonical()))
	}
	return values, true
}

// bounds compares the keywords whose value is a bound, and those that are
// there or not.
func (s *schemaComparer) bounds(old, new *node, at string) {
	for _, keyword := range []string{
		"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains",
		"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains",
	} {
		lower := strings.Contains(strings.ToLower(keyword), "min")
		before, after := ratOf(old.get(keyword)), ratOf(new.get(keyword))
		m := widened
		switch {
		case before == nil && after == nil:
			continue
		case before == nil:
			m = narrowed
		case after == nil:
		default:
			d := after.Cmp(before)
			if d == 0 {
				continue
			}
			if (d > 0) == lower {
				m = narrowed
			}
		}
		s.move(s.d, m, at+"/"+keyword, "changed", "%s was %s and is %s", keyword, ratText(before), ratText(after))
	}
	for _, keyword := range []string{"pattern", "format", "multipleOf", "uniqueItems"} {
		before, after := textOf(old, keyword), textOf(new, keyword)
		if keyword == "uniqueItems" { // false is the same as absent
			before, after = strings.TrimPrefix(before, "false"), strings.TrimPrefix(after, "false")
		}
		m := unclear
		switch {
		case before == after:
			continue
		case before == "":
			m = narrowed
		case after == "":
			m = widened
		case keyword == "multipleOf":
			a, b := ratOf(old.get(keyword)), ratOf(new.get(keyword))
			if quotientIsInt(b, a) {
				m = narrowed
			} else if quotientIsInt(a, b) {
				m = widened
			}
		}
		s.move(s.d, m, at+"/"+keyword, "changed", "%s was %s and is %s", keyword, quoteOr(before), quoteOr(after))
	}
}

func quotientIsInt(a, b *big.Rat) bool { return b.Sign() != 0 && new(big.Rat).Quo(a, b).IsInt() }

func ratOf(n *node) *big.Rat {
	if n == nil || n.kind != number {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.text)
	if !ok {
		return nil
	}
	return r
}

func ratText(r *big.Rat) string {
	if r == nil {
		return "absent"
	}
	return rational(r)
}

// objects compares what a schema says about members.
func (s *schemaComparer) objects(old, new *node, at string) {
	oldProps, newProps := old.get("properties"), new.get("properties")
	var added []string
	if newProps != nil {
		for _, m := range newProps.members {
			if before := oldProps.get(m.name); before != nil {
				s.compare(before, m.value, at+"/properties/"+escapePointer(m.name))
			} else {
				added = append(added, m.name)
			}
		}
	}
	s.required(old, new, newProps, at)
	for _, name := range added {
		s.add(stepMinor, at+"/properties/"+escapePointer(name), "added", "%q is new", clip(name))
	}
	if oldProps != nil {
		for _, m := range oldProps.members {
			if newProps.get(m.name) == nil {
				s.add(stepMajor, at+"/properties/"+escapePointer(m.name), "removed", "%q is gone", clip(m.name))
			}
		}
	}
	s.additional(old, new, at)
}

func (s *schemaComparer) required(old, new, properties *node, at string) {
	before, after := names(old.get("required")), names(new.get("required"))
	for _, name := range after {
		if slices.Contains(before, name) {
			continue
		}
		if s.d == input && properties.get(name).get("default") != nil {
			s.add(stepMinor, at+"/required", "added", "%q is required, but has a default", clip(name))
			continue
		}
		s.move(s.d, narrowed, at+"/required", "added", "%q is required", clip(name))
	}
	for _, name := range before {
		if !slices.Contains(after, name) {
			s.move(s.d, widened, at+"/required", "removed", "%q is no longer required", clip(name))
		}
	}
}

func names(list *node) []string {
	if list == nil {
		return nil
	}
	s := make([]string, len(list.items))
	for i, item := range list.items {
		s[i] = item.text
	}
	return s
}

// additional compares what is said about members that are not named. An output
// may always bring more of them: readers skip what they do not know.
func (s *schemaComparer) additional(old, new *node, at string) {
	before, after := old.get("additionalProperties"), new.get("additionalProperties")
	if before == nil && after == nil {
		return
	}
	at += "/additionalProperties"
	switch {
	case closed(before) && closed(after):
	case closed(after):
		s.move(s.d, narrowed, at, "changed", "members that are not named are refused")
	case closed(before):
		s.add(stepMinor, at, "changed", "members that are not named are accepted")
	default:
		s.compare(orAnything(before), orAnything(after), at)
	}
}

func closed(n *node) bool { return n != nil && never(n) }

func orAnything(n *node) *node {
	if n == nil {
		return &node{kind: object}
	}
	return n
}

// lists compares what a schema says about elements.
func (s *schemaComparer) lists(old, new *node, at string) {
	before, after := old.get("prefixItems"), new.get("prefixItems")
	if before != nil && after != nil && len(before.items) == len(after.items) {
		for i := range before.items {
			s.compare(before.items[i], after.items[i], at+"/prefixItems/"+after.items[i].name)
		}
	} else {
		s.opaque(old, new, at, "prefixItems")
	}
	before, after = old.get("items"), new.get("items")
	switch {
	case before == nil && after == nil:
	case before != nil && before.kind == array || after != nil && after.kind == array:
		s.opaque(old, new, at, "items")
	default:
		s.compare(orAnything(before), orAnything(after), at+"/items")
	}
}

// combinations compares the keywords that combine schemas.
func (s *schemaComparer) combinations(old, new *node, at string) {
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		before, after := old.get(keyword), new.get(keyword)
		if before == nil || after == nil {
			if before != nil || after != nil {
				m := unclear
				switch {
				case before == nil:
					m = narrowed
				case after == nil:
					m = widened
				}
				s.move(s.d, m, at+"/"+keyword, "changed", "%s changed", keyword)
			}
			continue
		}
		if len(before.items) == len(after.items) {
			for i := range before.items {
				s.compare(before.items[i], after.items[i], at+"/"+keyword+"/"+after.items[i].name)
			}
			continue
		}
		m, _ := sets(canonicals(before), canonicals(after))
		if keyword == "allOf" && m != unclear {
			m = widened - m // of an allOf, more parts accept less
		}
		s.move(s.d, m, at+"/"+keyword, "changed", "%s had %d parts and has %d", keyword, len(before.items), len(after.items))
	}
	for _, keyword := range []string{
		"$schema", "not", "if", "then", "else", "contains", "propertyNames", "patternProperties", "dependentRequired",
		"dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems", "additionalItems",
	} {
		s.opaque(old, new, at, keyword)
	}
	if before, after := target(s.old, old), target(s.new, new); before != nil && after != nil {
		s.compare(before, after, at+"/$ref")
	} else {
		s.opaque(old, new, at, "$ref")
	}
}

func canonicals(list *node) []string {
	s := make([]string, len(list.items))
	for i, item := range list.items {
		s[i] = string(item.canonical())
	}
	return s
}

// opaque compares a keyword by its text. A text with references also changes
// when the definitions do.
func (s *schemaComparer) opaque(old, new *node, at, keyword string) {
	before, after := textOf(old, keyword), textOf(new, keyword)
	if before == after && !(strings.Contains(after, `"$ref"`) || keyword == "$ref" && after != "") {
		return
	}
	if before == after && textOf(s.old, "$defs") == textOf(s.new, "$defs") && textOf(s.old, "definitions") == textOf(s.new, "definitions") {
		return
	}
	m := unclear
	if keyword != "then" && keyword != "else" {
		switch "" {
		case before:
			m = narrowed
		case after:
			m = widened
		}
	}
	s.move(s.d, m, at+"/"+keyword, "changed", "%s changed in a way that cannot be compared", keyword)
}

// defaults compares the default of an input, which is what an absent argument
// means.
func (s *schemaComparer) defaults(old, new *node, at string) {
	before, after := textOf(old, "default"), textOf(new, "default")
	switch {
	case before == after:
	case before == "":
		s.add(stepMinor, at+"/default", "added", "the default is %s", clip(after))
	default:
		s.add(stepMajor, at+"/default", "changed", "the default was %s and is %s", clip(before), quoteOr(after))
	}
}
