package expr

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
)

const (
	// renderedMax bounds a rendered template in bytes of compact JSON (1 MiB),
	// values that are passed whole included; a larger one is a size error.
	renderedMax = 1 << 20
	// templateMax bounds the template itself; a larger one does not compile.
	templateMax = 1 << 20
	// templateDepthMax bounds its nesting; a deeper one does not compile.
	templateDepthMax = 100
	// placeholdersMax bounds its placeholders; more do not compile.
	placeholdersMax = 1000
	// placeholderBytesMax bounds the expressions of one template together; more
	// do not compile. It keeps compiling well under a second.
	placeholderBytesMax = 256 << 10
	// renderCostMax bounds the work of all placeholders of one rendering
	// together; more is a cost error.
	renderCostMax = 10 * costMax
)

// A Template is a JSON value whose strings may hold "{{expr}}" placeholders or
// be a whole "$state.path" reference. It is immutable and safe for concurrent
// use.
type Template struct {
	root   node
	source string
	names  []string
	count  int // placeholders
}

// A node is one compiled value of a template.
type node interface {
	render(r *rendering) (any, error)
}

type (
	constantNode struct{ value any } // a string, number, boolean or null
	listNode     []node
	objectNode   map[string]node
	// wholeNode is a string that is one placeholder: it becomes the value itself.
	wholeNode struct {
		program *program
		pointer string
	}
	// textNode is a string with placeholders in it: it becomes a string.
	textNode struct {
		parts   []part
		pointer string
	}
	// A part is literal text, or the value of a program.
	part struct {
		literal string
		program *program
	}
)

// CompileTemplate compiles a decoded JSON value. Field names are taken as they
// are; every string value is looked at:
//
//   - "{{expr}}" alone, or "$state.path" (also $result, $user, $args), stands
//     for the value itself, whatever its type;
//   - "{{expr}}" within other text is replaced by the value as text;
//   - "{{{{" stands for "{{", "}}}}" for "}}", and "$$state." for "$state.".
//
// The error is a [*SyntaxError] whose Pointer leads to the string.
func CompileTemplate(v any) (*Template, error) {
	c := &templateCompiler{names: map[string]bool{}, budget: meter{left: templateMax}}
	root, err := c.compile(v, "", 0)
	if err != nil {
		return nil, err
	}
	source, err := compactJSON(v)
	if err != nil {
		return nil, &SyntaxError{Message: err.Error()}
	}
	return &Template{root: root, source: source, names: slices.Sorted(maps.Keys(c.names)), count: c.count}, nil
}

type templateCompiler struct {
	names  map[string]bool
	count  int
	bytes  int // in all placeholders so far
	budget meter
}

func (c *templateCompiler) compile(v any, pointer string, depth int) (node, error) {
	if depth > templateDepthMax {
		return nil, &SyntaxError{Pointer: pointer, Message: "the template is nested too deep", Remedy: "use at most " + strconv.Itoa(templateDepthMax) + " levels"}
	}
	switch v := v.(type) {
	case []any:
		made := make(listNode, 0, len(v))
		for i, item := range v {
			n, err := c.compile(item, pointer+"/"+strconv.Itoa(i), depth+1)
			if err != nil {
				return nil, err
			}
			made = append(made, n)
		}
		return made, c.spend(len(v)+1, pointer)
	case map[string]any:
		made := make(objectNode, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			n, err := c.compile(v[name], pointer+"/"+escapePointer(name), depth+1)
			if err != nil {
				return nil, err
			}
			made[name] = n
			if err := c.spend(len(name)+4, pointer); err != nil {
				return nil, err
			}
		}
		return made, nil
	case string:
		if err := c.spend(len(v)+2, pointer); err != nil {
			return nil, err
		}
		n, err := c.compileString(v, pointer)
		var syntax *SyntaxError
		if errors.As(err, &syntax) {
			syntax.Pointer = pointer
		}
		return n, err
	case nil, bool:
		return constantNode{v}, c.spend(5, pointer)
	}
	number, ok := numberText(v)
	if !ok {
		return nil, &SyntaxError{Pointer: pointer, Message: "the template holds " + kind(v) + ", which is not JSON", Remedy: "pass decoded JSON values only"}
	}
	return constantNode{v}, c.spend(len(number), pointer)
}

func (c *templateCompiler) spend(n int, pointer string) error {
	if c.budget.left -= n; c.budget.left < 0 {
		return &SyntaxError{Pointer: pointer, Message: "the template is larger than " + strconv.Itoa(templateMax) + " bytes", Remedy: "move data into the state"}
	}
	return nil
}

func escapePointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// references are the strings that begin a whole-string reference.
var references = []string{"$state.", "$result.", "$user.", "$args."}

