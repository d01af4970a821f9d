package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// documentMax bounds a manifest in bytes; a larger one is not read.
	documentMax = 1 << 20
	// depthMax bounds the nesting of any document; a deeper one is refused.
	depthMax = 64
	// nodesMax bounds the values in a manifest, those that YAML aliases repeat
	// included; a document with more is refused.
	nodesMax = 200_000
	// nameMax bounds the name of a member in bytes; a longer one is refused.
	nameMax = 1024
)

// read builds the tree of a document. A document that starts like JSON is read
// as JSON, and as YAML (of which JSON is nearly a subset) when that fails.
func read(data []byte, p *problems) *node {
	if len(data) > documentMax {
		p.report(nil, "too_large", "split the actions over several manifests", "the document has %d bytes, the most is %d", len(data), documentMax)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if i := invalidUTF8(data); i >= 0 {
		line, column := position(data, i)
		p.reportAt("", line, column, "syntax", "save the document as UTF-8", "the document is not UTF-8")
		return nil
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 {
		p.report(nil, "syntax", `start with {"name": …, "version": …, "actions": […]}`, "the document is empty")
		return nil
	}
	if trimmed[0] != '{' && trimmed[0] != '[' {
		return readYAML(data, p)
	}
	var asJSON, asYAML problems
	if n := readJSON(data, &asJSON); n != nil || !asJSON.syntaxOnly() {
		p.merge(&asJSON)
		return n
	}
	if n := readYAML(data, &asYAML); n != nil {
		p.merge(&asYAML)
		return n
	}
	p.merge(&asJSON)
	return nil
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// position returns the 1-based line and column (in characters) of an offset.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	line = 1 + bytes.Count(before, []byte{'\n'})
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

// A jsonReader builds the tree from JSON tokens.
type jsonReader struct {
	data    []byte
	dec     *json.Decoder
	p       *problems
	nodes   int
	scanned int // offset whose line and column are known
	line    int
	column  int
}

func readJSON(data []byte, p *problems) *node {
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), p: p, line: 1, column: 1}
	r.dec.UseNumber()
	n, err := r.value(nil, "", 0)
	if err == nil {
		if _, err = r.dec.Token(); err == io.EOF {
			return n
		}
		if err == nil {
			err = errors.New("there is more after the end of the document")
		}
	}
	if err == errRefused {
		return nil
	}
	offset := int(r.dec.InputOffset())
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = int(syntax.Offset) - 1
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		offset, err = len(data), errors.New("the document ends too early")
	}
	line, column := position(data, max(offset, 0))
	p.reportAt("", line, column, "syntax", "", "%s", strings.TrimPrefix(err.Error(), "json: "))
	return nil
}

// errRefused says that the problem has been reported.
var errRefused = errors.New("refused")

func (r *jsonReader) value(parent *node, name string, depth int) (*node, error) {
	n := &node{parent: parent, name: name}
	n.line, n.column = r.next()
	if r.nodes++; r.nodes > nodesMax {
		return nil, r.refuse(n, "too_large", "split the document", "the document has more than %d values", nodesMax)
	}
	if depth > depthMax {
		return nil, r.refuse(n, "too_deep", "", "the document is nested more than %d deep", depthMax)
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return n, r.object(n, depth)
		}
		return n, r.array(n, depth)
	case string:
		n.kind, n.text = text, t
	case json.Number:
		n.kind, n.text = number, t.String()
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(t)
	}
	return n, nil
}

func (r *jsonReader) object(n *node, depth int) error {
	n.kind = object
	seen := map[string]int{}
	for r.dec.More() {
		line, column := r.next()
		token, err := r.dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		v, err := r.value(n, name, depth+1)
		if err != nil {
			return err
		}
		addMember(n, member{name, line, column, v}, seen, r.p)
	}
	_, err := r.dec.Token()
	return err
}

