package sandbox

import (
	"strings"

	"github.com/oap-runtime/oap/wasm-modules/javascript"
	"github.com/oap-runtime/oap/wasm-modules/python"
)

// aliases maps what manifests call a language to the runtime; a version may follow directly ("python3.11", "node20").
var aliases = []struct {
	prefix  string
	runtime Runtime
}{
	{"python", Python},
	{"cpython", Python},
	{"py", Python},
	{"javascript", JavaScript},
	{"js", JavaScript},
	{"node", JavaScript},
	{"nodejs", JavaScript},
	{"quickjs", JavaScript},
	{"ecmascript", JavaScript},
}

// shipped says what really runs, and for which requested versions no remark is needed.
var shipped = map[Runtime]struct{ product, version, series string }{
	Python:     {"CPython", python.Version, "3.13"},
	JavaScript: {"QuickJS-NG", javascript.Version, ""},
}

// ParseRuntime finds the runtime that a manifest means by name, such as "python", "python3.11", "javascript", "js" or
// "node20". The note, when not empty, tells the user that another version than the named one runs the code. ok is false
// for names of languages that the sandbox does not run.
func ParseRuntime(name string) (rt Runtime, note string, ok bool) {
	lower := strings.ToLower(strings.TrimSpace(name))
	for _, a := range aliases {
		rest, found := strings.CutPrefix(lower, a.prefix)
		if !found {
			continue
		}
		version := strings.TrimLeft(rest, "@-: ")
		if !isVersion(version) {
			continue
		}
		return a.runtime, versionNote(a.runtime, name, a.prefix, version), true
	}
	return "", "", false
}

func versionNote(rt Runtime, name, prefix, version string) string {
	s := shipped[rt]
	switch {
	case rt == JavaScript && strings.HasPrefix(prefix, "node"):
		return name + " runs " + s.product + " " + s.version + " (ES2025 without Node.js modules)"
	case version == "" || rt == JavaScript:
		return ""
	case version == "3" || version == s.series || version == s.version:
		return ""
	}
	return name + " runs " + s.product + " " + s.version
}

// isVersion accepts dotted numbers and the empty string.
func isVersion(s string) bool {
	for i, r := range s {
		if (r < '0' || r > '9') && (r != '.' || i == 0) {
			return false
		}
	}
	return len(s) <= 16
}

// Version names the product and version that runs code of this runtime, such as "CPython 3.13.5"; empty when unknown.
func (rt Runtime) Version() string {
	s, ok := shipped[rt]
	if !ok {
		return ""
	}
	return s.product + " " + s.version
}

// Digest identifies the engine and the modules around it that run code of this runtime, as "sha256:" and hexadecimal
// digits; empty when the runtime is unknown. A session that pins it notices when another engine would continue it.
func (rt Runtime) Digest() string {
	switch rt {
	case Python:
		return python.Digest()
	case JavaScript:
		return javascript.Digest()
	}
	return ""
}
