package expr_test

import (
	"context"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

func BenchmarkCompileCondition(b *testing.B) {
	for b.Loop() {
		if _, err := expr.CompileCondition("state.session.step >= 2 and result.intent in ['schedule_meeting', 'cancel_meeting']"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCondition(b *testing.B) {
	v := meeting(b)
	for name, src := range map[string]string{
		"path":     "state.session.step >= 2",
		"and":      "state.session.step >= 2 and result.intent in ['schedule_meeting', 'cancel_meeting']",
		"wildcard": "state.intents[*].intent == 'schedule_meeting'",
	} {
		b.Run(name, func(b *testing.B) {
			c := mustCondition(b, src)
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := c.Eval(context.Background(), v); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

func BenchmarkStatement(b *testing.B) {
	v := meeting(b)
	s, err := expr.CompileStatement("state.meetings.append(result.event_id)")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Apply(context.Background(), v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	v := meeting(b)
	t, err := expr.CompileTemplate(map[string]any{"text": "{{raw_data}}", "subject": "Re: {{summary_text}}", "to": "$state.emails[0].from"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Render(context.Background(), v); err != nil {
			b.Fatal(err)
		}
	}
}
