package scripted

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// A template is a reply with ${name} in it.
type template struct {
	text   string // the reply itself, or compact JSON
	isJSON bool
}

// variable finds ${name}, and in JSON "${name:json}" as a whole string.
var (
	jsonVariable = regexp.MustCompile(`"\$\{(\w+):json\}"|\$\{(\w+)\}`)
	textVariable = regexp.MustCompile(`\$\{(\w+)\}`)
)

func parseTemplate(reply json.RawMessage) (template, error) {
	var text string
	if json.Unmarshal(reply, &text) == nil {
		return template{text: text}, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, reply); err != nil {
		return template{}, fmt.Errorf("the reply is not JSON: %w", err)
	}
	return template{text: b.String(), isJSON: true}, nil
}

func (t template) names() (names []string) {
	for _, m := range jsonVariable.FindAllStringSubmatch(t.text, -1) {
		names = append(names, m[1]+m[2])
	}
	return names
}

// fill returns the reply for what the named groups found.
func (t template) fill(found map[string]string) (string, error) {
	if !t.isJSON {
		return textVariable.ReplaceAllStringFunc(t.text, func(v string) string {
			return found[textVariable.FindStringSubmatch(v)[1]]
		}), nil
	}
	var err error
	text := jsonVariable.ReplaceAllStringFunc(t.text, func(v string) string {
		m := jsonVariable.FindStringSubmatch(v)
		if m[1] == "" {
			return insideString(found[m[2]])
		}
		if !json.Valid([]byte(found[m[1]])) {
			err = fmt.Errorf("${%s:json} found %q, which is not JSON", m[1], found[m[1]])
		}
		return found[m[1]]
	})
	return text, err
}

// insideString returns a text as the inside of a JSON string. What a pattern
// found in a JSON part of the prompt is that already.
func insideString(s string) string {
	if json.Valid([]byte(`"` + s + `"`)) {
		return s
	}
	var b bytes.Buffer
	writeString(&b, s)
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), `"`)
}
