package sandbox_test

import (
	"strings"
	"testing"

	"github.com/oap-runtime/oap/sandbox"
)

// TestPythonEntryPoints covers S2-36.
func TestPythonEntryPoints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, entrypoint, code, input, want string
	}{
		{"keyword arguments", "", "def f(a, b=2, *, c): return [a, b, c]", `{"a":1,"c":3}`, "[1,2,3]"},
		{"rest of the arguments", "", "def f(a, **rest): return rest", `{"a":1,"b":2}`, `{"b":2}`},
		{"positional argument for what is not an object", "", "def f(x): return x", `[1,2]`, "[1,2]"},
		{"no input", "", "def f(): return 1", "", "1"},
		{"explicit entry point first", "g", "def demo(): return 1\ndef g(): return 2", "", "2"},
		{"explicit entry point may be any callable", "C", "class C:\n def __new__(cls): return 3", "", "3"},
		{"then the action's name", "", "def generate(): return 1\ndef demo(): return 2", "", "2"},
		{"then generate", "", "def main(): return 1\ndef generate(): return 2", "", "2"},
		{"then main", "", "def helper(): return 1\ndef main(): return 2", "", "2"},
		{"then the only function", "", "import json\nfrom math import sqrt\nX = 1\nclass A: pass\ndef f(): return 2", "", "2"},
		{"helpers with underscores do not count", "", "def _h(): return 1\ndef f(): return _h() + 1", "", "2"},
		{"a lambda is a function", "", "f = lambda x: x + 1", `{"x":1}`, "2"},
		{"asynchronous functions are awaited", "", "import asyncio\nasync def f(x):\n await asyncio.sleep(1)\n return await asyncio.gather(g(x), g(x + 1))\nasync def _(): pass\ng = None\nasync def g(x): return x\nasync def main(x): return await f(x)", `{"x":1}`, "[1,2]"},
		{"a script's result", "", "result = input['x'] * 2", `{"x":21}`, "42"},
		{"a script's result with a helper", "", "def double(x): return 2 * x\nresult = double(input['x'])", `{"x":21}`, "42"},
		{"a script without result", "", "print(1)", "", "null"},
		{"a script that exits", "", "import sys\nresult = 1\nsys.exit()", "", "1"},
		{"the main guard is not executed twice", "", "n = 0\ndef main():\n global n\n n += 1\n return n\nif __name__ == '__main__': main()", "", "1"},
		{"None is null", "", "def f(): pass", "", "null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := program(sandbox.Python, tt.code)
			p.Entrypoint = tt.entrypoint
			if got := output(t, p, tt.input); got != tt.want {
				t.Errorf("output = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPythonWithoutEntryPoint(t *testing.T) {
	t.Parallel()
	_, err := run(t, program(sandbox.Python, "def a(): pass\ndef b(): pass"), "")
	if g := raised(t, err, "entrypoint"); !strings.Contains(g.Message, "a, b") || !strings.Contains(g.Message, `"demo"`) {
		t.Errorf("message = %q, want the candidates and the remedy", g.Message)
	}
	p := program(sandbox.Python, "def a(): pass")
	p.Entrypoint = "nothing"
	_, err = run(t, p, "")
	if g := raised(t, err, "entrypoint"); !strings.Contains(g.Message, "nothing") {
		t.Errorf("message = %q, want the missing name", g.Message)
	}
}

// TestPythonOutput covers S2-17 and SB10: what becomes JSON, and what is refused.
func TestPythonOutput(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		`{"é": [1, 2.5, True, None, "\u2028"]}`: "{\"é\":[1,2.5,true,null,\"\u2028\"]}",
		`(1, [2, (3,)])`:                        `[1,[2,[3]]]`,
		`{1: 2, True: 3, None: 4}`:              `{"1":3,"null":4}`,
		`10**30`:                                `1000000000000000000000000000000`,
		`__import__("datetime").datetime(2026, 1, 2, 3, 4)`:                                      `"2026-01-02T03:04:00"`,
		`__import__("datetime").timedelta(minutes=1)`:                                            `60.0`,
		`__import__("decimal").Decimal("1.10")`:                                                  `"1.10"`,
		`__import__("fractions").Fraction(1, 3)`:                                                 `"1/3"`,
		`{3, 1, 2}`:                                                                              `[1,2,3]`,
		`__import__("collections").Counter("aab")`:                                               `{"a":2,"b":1}`,
		`__import__("dataclasses").make_dataclass("P", ["x", "y"])(1, [2])`:                      `{"x":1,"y":[2]}`,
		`__import__("enum").Enum("E", "A B").B`:                                                  `2`,
		`__import__("collections").namedtuple("P", "x y")(1, 2)`:                                 `[1,2]`,
		`[*map(str, __import__("uuid").UUID(int=1).fields[:2]), __import__("uuid").UUID(int=1)]`: `["0","0","00000000-0000-0000-0000-000000000001"]`,
		`{"k": 1}.keys()`: `["k"]`,
		`"\ud800"`:        `"\ud800"`,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			if got := output(t, program(sandbox.Python, "result = "+code), ""); got != want {
				t.Errorf("output = %s, want %s", got, want)
			}
		})
	}
	for code, want := range map[string]string{
		`float("nan")`:                     "nan",
		`[float("-inf")]`:                  "inf",
		`b"x"`:                             "base64",
		`object()`:                         "object",
		`(x for x in [1])`:                 "list",
		`map(str, [1])`:                    "list",
		`{(1, 2): 3}`:                      "tuple",
		`print`:                            "builtin",
		`(lambda l: l.append(l) or l)([])`: "Circular",
		`__import__("functools").reduce(lambda x, _: [x], range(300), 0)`: "deeper",
	} {
		t.Run("refused/"+code, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, program(sandbox.Python, "result = "+code), "")
			if g := raised(t, err, "output"); !strings.Contains(g.Message, want) {
				t.Errorf("message = %q, want it to mention %s", g.Message, want)
			}
		})
	}
}

