// SPDX-License-Identifier: MIT
// Drawing: heat maps on canvas, line charts in SVG, tooltips, legends, tables. Plain functions, no library.
"use strict";

const tip = document.getElementById("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const redraws = []; // one function for each canvas: called when size or colours change

function isDark() { return dark.matches && !printing; }
function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// el("p", {class: "x"}, "text", child, ...): an element. Text is set as text, never as markup.
function el(name, attributes, ...children) {
  const e = name.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
                                    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) e.append(child);
  return e;
}

// Numbers as people read them.
function count(v) { return Math.round(v).toLocaleString("en-US"); }
function percent(v) {
  const p = 100 * v;
  return (p === 0 ? "0" : p < 0.1 ? p.toPrecision(1) : p < 10 ? p.toFixed(2) : p.toFixed(1)) + " %";
}
function decimal(v) {
  return v === null || !isFinite(v) ? "–" : v === 0 ? "0"
    : Math.abs(v) >= 1000 ? count(v) : Math.abs(v) >= 1e-3 ? String(Number(v.toPrecision(3))) : v.toExponential(1);
}
function times(v) { return v === 0 ? "never" : (v >= 10 ? v.toFixed(0) : v.toPrecision(2)) + "× even"; }

function sum(a) { let s = 0; for (const v of a) s += v; return s; }
function mean(a) { return a.length ? sum(a) / a.length : 0; }

// ------------------------------------------------------------------------------------------------ colours
const ramps = {
  amount: { light: ["#f4f5f6", "#cfe0ee", "#8fbbdc", "#3f87bd", "#0b4f8a", "#062d55"],
            dark: ["#22262c", "#1d4062", "#2167a0", "#3f92d2", "#86c3f3", "#def0ff"] },
  signed: { light: ["#083f73", "#2f7fbe", "#a5cbe6", "#f3f2f0", "#f3c79c", "#d9761b", "#7d3503"],
            dark: ["#b5dcff", "#4d9fdf", "#25537c", "#282b30", "#7a4a20", "#e08a35", "#ffdcb4"] },
};

function mix(a, b, t) {
  const at = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  return "rgb(" + [0, 1, 2].map(i => Math.round(at(a, i) + (at(b, i) - at(a, i)) * t)).join(",") + ")";
}
// t from 0 to 1
function colour(ramp, t) {
  const stops = ramps[ramp][isDark() ? "dark" : "light"];
  const x = Math.min(Math.max(t, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2);
  return mix(stops[i], stops[i + 1], x - i);
}

// Scales: place of a value on a ramp, and marks for the legend.
function amountScale(max, text) {
  const top = max > 0 ? max : 1;
  return { ramp: "amount", at: v => v / top, marks: [0, 0.5, 1].map(t => ({ t, text: text(t * top) })) };
}
// A ratio whose neutral value is 1, in powers of two up to 2^most either way.
function ratioScale(most, words) {
  const at = v => v <= 0 ? 0 : Math.min(Math.max(0.5 + Math.log2(v) / (2 * most), 0), 1);
  const name = ["½", "¼", "⅛", "1/16", "1/32"];
  const marks = [-most, -1, 0, 1, most].map(p => ({ t: 0.5 + p / (2 * most),
    text: p < 0 ? name[-p - 1] + "×" : p ? 2 ** p + "×" : words }));
  return { ramp: "signed", at, marks };
}
function signedScale(most) {
  return { ramp: "signed", at: v => 0.5 + v / (2 * most),
           marks: [-1, -0.5, 0, 0.5, 1].map(p => ({ t: 0.5 + p / 2, text: decimal(p * most) })) };
}

// ----------------------------------------------------------------------------------------------- tooltips
function showTip(text, x, y) {
  if (tip.textContent !== text) tip.textContent = text;
  tip.style.visibility = "visible";
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - w - 6)) + "px";
  tip.style.top = (y + 18 + h > innerHeight ? Math.max(4, y - h - 12) : y + 18) + "px";
}
function hideTip() { tip.style.visibility = "hidden"; }

