package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	violated "github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/oap-runtime/oap/internal/fault"
)

// violationsMax bounds the violations one error lists: a model mends a few at a
// time, and each costs tokens.
const violationsMax = 50

// An explainer turns the error tree of the schema library into details that a
// person or a model can act on.
type explainer struct {
	root    *node // of the schema
	doc     any
	prefix  string
	details []fault.Detail
	more    int
}

func (x *explainer) err() error {
	total := len(x.details) + x.more
	e := fault.New(fault.Validation, "the value does not match its schema in %d places", total)
	if total == 1 {
		e.Message = "the value does not match its schema"
	}
	e.Details = x.details
	return e
}

func (x *explainer) add(at []string, code, remedy, format string, args ...any) {
	d := fault.Detail{Pointer: x.pointer(at), Code: code, Message: fmt.Sprintf(format, args...), Remedy: remedy}
	if slices.Contains(x.details, d) {
		return
	}
	if len(x.details) == violationsMax {
		x.more++
		return
	}
	x.details = append(x.details, d)
}

func (x *explainer) pointer(at []string) string {
	var b strings.Builder
	b.WriteString(x.prefix)
	for _, token := range at {
		b.WriteString("/" + escapePointer(token))
	}
	if b.Len() > pointerMax {
		return strings.ToValidUTF8(b.String()[:pointerMax], "") + "…"
	}
	return b.String()
}

// inOrder sorts the violations by place, as the library finds them in the order
// of Go maps: the same document must give the same message, and so the same
// prompt. Alternatives stay in the order of the schema.
func inOrder(e *jsonschema.ValidationError) {
	for _, cause := range e.Causes {
		inOrder(cause)
	}
	switch e.ErrorKind.(type) {
	case *violated.AnyOf, *violated.OneOf:
		return
	}
	slices.SortFunc(e.Causes, func(a, b *jsonschema.ValidationError) int {
		return cmp.Or(slices.CompareFunc(a.InstanceLocation, b.InstanceLocation, compareTokens), cmp.Compare(a.SchemaURL, b.SchemaURL),
			slices.Compare(a.ErrorKind.KeywordPath(), b.ErrorKind.KeywordPath()))
	})
}

// compareTokens orders names by their bytes and indexes by their value.
func compareTokens(a, b string) int {
	i, notA := strconv.Atoi(a)
	j, notB := strconv.Atoi(b)
	if notA == nil && notB == nil {
		return cmp.Compare(i, j)
	}
	return cmp.Compare(a, b)
}

// leaves explains the violations at the bottom of the tree.
func (x *explainer) leaves(e *jsonschema.ValidationError) {
	at := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *violated.AnyOf, *violated.OneOf:
		if one, ok := k.(*violated.OneOf); ok && one.Subschemas != nil {
			x.add(at, "oneOf", "make it match exactly one", "the value matches the alternatives %d and %d, want exactly one", one.Subschemas[0]+1, one.Subschemas[1]+1)
			return
		}
		x.alternatives(e)
	case *violated.Required:
		for _, name := range k.Missing {
			x.add(at, "required", x.wanted(e, name), "%s is missing", strconv.Quote(clip(name)))
		}
	case *violated.AdditionalProperties:
		known := propertyNames(x.schemaAt(e))
		for _, name := range slices.Sorted(slices.Values(k.Properties)) {
			if len(x.details) == violationsMax {
				x.more++
				continue
			}
			remedy := "remove it"
			if near := nearest(name, known); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			} else if len(known) > 0 && len(known) <= 20 {
				remedy = "remove it; the properties are " + strings.Join(known, ", ")
			}
			x.add(append(slices.Clone(at), name), "additionalProperties", remedy, "%s is not a property", strconv.Quote(clip(name)))
		}
	case *violated.PropertyNames:
		x.add(append(slices.Clone(at), k.Property), "propertyNames", "", "the name %s is not allowed", strconv.Quote(clip(k.Property)))
	case *violated.Not, *violated.Contains, *violated.MinContains, *violated.MaxContains:
		x.leaf(e)
	default:
		if len(e.Causes) == 0 {
			x.leaf(e)
			return
		}
		for _, cause := range e.Causes {
			x.leaves(cause)
		}
	}
}

