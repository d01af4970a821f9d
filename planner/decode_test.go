package planner_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/planner"
)

const search = `{"action":"search","args":{"q":"x","n":2}}`

// C-02, S0-45, S1-50, S2-46: every shape of the protocol's editions, and PL1:
// untidy answers are read without asking again.
func TestDecodeReadsEveryShape(t *testing.T) {
	t.Parallel()
	one := `search({"q":"x","n":2})`
	for name, c := range map[string]struct{ text, want, repaired string }{
		"action args":            {search, one, ""},
		"action_id inputs":       {`{"action_id":"search","inputs":{"q":"x","n":2}}`, one, ""},
		"tool input":             {`{"tool":"search","input":{"q":"x","n":2}}`, one, ""},
		"name payload":           {`{"name":"search","payload":{"q":"x","n":2}}`, one, ""},
		"name parameters":        {`{"name":"search","parameters":{"q":"x","n":2}}`, one, ""},
		"name beside action":     {`{"action":"search","name":"find it","args":{"q":"x","n":2}}`, one, ""},
		"arguments in a string":  {`{"action":"search","arguments":"{\"q\":\"x\",\"n\":2}"}`, one, ""},
		"null arguments":         {`{"action":"search","args":null}`, `search({})`, ""},
		"no arguments":           {`{"action":"search"}`, `search({})`, ""},
		"same arguments twice":   {`{"action":"search","args":{"q":"x","n":2},"inputs":{"q":"x","n":2}}`, one, ""},
		"array":                  {`[` + search + `]`, one, ""},
		"plan":                   {`{"plan":[` + search + `]}`, one, ""},
		"steps":                  {`{"steps":[` + search + `]}`, one, ""},
		"plan with one call":     {`{"plan":` + search + `}`, one, ""},
		"plan with steps":        {`{"plan":{"steps":[` + search + `]}}`, one, ""},
		"plan in words":          {`{"plan":"first search","action":"search","args":{"q":"x","n":2}}`, one, ""},
		"not finished":           {`{"finished":false,"action":"search","args":{"q":"x","n":2}}`, one, ""},
		"chain":                  {`[{"action":"a"},{"action":"b"},{"action":"c"}]`, `a({}) b({})<0 c({})<1`, ""},
		"parallel":               {`{"parallel":[{"action":"a"},{"action":"b"}]}`, `a({}) b({})`, ""},
		"group in a chain":       {`[{"action":"a"},{"parallel":[{"action":"b"},{"action":"c"}]},{"action":"d"}]`, `a({}) b({})<0 c({})<0 d({})<1<2`, ""},
		"output_key":             {`[{"action":"a","output_key":"rows"},{"action":"b","arguments":{"text":"{{rows}}"},"output_key":"final_output"}]`, `rows=a({}) final_output=b({"text":"{{rows}}"})<0`, ""},
		"finished":               {`{"finished":true,"answer":"done"}`, `finish "done"`, ""},
		"finished in an array":   {`[{"finished":true,"answer":"done"}]`, `finish "done"`, ""},
		"done":                   {`{"done":true}`, `finish null`, ""},
		"finish with the answer": {`{"finish":{"n":1}}`, `finish {"n":1}`, ""},
		"complete result":        {`{"complete":true,"result":[1, 2]}`, `finish [1,2]`, ""},
		"final_answer":           {`{"final_answer":"42"}`, `finish "42"`, ""},
		"final_output":           {`{"finished":true,"final_output":7}`, `finish 7`, ""},
		"no steps left":          {`{"steps":[],"finished":true,"answer":1}`, `finish 1`, ""},
		"null action":            {`{"action":null,"finished":true}`, `finish null`, ""},
		"byte order mark":        {"\uFEFF" + search, one, "bom"},
		"fence":                  {"```json\n" + search + "\n```", one, "fence"},
		"fence and prose":        {"Sure!\n```\n" + search + "\n```\nThat will do.", one, "fence,prose"},
		"prose around":           {"I will now [carefully] run: " + search + " (see {the} docs)", one, "prose"},
		"thinking":               {"<think>maybe {\"action\":\"erase\"}?</think>" + search, one, "think"},
		"thinking without start": {"maybe erase</think>\n" + search, one, "think"},
		"tag inside a string":    {`ok: {"action":"say","args":{"text":"<think>a</think>"}}`, `say({"text":"<think>a</think>"})`, "prose"},
		"the same plan twice":    {search + "\nthat is\n" + search, one, "prose"},
		"other JSON beside":      {`Given {"slots":[1,2]} and [{"name":"bob"}]: ` + search, one, "prose"},
		"trailing comma":         {`{"action":"search","args":{"q":"x","n":2,},}`, one, "jsonrepair"},
		"single quotes":          {`{'action':'search','args':{'q':'x','n':2}}`, one, "jsonrepair"},
		"bare keys":              {`{action:"search",args:{q:"x",n:2}}`, one, "jsonrepair"},
		"comment":                {"{\"action\":\"search\", // the best\n\"args\":{\"q\":\"x\",\"n\":2}}", one, "jsonrepair"},
		"missing bracket":        {`{"action":"search","args":{"q":"x","n":2}`, one, "jsonrepair"},
		"name in broken args":    {`{"action":"search","args":{"name":"bob"},}`, `search({"name":"bob"})`, "jsonrepair"},
		"digits are kept":        {`{"action":"a","args":{"i":123456789012345678901234567890,"z":-0,"d":1.10}}`, `a({"i":123456789012345678901234567890,"z":-0,"d":1.10})`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := planner.Decode(c.text, nil)
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if got := show(d); got != c.want {
				t.Errorf("Decode = %s, want %s", got, c.want)
			}
			if d.Repaired != c.repaired {
				t.Errorf("Repaired = %q, want %q", d.Repaired, c.repaired)
			}
		})
	}
}

