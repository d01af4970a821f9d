package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/internal/secret"
)

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

// S2-33: a header template is resolved at run time, or fails with a clear
// message that holds no value.
func TestExpand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, data string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("crm", "file-canary\r\n")
	write("short", "ab\n")
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("outside-canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := secret.NewResolver(secret.Config{
		Env: env("TOKEN", "env-canary", "NESTED", "${TOKEN}xx", "SHORT", "12345", "EMPTY", "",
			"LINES", "abcdef\r\nX-Evil: 1", "LONG", strings.Repeat("x", 5000), "OAP_API_KEY", "own-canary-key"),
		Dir:  dir,
		Deny: []string{"OAP_*"},
	})
	for _, tc := range []struct {
		template, want, code string
	}{
		{template: "Bearer ${TOKEN}", want: "Bearer env-canary"},
		{template: "Bearer ${env:TOKEN}", want: "Bearer env-canary"},
		{template: "${file:crm}", want: "file-canary"},
		{template: "${file:" + dir + "/crm}", want: "file-canary"},
		{template: "a${TOKEN}b${TOKEN}c", want: "aenv-canarybenv-canaryc"},
		{template: "plain $5 text }", want: "plain $5 text }"},
		{template: "", want: ""},
		{template: "${NESTED}", want: "${TOKEN}xx"}, // values are not templates
		{template: "${ABSENT}", code: "missing"},
		{template: "${EMPTY}", code: "missing"},
		{template: "${SHORT}", code: "too_short"},
		{template: "${LONG}", code: "too_long"},
		{template: "${LINES}", code: "malformed"},
		{template: "${OAP_API_KEY}", code: "not_allowed"},
		{template: "${file:short}", code: "too_short"},
		{template: "${file:absent}", code: "missing"},
		{template: "${file:../outside}", code: "missing"},
		{template: "${file:" + outside + "}", code: "missing"},
		{template: "${file:link}", code: "missing"},
		{template: "${file:folder}", code: "missing"},
		{template: "${TOKEN", code: "reference_malformed"},
		{template: "${}", code: "reference_malformed"},
		{template: "${a b}", code: "reference_malformed"},
		{template: "${${TOKEN}}", code: "reference_malformed"},
	} {
		got, err := r.Expand(tc.template)
		if tc.code == "" {
			if err != nil || got != tc.want {
				t.Errorf("Expand(%q) = %q, %v, want %q", tc.template, got, err, tc.want)
			}
			continue
		}
		if fault.CodeOf(err) != fault.SecretMissing || got != "" {
			t.Errorf("Expand(%q) = %q, %v, want code %s", tc.template, got, err, fault.SecretMissing)
			continue
		}
		if f := fault.From(err); len(f.Details) != 1 || f.Details[0].Code != tc.code || f.Details[0].Remedy == "" {
			t.Errorf("Expand(%q) details = %v, want one with code %s and a remedy", tc.template, f.Details, tc.code)
		}
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "12345") {
			t.Errorf("Expand(%q) error shows a value: %v", tc.template, err)
		}
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "crm"), []byte("file-canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := secret.NewResolver(secret.Config{
		Env: env("CRM_TOKEN", "crm-canary", "CRM_ADMIN", "adm-canary", "HOME", "/root/home"), Dir: dir,
		Allow: []string{"CRM_*", "file:crm"}, Deny: []string{"CRM_ADMIN"},
	})
	for ref, allowed := range map[string]bool{"CRM_TOKEN": true, "file:crm": true, "CRM_ADMIN": false, "HOME": false, "file:other": false} {
		if _, err := r.Value(ref); (err == nil) != allowed {
			t.Errorf("Value(%s) error = %v, want allowed %t", ref, err, allowed)
		}
	}
	nobody := secret.NewResolver(secret.Config{Env: env("TOKEN", "env-canary"), Allow: []string{}})
	if _, err := nobody.Value("TOKEN"); fault.CodeOf(err) != fault.SecretMissing {
		t.Errorf("with an empty allow-list, Value error = %v", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	r := secret.NewResolver(secret.Config{Env: env("TOKEN", "env-canary")})
	for _, template := range []string{strings.Repeat("x", 9<<10), strings.Repeat("${TOKEN}", 17)} {
		if _, err := r.Expand(template); fault.CodeOf(err) != fault.SecretMissing {
			t.Errorf("Expand of %d bytes: error = %v, want %s", len(template), err, fault.SecretMissing)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a malformed pattern was accepted")
		}
	}()
	secret.NewResolver(secret.Config{Allow: []string{"["}})
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"Bearer ${CALENDAR_TOKEN}", "${file:a}", "${env:A}${B}", "${", "$", "$${A}", "${${A}}", "}{$"} {
		f.Add(s)
	}
	r := secret.NewResolver(secret.Config{Env: func(string) (string, bool) { return "canary-value", true }})
	f.Fuzz(func(t *testing.T, template string) {
		got, err := r.Expand(template)
		if err != nil {
			if fault.CodeOf(err) != fault.SecretMissing || strings.Contains(err.Error(), "canary-value") {
				t.Fatalf("Expand(%q) error = %v", template, err)
			}
			return
		}
		if strings.Contains(template, "canary-value") {
			return
		}
		if red := r.Redactor().Redact(got); strings.Contains(red, "canary-value") {
			t.Fatalf("redacted expansion of %q shows the value: %q", template, red)
		}
	})
}