// -------------------------------------------------------------------------------------------------- tables
function table(heads, rows, leftColumns) {
  const left = i => leftColumns && leftColumns.includes(i) ? "left" : undefined;
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map((h, i) => el("th", { scope: "col", class: left(i) }, h)))),
    el("tbody", {}, rows.map(r => el("tr", {}, r.map((c, i) => el("td", { class: left(i) }, c))))));
}
// A table that is made when it is opened.
function fold(title, make) {
  const box = el("div", { tabindex: 0, role: "region", "aria-label": title });
  const d = el("details", {}, el("summary", {}, title), box);
  d.fill = make;
  d.addEventListener("toggle", () => { if (d.open) box.replaceChildren(d.fill()); });
  d.refresh = next => { d.fill = next; if (d.open) box.replaceChildren(next()); };
  return d;
}

// ----------------------------------------------------------------------------------------------- heat maps
function legend(scale, label) {
  const bar = el("i"), steps = 24;
  const paint = () => {
    const stops = [];
    for (let i = 0; i <= steps; i++) stops.push(colour(scale.ramp, i / steps));
    bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
  };
  paint();
  return { paint, node: el("div", { class: "legend" }, el("span", {}, label), el("div", { class: "ramp" }, bar,
    scale.marks.map(m => { const s = el("span", {}, m.text); s.style.left = 100 * m.t + "%"; return s; }))) };
}

/*
 * heatmap(parent, {rows, columns: names; value(r, c): null for no cell; text(r, c): for the tooltip; scale; label:
 * of the legend; rowTitle, columnTitle; square; describe: one sentence for who cannot see it}). Returns
 * {update(options)}: draws it anew with other options.
 */
function heatmap(parent, options) {
  let o, cell, at = null, key;
  const canvas = el("canvas", { tabindex: 0, role: "img" }), box = el("div", { class: "scroll" }, canvas);
  const below = el("div"), values = fold("Values as a table", () => el("p"));
  const g = canvas.getContext("2d");
  parent.append(el("figure", {}, box, below, values));

  function layout() {
    g.font = "12px system-ui, sans-serif";
    const left = Math.ceil(Math.max(...o.rows.map(r => g.measureText(r).width))) + 30, top = 34;
    const room = Math.max(box.clientWidth - left - 2, 80);
    let w = room / o.columns.length, h;
    if (o.square) {
      w = h = Math.max(3, Math.min(w, 30, 620 / o.rows.length));
    } else {
      w = Math.max(3, Math.min(w, 72));
      h = Math.max(5, Math.min(26, 660 / o.rows.length));
    }
    return { left, top, w, h, gap: Math.min(w, h) >= 9 ? 1 : 0 };
  }
  function draw() {
    const ink = css("--soft"), ratio = printing ? 3 : devicePixelRatio || 1;
    cell = layout();
    const width = cell.left + cell.w * o.columns.length + 2, height = cell.top + cell.h * o.rows.length + 2;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    for (let r = 0; r < o.rows.length; r++)
      for (let c = 0; c < o.columns.length; c++) {
        const v = o.value(r, c);
        if (v === null || v === undefined) continue;
        g.fillStyle = colour(o.scale.ramp, o.scale.at(v));
        g.fillRect(cell.left + c * cell.w, cell.top + r * cell.h, cell.w - cell.gap, cell.h - cell.gap);
      }
    g.font = "12px system-ui, sans-serif";
    g.fillStyle = ink;
    g.textBaseline = "middle";
    g.textAlign = "right";
    const stepR = Math.ceil(14 / cell.h);
    o.rows.forEach((name, r) => {
      if (r % stepR === 0) g.fillText(name, cell.left - 8, cell.top + (r + 0.5) * cell.h);
    });
    g.textAlign = "center";
    const widest = Math.max(...o.columns.map(n => g.measureText(n).width)) + 8;
    const steps = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100];
    const stepC = steps.find(s => s * cell.w >= widest) || 128;
    o.columns.forEach((name, c) => {
      if (c % stepC === 0) g.fillText(name, cell.left + (c + 0.5) * cell.w, cell.top - 10);
    });
    g.font = "600 12px system-ui, sans-serif";
    g.textAlign = "left";
    g.fillText(o.columnTitle, cell.left, 9);
    g.save();
    g.translate(9, cell.top + cell.h * o.rows.length / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    if (cell.h * o.rows.length > g.measureText(o.rowTitle).width) g.fillText(o.rowTitle, 0, 0);
    g.restore();
    if (at) {
      g.strokeStyle = css("--ink");
      g.lineWidth = 2;
      g.strokeRect(cell.left + at.c * cell.w - 1, cell.top + at.r * cell.h - 1, cell.w + 2 - cell.gap, cell.h + 2 - cell.gap);
    }
  }
  function point(r, c) {
    if (r < 0 || c < 0 || r >= o.rows.length || c >= o.columns.length || o.value(r, c) === null) return leave();
    if (!at || at.r !== r || at.c !== c) { at = { r, c }; draw(); }
    const b = canvas.getBoundingClientRect();
    return (x, y) => showTip(o.text(r, c), x === undefined ? b.left + cell.left + (c + 1) * cell.w : x,
                             y === undefined ? b.top + cell.top + r * cell.h : y);
  }
  function leave() { if (at) { at = null; draw(); } hideTip(); return null; }
  canvas.addEventListener("mousemove", e => {
    const b = canvas.getBoundingClientRect();
    const show = point(Math.floor((e.clientY - b.top - cell.top) / cell.h), Math.floor((e.clientX - b.left - cell.left) / cell.w));
    if (show) show(e.clientX, e.clientY);
  });
  canvas.addEventListener("mouseleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", e => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (e.key === "Escape") return leave();
    if (!move) return undefined;
    e.preventDefault();
    const from = at || { r: move[0] > 0 ? -1 : 0, c: move[1] > 0 ? -1 : 0 };
    const r = Math.min(Math.max(from.r + move[0], 0), o.rows.length - 1), c = Math.min(Math.max(from.c + move[1], 0), o.columns.length - 1);
    const show = point(r, c);
    if (show) show();
    return undefined;
  });
  function update(next) {
    o = next;
    at = null;
    canvas.setAttribute("aria-label", `${o.describe} Arrow keys go from cell to cell.`);
    key = legend(o.scale, o.label);
    below.replaceChildren(key.node);
    values.refresh(() => table([o.rowTitle, ...o.columns],
      o.rows.map((name, r) => [name, ...o.columns.map((_, c) => o.value(r, c) === null ? "" : o.plain ? o.plain(r, c) : decimal(o.value(r, c)))])));
    draw();
  }
  redraws.push(() => { key.paint(); draw(); });
  update(options);
  return { update };
}