// TestPythonTracebacks: errors show the user's own lines and nothing of the sandbox.
func TestPythonTracebacks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, code, kind, message string
		lines                     []string
	}{
		{"raised", "def helper(x):\n    return 1 / x\n\ndef demo():\n    return helper(0)\n", "ZeroDivisionError", "division by zero",
			[]string{`File "demo.py", line 5, in demo`, "return helper(0)", `File "demo.py", line 2, in helper`, "return 1 / x"}},
		{"syntax", "x = 1\ny = = 2\n", "SyntaxError", "invalid syntax", []string{`File "demo.py", line 2`, "y = = 2"}},
		{"own exception", "class Bad(Exception): pass\ndef demo():\n    raise Bad('no') from KeyError('k')\n", "Bad", "no",
			[]string{"KeyError: 'k'", "direct cause", `line 3, in demo`}},
		{"library", "import json\njson.loads('{')", "JSONDecodeError", "Expecting property name", []string{`File "demo.py", line 2`, "/lib/json/decoder.py"}},
		{"arguments", "def demo(a): pass", "TypeError", "missing 1 required positional argument: 'a'", nil},
		{"exit", "import sys\nsys.exit('stop')", "SystemExit", "stop", []string{"line 2"}},
		{"exit of the process", "import os\nos._exit(7)", "SystemExit", "7", nil},
		{"exception that cannot be shown", "class Bad(Exception):\n def __str__(self): raise ValueError\nraise Bad", "Bad", "cannot be shown", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, program(sandbox.Python, tt.code), "")
			g := raised(t, err, tt.kind)
			if !strings.Contains(g.Message, tt.message) {
				t.Errorf("message = %q, want %q", g.Message, tt.message)
			}
			for _, line := range tt.lines {
				if !strings.Contains(g.Traceback, line) {
					t.Errorf("traceback lacks %q:\n%s", line, g.Traceback)
				}
			}
			if strings.Contains(g.Traceback, "oap_guest") {
				t.Errorf("traceback shows the sandbox:\n%s", g.Traceback)
			}
		})
	}
}

