package expr_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/expr"
)

// The statement forms of S1-28, on states small enough to write out.
func TestStatementApplies(t *testing.T) {
	t.Parallel()
	tests := []struct{ src, state, want string }{
		{"state.emails = result.emails", `{"a":1}`, `{"a":1,"emails":["a","b"]}`},
		{"state.key = result.value", `{"key":"old"}`, `{"key":"v"}`},
		{"state.meetings.append(result.event_id)", `{}`, `{"meetings":["ev-1"]}`},
		{"state.meetings.append(result.event_id)", `{"meetings":["ev-0"]}`, `{"meetings":["ev-0","ev-1"]}`},
		{"state.meetings.append(result.event_id)", `{"meetings":null}`, `{"meetings":["ev-1"]}`},
		{"state.a.b.c = 1", `null`, `{"a":{"b":{"c":1}}}`},
		{"state.a.b.c = 1", `{"a":{"x":0,"b":null}}`, `{"a":{"b":{"c":1},"x":0}}`},
		{"state.a.list.append({'n': [1, result.ok]})", `{}`, `{"a":{"list":[{"n":[1,true]}]}}`},
		{"state.a = result", `{}`, `{"a":{"emails":["a","b"],"event_id":"ev-1","intent":"schedule_meeting","ok":true,"score":1.0,"value":"v"}}`},
		{"state.a = event_id", `{}`, `{"a":"ev-1"}`},
		{"state.a = state.nowhere", `{"a":1}`, `{"a":null}`},
		{"state.a = result.ok and not state.x", `{}`, `{"a":true}`},
		{"state.a = state.n == 1", `{"n":1}`, `{"a":true,"n":1}`},
		{"state.a = state.n >= 2 ? 'many' : 'few'", `{"n":1}`, `{"a":"few","n":1}`},
		{"state.n = state.n + 1", `{"n":9007199254740993}`, `{"n":9007199254740994}`},
		{"state.b = state.n", `{"n":123456789012345678901234567890.123e-5}`, `{"b":123456789012345678901234567890.123e-5,"n":123456789012345678901234567890.123e-5}`},
		{"state.ids = state.items[*].id", `{"items":[{"id":9007199254740993},{},{"id":null}]}`, `{"ids":[9007199254740993,null,null],"items":[{"id":9007199254740993},{},{"id":null}]}`},
		{"state.ids = state.t[*].m[*].id", `{"t":[{"m":[{"id":1}]},{"m":null},{"m":[{"id":2},{"id":3}]}]}`, `{"ids":[1,2,3],"t":[{"m":[{"id":1}]},{"m":null},{"m":[{"id":2},{"id":3}]}]}`},
		{"state.ids = state.nowhere[*].id", `{}`, `{"ids":[]}`},
		{"state.all = state.all + result.emails", `{"all":["z"]}`, `{"all":["z","a","b"]}`},
		{"state.list[1] = 'x'", `{"list":[1,2]}`, `{"list":[1,"x"]}`},
		{"state.list[-1].done = true", `{"list":[1,{"n":2}]}`, `{"list":[1,{"done":true,"n":2}]}`},
		{"state.list[0].tags.append('x')", `{"list":[{}]}`, `{"list":[{"tags":["x"]}]}`},
		{"state['odd name']['a.b'] = 1", `{}`, `{"odd name":{"a.b":1}}`},
		{"state.by_id[result.event_id] = result.ok", `{}`, `{"by_id":{"ev-1":true}}`},
		{"state.list[state.i] = 0", `{"i":1,"list":[1,2]}`, `{"i":1,"list":[1,0]}`},
		{"state.x[result.value].append(args.limit)", `{}`, `{"x":{"v":[10]}}`},
		{"state.text = 'a = b'", `{}`, `{"text":"a = b"}`},
		{"\tstate.a\n=\n1\n", `{}`, `{"a":1}`},
		{"state.append.append(1)", `{}`, `{"append":[1]}`},
	}
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			v := meeting(t)
			v.State = decode(t, tt.state)
			got, err := apply(t, tt.src, v)
			if err != nil {
				t.Fatal(err)
			}
			if text := encode(t, got); text != encode(t, decode(t, tt.want)) {
				t.Errorf("Apply = %s, want %s", text, tt.want)
			}
			if !reflect.DeepEqual(v.State, decode(t, tt.state)) {
				t.Errorf("the input became %s", encode(t, v.State))
			}
			w := meeting(t)
			w.State = v.State
			if !reflect.DeepEqual(v, w) {
				t.Errorf("Apply changed the variables")
			}
		})
	}
}

// What a statement does not touch is shared, not copied (S1-25: earlier
// versions of a state stay as they were).
func TestStatementSharesTheRest(t *testing.T) {
	t.Parallel()
	untouched := map[string]any{"big": true}
	list := make([]any, 1, 10) // spare capacity must not be written to
	state := map[string]any{"untouched": untouched, "list": list}
	got, err := apply(t, "state.list.append('new')", expr.Vars{State: state})
	if err != nil {
		t.Fatal(err)
	}
	if reflect.ValueOf(got.(map[string]any)["untouched"]).Pointer() != reflect.ValueOf(untouched).Pointer() {
		t.Error("the untouched object was copied")
	}
	if list[:2][1] != nil {
		t.Error("the append wrote behind the old list")
	}
}

func TestStatementErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		src, state string
		reason     expr.Reason
		says       string
	}{
		{"state.a.append(1)", `{"a":"text"}`, expr.ReasonType, "state.a is a string, not a list"},
		{"state.a.append(1)", `{"a":{}}`, expr.ReasonType, "state.a is an object, not a list"},
		{"state.a.b = 1", `{"a":"text"}`, expr.ReasonPath, "state.a is a string, so state.a.b cannot be written"},
		{"state.a.b = 1", `{"a":[]}`, expr.ReasonPath, "state.a is a list"},
		{"state.a.b = 1", `[]`, expr.ReasonPath, "state is a list"},
		{"state.a[0] = 1", `{"a":[]}`, expr.ReasonPath, "state.a has 0 elements"},
		{"state.a[-2] = 1", `{"a":[1]}`, expr.ReasonPath, "state.a has 1 elements, so state.a[-2]"},
		{"state.a[0] = 1", `{}`, expr.ReasonPath, "state.a is null"},
		{"state['it\\'s'].x = 1", `{"it's":1}`, expr.ReasonPath, `state['it\'s'] is a number`},
		{"state[state.nope] = 1", `{}`, expr.ReasonPath, "state.nope is missing"},
		{"state.a[state.i] = 1", `{"a":[1],"i":0.5}`, expr.ReasonType, "a number cannot be an index"},
		{"state.a[state.i] = 1", `{"a":[1],"i":true}`, expr.ReasonType, "a boolean cannot be an index"},
		{"state.n = state.n + 1", `{}`, expr.ReasonType, "state.n is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			got, err := apply(t, tt.src, expr.Vars{State: decode(t, tt.state)})
			e := wantReason(t, err, tt.reason)
			if !strings.Contains(e.Error(), tt.says) || e.Source != tt.src || got != nil {
				t.Errorf("Apply = %v, %v, want it to say %q", got, e, tt.says)
			}
		})
	}
}

func TestStatementSyntaxErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		src    string
		offset int
		says   string
	}{
		{"", 0, "empty"},
		{"state.a", 0, "not a statement"}, {"state.a == 1", 0, "not a statement"}, {"state.a.append()", 0, "not a statement"},
		{"state.a.append(1, 2)", 0, "not a statement"}, {"append(1)", 0, "not a statement"},
		{"state = result", 0, "whole state"}, {"state.append(1)", 0, "whole state"},
		{"result.a = 1", 0, "result.a cannot be written to"}, {"a = 1", 0, "a cannot be written to"}, {"user.roles.append('admin')", 0, "user.roles cannot"},
		{"'a' = 1", 0, "only a path"}, {"size(state.a) = 1", 0, "only a path"}, {"(state.a + 1).b = 1", 1, "only a path"},
		{"state.a[*].b = 1", 0, "[*] cannot be written to"}, {"state.a[*].append(1)", 0, "[*] cannot be written to"},
		{"state.a = ", 8, "empty"}, {"= 1", 0, "empty"},
		{"state.a = state.b = 1", 18, "single"},
		{"state.a = 1 +", 13, "the end"}, {"state.a = nope(1)", 10, "nope is not a function"},
		{"state.é = 1", 6, ""}, {"state['é'] = 'é' + nope(1)", 21, "nope is not a function"},
		{"state.a[nope(1)] = 1", 8, "nope is not a function"},
		{"has(state.a) = 1", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.src, func(t *testing.T) {
			t.Parallel()
			_, err := expr.CompileStatement(tt.src)
			e := wantSyntax(t, err, tt.says)
			if tt.says != "" && e.Offset != tt.offset {
				t.Errorf("offset = %d, want %d: %v", e.Offset, tt.offset, e)
			}
		})
	}
}

func TestStatementKeepsSource(t *testing.T) {
	t.Parallel()
	src := "state.a[key] = b + result.c"
	s, err := expr.CompileStatement(src)
	if err != nil {
		t.Fatal(err)
	}
	if s.Source() != src {
		t.Errorf("Source() = %q, want %q", s.Source(), src)
	}
	if want := []string{"b", "key"}; !slices.Equal(s.Names(), want) {
		t.Errorf("Names() = %v, want %v", s.Names(), want)
	}
}

// A list stops growing at a bound instead of filling the store.
func TestStatementBoundsLists(t *testing.T) {
	t.Parallel()
	long := make([]any, 100_000)
	_, err := apply(t, "state.list.append(1)", expr.Vars{State: map[string]any{"list": long}})
	wantReason(t, err, expr.ReasonSize)
	_, err = apply(t, "state.list = state.list + [1]", expr.Vars{State: map[string]any{"list": long}})
	wantReason(t, err, expr.ReasonSize)
}

func TestStatementCanceled(t *testing.T) {
	t.Parallel()
	s, err := expr.CompileStatement("state.a = 1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Apply(ctx, expr.Vars{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply = %v, want context.Canceled", err)
	}
}
