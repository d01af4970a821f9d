package planner_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
)

const agent = `
name: Helper
version: 1.2.0
description: Looks things up and acts on them.
planner: {instructions: Be thrifty., model: house-model, temperature: 0.5, max_tokens: 500}
actions:
  - name: search
    description: Find rows.
    type: invoke_api
    method: GET
    endpoint: https://api.example.com/search
    effect: read
    metadata: {cost_usd: 0.01, latency_ms: 200}
    input_schema:
      type: object
      properties:
        q: {type: string}
        limit: {type: integer, minimum: 1, maximum: 100, default: 10}
      required: [q]
      additionalProperties: false
    output_schema: {type: object, properties: {rows: {type: array}}}
  - name: lookup
    type: invoke_api
    method: GET
    endpoint: https://api.example.com/lookup
    effect: read
    result_path: environment.found
    input_schema: {type: object, properties: {id: {}}, required: [id]}
  - name: charge
    description: Charge a card.
    type: invoke_api
    method: POST
    endpoint: https://api.example.com/charge
    effect: once
    compensate: refund
    input_schema:
      type: object
      properties:
        cents: {type: integer, maximum: 100000}
        to: {type: string, format: email}
      required: [cents, to]
      additionalProperties: false
  - name: refund
    type: invoke_api
    method: POST
    endpoint: https://api.example.com/refund
    effect: idempotent
    preconditions: ["state.charged == true"]
    postconditions: ["state.refunded = true"]
    input_schema: {type: object}
  - name: admin_only
    type: invoke_api
    method: POST
    endpoint: https://api.example.com/admin
    scopes: [admin]
`

func parse(t *testing.T, source string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse([]byte(source))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return m
}

// request returns a request of a session that may use all but admin_only.
func request(t *testing.T, change ...func(*planner.Request)) planner.Request {
	t.Helper()
	m := parse(t, agent)
	r := planner.Request{
		SessionID: "s1", MaxSteps: 20, Goal: "Find it", Manifest: m,
		Actions:     m.Visible([]string{"search", "lookup", "charge", "refund"}),
		Observation: json.RawMessage(`{"environment":{"charged":false,"note":"x"},"timestamp":"2026-04-02T09:00:00Z","user_context":{}}`),
		Emit:        func(planner.Progress) {},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// A model answers with each completion in turn, then with the last one, and
// keeps the prompts it got.
type model struct {
	answers []planner.Completion
	err     error // instead of the answer after the last

	mu      sync.Mutex
	prompts []planner.Prompt
}

func says(texts ...string) *model {
	m := &model{}
	for _, t := range texts {
		m.answers = append(m.answers, planner.Completion{Text: t, Finish: "stop", Model: "fake", Usage: planner.Usage{PromptTokens: 10, CompletionTokens: 1}})
	}
	return m
}

func (m *model) Complete(_ context.Context, p planner.Prompt, emit func(string)) (planner.Completion, error) {
	m.mu.Lock()
	n := len(m.prompts)
	m.prompts = append(m.prompts, p)
	m.mu.Unlock()
	if n >= len(m.answers) && m.err != nil {
		return planner.Completion{Usage: planner.Usage{PromptTokens: 10, Estimated: true}}, m.err
	}
	c := m.answers[min(n, len(m.answers)-1)]
	for _, piece := range strings.SplitAfter(c.Text, ",") {
		if emit != nil && piece != "" {
			emit(piece)
		}
	}
	return c, nil
}

// text returns all of a prompt's messages as one text.
func text(p planner.Prompt) string {
	var b strings.Builder
	for _, m := range p.Messages {
		b.WriteString("[" + m.Role + "]\n" + m.Text() + "\n")
	}
	return b.String()
}