// TestPythonLibrary: what authors expect of Python imports and works.
func TestPythonLibrary(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ code, want string }{
		"json":        {"import json\nresult = json.loads('{\"a\": [1, 2.5e3]}')", `{"a":[1,2500.0]}`},
		"re":          {"import re\nresult = re.sub(r'(?P<y>\\d+)', lambda m: m['y'] + '!', 'a1b22')", `"a1!b22!"`},
		"datetime":    {"import datetime as d\nresult = d.datetime.now(d.timezone.utc).isoformat(timespec='seconds')", `"2026-03-28T14:32:10+00:00"`},
		"strptime":    {"import datetime as d\nresult = d.datetime.strptime('28 Mar 2026', '%d %b %Y').weekday()", `5`},
		"zoneinfo":    {"import datetime as d, zoneinfo\nresult = d.datetime(2026, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo('America/New_York'))", `"2026-07-01T12:00:00-04:00"`},
		"zone names":  {"import zoneinfo\nresult = len(zoneinfo.available_timezones()) > 400", `true`},
		"decimal":     {"from decimal import *\ngetcontext().prec = 30\nresult = Decimal(1) / 7", `"0.142857142857142857142857142857"`},
		"fractions":   {"from fractions import Fraction as F\nresult = F(1, 3) + F(1, 6)", `"1/2"`},
		"statistics":  {"import statistics as s\nresult = [s.mean([1, 2, 3, 4]), s.median([3, 1, 2]), s.stdev([1, 2, 3])]", `[2.5,2,1.0]`},
		"csv":         {"import csv, io\nresult = list(csv.DictReader(io.StringIO('a,b\\n1,\"x, y\"')))", `[{"a":"1","b":"x, y"}]`},
		"math":        {"import math\nresult = [math.sqrt(2), math.gcd(12, 18), math.comb(5, 2)]", `[1.4142135623730951,6,10]`},
		"random":      {"import random\nresult = [random.random() != random.random(), sorted(random.sample(range(5), 5))]", `[true,[0,1,2,3,4]]`},
		"hashlib":     {"import hashlib\nresult = [hashlib.sha256(b'abc').hexdigest()[:8], hashlib.md5(b'').hexdigest()[:8], hashlib.blake2b(b'').hexdigest()[:8]]", `["ba7816bf","d41d8cd9","786a02f7"]`},
		"hmac":        {"import hmac\nresult = hmac.new(b'k', b'm', 'sha256').hexdigest()[:8]", `"b60090e3"`},
		"dataclasses": {"from dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n x: int\n tags: list = field(default_factory=list)\nresult = [P(1) < P(2), P(3)]", `[true,{"x":3,"tags":[]}]`},
		"asyncio":     {"import asyncio\nasync def w(n):\n await asyncio.sleep(n)\n return n\nasync def main():\n async with asyncio.timeout(10):\n  return await asyncio.gather(*[w(n) for n in (3, 1, 2)])", `[3,1,2]`},
		"timeouts":    {"import asyncio\nasync def main():\n try:\n  await asyncio.wait_for(asyncio.sleep(1.5), 0.5)\n except TimeoutError: return 'late'", `"late"`},
		"collections": {"import collections as c\nresult = [c.Counter('abca').most_common(1), c.deque([1, 2], maxlen=1)]", `[[["a",2]],[2]]`},
		"itertools":   {"import itertools as i\nresult = list(i.batched('abcde', 2))", `[["a","b"],["c","d"],["e"]]`},
		"functools":   {"import functools as f\n@f.cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nresult = fib(90)", `2880067194370816120`},
		"typing":      {"from typing import *\nclass P(TypedDict):\n x: NotRequired[int]\ndef f(x: 'int | None' = None) -> P: return {'x': x or 1}", `{"x":1}`},
		"text":        {"import textwrap, string, difflib\nresult = [textwrap.shorten('a b c d', 5), string.Template('$x').substitute(x=1), difflib.get_close_matches('appel', ['apple', 'ape'])[0]]", `["[...]","1","apple"]`},
		"base64":      {"import base64\nresult = base64.b64encode(b'hi').decode()", `"aGk="`},
		"zlib":        {"import zlib, gzip\nresult = [len(zlib.compress(b'x' * 1000)) < 50, gzip.decompress(gzip.compress(b'y')).decode()]", `[true,"y"]`},
		"xml":         {"import xml.etree.ElementTree as E\nresult = E.fromstring('<a><b x=\"1\"/></a>')[0].attrib", `{"x":"1"}`},
		"html":        {"import html, urllib.parse as u\nresult = [html.escape('<'), u.urlencode({'a': 'b c'}), u.urlparse('https://x.y/z?q').netloc]", `["&lt;","a=b+c","x.y"]`},
		"uuid":        {"import uuid\nresult = [uuid.uuid4().version, str(uuid.uuid5(uuid.NAMESPACE_DNS, 'a'))[:8]]", `[4,"4f3f2898"]`},
		"ipaddress":   {"import ipaddress as i\nresult = i.ip_address('10.0.0.1').is_private", `true`},
		"unicode":     {"import unicodedata as u\nresult = u.normalize('NFC', 'e\\u0301')", `"é"`},
		"struct":      {"import struct, array\nresult = [struct.unpack('<H', b'\\x01\\x02')[0], array.array('i', [1]).tolist()]", `[513,[1]]`},
		"pickle":      {"import pickle, copy\nclass A:\n def __init__(s): s.x = 1\nresult = [pickle.loads(pickle.dumps(A())).x, copy.deepcopy(A()).x]", `[1,1]`},
		"tomllib":     {"import tomllib, configparser\nresult = tomllib.loads('a = [1, 2]')", `{"a":[1,2]}`},
		"logging":     {"import logging, io\ns = io.StringIO()\nlogging.basicConfig(stream=s)\nlogging.warning('w')\nresult = s.getvalue()", `"WARNING:root:w\n"`},
		"enum":        {"import enum\nclass C(enum.StrEnum):\n A = enum.auto()\nresult = C.A", `"a"`},
		"ast":         {"import ast\nresult = ast.literal_eval('[1, (2, 3)]')", `[1,[2,3]]`},
		"match":       {"def f(v):\n match v:\n  case {'k': [x, *_]}: return x\n  case _: return None", `7`},
		"exceptions":  {"try:\n raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\nexcept* ValueError as e: result = len(e.exceptions)\nexcept* TypeError: pass", `1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := ""
			if name == "match" {
				input = `{"v":{"k":[7,8]}}`
			}
			if got := output(t, program(sandbox.Python, tt.code), input); got != tt.want {
				t.Errorf("output = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestPythonHasNoWayOut covers S2-15, S2-16, SB4 and SB7: no network, process, thread or file of the machine.
func TestPythonHasNoWayOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, code, kind string }{
		{"socket", "import socket\nsocket.socket().connect(('127.0.0.1', 80))", "OSError"},
		{"address lookup", "import socket\nsocket.getaddrinfo('localhost', 80)", "AttributeError"},
		{"url", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1/')", "AttributeError"},
		{"process", "import subprocess\nsubprocess.run(['ls'])", "OSError"},
		{"system", "import os\nos.system('ls')", "AttributeError"},
		{"fork", "import os\nos.fork()", "AttributeError"},
		{"thread", "import threading\nthreading.Thread(target=print).start()", "RuntimeError"},
		{"native code", "import ctypes", "ModuleNotFoundError"},
		{"database", "import sqlite3", "ModuleNotFoundError"},
		{"package", "import numpy", "ModuleNotFoundError"},
		{"host file", "open('/etc/passwd')", "FileNotFoundError"},
		{"parent directory", "open('/lib/../../etc/passwd')", "FileNotFoundError"},
		{"relative parent", "open('../../../../etc/passwd')", "FileNotFoundError"},
		{"proc", "open('/proc/self/environ')", "FileNotFoundError"},
		{"writing", "open('/lib/x', 'w')", "OSError"},
		{"overwriting", "open('/lib/os.pyc', 'w')", "OSError"},
		{"deleting", "import os\nos.remove('/lib/os.pyc')", "OSError"},
		{"renaming", "import os\nos.rename('/lib/os.pyc', '/lib/x')", "OSError"},
		{"link", "import os\nos.symlink('/etc/passwd', '/lib/x')", "OSError"},
		{"directory", "import os\nos.mkdir('/lib/x')", "OSError"},
		{"temporary file", "import tempfile\ntempfile.NamedTemporaryFile()", "FileNotFoundError"},
		{"signal", "import os, signal\nos.kill(1, 9)", "AttributeError"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, program(sandbox.Python, tt.code), "")
			raised(t, err, tt.kind)
		})
	}
	t.Run("environment", func(t *testing.T) {
		t.Parallel()
		p := program(sandbox.Python, "import os, sys\nresult = [dict(os.environ), sys.argv, sys.stdin.read(), os.listdir('/lib')[0] != '']")
		if got := output(t, p, ""); got != `[{},[""],"",true]` {
			t.Errorf("output = %s, want no environment, arguments and input", got)
		}
	})
}

func TestPythonSaysWhyAModuleIsMissing(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{
		"requests": "no network", "numpy": "standard library only", "openai": "permissions.llm",
	} {
		_, err := run(t, program(sandbox.Python, "import "+module), "")
		if g := raised(t, err, "ModuleNotFoundError"); !strings.Contains(g.Message, want) {
			t.Errorf("import %s: %q, want it to mention %q", module, g.Message, want)
		}
	}
}
