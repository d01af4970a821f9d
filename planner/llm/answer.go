package llm

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/oap-runtime/oap/planner"
)

const (
	// textMax is how many bytes of text one answer may have. At the limit the
	// stream is dropped and the answer ends as if cut by its length limit.
	textMax = 1 << 20

	// thinkingMax is the same for thinking; thinkingKept is how much of it goes
	// into the record.
	thinkingMax  = 8 << 20
	thinkingKept = 16 << 10

	// toolCallsMax bounds native tool calls; further ones end the answer like
	// too much text.
	toolCallsMax = 128

	// charsPerToken is the usual length of a token, for estimates.
	charsPerToken = 4
	// charsPerTokenMax is more than any tokenizer packs into one on average: a
	// count below text/charsPerTokenMax is not believed.
	charsPerTokenMax = 32
	// tokensMax is more than any request has: a count above is not believed.
	tokensMax = 1 << 30
	// costMax is more than any request costs in USD: one above is not believed.
	costMax = 1000
)

// An answer gathers what a stream brings.
type answer struct {
	emit     func(string)
	text     strings.Builder
	thinking strings.Builder
	thought  int // bytes of thinking, kept or not
	refusal  strings.Builder
	calls    []toolCall
	callArgs int // bytes of arguments
	finish   string
	model    string
	id       string
	usage    json.RawMessage
	reported reported
}

type toolCall struct {
	name string
	args strings.Builder
}

// reported are token counts as the provider gives them. Known is false for a
// provider that gives none or that cannot be read.
type reported struct {
	known                                      bool
	prompt, completion, cached, write, reasons float64
	cost                                       float64
	hasCost                                    bool
}

// full reports whether the answer has reached one of its limits.
func (a *answer) full() bool {
	return a.text.Len() >= textMax || a.thought >= thinkingMax || a.callArgs >= textMax || len(a.calls) > toolCallsMax
}

func (a *answer) addText(s string) {
	s = s[:min(len(s), textMax-a.text.Len())]
	if s != "" {
		a.text.WriteString(s)
		a.emit(s)
	}
}

func (a *answer) addThinking(s string) {
	a.thought += len(s)
	a.thinking.WriteString(s[:min(len(s), max(0, thinkingKept-a.thinking.Len()))])
}

func (a *answer) addRefusal(s string) {
	a.refusal.WriteString(s[:min(len(s), max(0, messageMax-a.refusal.Len()))])
}

// completion returns what was gathered, whole or not.
func (a *answer) completion(c *client, p planner.Prompt) planner.Completion {
	out := planner.Completion{Text: a.text.String(), Finish: a.finish, Model: a.model}
	if out.Model == "" {
		out.Model = p.Model
	}
	if a.refusal.Len() > 0 {
		out.Text, out.Finish = a.refusal.String(), "refusal"
	}
	if a.full() {
		out.Text = strings.ToValidUTF8(out.Text, "") // a character may have been cut
		out.Finish, a.calls = "length", nil
	}
	for _, call := range a.calls {
		out.Calls = append(out.Calls, planner.ToolCall{Name: call.name, Args: json.RawMessage(call.args.String())})
	}
	out.Usage = a.count(c, p, out.Model)
	out.Extra = a.extra()
	return out
}

// count returns the usage: what the provider reports when that can be true,
// else an estimate.
func (a *answer) count(c *client, p planner.Prompt, model string) planner.Usage {
	sent := len(p.Schema)
	for _, m := range p.Messages {
		for _, part := range m.Parts {
			sent += len(part.Text)
		}
	}
	got := a.text.Len() + a.thought + a.refusal.Len() + a.callArgs
	r := a.reported
	var u planner.Usage
	if r.known && believable(r.prompt, sent) && believable(r.completion, got) {
		u.PromptTokens, u.CompletionTokens = int64(r.prompt), int64(r.completion)
		if believable(r.cached, 0) && r.cached <= r.prompt {
			u.CachedTokens = int64(r.cached)
		}
		if believable(r.reasons, 0) && r.reasons <= r.completion {
			u.ReasoningTokens = int64(r.reasons)
		}
	} else {
		u.PromptTokens, u.CompletionTokens = tokens(sent), tokens(got)
		u.Estimated = true
	}
	if r.hasCost && r.cost >= 0 && r.cost <= costMax {
		u.CostUSD = r.cost
	} else {
		write := int64(0)
		if believable(r.write, 0) && r.write <= r.prompt-r.cached {
			write = int64(r.write)
		}
		u.CostUSD = c.prices.cost(model, u, write)
	}
	return u
}

// believable reports whether a number can be a count of tokens for so many
// bytes.
func believable(n float64, bytes int) bool {
	return n >= 0 && n <= tokensMax && n == math.Trunc(n) && n >= float64(bytes/charsPerTokenMax)
}

func tokens(bytes int) int64 { return int64(bytes+charsPerToken-1) / charsPerToken }

// extra returns the provider's further words for the record.
func (a *answer) extra() json.RawMessage {
	e := struct {
		ID       string          `json:"id,omitempty"`
		Thinking string          `json:"reasoning,omitempty"`
		Usage    json.RawMessage `json:"usage,omitempty"`
	}{ID: clip(a.id, messageMax), Thinking: strings.ToValidUTF8(a.thinking.String(), "")}
	if len(a.usage) <= errorBodyMax {
		e.Usage = a.usage
	}
	if e.ID == "" && e.Thinking == "" && e.Usage == nil {
		return nil
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return nil // a usage that is not JSON was read from JSON: cannot be
	}
	return raw
}
