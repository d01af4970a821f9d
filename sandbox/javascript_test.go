package sandbox_test

import (
	"strings"
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

// TestJavaScriptEntryPoints: the order of S2-36, and code that is a body.
func TestJavaScriptEntryPoints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, entrypoint, code, input, want string
	}{
		{"a body that returns", "", "return input.x * 2", `{"x":21}`, "42"},
		{"a body that awaits", "", "const x = await Promise.resolve(input.x); return x", `{"x":1}`, "1"},
		{"a body that returns a promise", "", "return Promise.all([1, Promise.resolve(2)])", "", "[1,2]"},
		{"a body without return", "", "console.log(1)", "", "null"},
		{"a body with helpers that returns", "", "function a() { return 1 } function b() { return 2 } return a() + b()", "", "3"},
		{"the input is the only argument", "", "function f(input) { return input.x }", `{"x":[1]}`, "[1]"},
		{"input that is no object", "", "const f = x => x", `[1,2]`, "[1,2]"},
		{"explicit entry point first", "g", "function demo() { return 1 } function g() { return 2 }", "", "2"},
		{"then the action's name", "", "function generate() { return 1 } const demo = () => 2", "", "2"},
		{"then generate", "", "function main() { return 1 } async function generate() { return 2 }", "", "2"},
		{"then main", "", "const helper = function () {}; let main = async x => 2", "", "2"},
		{"then the only function", "", "const limit = 3; async function f() { return limit }", "", "3"},
		{"nested functions do not count", "", "function outer() { function inner() {} const x = () => 1; return 2 }", "", "2"},
		{"functions in strings and comments do not count", "", "// function a() {}\nconst s = 'function b() {}';\nfunction f() { return 2 }", "", "2"},
		{"undefined is null", "", "function f() {}", "", "null"},
		{"timers fire in order", "", "const out = []; setTimeout(() => out.push(2), 20); setTimeout(() => out.push(1), 10); await new Promise(r => setTimeout(r, 30)); return out", "", "[1,2]"},
		{"a microtask after the result still runs", "", "Promise.resolve().then(() => console.log('late')); return 1", "", "1"},
		{"strict code", "", "'use strict'; return this === undefined || typeof this", "", `"object"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := program(sandbox.JavaScript, tt.code)
			p.Entrypoint = tt.entrypoint
			if got := output(t, p, tt.input); got != tt.want {
				t.Errorf("output = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestJavaScriptWithoutEntryPoint(t *testing.T) {
	t.Parallel()
	_, err := run(t, program(sandbox.JavaScript, "function a() {}\nconst b = () => 1"), "")
	if g := raised(t, err, "entrypoint"); !strings.Contains(g.Message, "a, b") || !strings.Contains(g.Message, `"demo"`) {
		t.Errorf("message = %q, want the candidates and the remedy", g.Message)
	}
	p := program(sandbox.JavaScript, "function a() {}")
	for _, p.Entrypoint = range []string{"nothing", "a b", "a()"} {
		_, err := run(t, p, "")
		if g := raised(t, err, "entrypoint"); !strings.Contains(g.Message, p.Entrypoint) {
			t.Errorf("message = %q, want the missing name", g.Message)
		}
	}
}

func TestJavaScriptOutput(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		`{"é": [1, 2.5, true, null, undefined, "\u2028"]}`: "{\"é\":[1,2.5,true,null,null,\"\u2028\"]}",
		`new Date(0)`:                       `"1970-01-01T00:00:00.000Z"`,
		`new Map([["a", new Set([1, 2])]])`: `{"a":[1,2]}`,
		`"\ud800"`:                          `"\ud800"`,
		`({toJSON() { return {x: 1} }})`:    `{"x":1}`,
		`-0`:                                `0`,
		`[1e21, 1e-7]`:                      `[1e+21,1e-7]`,
		`() => 1`:                           `null`,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			if got := output(t, program(sandbox.JavaScript, "return "+code), ""); got != want {
				t.Errorf("output = %s, want %s", got, want)
			}
		})
	}
	for code, want := range map[string]string{
		`NaN`:                 "NaN at the top level",
		`{a: [1, -Infinity]}`: `-Infinity at "1"`,
		`[1n]`:                "BigInt",
		`(() => { const a = []; a.push(a); return a })()`: "circular",
		`Array.from({length: 300}).reduce(x => [x], 0)`:   "deeper",
	} {
		t.Run("refused/"+code, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, program(sandbox.JavaScript, "return "+code), "")
			if g := raised(t, err, "output"); !strings.Contains(g.Message, want) {
				t.Errorf("message = %q, want it to mention %s", g.Message, want)
			}
		})
	}
}

func TestJavaScriptErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, code, kind, message, line string }{
		{"thrown in a function", "function helper(x) {\n  return x.y.z;\n}\nfunction demo() {\n  return helper({});\n}", "TypeError", "cannot read property 'z' of undefined", "at helper (demo.js:2:"},
		{"thrown in a body", "const a = 1;\nthrow new RangeError('far');", "RangeError", "far", "(demo.js:2:"},
		{"column of the first line", "throw new Error('x')", "Error", "x", "(demo.js:1:11)"},
		{"rejected", "await Promise.reject(new TypeError('later'))", "TypeError", "later", "demo.js:1:"},
		{"thrown by a timer", "setTimeout(() => { throw new TypeError('tick') }, 1); await new Promise(() => {})", "TypeError", "tick", "demo.js:1:"},
		{"not an error", "throw {code: 7}", "Error", `{"code":7}`, ""},
		{"undefined", "throw undefined", "Error", "undefined", ""},
		{"own class", "class Bad extends Error { get name() { return 'Bad' } }\nthrow new Bad('no')", "Bad", "no", "(demo.js:2:"},
		{"syntax", "const a = 1;\nconst b = ;\n", "SyntaxError", "unexpected token", "demo.js:2:"},
		{"code that closes its wrapper", "}); (() => {", "SyntaxError", "", "demo.js:1:"},
		{"promise that never settles", "return new Promise(() => {})", "Error", "never settles", ""},
		{"model without grant", "return openai.chat", "ReferenceError", "permissions.llm", "demo.js:1:"},
		{"network", "return fetch('https://example.com')", "ReferenceError", "no network", "demo.js:1:"},
		{"module", "const fs = require('fs')", "ReferenceError", "Node.js", "demo.js:1:"},
		{"import", "await import('fs')", "ReferenceError", "no modules", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, program(sandbox.JavaScript, tt.code), "")
			g := raised(t, err, tt.kind)
			if !strings.Contains(g.Message, tt.message) || !strings.Contains(g.Traceback, tt.line) {
				t.Errorf("message %q, want %q; traceback, which should contain %q:\n%s", g.Message, tt.message, tt.line, g.Traceback)
			}
			if strings.Contains(g.Traceback, "sandbox.js") || strings.Contains(g.Traceback, "native") {
				t.Errorf("traceback shows the sandbox:\n%s", g.Traceback)
			}
		})
	}
}

// TestJavaScriptLanguage: the language level that the documentation promises.
func TestJavaScriptLanguage(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		`"2026-11".match(/(?<y>\d+)-/).groups.y`:                         `"2026"`,
		`new Set([1, 2]).union(new Set([3])).size`:                       `3`,
		`Object.groupBy([1, 2, 3], x => x % 2 ? "odd" : "even")`:         `{"odd":[1,3],"even":[2]}`,
		`[3, 1].toSorted()`:                                              `[1,3]`,
		`class { static #x = 1; static get() { return this.#x } }.get()`: `1`,
		`crypto.randomUUID().length`:                                     `36`,
		`new Date().toISOString()`:                                       `"2026-03-28T14:32:10.000Z"`,
		`performance.now() < 1000`:                                       `true`,
		`btoa("hi")`:                                                     `"aGk="`,
		`(2n ** 64n).toString()`:                                         `"18446744073709551616"`,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			if got := output(t, program(sandbox.JavaScript, "return "+code), ""); got != want {
				t.Errorf("output = %s, want %s", got, want)
			}
		})
	}
}
