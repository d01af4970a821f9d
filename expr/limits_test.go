package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// Sources that would be expensive do not compile (S1-27).
func TestSourceBounds(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"length":      strings.Repeat("1 + ", 1100) + "1 > 0",
		"parentheses": strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000),
		"lists":       strings.Repeat("[", 500) + strings.Repeat("]", 500) + " == 1",
		"objects":     strings.Repeat("{'a':", 300) + "1" + strings.Repeat("}", 300) + " == 1",
		"nots":        strings.Repeat("not (", 200) + "true" + strings.Repeat(")", 200),
		"chain":       "a" + strings.Repeat(".a", 500) + " == 1",
		"indexes":     "a" + strings.Repeat("[0]", 500) + " == 1",
		"nested":      strings.Repeat("a[", 300) + "0" + strings.Repeat("]", 300) + " == 1",
		"ternaries":   strings.Repeat("a ? b : ", 300) + "c",
		"sum":         strings.Repeat("1+", 500) + "1 > 0",
		"brackets":    strings.Repeat("[", 4096),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := expr.CompileCondition(src)
			wantSyntax(t, err, "")
		})
	}
	// Within the bounds there is room for real conditions.
	wide := strings.TrimSuffix(strings.Repeat("state.session.step == 2 and ", 120), " and ")
	if got, err := eval(t, wide, meeting(t)); err != nil || !got {
		t.Errorf("a wide condition: %v, %v", got, err)
	}
	mustCondition(t, strings.Repeat("(", 50)+"true"+strings.Repeat(")", 50))
}

// Evaluations that would be expensive end in an error.
func TestEvaluationBounds(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range 20_000 {
		deep = []any{deep}
	}
	other := any("x")
	for range 20_000 {
		other = []any{other}
	}
	numbers := make([]any, 200_000)
	for i := range numbers {
		numbers[i] = json.Number(fmt.Sprint(i))
	}
	same := append([]any(nil), numbers...)
	v := expr.Vars{State: map[string]any{
		"deep": deep, "other": other, "list": numbers, "same": same,
		"text": strings.Repeat("ab", 4<<20), "half": strings.Repeat("x", 600_000),
		"huge": json.Number("1e999999999"), "tiny": json.Number("1e-999999999"), "absurd": json.Number("1e99999999999999"),
		"digits": json.Number(strings.Repeat("9", 1_000_000)),
	}}
	tests := []struct {
		src     string
		reasons []expr.Reason
	}{
		{"state.list[*] == -1", []expr.Reason{expr.ReasonCost, expr.ReasonDeadline}},
		{"size(state.list[*]) == 0", []expr.Reason{expr.ReasonCost, expr.ReasonDeadline}},
		{"state.list[*] == state.list[*] + 1", []expr.Reason{expr.ReasonCost, expr.ReasonDeadline}},
		{"state.list == state.same", []expr.Reason{expr.ReasonCost}},
		{"-1 in state.list", []expr.Reason{expr.ReasonCost}},
		{"state.deep == state.other", []expr.Reason{expr.ReasonSize, expr.ReasonCost}},
		{strings.TrimSuffix(strings.Repeat("state.text.contains('abc') or ", 40), " or "), []expr.Reason{expr.ReasonCost}},
		{"state.half + state.half == ''", []expr.Reason{expr.ReasonSize}},
		{"(state.list + state.list) == null", []expr.Reason{expr.ReasonSize}},
		{"state.huge + 1 > 0", []expr.Reason{expr.ReasonRange}},
		{"1 / state.tiny > 0", []expr.Reason{expr.ReasonRange}},
		{"state.absurd > 0", []expr.Reason{expr.ReasonRange}},
		{"state.digits * 2 > 0", []expr.Reason{expr.ReasonRange}},
		{strings.Repeat("9223372036854775807 * ", 60) + "1 > 0", []expr.Reason{expr.ReasonRange}},
		{"1 / 0 > 0", []expr.Reason{expr.ReasonRange}},
		{"1 % 0 > 0", []expr.Reason{expr.ReasonRange}},
	}
	for _, tt := range tests {
		t.Run(tt.src[:min(len(tt.src), 40)], func(t *testing.T) {
			t.Parallel()
			_, err := eval(t, tt.src, v)
			wantReason(t, err, tt.reasons...)
		})
	}
	// Large data that is only passed over costs nothing.
	for _, src := range []string{
		"state.text != null", "state.text != 'a'", "state.list != null", "size(state.list) == 200000", "state.list[199999] == 199999",
		"state.huge > state.tiny and state.huge == state.huge", "state.digits > state.tiny", "state.list != []", "state.deep != 1",
	} {
		if got, err := eval(t, src, v); err != nil || !got {
			t.Errorf("%s: Eval = %v, %v, want true", src, got, err)
		}
	}
	if _, err := apply(t, "state.copy = state.deep", v); err != nil {
		t.Errorf("copying a deep value: %v", err)
	}
}

