package sandbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/oap-runtime/oap/sandbox"
)

// everything uses all that could differ between two runs: clocks, randomness, hashes, order, sleeping, addresses.
var everything = map[sandbox.Runtime]string{
	sandbox.Python: `
import random, time, uuid, os, secrets, datetime, asyncio, hashlib
async def main():
    start = time.perf_counter()
    await asyncio.sleep(0.25)
    numbers = sorted(random.random() for _ in range(200))
    print(id(object()) == id(object()), hash("x"), {"b", "a", "c"})
    return [time.time(), time.time_ns(), time.monotonic(), time.process_time(), time.perf_counter() - start, str(uuid.uuid4()), os.urandom(8).hex(),
            secrets.token_hex(4), datetime.datetime.now(), numbers[:3], hash("abc"), list({"x", "y", "z"}), hashlib.sha256(os.urandom(100)).hexdigest()]
`,
	sandbox.JavaScript: `
const start = performance.now();
await new Promise(r => setTimeout(r, 250));
const numbers = Array.from({length: 200}, Math.random).sort();
console.log(numbers.length, [..."hello"].sort().join(""));
return [Date.now(), new Date(), performance.now() - start, crypto.randomUUID(), numbers.slice(0, 3), [...crypto.getRandomValues(new Uint8Array(4))]];
`,
}

// TestRunsAreDeterministic covers S2-17 and SB8: the same program, input, clock and seed give the same bytes and fuel.
func TestRunsAreDeterministic(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		p := program(rt, everything[rt])
		first, err := run(t, p, `{}`)
		if err != nil {
			t.Fatal(err, traceback(err))
		}
		for range 20 {
			again, err := run(t, p, `{}`)
			if err != nil {
				t.Fatal(err)
			}
			if string(again.Output) != string(first.Output) || again.Stdout != first.Stdout || again.Usage.Fuel != first.Usage.Fuel ||
				again.Usage.MemoryPeakBytes != first.Usage.MemoryPeakBytes {
				t.Fatalf("two runs differ:\n%s %s %d\n%s %s %d", first.Output, first.Stdout, first.Usage.Fuel, again.Output, again.Stdout, again.Usage.Fuel)
			}
		}

		other := p
		other.Seed[5]++
		if again, err := run(t, other, `{}`); err != nil || string(again.Output) == string(first.Output) {
			t.Errorf("another seed gives the same output, %v", err)
		}
	})
}

// TestDeterminismAcrossSandboxes: a second sandbox of the process, with its own compilation and start-up, agrees.
func TestDeterminismAcrossSandboxes(t *testing.T) {
	t.Parallel()
	second, err := sandbox.New(sandbox.Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p := program(sandbox.JavaScript, everything[sandbox.JavaScript])
	a, errA := run(t, p, "")
	b, errB := second.Run(t.Context(), p, nil)
	if errA != nil || errB != nil || string(a.Output) != string(b.Output) || a.Usage.Fuel != b.Usage.Fuel {
		t.Errorf("sandboxes differ:\n%s %d %v\n%s %d %v", a.Output, a.Usage.Fuel, errA, b.Output, b.Usage.Fuel, errB)
	}
}

// TestClock: the clock starts at Now, advances with work and sleep, and nobody waits.
func TestClock(t *testing.T) {
	t.Parallel()
	p := program(sandbox.Python, "import time\na = time.time()\ntime.sleep(1.5)\nb = time.time()\nwhile time.time() < b + 0.01: pass\nresult = [round(a), round(b - a, 2)]")
	if got, want := output(t, p, ""), "[1774708330,1.5]"; got != want {
		t.Errorf("output = %s, want %s", got, want)
	}
	p.Now = time.Time{}
	if got, want := output(t, p, ""), "[0,1.5]"; got != want {
		t.Errorf("output without a clock = %s, want %s", got, want)
	}
	p = program(sandbox.JavaScript, "const a = Date.now(); await new Promise(r => setTimeout(r, 1500)); return [Math.round(a / 1000), Date.now() - a]")
	if got, want := output(t, p, ""), "[1774708330,1500]"; got != want {
		t.Errorf("output = %s, want %s", got, want)
	}
}
