package secret

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/oap-runtime/oap/internal/fault"
)

const (
	// LengthMin is the shortest usable value in bytes. A shorter one would be
	// found by chance in ordinary text, so it cannot be redacted safely and is
	// refused.
	LengthMin = 6
	// lengthMax is the longest usable value. A longer one is refused: it does
	// not fit the header of any receiver.
	lengthMax = 4 << 10
	// templateMax bounds a template; a longer one is refused.
	templateMax = 8 << 10
	// referencesMax bounds the references of one template; more are refused.
	referencesMax = 16
)

// Config says where secrets come from and which of them a manifest may name.
type Config struct {
	// Env looks up an environment variable; nil means os.LookupEnv.
	Env func(name string) (string, bool)
	// Dir is the directory of file secrets, such as /run/secrets. Empty means
	// that there are none. Nothing outside of it is ever read.
	Dir string
	// Allow lists the references that may be used, without the "env:" of
	// variables: "CALENDAR_TOKEN", "file:crm". An entry may be a pattern in the
	// syntax of path.Match. Nil allows all.
	Allow []string
	// Deny takes precedence over Allow. It is meant for the credentials of the
	// process itself, which no manifest has business with.
	Deny []string
}

// A Resolver resolves secret references. It is safe for concurrent use.
type Resolver struct {
	cfg Config
	red Redactor
}

// NewResolver returns a Resolver. It panics when a pattern of Allow or Deny is
// malformed.
func NewResolver(cfg Config) *Resolver {
	if cfg.Env == nil {
		cfg.Env = os.LookupEnv
	}
	for _, pattern := range append(append([]string(nil), cfg.Allow...), cfg.Deny...) {
		if _, err := path.Match(pattern, ""); err != nil {
			panic("secret: malformed pattern " + pattern)
		}
	}
	return &Resolver{cfg: cfg}
}

// Redactor returns the redactor that knows every value resolved so far.
func (r *Resolver) Redactor() *Redactor { return &r.red }

// A Part is a piece of a template: either literal text, or a reference.
type Part struct {
	Text string // literal text; empty for a reference
	Ref  string // "NAME" for a variable, "file:NAME" for a file; empty for text
}

var reference = regexp.MustCompile(`^(?:(?:env:)?([A-Za-z_][A-Za-z0-9_]{0,127})|(file:[A-Za-z0-9_./-]{1,255}))$`)

// Parse splits a template into its parts. A reference is "${NAME}",
// "${env:NAME}" or "${file:NAME}"; a dollar sign before anything but a brace
// is itself. The error has code SecretMissing.
func Parse(template string) ([]Part, error) {
	if len(template) > templateMax {
		return nil, fault.New(fault.SecretMissing, "a secret template has %d bytes; at most %d are read", len(template), templateMax)
	}
	var parts []Part
	refs := 0
	for template != "" {
		text, rest, found := strings.Cut(template, "${")
		if text != "" {
			parts = append(parts, Part{Text: text})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		m := reference.FindStringSubmatch(name)
		if !closed || m == nil {
			return nil, fault.New(fault.SecretMissing, "a secret reference is malformed").With(fault.Detail{
				Code:    "reference_malformed",
				Message: "\"${\" is not followed by a name and \"}\"",
				Remedy:  "write ${NAME}, ${env:NAME} or ${file:NAME}",
			})
		}
		if refs++; refs > referencesMax {
			return nil, fault.New(fault.SecretMissing, "a secret template has more than %d references", referencesMax)
		}
		parts = append(parts, Part{Ref: m[1] + m[2]})
		template = after
	}
	return parts, nil
}

// Expand returns the template with every reference replaced by its value.
// Values are not scanned for references. The error has code SecretMissing and
// names the reference, never a value.
func (r *Resolver) Expand(template string) (string, error) {
	parts, err := Parse(template)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range parts {
		if p.Ref == "" {
			b.WriteString(p.Text)
			continue
		}
		v, err := r.Value(p.Ref)
		if err != nil {
			return "", err
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// Value returns the value of one reference as Part.Ref spells it, and makes
// the redactor know it. The error is the same as Expand's.
func (r *Resolver) Value(ref string) (string, error) {
	if matches(r.cfg.Deny, ref) || r.cfg.Allow != nil && !matches(r.cfg.Allow, ref) {
		return "", unusable(nil, ref, "not_allowed", "this runtime does not let manifests use it", "ask the operator to allow it")
	}
	var v string
	if name, ok := strings.CutPrefix(ref, "file:"); ok {
		var err error
		if v, err = r.file(name); err != nil {
			return "", unusable(err, ref, "missing", "the file cannot be read", "put the secret into the directory of file secrets")
		}
	} else if v, ok = r.cfg.Env(ref); !ok || v == "" {
		return "", unusable(nil, ref, "missing", "the environment variable is not set", "set it in the environment of the runtime")
	}
	switch {
	case len(v) < LengthMin:
		return "", unusable(nil, ref, "too_short", "a value this short cannot be kept out of outputs", "use one of at least 6 characters")
	case len(v) > lengthMax:
		return "", unusable(nil, ref, "too_long", "the value has over 4096 bytes", "use a shorter one")
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "", unusable(nil, ref, "malformed", "the value holds control characters", "store it as one line of text")
	}
	r.red.Add(v)
	return v, nil
}

// file reads a file secret, which may end in a line break that is not part of
// the value. An absolute name must lie in the directory.
func (r *Resolver) file(name string) (string, error) {
	if r.cfg.Dir == "" {
		return "", errors.New("no directory of file secrets is configured")
	}
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(r.cfg.Dir, name)
		if err != nil {
			return "", err
		}
		name = rel
	}
	root, err := os.OpenRoot(r.cfg.Dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return "", fs.ErrInvalid
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, lengthMax+3))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

func matches(patterns []string, ref string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, ref); ok {
			return true
		}
	}
	return false
}

func unusable(cause error, ref, code, message, remedy string) error {
	return fault.Wrap(cause, fault.SecretMissing, "secret %s is not usable", ref).With(fault.Detail{Code: code, Message: message, Remedy: remedy})
}
