package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oap-runtime/oap/expr"
)

func ExampleCondition_Eval() {
	c, err := expr.CompileCondition("state.intents[*].intent == 'schedule_meeting' and user.role != 'guest'")
	if err != nil {
		fmt.Println(err)
		return
	}
	ok, err := c.Eval(context.Background(), expr.Vars{
		State: map[string]any{"intents": []any{
			map[string]any{"intent": "greet"},
			map[string]any{"intent": "schedule_meeting"},
		}},
		User: map[string]any{"role": "admin"},
	})
	fmt.Println(ok, err)
	// Output: true <nil>
}

func ExampleCondition_Explain() {
	c, err := expr.CompileCondition("state.session.step >= 2")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, reason, _ := c.Explain(context.Background(), expr.Vars{State: map[string]any{}})
	fmt.Println(reason)
	// Output: state.session.step >= 2 is false: state.session is missing
}

func ExampleStatement_Apply() {
	s, err := expr.CompileStatement("state.meetings.append(result.event_id)")
	if err != nil {
		fmt.Println(err)
		return
	}
	before := map[string]any{"step": json.Number("1")}
	after, err := s.Apply(context.Background(), expr.Vars{
		State:  before,
		Result: map[string]any{"event_id": json.Number("9007199254740993")},
	})
	fmt.Println(before, after, err)
	// Output: map[step:1] map[meetings:[9007199254740993] step:1] <nil>
}

func ExampleTemplate_Render() {
	t, err := expr.CompileTemplate(map[string]any{
		"to":      "$state.contact.mail",
		"subject": "Re: {{topic}}",
		"lines":   "{{summary.lines}}",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := t.Render(context.Background(), expr.Vars{
		State: map[string]any{"contact": map[string]any{"mail": "ann@example.org"}},
		Outputs: map[string]any{
			"topic":   "Review",
			"summary": map[string]any{"lines": []any{"one", "two"}},
		},
	})
	fmt.Println(out, err)
	fmt.Println("depends on", t.Names())
	// Output:
	// map[lines:[one two] subject:Re: Review to:ann@example.org] <nil>
	// depends on [summary topic]
}

func ExampleSyntaxError() {
	_, err := expr.CompileCondition("state.role = 'admin'")
	var syntax *expr.SyntaxError
	if errors.As(err, &syntax) {
		fmt.Println(syntax.Offset, syntax.Message+";", syntax.Remedy)
	}
	// Output: 11 an expression cannot assign; write == to compare
}
