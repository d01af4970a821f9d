package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/expr"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

// answering counts its calls and returns output.
func answering(n *int, output string) executor.Executor {
	return executor.Func(func(context.Context, executor.Call, func(executor.Progress)) (executor.Result, error) {
		*n++
		return executor.Result{Output: json.RawMessage(output)}, nil
	})
}

// S2-10, S2-32, S2-83: arguments that fail the schema stop the call before it
// begins, and leave a line in the security log without their values.
func TestCheckedInput(t *testing.T) {
	t.Parallel()
	a := api(t, "POST", "https://x.example")
	a.Input = schema(t, `{"type":"object","properties":{"to":{"type":"string","format":"email"},"n":{"type":"integer","minimum":15}},"required":["to"],"additionalProperties":false}`)
	for _, tc := range []struct {
		args, pointer string // pointer is empty when the call is made
	}{
		{`{"to":"a@b.example","n":15}`, ""},
		{`{"to":"value-canary"}`, "/args/to"},
		{`{"to":"a@b.example","n":14}`, "/args/n"},
		{`{"to":"a@b.example","value-canary":1}`, "/args"},
		{`{}`, "/args"},
		{`[]`, "/args"},
		{`{"to":"a@b.example","to":"c@d.example"}`, "/args"},
		{``, "/args"},
	} {
		n := 0
		var log buffer
		x := executor.Checked(answering(&n, `{}`), executor.CheckedConfig{Log: slog.New(slog.NewJSONHandler(&log, nil))})
		_, err := run(t, x, call(a, tc.args))
		if tc.pointer == "" {
			if err != nil || n != 1 || log.String() != "" {
				t.Errorf("%s: %d calls, %v, log %s", tc.args, n, err, log.String())
			}
			continue
		}
		f := wantCode(t, err, fault.ActionInvalid)
		if n != 0 || len(f.Details) == 0 || !strings.HasPrefix(f.Details[0].Pointer, tc.pointer) {
			t.Errorf("%s: %d calls, details %v, want pointer %s", tc.args, n, f.Details, tc.pointer)
		}
		for _, want := range []string{`"security":true`, `"session_id":"s1"`, `"action":"do"`, `"tenant":"default"`, `"code":"agent.action_invalid"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: log %s lacks %s", tc.args, log.String(), want)
			}
		}
		if strings.Contains(log.String(), `value-canary"}`) || strings.Contains(log.String(), "c@d.example") {
			t.Errorf("%s: the log shows a value: %s", tc.args, log.String())
		}
	}
}

func TestCheckedPreconditions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		condition string
		holds     bool
	}{
		{"state.ready", true},
		{"state.count == 9007199254740993", true},
		{"user.name == 'Ada' and args.n > 1", true},
		{"session.id == 's1'", true},
		{"not state.ready", false},
		{"state.absent == 1", false},
		{"args.n > 5", false},
	} {
		c, err := expr.CompileCondition(tc.condition)
		if err != nil {
			t.Fatal(err)
		}
		a := api(t, "POST", "https://x.example")
		always, err := expr.CompileCondition("true")
		if err != nil {
			t.Fatal(err)
		}
		a.Preconditions = []*expr.Condition{always, c}
		n := 0
		_, err = run(t, executor.Checked(answering(&n, `{}`), executor.CheckedConfig{}), call(a, `{"n":2}`))
		if tc.holds {
			if err != nil || n != 1 {
				t.Errorf("%s: %d calls, %v", tc.condition, n, err)
			}
			continue
		}
		f := wantCode(t, err, fault.PreconditionFailed)
		if n != 0 || !strings.Contains(f.Message, tc.condition) || f.Details[0].Pointer != "/preconditions/1" || f.Details[0].Message == "" {
			t.Errorf("%s: %d calls, error %+v", tc.condition, n, f)
		}
	}
}

