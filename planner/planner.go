package planner

import (
	"context"
	"encoding/json"
	"time"

	"github.com/oap-runtime/oap/manifest"
)

// A Planner looks at what has happened and says what to do next. Plan is
// called with no transaction open, may be repeated for the same request after
// a crash, and must be safe for concurrent use.
//
// An error that is a *fault.Error (see fault.IsOutcome) is the planner's
// failure: it is recorded and the session stays resumable. Any other error is
// ours and nothing is recorded.
type Planner interface {
	Plan(ctx context.Context, r Request) (Decision, error)
}

// Func adapts a function to a Planner.
type Func func(context.Context, Request) (Decision, error)

// Plan calls f.
func (f Func) Plan(ctx context.Context, r Request) (Decision, error) { return f(ctx, r) }

// A Request is everything a planner may look at. The same request gives the
// same prompt (S2-22).
type Request struct {
	SessionID   string
	Step        int // calls executed so far
	MaxSteps    int
	Goal        string
	Model       string // chosen for this session; "" means the manifest's, then the client's default
	Manifest    *manifest.Manifest
	Actions     []*manifest.Action // what this session may use, in manifest order
	Observation json.RawMessage    // {timestamp, user_context, environment}, canonical
	History     []Turn             // finished calls, oldest first, possibly only the newest
	Omitted     int                // older finished calls that History leaves out
	Emit        func(Progress)     // never nil; progress is shown live and not recorded
}

// A Turn is one finished call.
type Turn struct {
	Step      int             `json:"step"`
	Action    string          `json:"action"`
	Args      json.RawMessage `json:"args"`
	OutputKey string          `json:"output_key,omitempty"` // name of Output for placeholders (S0-47)
	OK        bool            `json:"ok"`
	Output    json.RawMessage `json:"output,omitempty"`
	Error     string          `json:"error,omitempty"` // "code: message"
}

// Progress is one live sign of a planner at work.
type Progress struct {
	Kind string          // "delta", "call", "retry", "invalid"
	Text string          // a piece of the answer, or why it is asked for again
	Call *Intent         // for "call": a call that the streamed plan already holds in full
	Data json.RawMessage // reserved for kinds with more to say
}

// A Decision is either calls to make or the end of the session.
type Decision struct {
	Calls     []Intent
	Finish    bool
	Answer    json.RawMessage // with Finish: the answer for the user, any JSON
	Reason    string          // the planner's own words, if it gave any
	Exchanges []Exchange      // what was said to and by a model, in order
}

// An Intent is one call that a planner wants made.
type Intent struct {
	Action    string          `json:"action"`
	Args      json.RawMessage `json:"args"`                 // an object; may hold placeholders
	OutputKey string          `json:"output_key,omitempty"` // name for later placeholders (S0-45)
	After     []int           `json:"after,omitempty"`      // indexes in Decision.Calls that must succeed first
}

// An Exchange is one request to a model and its answer, as the transcript
// keeps it (S2-71).
type Exchange struct {
	Model      string          `json:"model"`
	Messages   []Message       `json:"messages"`
	Reply      string          `json:"reply"`
	Finish     string          `json:"finish_reason,omitempty"`
	Repaired   string          `json:"repaired,omitempty"` // how the reply was made readable, if it had to be
	Problem    string          `json:"problem,omitempty"`  // why the reply was not used
	Usage      Usage           `json:"usage"`
	DurationMS int64           `json:"duration_ms"`
	Extra      json.RawMessage `json:"extra,omitempty"` // provider's further members
}

// A Message is one chat message. Its text is the concatenation of its parts;
// the split lets the transcript keep a part that is a known document by
// reference.
type Message struct {
	Role  string `json:"role"` // "system", "user", "assistant"
	Parts []Part `json:"parts"`
}

// A Part is a piece of a message's text.
type Part struct {
	Text        string `json:"text"`
	Observation bool   `json:"-"` // Text is Request.Observation, byte for byte
}

// Text returns the message's whole text.
func (m Message) Text() string {
	var n int
	for _, p := range m.Parts {
		n += len(p.Text)
	}
	b := make([]byte, 0, n)
	for _, p := range m.Parts {
		b = append(b, p.Text...)
	}
	return string(b)
}

// A Failure is the error of a planner that has asked a model before it failed:
// the exchanges are to be recorded with it. It unwraps to the cause.
type Failure struct {
	Err       error
	Exchanges []Exchange
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Usage counts what a model call took. Estimated marks counts that the
// provider did not report or reported implausibly.
type Usage struct {
	PromptTokens     int64   `json:"prompt_tokens"`
	CompletionTokens int64   `json:"completion_tokens"`
	CachedTokens     int64   `json:"cached_tokens,omitempty"`
	ReasoningTokens  int64   `json:"reasoning_tokens,omitempty"`
	CostUSD          float64 `json:"cost_usd"`
	Estimated        bool    `json:"estimated,omitempty"`
}

// Add returns the sum of both.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		PromptTokens:     u.PromptTokens + v.PromptTokens,
		CompletionTokens: u.CompletionTokens + v.CompletionTokens,
		CachedTokens:     u.CachedTokens + v.CachedTokens,
		ReasoningTokens:  u.ReasoningTokens + v.ReasoningTokens,
		CostUSD:          u.CostUSD + v.CostUSD,
		Estimated:        u.Estimated || v.Estimated,
	}
}

// A Model turns messages into text. Complete retries what is worth retrying
// and returns a *fault.Error with code ModelFailed or ModelMisconfigured when
// it gives up; the Completion then still says what the attempts took. A model
// without native structured output ignores Prompt.Schema.
//
// emit, which may be nil, receives the answer piece by piece. An empty piece
// means that the answer starts over, because it was cut and is asked for again.
type Model interface {
	Complete(ctx context.Context, p Prompt, emit func(delta string)) (Completion, error)
}

// A Prompt is one request to a Model.
type Prompt struct {
	Model       string // empty means the client's default
	Messages    []Message
	Schema      json.RawMessage // JSON Schema of the answer for native structured output; nil for free text
	Temperature *float64        // nil means the provider's default
	MaxTokens   int             // 0 means the provider's default
}

// A Completion is a model's answer.
type Completion struct {
	Text     string
	Calls    []ToolCall // native tool calls, should a model insist on them
	Finish   string     // "stop", "length", "content_filter", "tool_calls", "refusal"
	Model    string     // as reported
	Usage    Usage
	Duration time.Duration
	Extra    json.RawMessage
}

// A ToolCall is a provider's native function call.
type ToolCall struct {
	Name string
	Args json.RawMessage
}
