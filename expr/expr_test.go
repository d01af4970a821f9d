package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// decode reads JSON the way the rest of the system does: numbers keep their
// text.
func decode(tb testing.TB, text string) any {
	tb.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		tb.Fatalf("decode %s: %v", text, err)
	}
	return v
}

// encode writes a value as compact JSON with sorted fields.
func encode(tb testing.TB, v any) string {
	tb.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		tb.Fatalf("encode: %v", err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// meeting is a session in the middle of scheduling a meeting.
func meeting(tb testing.TB) expr.Vars {
	tb.Helper()
	return expr.Vars{
		State: decode(tb, `{
			"session": {"step": 2},
			"key": "v",
			"emails": [{"id": 9007199254740993, "from": "ann@example.org"}, {"id": 2, "from": "bob@example.org"}],
			"intents": [{"intent": "greet", "score": 0.4}, {"intent": "schedule_meeting"}],
			"threads": [{"mails": [{"id": 1}, {"id": 2}]}, {"mails": []}, {"mails": [{"id": 3}]}],
			"cleared": null,
			"total": 12345678901234567890123456789.50,
			"and": true,
			"odd name": {"it's": 1}
		}`),
		Result:  decode(tb, `{"intent": "schedule_meeting", "value": "v", "event_id": "ev-1", "emails": ["a", "b"], "score": 1.0, "ok": true}`),
		User:    decode(tb, `{"role": "admin", "langs": ["de", "en"]}`),
		Session: decode(tb, `{"step": 2, "last_action": "classify", "id": "s-1"}`),
		Args:    decode(tb, `{"limit": 10}`),
		Outputs: decode(tb, `{"raw_data": {"rows": [1, 2.50]}, "summary_text": "all <good>", "intent": "from outputs", "nothing": null}`),
		Goal:    "schedule the review",
	}
}

// wantReason checks that err is an EvalError with one of the reasons.
func wantReason(tb testing.TB, err error, reasons ...expr.Reason) *expr.EvalError {
	tb.Helper()
	var e *expr.EvalError
	if !errors.As(err, &e) {
		tb.Fatalf("error = %v (%T), want an EvalError with reason %v", err, err, reasons)
	}
	for _, reason := range reasons {
		if e.Reason == reason {
			return e
		}
	}
	tb.Fatalf("reason = %q (%v), want %v", e.Reason, err, reasons)
	return nil
}

// wantSyntax checks that err is a SyntaxError that says part.
func wantSyntax(tb testing.TB, err error, part string) *expr.SyntaxError {
	tb.Helper()
	var e *expr.SyntaxError
	if !errors.As(err, &e) {
		tb.Fatalf("error = %v (%T), want a SyntaxError", err, err)
	}
	if !strings.Contains(e.Error(), part) {
		tb.Fatalf("error = %q, want it to say %q", e.Error(), part)
	}
	if e.Offset < 0 || e.Offset > len(e.Source) {
		tb.Fatalf("offset = %d, outside the source of %d bytes", e.Offset, len(e.Source))
	}
	return e
}

func mustCondition(tb testing.TB, src string) *expr.Condition {
	tb.Helper()
	c, err := expr.CompileCondition(src)
	if err != nil {
		tb.Fatalf("CompileCondition(%q): %v", src, err)
	}
	return c
}

func eval(tb testing.TB, src string, v expr.Vars) (bool, error) {
	tb.Helper()
	return mustCondition(tb, src).Eval(context.Background(), v)
}

func apply(tb testing.TB, src string, v expr.Vars) (any, error) {
	tb.Helper()
	s, err := expr.CompileStatement(src)
	if err != nil {
		tb.Fatalf("CompileStatement(%q): %v", src, err)
	}
	return s.Apply(context.Background(), v)
}

func render(tb testing.TB, template any, v expr.Vars) (any, error) {
	tb.Helper()
	t, err := expr.CompileTemplate(template)
	if err != nil {
		tb.Fatalf("CompileTemplate(%s): %v", encode(tb, template), err)
	}
	return t.Render(context.Background(), v)
}
