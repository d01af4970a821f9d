package llm

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

// A Price is what a model costs, in USD per million tokens.
type Price struct {
	Prompt     float64 `json:"prompt"`
	Cached     float64 `json:"cached"`      // prompt tokens read from the provider's cache
	CacheWrite float64 `json:"cache_write"` // prompt tokens written to it; 0 means as Prompt
	Completion float64 `json:"completion"`
}

// Prices maps a model's name, without vendor prefix and date suffix, to its
// price. A model without a price counts as free.
type Prices map[string]Price

//go:embed prices.json
var pricesJSON []byte

// DefaultPrices returns the built-in list prices; PricesDate says of when.
func DefaultPrices() Prices { return maps.Clone(defaultPrices().Models) }

// PricesDate is the date of the built-in list prices, as "2026-06".
func PricesDate() string { return defaultPrices().Date }

type priceList struct {
	Date   string `json:"date"`
	Models Prices `json:"models"`
}

var defaultPrices = sync.OnceValue(func() priceList {
	var l priceList
	if err := json.Unmarshal(pricesJSON, &l); err != nil {
		panic("llm: prices.json: " + err.Error())
	}
	return l
})

// LoadPrices returns the built-in prices with those of a JSON object, model to
// price, in place of them or beside them. The error is a *fault.Error with code
// ModelMisconfigured.
func LoadPrices(data []byte) (Prices, error) {
	var own Prices
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&own); err != nil {
		return nil, fault.Wrap(err, fault.ModelMisconfigured, "the prices cannot be read: %v", err)
	}
	prices := DefaultPrices()
	for model, p := range own {
		if min(p.Prompt, p.Cached, p.CacheWrite, p.Completion) < 0 {
			return nil, fault.New(fault.ModelMisconfigured, "the prices cannot be used").
				With(fault.Detail{Pointer: "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(model), Message: fmt.Sprintf("the price of %q is negative", clip(model, messageMax)), Remedy: "write USD per million tokens"})
		}
		prices[model] = p
	}
	return prices, nil
}

var dateSuffix = regexp.MustCompile(`[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$`)

// of finds a model's price by its name as reported, without its vendor, or
// without its date.
func (p Prices) of(model string) Price {
	short := model[strings.LastIndexByte(model, '/')+1:]
	for _, name := range []string{model, short, dateSuffix.ReplaceAllString(short, "")} {
		if price, ok := p[name]; ok {
			return price
		}
	}
	return Price{}
}

// cost returns what a completion costs; written is how many of its prompt
// tokens went into the provider's cache.
func (p Prices) cost(model string, u planner.Usage, written int64) float64 {
	price := p.of(model)
	if price.CacheWrite == 0 {
		price.CacheWrite = price.Prompt
	}
	plain := u.PromptTokens - u.CachedTokens - written
	return (float64(plain)*price.Prompt + float64(u.CachedTokens)*price.Cached +
		float64(written)*price.CacheWrite + float64(u.CompletionTokens)*price.Completion) / 1e6
}
