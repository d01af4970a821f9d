package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// The forms of S1-13, S1-18, S1-26 and S1-29, and what the language adds.
func TestConditionHolds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		src  string
		want bool
	}{
		// The examples the language was specified with.
		{"state.session.step >= 2", true},
		{"result.intent in ['schedule_meeting', 'cancel_meeting']", true},
		{"user.role == 'admin'", true},
		{"state.emails != null", true},
		{"state.key == value", true},
		{"state.intents[*].intent == 'schedule_meeting'", true},
		{"intent == 'schedule_meeting'", true},

		// Roots and bare names: result, then state, then outputs.
		{"session.last_action == 'classify' && args.limit == 10 && goal == 'schedule the review'", true},
		{"intent == 'from outputs'", false},
		{"key == 'v' and summary_text == 'all <good>'", true},
		{"nobody == null", true},
		{"type == null and int == null and string.x == null", true},

		// Comparison.
		{"state.key == 'v'", true}, {`state.key == "v"`, true}, {"state.key != 'v'", false},
		{"state.key < 'w'", true}, {"'b' <= 'a'", false}, {"'é' == '\\u00e9'", true},
		{"1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3", true},
		{"1 == '1'", false}, {"true == 1", false}, {"'' == null", false}, {"false == null", false},
		{"state.odd == null and state['odd name'][\"it's\"] == 1", true},
		{"[1, {'a': [2]}] == [1.0, {'a': [2e0]}]", true},
		{"{'a': 1} == {'a': 1, 'b': null}", false},
		{"result == result and state == state", true},

		// Missing paths read as null; null has no order.
		{"state.nowhere.at.all == null", true}, {"state.nowhere != null", false},
		{"state.cleared == null", true}, {"state.key.sub == null", true},
		{"state.missing >= 2", false}, {"state.missing < 2", false}, {"null >= null", false},
		{"2 < state.cleared", false},
		{"state.missing in [null]", true}, {"1 in state.missing", false},
		{"state.missing.contains('x') or state.missing.startsWith('x') or state.missing.endsWith('x')", false},
		{"size(state.missing) == 0", true},
		{"state.missing", false}, {"not state.missing", true}, {"!state.missing && state.cleared == null", true},

		// Words and signs.
		{"result.ok and not state.missing or false", true},
		{"not state.key == 'x'", true}, {"not result.ok == false", true},
		{"not not result.ok", true}, {"not (result.ok and state.missing)", true},
		{"!(1 == 2) || false && true", true},
		{"not 1 == 2 and 1 == 1", true}, {"not 1 == 1 or 1 == 1", true},
		{"[not false, 1][0]", true}, {"(not false) == true", true},
		{"true ? not false : false", true},
		{"state.and", true}, {"state . and", true}, {"state['and'] and 'a and b' == \"a and b\"", true},
		{"not_there == null and android == null", true},
		{"\n  result.ok\n  and\tuser.role\n== 'admin'\n", true},

		// Lists, indexes, membership.
		{"state.emails[0].from == 'ann@example.org'", true}, {"state.emails[-1].id == 2", true},
		{"state.emails[7] == null and state.emails[-3] == null and state.emails[0.5] == null", true},
		{"state.emails['x'] == null and state.key[0] == null", true},
		{"'en' in user.langs", true}, {"'fr' in user.langs", false}, {"not ('fr' in user.langs)", true},
		{"'role' in user", true}, {"'rule' in user", false}, {"1 in user", false},
		{"1.0 in [3, 2, 1]", true}, {"[1] in [[1]]", true}, {"1 in []", false},
		{"user.langs[state.session.step - 1] == 'en'", true},

		// [*] in a test matches any element.
		{"'schedule_meeting' == state.intents[*].intent", true},
		{"state.intents[*].intent == 'cancel'", false}, {"state.intents[*].intent != 'greet'", true},
		{"not state.intents[*].intent != 'greet'", false},
		{"state.intents[*].score > 0.3", true}, {"state.intents[*].score > 0.5", false},
		{"state.intents[*].intent in ['x', 'greet']", true},
		{"'greet' in state.intents[*].intent", true},
		{"state.threads[*].mails[*].id == 3", true}, {"state.threads[*].mails[*].id == 4", false},
		{"state.threads[ * ].mails[0].id in [3]", true},
		{"state.emails[*].id == state.threads[*].mails[*].id", true},
		{"state.intents[*].intent.startsWith('sched')", true},
		{"has(state.intents[*].score)", true}, {"has(state.intents[*].other)", false},
		{"state.nowhere[*].x == null", false}, {"state.intents[*].other == null", true},
		{"size(state.threads[*].mails[*].id) == 3", true},
		{"user.langs[*] == 'de'", true}, {"'[*]' == \"[*]\"", true},
		{"[true, false][*]", true}, {"not [false, null][*]", true},
		{"['x', 3][*] > 2", true}, // an element that cannot be ordered does not hide one that matches

		// Functions.
		{"size('héé') == 3 and size(user.langs) == 2 and user.size() == 2", true},
		{"summary_text.contains('good') and user.langs.contains('de')", true},
		{"goal.startsWith('schedule') and goal.endsWith('review')", true},
		{"has(state.cleared) and not has(state.missing) and !has(state.missing.deeper)", true},

		// Arithmetic is exact.
		{"1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and 7 - 10 == -3", true},
		{"0.1 + 0.2 == 0.3", true}, {"7 / 2 == 3.5 and 6 / 3 == 2", true}, {"7 % 3 == 1 and -7 % 3 == -1", true},
		{"1 / 3 > 0.33 and 1 / 3 < 0.34", true},
		{"9007199254740993 != 9007199254740992", true},
		{"state.emails[0].id == 9007199254740993", true}, {"state.emails[0].id == 9007199254740992", false},
		{"state.emails[0].id + 1 == 9007199254740994", true},
		{"state.total > 12345678901234567 and state.total - state.total == 0", true},
		{"9223372036854775807 + 1 > 9223372036854775807", true},
		{"-state.session.step == -2 and - 2 == 0 - 2", true},
		{"'a' + 'b' == 'ab' and [1] + [2] == [1, 2]", true},
		{"0 == -0 and 1e2 == 100 and 0x10 == 16", true},

		{"result.ok ? user.role == 'admin' : false", true},
		{"(state.missing ? 1 : 2) == 2", true},
		// An error that cannot change the answer does not.
		{"state.key >= 2 and false", false}, {"true or state.key >= 2", true},
	}
	v := meeting(t)
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			got, err := eval(t, tt.src, v)
			if err != nil || got != tt.want {
				t.Errorf("Eval = %v, %v, want %v", got, err, tt.want)
			}
			explained, reason, err := mustCondition(t, tt.src).Explain(context.Background(), v)
			if err != nil || explained != tt.want {
				t.Errorf("Explain = %v, %q, %v, want %v", explained, reason, err, tt.want)
			}
		})
	}
}

func TestConditionTypeErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ src, says string }{
		{"state.key >= 2", "a string and a number have no order"},
		{"user < result", "an object and an object have no order"},
		{"state.key", "state.key is a string where true or false is needed"},
		{"1 and true", "1 is a number where"},
		{"state.emails[*].from", "is a string where"},
		{"'a' in 'abc'", "contains('part')"},
		{"state.session.step.contains('x')", "contains does not apply to a number"},
		{"state.key.contains(1)", "a string cannot contain a number"},
		{"state.key.startsWith(1)", "startsWith does not apply"},
		{"size(1) == 1", "a number has no size"},
		{"state.missing + 1 == 2", "state.missing is missing"},
		{"state.cleared + 1 == 2", "does not apply to null and a number"},
		{"'a' + 1 == 'a1'", "does not apply to a string and a number"},
		{"[1] + 1 == [1]", "does not apply to a list and a number"},
		{"-'a' == 1", "does not apply"},
		{"user[*] == 1", "user is an object"},
		{"user[true] == 1", "a boolean cannot be an index"},
		{"1.5 % 2 == 0", "whole numbers"},
	}
	v := meeting(t)
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			_, err := eval(t, tt.src, v)
			e := wantReason(t, err, expr.ReasonType)
			if !strings.Contains(e.Error(), tt.says) || e.Source != tt.src {
				t.Errorf("error = %v, want it to say %q", e, tt.says)
			}
		})
	}
}

func TestConditionSyntaxErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		src    string
		offset int
		says   string
	}{
		{"", 0, "empty"}, {" \n ", 0, "empty"}, {"\xff", 0, "UTF-8"},
		{"state.a = 1", 8, "write == to compare"},
		{"(state.a = 1)", 9, "a single"},
		{"state.a ==", 10, "the end"},
		{"state..a", 6, "identifier"},
		{"state.in == 1", 6, "state['in']"},
		{"'open", 0, "does not end"}, {"'a\nb'", 0, "on its line"}, {"'''a''' == 1", 0, "triple"},
		{"b'x' == 1", 0, "prefix"}, {"true and r'x' == 1", 9, "prefix"},
		{"a // b", 2, "comments"}, {"a; b", 1, "unexpected"}, {"$state.a == 1", 0, "unexpected"}, {"state.`a` == 1", 6, "unexpected"},
		{"@field(a) == 1", 0, "unexpected"},
		{"(a", 2, "expected ')'"}, {"a)", 1, "closes nothing"}, {"[1, 2", 5, "expected ']'"},
		{"x not in [1]", 2, "not (x in y)"},
		{"[*] == 1", 1, "[*] follows a path"}, {"state.a[*", 9, ""},
		{"system('rm') == 1", 0, "system is not a function"},
		{"state.items.map(x, x) == 1", 0, "map is not a function"},
		{"state.items.all(x, x)", 0, "all is not a function"},
		{"true and state.items.exists(x, x)", 9, "exists is not a function"},
		{"'a'.matches('(a+)+') == 1", 0, "matches is not a function"},
		{"timestamp('2020-01-01') == 1", 0, "not a function"},
		{"state.list.append(1)", 0, "statement of its own"},
		{"contains(a, 'b')", 0, "x.contains('part')"}, {"a.contains()", 0, "one argument"}, {"size(1, 2) == 1", 0, "one argument"},
		{"has(a)", 3, ""},
		{"Foo{a: 1} == 1", 3, "not part of the language"},
		{"{1: 2} == 1", 1, "must be a string"}, {"{'a': 1, 'a': 2} == 1", 9, "given twice"},
		{".state.a == 1", 0, ""},
		{"a.?b == 1", 0, ""}, {"[?a] == 1", 0, ""},
		{"99999999999999999999 == 1", 0, "9223372036854775807"}, {"1e999 == 1", 0, "literal"},
		{"é == 1", 0, ""},
		{"'é' == 'é'\nand nope(1)", 17, "nope is not a function"}, {"a and\n\n'é' == ==", 15, "=="},
	}
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			c, err := expr.CompileCondition(tt.src)
			if c != nil {
				t.Fatalf("CompileCondition succeeded")
			}
			e := wantSyntax(t, err, tt.says)
			if tt.says != "" && e.Offset != tt.offset {
				t.Errorf("offset = %d, want %d: %v", e.Offset, tt.offset, e)
			}
			if e.Source != tt.src {
				t.Errorf("source = %q, want %q", e.Source, tt.src)
			}
		})
	}
}

