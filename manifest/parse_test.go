package manifest_test

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oap-runtime/oap/manifest"
)

func parse(t testing.TB, document string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse([]byte(document))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return m
}

// action parses a manifest of one action, given as JSON members.
func action(t testing.TB, members string) *manifest.Action {
	t.Helper()
	return parse(t, `{"name":"T","version":"1.0.0","flags":{"beta":false},"actions":[{`+members+`},
		{"type":"invoke_api","name":"look","method":"GET","endpoint":"https://a.example.com/x"}]}`).Actions[0]
}

func exampleFiles(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../examples/*/manifest.*", "../examples/*/seed-manifest.json"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, matches...)
	}
	if len(files) != 5 {
		t.Fatalf("examples = %v, want 5 manifests", files)
	}
	return files
}

// S2-28..S2-33, C-23: the manifest of the seed document, byte for byte.
func TestSeedManifest(t *testing.T) {
	t.Parallel()
	m := parse(t, string(readFile(t, "../examples/meetbot/seed-manifest.json")))
	if m.Name != "MeetBot" || m.Version != "2.0" || m.Semver().String() != "2.0.0" {
		t.Errorf("manifest = %s %s (%s), want MeetBot 2.0 (2.0.0)", m.Name, m.Version, m.Semver())
	}
	var names []string
	for _, a := range m.Actions {
		names = append(names, a.Name)
	}
	if want := []string{"search_free_slots", "generate_agenda", "create_event", "log_meeting_crm"}; !slices.Equal(names, want) {
		t.Errorf("actions = %v, want %v", names, want)
	}
	search, _ := m.Action("search_free_slots")
	want := &manifest.HTTPOptions{Endpoint: "https://api.calendar.example.com/v1/free_slots", Method: "POST", Auth: "Bearer ${CALENDAR_TOKEN}"}
	if !reflect.DeepEqual(search.HTTP, want) {
		t.Errorf("HTTP = %+v, want %+v", search.HTTP, want)
	}
	agenda, _ := m.Action("generate_agenda")
	if agenda.Code.Runtime != "python3.11" || !strings.HasPrefix(agenda.Code.Code, "def generate(purpose):\n import openai\n") || agenda.Code.LLM {
		t.Errorf("Code = %+v", agenda.Code)
	}
	if err := agenda.Output.Validate(json.RawMessage(`"Agenda:"`), ""); err != nil { // S2-31
		t.Errorf("a text does not satisfy the scalar output schema: %v", err)
	}
}

// S1-10, S1-11, S1-34..S1-36: the actions file of the seed document says
// everything but what performs the actions.
func TestSeedActions(t *testing.T) {
	t.Parallel()
	list := string(readFile(t, "testdata/seed-actions.yaml"))
	list = strings.ReplaceAll(list, `- action_id:`, "- endpoint: https://api.example.com/do\n  action_id:")
	m := parse(t, list)
	if m.Name != "actions" || m.Version != "0.0.0" || len(m.Actions) != 3 {
		t.Fatalf("manifest = %s %s with %d actions, want actions 0.0.0 with 3", m.Name, m.Version, len(m.Actions))
	}
	fetch, ok := m.Action("email.fetch_unread")
	if !ok {
		t.Fatal("there is no email.fetch_unread")
	}
	if fetch.Title != "Fetch Unread Emails" || fetch.Type != manifest.InvokeAPI || !slices.Equal(fetch.Scopes, []string{"read:gmail"}) {
		t.Errorf("action = %+v", fetch)
	}
	if args, err := fetch.Input.Default(json.RawMessage(`{}`)); err != nil || string(args) != `{"max_results":5}` {
		t.Errorf("Default = %s, %v, want max_results 5", args, err)
	}
	intent, _ := m.Action("nlp.intent_extractor")
	if len(intent.Scopes) != 0 || intent.Preconditions[0].Source() != "state.emails != null" || intent.Postconditions[0].Source() != "state.intents = result.intents" {
		t.Errorf("action = %+v", intent)
	}
}

