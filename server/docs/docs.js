// Shows the OpenAPI document of this server. Every text reaches the page as a
// text node, never as markup, since answers may hold what strangers wrote.
"use strict";

const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
};

const byId = (id) => document.getElementById(id);

// The descriptions use paragraphs, "- " lists, `code` and **strong**.
const inline = (text) =>
  text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    return part;
  });

const prose = (text) =>
  (text || "").split(/\n{2,}/).filter(Boolean).map((block) =>
    block.startsWith("- ")
      ? el("ul", {}, ...block.split("\n").map((line) => el("li", {}, ...inline(line.slice(2)))))
      : el("p", {}, ...inline(block)));

const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

const refName = (ref) => ref.split("/").pop();

const typeOf = (schema) => {
  if (!schema || Object.keys(schema).length === 0) return ["any JSON"];
  if (schema.$ref) {
    const name = refName(schema.$ref);
    return [el("a", { href: "#schema-" + name }, name)];
  }
  if (schema.oneOf) return schema.oneOf.flatMap((s, i) => (i ? [" or ", ...typeOf(s)] : typeOf(s)));
  const type = [].concat(schema.type || "any JSON").join(" or ");
  if (schema.type === "array" || (Array.isArray(schema.type) && schema.type.includes("array"))) return ["list of ", ...typeOf(schema.items)];
  const bounds = [];
  if (schema.format) bounds.push(schema.format);
  if (schema.enum) bounds.push(schema.enum.join(" | "));
  if (schema.minimum !== undefined || schema.maximum !== undefined) bounds.push((schema.minimum ?? "") + " to " + (schema.maximum ?? ""));
  if (schema.maxLength !== undefined) bounds.push("at most " + schema.maxLength + " characters");
  if (schema.default !== undefined) bounds.push("default " + JSON.stringify(schema.default));
  return [type + (bounds.length ? " (" + bounds.join(", ") + ")" : "")];
};

const table = (head, rows) =>
  el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((h) => el("th", {}, h)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, ...[].concat(cell)))))));

const members = (schema) =>
  table(["name", "type", ""], Object.entries(schema.properties || {}).map(([name, s]) => [
    [el("code", {}, name), (schema.required || []).includes(name) ? " required" : ""],
    typeOf(s),
    inline(s.description || ""),
  ]));

const contentOf = (content) =>
  Object.entries(content || {}).flatMap(([type, media]) => [
    el("p", {}, el("code", {}, type), ": ", ...typeOf(media.schema)),
    media.example !== undefined ? el("pre", {}, pretty(media.example)) : null,
  ]);

const paramsOf = (op) =>
  table(["parameter", "in", "type", ""], op.parameters.map((p) => [
    [el("code", {}, p.name), p.required ? " required" : ""], p.in, typeOf(p.schema), inline(p.description || ""),
  ]));

const request = (method, path, op, fields, body) => {
  const query = new URLSearchParams();
  const headers = {};
  for (const [param, input] of fields) {
    if (input.value === "") continue;
    if (param.in === "path") path = path.replace("{" + param.name + "}", encodeURIComponent(input.value));
    if (param.in === "query") query.set(param.name, input.value);
    if (param.in === "header") headers[param.name] = input.value;
  }
  if (byId("key").value && (op.security || []).length) headers.Authorization = "Bearer " + byId("key").value;
  const init = { method, headers };
  if (body && body.value.trim()) {
    init.body = body.value;
    headers["Content-Type"] = "application/json";
  }
  const search = query.toString();
  return [path + (search ? "?" + search : ""), init];
};

// tryIt builds the form that sends a request and shows the answer as it comes.
const tryIt = (method, path, op) => {
  const fields = (op.parameters || []).filter((p) => p.name !== "access_token").map((p) => [p, el("input", { name: p.name, required: !!p.required })]);
  const json = op.requestBody?.content?.["application/json"];
  const body = json ? el("textarea", { value: pretty(json.example ?? {}), spellcheck: false }) : null;
  const send = el("button", { type: "submit" }, "Send");
  const stop = el("button", { type: "button", disabled: true }, "Stop");
  const head = el("p");
  const out = el("pre", { hidden: true });
  const form = el("form", {},
    ...fields.map(([p, input]) => el("label", {}, p.name + " ", input)), body, el("div", {}, send, stop), head, out);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const abort = new AbortController();
    stop.onclick = () => abort.abort();
    send.disabled = true;
    stop.disabled = false;
    out.hidden = false;
    out.textContent = "";
    try {
      const [url, init] = request(method.toUpperCase(), path, op, fields, body);
      const response = await fetch(url, { ...init, signal: abort.signal });
      head.textContent = response.status + " " + response.statusText + " · " + (response.headers.get("X-Request-Id") || "");
      head.className = response.ok ? "" : "error";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) out.append(piece.value);
      if ((response.headers.get("Content-Type") || "").includes("json")) {
        try {
          // Shown as sent when it holds numbers that a script cannot keep.
          const text = out.textContent;
          const value = JSON.parse(text);
          if (!/\d{16}/.test(text)) out.textContent = pretty(value);
        } catch { /* several documents, one a line */ }
      }
    } catch (error) {
      head.textContent = error.name === "AbortError" ? "stopped" : String(error);
      head.className = "error";
    } finally {
      send.disabled = false;
      stop.disabled = true;
    }
  });
  return form;
};

const operation = (method, path, op) =>
  el("details", { className: "op", id: op.operationId },
    el("summary", {}, el("span", { className: "method " + method }, method.toUpperCase()), el("span", { className: "path" }, path), " · " + (op.summary || "")),
    el("div", {},
      ...prose(op.description),
      op.parameters?.length ? paramsOf(op) : null,
      ...(op.requestBody ? [el("h3", {}, "Body"), ...contentOf(op.requestBody.content)] : []),
      el("h3", {}, "Answers"),
      table(["status", "", "body"], Object.entries(op.responses).map(([status, r]) => [
        el("code", {}, status), inline(r.description || ""), contentOf(r.content),
      ])),
      el("h3", {}, "Try it"),
      tryIt(method, path, op)));

const show = (doc) => {
  const title = doc.info.title + " " + doc.info.version;
  document.title = title;
  byId("title").textContent = title;
  const content = byId("content");
  const nav = byId("nav");
  content.replaceChildren(...prose(doc.info.description));
  for (const tag of doc.tags) {
    nav.append(el("strong", {}, tag.name));
    content.append(el("h2", {}, tag.name), ...prose(tag.description));
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const [method, op] of Object.entries(item)) {
        if (!op.tags.includes(tag.name)) continue;
        nav.append(el("a", { href: "#" + op.operationId }, el("span", { className: "method " + method }, method.toUpperCase()), path));
        content.append(operation(method, path, op));
      }
    }
  }
  nav.append(el("strong", {}, "schemas"));
  content.append(el("h2", {}, "schemas"));
  for (const [name, schema] of Object.entries(doc.components.schemas).sort()) {
    nav.append(el("a", { href: "#schema-" + name }, name));
    content.append(el("details", { className: "schema", id: "schema-" + name }, el("summary", {}, el("code", {}, name)), el("div", {}, ...prose(schema.description), members(schema))));
  }
  const open = () => {
    const target = byId(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
};

fetch("/openapi.json")
  .then((response) => {
    if (!response.ok) throw new Error("/openapi.json: " + response.status);
    return response.json();
  })
  .then(show)
  .catch((error) => {
    byId("status").textContent = String(error);
    byId("status").className = "error";
  });