// S2-18, S2-31: an output that fails its schema fails the action.
func TestCheckedOutput(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		schema, output string
		code           fault.Code
		want           string
	}{
		{"", ` { "a" : 1 } `, "", `{"a":1}`},
		{"", ``, "", `null`},
		{`{"type":"string"}`, `"x"`, "", `"x"`},
		{`{"type":"string"}`, `1`, fault.OutputInvalid, ""},
		{`{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}`, `{"id":"e1"}`, "", `{"id":"e1"}`},
		{`{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}`, `{"id":1}`, fault.OutputInvalid, ""},
		{`{"type":"object"}`, ``, fault.OutputInvalid, ""},
		{"", `{"a":1,"a":2}`, fault.OutputInvalid, ""},
		{"", `{"a":`, fault.OutputInvalid, ""},
		{"", `NaN`, fault.OutputInvalid, ""},
		{"", strings.Repeat("[", 101) + strings.Repeat("]", 101), fault.OutputInvalid, ""},
		{"", `"` + strings.Repeat("x", 2000) + `"`, fault.LimitExceeded, ""},
	} {
		a := api(t, "GET", "https://x.example")
		if tc.schema != "" {
			a.Output = schema(t, tc.schema)
		}
		n := 0
		res, err := run(t, executor.Checked(answering(&n, tc.output), executor.CheckedConfig{OutputMax: 1000}), call(a, `{}`))
		if tc.code != "" {
			wantCode(t, err, tc.code)
		} else if err != nil || string(res.Output) != tc.want {
			t.Errorf("%s %s: %s, %v, want %s", tc.schema, tc.output, res.Output, err, tc.want)
		}
	}
}

// Neither a wait nor a failure is held to the output schema.
func TestCheckedPassesOn(t *testing.T) {
	t.Parallel()
	a := api(t, "GET", "https://x.example")
	a.Output = schema(t, `{"type":"string"}`)
	w := &executor.Wait{Kind: executor.WaitTimer}
	res, err := run(t, executor.Checked(executor.Func(func(context.Context, executor.Call, func(executor.Progress)) (executor.Result, error) {
		return executor.Result{Wait: w}, nil
	}), executor.CheckedConfig{}), call(a, `{}`))
	if err != nil || res.Wait != w || res.Output != nil {
		t.Errorf("Execute = %+v, %v", res, err)
	}
	stop := errors.New("ours")
	_, err = run(t, executor.Checked(executor.Func(func(context.Context, executor.Call, func(executor.Progress)) (executor.Result, error) {
		return executor.Result{}, stop
	}), executor.CheckedConfig{}), call(a, `{}`))
	if !errors.Is(err, stop) {
		t.Errorf("error = %v", err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	hang := executor.Func(func(ctx context.Context, _ executor.Call, _ func(executor.Progress)) (executor.Result, error) {
		<-ctx.Done()
		return executor.Result{}, ctx.Err()
	})
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			declared, want time.Duration
			effect         manifest.Effect
			code           fault.Code
		}{
			{0, time.Minute, manifest.Read, fault.Timeout},
			{time.Second, time.Second, manifest.Keyed, fault.Timeout},
			{time.Hour, time.Hour, manifest.Once, fault.EffectUnknown},
		} {
			a := &manifest.Action{Name: "do", Timeout: tc.declared, Effect: tc.effect}
			begin := time.Now()
			_, err := executor.Timeout(hang, time.Minute).Execute(t.Context(), call(a, `{}`), nil)
			if wantCode(t, err, tc.code); time.Since(begin) != tc.want {
				t.Errorf("ended after %s, want %s", time.Since(begin), tc.want)
			}
		}
		// The caller's own end is not the call's outcome.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := executor.Timeout(hang, time.Minute).Execute(ctx, call(&manifest.Action{Name: "do"}, `{}`), nil)
		if fault.IsOutcome(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v", err)
		}
		// What an executor knows better stands.
		failed := executor.Func(func(ctx context.Context, _ executor.Call, _ func(executor.Progress)) (executor.Result, error) {
			<-ctx.Done()
			return executor.Result{}, fault.New(fault.EgressFailed, "x")
		})
		_, err = executor.Timeout(failed, time.Minute).Execute(t.Context(), call(&manifest.Action{Name: "do"}, `{}`), nil)
		wantCode(t, err, fault.EgressFailed)
	})
}