func TestConditionExplains(t *testing.T) {
	t.Parallel()
	tests := []struct{ src, want string }{
		{"state.session.step >= 3", "state.session.step >= 3 is false: state.session.step is 2"},
		{"state.absent.step >= 3", "state.absent.step >= 3 is false: state.absent is missing"},
		{"state.cleared != null", "state.cleared != null is false: state.cleared is null"},
		{"result.ok and user.role == 'guest' and state.missing", `user.role == "guest" is false: user.role is "admin"`},
		{"user.role == 'guest' or value == 'x'", `user.role == "guest" is false: user.role is "admin" and value == "x" is false: value is "v"`},
		{"user.role == 'guest' or result.ok", "result.ok is true: result.ok is true"},
		{"not result.ok", "result.ok is true: result.ok is true"},
		{"state.intents[*].intent == 'cancel'", `state.intents[*].intent == "cancel" is false: no element of state.intents[*].intent matches`},
		{"state.intents[*].intent == 'greet'", `state.intents[*].intent == "greet" is true: an element of state.intents[*].intent matches`},
		{"result.ok ? value == 'x' : false", `result.ok is true: result.ok is true, so value == "x" is false: value is "v"`},
		{"1 == 2", "1 == 2 is false"},
	}
	v := meeting(t)
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			_, got, err := mustCondition(t, tt.src).Explain(context.Background(), v)
			if err != nil || got != tt.want {
				t.Errorf("Explain = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// Explanations stay short, whatever the data.
func TestConditionExplainsBriefly(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	v := expr.Vars{State: map[string]any{"text": big, "list": slices.Repeat([]any{big}, 100), "object": map[string]any{"a": big}}}
	_, reason, err := mustCondition(t, "state.text == 'a' or state.list == 1 or state.object == 2").Explain(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"…", "a list of 100 elements", "an object of 1 fields"} {
		if !strings.Contains(reason, part) {
			t.Errorf("reason = %q, want it to contain %q", reason, part)
		}
	}
	if len(reason) > 1100 {
		t.Errorf("reason has %d bytes", len(reason))
	}
}

// Values may also be Go numbers, as code that builds them has.
func TestConditionReadsGoNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range []any{5, int8(5), int16(5), int32(5), int64(5), uint(5), uint8(5), uint16(5), uint32(5), uint64(5), float32(5), float64(5), json.Number("5"), json.Number("5.0")} {
		got, err := eval(t, "state.n == 5 and state.n > 4.5 and state.n in [5] and state.n + 1 == 6", expr.Vars{State: map[string]any{"n": n}})
		if err != nil || !got {
			t.Errorf("with %T: Eval = %v, %v, want true", n, got, err)
		}
	}
}

func TestConditionRefusesWhatIsNotJSON(t *testing.T) {
	t.Parallel()
	for _, bad := range []any{struct{}{}, make(chan int), []string{"a"}, json.Number("abc"), json.Number(""), json.Number("1e99999999999")} {
		_, err := eval(t, "state.x > 1", expr.Vars{State: map[string]any{"x": bad}})
		wantReason(t, err, expr.ReasonType, expr.ReasonRange)
	}
}

func TestConditionNames(t *testing.T) {
	t.Parallel()
	got := mustCondition(t, "b.x[a] == 1 and state.c and not d[*].e == f and goal == result.g").Names()
	if want := []string{"a", "b", "d", "f"}; !slices.Equal(got, want) {
		t.Errorf("Names() = %v, want %v", got, want)
	}
}

func TestConditionKeepsSource(t *testing.T) {
	t.Parallel()
	src := "not  state.a[*].b == 'x'"
	if got := mustCondition(t, src).Source(); got != src {
		t.Errorf("Source() = %q, want %q", got, src)
	}
}

// A canceled context does nothing, and its cause can be found.
func TestConditionCanceled(t *testing.T) {
	t.Parallel()
	stop := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	_, err := mustCondition(t, "true").Eval(ctx, expr.Vars{})
	wantReason(t, err, expr.ReasonCanceled)
	if !errors.Is(err, stop) {
		t.Errorf("error = %v, want it to wrap the cause", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := mustCondition(t, "state.emails[*].id == n and size(state.threads[*].mails[*].id) == 3")
	state := meeting(t).State
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				v := expr.Vars{State: state, Result: map[string]any{"n": i}}
				got, err := c.Eval(context.Background(), v)
				if err != nil || got != (i == 2) {
					t.Errorf("n = %d: Eval = %v, %v", i, got, err)
					return
				}
				if _, _, err := c.Explain(context.Background(), v); err != nil {
					t.Error(err)
					return
				}
				if _, err := expr.CompileCondition(fmt.Sprintf("state.x == %d", i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
