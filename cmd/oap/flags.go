package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner/llm"
)

// The providers of models.
const (
	providerOpenAI    = "openai"
	providerAnthropic = "anthropic"
)

// The environment variables that hold this program's own credentials. No
// manifest may refer to them.
var ownCredentials = []string{
	"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OAP_API_KEYS", "OAP_API_KEY", "OAP_DB",
	"OAP_S3_ACCESS_KEY", "OAP_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
}

// modelFlags say which model decides. Keys are read from the environment only,
// where other users of the machine cannot see them.
type modelFlags struct {
	Provider string `help:"Protocol of the model's API: ${enum}." enum:"openai,anthropic" default:"openai" env:"OAP_PROVIDER" group:"model"`
	BaseURL  string `name:"base-url" help:"Address of the API, for any server that speaks the protocol. The key is taken from OPENAI_API_KEY or ANTHROPIC_API_KEY." env:"OPENAI_BASE_URL" placeholder:"URL" group:"model"`
	Model    string `help:"Model to ask, unless a manifest names one. Default: gpt-4o-mini." env:"OAP_MODEL" placeholder:"NAME" group:"model"`
	Prices   string `help:"JSON file with prices of models, to report costs." env:"OAP_PRICES" placeholder:"FILE" group:"model"`
}

// real reports whether the user has a model, rather than only its name.
func (f modelFlags) real() bool {
	return f.BaseURL != "" || f.key() != ""
}

func (f modelFlags) key() string {
	if f.Provider == providerAnthropic {
		return os.Getenv("ANTHROPIC_API_KEY")
	}
	return os.Getenv("OPENAI_API_KEY")
}

func (f modelFlags) configure(c *engineConfig) error {
	c.model = modelConfig{provider: f.Provider, baseURL: f.BaseURL, name: f.Model, key: f.key()}
	if f.Prices == "" {
		return nil
	}
	data, err := os.ReadFile(f.Prices)
	if err != nil {
		return fmt.Errorf("read the prices: %w", err)
	}
	if c.model.prices, err = llm.LoadPrices(data); err != nil {
		return fmt.Errorf("%s: %w", f.Prices, err)
	}
	return nil
}

// executorFlags say what actions may reach.
type executorFlags struct {
	Rewrite      []string `sep:"none" help:"Send what manifests declare for one origin to another, such as https://api.example.com=http://127.0.0.1:9101; for staging and tests." env:"OAP_REWRITE" placeholder:"ORIGIN=ORIGIN" group:"engine"`
	AllowPrivate []string `help:"Let actions reach these private addresses; otherwise only public ones." env:"OAP_ALLOW_PRIVATE" placeholder:"CIDR" group:"engine"`
	GrantLLM     bool     `name:"grant-llm" help:"Let every run_code action use the model, not only those whose manifest asks for it." env:"OAP_GRANT_LLM" group:"engine"`
	Secrets      string   `help:"Directory of the secrets that manifests name as $${file:NAME}." env:"OAP_SECRETS" placeholder:"DIR" group:"engine"`
	Files        string   `help:"Directory for read_file and write_file, with one directory inside for each agent." env:"OAP_FILES" placeholder:"DIR" group:"engine"`
	S3           []string `name:"s3" help:"Let file actions use this bucket as s3://NAME/…: an endpoint and a bucket, such as https://s3.eu-central-1.amazonaws.com/reports, optionally with ?name=NAME&region=R&prefix=P&tenant=T&readonly. Keys are taken from OAP_S3_ACCESS_KEY and OAP_S3_SECRET_KEY." env:"OAP_S3" placeholder:"URL" group:"engine"`
}

func (f executorFlags) configure(c *engineConfig) error {
	c.grantLLM, c.secretsDir, c.files = f.GrantLLM, f.Secrets, f.Files
	var errs []error
	var err error
	if c.rewrite, err = parseRewrites(f.Rewrite); err != nil {
		errs = append(errs, err)
	}
	for _, s := range f.AllowPrivate {
		p, err := parsePrefix(s)
		if err != nil {
			errs = append(errs, err)
		}
		c.allowPrivate = append(c.allowPrivate, p)
	}
	if c.buckets, err = parseBuckets(f.S3, os.Getenv("OAP_S3_ACCESS_KEY"), os.Getenv("OAP_S3_SECRET_KEY")); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parsePrefix reads a CIDR, or an address that stands for itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, usageError("--allow-private %q is neither an address nor a CIDR such as 10.0.0.0/8", s)
	}
	return p, nil
}

// parseRewrites reads ORIGIN=ORIGIN pairs, each of which may hold several
// separated by commas.
func parseRewrites(list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, s := range strings.FieldsFunc(strings.Join(list, ","), func(r rune) bool { return r == ',' }) {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			return nil, usageError("--rewrite %q is not ORIGIN=ORIGIN, such as https://api.example.com=http://127.0.0.1:9101", s)
		}
		if _, twice := m[from]; twice {
			return nil, usageError("--rewrite names %s twice", from)
		}
		m[from] = to
	}
	return m, nil
}

// parseBuckets reads the buckets of --s3, by the name that paths use.
func parseBuckets(list []string, access, secretKey string) (map[string]executor.Mount, error) {
	m := map[string]executor.Mount{}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			return nil, usageError("--s3 %q is not a URL such as https://s3.eu-central-1.amazonaws.com/bucket", s)
		}
		q, name := u.Query(), strings.Trim(u.Path, "/")
		for option := range q {
			switch option {
			case "name", "region", "prefix", "tenant", "readonly":
			default:
				return nil, usageError("--s3 %s: there is no option %q; there are name, region, prefix, tenant and readonly", s, option)
			}
		}
		b, err := executor.NewS3Bucket(executor.S3Config{
			Endpoint: u.Scheme + "://" + u.Host, Region: q.Get("region"), Bucket: name, Prefix: q.Get("prefix"),
			AccessKey: access, SecretKey: secretKey,
		})
		if err != nil {
			return nil, usageError("--s3 %s: %v", s, err)
		}
		if q.Has("name") {
			name = q.Get("name")
		}
		if _, twice := m[name]; twice {
			return nil, usageError("--s3 gives the name %s twice; tell them apart with ?name=", name)
		}
		m[name] = executor.Mount{Bucket: b, Tenants: q["tenant"], ReadOnly: q.Has("readonly")}
	}
	return m, nil
}
