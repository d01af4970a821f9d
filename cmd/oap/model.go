package main

import (
	"context"
	"encoding/json"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/planner/llm"
)

// A modelConfig says which model decides.
type modelConfig struct {
	provider string
	baseURL  string // "" means the provider's own
	name     string // "" means the default
	key      string
	prices   llm.Prices // nil means the built-in list
}

// missing reports whether there is nobody to ask: the provider's own servers
// are chosen, and no key for them.
func (c modelConfig) missing() bool { return c.baseURL == "" && c.key == "" }

// newModel returns the client of the model. Without a key for the provider's
// own servers it returns one that fails and says what to set.
func newModel(c modelConfig) (planner.Model, error) {
	switch {
	case c.missing():
		return missingModel{c.provider}, nil
	case c.provider == providerAnthropic:
		return llm.NewAnthropic(llm.AnthropicConfig{BaseURL: c.baseURL, APIKey: c.key, Model: c.name, Prices: c.prices})
	default:
		return llm.NewOpenAI(llm.OpenAIConfig{BaseURL: c.baseURL, APIKey: c.key, Model: c.name, Prices: c.prices})
	}
}

// A missingModel stands where a model should be.
type missingModel struct{ provider string }

// Complete fails with code ModelMisconfigured.
func (m missingModel) Complete(context.Context, planner.Prompt, func(string)) (planner.Completion, error) {
	return planner.Completion{}, m.err()
}

func (m missingModel) err() error {
	key := "OPENAI_API_KEY"
	if m.provider == providerAnthropic {
		key = "ANTHROPIC_API_KEY"
	}
	return fault.New(fault.ModelMisconfigured, "no model is configured").With(fault.Detail{
		Message: "there is neither a key nor an address of a model",
		Remedy:  "set " + key + " in the environment, or give --base-url for a server of your own",
	})
}

// guest lets sandboxed code use the model.
func guest(m planner.Model) func(context.Context, json.RawMessage) (json.RawMessage, executor.ModelUsage, error) {
	ask := llm.Guest(m)
	return func(ctx context.Context, request json.RawMessage) (json.RawMessage, executor.ModelUsage, error) {
		response, u, err := ask(ctx, request)
		return response, executor.ModelUsage{
			Calls: 1, PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens, CostUSD: u.CostUSD,
		}, err
	}
}
