package scripted

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/oap-runtime/oap/internal/fault"
)

// A Script says what a [Server] answers. Load one with [LoadScript].
type Script struct {
	// Models are listed by GET /v1/models; none means one called "scripted".
	// Requests may name any model.
	Models []string `json:"models,omitempty"`
	// Rules are tried in order for each request; the first that matches answers.
	Rules []*Rule `json:"rules"`
}

// A Rule is one answer and when it is given.
type Rule struct {
	Name  string `json:"name,omitempty"` // for the request log
	Match Match  `json:"match,omitzero"`

	// Reply is the answer's text: a JSON string as it is, any other JSON as
	// compact JSON. ${name} is replaced by what a named group of the match's
	// patterns found; within JSON, a string that is ${name:json} as a whole is
	// replaced by the JSON that the group found.
	Reply     json.RawMessage `json:"reply,omitempty"`
	ToolCalls []ToolCall      `json:"tool_calls,omitempty"` // native calls, beside or instead of a text
	Reasoning string          `json:"reasoning,omitempty"`  // thinking, sent before the answer

	Chunk   int    `json:"chunk,omitempty"`    // characters in each streamed piece; 0 means 24
	DelayMS int    `json:"delay_ms,omitempty"` // before each streamed piece, or before a whole answer
	Usage   *Usage `json:"usage,omitempty"`    // nil means counted as characters/4
	Times   int    `json:"times,omitempty"`    // after that many answers the rule is used up; 0 means never
	Fault   *Fault `json:"fault,omitempty"`

	reply template
	used  atomic.Int64
}

// A Match is a set of conditions on a request, all of which must hold. Without
// any, every request matches.
type Match struct {
	Model       string   `json:"model,omitempty"`        // pattern of the whole model name
	Schema      *bool    `json:"schema,omitempty"`       // whether native structured output is asked for
	Role        string   `json:"role,omitempty"`         // whose text is looked at: "system", "user", "assistant"; "" means all
	Contains    []string `json:"contains,omitempty"`     // texts that all occur
	NotContains []string `json:"not_contains,omitempty"` // texts none of which occurs
	Regex       []string `json:"regex,omitempty"`        // patterns that all match; their named groups fill the reply
	MinSteps    int      `json:"min_steps,omitempty"`    // calls that the prompt lists as made
	MaxSteps    *int     `json:"max_steps,omitempty"`    // nil means no bound
	StepRegex   string   `json:"step_regex,omitempty"`   // what counts as a step; "" means a call in the planner's prompt

	model, steps *regexp.Regexp
	patterns     []*regexp.Regexp
}

// A ToolCall is a native function call of an answer. Arguments are sent as the
// text they are, valid JSON or not.
type ToolCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Usage is the token count of an answer.
type Usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	CachedTokens     int64 `json:"cached_tokens,omitempty"`
	ReasoningTokens  int64 `json:"reasoning_tokens,omitempty"`
}

// A Fault is what goes wrong with an answer. Most are only seen by clients
// that read streams; they apply to whole answers where that makes sense.
type Fault struct {
	Status  int               `json:"status,omitempty"` // answer with this status and an error body
	Headers map[string]string `json:"headers,omitempty"`
	Message string            `json:"message,omitempty"` // of the error
	Type    string            `json:"type,omitempty"`    // of the error, e.g. "overloaded_error"

	Reset          bool            `json:"reset,omitempty"`            // close the connection without an answer
	Hang           bool            `json:"hang,omitempty"`             // say nothing until the client leaves
	Stall          bool            `json:"stall,omitempty"`            // after half of the answer, say nothing more until the client leaves
	Cut            bool            `json:"cut,omitempty"`              // after half of the answer, close the connection
	NoEnd          bool            `json:"no_end,omitempty"`           // end the stream in good order, but without its last events
	MidStreamError bool            `json:"mid_stream_error,omitempty"` // after half of the answer, send an error event
	ErrorIn200     bool            `json:"error_in_200,omitempty"`     // send an error body with status 200
	EmptyChoices   bool            `json:"empty_choices,omitempty"`    // send an answer without any choice or content
	HTML           bool            `json:"html,omitempty"`             // send a web page with status 200
	Garbage        bool            `json:"garbage,omitempty"`          // send bytes that are no answer at all
	Comments       int             `json:"comments,omitempty"`         // send that many comment lines before the first piece
	Finish         string          `json:"finish,omitempty"`           // end for another reason: "length", "content_filter", "refusal"
	Usage          json.RawMessage `json:"usage,omitempty"`            // send this as the usage, verbatim
	NoUsage        bool            `json:"no_usage,omitempty"`         // send none
	Flood          int64           `json:"flood,omitempty"`            // send that many bytes of text after the reply; negative: without end
}

const (
	// scriptMax is how many bytes a script may have and rulesMax how many rules;
	// larger ones do not load. Every request is held against every rule.
	scriptMax = 4 << 20
	rulesMax  = 1000

	chunkDefault = 24

	// delayMax bounds delay_ms; longer ones do not load. Use stall or hang for
	// an answer that never comes.
	delayMax = 60_000
)

