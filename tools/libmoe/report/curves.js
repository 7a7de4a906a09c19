// SPDX-License-Identifier: MIT
// Line charts in SVG, with legend, tooltip and keys; redrawing of all figures.

const dashes = ["", "7 4", "2 4", "10 4 2 4"];
const strokes = ["var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)"];

function niceStep(range, n) {
    const raw = range / n * 0.999, base = 10 ** Math.floor(Math.log10(raw)), f = raw / base;
    return base * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
}

/*
 * curves(parent, {title, x: numbers, xText(v): for the tooltip, xLabel, series: [{name, values, quiet: a
 * reference line}], yText(v), yMin, yMax: or from the values, wide, describe}).
 */
function curves(parent, o) {
    const W = o.wide ? 520 : 360, H = o.wide ? 300 : 210, L = 46, R = 24, T = 10, B = 36;
    const all = o.series.flatMap(s => s.values).filter(v => v !== null);
    let lo = o.yMin !== undefined ? o.yMin : lowest(all), hi = o.yMax !== undefined ? o.yMax : highest(all);
    if (!(hi > lo)) hi = lo + (Math.abs(lo) || 1);
    const step = niceStep(hi - lo, 4);
    if (o.yMin === undefined) lo = Math.floor(lo / step + 1e-9) * step;
    if (o.yMax === undefined) hi = Math.ceil(hi / step - 1e-9) * step;
    const x0 = o.x[0], x1 = o.x[o.x.length - 1];
    const X = v => L + (x1 > x0 ? (v - x0) / (x1 - x0) : 0.5) * (W - L - R),
          Y = v => T + (hi - v) / (hi - lo) * (H - T - B);
    const svg = el("svg:svg", {
        viewBox: `0 0 ${W} ${H}`,
        role: "img",
        tabindex: 0,
        "aria-label": o.describe + " Arrow keys go along it."
    });
    for (let v = Math.ceil(lo / step - 1e-9) * step; v <= hi + 1e-9 * step; v += step)
        svg.append(
            el("svg:line", {x1: L, x2: W - R, y1: Y(v), y2: Y(v), stroke: "var(--grid)"}),
            el("svg:text", {x: L - 6, y: Y(v) + 4, "text-anchor": "end"},
               o.yText(Math.abs(v) < 1e-12 ? 0 : v)));
    const stepX = o.xTicks || Math.max(1, Math.ceil(o.x.length / 10));
    o.x.forEach((v, i) => {
        if (o.xTicks ? o.xTicks.includes(v) : i % stepX === 0)
            svg.append(
                el("svg:text", {x: X(v), y: H - B + 16, "text-anchor": "middle"},
                   o.xTick ? o.xTick(v) : String(v)));
    });
    svg.append(el("svg:text", {x: (L + W - R) / 2, y: H - 3, "text-anchor": "middle"}, o.xLabel));
    let n = 0;
    const keys = [];
    for (const s of o.series) {
        const stroke = s.quiet ? "var(--soft)" : strokes[n % 4], dash = s.quiet ? "1 4" : dashes[n % 4];
        n += !s.quiet;
        const points = s.values.map((v, i) => v === null ? null : [X(o.x[i]), Y(v)]).filter(p => p);
        const line = {
            fill: "none",
            stroke,
            "stroke-width": s.quiet ? 1.5 : 2.25,
            "stroke-dasharray": dash || undefined,
            "stroke-linejoin": "round",
            "stroke-linecap": "round"
        };
        svg.append(el(
            "svg:path", {d: "M" + points.map(p => p.map(q => q.toFixed(1)).join(",")).join("L"), ...line}));
        if (!s.quiet && points.length <= 24 && !o.wide)
            for (const p of points)
                svg.append(
                    el("svg:circle", {cx: p[0].toFixed(1), cy: p[1].toFixed(1), r: 2.6, fill: stroke}));
        keys.push(
            el("span", {class: "key"},
               el("svg:svg", {viewBox: "0 0 26 10", "aria-hidden": "true"},
                  el("svg:path", {d: "M1,5H25", ...line})),
               s.name));
    }
    const guide = el("svg:line", {y1: T, y2: H - B, stroke: "var(--soft)", visibility: "hidden"});
    svg.append(guide);
    let at = -1;
    function point(i, x, y) {
        at = i;
        guide.setAttribute("visibility", "visible");
        guide.setAttribute("x1", X(o.x[i]));
        guide.setAttribute("x2", X(o.x[i]));
        const b = svg.getBoundingClientRect();
        const lines = o.series.filter(s => s.values[i] !== null)
                          .map(s => `${s.name}: ${(o.tipText || o.yText)(s.values[i])}`);
        showTip(
            [(o.xText || (v => `${o.xLabel} ${v}`))(o.x[i]), ...lines].join("\n"),
            x === undefined ? b.left + X(o.x[i]) * b.width / W : x, y === undefined ? b.top : y);
    }
    function leave() {
        at = -1;
        guide.setAttribute("visibility", "hidden");
        hideTip();
    }
    svg.addEventListener("mousemove", e => {
        const b = svg.getBoundingClientRect(), x = (e.clientX - b.left) * W / b.width;
        let best = 0;
        o.x.forEach((v, i) => {
            if (Math.abs(X(v) - x) < Math.abs(X(o.x[best]) - x)) best = i;
        });
        point(best, e.clientX, e.clientY);
    });
    svg.addEventListener("mouseleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", e => {
        if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
        e.preventDefault();
        point(Math.min(Math.max(at + (e.key === "ArrowRight" ? 1 : -1), 0), o.x.length - 1));
    });
    parent.append(
        el("figure", {}, el("h3", {}, o.title),
           o.text ? el("p", {class: "note", style: "margin:0 0 6px"}, o.text) : null, svg,
           el("div", {class: "legend"}, o.series.length > 1 || o.series[0].quiet ? keys : [])));
}

let pending = 0;
function redrawAll() {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => redraws.forEach(f => f()));
}
addEventListener("resize", redrawAll);
dark.addEventListener("change", redrawAll);
addEventListener("beforeprint", () => {
    printing = true;
    redraws.forEach(f => f());
});
addEventListener("afterprint", () => {
    printing = false;
    redraws.forEach(f => f());
});
addEventListener("scroll", hideTip, {passive: true});
