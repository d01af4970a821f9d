package manifest

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
	"unicode/utf8"
)

// secretReference is what may stand between ${ and }: the name of an
// environment variable, or of a file.
var secretReference = regexp.MustCompile(`^(?:(?:env:)?[A-Za-z_][A-Za-z0-9_]{0,127}|file:[A-Za-z0-9_./-]{1,255})$`)

// secretSyntax is a whole reference.
var secretSyntax = regexp.MustCompile(`\$\{[^{}]*\}`)

// secretHeader matches the names of headers whose value is always a secret.
var secretHeader = regexp.MustCompile(`(?i)^authorization$|^cookie$|token|secret|passw|api[-_]?key|access[-_]?key|auth[-_]?key|credential`)

// secretTemplate checks "Bearer ${NAME}". A value that must be secret has at
// least one reference, and no text of a template may look like a credential.
func (d *decoder) secretTemplate(n *node, mustRefer bool) {
	const remedy = `write "Bearer ${NAME}" and set the variable where the server runs; ${env:NAME} and ${file:NAME} work too`
	literal := ""
	references := 0
	rest := n.text
	if strings.ContainsAny(rest, "\r\n\x00") {
		d.p.report(n, "header", "remove it", "the value has a line break in it")
		return
	}
	for {
		before, after, found := strings.Cut(rest, "${")
		literal += before
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			d.p.report(n, "template", remedy, "a ${ is not closed")
			return
		}
		if !secretReference.MatchString(name) {
			d.p.report(n, "template", remedy, "${%s} does not name a secret", clip(name))
			return
		}
		references++
		rest = tail
		literal += " "
	}
	if what := credentialIn(literal); what != "" {
		d.p.report(n, "credential", remedy, "the value holds %s; a manifest never holds credentials", what)
	} else if mustRefer && references == 0 {
		d.p.report(n, "credential", remedy, "the value is written out; a manifest never holds credentials")
	}
}

// credentialPatterns are the shapes of credentials that are recognized in any
// text. Each is specific enough that a match is almost never prose.
var credentialPatterns = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`)},
	{"a JSON Web Token", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.`)},
	{"an AWS access key", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{30,}`)},
	{"a GitHub token", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`)},
	{"a GitLab token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`)},
	{"a Slack token", regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}`)},
	{"an API key", regexp.MustCompile(`\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])*[A-Za-z0-9]{16,}|\bop_[A-Za-z0-9]{24,}`)},
	{"a bearer token", regexp.MustCompile(`(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}`)},
	{"a URL with a password", regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^\s/:@"'{}]+:[^\s/@"'{}]{3,}@`)},
	{"a password or key", regexp.MustCompile(`(?i)(?:password|passwd|secret|api_?key|access_?token|auth_?token|private_?key)["']?\s*(?:=|:)\s*["'][^"'\s${}<>]{8,}["']`)},
}

// credentialIn names the kind of credential that s seems to hold, or "".
func credentialIn(s string) string {
	if len(s) < 12 {
		return ""
	}
	for _, c := range credentialPatterns {
		if c.pattern.MatchString(s) {
			return c.what
		}
	}
	for _, m := range basic.FindAllStringSubmatch(s, basicMax) {
		pair, err := base64.RawStdEncoding.DecodeString(m[1])
		if err == nil && bytes.IndexByte(pair, ':') > 0 && utf8.Valid(pair) {
			return "basic credentials"
		}
	}
	return ""
}

// basic matches what may be HTTP Basic credentials: they are when they decode
// to name:password, which words never do. basicMax bounds how many are tried.
var basic = regexp.MustCompile(`(?i)\bbasic\s+([A-Za-z0-9+/]{6,1000})`)

const basicMax = 100
