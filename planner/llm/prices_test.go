package llm_test

import (
	"math"
	"regexp"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner/llm"
)

func TestPrices(t *testing.T) {
	t.Parallel()
	if !regexp.MustCompile(`^20\d\d-\d\d$`).MatchString(llm.PricesDate()) {
		t.Errorf("PricesDate = %q", llm.PricesDate())
	}
	for model, p := range llm.DefaultPrices() {
		if p.Prompt <= 0 || p.Completion < p.Prompt || p.Cached > p.Prompt {
			t.Errorf("price of %s = %+v", model, p)
		}
	}
	prices, err := llm.LoadPrices([]byte(`{"house":{"prompt":100,"completion":1000},"gpt-4o":{"prompt":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	if prices["gpt-4o"].Completion != 0 || prices["gpt-4o-mini"].Prompt != 0.15 {
		t.Errorf("prices = %+v, want ours beside the built-in ones", prices)
	}
	b := setup(t, `{"rules":[{"reply":"ok","usage":{"prompt_tokens":1000,"completion_tokens":10}}]}`)
	m := b.openAI(t, func(c *llm.OpenAIConfig) { c.Prices = prices })
	for model, want := range map[string]float64{"house": 0.11, "vendor/house": 0.11, "house-latest": 0.11, "house@20260101": 0.11, "houses": 0, "house-2": 0} {
		p := ask("x")
		p.Model = model
		c, err := m.Complete(t.Context(), p, nil)
		if err != nil || math.Abs(c.Usage.CostUSD-want) > 1e-9 {
			t.Errorf("cost of %s = %v, %v, want %v", model, c.Usage.CostUSD, err, want)
		}
	}
	for _, bad := range []string{`[]`, `{"a":{"prompt":-1}}`, `{"a":{"price":1}}`} {
		if _, err := llm.LoadPrices([]byte(bad)); fault.CodeOf(err) != fault.ModelMisconfigured {
			t.Errorf("LoadPrices(%s): error = %v", bad, err)
		}
	}
}
