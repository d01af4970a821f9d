package sandbox_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/oap-runtime/oap/sandbox"
)

// BenchmarkRun measures whole runs: input and output, execution, and putting the instance back.
func BenchmarkRun(b *testing.B) {
	for _, bm := range []struct {
		rt         sandbox.Runtime
		name, code string
	}{
		{sandbox.JavaScript, "small", "return input.x + 1"},
		{sandbox.JavaScript, "function", "function demo({items}) { return items.map(i => ({...i, total: i.price * i.count})) }"},
		{sandbox.Python, "small", "result = input['x'] + 1"},
		{sandbox.Python, "function", "import json, re, datetime\ndef demo(items, **_):\n d = datetime.date(2026, 3, 28)\n return [{**i, 'total': i['price'] * i['count'], 'name': re.sub(r'\\W', '', i['name']), 'day': d} for i in items]"},
	} {
		p := program(bm.rt, bm.code)
		input := json.RawMessage(`{"x":1,"items":[{"name":"a b","price":2,"count":3},{"name":"c","price":5,"count":7}]}`)
		b.Run(string(bm.rt)+"/"+bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := box.Run(b.Context(), p, input); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(bm.rt)+"/"+bm.name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := box.Run(b.Context(), p, input); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkFuel measures how much fuel different kinds of work burn in a millisecond. The constants that convert
// Limits.CPU into fuel are round numbers within the range that this reports on the reference machine.
func BenchmarkFuel(b *testing.B) {
	for _, bm := range []struct {
		rt         sandbox.Runtime
		name, code string
	}{
		{sandbox.Python, "integers", "i = 0\nwhile True: i = (i + 7) % 1000003"},
		{sandbox.Python, "calls", "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(60)"},
		{sandbox.Python, "json", "import json\nd = {'a': list(range(50)), 'b': 'x' * 50}\nwhile True: json.loads(json.dumps(d))"},
		{sandbox.Python, "text", "while True: ','.join(str(i) for i in range(1000)).split(',')"},
		{sandbox.Python, "sort", "import random\nl = [random.random() for _ in range(20000)]\nwhile True: sorted(l)"},
		{sandbox.Python, "regex", "import re\nwhile True: re.findall(r'(\\w+)@(\\w+)', 'foo@bar baz@qux ' * 100)"},
		{sandbox.Python, "bigints", "x = 3**20000\nwhile True: x * x"},
		{sandbox.Python, "objects", "class A:\n def __init__(s, x): s.x = x\n def m(s): return s.x\nwhile True: A(1).m()"},
		{sandbox.Python, "hash", "import hashlib\nb = b'x' * 100000\nwhile True: hashlib.sha256(b).digest()"},
		{sandbox.JavaScript, "integers", "let i = 0; for (;;) i = (i + 7) % 1000003"},
		{sandbox.JavaScript, "calls", "const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2); return fib(60)"},
		{sandbox.JavaScript, "json", "const d = {a: [...Array(50).keys()], b: 'x'.repeat(50)}; for (;;) JSON.parse(JSON.stringify(d))"},
		{sandbox.JavaScript, "text", "for (;;) Array.from({length: 1000}, (_, i) => String(i)).join().split(',')"},
		{sandbox.JavaScript, "sort", "const l = Array.from({length: 20000}, Math.random); for (;;) [...l].sort((a, b) => a - b)"},
		{sandbox.JavaScript, "regex", "for (;;) 'foo@bar baz@qux '.repeat(100).match(/(\\w+)@(\\w+)/g)"},
		{sandbox.JavaScript, "bigints", "const x = 3n ** 20000n; for (;;) x * x"},
		{sandbox.JavaScript, "objects", "class A { constructor(x) { this.x = x } m() { return this.x } }; for (;;) new A(1).m()"},
	} {
		b.Run(string(bm.rt)+"/"+bm.name, func(b *testing.B) {
			p := program(bm.rt, bm.code)
			p.Limits.CPU = 200 * time.Millisecond
			var fuel int64
			for b.Loop() {
				out, err := box.Run(b.Context(), p, nil)
				if err == nil {
					b.Fatal("the program ended")
				}
				fuel += out.Usage.Fuel
			}
			b.ReportMetric(float64(fuel)/float64(b.Elapsed().Milliseconds()), "fuel/ms")
		})
	}
}
