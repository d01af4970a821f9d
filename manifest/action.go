package manifest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oap-runtime/oap/expr"
)

const (
	// Bounds of an action's numbers; values outside are refused.
	timeoutMax    = time.Hour
	backoffMax    = 10 * time.Minute
	attemptsMax   = 20
	cpuMax        = 10 * time.Minute
	wallMax       = time.Hour
	memoryMaxMB   = 2048
	outputMaxKB   = 64 << 10
	logMaxKB      = 16 << 10
	hostCallsMax  = 10_000
	responseMaxKB = 64 << 10
	fileMaxKB     = 64 << 10
	expiresMaxS   = 366 * 24 * 3600
	costMaxUSD    = 1e6
	latencyMaxMS  = 24 * 3600 * 1000
	// Bounds of its lists and texts.
	tagsMax, scopesMax, queryMax, headersMax = 32, 32, 64, 32
	choicesMax                               = 50
	endpointMax, authMax, headerMax, pathMax = 4096, 1024, 1024, 1024
	promptMax                                = 8192
)

func (d *decoder) action(n *node) *Action {
	if n.kind != object {
		d.p.report(n, "type", "write an object with type, name and description", "got %s, want an action", n.kind)
		return nil
	}
	f := fieldsOf(n, d.p)
	a := &Action{}
	d.identity(a, f)
	a.Type = d.actionType(f)
	a.Description = f.text(descriptionMax, "description")
	a.Capability = f.text(256, "capability")
	a.Tags = f.texts(tagsMax, "tags")

	input := f.node("input_schema", "parameters_schema", "inputSchema")
	a.Input = d.schema(input, true)
	a.Output = d.schema(f.node("output_schema", "outputSchema"), false)

	d.http(a, f)
	d.code(a, f)
	d.file(a, f)
	d.human(a, f)
	d.security(a, f)
	d.consequences(a, f)
	d.stateRules(a, f)
	d.patience(a, f)
	a.Extensions = f.raw("extensions")
	f.done()

	d.belongs(a, f)
	if a.Input == nil && input == nil {
		a.Input = a.defaultInput()
	}
	d.arguments(a, f)
	infer(a, f)
	return a
}

// identity reads the name: action_id where there is one, and then name is the
// title, else name.
func (d *decoder) identity(a *Action, f *fields) {
	a.Title = f.text(titleMax, "title")
	id := f.of(text, "action_id")
	if id == nil {
		a.Name = f.required(nameSyntax, "name")
		return
	}
	f.match(id, idSyntax)
	a.Name = id.text
	if name := f.text(titleMax, "name"); a.Title == "" {
		a.Title = name
	}
}

// actionType returns the declared type, or the one that a field implies.
func (d *decoder) actionType(f *fields) Type {
	types := []string{string(InvokeAPI), string(RunCode), string(ReadFile), string(WriteFile), string(HumanIntervention)}
	if f.node("type") != nil {
		return Type(f.choice("type", types...))
	}
	switch {
	case f.n.get("endpoint") != nil:
		return InvokeAPI
	case f.n.get("code") != nil:
		return RunCode
	}
	d.p.report(f.n, "required", "add \"type\" and its fields, such as \"type\": \"invoke_api\" with \"endpoint\"; the types are "+strings.Join(types, ", "),
		"type is missing: the action says what it takes, but not what performs it")
	return ""
}

func (d *decoder) http(a *Action, f *fields) {
	o := &HTTPOptions{
		Endpoint:        f.text(endpointMax, "endpoint"),
		Auth:            f.text(authMax, "auth"),
		Headers:         d.headers(f),
		Query:           f.texts(queryMax, "query"),
		FollowRedirects: f.bool("follow_redirects"),
		MaxResponse:     f.int(1, responseMaxKB, "max_response_kb") << 10,
	}
	method := f.of(text, "method")
	if a.Type != InvokeAPI {
		return
	}
	a.HTTP = o
	o.Method = http.MethodPost
	if method != nil {
		o.Method = strings.ToUpper(method.text)
		methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
		if !slices.Contains(methods, o.Method) {
			d.p.report(method, "enum", "write one of "+strings.Join(methods, ", "), "%q is not a method", clip(method.text))
		}
	}
	if at := f.n.get("auth"); at != nil && at.kind == text {
		d.secretTemplate(at, true)
	}
	at := f.n.get("endpoint")
	if at == nil {
		d.p.report(f.n, "required", `add "endpoint", an absolute URL`, "endpoint is missing")
	} else if at.kind == text {
		d.endpoint(at)
	}
}

