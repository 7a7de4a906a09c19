// SPDX-License-Identifier: MIT
// The other sections: classes, pairs, caches, outputs; and the start of it all.

// ------------------------------------------------------------------------------------------------ classes
// A button that shows an expert's layer.
function chip(f) {
    const attributes = {
        class: "chip",
        type: "button",
        onclick: () => jumps.forEach(j => j(f.i)),
        "aria-label": `layer ${layerNames[f.i]}, expert ${f.c}, ${decimal(f.v)}`,
    };
    return el("button", attributes, `${layerNames[f.i]}:${f.c}`, el("small", {}, f.v.toFixed(2)));
}

function classes() {
    if (!many || !layers.every(l => l.class_count)) return;
    const names = data.classes.map(c => c.name);
    const share = layers.map(l => l.class_count.map(row => {
        const s = sum(row);
        return s ? row.map(v => v / s) : row.map(() => null);
    }));
    const whole = layers.map(l => {
        const s = sum(l.count) || 1;
        return l.count.map(v => v / s);
    });
    const kinds = [
        {
            name: "share, against all classes",
            scale: ratioScale(3, "as in all"),
            label: "share of the class's choices, against all classes",
            v: (i, r, c) => share[i][r][c] === null ? null :
                whole[i][c] > 0                     ? share[i][r][c] / whole[i][c] :
                                                      1,
            plain: v => decimal(v)
        },
        {
            name: "share of the class's choices",
            scale: amountScale(highest(share.flat(2).map(v => v || 0)), percent),
            label: "share of the class's choices",
            v: (i, r, c) => share[i][r][c],
            plain: percent
        },
    ];
    if (layers.every(l => l.class_npmi)) {
        const most = Math.max(
            0.1,
            highest(
                layers.flatMap(l => l.class_npmi.flat()).map(v => v === null || v <= -1 ? 0 : Math.abs(v))));
        kinds.push({
            name: "tie to the class (nPMI)",
            scale: signedScale(most),
            label: "normalised pointwise mutual information",
            v: (i, r, c) => layers[i].class_npmi[r][c],
            plain: decimal
        });
    }
    let layer = 0, kind = 0;
    const box = el("div"), best = el("div");
    const pick = chooser("Show", kinds.map(k => k.name), i => {
        kind = i;
        map.update(options());
    });
    const slider = layerSlider(i => {
        layer = i;
        map.update(options());
    });
    jumps.push(slider.set);
    section(
        "Classes and experts",
        "Which experts each class of text uses, one layer at a time. Below, the experts most tied to each " +
            "class in any layer; choose one to see its layer.",
        el("div", {class: "controls"}, slider.node, pick.node), box, best);
    function options() {
        const k = kinds[kind], i = layer;
        return {
            rows: names,
            columns: experts,
            rowTitle: "class",
            columnTitle: `expert of layer ${layerNames[i]}`,
            value: (r, c) => k.v(i, r, c),
            plain: (r, c) => k.plain(k.v(i, r, c)),
            scale: k.scale,
            label: k.label,
            text: (r, c) => `${names[r]}, layer ${layerNames[i]}, expert ${c}\n` +
                `${percent(share[i][r][c])} of the class's choices\n` +
                `${percent(whole[i][c])} of all classes' choices` +
                (layers[i].class_npmi ? `\nnPMI ${decimal(layers[i].class_npmi[r][c])}` : ""),
            describe:
                `Heat map of ${names.length} classes by ${n} experts of layer ${layerNames[i]}: ${k.name}.`,
        };
    }
    const map = heatmap(box, options());
    if (layers.every(l => l.class_npmi)) {
        const rows = names.map((name, r) => {
            const all = [];
            layers.forEach((l, i) => l.class_npmi[r].forEach((v, c) => {
                if (v !== null && l.class_count[r][c] > 0) all.push({i, c, v});
            }));
            all.sort((a, b) => b.v - a.v);
            const chips = all.slice(0, 6).map(chip);
            return [name, count(data.classes[r].tokens), el("div", {class: "chips"}, chips)];
        });
        best.append(
            el("h3", {style: "margin:18px 0 6px"}, "Experts tied to a class"),
            el("div", {class: "scroll"},
               table(["class", "tokens", "layer:expert and nPMI, strongest first"], rows, [2])));
    }
}