// ------------------------------------------------------------------------------------------------- curves
const dashes = ["", "7 4", "2 4", "10 4 2 4"];
const strokes = ["var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)"];

function niceStep(range, n) {
  const raw = range / n * 0.999, base = 10 ** Math.floor(Math.log10(raw)), f = raw / base;
  return base * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

/*
 * curves(parent, {title, x: numbers, xText(v): for the tooltip, xLabel, series: [{name, values, quiet: a reference
 * line}], yText(v), yMin, yMax: or from the values, describe}).
 */
function curves(parent, o) {
  const W = o.wide ? 520 : 360, H = o.wide ? 300 : 210, L = 46, R = 12, T = 10, B = 36;
  const all = o.series.flatMap(s => s.values).filter(v => v !== null);
  let lo = o.yMin !== undefined ? o.yMin : Math.min(...all), hi = o.yMax !== undefined ? o.yMax : Math.max(...all);
  if (!(hi > lo)) hi = lo + (Math.abs(lo) || 1);
  const step = niceStep(hi - lo, 4);
  if (o.yMin === undefined) lo = Math.floor(lo / step + 1e-9) * step;
  if (o.yMax === undefined) hi = Math.ceil(hi / step - 1e-9) * step;
  const x0 = o.x[0], x1 = o.x[o.x.length - 1];
  const X = v => L + (x1 > x0 ? (v - x0) / (x1 - x0) : 0.5) * (W - L - R), Y = v => T + (hi - v) / (hi - lo) * (H - T - B);
  const svg = el("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: 0, "aria-label": o.describe + " Arrow keys go along it." });
  for (let v = Math.ceil(lo / step - 1e-9) * step; v <= hi + 1e-9 * step; v += step)
    svg.append(el("svg:line", { x1: L, x2: W - R, y1: Y(v), y2: Y(v), stroke: "var(--grid)" }),
               el("svg:text", { x: L - 6, y: Y(v) + 4, "text-anchor": "end" }, o.yText(Math.abs(v) < 1e-12 ? 0 : v)));
  const stepX = o.xTicks || Math.max(1, Math.ceil(o.x.length / 10));
  o.x.forEach((v, i) => {
    if (o.xTicks ? o.xTicks.includes(v) : i % stepX === 0)
      svg.append(el("svg:text", { x: X(v), y: H - B + 16, "text-anchor": "middle" }, o.xTick ? o.xTick(v) : String(v)));
  });
  svg.append(el("svg:text", { x: (L + W - R) / 2, y: H - 3, "text-anchor": "middle" }, o.xLabel));
  let n = 0;
  const keys = [];
  for (const s of o.series) {
    const stroke = s.quiet ? "var(--soft)" : strokes[n % 4], dash = s.quiet ? "1 4" : dashes[n % 4];
    n += !s.quiet;
    const points = s.values.map((v, i) => v === null ? null : [X(o.x[i]), Y(v)]).filter(p => p);
    const line = { fill: "none", stroke, "stroke-width": s.quiet ? 1.5 : 2.25, "stroke-dasharray": dash || undefined,
                   "stroke-linejoin": "round", "stroke-linecap": "round" };
    svg.append(el("svg:path", { d: "M" + points.map(p => p.map(q => q.toFixed(1)).join(",")).join("L"), ...line }));
    if (!s.quiet && points.length <= 24 && !o.wide)
      for (const p of points) svg.append(el("svg:circle", { cx: p[0].toFixed(1), cy: p[1].toFixed(1), r: 2.6, fill: stroke }));
    keys.push(el("span", { class: "key" }, el("svg:svg", { viewBox: "0 0 26 10", "aria-hidden": "true" },
      el("svg:path", { d: "M1,5H25", ...line })), s.name));
  }
  const guide = el("svg:line", { y1: T, y2: H - B, stroke: "var(--soft)", visibility: "hidden" });
  svg.append(guide);
  let at = -1;
  function point(i, x, y) {
    at = i;
    guide.setAttribute("visibility", "visible");
    guide.setAttribute("x1", X(o.x[i]));
    guide.setAttribute("x2", X(o.x[i]));
    const b = svg.getBoundingClientRect();
    const lines = o.series.filter(s => s.values[i] !== null).map(s => `${s.name}: ${(o.tipText || o.yText)(s.values[i])}`);
    showTip([(o.xText || (v => `${o.xLabel} ${v}`))(o.x[i]), ...lines].join("\n"), x === undefined ? b.left + X(o.x[i]) * b.width / W : x, y === undefined ? b.top : y);
  }
  function leave() { at = -1; guide.setAttribute("visibility", "hidden"); hideTip(); }
  svg.addEventListener("mousemove", e => {
    const b = svg.getBoundingClientRect(), x = (e.clientX - b.left) * W / b.width;
    let best = 0;
    o.x.forEach((v, i) => { if (Math.abs(X(v) - x) < Math.abs(X(o.x[best]) - x)) best = i; });
    point(best, e.clientX, e.clientY);
  });
  svg.addEventListener("mouseleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", e => {
    if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
    e.preventDefault();
    point(Math.min(Math.max(at + (e.key === "ArrowRight" ? 1 : -1), 0), o.x.length - 1));
  });
  parent.append(el("figure", {}, el("h3", {}, o.title), o.text ? el("p", { class: "note", style: "margin:0 0 6px" }, o.text) : null, svg,
    el("div", { class: "legend" }, o.series.length > 1 || o.series[0].quiet ? keys : [])));
}

let pending = 0;
function redrawAll() {
  cancelAnimationFrame(pending);
  pending = requestAnimationFrame(() => redraws.forEach(f => f()));
}
addEventListener("resize", redrawAll);
dark.addEventListener("change", redrawAll);
addEventListener("beforeprint", () => { printing = true; redraws.forEach(f => f()); });
addEventListener("afterprint", () => { printing = false; redraws.forEach(f => f()); });
addEventListener("scroll", hideTip, { passive: true });
