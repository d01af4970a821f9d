package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oap-runtime/oap/internal/fault"
)

// defaultsMax bounds the defaults that are filled into one document; needing
// more is an error. A recursive schema can ask for infinitely many.
const defaultsMax = 10_000

// Default returns doc with the schema's defaults filled in: in objects, for
// properties that are absent, also inside of what is there and of what was
// filled in. Defaults within anyOf, oneOf, not, if and conditional keywords
// are not applied, as it is not known which of them holds. Without anything to
// fill in, doc is returned as it is. The error is a *fault.Error with code
// Validation.
func (s *Schema) Default(doc json.RawMessage) (json.RawMessage, error) {
	v, err := decodeDocument(doc, "")
	if err != nil {
		return nil, err
	}
	f := filler{}
	f.fill(s.compiled, v, 0)
	if f.filled > defaultsMax {
		return nil, fault.New(fault.Validation, "the schema's defaults do not end").With(fault.Detail{
			Code: "default", Message: fmt.Sprintf("more than %d defaults would be filled in", defaultsMax), Remedy: "remove a default that contains itself",
		})
	}
	if f.filled == 0 {
		return doc, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode defaults: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

type filler struct{ filled int }

// fill changes v in place. depth counts the schemas passed, so that a chain of
// references ends.
func (f *filler) fill(sch *jsonschema.Schema, v any, depth int) {
	if sch == nil || depth > 4*depthMax || f.filled > defaultsMax {
		return
	}
	f.fill(sch.Ref, v, depth+1)
	for _, s := range sch.AllOf {
		f.fill(s, v, depth+1)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(sch.Properties)) {
			property := sch.Properties[name]
			if _, ok := v[name]; !ok {
				d, ok := defaultOf(property)
				if !ok {
					continue
				}
				if f.filled++; f.filled > defaultsMax {
					return
				}
				v[name] = copyValue(d)
			}
			f.fill(property, v[name], depth+1)
		}
		if rest, ok := sch.AdditionalProperties.(*jsonschema.Schema); ok {
			for name, item := range v {
				if sch.Properties[name] == nil {
					f.fill(rest, item, depth+1)
				}
			}
		}
	case []any:
		prefix := prefixItems(sch)
		rest, _ := restOf(sch)
		for i, item := range v {
			if i < len(prefix) {
				f.fill(prefix[i], item, depth+1)
				continue
			}
			for _, s := range rest.items {
				f.fill(s, item, depth+1)
			}
		}
	}
}

// defaultOf returns the default of a schema, or of what it refers to.
func defaultOf(sch *jsonschema.Schema) (any, bool) {
	for range refsMax {
		if sch == nil {
			break
		}
		if sch.Default != nil {
			return *sch.Default, true
		}
		sch = sch.Ref
	}
	return nil, false
}

func copyValue(v any) any {
	switch v := v.(type) {
	case []any:
		c := make([]any, len(v))
		for i, item := range v {
			c[i] = copyValue(item)
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for name, item := range v {
			c[name] = copyValue(item)
		}
		return c
	}
	return v
}

// defaultsValid reports defaults that would fail the schema they are meant for.
func defaultsValid(root *jsonschema.Schema, n *node, p *problems) bool {
	ok := true
	seen := map[*jsonschema.Schema]bool{}
	queue := []*jsonschema.Schema{root}
	for len(queue) > 0 {
		sch := queue[0]
		queue = queue[1:]
		if sch == nil || seen[sch] {
			continue
		}
		seen[sch] = true
		if sch.Default != nil {
			at := n.location(sch.Location + "/default")
			if costly(*sch.Default, "", 0) == nil && sch.Validate(*sch.Default) != nil {
				p.report(at, "default", "write a default that the schema accepts", "the default %s does not match its own schema", show(*sch.Default))
				ok = false
			}
		}
		queue = append(queue, inPlace(sch)...)
		rest, always := restOf(sch)
		queue = slices.Concat(queue, prefixItems(sch), rest.names, rest.items, always.names, always.items)
		for _, s := range sch.Properties {
			queue = append(queue, s)
		}
	}
	return ok
}