// ------------------------------------------------------------------------------------------- co-selection
function together() {
    if (!layers.length || !layers.every(l => l.together)) return;
    let layer = 0;
    const box = el("div");
    // Against independent choices of the same frequencies, scaled to the same number of pairs.
    const lifts = [];
    function lift(i) {
        if (lifts[i]) return lifts[i];
        const p = layers[i].count,
              at = (r, c) => r < c ? layers[i].together[r][c - r - 1] : layers[i].together[c][r - c - 1];
        let pairs = 0, expected = 0;
        for (let r = 0; r < n; r++)
            for (let c = r + 1; c < n; c++) {
                pairs += at(r, c);
                expected += p[r] * p[c];
            }
        const scale = pairs ? expected / pairs : 0;
        return lifts[i] = {
            at,
            v: (r, c) => r === c || !p[r] || !p[c] || !scale ? null : at(r, c) * scale / (p[r] * p[c])
        };
    }
    const slider = layerSlider(i => {
        layer = i;
        map.update(options());
        list();
    });
    jumps.push(slider.set);
    const strongest = el("div");
    section(
        "Chosen together",
        "How often two experts serve the same token, against what would be expected if they were chosen " +
            "independently: orange pairs seek each other, blue ones avoid each other.",
        el("div", {class: "controls"}, slider.node), el("div", {class: "beside"}, box, strongest));
    // The pairs that serve a noticeable number of tokens together, those most sought first.
    function list() {
        const f = lift(layer), least = layers[layer].tokens / 500, all = [];
        for (let r = 0; r < n; r++)
            for (let c = r + 1; c < n; c++)
                if (f.at(r, c) >= least && f.v(r, c) !== null) all.push([r, c]);
        all.sort((a, b) => f.v(...b) - f.v(...a));
        const rows = all.slice(0, 12).map(p => [
            p.join(" and "), count(f.at(...p)), decimal(f.v(...p)) + "×",
        ]);
        strongest.replaceChildren(
            el("h3", {}, "Pairs that seek each other"),
            table(["experts", "tokens", "of expected"], rows),
            el("p", {class: "note"},
               `Of those that serve at least ${count(Math.ceil(least))} tokens together.`));
    }
    list();
    function options() {
        const i = layer, f = lift(i);
        return {
            rows: experts,
            columns: experts,
            rowTitle: "expert",
            columnTitle: `expert of layer ${layerNames[i]}`,
            square: true,
            value: f.v,
            scale: ratioScale(3, "expected"),
            label: "tokens shared, against expectation",
            text: (r, c) => `Layer ${layerNames[i]}, experts ${r} and ${c}\n` +
                `together ${count(f.at(r, c))} times\n` +
                (f.v(r, c) === 0 ? "never" : decimal(f.v(r, c)) + "× expected"),
            describe:
                `Heat map of ${n} by ${n} experts of layer ${layerNames[i]}: how often two are chosen ` +
                `together, against independence.`,
        };
    }
    const map = heatmap(box, options());
}

// ------------------------------------------------------------------------------------------------- caches
function caches() {
    const t = data.trace;
    if (!t || !t.layer_cache) return;
    const pair = el("div", {class: "pair"});
    section(
        "Caches of experts",
        "How many uses would find their expert in memory, by the size of the cache. The optimum knows the " +
            "future; the segment cache knows the next " + t.layer_cache.sch_window + " tokens, and by its " +
            "definition first uses are no misses while it has room; LRU and LFU know the past only. Chance " +
            "is what a fixed set of that size would give if all experts were alike.",
        pair, fold("Values as a table", () => {
            const rows = [];
            for (const [c, where] of [[t.layer_cache, "each layer"], [t.shared_cache, "shared"]])
                c.capacity.forEach((v, i) => rows.push([
                    where, String(v), percent(v / c.experts),
                    ...["belady", "sch", "lfu", "lru"].map(k => percent(c[k][i]))
                ]));
            return table(["cache", "experts", "of all", "optimum", "segment", "LFU", "LRU"], rows);
        }));
    for (const [c, title] of [
             [t.layer_cache, "A cache in each layer"], [t.shared_cache, "One cache for all layers"]]) {
        const x = c.capacity.map(v => v / c.experts);
        curves(pair, {
            wide: true,
            title,
            x,
            xTicks: ticks(x),
            xTick: v => Math.round(100 * v) + " %",
            xLabel: "experts in memory",
            xText: v => `${count(v * c.experts)} of ${count(c.experts)} experts (${percent(v)})`,
            yText: v => Math.round(100 * v) + " %",
            tipText: percent,
            yMin: 0,
            yMax: 1,
            series: [
                {name: "optimum", values: c.belady}, {name: "segment", values: c.sch},
                {name: "LFU", values: c.lfu}, {name: "LRU", values: c.lru},
                {name: "chance", values: x, quiet: true}
            ],
            describe: `${title}: hit rates by cache size.`
        });
    }
    if (t.srp && t.srp.length)
        main.lastElementChild.append(
            el("h3", {style: "margin:18px 0 4px"}, "Segments"),
            el("p", {class: "note", style: "margin:0 0 6px"},
               "How well one set of experts, chosen for a whole segment of tokens, does for all of them " +
                    "(SRP, an F1 score: 1 = perfectly), with one threshold for each expert, each layer, " +
                    "or all; and the size of the set against the experts of one token."),
            el("div", {class: "scroll"},
               table(
                   ["tokens", "each expert", "each layer", "all", "set size"],
                   t.srp.map(
                       s =>
                           [String(s.window), decimal(s.expert), decimal(s.layer), decimal(s.model),
                            decimal(s.rho) + "×"]))));
}
function ticks(x) {
    return [0.25, 0.5, 0.75, 1].map(q => x.reduce((a, b) => Math.abs(b - q) < Math.abs(a - q) ? b : a));
}

