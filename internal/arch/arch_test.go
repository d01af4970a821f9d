package arch_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oap-runtime/oap"

// mayImport is the whole architecture: each package and the packages of ours
// that it may import. Read it from the bottom up. "*" means anything.
var mayImport = map[string]string{
	"cmd/oap": "*",

	"server": "session manifest executor planner internal/auth internal/fault internal/httpx",
	"store":  "session executor manifest planner internal/fault",

	"session": "planner executor manifest expr internal/auth internal/fault",

	"planner/llm":      "planner manifest internal/fault",
	"planner/scripted": "planner manifest internal/fault",
	"planner":          "manifest expr internal/fault",
	"executor":         "manifest expr sandbox internal/auth internal/fault internal/httpx internal/secret",

	"manifest": "expr internal/fault",

	"expr":                 "",
	"sandbox":              "sandbox/wasmedit sandbox/internal/... wasm-modules/python wasm-modules/javascript",
	"sandbox/...":          "sandbox/...",
	"wasm-modules/...":     "wasm-modules/...",
	"internal/auth":        "internal/fault",
	"internal/fault":       "",
	"internal/secret":      "internal/fault",
	"internal/arch":        "",
	"examples/...":         "",
	"internal/demo":        "internal/fault",
	"internal/client":      "internal/fault",
	"internal/pgtest":      "",
	"internal/browsertest": "",
	"store/storetest":      "session executor manifest planner internal/fault",
	"planner/internal/...": "",
}

// owners are the packages that alone may import a third party's module.
var owners = map[string]string{
	"github.com/tetratelabs/wazero":         "sandbox",
	"github.com/sashabaranov/go-openai":     "planner/llm planner/scripted",
	"gorm.io/gorm":                          "store",
	"github.com/gin-gonic/gin":              "server",
	"github.com/alecthomas/kong":            "cmd/oap",
	"cel.dev/cel-go":                        "expr",
	"github.com/santhosh-tekuri/jsonschema": "manifest",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Doc        string
	GoFiles    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Doc,GoFiles", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// match reports whether pattern, a package or "prefix/...", covers name.
func match(pattern, name string) bool {
	prefix, wild := strings.CutSuffix(pattern, "/...")
	return pattern == name || wild && (name == prefix || strings.HasPrefix(name, prefix+"/"))
}

func TestImportsFollowTheLayers(t *testing.T) {
	for _, p := range list(t) {
		allowed, known := mayImport[p.ImportPath]
		if !known {
			for pattern, a := range mayImport {
				if match(pattern, p.ImportPath) {
					allowed, known = a, true
				}
			}
		}
		if !known {
			t.Errorf("%s is not in mayImport: say where it belongs", p.ImportPath)
			continue
		}
		if allowed == "*" {
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module+"/")
			if ours && !slices.ContainsFunc(strings.Fields(allowed), func(a string) bool { return match(a, dep) }) {
				t.Errorf("%s imports %s", p.ImportPath, dep)
			}
		}
	}
}

func TestThirdPartiesHaveOneOwner(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			for third, by := range owners {
				if !match(third+"/...", imp) {
					continue
				}
				if !slices.ContainsFunc(strings.Fields(by), func(o string) bool { return match(o+"/...", p.ImportPath) }) {
					t.Errorf("%s imports %s, which belongs to %s", p.ImportPath, imp, by)
				}
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		if !strings.HasPrefix(p.Doc, "Package ") && !strings.HasPrefix(p.Doc, "Command ") {
			t.Errorf("%s has no package comment that says what it is for", p.ImportPath)
		}
	}
}
