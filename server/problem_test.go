package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strconv"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
)

// Every code that exists has a status, so that none is answered as an internal
// error by accident.
func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../internal/fault/codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		status, ok := statuses[fault.Code(text)]
		if !ok || http.StatusText(status) == "" {
			t.Errorf("code %s (%s) has no status", text, spec.Names[0].Name)
		}
		return true
	})
	if n < 40 || n != len(statuses) {
		t.Errorf("read %d codes, the table has %d", n, len(statuses))
	}
}