func (c *templateCompiler) compileString(s, pointer string) (node, error) {
	for _, prefix := range references {
		if strings.HasPrefix(s, prefix) {
			return c.reference(s, pointer)
		}
		if strings.HasPrefix(s, "$"+prefix) {
			s = s[1:]
			break
		}
	}
	parts, err := c.split(s)
	switch {
	case err != nil:
		return nil, err
	case len(parts) == 0:
		return constantNode{""}, nil
	case len(parts) == 1 && parts[0].program != nil:
		return wholeNode{parts[0].program, pointer}, nil
	case len(parts) == 1:
		return constantNode{parts[0].literal}, nil
	}
	return textNode{parts, pointer}, nil
}

// reference compiles a string that is "$" and a path.
func (c *templateCompiler) reference(s, pointer string) (node, error) {
	const remedy = "write {{expression}} for more than a path, or $$ for a plain dollar sign"
	prog, err := c.placeholder(s, 1, len(s))
	var syntax *SyntaxError
	switch {
	case errors.As(err, &syntax):
		syntax.Remedy = remedy
		return nil, syntax
	case err != nil:
		return nil, err
	case !isStep(prog.parsed.expr):
		return nil, &SyntaxError{Source: s, Message: "only a path can follow $", Remedy: remedy}
	}
	return wholeNode{prog, pointer}, nil
}

// split takes a string apart into literal text and placeholders.
func (c *templateCompiler) split(s string) ([]part, error) {
	var parts []part
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, part{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(s); {
		rest := s[i:]
		switch {
		case strings.HasPrefix(rest, "{{{{"), strings.HasPrefix(rest, "}}}}"):
			literal.WriteString(rest[:2])
			i += 4
		case strings.HasPrefix(rest, "{{"):
			end := placeholderEnd(s, i+2)
			if end < 0 {
				return nil, &SyntaxError{Source: s, Offset: i, Message: "the placeholder does not end", Remedy: "close it with }}, or write {{{{ for a plain {{"}
			}
			prog, err := c.placeholder(s, i+2, end)
			if err != nil {
				return nil, err
			}
			flush()
			parts = append(parts, part{program: prog})
			i = end + 2
		default:
			n := 1
			if j := strings.IndexAny(rest[1:], "{}"); j >= 0 {
				n += j
			} else {
				n = len(rest)
			}
			literal.WriteString(rest[:n])
			i += n
		}
	}
	flush()
	return parts, nil
}

// placeholderEnd returns where the "}}" is that ends the placeholder whose
// expression begins at from: outside quotes and outside the braces of an
// object. It returns -1 when there is none.
func placeholderEnd(s string, from int) int {
	depth := 0
	for i := from; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			quote := s[i]
			for i++; i < len(s) && s[i] != quote; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '{':
			depth++
		case '}':
			if depth > 0 {
				depth--
			} else if strings.HasPrefix(s[i:], "}}") {
				return i
			} else {
				return -1
			}
		}
	}
	return -1
}

// placeholder compiles the expression s[from:to] of a template's string.
func (c *templateCompiler) placeholder(s string, from, to int) (*program, error) {
	if c.count++; c.count > placeholdersMax {
		return nil, &SyntaxError{Source: s, Offset: from, Message: "the template has more than " + strconv.Itoa(placeholdersMax) + " placeholders", Remedy: "pass lists and objects whole"}
	}
	if c.bytes += to - from; c.bytes > placeholderBytesMax {
		return nil, &SyntaxError{Source: s, Offset: from, Message: "the expressions of the template are longer than " + strconv.Itoa(placeholderBytesMax) + " bytes", Remedy: "pass lists and objects whole"}
	}
	prog, err := compileValue(s[from:to])
	if err != nil {
		var syntax *SyntaxError
		if errors.As(err, &syntax) {
			located := *syntax
			located.Source, located.Offset = s, from+syntax.Offset
			return nil, &located
		}
		return nil, err
	}
	for _, name := range prog.names {
		c.names[name] = true
	}
	return prog, nil
}

func compileValue(src string) (*program, error) {
	p, err := parseExpression(src)
	if err != nil {
		return nil, err
	}
	return compile(p, func(r *rewriter) ast.Expr { return r.value(p.expr) })
}

// Source returns the template as compact JSON.
func (t *Template) Source() string { return t.source }

// Names returns the bare names the placeholders read, sorted: those that are
// looked up in the outputs of earlier steps, the result and the state. The
// roots state, result, user, session, args and goal are not among them.
func (t *Template) Names() []string { return slices.Clone(t.names) }

// HasPlaceholders reports whether rendering can change anything but escapes.
func (t *Template) HasPlaceholders() bool { return t.count > 0 }
