package manifest

import (
	"errors"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const regexRemedy = "use the RE2 syntax, which has no look-around and no back-references"

// reportSchema reports why the schema at n does not compile.
func reportSchema(n *node, err error, p *problems) {
	var (
		invalid *jsonschema.SchemaValidationError
		regex   *jsonschema.InvalidRegexError
		load    *jsonschema.LoadURLError
		pointer *jsonschema.JSONPointerNotFoundError
		anchor  *jsonschema.AnchorNotFoundError
		draft   *jsonschema.UnsupportedDraftError
		scheme  *jsonschema.UnsupportedURLSchemeError
	)
	const (
		local   = `copy the definition into "$defs" and refer to it as "#/$defs/name"`
		dialect = `write "https://json-schema.org/draft/2020-12/schema", or leave "$schema" out`
	)
	switch {
	case errors.As(err, &invalid):
		reportMetaschema(n, invalid, p)
	case errors.As(err, &regex):
		p.report(n.location(regex.URL), "pattern", regexRemedy, "the pattern %q cannot be used: %v", clip(regex.Regex), regex.Err)
	case errors.As(err, &draft):
		p.report(n.location(draft.URL), "schema", dialect, "the dialect %q is not known", clip(draft.URL))
	case errors.As(err, &load):
		at, remedy := n.reference(load.URL), local
		if at.name == "$schema" {
			remedy = dialect
		}
		p.report(at, "reference", remedy, "%q is outside of the schema; nothing is loaded", clip(load.URL))
	case errors.As(err, &scheme):
		p.report(n, "reference", local, "the schema refers to something outside of itself; nothing is loaded")
	case errors.As(err, &pointer):
		p.report(n.reference(pointer.URL), "reference", "check the $ref", "there is nothing at %q", clip(fragmentOf(pointer.URL)))
	case errors.As(err, &anchor):
		p.report(n.reference(anchor.Reference), "reference", "check the $ref", "there is no anchor %q", clip(fragmentOf(anchor.Reference)))
	default:
		p.report(n, "schema", "", "%s", clip(strings.ReplaceAll(err.Error(), schemaURL, "")))
	}
}

// reportMetaschema reports every place where n is not a JSON Schema.
func reportMetaschema(n *node, err *jsonschema.SchemaValidationError, p *problems) {
	var tree *jsonschema.ValidationError
	if !errors.As(err.Err, &tree) {
		p.report(n, "schema", "", "%s", clip(err.Err.Error()))
		return
	}
	inOrder(tree)
	x := explainer{doc: n.value()}
	x.leaves(tree)
	for _, d := range x.details {
		at := n.find(d.Pointer)
		if at == nil {
			at = n
		}
		p.report(at, "schema", d.Remedy, "this is not a JSON Schema: %s", d.Message)
	}
}

// location returns the part of the schema that a URL of the library names.
func (n *node) location(url string) *node {
	if at := n.find(fragmentOf(url)); at != nil {
		return at
	}
	return n
}

// reference returns the $ref that leads to a URL, or n.
func (n *node) reference(url string) *node {
	found := n
	n.walk(func(c *node) {
		if found == n && c.kind == text && (c.name == "$ref" || c.name == "$schema") && c.text != "" && strings.HasSuffix(url, strings.TrimPrefix(c.text, ".")) {
			found = c
		}
	})
	return found
}

func fragmentOf(url string) string {
	_, fragment, _ := strings.Cut(url, "#")
	return fragment
}
