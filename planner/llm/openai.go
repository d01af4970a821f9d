package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

// OpenAIConfig says how to reach a server that speaks chat completions: OpenAI,
// Azure, Gemini, Bedrock, OpenRouter, vLLM, Ollama, llama.cpp and others. The
// zero value of a field means its default.
type OpenAIConfig struct {
	BaseURL string // https://api.openai.com/v1 by default; with the version, without /chat/completions
	APIKey  string // sent as a bearer token; never part of an error
	Model   string // for prompts that name none; gpt-4o-mini by default (S2-42)

	Timeout     time.Duration // of one attempt as a whole; 2 minutes by default
	IdleTimeout time.Duration // without any byte of the answer; 1 minute by default
	Retries     int           // after the first attempt; 2 by default, negative for none, at most 10
	Backoff     time.Duration // before the first retry, doubling, with jitter; 500 ms by default
	MaxWait     time.Duration // between attempts; when the provider wants more, Complete gives up and says when. 20 seconds by default

	HTTPClient *http.Client // redirects are never followed, whatever it says
	Headers    map[string]string
	// ExtraBody is an object whose members are added to each request's body, in
	// place of ours where the names are equal. null removes a member.
	ExtraBody json.RawMessage
	// JSONMode says what becomes of a prompt's schema: "auto" (default) sends it
	// as response_format until the server refuses that for the model, "schema"
	// always sends it, "off" never does.
	JSONMode string
	Prices   Prices // nil means DefaultPrices
}

// String and GoString keep the key out of logs.
func (c OpenAIConfig) String() string   { return "llm.OpenAIConfig for " + c.BaseURL }
func (c OpenAIConfig) GoString() string { return c.String() }

// OpenAI is a planner.Model behind the chat completions protocol. It is safe
// for concurrent use.
type OpenAI struct {
	*client
	jsonMode string
}

var _ planner.Model = (*OpenAI)(nil)

// NewOpenAI checks the configuration. It opens no connection.
func NewOpenAI(cfg OpenAIConfig) (*OpenAI, error) {
	c, err := newClient(settings{
		BaseURL: cfg.BaseURL, APIKey: cfg.APIKey, Model: cfg.Model, Timeout: cfg.Timeout, IdleTimeout: cfg.IdleTimeout,
		Backoff: cfg.Backoff, MaxWait: cfg.MaxWait, Retries: cfg.Retries, HTTPClient: cfg.HTTPClient,
		ExtraBody: cfg.ExtraBody, Headers: cfg.Headers, Prices: cfg.Prices,
	}, "https://api.openai.com/v1", openai.GPT4oMini)
	if err != nil {
		return nil, err
	}
	switch cfg.JSONMode {
	case "":
		cfg.JSONMode = "auto"
	case "auto", "schema", "off":
	default:
		return nil, fault.New(fault.ModelMisconfigured, "the model's configuration is not valid").
			With(fault.Detail{Pointer: "/json_mode", Message: "no such mode", Remedy: `use "auto", "schema" or "off"`})
	}
	return &OpenAI{client: c, jsonMode: cfg.JSONMode}, nil
}

// Complete asks the model; see planner.Model. The answer is always streamed,
// so that its size and its silences can be bounded; servers that answer whole
// are understood too.
func (o *OpenAI) Complete(ctx context.Context, p planner.Prompt, emit func(delta string)) (planner.Completion, error) {
	if p.Model == "" {
		p.Model = o.model
	}
	return o.complete(ctx, emit, func(ctx context.Context, emit func(string)) (planner.Completion, error) {
		return o.attempt(ctx, p, emit)
	})
}

func (o *OpenAI) attempt(ctx context.Context, p planner.Prompt, emit func(string)) (planner.Completion, error) {
	d := &openAIDoer{client: o.client, members: o.members(p)}
	cfg := openai.DefaultConfig(o.key)
	cfg.BaseURL, cfg.HTTPClient = o.base, d
	// Comment lines keep a stream alive; the guarded body bounds them by size
	// and time.
	cfg.EmptyMessagesLimit = math.MaxUint32
	stream, err := openai.NewClientWithConfig(cfg).CreateChatCompletionStream(ctx, request(p))
	if err != nil {
		return planner.Completion{}, o.refusedBy(err, p.Model, d.sent, o.forced())
	}
	defer stream.Close()
	a := &answer{emit: emit}
	err = a.readChunks(stream)
	out := a.completion(o.client, p)
	if err != nil {
		return out, o.refusedBy(err, p.Model, d.sent, o.forced())
	}
	return out, nil
}