// A5: the names that the seeds use for one field.
func TestSpellings(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","properties":{"sql":{"type":"string"}},"required":["sql"]}`
	canonical := action(t, `"type":"invoke_api","name":"q","endpoint":"https://a.example.com/","input_schema":`+schema+`,
		"output_schema":`+schema+`,"scopes":["s"],"requires_confirmation":true,"title":"Query",
		"metadata":{"cost_usd":0.0001,"latency_ms":50,"safety_level":"high"}`)
	for _, members := range []string{
		`"action_id":"q","name":"Query","parameters_schema":` + schema + `,"outputSchema":` + schema + `,"security":{"scopes":["s"]},"requiresConfirmation":true`,
		`"name":"q","title":"Query","inputSchema":` + schema + `,"output_schema":` + schema + `,"requiredScopes":["s"],"requires_confirmation":true`,
	} {
		a := action(t, members+`,"endpoint":"https://a.example.com/","metadata":{"cost_usd":1e-4,"latency_ms":50,"safety_level":"high"}`)
		if string(a.Input.JSON()) != string(canonical.Input.JSON()) || string(a.Output.JSON()) != string(canonical.Output.JSON()) {
			t.Errorf("%s: schemas differ", members)
		}
		c := *canonical
		c.Input, c.Output, a.Input, a.Output = nil, nil, nil, nil
		if !reflect.DeepEqual(a, &c) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", members, a, &c)
		}
	}
	if canonical.CostUSD != 0.0001 || canonical.LatencyMS != 50 || canonical.SafetyLevel != "high" || canonical.Risk != manifest.Medium { // C-13
		t.Errorf("action = %+v", canonical)
	}
	if a := action(t, `"action_id":"550e8400-e29b-41d4-a716-446655440000","code":"x","runtime":"python"`); a.Type != manifest.RunCode {
		t.Errorf("type = %s, want %s", a.Type, manifest.RunCode)
	}
}

// C-13 and the effect classes.
func TestInference(t *testing.T) {
	t.Parallel()
	const api = `"type":"invoke_api","name":"a","endpoint":"https://a.example.com/"`
	for _, tc := range []struct {
		members string
		effect  manifest.Effect
		risk    manifest.Risk
	}{
		{api, manifest.Once, manifest.Medium},
		{api + `,"method":"get"`, manifest.Read, manifest.Low},
		{api + `,"method":"HEAD"`, manifest.Read, manifest.Low},
		{api + `,"method":"PUT"`, manifest.Idempotent, manifest.Medium},
		{api + `,"method":"PATCH"`, manifest.Once, manifest.Medium},
		{api + `,"method":"DELETE"`, manifest.Idempotent, manifest.High},
		{api + `,"effect":"read"`, manifest.Read, manifest.Low},
		{api + `,"effect":"keyed"`, manifest.Keyed, manifest.Medium},
		{api + `,"destructive":true`, manifest.Once, manifest.High},
		{api + `,"destructive":true,"risk":"low"`, manifest.Once, manifest.Low},
		{api + `,"metadata":{"safety_level":"high"}`, manifest.Once, manifest.Medium},
		{`"type":"run_code","name":"a","runtime":"python","code":"x"`, manifest.Read, manifest.Low},
		{`"type":"read_file","name":"a"`, manifest.Read, manifest.Low},
		{`"type":"write_file","name":"a"`, manifest.Idempotent, manifest.Medium},
		{`"type":"human_intervention","name":"a"`, manifest.Read, manifest.Low},
	} {
		if a := action(t, tc.members); a.Effect != tc.effect || a.Risk != tc.risk {
			t.Errorf("%s: effect %s, risk %s, want %s, %s", tc.members, a.Effect, a.Risk, tc.effect, tc.risk)
		}
	}
}

