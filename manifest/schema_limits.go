package manifest

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A schema that exceeds one of these is refused: compiling or evaluating it
// could take unbounded time, and the library that does it has no limits.
const (
	schemaMax     = 256 << 10 // bytes of canonical JSON
	subschemasMax = 4000      // objects in it; compiling is quadratic in them
	refsMax       = 500       // "$ref"s in it
	patternMax    = 1024      // characters of a regular expression
	programMax    = 4000      // instructions it compiles to; matching is linear in them
	// evaluationsMax bounds how many subschemas are applied to any one value of
	// a document. It multiplies along nested anyOf, oneOf and $ref: 22 nested
	// two-way choices apply four million.
	evaluationsMax = 1000
	// analysisMax bounds the work of finding that out.
	analysisMax = 500_000
	// validationMax bounds the subschemas applied to a whole document, as far
	// as they can be foreseen; a larger document is refused.
	validationMax = 20_000_000
)

// withinLimits checks what can be counted before compiling.
func withinLimits(n *node, size int, p *problems) bool {
	if size > schemaMax {
		p.report(n, "too_large", "move repeated parts into $defs", "the schema has %d bytes, the most is %d", size, schemaMax)
		return false
	}
	objects, refs := 0, 0
	n.walk(func(c *node) {
		if c.kind == object {
			objects++
		}
		if c.name == "$ref" && c.kind == text {
			refs++
		}
	})
	switch {
	case objects > subschemasMax:
		p.report(n, "too_large", "describe the value more coarsely", "the schema has %d objects, the most is %d", objects, subschemasMax)
	case refs > refsMax:
		p.report(n, "too_large", "describe the value more coarsely", "the schema has %d $refs, the most is %d", refs, refsMax)
	default:
		return true
	}
	return false
}