// alternatives explains a value that matches no alternative of an anyOf or
// oneOf by the alternative it was most likely meant to match.
func (x *explainer) alternatives(e *jsonschema.ValidationError) {
	base := len(e.InstanceLocation)
	best, bestScore, tied := e, 0, 0
	var types []string
	got := ""
	for _, branch := range e.Causes {
		score := 0
		walkLeaves(branch, func(l *jsonschema.ValidationError) {
			depth := len(l.InstanceLocation) - base
			switch k := l.ErrorKind.(type) {
			case *violated.Type:
				if depth == 0 {
					score += 10_000
					types = append(types, k.Want...)
					got = k.Got
				}
			case *violated.Const:
				if depth <= 1 {
					score += 1000
				}
			case *violated.Enum:
				if depth <= 1 {
					score += 500
				}
			}
			score++
		})
		switch {
		case best == e || score < bestScore:
			best, bestScore, tied = branch, score, 1
		case score == bestScore:
			tied++
		}
	}
	switch {
	case best == e:
		x.add(e.InstanceLocation, "anyOf", "", "the value matches none of the alternatives")
	case bestScore >= 10_000 && got != "":
		slices.Sort(types)
		x.add(e.InstanceLocation, "type", "", "got %s, want %s", got, strings.Join(slices.Compact(types), " or "))
	case bestScore >= 1000:
		x.constants(e)
	case tied > 1:
		var ways []string
		for i, branch := range e.Causes {
			sub := explainer{root: x.root, doc: x.doc, prefix: x.prefix}
			sub.leaves(branch)
			if i == 5 || len(sub.details) == 0 {
				break
			}
			ways = append(ways, sub.details[0].Message)
		}
		x.add(e.InstanceLocation, "anyOf", "make one of the alternatives true", "the value matches none of the %d alternatives: %s", len(e.Causes), strings.Join(ways, "; or "))
	default:
		x.leaves(best)
	}
}

// constants explains that no alternative has the constant the value has, by
// listing the constants there are.
func (x *explainer) constants(e *jsonschema.ValidationError) {
	wants := map[string][]string{}
	places := map[string][]string{}
	for _, branch := range e.Causes {
		walkLeaves(branch, func(l *jsonschema.ValidationError) {
			if k, ok := l.ErrorKind.(*violated.Const); ok && len(l.InstanceLocation)-len(e.InstanceLocation) <= 1 {
				p := x.pointer(l.InstanceLocation)
				wants[p] = append(wants[p], show(k.Want))
				places[p] = l.InstanceLocation
			}
		})
	}
	for _, p := range sortedKeys(wants) {
		x.add(places[p], "const", "", "got %s, want %s", show(lookup(x.doc, places[p])), oneOf(wants[p]))
	}
}

func walkLeaves(e *jsonschema.ValidationError, visit func(*jsonschema.ValidationError)) {
	if len(e.Causes) == 0 {
		visit(e)
		return
	}
	for _, c := range e.Causes {
		walkLeaves(c, visit)
	}
}

