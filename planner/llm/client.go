package llm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

// Defaults of the configurations.
const (
	timeoutDefault = 2 * time.Minute
	idleDefault    = time.Minute
	retriesDefault = 2
	retriesMax     = 10
	backoffDefault = 500 * time.Millisecond
	maxWaitDefault = 20 * time.Second
)

// A client is what both protocols share: where to send, how long to wait, how
// often to try again, and what must not be said aloud.
type client struct {
	base    string // without a trailing slash
	key     string
	secrets []string // the key and header values, in every form they may be echoed
	model   string
	timeout time.Duration
	idle    time.Duration
	retries int
	backoff time.Duration
	maxWait time.Duration
	headers map[string]string
	extra   map[string]json.RawMessage
	prices  Prices
	http    *http.Client

	mu      sync.Mutex
	refused map[string]map[string]bool // protected by mu: model → parameters its server refused
}

// settings are the fields that both configurations have.
type settings struct {
	BaseURL, APIKey, Model                 string
	Timeout, IdleTimeout, Backoff, MaxWait time.Duration
	Retries                                int
	HTTPClient                             *http.Client
	ExtraBody                              json.RawMessage
	Headers                                map[string]string
	Prices                                 Prices
}

func newClient(s settings, baseDefault, modelDefault string) (*client, error) {
	c := &client{
		base: s.BaseURL, key: s.APIKey, model: s.Model, headers: s.Headers, prices: s.Prices,
		timeout: s.Timeout, idle: s.IdleTimeout, backoff: s.Backoff, maxWait: s.MaxWait, retries: s.Retries,
		refused: map[string]map[string]bool{},
	}
	orDefault(&c.base, baseDefault)
	orDefault(&c.model, modelDefault)
	orDefault(&c.timeout, timeoutDefault)
	orDefault(&c.idle, idleDefault)
	orDefault(&c.backoff, backoffDefault)
	orDefault(&c.maxWait, maxWaitDefault)
	orDefault(&c.retries, retriesDefault)
	c.base = strings.TrimRight(c.base, "/")
	c.retries = max(c.retries, 0)
	if c.prices == nil {
		c.prices = DefaultPrices()
	}
	var problems []fault.Detail
	bad := func(pointer, message, remedy string) {
		problems = append(problems, fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
	}
	if u, err := url.Parse(c.base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		bad("/base_url", "not an absolute http or https URL", "write it like "+baseDefault)
	} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		bad("/base_url", "the URL has a user, a query or a fragment", "keep scheme, host and path only; the key goes into api_key")
	}
	if strings.ContainsFunc(c.key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("/api_key", "the key has blanks or characters outside ASCII", "check how it was copied")
	}
	if c.timeout < 0 || c.idle < 0 || c.backoff < 0 || c.maxWait < 0 {
		bad("/timeout", "a duration is negative", "leave it out for the default")
	}
	if c.retries > retriesMax {
		bad("/retries", "there are more than 10 retries", "use fewer: the session tries again by itself")
	}
	for name, value := range c.headers {
		if name == "" || strings.ContainsAny(name+value, "\r\n\x00") || strings.ContainsAny(name, " :") {
			bad("/headers", "a header is malformed", "write a name without blanks and a value of one line")
		}
	}
	if len(s.ExtraBody) > 0 && json.Unmarshal(s.ExtraBody, &c.extra) != nil {
		bad("/extra_body", "not a JSON object", `write it like {"top_k": 20}`)
	}
	if len(problems) > 0 {
		return nil, fault.New(fault.ModelMisconfigured, "the model's configuration is not valid").With(problems...)
	}
	c.secrets = secretsOf(c.key, c.headers)
	c.http = httpClient(s.HTTPClient)
	return c, nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// httpClient returns a copy of hc that follows no redirects: a redirect would
// carry the key to wherever it points.
func httpClient(hc *http.Client) *http.Client {
	var c http.Client
	if hc != nil {
		c = *hc
	} else {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64 // sessions ask at the same time; more connections are made but not kept
		c.Transport = t
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// String and GoString keep the key out of logs.
func (c *client) String() string   { return "llm client of " + c.base }
func (c *client) GoString() string { return c.String() }

// secretsOf returns what is redacted: the key and the values of headers that
// are long enough to be a secret, also as a URL would hold them.
func secretsOf(key string, headers map[string]string) (out []string) {
	add := func(s string) {
		if s != "" {
			out = append(out, s)
			if q := url.QueryEscape(s); q != s {
				out = append(out, q)
			}
		}
	}
	add(key)
	for _, v := range headers {
		if len(v) >= 8 {
			add(v)
			if _, token, ok := strings.Cut(v, " "); ok && len(token) >= 8 {
				add(token)
			}
		}
	}
	// Longest first: a secret that is part of another must not break it up.
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}

func (c *client) redact(s string) string {
	for _, secret := range c.secrets {
		s = strings.ReplaceAll(s, secret, "[redacted]")
	}
	return s
}

// complete asks until an answer is complete, the failure is not worth
// repeating, or no retries are left. On failure the completion still holds the
// usage of all attempts.
func (c *client) complete(ctx context.Context, emit func(string), attempt func(context.Context, func(string)) (planner.Completion, error)) (planner.Completion, error) {
	if emit == nil {
		emit = func(string) {}
	}
	started := time.Now()
	waits := &backoff.ExponentialBackOff{InitialInterval: c.backoff, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: c.maxWait}
	waits.Reset()
	var spent planner.Usage
	for n := 0; ; n++ {
		emitted := false
		out, err := c.once(ctx, attempt, func(delta string) {
			if delta != "" {
				emitted = true
				emit(delta)
			}
		})
		spent = spent.Add(out.Usage)
		if err == nil {
			out.Usage, out.Duration = spent, time.Since(started)
			return out, nil
		}
		failed := planner.Completion{Model: out.Model, Usage: spent, Duration: time.Since(started)}
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
		f := c.asFailure(err)
		wait := f.after
		if !f.hasAfter {
			wait = min(waits.NextBackOff(), c.maxWait) // jitter goes beyond its interval
		}
		if !f.retryable || n >= c.retries || wait > c.maxWait {
			return failed, c.final(f, n+1)
		}
		if emitted {
			emit("")
		}
		if !sleep(ctx, wait) {
			return failed, context.Cause(ctx)
		}
	}
}

// once makes one attempt within its time, and again at once without a
// parameter that the server says it does not know.
func (c *client) once(ctx context.Context, attempt func(context.Context, func(string)) (planner.Completion, error), emit func(string)) (planner.Completion, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	for {
		out, err := attempt(ctx, emit)
		if r, ok := errors.AsType[*refusedParameter](err); ok {
			c.remember(r.model, r.name)
			continue
		}
		return out, err
	}
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// A refusedParameter says that a server does not know an optional parameter,
// which is left out for that model from now on.
type refusedParameter struct{ model, name string }

func (r *refusedParameter) Error() string { return r.model + " does not take " + r.name }

// rememberedMax bounds how many models are remembered to refuse something; at
// the limit all are forgotten and ask once more.
const rememberedMax = 256

func (c *client) remember(model, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.refused) >= rememberedMax && c.refused[model] == nil {
		clear(c.refused)
	}
	if c.refused[model] == nil {
		c.refused[model] = map[string]bool{}
	}
	c.refused[model][name] = true
}

func (c *client) takes(model, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.refused[model][name]
}

// optional lists parameters that are worth leaving out when a server refuses
// them by name.
var optional = []string{"response_format", "temperature", "max_tokens", "max_completion_tokens", "stream_options"}

// unknownParameter tells "I do not know that" from "that value is too large".
var unknownParameter = regexp.MustCompile(`(?i)unsupported|not support|unrecogni[sz]ed|unknown|extra|not permitted|not allowed|deprecated`)

// refusedBy returns the refusal of one of the parameters that were sent, if
// that is what a failure says.
func (c *client) refusedBy(err error, model string, sent map[string]json.RawMessage, keep string) error {
	f, ok := errors.AsType[*failure](err)
	if !ok || f.status != http.StatusBadRequest && f.status != http.StatusUnprocessableEntity {
		return err
	}
	said := f.message + " " + f.param
	unknown := unknownParameter.MatchString(said)
	for _, name := range optional {
		_, present := sent[name]
		if name == keep || !present || !c.takes(model, name) {
			continue
		}
		// A schema can be refused for many reasons, all of them beyond us.
		schema := name == "response_format" && (strings.Contains(said, name) || strings.Contains(said, "json_schema"))
		if schema || unknown && strings.Contains(said, name) {
			return &refusedParameter{model, name}
		}
	}
	return err
}
