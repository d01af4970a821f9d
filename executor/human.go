package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
)

// Human performs human_intervention actions: it asks once, by a Wait, and
// returns what the person answered when the call is executed again.
type Human struct {
	now func() time.Time
}

var _ Executor = (*Human)(nil)

// NewHuman returns a Human.
func NewHuman() *Human { return &Human{now: time.Now} }

// Execute returns a Wait while c has no answer. An answer is the output; it
// must satisfy the action's output schema or, when there is none, be an object
// with the member answer, which is one of the choices if the action has any. A
// plain value is then taken for that member. When the time to answer is over,
// the outcome is Timeout.
func (h *Human) Execute(ctx context.Context, c Call, _ func(Progress)) (Result, error) {
	o := c.Action.Human
	schema := answerSchema(c)
	if c.Answer != nil {
		output, err := h.answer(c, schema)
		return Result{Output: output, Usage: Usage{Attempts: 1}}, err
	}
	w := &Wait{Kind: WaitInput, Choices: slices.Clone(o.Choices), Schema: schema, Context: c.Args}
	if o.Expires > 0 {
		if w.Until = c.Now.Add(o.Expires); !h.now().Before(w.Until) {
			return Result{}, fault.New(fault.Timeout, "nobody answered %s within %s", c.Action.Name, o.Expires)
		}
	}
	var err error
	w.Prompt, err = prompt(ctx, c)
	if err != nil {
		return Result{}, err
	}
	return Result{Wait: w}, nil
}

func (h *Human) answer(c Call, schema json.RawMessage) (json.RawMessage, error) {
	value, err := normalizeJSON(c.Answer.Value, plainText)
	if e, ok := errors.AsType[*jsonError](err); ok {
		return nil, fault.New(fault.OutputInvalid, "the answer to %s is not usable", c.Action.Name).With(fault.Detail{Pointer: "/answer", Code: e.Code, Message: e.Error()})
	}
	if c.Action.Output != nil {
		return value, violates(c.Action.Output.Validate(value, "/answer"), fault.OutputInvalid, "the answer to %s does not satisfy its output_schema", c.Action.Name)
	}
	if !slices.ContainsFunc(members(value), func(m member) bool { return m.Name == "answer" }) {
		value = object([]member{{"answer", value}})
	}
	if len(c.Action.Human.Choices) > 0 {
		var a struct{ Answer string }
		if json.Unmarshal(value, &a) != nil || !slices.Contains(c.Action.Human.Choices, a.Answer) {
			return nil, fault.New(fault.OutputInvalid, "the answer to %s is not one of its choices", c.Action.Name).
				With(fault.Detail{Pointer: "/answer", Message: "it must be one of the choices that were offered"})
		}
	}
	return value, nil
}

// answerSchema returns the JSON Schema of the answer to a call.
func answerSchema(c Call) json.RawMessage {
	if c.Action.Output != nil {
		return c.Action.Output.JSON()
	}
	if len(c.Action.Human.Choices) == 0 {
		return json.RawMessage(`{"type":"object","properties":{"answer":{}},"required":["answer"]}`)
	}
	choices := make([]string, len(c.Action.Human.Choices))
	for i, choice := range c.Action.Human.Choices {
		choices[i] = string(jsonString(choice))
	}
	return json.RawMessage(`{"type":"object","properties":{"answer":{"enum":[` + strings.Join(choices, ",") + `]}},"required":["answer"]}`)
}

// prompt returns the question: the action's template, or the argument
// question.
func prompt(ctx context.Context, c Call) (string, error) {
	if c.Action.Human.Prompt == "" {
		var args struct{ Question string }
		if err := json.Unmarshal(c.Args, &args); err != nil || args.Question == "" {
			return "", badArg("question", "there is nothing to ask", "give the argument question, or declare a prompt in the manifest")
		}
		return args.Question, nil
	}
	t, err := expr.CompileTemplate(c.Action.Human.Prompt)
	if err != nil {
		return "", badPrompt(c, err)
	}
	vars, err := varsOf(c)
	if err != nil {
		return "", err
	}
	v, err := t.Render(ctx, vars)
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("call %s: prompt: %w", c.ID, context.Cause(ctx))
	}
	if err != nil {
		return "", badPrompt(c, err)
	}
	if text, ok := v.(string); ok {
		return text, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", badPrompt(c, err)
	}
	return string(raw), nil
}

func badPrompt(c Call, err error) error {
	return fault.Wrap(err, fault.ActionInvalid, "the prompt of %s cannot be rendered", c.Action.Name).
		With(fault.Detail{Pointer: "/prompt", Message: err.Error()})
}
