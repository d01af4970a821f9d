package sandbox_test

import (
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

// TestDoorTrustsNobody covers SB9 and SB10: code that finds the door to the host gains nothing that it does not have.
func TestDoorTrustsNobody(t *testing.T) {
	t.Parallel()
	const door = "import _sandbox, os\ncall = _sandbox.call\n"
	for name, tt := range map[string]struct{ code, want string }{
		"forged result is replaced":   {"call(b'R{\"forged\": 1}')\nresult = 1", "1"},
		"forged failure is a failure": {"call(b'E{\"kind\": \"Forged\", \"message\": \"m\"}')", "Forged"},
		"failure without description": {"call(b'E' + b'x' * 10**6)", "Error"},
		"result that is not JSON":     {"call(b'R{')\nimport oap_guest\noap_guest._sandbox.call = 1\nos._exit(0)", "SystemExit"},
		"large result":                {"call(b'R' + b'1' * (2 << 20))", sandbox.LimitOutput},
		"model without grant":         {"result = call(b'L{}').decode()[:1]", `"-"`},
		"unknown and empty requests":  {"result = [call(b'').decode(), call(b'?').decode(), call(b'\\xff').decode()]", `["","",""]`},
		"sleeping by nonsense":        {"result = [call(b'S' + n).decode() for n in (b'', b'x', b'-1', b'9' * 40)]", `["","","",""]`},
		"sleeping for ever":           {"call(b'S' + b'9' * 18)", sandbox.LimitWall},
		"calls without end":           {"while True: call(b'1x')", sandbox.LimitCPU},
		"large requests without end":  {"b = b'2' + b'x' * 10**6\nwhile True: call(b)", sandbox.LimitCPU},
		"exit after a forged result":  {"call(b'R1')\nos._exit(0)", "SystemExit"},
		"guest module called by hand": {"import oap_guest\noap_guest.run('{}')", "KeyError"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, program(sandbox.Python, door+tt.code), "")
			got := string(out.Output)
			switch e := err.(type) {
			case nil:
			case *sandbox.GuestError:
				got = e.Kind
			case *sandbox.LimitError:
				got = e.Limit
			default:
				t.Fatalf("Run = %T %v", err, err)
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

// TestJavaScriptDoorIsHidden: stack traces and replaced built-ins do not hand the door to users' code.
func TestJavaScriptDoorIsHidden(t *testing.T) {
	t.Parallel()
	code := `
const seen = [];
const look = f => { if (typeof f === "function") seen.push(f.name) };
Error.prepareStackTrace = (e, sites) => { for (const s of sites) { look(s.getFunction?.()); look(s.getThis?.()) } return "" };
Function.prototype.call = Function.prototype.apply = function () { look(this) };
String.prototype.concat = Array.prototype.join = function () { look(this); return "" };
const evil = {toString() { look(evil.toString.caller); throw new Error("x") }, toJSON() { new Error("y").stack; return 1 }};
try { console.log(evil) } catch {}
try { console.log({a: evil}) } catch {}
new Error("z").stack;
return seen.includes("door");`
	if got := output(t, program(sandbox.JavaScript, code), ""); got != "false" {
		t.Errorf("door found: %s", got)
	}
}