func (r *jsonReader) array(n *node, depth int) error {
	n.kind = array
	for r.dec.More() {
		v, err := r.value(n, strconv.Itoa(len(n.items)), depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, err := r.dec.Token()
	return err
}

// addMember appends m unless n already has a member of that name.
func addMember(n *node, m member, seen map[string]int, p *problems) {
	if line, dup := seen[m.name]; dup {
		p.reportAt(m.value.pointer(), m.line, m.column, "duplicate", "keep one of them", "%q is given twice, first on line %d", clip(m.name), line)
		return
	}
	if len(m.name) > nameMax {
		p.reportAt(n.pointer(), m.line, m.column, "too_large", "", "a name has %d bytes, the most is %d", len(m.name), nameMax)
	}
	seen[m.name] = m.line
	n.members = append(n.members, m)
}

func (r *jsonReader) refuse(n *node, code, remedy, format string, args ...any) error {
	r.p.report(n, code, remedy, format, args...)
	return errRefused
}

// next returns the position of the next token.
func (r *jsonReader) next() (line, column int) {
	offset := int(r.dec.InputOffset())
	for offset < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[offset]) >= 0 {
		offset++
	}
	for ; r.scanned < offset; r.scanned++ {
		switch c := r.data[r.scanned]; {
		case c == '\n':
			r.line, r.column = r.line+1, 1
		case utf8.RuneStart(c):
			r.column++
		}
	}
	return r.line, r.column
}

// A yamlReader converts YAML nodes, following aliases.
type yamlReader struct {
	p     *problems
	nodes int
}

func readYAML(data []byte, p *problems) *node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if err == io.EOF {
			p.report(nil, "syntax", "", "the document is empty")
			return nil
		}
		reportYAML(p, err)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err != io.EOF {
		if err != nil {
			reportYAML(p, err)
			return nil
		}
		p.reportAt("", second.Line, second.Column, "syntax", "put each manifest into a file of its own", "there is a second YAML document")
		return nil
	}
	r := &yamlReader{p: p}
	n, err := r.value(doc.Content[0], nil, "", 0)
	if err != nil {
		return nil
	}
	return n
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func reportYAML(p *problems, err error) {
	line := 0
	message := err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	p.reportAt("", line, 0, "syntax", "", "the document is not valid YAML: %s", message)
}

func (r *yamlReader) value(y *yaml.Node, parent *node, name string, depth int) (*node, error) {
	n := &node{parent: parent, name: name, line: y.Line, column: y.Column}
	if r.nodes++; r.nodes > nodesMax {
		return nil, r.refuse(n, "too_large", "split the document or use fewer aliases", "the document has more than %d values", nodesMax)
	}
	if depth > depthMax {
		return nil, r.refuse(n, "too_deep", "", "the document is nested more than %d deep", depthMax)
	}
	switch y.Kind {
	case yaml.AliasNode:
		return r.value(y.Alias, parent, name, depth+1)
	case yaml.MappingNode:
		return n, r.mapping(n, y, depth)
	case yaml.SequenceNode:
		n.kind = array
		if y.ShortTag() != "!!seq" {
			return nil, r.refuse(n, "syntax", "remove the tag", "the YAML tag %s is not read", clip(y.Tag))
		}
		for _, c := range y.Content {
			item, err := r.value(c, n, strconv.Itoa(len(n.items)), depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		return n, nil
	}
	return n, r.scalar(n, y)
}

func (r *yamlReader) mapping(n *node, y *yaml.Node, depth int) error {
	n.kind = object
	if y.ShortTag() != "!!map" {
		return r.refuse(n, "syntax", "remove the tag", "the YAML tag %s is not read", clip(y.Tag))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := &node{parent: n, name: key.Value, line: key.Line, column: key.Column}
		if key.ShortTag() == "!!merge" {
			return r.refuse(at, "syntax", "repeat the fields, or refer to the whole value with *name", "YAML merge keys (<<) are not read")
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" && key.ShortTag() != "!!timestamp" {
			return r.refuse(at, "syntax", fmt.Sprintf("quote it: %q", clip(key.Value)), "the name of a member must be a string")
		}
		v, err := r.value(y.Content[i+1], n, key.Value, depth+1)
		if err != nil {
			return err
		}
		addMember(n, member{key.Value, key.Line, key.Column, v}, seen, r.p)
	}
	return nil
}

func (r *yamlReader) scalar(n *node, y *yaml.Node) error {
	n.text = y.Value
	switch tag := y.ShortTag(); tag {
	case "!!str", "!!timestamp":
		n.kind = text
	case "!!null":
		n.text = ""
	case "!!bool":
		n.kind, n.text = boolean, strings.ToLower(y.Value)
	case "!!int", "!!float":
		literal, ok := jsonNumber(y.Value)
		if !ok {
			return r.refuse(n, "syntax", "write a decimal number, or quote it", "%s is not a number that JSON has", clip(y.Value))
		}
		n.kind, n.text = number, literal
	default:
		return r.refuse(n, "syntax", "remove the tag", "the YAML tag %s is not read", clip(tag))
	}
	return nil
}

func (r *yamlReader) refuse(n *node, code, remedy, format string, args ...any) error {
	r.p.report(n, code, remedy, format, args...)
	return errRefused
}

var jsonNumberSyntax = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$`)

// jsonNumber writes a YAML number as JSON does: 0x1F is 31, +1 is 1, .5 is 0.5.
func jsonNumber(s string) (string, bool) {
	if jsonNumberSyntax.MatchString(s) {
		return s, true
	}
	if len(s) > numberMax {
		return "", false
	}
	if i, ok := new(big.Int).SetString(s, 0); ok {
		return i.String(), true
	}
	sign, digits := "", strings.TrimPrefix(strings.ReplaceAll(s, "_", ""), "+")
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if strings.HasPrefix(digits, ".") {
		digits = "0" + digits
	}
	mantissa, exponent := digits, ""
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		mantissa, exponent = digits[:i], digits[i:]
	}
	mantissa = strings.TrimSuffix(mantissa, ".")
	if trimmed := strings.TrimLeft(mantissa, "0"); trimmed == "" || trimmed[0] == '.' {
		mantissa = "0" + trimmed
	} else {
		mantissa = trimmed
	}
	literal := sign + mantissa + exponent
	return literal, jsonNumberSyntax.MatchString(literal)
}
