// SPDX-License-Identifier: MIT
// What all figures need: elements, numbers as text, colours, tooltips, tables. The files of this folder are
// joined to one script, this one first.
"use strict";

const tip = document.getElementById("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const redraws = [];  // one function for each canvas: called when size or colours change

function isDark() { return dark.matches && !printing; }
function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// el("p", {class: "x"}, "text", child, ...): an element. Text is set as text, never as markup.
function el(name, attributes, ...children) {
    const e = name.startsWith("svg:") ?
        document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) :
        document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
        if (value === undefined || value === null) continue;
        if (key.startsWith("on"))
            e.addEventListener(key.slice(2), value);
        else
            e.setAttribute(key, value);
    }
    for (const child of children.flat())
        if (child !== null && child !== undefined) e.append(child);
    return e;
}

// Numbers as people read them.
function count(v) { return Math.round(v).toLocaleString("en-US"); }
function percent(v) {
    const p = 100 * v;
    return (p === 0 ? "0" : p < 0.1 ? p.toPrecision(1) : p < 10 ? p.toFixed(2) : p.toFixed(1)) + " %";
}
function decimal(v) {
    return v === null || !isFinite(v) ? "–" :
        v === 0                       ? "0" :
        Math.abs(v) >= 1000           ? count(v) :
        Math.abs(v) >= 1e-3           ? String(Number(v.toPrecision(3))) :
                                        v.toExponential(1);
}
function times(v) { return v === 0 ? "never" : (v >= 10 ? v.toFixed(0) : v.toPrecision(2)) + "× even"; }

function sum(a) {
    let s = 0;
    for (const v of a) s += v;
    return s;
}
// Math.max(...a) has a limit on the length of a.
function highest(a) { return a.reduce((x, y) => y > x ? y : x, -Infinity); }
function lowest(a) { return a.reduce((x, y) => y < x ? y : x, Infinity); }
function mean(a) { return a.length ? sum(a) / a.length : 0; }

// ------------------------------------------------------------------------------------------------ colours
const ramps = {
    amount: {
        light: ["#f4f5f6", "#cfe0ee", "#8fbbdc", "#3f87bd", "#0b4f8a", "#062d55"],
        dark: ["#22262c", "#1d4062", "#2167a0", "#3f92d2", "#86c3f3", "#def0ff"]
    },
    signed: {
        light: ["#083f73", "#2f7fbe", "#a5cbe6", "#f3f2f0", "#f3c79c", "#d9761b", "#7d3503"],
        dark: ["#b5dcff", "#4d9fdf", "#25537c", "#282b30", "#7a4a20", "#e08a35", "#ffdcb4"]
    },
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
    return {ramp: "amount", at: v => v / top, marks: [0, 0.5, 1].map(t => ({t, text: text(t * top)}))};
}
// A ratio whose neutral value is 1, in powers of two up to 2^most either way.
function ratioScale(most, words) {
    const at = v => v <= 0 ? 0 : Math.min(Math.max(0.5 + Math.log2(v) / (2 * most), 0), 1);
    const name = ["½", "¼", "⅛", "1/16", "1/32"];
    const marks = [-most, -1, 0, 1, most].map(
        p =>
            ({t: 0.5 + p / (2 * most),
              text: p < 0 ? name[-p - 1] + "×" :
                  p       ? 2 ** p + "×" :
                            words}));
    return {ramp: "signed", at, marks};
}
function signedScale(most) {
    return {
        ramp: "signed",
        at: v => 0.5 + v / (2 * most),
        marks: [-1, -0.5, 0, 0.5, 1].map(p => ({t: 0.5 + p / 2, text: decimal(p * most)}))
    };
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
    return el(
        "table", {},
        el("thead", {}, el("tr", {}, heads.map((h, i) => el("th", {scope: "col", class: left(i)}, h)))),
        el("tbody", {}, rows.map(r => el("tr", {}, r.map((c, i) => el("td", {class: left(i)}, c))))));
}
// A table that is made when it is opened.
function fold(title, make) {
    const box = el("div", {tabindex: 0, role: "region", "aria-label": title});
    const d = el("details", {}, el("summary", {}, title), box);
    d.fill = make;
    d.addEventListener("toggle", () => {
        if (d.open) box.replaceChildren(d.fill());
    });
    d.refresh = next => {
        d.fill = next;
        if (d.open) box.replaceChildren(next());
    };
    return d;
}
