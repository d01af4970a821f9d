package sandbox_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

// sabotage changes everything a program can reach: built-ins, modules, streams, globals, and leaves a secret in memory.
var sabotage = map[sandbox.Runtime]string{
	sandbox.Python: `
import builtins, json, random, sys, gc, os, time, math, asyncio, datetime
secret = "canary-" + "4711" * 1000
builtins.len = lambda x: 666
builtins.secret = secret
builtins.print = lambda *a, **k: None
json.dumps = lambda *a, **k: '"patched"'
json.loads = None
random.random = lambda: 4
random.seed = lambda *a: None
time.time = lambda: 0
math.pi = 3
datetime.datetime = None
asyncio.run = None
sys.modules["json"] = None
sys.modules["openai"] = json
sys.path.clear()
sys.setrecursionlimit(50)
gc.disable()
os.close(1); os.close(2)
f = open("/lib/os.pyc", "rb"); f.read(10)
os.environ["SECRET"] = secret
class Evil(dict): pass
sys.stdout = None
import oap_guest
oap_guest.run = oap_guest._encode = None
`,
	sandbox.JavaScript: `
globalThis.secret = "canary-" + "4711".repeat(1000);
Array.prototype.map = () => [666];
Object.prototype.injected = secret;
JSON.stringify = () => '"patched"';
JSON.parse = null;
Math.random = () => 4;
Date.now = () => 0;
Promise.prototype.then = null;
console.log = null;
String.prototype.includes = () => { throw 1 };
setTimeout(() => {}, 1000);
return 1;
`,
}

var inspect = map[sandbox.Runtime]string{
	sandbox.Python: `
import json, random, time, math, datetime, sys, gc, os
result = [len([1]), hasattr(__builtins__, "secret"), json.loads("[1]"), random.random() < 1, time.time() > 1, math.pi > 3.1,
          datetime.datetime.now().year, "openai" in sys.modules, sys.getrecursionlimit() >= 1000, gc.isenabled(), dict(os.environ),
          any("canary-" + "4711" in o for o in gc.get_objects() if isinstance(o, str))]
print("visible")
`,
	sandbox.JavaScript: `
console.log("visible");
return [[1].map(x => x + 1), "secret" in globalThis, ({}).injected ?? null, JSON.parse("[1]"), Math.random() < 1, Date.now() > 1, "x".includes("x")];
`,
}

var clean = map[sandbox.Runtime]string{
	sandbox.Python:     `[1,false,[1],true,true,true,2026,false,true,true,{},false]`,
	sandbox.JavaScript: `[[2],false,null,[1],true,true,true]`,
}

// TestRunsAreIsolated covers SB6: nothing of one run is visible in the next, whatever it does.
func TestRunsAreIsolated(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		for range 10 {
			if _, err := run(t, program(rt, sabotage[rt]), ""); err != nil {
				t.Logf("sabotage ended with %v", err) // breaking the guest's own modules may well fail
			}
			out, err := run(t, program(rt, inspect[rt]), "")
			if err != nil {
				t.Fatal(err, traceback(err))
			}
			if string(out.Output) != clean[rt] || out.Stdout != "visible\n" {
				t.Fatalf("after sabotage: %s and %q, want %s", out.Output, out.Stdout, clean[rt])
			}
		}
	})
}

// TestStoppedRunsLeaveNothing: an instance that was stopped in the middle of something is not used again.
func TestStoppedRunsLeaveNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		for range 5 {
			_, err := run(t, program(rt, map[sandbox.Runtime]string{
				sandbox.Python:     sabotage[rt] + "\nwhile True: pass",
				sandbox.JavaScript: strings.Replace(sabotage[rt], "return 1", "for (;;) {}", 1),
			}[rt]), "")
			if err == nil {
				t.Fatal("the sabotage ended")
			}
			if got := output(t, program(rt, inspect[rt]), ""); got != clean[rt] {
				t.Fatalf("after a stopped run: %s, want %s", got, clean[rt])
			}
		}
	})
}

// TestConcurrentRuns: fifty runs at once, good and bad, each get their own answer.
func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		double := map[sandbox.Runtime]string{
			sandbox.Python:     "def double(n):\n x = [n] * 1000\n return sum(x) // 500",
			sandbox.JavaScript: "const double = ({n}) => Array(1000).fill(n).reduce((a, b) => a + b) / 500",
		}[rt]
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				code := double
				if i%5 == 4 {
					code = sabotage[rt]
				}
				out, err := run(t, program(rt, code), fmt.Sprintf(`{"n":%d}`, i))
				if code == double && (err != nil || string(out.Output) != fmt.Sprint(2*i)) {
					t.Errorf("double(%d) = %s, %v", i, out.Output, err)
				}
			})
		}
		wg.Wait()
	})
}
