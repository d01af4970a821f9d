package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oap-runtime/oap/internal/fault"
)

// A Schema is a compiled JSON Schema: 2020-12 unless its "$schema" names an
// earlier draft. Formats are asserted. It is immutable and safe for concurrent
// use.
type Schema struct {
	raw      json.RawMessage // canonical
	compiled *jsonschema.Schema
	root     *node
	// evaluations is the most subschemas that are applied to one value.
	evaluations int
}

// schemaURL is what a schema is called while it is compiled. Nothing is ever
// loaded from it.
const schemaURL = "mem:///schema"

// CompileSchema compiles a schema from JSON. A schema refers to nothing
// outside of itself: "$ref" never reads a file or the network. The error is a
// *fault.Error with code Validation that lists every problem.
func CompileSchema(raw json.RawMessage) (*Schema, error) {
	var p problems
	s := compileJSON(raw, &p)
	if p.any() {
		e := fault.New(fault.Validation, "the JSON Schema is not valid")
		e.Details = p.sorted()
		return nil, e
	}
	return s, nil
}

func compileJSON(raw json.RawMessage, p *problems) *Schema {
	if len(raw) > schemaMax {
		p.report(nil, "too_large", "", "the schema has %d bytes, the most is %d", len(raw), schemaMax)
		return nil
	}
	n := readJSON(raw, p)
	if n == nil || p.any() {
		return nil
	}
	if n.kind != object && n.kind != boolean {
		p.report(n, "type", `write a JSON Schema, such as {"type": "object"}`, "got %s, want a JSON Schema", n.kind)
		return nil
	}
	if !checkNumbers(n, p) {
		return nil
	}
	return compileNode(n, p)
}

// mustCompile compiles a schema of our own.
func mustCompile(raw json.RawMessage) *Schema {
	s, err := CompileSchema(raw)
	if err != nil {
		panic("manifest: own schema: " + err.Error())
	}
	return s
}

// compileNode compiles a part of a document. It returns nil after reporting
// what is wrong.
func compileNode(n *node, p *problems) *Schema {
	raw := n.canonical()
	if !withinLimits(n, len(raw), p) {
		return nil
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{})
	c.UseRegexpEngine(compileRegexp)
	c.AssertFormat()
	if err := c.AddResource(schemaURL, n.value()); err != nil {
		reportSchema(n, err, p)
		return nil
	}
	compiled, err := c.Compile(schemaURL)
	if err != nil {
		reportSchema(n, err, p)
		return nil
	}
	evaluations, ok := bounded(compiled, n, p)
	if !ok || !defaultsValid(compiled, n, p) {
		return nil
	}
	return &Schema{raw: raw, compiled: compiled, root: n, evaluations: evaluations}
}

// JSON returns the schema in canonical JSON.
func (s *Schema) JSON() json.RawMessage { return slices.Clone(s.raw) }

// Validate checks a JSON document. The error is a *fault.Error with code
// Validation and one detail for each violation, whose pointer is prefix
// followed by the place in the document. Numbers of more than 64 characters or
// with an exponent beyond ±400, and documents nested more than 64 deep, are
// refused whatever the schema says. So are documents so large that checking them
// could take minutes.
func (s *Schema) Validate(doc json.RawMessage, prefix string) error {
	v, err := decodeDocument(doc, prefix)
	if err != nil {
		return err
	}
	if n := values(v); n > validationMax/max(s.evaluations, 1) {
		return fault.New(fault.Validation, "the value cannot be checked").With(fault.Detail{
			Pointer: prefix, Code: "too_large", Message: fmt.Sprintf("the value has %d parts, too many for a schema with this many choices", n), Remedy: "send less at once",
		})
	}
	err = s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("validate against a JSON Schema: %w", err)
	}
	inOrder(invalid)
	x := explainer{root: s.root, doc: v, prefix: prefix}
	x.leaves(invalid)
	return x.err()
}

// decodeDocument decodes JSON and refuses what is costly to compare.
func decodeDocument(doc json.RawMessage, prefix string) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fault.New(fault.Validation, "the value is not JSON").With(fault.Detail{
			Pointer: prefix, Code: "syntax", Message: strings.TrimPrefix(err.Error(), "json: "), Remedy: "send one JSON value",
		})
	}
	if _, err := dec.Token(); err != io.EOF { // More would overlook a bracket
		return nil, fault.New(fault.Validation, "the value is not JSON").With(fault.Detail{
			Pointer: prefix, Code: "syntax", Message: "there is more after the end of the value", Remedy: "send one JSON value",
		})
	}
	if d := costly(v, prefix, 0); d != nil {
		return nil, fault.New(fault.Validation, "the value cannot be checked").With(*d)
	}
	return v, nil
}

// costly returns the first part of v that is refused before validation.
func costly(v any, pointer string, depth int) *fault.Detail {
	if depth > depthMax {
		return &fault.Detail{Pointer: clip(pointer), Code: "too_deep", Message: fmt.Sprintf("the value is nested more than %d deep", depthMax), Remedy: "flatten it"}
	}
	switch v := v.(type) {
	case json.Number:
		if why := checkNumber(v.String()); why != "" {
			return &fault.Detail{Pointer: pointer, Code: "range", Message: why, Remedy: "send a smaller number, or a string"}
		}
	case []any:
		for i, item := range v {
			if d := costly(item, "", depth+1); d != nil {
				d.Pointer = fmt.Sprintf("%s/%d%s", pointer, i, d.Pointer)
				return d
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) { // the same document, the same message
			if d := costly(v[name], "", depth+1); d != nil {
				d.Pointer = pointer + "/" + escapePointer(name) + d.Pointer
				return d
			}
		}
	}
	return nil
}

// values counts the values in a document.
func values(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += values(item)
		}
	case map[string]any:
		for _, item := range v {
			n += values(item)
		}
	}
	return n
}

// acceptsObject reports whether the schema at n says nothing against objects.
func acceptsObject(n *node) bool {
	if n.kind == boolean {
		return n.text == "true"
	}
	t := n.get("type")
	switch {
	case t == nil:
		return true
	case t.kind == array:
		return slices.ContainsFunc(t.items, func(i *node) bool { return i.text == "object" })
	}
	return t.text == "object"
}

// arguments returns the names of the properties a schema declares, sorted, and
// whether it accepts others.
func (s *Schema) arguments() (names []string, open bool) {
	if s == nil {
		return nil, true
	}
	open = true
	seen := map[*jsonschema.Schema]bool{}
	var visit func(*jsonschema.Schema)
	visit = func(sch *jsonschema.Schema) {
		if sch == nil || seen[sch] {
			return
		}
		seen[sch] = true
		for name := range sch.Properties {
			names = append(names, name)
		}
		if closed, ok := sch.AdditionalProperties.(bool); ok && !closed {
			open = false
		}
		visit(sch.Ref)
		for _, branches := range [][]*jsonschema.Schema{sch.AllOf, sch.AnyOf, sch.OneOf} {
			for _, b := range branches {
				visit(b)
			}
		}
		visit(sch.Then)
		visit(sch.Else)
	}
	visit(s.compiled)
	slices.Sort(names)
	return slices.Compact(names), open
}
