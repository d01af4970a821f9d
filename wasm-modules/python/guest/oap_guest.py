"""Runs users' code inside the interpreter. Imported once before the snapshot; run(request) serves one request after it.

What the host learns goes through _sandbox.call: b"R" + JSON result, or b"E" + JSON description of a failure.
"""
import gc

gc.disable()  # collected and frozen at the end

import _sandbox
import asyncio
import builtins
import inspect
import json
import linecache
import os
import random
import sys
import time
import traceback
import types
from asyncio import base_events, events

# Imported before the snapshot, these cost nothing at run time.
import abc, argparse, array, ast, base64, binascii, bisect, calendar, cmath, codecs, collections, collections.abc
import colorsys, concurrent.futures, configparser, contextlib, contextvars, copy, copyreg, csv, dataclasses, datetime
import decimal, difflib, email.message, encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8, enum
import fnmatch, fractions, functools, glob, graphlib, gzip, hashlib, heapq, hmac, html, html.parser, importlib.resources
import io, ipaddress, itertools, keyword, locale, logging, math, numbers, operator, os.path, pathlib, pickle, pprint
import queue, re, reprlib, sched, secrets, shlex, statistics, string, struct, tempfile, textwrap, threading, timeit
import token, tokenize, tomllib, typing, unicodedata, urllib.parse, urllib.request, uuid, warnings, weakref
import xml.etree.ElementTree, zipfile, zlib, zoneinfo, _strptime

import oap_openai

zoneinfo.reset_tzpath(["/lib/tzdata"])
sys.stdout.reconfigure(line_buffering=True)  # what was printed survives the end of the instance
sys.stderr.reconfigure(line_buffering=True)

# Modules that scripts often ask for and that cannot work here, with what to tell their authors.
_HINTS = {
    "openai": "the action has no permission to use the model (permissions.llm)",
    "requests": "the sandbox has no network: declare an invoke_api action",
    "httpx": "the sandbox has no network: declare an invoke_api action",
    "aiohttp": "the sandbox has no network: declare an invoke_api action",
}


class _NoEvents:
    """A selector for event loops without sockets: waiting for events is sleeping."""

    def select(self, timeout):
        if timeout is None:
            raise RuntimeError("asyncio: nothing is left that could wake the program")
        if timeout > 0:
            time.sleep(timeout)
        return ()

    def close(self):
        pass


class _EventLoop(base_events.BaseEventLoop):
    def __init__(self):
        super().__init__()
        self._selector = _NoEvents()

    def _process_events(self, event_list):
        pass

    def _write_to_self(self):
        pass


class _EventLoopPolicy(events.BaseDefaultEventLoopPolicy):
    _loop_factory = _EventLoop


asyncio.set_event_loop_policy(_EventLoopPolicy())


class _Failure(Exception):
    """A failure that is not an exception of the user's code."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def _plain(value):
    """The JSON form of what json does not know. Exact numbers become strings, so that they stay exact."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    if isinstance(value, (collections.abc.KeysView, collections.abc.ValuesView, collections.abc.ItemsView, range,
                          collections.deque, array.array)):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise _Failure("output", "bytes are not JSON: decode them, or encode them with base64")
    if inspect.isgenerator(value) or isinstance(value, collections.abc.Iterator):
        raise _Failure("output", f"a {type(value).__name__} is not JSON: make a list of it")
    raise _Failure("output", f"a {type(value).__name__} is not JSON: return dicts, lists, strings, numbers, booleans or None")


def _encode(value):
    def dumps(ascii_only):
        text = json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=ascii_only, separators=(",", ":"))
        return text.encode()

    try:
        try:
            return dumps(False)
        except UnicodeEncodeError:  # half of a surrogate pair
            return dumps(True)
    except (ValueError, TypeError, RecursionError) as e:
        raise _Failure("output", f"the result is not JSON: {e}") from None


def _entry(namespace, request):
    """The function to call, or None for a script."""
    if name := request["entrypoint"]:
        if callable(found := namespace.get(name)):
            return found
        raise _Failure("entrypoint", f"the code defines no function {name}")
    functions = {
        name: f for name, f in namespace.items()
        if isinstance(f, types.FunctionType) and f.__globals__ is namespace and not name.startswith("__")
    }
    for name in (request["name"], "generate", "main"):
        if name in functions:
            return functions[name]
    if "result" in namespace:
        return None
    public = [name for name in functions if not name.startswith("_")] or list(functions)
    if len(public) > 1:
        raise _Failure("entrypoint", f"which function to call is not clear: the code defines {', '.join(public)}; "
                       f"set entrypoint, name one \"{request['name'] or 'main'}\", or assign to result")
    return functions[public[0]] if public else None


def _call(function, argument):
    value = function(**argument) if isinstance(argument, dict) else function(argument)
    if inspect.isawaitable(value):
        async def wait():
            return await value
        value = asyncio.run(wait())
    return value


def _execute(request, filename):
    code = request["code"]
    linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
    module = types.ModuleType("snippet")
    sys.modules["snippet"] = module  # dataclasses and pickle look their module up
    namespace = module.__dict__
    namespace["__builtins__"] = builtins
    namespace["__file__"] = filename
    namespace["input"] = argument = request["input"]
    try:
        exec(compile(code, filename, "exec", dont_inherit=True), namespace)
        entry = _entry(namespace, request)
        return namespace.get("result") if entry is None else _call(entry, argument)
    except SystemExit as e:
        if e.code:
            raise
        return namespace.get("result")


def _describe(error, filename):
    if isinstance(error, _Failure):
        return {"kind": error.kind, "message": str(error), "traceback": ""}
    if isinstance(error, ModuleNotFoundError) and error.name and error.msg == f"No module named {error.name!r}":
        top = error.name.partition(".")[0]
        if top not in sys.stdlib_module_names or top in _HINTS:
            error.msg += f" ({_HINTS.get(top, 'the sandbox has the standard library only')})"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        message = str(error)
    except BaseException:
        message = "the exception cannot be shown"
    try:
        lines = traceback.format_exception(type(error), error, trace, limit=50)
    except BaseException:
        lines = []
    return {"kind": type(error).__name__, "message": message, "traceback": "".join(lines)}


def run(text):
    request = json.loads(text)
    random.seed(int.from_bytes(os.urandom(32)))
    if request["llm"]:
        sys.modules["openai"] = oap_openai
    filename = (request["name"] or "snippet") + ".py"
    try:
        reply = b"R" + _encode(_execute(request, filename))
    except MemoryError:
        reply = b'E{"kind":"MemoryError","message":"","traceback":""}'
    except BaseException as e:
        reply = b"E" + json.dumps(_describe(e, filename)).encode()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass  # the code closed or replaced it
    _sandbox.call(reply)


def _warm():
    """Goes once through what every run does, so that caches and code paths are in the snapshot."""
    request = {"name": "warm", "entrypoint": "", "llm": False, "input": {"n": 1},
               "code": "import json\ndef warm(n):\n    return json.loads(json.dumps({'n': [n, 2.5, 'x', None]}))\n"}
    json.loads(json.dumps(request))
    _encode(_execute(request, "warm.py"))
    try:
        _execute(request | {"code": "def warm(n):\n    raise ValueError(n)\n"}, "warm.py")
    except ValueError as e:
        _describe(e, "warm.py")
    del sys.modules["snippet"]
    linecache.cache.clear()


_warm()
gc.enable()
gc.collect()
gc.freeze()
