package manifest

// Lint returns warnings …
func (m *Manifest) Lint() []Warning { panic("") }

type Warning struct {
	Pointer string `json:"pointer"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

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