func (d *decoder) headers(f *fields) map[string]string {
	n := f.of(object, "headers")
	if n == nil {
		return nil
	}
	if len(n.members) > headersMax {
		d.p.report(n, "too_long", "", "there are %d headers, the most is %d", len(n.members), headersMax)
		return nil
	}
	headers := map[string]string{}
	for _, m := range n.members {
		v := m.value
		switch {
		case v.kind != text:
			d.p.report(v, "type", "", "got %s, want a string", v.kind)
			continue
		case !headerSyntax.MatchString(m.name):
			d.p.report(v, "header", "", "%q is not a header name", clip(m.name))
			continue
		case slices.Contains(reservedHeaders, http.CanonicalHeaderKey(m.name)):
			d.p.report(v, "header", "remove it", "the runtime sets %s itself", http.CanonicalHeaderKey(m.name))
			continue
		case len(v.text) > headerMax:
			d.p.report(v, "too_long", "", "the value has %d bytes, the most is %d", len(v.text), headerMax)
			continue
		}
		if http.CanonicalHeaderKey(m.name) == "Authorization" && f.n.get("auth") != nil {
			d.p.report(v, "duplicate", "keep one of them", "auth and the header Authorization are the same field")
		}
		d.secretTemplate(v, secretHeader.MatchString(m.name))
		headers[http.CanonicalHeaderKey(m.name)] = v.text
	}
	return headers
}

