package sandbox_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

func TestJavaScriptReturnsJSON(t *testing.T) {
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	p := sandbox.Program{Runtime: sandbox.JavaScript, Code: "return {twice: input.x * 2}"}
	out, err := s.Run(context.Background(), p, json.RawMessage(`{"x":21}`))
	if err != nil || string(out.Output) != `{"twice":42}` {
		t.Errorf("Run = %s, %v; want {\"twice\":42}", out.Output, err)
	}
}