// leaf explains one violated keyword.
func (x *explainer) leaf(e *jsonschema.ValidationError) {
	at := e.InstanceLocation
	value := show(lookup(x.doc, at))
	switch k := e.ErrorKind.(type) {
	case *violated.Type:
		x.add(at, "type", "", "got %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *violated.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = show(w)
		}
		x.add(at, "enum", "", "got %s, want %s", value, oneOf(want))
	case *violated.Const:
		x.add(at, "const", "", "got %s, want %s", value, show(k.Want))
	case *violated.Format:
		if k.Want == "regex" {
			x.add(at, "format", regexRemedy, "%s is not a usable pattern: %v", value, k.Err)
			return
		}
		x.add(at, "format", formatExamples[k.Want], "%s is not a valid %s", value, k.Want)
	case *violated.Pattern:
		x.add(at, "pattern", "", "%s does not match the pattern %s", value, clip(k.Want))
	case *violated.MinLength:
		x.add(at, "minLength", "", "the text has %d characters, want at least %d", k.Got, k.Want)
	case *violated.MaxLength:
		x.add(at, "maxLength", "", "the text has %d characters, want at most %d", k.Got, k.Want)
	case *violated.Minimum:
		x.add(at, "minimum", "", "got %s, want at least %s", value, rational(k.Want))
	case *violated.Maximum:
		x.add(at, "maximum", "", "got %s, want at most %s", value, rational(k.Want))
	case *violated.ExclusiveMinimum:
		x.add(at, "exclusiveMinimum", "", "got %s, want more than %s", value, rational(k.Want))
	case *violated.ExclusiveMaximum:
		x.add(at, "exclusiveMaximum", "", "got %s, want less than %s", value, rational(k.Want))
	case *violated.MultipleOf:
		x.add(at, "multipleOf", "", "got %s, want a multiple of %s", value, rational(k.Want))
	case *violated.MinItems:
		x.add(at, "minItems", "", "the list has %d elements, want at least %d", k.Got, k.Want)
	case *violated.MaxItems:
		x.add(at, "maxItems", "", "the list has %d elements, want at most %d", k.Got, k.Want)
	case *violated.UniqueItems:
		x.add(at, "uniqueItems", "remove one", "the elements %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *violated.AdditionalItems:
		x.add(at, "items", "remove them", "the last %d elements are not allowed", k.Count)
	case *violated.MinProperties:
		x.add(at, "minProperties", "", "the object has %d properties, want at least %d", k.Got, k.Want)
	case *violated.MaxProperties:
		x.add(at, "maxProperties", "", "the object has %d properties, want at most %d", k.Got, k.Want)
	case *violated.DependentRequired:
		x.dependent(at, k.Prop, k.Missing)
	case *violated.Dependency:
		x.dependent(at, k.Prop, k.Missing)
	case *violated.Contains:
		x.add(at, "contains", "", "no element is what the list must contain")
	case *violated.MinContains:
		x.add(at, "minContains", "", "%d elements are what the list must contain, want at least %d", len(k.Got), k.Want)
	case *violated.MaxContains:
		x.add(at, "maxContains", "", "%d elements are what the list may contain, want at most %d", len(k.Got), k.Want)
	case *violated.FalseSchema:
		x.add(at, "not_allowed", "remove it", "nothing is allowed here")
	case *violated.Not:
		x.add(at, "not", "", "%s is what the value must not be", value)
	default:
		x.add(at, "schema", "", "%s does not match the schema", value)
	}
}

func (x *explainer) dependent(at []string, name string, missing []string) {
	for _, m := range missing {
		x.add(at, "dependentRequired", "", "%q is missing, which %q needs", clip(m), clip(name))
	}
}

// formatExamples shows what a value of a format looks like.
var formatExamples = map[string]string{
	"email":     `write "alice@example.com"`,
	"date-time": `write "2026-04-02T09:00:00-04:00", with the offset or Z`,
	"date":      `write "2026-04-02"`,
	"time":      `write "09:00:00Z"`,
	"duration":  `write "PT30M"`,
	"uri":       `write "https://example.com/path"`,
	"uuid":      `write "123e4567-e89b-12d3-a456-426614174000"`,
	"ipv4":      `write "192.0.2.1"`,
}

// wanted says what a missing property should hold.
func (x *explainer) wanted(e *jsonschema.ValidationError, name string) string {
	p := x.schemaAt(e).get("properties").get(name)
	t := p.get("type")
	if t == nil || t.kind != text {
		return fmt.Sprintf("add %q", clip(name))
	}
	article := "a "
	if strings.ContainsRune("aio", rune((t.text + " ")[0])) {
		article = "an "
	}
	return fmt.Sprintf("add %q, %s%s", clip(name), article, t.text)
}

// schemaAt returns the part of the schema that raised e, or nil.
func (x *explainer) schemaAt(e *jsonschema.ValidationError) *node {
	base, fragment, _ := strings.Cut(e.SchemaURL, "#")
	if base != schemaURL {
		return nil
	}
	return x.root.find(fragment)
}

// find returns the node at a JSON Pointer in the form of a URL fragment, or
// nil.
func (n *node) find(fragment string) *node {
	p, err := url.PathUnescape(fragment)
	if err != nil {
		return nil
	}
	if p == "" {
		return n
	}
	tokens := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, t := range tokens {
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	found, rest := n.follow(tokens)
	if len(rest) > 0 {
		return nil
	}
	return found
}

func propertyNames(schema *node) []string {
	properties := schema.get("properties")
	if properties == nil {
		return nil
	}
	names := make([]string, len(properties.members))
	for i, m := range properties.members {
		names[i] = m.name
	}
	return names
}

// lookup returns the part of a decoded document at a path.
func lookup(doc any, at []string) any {
	for _, token := range at {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			doc = v[i]
		}
	}
	return doc
}

// show writes a value for a message.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(clip(v))
	case json.Number:
		return clip(v.String())
	case *big.Rat:
		return rational(v)
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return clip(fmt.Sprint(v))
}

func rational(r *big.Rat) string {
	if r.IsInt() {
		return clip(r.Num().String())
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// oneOf joins choices for a message.
func oneOf(choices []string) string {
	var unique []string
	for _, c := range choices {
		if !slices.Contains(unique, c) {
			unique = append(unique, c)
		}
	}
	choices = unique
	const most = 30
	switch {
	case len(choices) == 1:
		return choices[0]
	case len(choices) > most:
		return fmt.Sprintf("one of %s and %d more", strings.Join(choices[:most], ", "), len(choices)-most)
	}
	return "one of " + strings.Join(choices, ", ")
}
