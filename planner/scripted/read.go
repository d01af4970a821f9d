package scripted

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// toJSON returns a JSON or YAML document as JSON. Members keep their order and
// numbers their digits.
func toJSON(data []byte) ([]byte, error) {
	if t := bytes.TrimLeft(data, " \t\r\n\uFEFF"); len(t) > 0 && t[0] == '{' {
		if json.Valid(t) {
			return t, nil
		}
		return nil, jsonProblem(t)
	}
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		return nil, err
	}
	if len(n.Content) != 1 {
		return nil, errors.New("the document is empty")
	}
	var b bytes.Buffer
	if err := writeNode(&b, n.Content[0], 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// jsonProblem says where a document stops being JSON.
func jsonProblem(data []byte) error {
	var v any
	err := json.Unmarshal(data, &v)
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := data[:min(int(s.Offset), len(data))]
		return fmt.Errorf("line %d: %w", bytes.Count(before, []byte("\n"))+1, err)
	}
	return err
}

func decodeStrict(doc []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is text after the script")
	}
	return nil
}

// depthMax is how deep a YAML document may nest; deeper ones do not load.
const depthMax = 64

func writeNode(b *bytes.Buffer, n *yaml.Node, depth int) error {
	if depth > depthMax {
		return fmt.Errorf("line %d: nested more than %d deep", n.Line, depthMax)
	}
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				return fmt.Errorf("line %d: a member name must be plain text", key.Line)
			}
			if seen[key.Value] {
				return fmt.Errorf("line %d: member %q is already defined", key.Line, key.Value)
			}
			seen[key.Value] = true
			writeString(b, key.Value)
			b.WriteByte(':')
			if err := writeNode(b, n.Content[i+1], depth+1); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeNode(b, item, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case yaml.ScalarNode:
		writeScalar(b, n)
	default:
		return fmt.Errorf("line %d: aliases are not allowed", n.Line)
	}
	return nil
}

func writeScalar(b *bytes.Buffer, n *yaml.Node) {
	switch n.Tag {
	case "!!null":
		b.WriteString("null")
		return
	case "!!bool":
		var v bool
		if n.Decode(&v) == nil {
			fmt.Fprint(b, v)
			return
		}
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			b.WriteString(n.Value)
			return
		}
	}
	writeString(b, n.Value) // times, too, are text
}

func writeString(b *bytes.Buffer, s string) {
	raw, err := json.Marshal(s)
	if err != nil {
		panic("scripted: a string is not JSON: " + err.Error())
	}
	b.Write(raw)
}
