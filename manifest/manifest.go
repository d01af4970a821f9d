package manifest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/oap-runtime/oap/expr"
)

// A Manifest is a named, versioned set of actions and the rules for using
// them. It is immutable after Parse and safe for concurrent use.
type Manifest struct {
	Name        string
	Version     string // as written; see Semver
	Title       string
	Description string
	Actions     []*Action
	StateSchema *Schema         // optional; checked on every change of the environment (S1-52)
	Completion  *expr.Condition // optional; the goal is met when it holds
	MaxSteps    int             // default for sessions; 0 means the runtime's default
	Planner     PlannerOptions
	Flags       map[string]bool            // feature flags and whether each is on (S2-94)
	Extensions  map[string]json.RawMessage // round-trips untouched (S0-37)

	semver *semver.Version
	digest string
	source []byte // canonical
	root   *node
	byName map[string]*Action
}

// Action returns the action of that name.
func (m *Manifest) Action(name string) (*Action, bool) {
	a, ok := m.byName[name]
	return a, ok
}

// Visible returns the actions that are not behind an off flag and, when allow
// is not nil, are named in it, in manifest order.
func (m *Manifest) Visible(allow []string) []*Action {
	var visible []*Action
	for _, a := range m.Actions {
		if a.Flag != "" && !m.Flags[a.Flag] || allow != nil && !slices.Contains(allow, a.Name) {
			continue
		}
		visible = append(visible, a)
	}
	return visible
}

// Digest returns the SHA-256 of JSON in lower-case hex.
func (m *Manifest) Digest() string { return m.digest }

// JSON returns the document as registered in canonical JSON: RFC 8785, except
// that integers beyond 2^53 keep their digits. Parsing it gives a manifest
// with the same digest.
func (m *Manifest) JSON() json.RawMessage { return slices.Clone(m.source) }

// Semver returns the version, with parts that are not written as zero (2.0 is
// 2.0.0). It is never nil.
func (m *Manifest) Semver() *semver.Version { return m.semver }

// PlannerOptions tune how a model is asked for plans.
type PlannerOptions struct {
	Model         string   // empty means the server's
	Temperature   *float64 // nil means 0.2 (S2-42)
	MaxTokens     int      // 0 means the server's
	Instructions  string   // added to the system prompt
	OnInvalidPlan string   // "human" (default) or "error" (C-21)
}

// Type says which executor performs an action.
type Type string

const (
	InvokeAPI         Type = "invoke_api"
	RunCode           Type = "run_code"
	ReadFile          Type = "read_file"
	WriteFile         Type = "write_file"
	HumanIntervention Type = "human_intervention"
)

// Effect says what repeating an action would do, and so what happens when its
// outcome is not known.
type Effect string

const (
	Read       Effect = "read"       // changes nothing: repeat freely
	Idempotent Effect = "idempotent" // repeating has no further effect
	Keyed      Effect = "keyed"      // the receiver deduplicates by Idempotency-Key
	Once       Effect = "once"       // never sent again when the outcome is unknown
)

// Risk is how much harm a wrong call could do (C-13).
type Risk string

const (
	Low    Risk = "low"
	Medium Risk = "medium"
	High   Risk = "high"
)

// An Action is one typed capability.
type Action struct {
	Name        string // unique in the manifest; the seeds' "name" or "action_id"
	Title       string
	Description string
	Type        Type
	Capability  string
	Tags        []string
	Input       *Schema // never nil; an absent schema accepts any object
	Output      *Schema // nil accepts anything

	HTTP  *HTTPOptions  // for invoke_api
	Code  *CodeOptions  // for run_code
	File  *FileOptions  // for read_file and write_file
	Human *HumanOptions // for human_intervention

	Scopes               []string
	Effect               Effect // never empty: declared, or inferred from type and method
	Risk                 Risk   // never empty: declared, or inferred (C-13)
	RequiresConfirmation bool
	Compensate           string // action that undoes this one
	Verify               string // action that tells whether this one took effect
	Flag                 string // offered only when this flag is on
	Terminal             bool   // its success completes the goal (S2-62)

	Preconditions  []*expr.Condition
	Postconditions []*expr.Statement
	ResultPath     []string // where the output goes, e.g. environment.agenda → ["agenda"] (C-09)
	ResultSelect   []string // member of the output that goes there

	Timeout   time.Duration // whole call; 0 means the executor's default
	Retry     Retry
	CostUSD   float64 // declared, per call
	LatencyMS int64   // declared

	SafetyLevel string // verbatim metadata (C-13)
	Extensions  map[string]json.RawMessage
}

// Retry says how often and how patiently a failing call is repeated (C-29).
type Retry struct {
	Attempts int           // in all; 0 means the executor's default
	Backoff  time.Duration // before the second attempt, doubling after
	Statuses []int         // HTTP statuses worth repeating; nil means 408, 425, 429, 500, 502, 503, 504
}

// HTTPOptions are the fields of invoke_api.
type HTTPOptions struct {
	Endpoint        string // absolute URL; {name} segments are filled from arguments
	Method          string // upper case; POST by default
	Auth            string // template of the Authorization header, e.g. "Bearer ${CALENDAR_TOKEN}"
	Headers         map[string]string
	Query           []string // arguments sent as query parameters
	FollowRedirects bool
	MaxResponse     int64 // bytes; 0 means the executor's default
}

// CodeOptions are the fields of run_code.
type CodeOptions struct {
	Runtime    string // as written, e.g. "python3.11"
	Code       string
	Entrypoint string
	Limits     Limits
	LLM        bool // permissions.llm: the guest may call the host's model (C-12)
}

// Limits bound one run of code. Zero means the sandbox's default.
type Limits struct {
	CPU         time.Duration // limits.cpu_ms
	Wall        time.Duration // limits.wall_ms
	MemoryBytes int64         // limits.memory_mb
	OutputBytes int64         // limits.output_kb
	LogBytes    int64         // limits.log_kb
	HostCalls   int           // limits.host_calls
}

// FileOptions are the fields of read_file and write_file.
type FileOptions struct {
	Path     string // fixed path or template over {argument}; empty means the argument "path"
	Encoding string // "text" (default), "json" or "base64"
	MaxBytes int64  // 0 means the executor's default
}

// HumanOptions are the fields of human_intervention.
type HumanOptions struct {
	Prompt  string        // template; empty means the argument "question"
	Choices []string      // offered answers
	Expires time.Duration // 0 means never
}