// S2-05..S2-09, C-11, C-12, D-6: every field ends up where it belongs.
func TestFields(t *testing.T) {
	t.Parallel()
	a := action(t, `"type":"invoke_api","name":"a","endpoint":"https://a.example.com/{id}?v={v}","method":"put","headers":{"x-trace":"{id}","X-Key":"${file:a/b}"},
		"query":["q"],"follow_redirects":true,"max_response_kb":2,"timeout_ms":1500,"retry":{"attempts":2,"backoff_ms":0,"statuses":[503]},
		"input_schema":{"properties":{"id":{},"v":{},"q":{}}},"verify":"look","compensate":"look","flag":"beta","terminal":true,"tags":["t"],
		"capability":"c","result_path":"environment.calendar.free_slots","result_select":"a.b","extensions":{"x":{"b":1,"a":[2]}}`)
	if want := (&manifest.HTTPOptions{Endpoint: "https://a.example.com/{id}?v={v}", Method: "PUT", Headers: map[string]string{"X-Trace": "{id}", "X-Key": "${file:a/b}"},
		Query: []string{"q"}, FollowRedirects: true, MaxResponse: 2048}); !reflect.DeepEqual(a.HTTP, want) {
		t.Errorf("HTTP = %+v, want %+v", a.HTTP, want)
	}
	if a.Timeout != 1500*time.Millisecond || !reflect.DeepEqual(a.Retry, manifest.Retry{Attempts: 2, Statuses: []int{503}}) {
		t.Errorf("Timeout, Retry = %v, %+v", a.Timeout, a.Retry)
	}
	if !slices.Equal(a.ResultPath, []string{"calendar", "free_slots"}) || !slices.Equal(a.ResultSelect, []string{"a", "b"}) { // C-09
		t.Errorf("ResultPath, ResultSelect = %v, %v", a.ResultPath, a.ResultSelect)
	}
	if a.Verify != "look" || a.Compensate != "look" || a.Flag != "beta" || !a.Terminal || a.Capability != "c" || string(a.Extensions["x"]) != `{"a":[2],"b":1}` {
		t.Errorf("action = %+v", a)
	}

	a = action(t, `"type":"run_code","name":"a","runtime":"javascript","code":"x","entrypoint":"main","permissions":{"llm":true},
		"limits":{"cpu_ms":100,"wall_ms":2000,"memory_mb":32,"output_kb":4,"log_kb":8,"host_calls":3}`)
	if want := (&manifest.CodeOptions{Runtime: "javascript", Code: "x", Entrypoint: "main", LLM: true, Limits: manifest.Limits{
		CPU: 100 * time.Millisecond, Wall: 2 * time.Second, MemoryBytes: 32 << 20, OutputBytes: 4 << 10, LogBytes: 8 << 10, HostCalls: 3}}); !reflect.DeepEqual(a.Code, want) {
		t.Errorf("Code = %+v, want %+v", a.Code, want)
	}

	a = action(t, `"type":"write_file","name":"a","path":"reports/{day}.json","encoding":"json","max_kb":16`)
	if want := (&manifest.FileOptions{Path: "reports/{day}.json", Encoding: "json", MaxBytes: 16 << 10}); !reflect.DeepEqual(a.File, want) {
		t.Errorf("File = %+v, want %+v", a.File, want)
	}
	if err := a.Input.Validate(json.RawMessage(`{"content":{"a":1}}`), "/args"); err == nil || !strings.Contains(err.Error(), `"day" is missing`) {
		t.Errorf("Validate without the path's argument = %v, want day missing", err)
	}

	a = action(t, `"type":"human_intervention","name":"a","prompt":"Which {{args.what}}?","choices":["x","y"],"expires_s":60,"input_schema":{"properties":{"what":{}}}`)
	if want := (&manifest.HumanOptions{Prompt: "Which {{args.what}}?", Choices: []string{"x", "y"}, Expires: time.Minute}); !reflect.DeepEqual(a.Human, want) {
		t.Errorf("Human = %+v, want %+v", a.Human, want)
	}
}

// S2-80, S2-94: what a session may be shown.
func TestVisible(t *testing.T) {
	t.Parallel()
	m := parse(t, `{"name":"V","version":"1.0.0","flags":{"on":true,"off":false},"actions":[
		{"type":"human_intervention","name":"a","flag":"off"},
		{"type":"human_intervention","name":"b","flag":"on"},
		{"type":"human_intervention","name":"c"}]}`)
	for _, tc := range []struct {
		allow []string
		want  []string
	}{
		{nil, []string{"b", "c"}},
		{[]string{"c", "b", "a", "z"}, []string{"b", "c"}},
		{[]string{"c"}, []string{"c"}},
		{[]string{}, nil},
	} {
		var got []string
		for _, a := range m.Visible(tc.allow) {
			got = append(got, a.Name)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("Visible(%v) = %v, want %v", tc.allow, got, tc.want)
		}
	}
}

