(function () {
"use strict";
// The document is complete without this script; it adds zooming, searching and
// text that fits. All state is the URL's fragment: x and d (the zoomed frame's
// left edge in counts, and its level) and s (the search), so a link restores it.

const SVG = "http://www.w3.org/2000/svg", HTML = "http://www.w3.org/1999/xhtml";
const svg = document.currentScript.ownerSVGElement;
const one = (selector) => svg.querySelector(selector);
const frameGroup = one(".frames");
if (!frameGroup) return; // a profile without samples

const graph = one(".graph"), labels = one(".labels"), head = one(".head"), details = one(".details"), legend = one(".legend"), numbers = one(".numbers");
const row = Number(frameGroup.dataset.row);
const margin = Number(graph.getAttribute("x"));
const inset = 4, minChars = 3, minPixels = 0.2;
const hint = "Click a frame to zoom, Ctrl-F to search, arrow keys to walk, Esc to reset.";

function make(ns, name, attributes, parent) {
  const e = document.createElementNS(ns, name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (parent) parent.appendChild(e);
  return e;
}

// Frames by level from the root, from left to right in each.
const frames = [], levels = [];
for (const group of frameGroup.children) {
  const y = Number(/,(-?\d+)/.exec(group.getAttribute("transform"))[1]);
  const level = [];
  for (const rect of group.children) {
    const lines = rect.firstElementChild.textContent.split("\n");
    const f = {
      rect, x: Number(rect.dataset.x), n: Number(rect.dataset.n), y, level: levels.length,
      name: lines[0], numbers: lines[1], label: lines[0].replace(/_\[k\]$/, ""),
      // As it is drawn at present; place changes it.
      thin: rect.classList.contains("thin"), under: false, matched: false, shown: true, text: null,
    };
    f.end = f.x + f.n;
    rect.frame = f;
    level.push(f);
    frames.push(f);
  }
  levels.push(level);
}
const root = frames[0], total = root.n;
for (const f of frames) {
  f.left = f.x / total;
  f.share = f.n / total;
}
labels.textContent = "";

let zoomed = root, pattern = "", cursor = null, width = 0, charWidth = 1;

// --- drawing

// columns returns how many characters' room a text takes: see its namesake in
// svg.go.
function columns(text) {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let n = 0;
  for (const c of text) n += c.codePointAt(0) >= 0x1100 ? 2 : 1;
  return n;
}

function shorten(label, room) {
  if (columns(label) <= room) return label;
  label = label.replace(/^(?:[\w.~%-]+\/)+/, ""); // a Go import path: see importPath
  if (columns(label) <= room) return label;
  let cut = "", used = 0;
  for (const c of label) {
    if ((used += columns(c)) >= room) break;
    cut += c;
  }
  return cut + "…";
}

// place draws a frame from left, and as wide as share, both as parts of the
// graph's width. It touches only what changes: that is what takes time.
function place(f, left, share) {
  const pixels = share * width;
  const shown = pixels >= minPixels;
  if (shown !== f.shown) f.rect.style.display = (f.shown = shown) ? "" : "none";
  if (shown && (left !== f.left || share !== f.share)) {
    f.rect.setAttribute("x", (f.left = left) * 100 + "%");
    f.rect.setAttribute("width", (f.share = share) * 100 + "%");
  }
  if (shown && (pixels < 2) !== f.thin) f.rect.classList.toggle("thin", f.thin = pixels < 2);
  const room = Math.floor((pixels - 2 * inset) / charWidth);
  if (!shown || room < minChars) {
    if (f.text) f.text.style.display = "none";
    return;
  }
  if (!f.text) f.text = make(SVG, "text", {dx: inset, y: f.y + row - 6}, labels);
  f.text.style.display = "";
  f.text.setAttribute("x", left * 100 + "%");
  f.text.textContent = shorten(f.label, room);
}

function draw() {
  for (const f of frames) {
    const under = f.level < zoomed.level;
    if (under !== f.under) f.rect.classList.toggle("under", f.under = under);
    if (under && f.x <= zoomed.x && f.end >= zoomed.end) place(f, 0, 1);
    else if (!under && f.x >= zoomed.x && f.end <= zoomed.end) place(f, (f.x - zoomed.x) / zoomed.n, f.n / zoomed.n);
    else place(f, 0, 0);
  }
  reset.hidden = zoomed === root;
}

// spare shows an element if there is room for it.
function spare(e, room) {
  e.style.display = "";
  if (e.getBBox().width > room) e.style.display = "none";
}

function resize() {
  width = svg.getBoundingClientRect().width - 2 * margin;
  if (!(width > 0)) return; // not displayed: an observer calls again
  graph.setAttribute("width", width);
  tools.setAttribute("width", width);
  // What does not fit beside the title and the tools goes first.
  spare(legend, width - 720);
  spare(numbers, width - one(".title").getBBox().width - 24);
  const probe = make(SVG, "text", {}, labels);
  probe.textContent = "0".repeat(100);
  charWidth = probe.getComputedTextLength() / 100;
  probe.remove();
  draw();
}

function percent(n, of) { return (100 * n / of).toFixed(2) + "%"; }

function describe(f) {
  if (!f) {
    details.textContent = hint;
    return;
  }
  let text = f.name + " — " + f.numbers;
  if (zoomed !== root && f.level > zoomed.level) text += ", " + percent(f.n, zoomed.n) + " of " + zoomed.label;
  const room = Math.floor(width / 7);
  details.textContent = text.length <= room ? text : shorten(f.name, Math.max(room - f.numbers.length - 3, 20)) + " — " + f.numbers;
}

// --- searching

// search marks the frames whose name the pattern matches and says how much of
// the profile lies under at least one of them. A matching frame above another
// matching one covers the same samples, so what is measured is the union.
function search() {
  let expression = null;
  input.removeAttribute("aria-invalid");
  if (pattern !== "") {
    try {
      // Without a capital letter, capitals do not matter. Escapes as \S are no capitals.
      expression = new RegExp(pattern, /[A-Z]/.test(pattern.replace(/\\./g, "")) ? "" : "i");
    } catch (e) {
      input.setAttribute("aria-invalid", "true");
    }
  }
  const known = new Map();
  let all = 0, inView = 0, end = 0;
  const matches = [];
  for (const f of frames) {
    let hit = false;
    if (expression && f !== root) {
      hit = known.get(f.name);
      if (hit === undefined) known.set(f.name, hit = expression.test(f.name));
    }
    if (hit) matches.push(f);
    if (hit !== f.matched) f.rect.classList.toggle("match", f.matched = hit);
  }
  matches.sort((a, b) => a.x - b.x);
  for (const f of matches) {
    const from = Math.max(f.x, end);
    if (f.end <= from) continue;
    all += f.end - from;
    inView += Math.max(0, Math.min(f.end, zoomed.end) - Math.max(from, zoomed.x));
    end = f.end;
  }
  clear.hidden = pattern === "";
  if (pattern === "") matched.textContent = "";
  else if (!expression) matched.textContent = "not a regular expression";
  else matched.textContent = "matched " + percent(all, total) + (zoomed === root ? "" : ", " + percent(inView, zoomed.n) + " of what is shown");
}

// --- state

function state() {
  const p = new URLSearchParams();
  if (zoomed !== root) {
    p.set("x", zoomed.x);
    p.set("d", zoomed.level);
  }
  if (pattern !== "") p.set("s", pattern);
  return p.toString();
}

// restore takes up the state that an address holds. Query parameters do as
// well, but the fragment, which changes without loading, comes first.
function restore(text) {
  const p = new URLSearchParams(text);
  const level = levels[Number(p.get("d"))] || [];
  const x = Number(p.get("x"));
  zoomed = p.has("x") && p.has("d") && level.find((f) => f.x === x) || root;
  pattern = p.get("s") || "";
  if (input.value !== pattern) input.value = pattern;
}

function show() {
  draw();
  search();
  describe(cursor);
}

// go zooms and searches, and puts the state into the address: as a new entry of
// the history, so that Back unzooms, or in place of the present one.
function go(frame, text, replace) {
  zoomed = frame;
  pattern = text;
  if (input.value !== text) input.value = text;
  show();
  const next = "#" + state();
  if (next === (location.hash || "#")) return;
  try {
    if (replace) location.replace(next);
    else location.hash = next;
  } catch (e) {
    // A document without an address of its own works without links.
  }
}

function point(f) {
  if (cursor) cursor.rect.classList.remove("cursor");
  cursor = f;
  if (f) f.rect.classList.add("cursor");
  describe(f);
}

// --- controls

const tools = make(SVG, "foreignObject", {x: margin, y: 40, height: 32}, head);
const bar = make(HTML, "div", {class: "tools"}, tools);
const input = make(HTML, "input", {type: "text", placeholder: "Search, regexp (Ctrl-F)", "aria-label": "Search functions by regular expression", spellcheck: "false", autocomplete: "off"}, bar);
const clear = make(HTML, "button", {type: "button", class: "clear", title: "Clear the search"}, bar);
const reset = make(HTML, "button", {type: "button", class: "reset", title: "Show everything"}, bar);
const matched = make(HTML, "output", {class: "matched"}, bar);
clear.textContent = "Clear";
reset.textContent = "Reset zoom";
details.setAttribute("aria-live", "polite");

input.addEventListener("input", () => go(zoomed, input.value, true));
clear.addEventListener("click", () => { go(zoomed, "", true); input.focus(); });
reset.addEventListener("click", () => go(root, pattern, false));

const frameAt = (event) => event.target.frame;
frameGroup.addEventListener("click", (event) => {
  const f = frameAt(event);
  if (!f) return;
  point(null);
  go(f, pattern, false);
  describe(f);
});
frameGroup.addEventListener("mouseover", (event) => { if (frameAt(event)) describe(frameAt(event)); });
frameGroup.addEventListener("mouseout", () => describe(cursor));

// neighbour returns the frame that an arrow key leads to: up to the widest
// callee, down to the caller, aside along the level.
function neighbour(f, key) {
  const shown = (level) => (levels[level] || []).filter((g) => g.shown);
  if (key === "ArrowDown") return shown(f.level - 1).find((g) => g.x <= f.x && g.end >= f.end);
  if (key === "ArrowUp") {
    const from = Math.max(f.x, zoomed.x), to = Math.min(f.end, zoomed.end);
    return shown(f.level + 1).filter((g) => g.x < to && g.end > from).reduce((a, b) => (a && a.n >= b.n ? a : b), undefined);
  }
  const level = shown(f.level);
  return level[level.indexOf(f) + (key === "ArrowLeft" ? -1 : 1)];
}

document.addEventListener("keydown", (event) => {
  const inField = document.activeElement === input;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "f") {
    if (inField) return; // asked for twice: the browser's own search
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === "Escape") {
    point(null);
    go(root, "", false);
    input.blur();
  } else if (inField || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (event.key.startsWith("Arrow")) {
    event.preventDefault();
    const next = cursor && cursor.shown ? neighbour(cursor, event.key) : zoomed;
    if (next) point(next);
  } else if (event.key === "Enter" && cursor && document.activeElement?.localName !== "button") {
    go(cursor, pattern, false);
  }
});

window.addEventListener("hashchange", () => {
  if (location.hash.slice(1) === state()) return;
  restore(location.hash.slice(1));
  show();
});

// The head stays in view while a tall graph is scrolled.
if (document.documentElement === svg) {
  window.addEventListener("scroll", () => head.setAttribute("transform", "translate(0," + window.scrollY + ")"), {passive: true});
}

svg.setAttribute("width", "100%");
svg.removeAttribute("viewBox");
restore(location.hash.length > 1 ? location.hash.slice(1) : location.search);
resize();
show();
window.addEventListener("resize", resize);
})();