// PL2, PL4, PL6, S0-50: what is no plan, or two, is refused.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"action":"a","args":{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":                   {" \n", "the answer is empty"},
		"prose":                   {"I cannot decide.", "no JSON object"},
		"a string":                {`"search"`, "no JSON object"},
		"HTML":                    {"<html><body>Bad gateway</body></html>", "no JSON object"},
		"not a plan":              {`{"hello":"world"}`, "not a plan"},
		"empty array":             {`[]`, "not a plan"},
		"empty plan":              {`{"plan":[]}`, "no calls"},
		"name only":               {`{"name":"bob"}`, "not a plan"},
		"duplicate action":        {`{"action":"read","args":{},"action":"erase"}`, `member "action" appears twice`},
		"duplicate action turned": {`{"action":"erase","args":{},"action":"read"}`, `appears twice`},
		"duplicate by escape":     {`{"action":"read","\u0061ction":"erase"}`, `appears twice`},
		"duplicate argument":      {`{"action":"a","args":{"to":"me","to":"you"}}`, `/args/to`},
		"duplicate in prose":      {`Do {"action":"read","action":"erase"} please`, `appears twice`},
		"duplicate when repaired": {`{'action':'read','action':'erase'}`, `appears twice`},
		"two names":               {`{"action":"read","tool":"erase"}`, "two actions"},
		"two sets of arguments":   {`{"action":"a","args":{"n":1},"inputs":{"n":2}}`, "different arguments"},
		"two plans":               {`{"action":"a"} or rather {"action":"b"}`, "two different plans"},
		"two plans, one broken":   {`{"action":"a"} or rather {'action':'b'}`, "two different plans"},
		"call and finish":         {`{"action":"a","finished":true}`, "calls an action and finishes"},
		"action and list":         {`{"action":"a","steps":[{"action":"b"}]}`, "names one action and lists others"},
		"two lists":               {`{"plan":[{"action":"a"}],"steps":[{"action":"b"}]}`, "more than one list"},
		"action is a number":      {`{"action":7}`, "not the name"},
		"arguments are a list":    {`{"action":"a","args":[1]}`, "not an object"},
		"string arguments broken": {`{"action":"a","args":"{not json"}`, "expected a member name"},
		"step is a string":        {`[{"action":"a"},"b"]`, "call 2 of the plan is not an object"},
		"step without action":     {`[{"action":"a"},{"args":{}}]`, "call 2 of the plan names no action"},
		"33 calls":                {`[` + strings.TrimSuffix(strings.Repeat(`{"action":"a"},`, 33), ",") + `]`, "more than 32 calls"},
		"1e400":                   {`{"action":"a","args":{"n":1e400}}`, "out of range"},
		"65 digits":               {`{"action":"a","args":{"n":` + strings.Repeat("1", 65) + `}}`, "longer than 64"},
		"half a surrogate pair":   {`{"action":"a","args":{"s":"\ud800"}}`, "surrogate"},
		"invalid UTF-8":           {"{\"action\":\"a\",\"args\":{\"s\":\"\xff\"}}", "UTF-8"},
		"65 levels":               {deep(63), "nests deeper"},
		"100,000 levels":          {deep(100_000), "nests deeper"},
		"open brackets":           {`{"action":"a",` + strings.Repeat(`"a":[`, 10_000), "nests deeper"},
		"500,000 bytes of them":   {`{"action":"a",` + strings.Repeat(`"a":[`, 100_000), "too large to repair"},
		"malformed and large":     {`{action:"a",args:{s:"` + strings.Repeat("x", 70_000) + `"}}`, "too large to repair"},
		"malformed and tangled":   {`{action:"a",args:{s:[` + strings.Repeat(`"x" `, 3000) + `]}}`, "too tangled to repair"},
		"5 MB":                    {`{"action":"a","args":{"s":"` + strings.Repeat("x", 5<<20) + `"}}`, "more than 1048576"},
		"many pieces":             {strings.Repeat(`{"a":1} `, 65), "more than 64 pieces"},
		"unfinished thinking":     {`<think>I could {"action":"a"}`, "inside its <think> block"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := planner.Decode(c.text, nil)
			if fault.CodeOf(err) != fault.PlanInvalid {
				t.Fatalf("Decode = %s, %v, want code %s", show(d), err, fault.PlanInvalid)
			}
			if !strings.HasPrefix(fault.From(err).Message, "Failed to parse plan JSON: ") {
				t.Errorf("message = %q, want the protocol's words", fault.From(err).Message)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want it to say %q", err, c.says)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("error has %d bytes", len(err.Error()))
			}
		})
	}
}

