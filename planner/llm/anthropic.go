package llm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/oap-runtime/oap/planner"
)

// AnthropicConfig says how to reach a server that speaks Anthropic's Messages.
// The zero value of a field means its default; see OpenAIConfig for those that
// both have.
type AnthropicConfig struct {
	BaseURL string // https://api.anthropic.com by default; without /v1/messages
	APIKey  string // sent as x-api-key; never part of an error
	Model   string // for prompts that name none; claude-haiku-4-5 by default

	Timeout     time.Duration
	IdleTimeout time.Duration
	Retries     int
	Backoff     time.Duration
	MaxWait     time.Duration

	HTTPClient *http.Client
	Headers    map[string]string
	ExtraBody  json.RawMessage
	Prices     Prices
}

// String and GoString keep the key out of logs.
func (c AnthropicConfig) String() string   { return "llm.AnthropicConfig for " + c.BaseURL }
func (c AnthropicConfig) GoString() string { return c.String() }

// Anthropic is a planner.Model behind the Messages protocol. It ignores a
// prompt's schema: the provider's structured output takes only a part of what
// schemas of actions say. It is safe for concurrent use.
type Anthropic struct {
	*client
}

var _ planner.Model = (*Anthropic)(nil)

const (
	anthropicVersion = "2023-06-01"

	// anthropicTokens is the length limit for prompts without one: the protocol
	// demands one.
	anthropicTokens = 4096

	// lineMax bounds one line of a stream, longer ones fail.
	lineMax = 4 << 20
)

// NewAnthropic checks the configuration. It opens no connection.
func NewAnthropic(cfg AnthropicConfig) (*Anthropic, error) {
	c, err := newClient(settings{
		BaseURL: cfg.BaseURL, APIKey: cfg.APIKey, Model: cfg.Model, Timeout: cfg.Timeout, IdleTimeout: cfg.IdleTimeout,
		Backoff: cfg.Backoff, MaxWait: cfg.MaxWait, Retries: cfg.Retries, HTTPClient: cfg.HTTPClient,
		ExtraBody: cfg.ExtraBody, Headers: cfg.Headers, Prices: cfg.Prices,
	}, "https://api.anthropic.com", "claude-haiku-4-5")
	if err != nil {
		return nil, err
	}
	return &Anthropic{client: c}, nil
}

// Complete asks the model; see planner.Model.
func (n *Anthropic) Complete(ctx context.Context, p planner.Prompt, emit func(delta string)) (planner.Completion, error) {
	if p.Model == "" {
		p.Model = n.model
	}
	return n.complete(ctx, emit, func(ctx context.Context, emit func(string)) (planner.Completion, error) {
		return n.attempt(ctx, p, emit)
	})
}

