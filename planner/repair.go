package planner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// RepairConfig says how patiently a model is asked for a plan.
type RepairConfig struct {
	// Attempts is how many answers are asked for before a person is; 0 means 3
	// (S2-89). Every kind of unusable answer counts.
	Attempts int
	// MaxTokens bounds an answer when the manifest does not; 0 means 300
	// (S2-42). After an answer that was cut by this limit the next one may be
	// four times as long.
	MaxTokens int
}

const (
	attemptsDefault    = 3
	maxTokensDefault   = 300
	temperatureDefault = 0.2 // S2-42

	// truncatedFactor multiplies the length limit after a cut answer, up to
	// maxTokensLimit.
	truncatedFactor = 4
	maxTokensLimit  = 16 << 10

	// reasonMax is how many bytes of the model's reasons are kept.
	reasonMax = 4 << 10
)

// Repair returns a planner that asks the model, and does what it can to get a
// valid plan from it: the answer is read tolerantly (see Decode); failing that,
// native structured output is asked for, with the exact violations and the
// action's schema (S2-88); after the configured number of failures a person is
// asked by a human_intervention call, or, when the manifest's on_invalid_plan
// is "error", planning fails with code PlanInvalid, PlanRefused or
// PlanTruncated (C-21).
//
// A plan is either valid as a whole or not used at all. Every answer, used or
// not, is an Exchange of the Decision, or of the *Failure that is the error.
// While the model answers, Request.Emit receives its words ("delta"), each call
// as soon as it is complete ("call"), why an answer was not used ("invalid")
// and that an answer starts over ("retry").
func Repair(m Model, cfg RepairConfig) Planner {
	if cfg.Attempts <= 0 {
		cfg.Attempts = attemptsDefault
	}
	if cfg.MaxTokens <= 0 {
		cfg.MaxTokens = maxTokensDefault
	}
	return &ladder{model: m, cfg: cfg}
}

type ladder struct {
	model Model
	cfg   RepairConfig
}

func (l *ladder) Plan(ctx context.Context, r Request) (Decision, error) {
	var (
		feedback  []Feedback
		exchanges []Exchange
		last      *problem
	)
	prompt := l.prompt(r)
	for range l.cfg.Attempts {
		prompt.Messages = BuildMessages(r, feedback)
		c, err := l.model.Complete(ctx, prompt, show(r.Emit))
		x := exchange(prompt, c)
		if err != nil {
			x.Problem = err.Error()
			return Decision{}, &Failure{Err: err, Exchanges: append(exchanges, x)}
		}
		d, p := judge(r, c)
		x.Repaired = d.repaired
		if p == nil {
			d.Exchanges = append(exchanges, x)
			return d.Decision, nil
		}
		last, x.Problem = p, p.err.Error()
		exchanges = append(exchanges, x)
		feedback = append(feedback, Feedback{Reply: x.Reply, Problem: x.Problem, Action: p.action})
		r.Emit(Progress{Kind: "invalid", Text: x.Problem})
		prompt.Schema = answerSchema(usable(r))
		if p.err.Code == fault.PlanTruncated {
			prompt.MaxTokens = min(prompt.MaxTokens*truncatedFactor, max(prompt.MaxTokens, maxTokensLimit))
		}
	}
	if r.Manifest.Planner.OnInvalidPlan != "error" {
		if call, ok := question(r, feedback); ok {
			return Decision{Calls: []Intent{call}, Reason: "the model gave no usable plan", Exchanges: exchanges}, nil
		}
	}
	return Decision{}, &Failure{Err: final(last), Exchanges: exchanges}
}

func (l *ladder) prompt(r Request) Prompt {
	opt := r.Manifest.Planner
	p := Prompt{Model: r.Model, Temperature: opt.Temperature, MaxTokens: opt.MaxTokens}
	if p.Model == "" {
		p.Model = opt.Model
	}
	if p.Temperature == nil {
		t := temperatureDefault
		p.Temperature = &t
	}
	if p.MaxTokens == 0 {
		p.MaxTokens = l.cfg.MaxTokens
	}
	return p
}

// show passes the pieces of an answer on as they come.
func show(emit func(Progress)) func(delta string) {
	var calls callScanner
	return func(delta string) {
		if delta == "" {
			calls = callScanner{}
			emit(Progress{Kind: "retry", Text: "the answer was cut; it starts over"})
			return
		}
		emit(Progress{Kind: "delta", Text: delta})
		for _, c := range calls.write(delta) {
			emit(Progress{Kind: "call", Call: &c})
		}
	}
}