// A number is copied digit for digit, whatever it is (PL6).
func TestNumbersAreCopiedExactly(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"9007199254740993", "123456789012345678901234567890", "1.0", "1.10", "-0", "1e400", "1E+2", "9223372036854775808", "0.1000000000000000055511151231257827", "1e99999999999"} {
		v := expr.Vars{Result: map[string]any{"n": json.Number(n)}}
		for _, src := range []string{"state.a = result.n", "state.a = [result.n][0]", "state.a = {'x': result.n}.x", "state.a = true ? n : 0", "state.a = result.nope == null ? [{'x': n}][*].x : 1"} {
			got, err := apply(t, src, v)
			if err != nil {
				t.Fatal(err)
			}
			a := got.(map[string]any)["a"]
			if list, ok := a.([]any); ok {
				a = list[0]
			}
			if a != json.Number(n) {
				t.Errorf("%s: got %v (%T), want %s", src, a, a, n)
			}
		}
		got, err := render(t, []any{"{{n}}", "$result.n", "={{n}}"}, v)
		if err != nil {
			t.Fatal(err)
		}
		list := got.([]any)
		if list[0] != json.Number(n) || list[1] != json.Number(n) || list[2] != "="+n {
			t.Errorf("Render = %v, want %s", list, n)
		}
	}
}

// Numbers compare by quantity, exactly.
func TestNumbersCompareExactly(t *testing.T) {
	t.Parallel()
	ascending := []string{
		"-1e400", "-123456789012345678901234567890.1", "-123456789012345678901234567890", "-10", "-1.5", "-1e-400", "0", "1e-400", "0.1", "0.10000000000000000001",
		"1", "1.000000000000000000000000000001", "9.99", "10", "9007199254740992", "9007199254740993", "123456789012345678901234567890", "1e400", "1.1e400",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			v := expr.Vars{Args: map[string]any{"a": json.Number(a), "b": json.Number(b)}}
			for src, want := range map[string]bool{"args.a < args.b": i < j, "args.a == args.b": i == j, "args.a >= args.b": i >= j} {
				if got, err := eval(t, src, v); err != nil || got != want {
					t.Errorf("%s with %s and %s: %v, %v, want %v", src, a, b, got, err, want)
				}
			}
		}
	}
	for _, same := range [][2]string{{"1", "1.0"}, {"100", "1e2"}, {"0", "-0.0e5"}, {"0.001", "1E-3"}, {"12.50", "125e-1"}} {
		v := expr.Vars{Args: map[string]any{"a": json.Number(same[0]), "b": json.Number(same[1])}}
		if got, err := eval(t, "args.a == args.b and args.a <= args.b and args.a in [args.b]", v); err != nil || !got {
			t.Errorf("%s and %s: %v, %v, want equal", same[0], same[1], got, err)
		}
	}
}

// The deadline of the caller ends an evaluation that is under way.
func TestCallersDeadlineEndsLoops(t *testing.T) {
	t.Parallel()
	list := make([]any, 5_000)
	// The context ends when its Done channel is asked for, which is after the
	// evaluation began.
	ctx := &endsWhenWatched{Context: context.Background(), done: make(chan struct{})}
	_, err := mustCondition(t, "state.list[*] == 1").Eval(ctx, expr.Vars{State: map[string]any{"list": list}})
	wantReason(t, err, expr.ReasonCanceled)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want context.DeadlineExceeded", err)
	}
}

type endsWhenWatched struct {
	context.Context
	done    chan struct{}
	watched bool
}

func (c *endsWhenWatched) Done() <-chan struct{} {
	if !c.watched {
		c.watched = true
		close(c.done)
	}
	return c.done
}

func (c *endsWhenWatched) Err() error {
	if c.watched {
		return context.DeadlineExceeded
	}
	return nil
}
