// Runs users' code inside the engine. Evaluated once before the snapshot; its value is setup(door), which returns
// { run, advance }. door(text) sends one message to the host and returns the reply: see the sandbox package.
//
// Everything used here is captured before users' code runs, so that code which replaces built-ins breaks only itself.
(function () {
  "use strict";
  const { parse, stringify } = JSON;
  const { isFinite } = Number;
  const { defineProperty, fromEntries } = Object;
  const { imul, floor } = Math;
  const globalEval = globalThis.eval;
  const monotonic = performance.now.bind(performance);
  const isError = (e) => e instanceof Error || (typeof DOMException === "function" && e instanceof DOMException);

  return function setup(door) {
    let file = "snippet.js";

    let origin = 0;
    defineProperty(globalThis, "performance", {
      value: { now: () => monotonic() - origin }, writable: true, enumerable: false, configurable: true,
    });

    // --- output -----------------------------------------------------------------------------------------------------

    // A replacer: JSON has no NaN, and the engine would write null.
    function checked(key, value) {
      if (typeof value === "number" && !isFinite(value)) throw new Unrepresentable(`${value} at ${where(key)} is not JSON`);
      if (typeof value === "bigint") throw new Unrepresentable(`BigInt at ${where(key)} is not JSON: convert it to a string or number`);
      if (value instanceof Map) return fromEntries(value);
      if (value instanceof Set) return [...value];
      return value;
    }
    const where = (key) => (key === "" ? "the top level" : stringify(key));
    class Unrepresentable extends Error {}

    function encode(value) {
      const text = stringify(value, checked);
      return text === undefined ? "null" : text; // undefined and functions
    }

    // --- failures ---------------------------------------------------------------------------------------------------

    const hints = [
      [/^(openai|OpenAI) is not defined$/, "the action has no permission to use the model (permissions.llm)"],
      [/^(fetch|XMLHttpRequest|WebSocket) is not defined$/, "the sandbox has no network"],
      [/^(require|process|Buffer|module|exports|__dirname) is not defined$/, "the sandbox runs plain JavaScript without Node.js"],
      [/^(document|window|localStorage) is not defined$/, "the sandbox is not a browser"],
      [/^could not load module/, "the sandbox has no modules to import"],
    ];

    // place names the user's file; on the first line the wrapper stands before the code.
    const place = (_, line, column) => `${file}:${line}:${line === "1" ? column - prefix.length : column}`;

    function describe(error) {
      let kind = "Error", message = "", stack = "";
      if (isError(error)) {
        kind = String(error.name || "Error");
        message = String(error.message);
        stack = String(error.stack || "");
      } else {
        try { message = typeof error === "object" ? stringify(error) : String(error); } catch { message = "an object that cannot be shown"; }
      }
      for (const [pattern, hint] of hints) if (pattern.test(message)) message += ` (${hint})`;
      const lines = [];
      for (const line of stack.split("\n")) {
        if (line === "" || line.includes("(sandbox.js:") || line.includes("at sandbox.js:") || line.endsWith("(native)")) continue;
        lines.push(line.replace(/<input>:(\d+):(\d+)/g, place).replace("    at <anonymous> (", "    at (").replace("at eval (", "at ("));
      }
      return { kind, message, traceback: lines.length ? `${kind}: ${message}\n${lines.join("\n")}` : "" };
    }

    const fail = (failure) => { door("E" + stringify(failure)); };

    // --- console ----------------------------------------------------------------------------------------------------

    function show(value) {
      if (typeof value === "string") return value;
      if (typeof value === "function") return `[function ${value.name || "anonymous"}]`;
      if (typeof value === "bigint") return `${value}n`;
      if (isError(value)) { const d = describe(value); return d.traceback || `${d.kind}: ${d.message}`; }
      if (typeof value === "object" && value !== null) {
        const seen = [];
        try {
          return stringify(value, function (key, v) {
            while (seen.length && seen[seen.length - 1] !== this) seen.pop();
            if (typeof v === "bigint") return `${v}n`;
            if (v instanceof Map) v = fromEntries(v);
            if (v instanceof Set) v = [...v];
            if (typeof v === "object" && v !== null) {
              if (seen.includes(v)) return "[circular]";
              seen.push(v);
            }
            return v;
          });
        } catch { return "[object]"; }
      }
      return String(value);
    }
    const printer = (stream) => (...values) => { door(stream + values.map(show).join(" ") + "\n"); };
    const out = printer("1"), err = printer("2");
    const counters = new Map();
    globalThis.console = {
      log: out, info: out, debug: out, table: out, dir: (value) => out(value), group: out, groupEnd() {}, warn: err, error: err,
      trace: err,
      assert(condition, ...values) { if (!condition) err("Assertion failed:", ...values); },
      count(label = "default") { counters.set(label, (counters.get(label) ?? 0) + 1); out(`${label}: ${counters.get(label)}`); },
      time() {}, timeEnd() {}, timeLog() {},
    };

    // --- randomness: xoshiro128**, seeded for every run ---------------------------------------------------------------

    const state = new Uint32Array(4);
    function random32() {
      const rotl = (x, k) => (x << k) | (x >>> (32 - k));
      const result = imul(rotl(imul(state[1], 5), 7), 9) >>> 0;
      const t = state[1] << 9;
      state[2] ^= state[0]; state[3] ^= state[1]; state[1] ^= state[2]; state[0] ^= state[3];
      state[2] ^= t; state[3] = rotl(state[3], 11);
      return result;
    }
    defineProperty(Math, "random", {
      value: function random() { return ((random32() >>> 5) * 67108864 + (random32() >>> 6)) / 9007199254740992; },
      writable: true, enumerable: false, configurable: true,
    });
    globalThis.crypto = {
      getRandomValues(array) {
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        for (let i = 0; i < bytes.length; i++) bytes[i] = random32() >>> 24;
        return array;
      },
      randomUUID() {
        const b = this.getRandomValues(new Uint8Array(16));
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
        return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
      },
    };

    // --- timers: they fire in order of their time, which passes when nothing else is left to run -----------------------

    const timers = [];
    let lastTimer = 0, skipped = 0;
    const later = (repeat) => (callback, delay = 0, ...args) => {
      const wait = isFinite(+delay) ? Math.max(+delay, repeat ? 1 : 0) : 0;
      timers.push({ id: ++lastTimer, due: skipped + wait, repeat: repeat ? wait : -1, callback, args });
      return lastTimer;
    };
    const cancel = (id) => {
      const i = timers.findIndex((t) => t.id === id);
      if (i >= 0) timers.splice(i, 1);
    };
    globalThis.setTimeout = later(false);
    globalThis.setInterval = later(true);
    globalThis.clearTimeout = globalThis.clearInterval = cancel;

    // advance fires the next timer and returns true, or undefined when there is none.
    function advance() {
      if (timers.length === 0) return undefined;
      let next = timers[0];
      for (const t of timers) if (t.due < next.due || (t.due === next.due && t.id < next.id)) next = t;
      if (next.due > skipped) {
        door("S" + floor((next.due - skipped) * 1e6));
        skipped = next.due;
      }
      if (next.repeat >= 0) next.due += next.repeat; else cancel(next.id);
      try { next.callback(...next.args); } catch (e) { fail(describe(e)); }
      return true;
    }

    // --- the model, when granted ----------------------------------------------------------------------------------------

    class OpenAIError extends Error {
      get name() { return "OpenAIError"; }
    }
    async function createCompletion(body) {
      if (body?.stream) throw new OpenAIError("streaming is not available in the sandbox");
      const reply = door("L" + stringify(body ?? {}));
      if (reply[0] !== "+") throw new OpenAIError(reply.slice(1));
      return parse(reply.slice(1));
    }
    function grantModel() {
      class OpenAI {
        chat = { completions: { create: createCompletion } };
      }
      globalThis.OpenAI = OpenAI;
      globalThis.openai = new OpenAI();
    }

    // --- running --------------------------------------------------------------------------------------------------------

    const identifier = "[A-Za-z_$\\u0080-\\uffff][\\w$\\u0080-\\uffff]*";
    const whole = new RegExp(`^${identifier}$`);
    const declaration = new RegExp(`(?:^|[\\s;{}])(?:(?:async\\s+)?function\\s*\\*?\\s*(${identifier})|` +
      `(?:const|let|var)\\s+(${identifier})\\s*=\\s*(?:async\\b\\s*)?(?:function\\b|\\(|${identifier}\\s*=>))`, "g");
    class NoEntry extends Error {}

    // choose finds the function to call among those that look can see; look(name) evaluates a name in the code's scope.
    function choose(request, look) {
      const visible = (name) => {
        try { const f = look(name); return typeof f === "function" ? f : null; } catch { return null; }
      };
      if (request.entrypoint) {
        const f = whole.test(request.entrypoint) && visible(request.entrypoint);
        if (f) return f;
        throw new NoEntry(`the code defines no function ${request.entrypoint}`);
      }
      const found = new Map();
      declaration.lastIndex = 0;
      for (let match; (match = declaration.exec(request.code)) !== null;) {
        const name = match[1] ?? match[2];
        const f = visible(name);
        if (f) found.set(name, f);
      }
      for (const name of [request.name, "generate", "main"]) if (found.has(name)) return found.get(name);
      if (found.size > 1) {
        throw new NoEntry(`which function to call is not clear: the code defines ${[...found.keys()].join(", ")}; ` +
          `set entrypoint, name one "${request.name || "main"}", or return a value at the top level`);
      }
      return found.size === 1 ? [...found.values()][0] : null;
    }

    const prefix = "(async (input, __end) => {";

    async function execute(request) {
      let entry = null;
      const end = (look) => { entry = choose(request, look); };
      const body = globalEval(`${prefix}${request.code}\n;return __end((__name) => eval(__name))})`);
      // Not called: code that closes the wrapper early does not parse here.
      globalEval(`${"async () => {".padStart(prefix.length)}${request.code}\n}`);
      let value = await body(request.input, end);
      if (entry !== null) value = await entry(request.input);
      return value;
    }

    // run starts a request; its outcome is reported when all promises it needs have settled.
    function run(text) {
      const request = parse(text);
      if (request.name) file = request.name + ".js";
      state.set(request.seed);
      if (request.llm) grantModel();
      origin = monotonic();
      execute(request).then(
        (value) => {
          let text;
          try { text = encode(value); } catch (e) {
            const d = describe(e);
            fail({ kind: "output", message: d.message, traceback: "" });
            return;
          }
          door("R" + text);
        },
        (error) => {
          const d = describe(error);
          if (error instanceof NoEntry) fail({ kind: "entrypoint", message: d.message, traceback: "" });
          else fail(d);
        },
      );
    }

    return { run, advance };
  };
})()