// S0-36: models without JSON answers call functions natively.
func TestDecodeToolCalls(t *testing.T) {
	t.Parallel()
	call := func(name, args string) planner.ToolCall {
		return planner.ToolCall{Name: name, Args: json.RawMessage(args)}
	}
	for name, c := range map[string]struct {
		text  string
		calls []planner.ToolCall
		want  string
	}{
		"object":             {"", []planner.ToolCall{call("a", `{"n": 1}`)}, `a({"n":1})`},
		"string":             {"", []planner.ToolCall{call("a", `"{\"n\":1}"`)}, `a({"n":1})`},
		"none":               {"", []planner.ToolCall{call("a", "")}, `a({})`},
		"two are a chain":    {"Let me see.", []planner.ToolCall{call("a", ""), call("b", "null")}, `a({}) b({})<0`},
		"same as the text":   {`{"action":"a","args":{}}`, []planner.ToolCall{call("a", "{}")}, `a({})`},
		"other than text":    {`{"action":"b","args":{}}`, []planner.ToolCall{call("a", "{}")}, "error"},
		"duplicate argument": {"", []planner.ToolCall{call("a", `{"n":1,"n":2}`)}, "error"},
		"malformed":          {"", []planner.ToolCall{call("a", `{"n":`)}, "error"},
		"duplicate in text":  {`{"action":"a","action":"b"}`, []planner.ToolCall{call("a", `{}`)}, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := planner.Decode(c.text, c.calls)
			got := show(d)
			if err != nil {
				got = "error"
			}
			if got != c.want {
				t.Errorf("Decode = %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		search, `[{"action":"a"},{"parallel":[{"action":"b"}]}]`, "```json\n{'action':'a',}\n```",
		`<think>{</think>{"finished":true,"answer":1e5}`, `{"plan":{"steps":[{"name":"a","args":"{}"}]}}`,
		"\uFEFF{\"action\":\"\\ud83d\\ude00\"}", `{"action":"a","args":{"x":[[[[1,2,{"y":"\u0000"}]]]]}}`,
		`{"a":"{\"action\":\"b\"}"} {action: c`, strings.Repeat(`{"a":'`, 40), `""[{/*`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		d, err := planner.Decode(text, nil)
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("Decode of %d bytes took %v", len(text), took)
		}
		if err != nil {
			if fault.CodeOf(err) != fault.PlanInvalid {
				t.Fatalf("error = %v, want code %s", err, fault.PlanInvalid)
			}
			return
		}
		if d.Finish == (len(d.Calls) > 0) || d.Finish && !json.Valid(d.Answer) || len(d.Calls) > planner.CallsMax {
			t.Fatalf("Decode = %s, want either calls or the end", show(d))
		}
		for i, c := range d.Calls {
			if !json.Valid(c.Args) || c.Args[0] != '{' {
				t.Fatalf("args of call %d = %s, want an object", i, c.Args)
			}
			for _, a := range c.After {
				if a < 0 || a >= i {
					t.Fatalf("call %d is after %d", i, a)
				}
			}
		}
		again, err := planner.Decode(text, nil)
		if err != nil || show(again) != show(d) {
			t.Fatalf("second Decode = %s, %v, want %s", show(again), err, show(d))
		}
	})
}

// show renders a plan as "key=action(args)<after", or "finish answer".
func show(d planner.Decoded) string {
	if d.Finish {
		return "finish " + string(d.Answer)
	}
	return showCalls(d.Calls)
}

func showCalls(calls []planner.Intent) string {
	var parts []string
	for _, c := range calls {
		s := c.Action + "(" + string(c.Args) + ")"
		if c.OutputKey != "" {
			s = c.OutputKey + "=" + s
		}
		for _, a := range c.After {
			s += "<" + string(rune('0'+a))
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}