// ------------------------------------------------------------------------------------------------ outputs
function outputs() {
    const kinds = [
        ["saliency", "saliency", "mean of weight × size of the output (REAP): what leaves with the expert"],
        ["size of the output", "norm", "mean size of the output, unweighted"],
        ["largest element", "max", "largest element of any output"]
    ].filter(([, key]) => layers.length && layers.every(l => l[key]));
    if (!kinds.length) return;
    const box = el("div");
    const pick = chooser("Show", kinds.map(k => k[0]), i => map.update(options(i)));
    const found = data.super_experts || [];
    section(
        "What the experts put out",
        "How much each expert changes the stream, and the few that write extreme values.",
        el("div", {class: "controls"}, pick.node), box,
        el("h3", {style: "margin:18px 0 4px"}, "Super experts"),
        found.length ?
            el("div", {class: "scroll"},
               table(
                   ["layer:expert", "largest element", "channel"],
                   found.map(f => [`${f.layer}:${f.expert}`, decimal(f.value), String(f.channel)]))) :
            el("p", {class: "note", style: "margin:0"},
               "None: no expert's largest output stands out as far as the definition asks " +
                   "(Su et al. 2025)."));
    function options(i) {
        const [name, key, about] = kinds[i], top = highest(layers.flatMap(l => l[key]));
        return {
            rows: layerNames,
            columns: experts,
            rowTitle: "layer",
            columnTitle: "expert",
            value: (r, c) => layers[r].count[c] ? layers[r][key][c] : null,
            scale: amountScale(top, decimal),
            label: about,
            text: (r, c) => `Layer ${layerNames[r]}, expert ${c}\n${name} ${decimal(layers[r][key][c])}` +
                (key === "max" && layers[r].max_channel ? ` in channel ${layers[r].max_channel[c]}` : ""),
            describe: `Heat map of ${layers.length} layers by ${n} experts: ${name}, up to ${decimal(top)}.`,
        };
    }
    const map = heatmap(box, options(0));
}

// --------------------------------------------------------------------------------------------- k of tokens
function sizes() {
    const used = new Set(layers.flatMap(l => l.k ? l.k.map((v, i) => v ? i : -1).filter(i => i >= 0) : []));
    if (used.size < 2) return;
    const ks = [...used].sort((a, b) => a - b), box = el("div");
    const part = (r, c) => layers[r].k[ks[c]] / (layers[r].tokens || 1);
    section("Experts of a token", "How many experts tokens get, as a share of the layer's tokens.", box);
    heatmap(box, {
        rows: layerNames,
        columns: ks.map(String),
        rowTitle: "layer",
        columnTitle: "experts",
        value: part,
        plain: (r, c) => percent(part(r, c)),
        scale: amountScale(1, percent),
        label: "share of tokens",
        text: (r, c) => `Layer ${layerNames[r]}: ${ks[c]} experts\n` +
            `${count(layers[r].k[ks[c]])} tokens, ${percent(part(r, c))}`,
        describe: `Heat map of ${layers.length} layers by number of experts of a token.`,
    });
}

summary();
if (layers.length) [load, layerCurves, classes, together, caches, sizes, outputs].forEach(f => f());
document.getElementById("footer").textContent = "Made by libmoe " + data.libmoe +
    " (libmoe stats --html). Figures answer to the pointer and to the arrow " +
    "keys; the page needs nothing from the network.";