var (
	headerSyntax = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	// reservedHeaders frame the message or are how the runtime keeps its
	// promises about repetition.
	reservedHeaders = []string{
		"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive",
		"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
)

// endpoint checks that the URL is absolute and carries no credentials.
func (d *decoder) endpoint(n *node) {
	if strings.Contains(n.text, "${") {
		d.p.report(n, "endpoint", "put secrets into auth or headers; URLs end up in logs", "an endpoint cannot hold a secret")
		return
	}
	plain := placeholder.ReplaceAllString(n.text, "x")
	u, err := url.Parse(plain)
	switch {
	case err != nil || strings.ContainsAny(plain, "{} \t\r\n"):
		d.p.report(n, "endpoint", "write an absolute URL, such as https://api.example.com/v1/events/{event_id}", "%q is not a URL", clip(n.text))
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "":
		d.p.report(n, "endpoint", "write an absolute URL, such as https://api.example.com/v1/events", "%q is not an absolute http or https URL", clip(n.text))
	case u.User != nil:
		d.p.report(n, "credential", `write "auth": "Basic ${NAME}" instead`, "the endpoint carries a user name or password")
	case u.Fragment != "":
		d.p.report(n, "endpoint", "remove it", "a fragment (#…) is never sent")
	case strings.Contains(strings.SplitN(n.text[strings.Index(n.text, "://")+3:], "/", 2)[0], "{"):
		d.p.report(n, "endpoint", "write out the host; arguments fill the path and the query", "an argument cannot choose the host")
	}
}

func (d *decoder) code(a *Action, f *fields) {
	o := &CodeOptions{
		Runtime:    f.text(64, "runtime"),
		Code:       f.text(documentMax, "code"),
		Entrypoint: f.text(128, "entrypoint"),
	}
	l := fieldsOf(f.node("limits"), d.p)
	o.Limits = Limits{
		CPU:         l.ms(time.Millisecond, cpuMax, "cpu_ms"),
		Wall:        l.ms(time.Millisecond, wallMax, "wall_ms"),
		MemoryBytes: l.int(1, memoryMaxMB, "memory_mb") << 20,
		OutputBytes: l.int(1, outputMaxKB, "output_kb") << 10,
		LogBytes:    l.int(1, logMaxKB, "log_kb") << 10,
		HostCalls:   int(l.int(1, hostCallsMax, "host_calls")),
	}
	l.done()
	g := fieldsOf(f.node("permissions"), d.p)
	o.LLM = g.bool("llm")
	g.done()
	if a.Type != RunCode {
		return
	}
	a.Code = o
	for _, name := range []string{"runtime", "code"} {
		if n := f.n.get(name); n == nil || n.kind == text && strings.TrimSpace(n.text) == "" {
			remedy := `add "code", the source text`
			if name == "runtime" {
				remedy = `add "runtime", such as "python3.11" or "javascript"`
			}
			d.p.report(f.n, "required", remedy, "%s is missing", name)
		}
	}
}

func (d *decoder) file(a *Action, f *fields) {
	o := &FileOptions{
		Path:     f.text(pathMax, "path"),
		Encoding: f.choice("encoding", "text", "json", "base64"),
		MaxBytes: f.int(1, fileMaxKB, "max_kb") << 10,
	}
	if a.Type != ReadFile && a.Type != WriteFile {
		return
	}
	a.File = o
	if o.Encoding == "" {
		o.Encoding = "text"
	}
	if n := f.n.get("path"); n != nil && n.kind == text {
		if plain := placeholder.ReplaceAllString(n.text, "x"); strings.ContainsAny(plain, "{}\x00") || strings.Contains("/"+plain+"/", "/../") {
			d.p.report(n, "path", "write a path such as reports/{name}.txt", "%q is not a path", clip(n.text))
		}
	}
}

func (d *decoder) human(a *Action, f *fields) {
	o := &HumanOptions{
		Prompt:  f.text(promptMax, "prompt"),
		Choices: f.texts(choicesMax, "choices"),
		Expires: time.Duration(f.int(1, expiresMaxS, "expires_s")) * time.Second,
	}
	if a.Type != HumanIntervention {
		return
	}
	a.Human = o
	if _, err := expr.CompileTemplate(o.Prompt); err != nil {
		d.expression(f.n.get("prompt"), err)
	}
}

func (d *decoder) security(a *Action, f *fields) {
	direct := f.node("scopes", "requiredScopes")
	s := fieldsOf(f.node("security"), d.p)
	a.Scopes = s.texts(scopesMax, "scopes")
	s.done()
	if direct != nil {
		if nested := s.n.get("scopes"); nested != nil {
			d.p.report(direct, "duplicate", "keep one of them", "%s and security.scopes are the same field", direct.name)
		}
		a.Scopes = f.texts(scopesMax, direct.name)
	}
	for _, scope := range a.Scopes {
		if strings.ContainsAny(scope, " \t\r\n\f\v\",\\") {
			at := direct
			if at == nil {
				at = s.n.get("scopes")
			}
			d.p.report(at, "pattern", "write one scope per entry, such as \"write:calendar\"", "the scope %q has a space, comma, quote or backslash in it", clip(scope))
		}
	}
}

// consequences reads what repeating or undoing the action means.
func (d *decoder) consequences(a *Action, f *fields) {
	a.Effect = Effect(f.choice("effect", string(Read), string(Idempotent), string(Keyed), string(Once)))
	a.Risk = Risk(f.choice("risk", string(Low), string(Medium), string(High)))
	a.Compensate = f.text(128, "compensate")
	a.Verify = f.text(128, "verify")
	a.Flag = f.text(128, "flag")
	a.Terminal = f.bool("terminal")
	f.bool("destructive") // see infer
	if n := f.node("requires_confirmation", "requiresConfirmation"); n != nil {
		a.RequiresConfirmation = f.bool(n.name)
	}
	m := fieldsOf(f.node("metadata"), d.p)
	if cost := m.float(0, costMaxUSD, "cost_usd"); cost != nil {
		a.CostUSD = *cost
	}
	a.LatencyMS = m.int(0, latencyMaxMS, "latency_ms")
	a.SafetyLevel = m.text(64, "safety_level")
	m.done()
}

// stateRules reads when the action may run and what becomes of its output.
func (d *decoder) stateRules(a *Action, f *fields) {
	a.Preconditions = expressions(d, f.of(array, "preconditions"), expr.CompileCondition)
	a.Postconditions = expressions(d, f.of(array, "postconditions"), expr.CompileStatement)
	if n := f.of(text, "result_path"); n != nil {
		a.ResultPath = d.path(n)
		if len(a.ResultPath) > 0 && a.ResultPath[0] == "environment" {
			a.ResultPath = a.ResultPath[1:]
			if len(a.ResultPath) == 0 {
				d.p.report(n, "path", `name a member, such as "environment.agenda"`, "the output cannot replace the whole environment")
			}
		}
	}
	if n := f.of(text, "result_select"); n != nil {
		a.ResultSelect = d.path(n)
	}
}

// path splits a dotted path.
func (d *decoder) path(n *node) []string {
	parts := strings.Split(n.text, ".")
	if len(parts) > 16 {
		d.p.report(n, "path", "", "the path has %d parts, the most is 16", len(parts))
		return nil
	}
	for _, part := range parts {
		if part == "" || len(part) > 128 || strings.ContainsAny(part, "[]*$/ \t\r\n\f\v") {
			d.p.report(n, "path", `write member names with dots between them, such as "calendar.free_slots"`, "%q is not a path", clip(n.text))
			return nil
		}
	}
	return parts
}

// patience reads how long and how often a call is tried.
func (d *decoder) patience(a *Action, f *fields) {
	a.Timeout = f.ms(time.Millisecond, timeoutMax, "timeout_ms")
	r := fieldsOf(f.node("retry"), d.p)
	a.Retry.Attempts = int(r.int(1, attemptsMax, "attempts"))
	a.Retry.Backoff = r.ms(0, backoffMax, "backoff_ms")
	if n := r.of(array, "statuses"); n != nil {
		a.Retry.Statuses = []int{}
		if len(n.items) > 100 {
			d.p.report(n, "too_long", "", "the list has %d entries, the most is 100", len(n.items))
			n = &node{}
		}
		for _, item := range n.items {
			if item.kind != number {
				d.p.report(item, "type", "", "got %s, want a number", item.kind)
				continue
			}
			a.Retry.Statuses = append(a.Retry.Statuses, int(r.integer(item, 400, 599)))
		}
	}
	r.done()
}

// belongs reports fields that mean nothing for the action's type.
func (d *decoder) belongs(a *Action, f *fields) {
	if a.Type == "" {
		return
	}
	for _, m := range f.n.members {
		types, ok := fieldTypes[m.name]
		if !ok || slices.Contains(types, a.Type) {
			continue
		}
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = string(t)
		}
		d.p.reportAt(m.value.pointer(), m.line, m.column, "unknown", "remove it, or change the type", "%s belongs to %s, not to %s", m.name, strings.Join(names, " and "), a.Type)
	}
}