// compileRegexp compiles a pattern in the RE2 syntax, which matches in linear
// time.
func compileRegexp(s string) (jsonschema.Regexp, error) {
	if len(s) > patternMax {
		return nil, fmt.Errorf("the pattern has %d bytes, the most is %d", len(s), patternMax)
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > programMax {
		return nil, fmt.Errorf("the pattern compiles to %d steps, the most is %d: use smaller repetitions", len(program.Inst), programMax)
	}
	return regexp.Compile(s)
}

// bounded reports whether the number of subschemas applied to any one value is
// bounded, however deep the document.
// It returns that bound.
func bounded(root *jsonschema.Schema, n *node, p *problems) (evaluations int, ok bool) {
	a := analysis{counts: map[*jsonschema.Schema]int{}}
	level := a.closure(map[*jsonschema.Schema]int{root: 1})
	for depth := 0; depth < depthMax && len(level) > 0 && a.refused == ""; depth++ {
		next := map[*jsonschema.Schema]int{}
		for _, below := range a.children(level) {
			for sch, count := range a.closure(below) {
				next[sch] = max(next[sch], count)
			}
			if a.refused != "" {
				break
			}
		}
		if !a.grow(next) {
			break
		}
		level = next
	}
	if a.refused != "" {
		p.report(n, "too_complex", a.remedy, "%s", a.refused)
		return 0, false
	}
	return a.most, true
}

const tooComplex = "the schema has too many nested choices to analyze"

// An analysis counts how often each subschema is applied to one value.
type analysis struct {
	counts  map[*jsonschema.Schema]int // the most seen at any depth
	work    int
	most    int // the most applied to one value
	refused string
	remedy  string
}

func (a *analysis) refuse(remedy, format string, args ...any) {
	if a.refused == "" {
		a.refused, a.remedy = fmt.Sprintf(format, args...), remedy
	}
}

const simplify = "nest fewer anyOf, oneOf, allOf and $ref"

// grow adds the counts of one depth and reports whether any is new: when none
// is, deeper values add nothing either.
func (a *analysis) grow(level map[*jsonschema.Schema]int) bool {
	grown := false
	for sch, count := range level {
		if count > a.counts[sch] {
			a.counts[sch], grown = count, true
		}
	}
	return grown
}

// closure adds the subschemas that are applied to the same value.
func (a *analysis) closure(start map[*jsonschema.Schema]int) map[*jsonschema.Schema]int {
	order, ok := a.inPlaceOrder(start)
	if !ok {
		a.refuse("let every recursion go through properties or items", "a $ref leads back to itself without going into the value")
		return nil
	}
	counts := map[*jsonschema.Schema]int{}
	total := 0
	for _, sch := range order {
		counts[sch] += start[sch]
		if total += counts[sch]; total > evaluationsMax {
			a.refuse(simplify, "nested choices apply more than %d subschemas to one value", evaluationsMax)
			return nil
		}
		for _, next := range inPlace(sch) {
			counts[next] += counts[sch]
		}
	}
	a.most = max(a.most, total)
	return counts
}

// inPlaceOrder returns everything that start applies to the same value, each
// before what it applies, or false when there is a cycle.
func (a *analysis) inPlaceOrder(start map[*jsonschema.Schema]int) ([]*jsonschema.Schema, bool) {
	const (
		entered = 1
		left    = 2
	)
	state := map[*jsonschema.Schema]int{}
	var order []*jsonschema.Schema
	var visit func(*jsonschema.Schema) bool
	visit = func(sch *jsonschema.Schema) bool {
		switch state[sch] {
		case entered:
			return false
		case left:
			return true
		}
		if a.work++; a.work > analysisMax {
			a.refuse(simplify, tooComplex)
			return true
		}
		if sch.DynamicRef != nil || sch.RecursiveRef != nil {
			a.refuse("write $ref", "what a $dynamicRef or $recursiveRef leads to is not known before it is used")
			return true
		}
		state[sch] = entered
		for _, next := range inPlace(sch) {
			if !visit(next) {
				return false
			}
		}
		state[sch] = left
		order = append(order, sch)
		return true
	}
	for sch := range start {
		if !visit(sch) {
			return nil, false
		}
	}
	slices.Reverse(order)
	return order, true
}

// inPlace returns the subschemas that sch applies to the value itself.
func inPlace(sch *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Concat(sch.AllOf, sch.AnyOf, sch.OneOf)
	for _, s := range []*jsonschema.Schema{sch.Ref, sch.Not, sch.If, sch.Then, sch.Else} {
		if s != nil {
			list = append(list, s)
		}
	}
	for _, s := range sch.DependentSchemas {
		list = append(list, s)
	}
	for _, d := range sch.Dependencies {
		if s, ok := d.(*jsonschema.Schema); ok {
			list = append(list, s)
		}
	}
	return list
}

// children groups the subschemas that a level applies to members and elements
// by the member or element: two that go to different ones do not add up.
func (a *analysis) children(level map[*jsonschema.Schema]int) []map[*jsonschema.Schema]int {
	groups := map[string]map[*jsonschema.Schema]int{}
	add := func(group string, s *jsonschema.Schema, count int) {
		if s == nil {
			return
		}
		if groups[group] == nil {
			groups[group] = map[*jsonschema.Schema]int{}
		}
		groups[group][s] += count
	}
	// First the members and elements that somebody names, and the others.
	groups["name:"], groups["item:"] = map[*jsonschema.Schema]int{}, map[*jsonschema.Schema]int{}
	for sch, count := range level {
		for name, s := range sch.Properties {
			add("name:"+name, s, count)
		}
		for i, s := range prefixItems(sch) {
			add("item:"+strconv.Itoa(i), s, count)
		}
		add("key", sch.PropertyNames, count)
	}
	// Then what applies to every member or element but those that the same
	// schema names.
	for sch, count := range level {
		rest, always := restOf(sch)
		if len(rest.names)+len(rest.items)+len(always.names)+len(always.items) == 0 {
			continue
		}
		named := len(prefixItems(sch))
		if a.work += len(groups); a.work > analysisMax {
			a.refuse(simplify, tooComplex)
			return nil
		}
		for group := range groups {
			if name, ok := strings.CutPrefix(group, "name:"); ok {
				for _, s := range always.names {
					add(group, s, count)
				}
				if sch.Properties[name] == nil {
					for _, s := range rest.names {
						add(group, s, count)
					}
				}
			}
			if item, ok := strings.CutPrefix(group, "item:"); ok {
				for _, s := range always.items {
					add(group, s, count)
				}
				if i, err := strconv.Atoi(item); err != nil || i >= named {
					for _, s := range rest.items {
						add(group, s, count)
					}
				}
			}
		}
	}
	list := make([]map[*jsonschema.Schema]int, 0, len(groups))
	for _, g := range groups {
		if len(g) > 0 {
			list = append(list, g)
		}
	}
	return list
}

// prefixItems are the subschemas of single elements.
func prefixItems(sch *jsonschema.Schema) []*jsonschema.Schema {
	if list, ok := sch.Items.([]*jsonschema.Schema); ok {
		return list
	}
	return sch.PrefixItems
}

type byContainer struct{ names, items []*jsonschema.Schema }

// restOf returns what a schema applies to the members and elements it does not
// name, and what it applies to all.
func restOf(sch *jsonschema.Schema) (rest, always byContainer) {
	keep := func(list *[]*jsonschema.Schema, values ...any) {
		for _, v := range values {
			if s, ok := v.(*jsonschema.Schema); ok && s != nil {
				*list = append(*list, s)
			}
		}
	}
	keep(&rest.names, sch.AdditionalProperties)
	keep(&rest.items, sch.Items, sch.Items2020, sch.AdditionalItems)
	keep(&always.names, sch.UnevaluatedProperties)
	keep(&always.items, sch.UnevaluatedItems, sch.Contains)
	for _, s := range sch.PatternProperties {
		keep(&always.names, s)
	}
	return rest, always
}