func exchange(p Prompt, c Completion) Exchange {
	x := Exchange{
		Model: c.Model, Messages: p.Messages, Reply: c.Text, Finish: c.Finish,
		Usage: c.Usage, DurationMS: c.Duration.Milliseconds(), Extra: c.Extra,
	}
	if x.Model == "" {
		x.Model = p.Model
	}
	if x.Reply == "" && len(c.Calls) > 0 {
		type call struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"` // as sent: it may not be JSON
		}
		var calls []call
		for _, t := range c.Calls {
			calls = append(calls, call{t.Name, string(t.Args)})
		}
		x.Reply = oneLine(calls)
	}
	return x
}

type judged struct {
	Decision
	repaired string
}

// judge turns an answer into a decision, or says what is wrong with it.
func judge(r Request, c Completion) (judged, *problem) {
	refused := func(code fault.Code, format string, args ...any) (judged, *problem) {
		return judged{}, &problem{err: fault.New(code, format, args...)}
	}
	switch c.Finish {
	case "length":
		return refused(fault.PlanTruncated, "The answer was cut by its length limit. Answer more briefly, with one call at a time.")
	case "refusal":
		return refused(fault.PlanRefused, "The model refused: %s. When the goal must not be pursued, finish and say why.", quoted(c.Text))
	case "content_filter":
		return refused(fault.PlanRefused, "The provider's content filter stopped the answer.")
	}
	d, err := Decode(c.Text, c.Calls)
	if err != nil {
		return judged{}, &problem{err: fault.From(err)}
	}
	out := judged{repaired: d.Repaired}
	out.Reason = clip(d.Reason, reasonMax)
	if d.Finish {
		out.Finish, out.Answer = true, d.Answer
		return out, nil
	}
	if answer, ok := finishCall(r, d.Calls); ok {
		out.Finish, out.Answer = true, answer
		return out, nil
	}
	calls, p := check(r, d.Calls)
	out.Calls = calls
	return out, p
}

// finishNames are the actions that models call to end, though none declares
// them.
var finishNames = []string{"finish", "finished", "final_answer", "done", "complete"}

// finishCall reads a lone call of an undeclared "finish" as the end.
func finishCall(r Request, calls []Intent) (answer json.RawMessage, ok bool) {
	if len(calls) != 1 || !slices.Contains(finishNames, calls[0].Action) {
		return nil, false
	}
	if _, declared := r.Manifest.Action(calls[0].Action); declared {
		return nil, false
	}
	v, err := readWholeJSON(string(calls[0].Args))
	if err != nil {
		return nil, false
	}
	for _, key := range answerKeys {
		if item, has := v.get(key); has {
			return compact(item), true
		}
	}
	if len(v.items) == 0 {
		return json.RawMessage("null"), true
	}
	return calls[0].Args, true
}

// final words the failure of a planner that must not ask a person (S2-47).
func final(p *problem) error {
	switch p.err.Code {
	case fault.PlanRefused, fault.PlanTruncated:
		return p.err
	}
	detail := fault.Detail{Message: clip(p.err.Error(), problemMax), Code: string(p.err.Code)}
	return fault.New(fault.PlanInvalid, "LLM did not return valid JSON plan").With(detail)
}

// question returns the call that asks a person what to do instead of the model
// (S2-89). ok is false when the session has no way to ask: the manifest
// declares the action for itself and this session may not use it, or its
// arguments have no room for a question.
func question(r Request, failures []Feedback) (call Intent, ok bool) {
	if !canAsk(usable(r)) {
		return Intent{}, false
	}
	text := fmt.Sprintf("The model gave no usable plan in %d attempts. What should be done next?\nGoal: %s\nWhat it tried:", len(failures), clip(r.Goal, triedMax))
	shown := failures[max(0, len(failures)-attemptsDefault):]
	for n, f := range shown {
		reply := strings.Join(strings.Fields(clip(f.Reply, triedMax)), " ")
		text += fmt.Sprintf("\n%d. %s → %s", len(failures)-len(shown)+n+1, reply, clip(f.Problem, triedMax))
	}
	text = clip(inert(text), questionMax)
	for _, arg := range []string{"question", "prompt", "message"} {
		call := Intent{Action: manifest.Ask().Name, Args: json.RawMessage(oneLine(map[string]string{arg: text}))}
		if calls, p := check(r, []Intent{call}); p == nil {
			return calls[0], true
		}
	}
	return Intent{}, false
}

// questionMax is how many bytes a question to a person has, and triedMax how
// many of them show each answer and each problem; the rest is in the record.
const (
	questionMax = 1900 // the built-in action takes 2,000 characters
	triedMax    = 250
)

// inert keeps a model's words from acting as placeholders.
func inert(s string) string {
	return strings.NewReplacer("{{", "{ {", "}}", "} }").Replace(s)
}