// LoadScript reads a script from JSON or YAML and checks it. The error is a
// *fault.Error with code Validation and one detail for each problem.
func LoadScript(data []byte) (*Script, error) {
	if len(data) > scriptMax {
		return nil, fault.New(fault.Validation, "the script has %d bytes, the most is %d", len(data), scriptMax)
	}
	doc, err := toJSON(data)
	if err != nil {
		return nil, fault.Wrap(err, fault.Validation, "the script cannot be read: %v", err)
	}
	var s Script
	if err := decodeStrict(doc, &s); err != nil {
		return nil, fault.Wrap(err, fault.Validation, "the script cannot be read: %v", err)
	}
	var p problems
	if len(s.Rules) == 0 {
		p.add("/rules", "there is no rule", "add at least one")
	}
	if len(s.Rules) > rulesMax {
		p.add("/rules", fmt.Sprintf("there are %d rules, the most is %d", len(s.Rules), rulesMax), "")
		s.Rules = s.Rules[:rulesMax]
	}
	for i, r := range s.Rules {
		if r == nil {
			p.add(fmt.Sprintf("/rules/%d", i), "the rule is null", "remove it")
			continue
		}
		r.compile(fmt.Sprintf("/rules/%d", i), &p)
	}
	if len(p.details) > 0 {
		return nil, fault.New(fault.Validation, "the script is not valid").With(p.details...)
	}
	return &s, nil
}

type problems struct{ details []fault.Detail }

func (p *problems) add(pointer, message, remedy string) {
	if len(p.details) < 50 { // enough to mend a script by
		p.details = append(p.details, fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
	}
}

func (r *Rule) compile(at string, p *problems) {
	groups := r.Match.compile(at+"/match", p)
	if len(r.Reply) == 0 && len(r.ToolCalls) == 0 && r.Fault == nil {
		p.add(at, "the rule has no answer", "give it a reply, tool_calls or a fault")
	}
	if len(r.Reply) > 0 {
		t, err := parseTemplate(r.Reply)
		if err != nil {
			p.add(at+"/reply", err.Error(), "")
		}
		for _, name := range t.names() {
			if !slices.Contains(groups, name) {
				p.add(at+"/reply", fmt.Sprintf("${%s} is not a named group of the rule's regex", name), fmt.Sprintf("capture it with (?P<%s>…)", name))
			}
		}
		r.reply = t
	}
	if r.Chunk < 0 {
		p.add(at+"/chunk", "a piece cannot have fewer than one character", "leave it out for the default")
	}
	if r.Chunk == 0 {
		r.Chunk = chunkDefault
	}
	if r.DelayMS < 0 || r.DelayMS > delayMax {
		p.add(at+"/delay_ms", fmt.Sprintf("the delay is not between 0 and %d", delayMax), "use fault.stall for an answer that never comes")
	}
	if r.Times < 0 {
		p.add(at+"/times", "a rule cannot be used fewer than 0 times", "leave it out for a rule that is never used up")
	}
	if f := r.Fault; f != nil {
		if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
			p.add(at+"/fault/status", fmt.Sprintf("%d is not an HTTP status", f.Status), "use 200 to 599")
		}
		if f.Finish != "" && !slices.Contains(finishes, f.Finish) {
			p.add(at+"/fault/finish", fmt.Sprintf("%q is not a way to end", f.Finish), "use one of "+strings.Join(finishes, ", "))
		}
	}
}

var finishes = []string{"length", "content_filter", "refusal"}

// compile returns the named groups of the patterns.
func (m *Match) compile(at string, p *problems) (groups []string) {
	compile := func(pointer, pattern string) *regexp.Regexp {
		re, err := regexp.Compile(pattern)
		if err != nil {
			p.add(pointer, "the pattern does not compile: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), "use RE2 syntax")
			return nil
		}
		return re
	}
	for i, pattern := range m.Regex {
		re := compile(fmt.Sprintf("%s/regex/%d", at, i), pattern)
		if re == nil {
			continue
		}
		m.patterns = append(m.patterns, re)
		for _, name := range re.SubexpNames() {
			if name != "" {
				groups = append(groups, name)
			}
		}
	}
	if m.Model != "" {
		m.model = compile(at+"/model", "^(?:"+m.Model+")$")
	}
	if m.StepRegex != "" {
		m.steps = compile(at+"/step_regex", m.StepRegex)
	}
	if m.Role != "" && m.Role != "system" && m.Role != "user" && m.Role != "assistant" {
		p.add(at+"/role", fmt.Sprintf("%q is not a role", m.Role), "use system, user or assistant")
	}
	if m.MinSteps < 0 || m.MaxSteps != nil && *m.MaxSteps < m.MinSteps {
		p.add(at+"/min_steps", "no number of steps is in the range", "make 0 ≤ min_steps ≤ max_steps")
	}
	return groups
}