// forced names the parameter that is sent even to servers that refuse it.
func (o *OpenAI) forced() string {
	if o.jsonMode == "schema" {
		return "response_format"
	}
	return ""
}

// modelAlias is what the library is told instead of the model's name: it
// refuses requests by its own list of names, which local aliases get caught in.
const modelAlias = "model"

// request returns the part of a request that the library can express. Sampling
// parameters are left out of it: it drops a temperature of 0 and refuses
// others for some names.
func request(p planner.Prompt) openai.ChatCompletionRequest {
	r := openai.ChatCompletionRequest{
		Model: modelAlias, Stream: true,
		StreamOptions: &openai.StreamOptions{IncludeUsage: true},
	}
	for _, m := range p.Messages {
		text := m.Text()
		if text == "" {
			text = " " // the library would leave the member out
		}
		r.Messages = append(r.Messages, openai.ChatCompletionMessage{Role: m.Role, Content: text})
	}
	return r
}

// reasoningModel finds the models that take neither a temperature nor
// max_tokens: what they think counts as answer, and a limit made for answers
// would cut them short.
var reasoningModel = regexp.MustCompile(`^(?:.*/)?(?:o[134](?:$|-)|gpt-(?:5|6)(?:$|[.-]))`)

// chatModel finds exceptions to reasoningModel.
var chatModel = regexp.MustCompile(`-chat(?:$|-)`)

func reasons(model string) bool {
	return reasoningModel.MatchString(model) && !chatModel.MatchString(model)
}

// members returns what is added to the library's request body.
func (o *OpenAI) members(p planner.Prompt) map[string]json.RawMessage {
	m := map[string]json.RawMessage{"model": encode(p.Model)}
	if p.Temperature != nil && !reasons(p.Model) && o.takes(p.Model, "temperature") {
		m["temperature"] = encode(*p.Temperature)
	}
	if p.MaxTokens > 0 && !reasons(p.Model) {
		// The newer name goes to servers that refuse the older one.
		if o.takes(p.Model, "max_tokens") {
			m["max_tokens"] = encode(p.MaxTokens)
		} else if o.takes(p.Model, "max_completion_tokens") {
			m["max_completion_tokens"] = encode(p.MaxTokens)
		}
	}
	if p.Schema != nil && o.jsonMode != "off" && (o.jsonMode == "schema" || o.takes(p.Model, "response_format")) {
		m["response_format"] = encode(openai.ChatCompletionResponseFormat{
			Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "plan", Schema: p.Schema},
		})
	}
	if !o.takes(p.Model, "stream_options") {
		m["stream_options"] = json.RawMessage("null")
	}
	return m
}

// An openAIDoer is the library's way to the network for one request.
type openAIDoer struct {
	*client
	members map[string]json.RawMessage // added to the body; null removes
	sent    map[string]json.RawMessage // the body's members as they were sent
}

// Do edits the body and sends the request.
func (d *openAIDoer) Do(req *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &d.sent); err != nil {
		return nil, err
	}
	merge(d.sent, d.members)
	merge(d.sent, d.extra)
	raw = encode(d.sent)
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	return d.send(req)
}

func merge(body, members map[string]json.RawMessage) {
	for name, value := range members {
		if string(value) == "null" {
			delete(body, name)
		} else {
			body[name] = value
		}
	}
}

// A chunk is one event of a stream, or a whole answer: everything of it that
// the library's own type loses is read here too.
type chunk struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Index   int       `json:"index"`
		Delta   chunkText `json:"delta"`
		Message chunkText `json:"message"`
		Finish  *string   `json:"finish_reason"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"`
	Error json.RawMessage `json:"error"`
}