func (n *Anthropic) attempt(ctx context.Context, p planner.Prompt, emit func(string)) (planner.Completion, error) {
	p.Schema = nil
	body := n.body(p)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.base+"/v1/messages", bytes.NewReader(encode(body)))
	if err != nil {
		return planner.Completion{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Anthropic-Version", anthropicVersion)
	if n.key != "" {
		req.Header.Set("X-Api-Key", n.key)
	}
	resp, err := n.send(req)
	if err != nil {
		return planner.Completion{}, n.refusedBy(err, p.Model, body, "")
	}
	defer resp.Body.Close()
	a := &answer{emit: emit}
	err = a.readEvents(resp.Body)
	return a.completion(n.client, p), err
}

type anthropicBlock struct {
	Type         string          `json:"type"`
	Text         string          `json:"text"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type anthropicMessage struct {
	Role    string           `json:"role"`
	Content []anthropicBlock `json:"content"`
}

// body returns the request. System messages go into a member of their own,
// which the provider may cache: it is the same for a whole session. Neighbours
// of the same role become one message.
func (n *Anthropic) body(p planner.Prompt) map[string]json.RawMessage {
	var (
		system   []anthropicBlock
		messages []anthropicMessage
	)
	for _, m := range p.Messages {
		b := anthropicBlock{Type: "text", Text: m.Text()}
		if strings.TrimSpace(b.Text) == "" {
			b.Text = "(empty)" // blank blocks are refused
		}
		last := len(messages) - 1
		switch {
		case m.Role == "system":
			system = append(system, b)
		case last >= 0 && messages[last].Role == m.Role:
			messages[last].Content = append(messages[last].Content, b)
		default:
			messages = append(messages, anthropicMessage{m.Role, []anthropicBlock{b}})
		}
	}
	if len(messages) == 0 { // the protocol demands a message of the user's
		messages, system = []anthropicMessage{{"user", system}}, nil
	}
	maxTokens := p.MaxTokens
	if maxTokens <= 0 {
		maxTokens = anthropicTokens
	}
	body := map[string]json.RawMessage{
		"model": encode(p.Model), "max_tokens": encode(maxTokens), "messages": encode(messages), "stream": encode(true),
	}
	if len(system) > 0 {
		system[len(system)-1].CacheControl = json.RawMessage(`{"type":"ephemeral"}`)
		body["system"] = encode(system)
	}
	if p.Temperature != nil && n.takes(p.Model, "temperature") {
		body["temperature"] = encode(min(*p.Temperature, 1)) // the protocol's scale ends at 1
	}
	merge(body, n.extra)
	return body
}

// An anthropicEvent is one event of a stream, or a whole message.
type anthropicEvent struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Model   string          `json:"model"`
	Message *anthropicEvent `json:"message"`
	Content []contentBlock  `json:"content"` // of a whole message
	Block   contentBlock    `json:"content_block"`
	Delta   struct {
		contentBlock
		PartialJSON string `json:"partial_json"`
		StopReason  string `json:"stop_reason"`
	} `json:"delta"`
	StopReason string          `json:"stop_reason"`
	Usage      json.RawMessage `json:"usage"`
}

type contentBlock struct {
	Type     string          `json:"type"`
	Text     string          `json:"text"`
	Thinking string          `json:"thinking"`
	Name     string          `json:"name"`
	Input    json.RawMessage `json:"input"`
}

// readEvents reads the stream to its end, or to the answer's limits.
func (a *answer) readEvents(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), lineMax)
	ended := false
	for !ended && !a.full() && lines.Scan() {
		data, ok := bytes.CutPrefix(bytes.TrimSpace(lines.Bytes()), []byte("data:"))
		if !ok {
			continue // event names, which the data repeats, comments and blanks
		}
		data = bytes.TrimSpace(data)
		if string(data) == "[DONE]" { // behind a whole answer
			break
		}
		var e anthropicEvent
		if err := json.Unmarshal(data, &e); err != nil {
			return broken("an event of the stream is not what it should be: %s", plain(data))
		}
		switch e.Type {
		case "error":
			return providerFailure(http.StatusOK, data)
		case "message_stop":
			ended = true
		default:
			a.addEvent(e)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return broken("a line of the stream has more than %d bytes", lineMax)
	} else if err != nil {
		return err
	}
	switch {
	case a.full():
	case a.finish == "":
		return broken("the stream ended in the middle of the answer")
	case a.text.Len() == 0 && len(a.calls) == 0 && a.finish == "stop":
		return broken("the answer has no content")
	}
	return nil
}

func (a *answer) addEvent(e anthropicEvent) {
	switch e.Type {
	case "message_start":
		if m := e.Message; m != nil {
			a.id, a.model = m.ID, m.Model
			a.addAnthropicUsage(m.Usage)
		}
	case "content_block_start":
		a.addBlock(e.Block, true)
	case "content_block_delta":
		a.addBlock(e.Delta.contentBlock, true)
		if last := len(a.calls) - 1; last >= 0 {
			a.calls[last].args.WriteString(e.Delta.PartialJSON)
			a.callArgs += len(e.Delta.PartialJSON)
		}
	case "message_delta":
		a.addAnthropicUsage(e.Usage)
		a.stop(e.Delta.StopReason)
	case "message":
		a.id, a.model = e.ID, e.Model
		for _, b := range e.Content {
			a.addBlock(b, false)
		}
		a.addAnthropicUsage(e.Usage)
		a.stop(e.StopReason)
	}
}

// addBlock adds content. A streamed tool call begins with an empty input, whose
// text follows in pieces.
func (a *answer) addBlock(b contentBlock, streamed bool) {
	switch b.Type {
	case "text", "text_delta":
		a.addText(b.Text)
	case "thinking", "thinking_delta":
		a.addThinking(b.Thinking)
	case "tool_use":
		a.calls = append(a.calls, toolCall{name: b.Name})
		if !streamed {
			a.calls[len(a.calls)-1].args.Write(b.Input)
			a.callArgs += len(b.Input)
		}
	}
}

func (a *answer) stop(reason string) {
	switch reason {
	case "":
	case "max_tokens", "model_context_window_exceeded":
		a.finish = "length"
	case "refusal":
		a.finish = "refusal"
	case "tool_use":
		a.finish = "tool_calls"
	default:
		a.finish = "stop"
	}
}

// addAnthropicUsage takes the counts of an event over those of earlier ones:
// the first has the input, the last the output. Tokens that the cache took part
// in are not in input_tokens.
func (a *answer) addAnthropicUsage(raw json.RawMessage) {
	var u struct {
		Input  *float64 `json:"input_tokens"`
		Output *float64 `json:"output_tokens"`
		Read   *float64 `json:"cache_read_input_tokens"`
		Write  *float64 `json:"cache_creation_input_tokens"`
	}
	if len(raw) == 0 || string(raw) == "null" {
		return
	}
	r := &a.reported
	if json.Unmarshal(raw, &u) != nil {
		r.prompt = -1 // not to be believed
		return
	}
	a.usage = raw
	if u.Input != nil {
		r.known = true
		r.cached, r.write = value(u.Read), value(u.Write)
		r.prompt = *u.Input + r.cached + r.write
	}
	if u.Output != nil {
		r.completion = *u.Output
	}
}

func value(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}
