// SPDX-License-Identifier: MIT
// Heat maps on canvas, with legend, tooltip, keys and a table of their values.

function legend(scale, label) {
    const bar = el("i"), steps = 24;
    const paint = () => {
        const stops = [];
        for (let i = 0; i <= steps; i++) stops.push(colour(scale.ramp, i / steps));
        bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
    };
    paint();
    return {
        paint,
        node:
            el("div", {class: "legend"}, el("span", {}, label),
               el("div", {class: "ramp"}, bar, scale.marks.map(m => {
                   const s = el("span", {}, m.text);
                   s.style.left = 100 * m.t + "%";
                   return s;
               })))
    };
}

/*
 * heatmap(parent, {rows, columns: names; value(r, c): null for no cell; text(r, c): for the tooltip; scale;
 * label: of the legend; rowTitle, columnTitle; square; plain(r, c): for the table; describe: one sentence for
 * who cannot see it}). Returns {update(options)}: draws it anew with other options.
 */
function heatmap(parent, options) {
    let o, cell, at = null, key;
    const canvas = el("canvas", {tabindex: 0, role: "img"}), box = el("div", {class: "scroll"}, canvas);
    const below = el("div"), values = fold("Values as a table", () => el("p"));
    const g = canvas.getContext("2d");
    parent.append(el("figure", {}, box, below, values));

    function layout() {
        g.font = "12px system-ui, sans-serif";
        const left = Math.ceil(highest(o.rows.map(r => g.measureText(r).width))) + 30, top = 34;
        const room = Math.max(box.clientWidth - left - 2, 80);
        let w = room / o.columns.length, h;
        if (o.square) {
            w = h = Math.max(3, Math.min(w, 40, 640 / o.rows.length));
        } else {
            w = Math.max(3, Math.min(w, 72));
            h = Math.max(5, Math.min(26, 660 / o.rows.length));
        }
        return {left, top, w, h, gap: Math.min(w, h) >= 9 ? 1 : 0};
    }
    function draw() {
        const ink = printing ? "#444" : css("--soft"), ratio = printing ? 3 : devicePixelRatio || 1;
        cell = layout();
        const width = cell.left + cell.w * o.columns.length + 2,
              height = cell.top + cell.h * o.rows.length + 2;
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
                g.fillRect(
                    cell.left + c * cell.w, cell.top + r * cell.h, cell.w - cell.gap, cell.h - cell.gap);
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
        const widest = highest(o.columns.map(n => g.measureText(n).width)) + 8;
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
            g.strokeRect(
                cell.left + at.c * cell.w - 1, cell.top + at.r * cell.h - 1, cell.w + 2 - cell.gap,
                cell.h + 2 - cell.gap);
        }
    }
    // Marks a cell and returns what shows its tooltip; cells without a value count for the keys only.
    function point(r, c, byKey) {
        const inside = r >= 0 && c >= 0 && r < o.rows.length && c < o.columns.length;
        const empty = inside && o.value(r, c) === null;
        if (!inside || (empty && !byKey)) return leave();
        if (!at || at.r !== r || at.c !== c) {
            at = {r, c};
            draw();
        }
        const b = canvas.getBoundingClientRect(), text = empty ? "no value" : o.text(r, c);
        return (x, y) => showTip(
                   text, x === undefined ? b.left + cell.left + (c + 1) * cell.w : x,
                   y === undefined ? b.top + cell.top + r * cell.h : y);
    }
    function leave() {
        if (at) {
            at = null;
            draw();
        }
        hideTip();
        return null;
    }
    canvas.addEventListener("mousemove", e => {
        const b = canvas.getBoundingClientRect();
        const show = point(
            Math.floor((e.clientY - b.top - cell.top) / cell.h),
            Math.floor((e.clientX - b.left - cell.left) / cell.w));
        if (show) show(e.clientX, e.clientY);
    });
    canvas.addEventListener("mouseleave", leave);
    canvas.addEventListener("blur", leave);
    canvas.addEventListener("keydown", e => {
        const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
        if (e.key === "Escape") return leave();
        if (!move) return undefined;
        e.preventDefault();
        const from = at || {r: move[0] > 0 ? -1 : 0, c: move[1] > 0 ? -1 : 0};
        const r = Math.min(Math.max(from.r + move[0], 0), o.rows.length - 1),
              c = Math.min(Math.max(from.c + move[1], 0), o.columns.length - 1);
        const show = point(r, c, true);
        if (show) show();
        return undefined;
    });
    function update(next) {
        o = next;
        at = null;
        canvas.setAttribute("aria-label", `${o.describe} Arrow keys go from cell to cell.`);
        key = legend(o.scale, o.label);
        below.replaceChildren(key.node);
        values.refresh(
            () => table(
                [o.rowTitle, ...o.columns],
                o.rows.map(
                    (name, r) =>
                        [name,
                         ...o.columns.map(
                             (_, c) => o.value(r, c) === null ? "" :
                                 o.plain                      ? o.plain(r, c) :
                                                                decimal(o.value(r, c)))])));
        draw();
    }
    redraws.push(() => {
        key.paint();
        draw();
    });
    update(options);
    return {update};
}