// The digest depends on what a document says, not on how it is written.
func TestDigest(t *testing.T) {
	t.Parallel()
	asJSON := parse(t, `{"version": "2.0", "name": "D", "actions": [{"type": "human_intervention", "name": "ask", "prompt": "a\u00e9\ud83d\ude00?",
		"extensions": {"n": 1.50, "big": 9007199254740993, "exp": 1E2}}]}`)
	asYAML := parse(t, "# a comment\nname: D\nversion: 2.0\nactions:\n- {name: ask, type: human_intervention, prompt: \"aé😀?\", extensions: {exp: 100, n: 1.5, big: 9007199254740993}}\n")
	if asJSON.Digest() != asYAML.Digest() || len(asJSON.Digest()) != 64 {
		t.Errorf("digests differ:\n%s\n%s", asJSON.JSON(), asYAML.JSON())
	}
	if want := `"big":9007199254740993,"exp":100,"n":1.5`; !strings.Contains(string(asJSON.JSON()), want) {
		t.Errorf("JSON = %s, want it to hold %s", asJSON.JSON(), want)
	}
	other := parse(t, strings.Replace(string(asJSON.JSON()), "740993", "740992", 1))
	if other.Digest() == asJSON.Digest() {
		t.Error("another big integer gives the same digest")
	}
}

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, file := range exampleFiles(t) {
		m := parse(t, string(readFile(t, file)))
		again := parse(t, string(m.JSON()))
		if again.Digest() != m.Digest() || string(again.Actions[0].Input.JSON()) != string(m.Actions[0].Input.JSON()) {
			t.Errorf("%s: reading the canonical form gives another manifest", file)
		}
		if warnings := m.Lint(); len(warnings) > 0 && filepath.Base(file) != "seed-manifest.json" {
			t.Errorf("%s: Lint = %+v, want nothing", file, warnings)
		}
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	a := manifest.Ask()
	if a.Type != manifest.HumanIntervention || a.Human == nil || a.Effect != manifest.Read || a.Risk != manifest.Low {
		t.Errorf("Ask = %+v", a)
	}
	if err := a.Input.Validate(json.RawMessage(`{"question":"Which time zone should I use?"}`), ""); err != nil { // S2-09
		t.Error(err)
	}
}

// Bounds of documents: all of these answer at once, and with an error.
func TestDocumentLimits(t *testing.T) {
	t.Parallel()
	actions := strings.Repeat(`{"type":"human_intervention","name":"a"},`, 501)
	aliases := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		prev := "*a" + string(rune('0'+i))
		aliases += "a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat(prev+", ", 9) + prev + "]\n"
	}
	for name, tc := range map[string]struct{ document, want string }{
		"bytes":     {`{"name":"` + strings.Repeat("x", 1<<20) + `"}`, "the most is 1048576"},
		"depth":     {strings.Repeat("[", 100_000), "nested more than 64 deep"},
		"yaml":      {"a: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "nested more than 64 deep"},
		"aliases":   {aliases, "more than 200000 values"},
		"loop":      {"a: &a [*a]", "nested more than 64 deep"},
		"actions":   {`{"name":"A","version":"1.0.0","actions":[` + actions + `{}]}`, "there are 502 actions"},
		"values":    {"[" + strings.Repeat("1,", 300_000) + "1]", "more than 200000 values"},
		"problems":  {`{"name":"A","version":"1.0.0","actions":[` + strings.Repeat("1,", 400) + `1]}`, "the manifest has 401 problems, of which 100 are listed"},
		"long name": {`{"` + strings.Repeat("x", 2000) + `":1}`, "a name has 2000 bytes"},
		"not utf-8": {"{\"name\":\"\xff\"}", "not UTF-8"},
		"binary":    {"name: !!binary aGk=", "tag !!binary is not read"},
		"infinity":  {"name: x\nversion: 1.0.0\nmax_steps: .inf", ".inf is not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := manifest.Parse([]byte(tc.document)); err == nil || !strings.Contains(err.Error(), tc.want) {
				text := "nil"
				if err != nil {
					text = err.Error()[:min(300, len(err.Error()))]
				}
				t.Errorf("Parse = %s, want %q", text, tc.want)
			}
		})
	}
}

// The forms that YAML gives numbers and texts.
func TestYAMLScalars(t *testing.T) {
	t.Parallel()
	m := parse(t, `
name: Y
version: 1.0.0
actions: [{type: human_intervention, name: ask}]
extensions: {hex: 0x1F, plus: +7, point: .5, under: 1_000, exp: 1e3, octal: 0o17, no: no, on: on, day: 2026-03-28, t: True, nothing: ~, empty: , half: 5.}
`)
	want := map[string]string{
		"hex": "31", "plus": "7", "point": "0.5", "under": "1000", "exp": "1000", "octal": "15", "no": `"no"`, "on": `"on"`,
		"day": `"2026-03-28"`, "t": "true", "nothing": "null", "empty": "null", "half": "5",
	}
	for name, w := range want {
		if got := string(m.Extensions[name]); got != w {
			t.Errorf("%s = %s, want %s", name, got, w)
		}
	}
}
