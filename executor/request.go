package executor

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/secret"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// requestBodyMax bounds the JSON body of a request; a larger one is
	// refused with LimitExceeded.
	requestBodyMax = 4 << 20
	// urlMax bounds a filled URL; a longer one is refused with LimitExceeded,
	// for receivers cut or refuse it in many ways.
	urlMax = 8 << 10
	// headerValueMax bounds a filled header value.
	headerValueMax = 8 << 10
)

// An outgoing request, built but not sent.
type outgoing struct {
	method      string
	url         *url.URL // as declared; see egress.destination
	header      http.Header
	body        []byte // nil when there is none
	credentials bool   // the header holds secrets
}

// reserved are the headers that a manifest cannot set: the protocol's own, and
// those whose meaning this package depends on.
var reserved = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive",
	"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// build makes the request of a call. Arguments that the URL or a header names
// are used there; of the others, those listed in Query (all, for a method
// without a body) become query parameters and the rest the JSON body. The
// error is an outcome, and nothing has been sent.
func build(c Call, secrets *secret.Resolver, userAgent string) (*outgoing, error) {
	o := c.Action.HTTP
	args, err := parseArgs(c.Args)
	if err != nil {
		return nil, err
	}
	f := filler{args: args}
	u, err := f.url(o.Endpoint)
	if err != nil {
		return nil, err
	}
	out := &outgoing{method: o.Method, url: u, header: http.Header{}}
	if err := f.headers(out, o, secrets); err != nil {
		return nil, err
	}
	var inQuery, inBody []member
	for _, m := range args {
		switch {
		case f.used[m.Name]:
		case bodyless(o.Method) || slices.Contains(o.Query, m.Name):
			inQuery = append(inQuery, m)
		default:
			inBody = append(inBody, m)
		}
	}
	if err := addQuery(u, inQuery); err != nil {
		return nil, err
	}
	if n := len(u.String()); n > urlMax {
		return nil, fault.New(fault.LimitExceeded, "the URL has %d bytes with its arguments; at most %d are sent", n, urlMax)
	}
	if !bodyless(o.Method) {
		if out.body = object(inBody); len(out.body) > requestBodyMax {
			return nil, fault.New(fault.LimitExceeded, "the request body has %d bytes; at most %d are sent", len(out.body), requestBodyMax)
		}
		setDefault(out.header, "Content-Type", "application/json")
	}
	accept := "application/json"
	if wantsText(c.Action.Output) {
		accept = "application/json, text/*;q=0.9"
	}
	setDefault(out.header, "Accept", accept)
	setDefault(out.header, "User-Agent", userAgent)
	out.header.Set("Accept-Encoding", "gzip")
	if c.Action.Effect != manifest.Read {
		out.header.Set("Idempotency-Key", c.IdempotencyKey)
	}
	return out, nil
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

func bodyless(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// parseArgs checks the arguments of a call and splits them.
func parseArgs(raw json.RawMessage) ([]member, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	doc, err := normalizeJSON(raw, plainText)
	if err != nil {
		return nil, fault.New(fault.ActionInvalid, "the arguments are not usable").With(fault.Detail{Pointer: "/args", Message: err.Error()})
	}
	if doc[0] != '{' {
		return nil, badArg("", "the arguments are not an object", "")
	}
	return members(doc), nil
}

func object(list []member) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(jsonString(m.Name))
		b.WriteByte(':')
		b.Write(m.Value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// A filler fills the {name} placeholders of a manifest's strings from the
// arguments, and remembers which it used.
type filler struct {
	args []member
	used map[string]bool
}

var placeholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_.-]{0,127}\}`)

// fill replaces every placeholder in template by what encode makes of the
// argument's text. Filled text is not looked at again.
func (f *filler) fill(template string, encode func(string) (string, string)) (string, error) {
	var failed error
	out := placeholder.ReplaceAllStringFunc(template, func(p string) string {
		name := p[1 : len(p)-1]
		text, err := f.scalar(name)
		if err == nil {
			var problem string
			if text, problem = encode(text); problem != "" {
				err = badArg(name, problem, "")
			}
		}
		if err != nil && failed == nil {
			failed = err
		}
		return text
	})
	return out, failed
}

// scalar returns the text of an argument: a string, or a number or boolean as
// it is written.
func (f *filler) scalar(name string) (string, error) {
	i := slices.IndexFunc(f.args, func(m member) bool { return m.Name == name })
	if i < 0 {
		return "", badArg(name, "the argument is missing, and the action cannot be sent without it", "give it, or make it required in input_schema")
	}
	text, ok := scalarText(f.args[i].Value)
	if !ok {
		return "", badArg(name, "the argument must be a string, a number or a boolean here", "")
	}
	if f.used == nil {
		f.used = map[string]bool{}
	}
	f.used[name] = true
	return text, nil
}

func scalarText(v json.RawMessage) (string, bool) {
	switch v[0] {
	case '"':
		var s string
		err := json.Unmarshal(v, &s)
		return s, err == nil
	case '{', '[', 'n':
		return "", false
	}
	return string(v), true
}

// url fills the placeholders of an endpoint. Each stays within the path
// segment or the query value it stands in.
func (f *filler) url(endpoint string) (*url.URL, error) {
	_, rest, ok := strings.Cut(endpoint, "://")
	if !ok {
		return nil, badEndpoint("it is not an absolute URL")
	}
	if strings.Contains(endpoint, "${") {
		return nil, badEndpoint("a secret in a URL would end up in logs; send it in auth or headers")
	}
	authority := len(endpoint) - len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority += i
	} else {
		authority = len(endpoint)
	}
	base, rest := endpoint[:authority], endpoint[authority:]
	if strings.ContainsAny(base, "{}") {
		return nil, badEndpoint("arguments cannot be part of the host")
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		filled, err := f.fill(s, encodeSegment)
		if err != nil {
			return nil, err
		}
		if filled != s && dots(filled) { // two harmless arguments can make "..": {a}{b}
			return nil, fault.New(fault.ActionInvalid, "the arguments would leave the path of the endpoint").With(fault.Detail{Pointer: "/args", Message: "a path segment would be \".\" or \"..\""})
		}
		segments[i] = filled
	}
	raw := base + strings.Join(segments, "/")
	if hasQuery {
		filled, err := f.fill(query, func(s string) (string, string) { return url.QueryEscape(s), "" })
		if err != nil {
			return nil, err
		}
		raw += "?" + filled
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, badEndpoint("it is not a URL")
	}
	return u, nil
}

// encodeSegment encodes a path argument, or says why it is refused: an empty
// segment names another resource (DELETE /users/), and dot segments, also
// encoded ones, are resolved by some receivers after decoding.
func encodeSegment(s string) (string, string) {
	decoded, err := url.PathUnescape(s)
	if err != nil {
		decoded = s
	}
	switch {
	case s == "":
		return "", "the argument is part of the path and must not be empty"
	case strings.ContainsFunc(s+decoded, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "", "the argument is part of the path and must not hold control characters"
	case slices.ContainsFunc(strings.FieldsFunc(decoded, func(c rune) bool { return c == '/' || c == '\\' }), dots):
		return "", "the argument is part of the path and must not hold the segments \".\" or \"..\""
	}
	return url.PathEscape(s), ""
}

func dots(s string) bool { return s == "." || s == ".." }

// addQuery appends arguments as query parameters: scalars as text, lists of
// scalars as one parameter each, other values as JSON. Nulls are left out.
func addQuery(u *url.URL, args []member) error {
	if len(args) == 0 {
		return nil
	}
	fixed := u.Query()
	var b strings.Builder
	b.WriteString(u.RawQuery)
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(value))
	}
	for _, m := range args {
		if fixed.Has(m.Name) {
			return badArg(m.Name, "the endpoint fixes this query parameter", "leave the argument out")
		}
		for _, v := range queryValues(m.Value) {
			add(m.Name, v)
		}
	}
	u.RawQuery = b.String()
	return nil
}

func queryValues(v json.RawMessage) []string {
	if text, ok := scalarText(v); ok {
		return []string{text}
	}
	if v[0] == 'n' {
		return nil
	}
	var list []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &list) != nil {
		return []string{string(v)}
	}
	values := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := scalarText(item)
		if !ok {
			return []string{string(v)}
		}
		values = append(values, text)
	}
	return values
}

// headers sets the declared headers and the credential. Secrets are resolved
// here, and neither their values nor arguments are looked at for references.
func (f *filler) headers(out *outgoing, o *manifest.HTTPOptions, secrets *secret.Resolver) error {
	templates := make(map[string]string, len(o.Headers)+1)
	for name, t := range o.Headers {
		if slices.Contains(reserved, http.CanonicalHeaderKey(name)) {
			return fault.New(fault.ActionInvalid, "the action declares a header that it cannot set: %s", quoteShort(name))
		}
		templates[http.CanonicalHeaderKey(name)] = t
	}
	if o.Auth != "" {
		templates["Authorization"] = o.Auth
	}
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		parts, err := secret.Parse(templates[name])
		if err != nil {
			return err
		}
		var value strings.Builder
		for _, p := range parts {
			text := ""
			if p.Ref != "" {
				text, err = secrets.Value(p.Ref)
				out.credentials = true
			} else {
				text, err = f.fill(p.Text, encodeHeader)
			}
			if err != nil {
				return err
			}
			value.WriteString(text)
		}
		v := value.String()
		if _, problem := encodeHeader(v); problem != "" || len(v) > headerValueMax {
			return fault.New(fault.ActionInvalid, "header %s is not usable: it is not one line of at most %d characters", quoteShort(name), headerValueMax)
		}
		out.header.Set(name, v)
	}
	if o.Auth != "" {
		out.credentials = true
	}
	return nil
}

// encodeHeader refuses what could end a header line, here or in a receiver
// that cuts characters down to bytes.
func encodeHeader(s string) (string, string) {
	if strings.ContainsFunc(s, func(c rune) bool { return (c < ' ' && c != '\t') || c >= 0x7f }) {
		return "", "the argument is part of a header and must be printable ASCII"
	}
	return s, ""
}

func badArg(name, message, remedy string) error {
	pointer := "/args"
	if name != "" {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	return fault.New(fault.ActionInvalid, "the arguments are not usable").With(fault.Detail{Pointer: pointer, Message: message, Remedy: remedy})
}

func badEndpoint(message string) error {
	return fault.New(fault.EgressBlocked, "the action's endpoint is not usable").With(fault.Detail{Message: message, Remedy: "correct endpoint in the manifest"})
}
