package manifest

import (
	"encoding/json"

	"github.com/Masterminds/semver/v3"
)

// Parse reads a manifest from JSON or YAML …
func Parse(data []byte) (*Manifest, error) { panic("") }

func (m *Manifest) Action(name string) (*Action, bool) { panic("") }

// Visible returns the actions that are not behind an off flag and, when allow
// is not nil, are named in it, in manifest order.
func (m *Manifest) Visible(allow []string) []*Action { panic("") }
func (m *Manifest) Digest() string                   { panic("") }
func (m *Manifest) JSON() json.RawMessage            { panic("") }
func (m *Manifest) Semver() *semver.Version          { panic("") }

// Lint returns warnings …
func (m *Manifest) Lint() []Warning { panic("") }

type Warning struct {
	Pointer string `json:"pointer"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// Ask is the built-in human_intervention action every session can use when
// the manifest declares none with that name.
func Ask() *Action { panic("") }

type Change struct {
	Pointer  string `json:"pointer"`
	Kind     string `json:"kind"` // "added", "removed", "changed"
	Breaking bool   `json:"breaking"`
	Message  string `json:"message"`
}

type Comparison struct {
	Changes  []Change `json:"changes"`
	Required string   `json:"required"` // "none", "patch", "minor", "major": the smallest honest version step
	Declared string   `json:"declared"` // what the versions say
	OK       bool     `json:"ok"`
}

func Compare(old, new *Manifest) Comparison { panic("") }

// A Schema is a compiled JSON Schema 2020-12 document.
type Schema struct{}

func CompileSchema(raw json.RawMessage) (*Schema, error) { panic("") }

// Validate checks a JSON document; the error is a *fault.Error with code and
// one Detail per violation (pointers are prefixed).
func (s *Schema) Validate(doc json.RawMessage, prefix string) error { panic("") }

// Default returns doc with the schema's defaults filled in (S1-35).
func (s *Schema) Default(doc json.RawMessage) (json.RawMessage, error) { panic("") }
func (s *Schema) JSON() json.RawMessage                                { panic("") }