// fieldTypes are the types of action that a field belongs to; a field that is
// not listed belongs to all.
var fieldTypes = func() map[string][]Type {
	m := map[string][]Type{}
	for t, names := range map[Type][]string{
		InvokeAPI:         {"endpoint", "method", "auth", "headers", "query", "follow_redirects", "max_response_kb"},
		RunCode:           {"runtime", "code", "entrypoint", "limits", "permissions"},
		HumanIntervention: {"prompt", "choices", "expires_s"},
	} {
		for _, name := range names {
			m[name] = []Type{t}
		}
	}
	for _, name := range []string{"path", "encoding", "max_kb"} {
		m[name] = []Type{ReadFile, WriteFile}
	}
	return m
}()

// placeholder is {name} in an endpoint or a path.
var placeholder = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_.-]{0,127})\}`)

// arguments checks that the arguments that an action's fields name exist.
func (d *decoder) arguments(a *Action, f *fields) {
	known, open := a.Input.arguments()
	check := func(at *node, name string) {
		if slices.Contains(known, name) || open && len(known) == 0 {
			return
		}
		remedy := fmt.Sprintf("add %q to the properties of input_schema", name)
		if near := nearest(name, known); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		d.p.report(at, "reference", remedy, "%q is not an argument of the action", clip(name))
	}
	for _, field := range []string{"endpoint", "path"} {
		if n := f.n.get(field); n != nil && n.kind == text {
			for _, m := range placeholder.FindAllStringSubmatch(n.text, -1) {
				check(n, m[1])
			}
		}
	}
	if headers := f.n.get("headers"); headers != nil && headers.kind == object {
		for _, h := range headers.members {
			for _, m := range placeholder.FindAllStringSubmatch(secretSyntax.ReplaceAllString(h.value.text, ""), -1) {
				check(h.value, m[1])
			}
		}
	}
	if n := f.n.get("query"); n != nil && a.HTTP != nil && len(a.HTTP.Query) > 0 {
		for _, item := range n.items {
			if item.kind == text {
				check(item, item.text)
			}
		}
	}
	if a.File != nil && a.File.Path == "" && len(known) > 0 && !slices.Contains(known, "path") {
		d.p.report(f.n, "required", `add "path" to the action or to the properties of input_schema`, "nothing says which file")
	}
	if a.Human != nil && a.Human.Prompt == "" && len(known) > 0 && !slices.Contains(known, "question") {
		d.p.report(f.n, "required", `add "prompt" to the action or "question" to the properties of input_schema`, "nothing says what to ask")
	}
}