type chunkText struct {
	Content          json.RawMessage `json:"content"` // a string, null, or parts
	Refusal          string          `json:"refusal"`
	ReasoningContent string          `json:"reasoning_content"`
	Reasoning        json.RawMessage `json:"reasoning"` // a string, for Ollama, vLLM and OpenRouter
	ToolCalls        []struct {
		Index    *int `json:"index"`
		Function struct {
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// readChunks reads the stream to its end, or to the answer's limits.
func (a *answer) readChunks(stream *openai.ChatCompletionStream) error {
	answered := false
	for !a.full() {
		raw, err := stream.RecvRaw()
		if errors.Is(err, io.EOF) {
			break
		}
		if api, ok := errors.AsType[*openai.APIError](err); ok {
			return streamedError(api)
		}
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return broken("the stream reports an error that cannot be read")
		}
		var c chunk
		if err := json.Unmarshal(raw, &c); err != nil {
			return broken("an event of the stream is not what it should be: %s", plain(raw))
		}
		if len(c.Error) > 0 && string(c.Error) != "null" {
			return providerFailure(http.StatusOK, raw)
		}
		answered = answered || len(c.Choices) > 0
		if err := a.addChunk(c); err != nil {
			return err
		}
	}
	switch {
	case a.full():
	case !answered:
		return broken("the answer has no choices")
	case a.finish == "":
		return broken("the stream ended in the middle of the answer")
	}
	return nil
}

// streamedError reads an error event that the library has read.
func streamedError(e *openai.APIError) *failure {
	body := encode(map[string]any{"error": map[string]any{"message": e.Message, "type": e.Type, "code": e.Code}})
	return providerFailure(http.StatusOK, body)
}

func (a *answer) addChunk(c chunk) error {
	a.id, a.model = first(a.id, c.ID), first(a.model, c.Model)
	if len(c.Usage) > 0 && string(c.Usage) != "null" {
		a.usage, a.reported = c.Usage, openAIUsage(c.Usage)
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue
		}
		for _, t := range []chunkText{choice.Delta, choice.Message} {
			a.addChunkText(t)
		}
		if choice.Finish != nil && *choice.Finish != "" {
			if *choice.Finish == "error" {
				return broken("the provider failed in the middle of its answer")
			}
			a.finish = finishReason(*choice.Finish)
		}
	}
	return nil
}

func (a *answer) addChunkText(t chunkText) {
	a.addText(contentText(t.Content))
	a.addThinking(first(t.ReasoningContent, contentText(t.Reasoning)))
	a.addRefusal(t.Refusal)
	for i, call := range t.ToolCalls {
		if call.Index != nil {
			i = *call.Index
		}
		if i < 0 || i > len(a.calls) {
			i = len(a.calls)
		}
		if i == len(a.calls) {
			if i > toolCallsMax {
				return
			}
			a.calls = append(a.calls, toolCall{})
		}
		args := contentText(call.Function.Arguments)
		if args == "" && len(call.Function.Arguments) > 0 && call.Function.Arguments[0] == '{' {
			args = string(call.Function.Arguments) // some servers send the object itself
		}
		a.calls[i].name = first(a.calls[i].name, call.Function.Name)
		a.calls[i].args.WriteString(args)
		a.callArgs += len(args)
	}
}

// contentText reads a string, or the text of parts; anything else is empty.
func contentText(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

func finishReason(s string) string {
	switch s {
	case "length", "content_filter", "refusal":
		return s
	case "tool_calls", "function_call":
		return "tool_calls"
	}
	return "stop"
}

// openAIUsage reads token counts, whatever numbers they are.
func openAIUsage(raw json.RawMessage) reported {
	var u struct {
		Prompt        *float64 `json:"prompt_tokens"`
		Completion    *float64 `json:"completion_tokens"`
		PromptDetails struct {
			Cached float64 `json:"cached_tokens"`
			Write  float64 `json:"cache_write_tokens"`
		} `json:"prompt_tokens_details"`
		CompletionDetails struct {
			Reasoning float64 `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
		Cost *float64 `json:"cost"`
	}
	if json.Unmarshal(raw, &u) != nil || u.Prompt == nil || u.Completion == nil {
		return reported{}
	}
	r := reported{
		known: true, prompt: *u.Prompt, completion: *u.Completion, cached: u.PromptDetails.Cached,
		write: u.PromptDetails.Write, reasons: u.CompletionDetails.Reasoning,
	}
	if u.Cost != nil {
		r.cost, r.hasCost = *u.Cost, true
	}
	return r
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func encode(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		// Everything encoded here is ours or was read from JSON.
		panic("llm: encode: " + err.Error())
	}
	return raw
}
