package manifest_test

import (
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// S0-28, S2-33, S2-81, S2-11: what is allowed, but should be looked at.
func TestLint(t *testing.T) {
	t.Parallel()
	const (
		get    = `"type":"invoke_api","name":"a","description":"d","method":"GET","endpoint":"https://a.example.com/","input_schema":{},"output_schema":{}`
		post   = `"type":"invoke_api","name":"a","description":"d","endpoint":"https://a.example.com/","input_schema":{},"output_schema":{}`
		python = `"type":"run_code","name":"a","description":"d","runtime":"python","input_schema":{},"output_schema":{}`
	)
	for _, tc := range []struct{ members, pointer, want string }{
		{get, "", ""},
		{strings.Replace(get, `"description":"d",`, "", 1), "/actions/0", "a has no description"},
		{strings.Replace(get, `"input_schema":{},`, "", 1), "/actions/0", "a has no input schema"},
		{strings.Replace(get, `,"output_schema":{}`, "", 1), "/actions/0", "a has no output schema"},
		{strings.Replace(get, "https", "http", 1), "", ""},
		{strings.Replace(get, "https", "http", 1) + `,"auth":"Bearer ${T}"`, "/actions/0/endpoint", "without encryption"},
		{post, "/actions/0", "a is a POST without an effect class"},
		{post + `,"effect":"keyed"`, "", ""},
		{post + `,"effect":"once"`, "/actions/0/effect", "neither verify nor compensate"},
		{post + `,"effect":"once","verify":"look"`, "", ""},
		{post + `,"effect":"once","compensate":"look"`, "", ""},
		{get + `,"result_path":"x","postconditions":["state.x = 1"]`, "/actions/0/result_path", "is not used"},
		{get + `,"result_select":"x"`, "/actions/0/result_select", "with result_path only"},
		{python + `,"code":"def f():\n  import openai\n"`, "/actions/0/code", "fails without the permission"},
		{python + `,"code":"import openai","permissions":{"llm":true}`, "", ""},
		{python + `,"code":"api_key = 'abcdefgh12345'"`, "/actions/0/code", "a password or key"},
		{python + `,"code":"k = 'AKIAIOSFODNN7EXAMPLE'"`, "/actions/0/code", "an AWS access key"},
		{python + `,"code":"k = 'sk-proj-abcdefghijklmnop1234'"`, "/actions/0/code", "an API key"},
		{python + `,"code":"t = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x'"`, "/actions/0/code", "a JSON Web Token"},
		{python + `,"code":"-----BEGIN RSA PRIVATE KEY-----"`, "/actions/0/code", "a private key"},
		{python + `,"code":"x","extensions":{"note":"Authorization: Basic dXNlcjpwYXNzd29yZA=="}`, "/actions/0/extensions/note", "basic credentials"},
		{python + `,"code":"x = 'postgres://app:hunter22@db/x'"`, "/actions/0/code", "a URL with a password"},
		{strings.Replace(get, "a.example.com/", "a.example.com/?key=AIzaSyA0123456789abcdefghijklmnopqrstuv", 1), "/actions/0/endpoint", "a Google API key"},
		{python + `,"code":"token = os.environ['TOKEN']; password = input('password: ')"`, "", ""},
		{python + `,"code":"x","tags":["basic authentication","bearer of good news"]`, "", ""},
	} {
		m := parse(t, `{"name":"L","version":"1.0.0","actions":[{`+tc.members+`},
			{"type":"invoke_api","name":"look","description":"d","method":"GET","endpoint":"https://a.example.com/","input_schema":{},"output_schema":{},"terminal":true}]}`)
		warnings := m.Lint()
		switch {
		case tc.want == "" && len(warnings) > 0:
			t.Errorf("%s: Lint = %+v, want nothing", tc.members, warnings)
		case tc.want != "" && (len(warnings) != 1 || warnings[0].Pointer != tc.pointer || warnings[0].Line != 1 || !strings.Contains(warnings[0].Message, tc.want)):
			t.Errorf("%s: Lint = %+v, want %q at %s", tc.members, warnings, tc.want, tc.pointer)
		}
	}
}

func TestLintOfTheSeed(t *testing.T) {
	t.Parallel()
	var got []string
	for _, w := range parse(t, string(readFile(t, "../examples/meetbot/seed-manifest.json"))).Lint() {
		if w.Remedy == "" || w.Line == 0 {
			t.Errorf("%+v has no remedy or line", w)
		}
		got = append(got, w.Pointer)
	}
	if want := " /version /actions/0 /actions/1/code /actions/2 /actions/3"; strings.Join(got, " ") != want {
		t.Errorf("Lint = %q, want %q", got, want)
	}
	bare := parse(t, `[{"type":"human_intervention","name":"a","description":"d","terminal":true}]`)
	if w := bare.Lint(); len(w) != 1 || !strings.Contains(w[0].Message, "actions 0.0.0") {
		t.Errorf("Lint of a bare list = %+v", w)
	}
}

// S2-33, S2-81: a credential in auth or headers is an error, and the error
// does not repeat it.
func TestCredentialsAreRefused(t *testing.T) {
	t.Parallel()
	for _, members := range []string{
		`"auth":"Bearer tok-ABCDEF"`, `"auth":""`, `"auth":"Bearer sk-tok-ABCDEFABCDEFABCDEF ${T}"`, `"auth":"${T"`, `"auth":"${T-ABCDEF}"`, `"auth":"${file:}"`,
		`"headers":{"x-api-key":"tok-ABCDEF"}`, `"headers":{"Cookie":"tok-ABCDEF"}`, `"headers":{"X-Note":"Bearer tok-ABCDEFABCDEFABCDEF"}`,
		`"headers":{"X":"a\nAuthorization: tok-ABCDEF"}`, `"auth":"${T}","headers":{"Authorization":"${T}"}`,
	} {
		_, err := manifest.Parse([]byte(`{"name":"L","version":"1.0.0","actions":[{"type":"invoke_api","name":"a","endpoint":"https://a.example.com/",` + members + `}]}`))
		if fault.CodeOf(err) != fault.ManifestInvalid {
			t.Errorf("%s: Parse = %v, want an error", members, err)
		} else if strings.Contains(err.Error(), "tok-ABCDEF") {
			t.Errorf("%s: the error repeats the credential: %v", members, err)
		}
	}
	for _, members := range []string{`"auth":"Bearer ${T}"`, `"auth":"${env:T}"`, `"auth":"Basic ${file:crm/basic}"`, `"headers":{"X-Api-Key":"${K}","X-Note":"plain $5"}`} {
		if _, err := manifest.Parse([]byte(`{"name":"L","version":"1.0.0","actions":[{"type":"invoke_api","name":"a","endpoint":"https://a.example.com/",` + members + `}]}`)); err != nil {
			t.Errorf("%s: %v", members, err)
		}
	}
}
