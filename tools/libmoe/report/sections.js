// SPDX-License-Identifier: MIT
// The report's first sections: summary, load, layers. Data: the object that stats_json.c writes.

const data = JSON.parse(document.getElementById("data").textContent);
const layers = data.layers, n = data.experts, main = document.getElementById("main");
const experts = Array.from({length: n}, (_, i) => String(i));
const layerNames = layers.map(l => String(l.layer));
const many = data.classes.length > 1;
const jumps = [];  // functions that choose a layer by its place in `layers`

function section(title, lead, ...content) {
    const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
    const s =
        el("section", {class: "card", "aria-labelledby": id}, el("h2", {id}, title),
           lead ? el("p", {class: "lead"}, lead) : null, ...content);
    main.append(s);
    return s;
}

function chooser(label, names, change) {
    const s = el("select", {onchange: () => change(s.selectedIndex)}, names.map(x => el("option", {}, x)));
    return {node: el("label", {}, label, s), select: s};
}

// A slider over the layers.
function layerSlider(change) {
    const out = el("output", {}, layerNames[0]);
    const input = el("input", {
        type: "range",
        min: 0,
        max: Math.max(layers.length - 1, 0),
        value: 0,
        step: 1,
        "aria-valuetext": "layer " + layerNames[0],
        oninput: () => set(Number(input.value))
    });
    function set(i) {
        input.value = i;
        out.textContent = layerNames[i];
        input.setAttribute("aria-valuetext", "layer " + layerNames[i]);
        change(i);
    }
    return {node: layers.length > 1 ? el("label", {}, "Layer", input, out) : null, set};
}

// ------------------------------------------------------------------------------------------------ summary
function tile(value, text) { return el("div", {class: "tile"}, el("b", {}, value), el("span", {}, text)); }

function summary() {
    const m = data.model, t = data.trace, box = document.getElementById("summary");
    document.getElementById("title").textContent = m ? m.name : "Recorded statistics";
    document.title = "Routing report: " + (m ? m.name : "recorded statistics");
    document.getElementById("about").textContent =
        (m ? `${m.family}, ${m.file_type}, ${(m.parameters / 1e6).toFixed(1)} M parameters, ` +
                 `${(m.active_parameters / 1e6).toFixed(1)} M for a token. ` :
             "") +
        `${layers.length} layers with ${n} experts` + (m && m.shared_experts ? " and a shared one" : "") +
        ". " +
        `${count(data.tokens)} tokens` +
        (many ? ` in ${data.classes.length} classes: ${data.classes.map(c => c.name).join(", ")}.` : ".");
    box.append(tile(count(data.tokens), "tokens"));
    if (!layers.length) return;
    box.append(
        tile(decimal(mean(layers.map(l => l.mean_k))), `experts for a token, of ${n}`),
        tile(decimal(mean(layers.map(l => l.balance_global))), "load balance, 1 = even, mean of the layers"),
        tile(percent(mean(layers.map(l => l.top1))), "probability of the best expert, mean"),
        tile(
            decimal(mean(layers.map(l => l.entropy))) + " bits",
            `entropy of the router, of at most ${decimal(Math.log2(n))}`));
    if (t && t.reuse_mean !== null && t.reuse_mean !== undefined)
        box.append(tile(
            percent(t.reuse_mean),
            `of a token's experts served the token before, ${percent(t.reuse_by_chance)} by chance`));
}

// --------------------------------------------------------------------------------------------------- load
function load() {
    const even = 1 / n;
    const share = key => layers.map(l => {
        const s = sum(l[key]) || 1;
        return l[key].map(v => v / s);
    });
    const kinds =
        [["choices", "count"], ["weights", "weight"], ["probabilities", "prob"], ["first choices", "best"]]
            .filter(([, key]) => layers.every(l => l[key] && sum(l[key]) > 0))
            .map(([name, key]) => ({name, v: share(key)}));
    if (!kinds.length) return;
    const box = el("div");
    const pick = chooser("Share of", kinds.map(k => k.name), i => map.update(options(i)));
    section(
        "Load of the experts",
        "How much of each layer's work goes to each expert, in units of an even share: orange experts are " +
            "busy, blue ones are idle.",
        el("div", {class: "controls"}, pick.node), box);
    function options(i) {
        const v = kinds[i].v, flat = v.flat(), top = highest(flat), low = lowest(flat);
        return {
            rows: layerNames,
            columns: experts,
            rowTitle: "layer",
            columnTitle: "expert",
            value: (r, c) => v[r][c] / even,
            plain: (r, c) => percent(v[r][c]),
            scale: ratioScale(3, "even"),
            label: `share of ${kinds[i].name} in the layer`,
            text: (r, c) => `Layer ${layerNames[r]}, expert ${c}\n` +
                `${percent(v[r][c])} of ${kinds[i].name} (${times(v[r][c] / even)})\n` +
                `chosen ${count(layers[r].count[c])} times`,
            describe: `Heat map of ${layers.length} layers by ${n} experts: share of ${kinds[i].name}, ` +
                `from ${percent(low)} to ${percent(top)}; an even share is ${percent(even)}.`,
        };
    }
    const map = heatmap(box, options(0));
}

// ------------------------------------------------------------------------------------------------- layers
function layerCurves() {
    const grid = el("div", {class: "grid"}), x = layers.map(l => l.layer),
          of = key => layers.map(l => l[key]);
    const flat = v => layers.map(() => v), t = data.trace,
          common = {x, xLabel: "layer", xText: v => "Layer " + v};
    section(
        "Layer by layer",
        "How sure the routers are, how evenly they spread the load, and what their choice hangs on.", grid,
        fold(
            "Values as a table",
            () => table(
                [
                    "layer", "tokens", "experts of a token", "entropy", "top-1", "balance in sub-batches",
                    "balance overall", "token information", "of at most"
                ],
                layers.map(
                    l => [l.layer, count(l.tokens), l.mean_k, l.entropy, l.top1, l.balance_micro,
                          l.balance_global, l.mutual_info, l.token_entropy]
                             .map((v, i) => typeof v === "number" && i > 1 ? decimal(v) : String(v))))));
    const range = key => `from ${decimal(lowest(of(key)))} to ${decimal(highest(of(key)))}`;
    curves(grid, {
        ...common,
        title: "Entropy of the router (bits)",
        yText: decimal,
        yMin: 0,
        yMax: Math.log2(n) * 1.0001,
        series: [
            {name: "entropy", values: of("entropy")},
            {name: "all alike", values: flat(Math.log2(n)), quiet: true}
        ],
        describe: `Entropy by layer, ${range("entropy")} bits.`
    });
    curves(grid, {
        ...common,
        title: "Probability of the best expert",
        yText: v => Math.round(100 * v) + " %",
        tipText: percent,
        yMin: 0,
        series: [
            {name: "best expert", values: of("top1")}, {name: "all alike", values: flat(1 / n), quiet: true}
        ],
        describe: `Probability of the best expert by layer, ${range("top1")}.`
    });
    curves(grid, {
        ...common,
        title: "Load balance (1 = even)",
        yText: decimal,
        yMin: 1 - 1e-9,
        series: [
            {name: "over all tokens", values: of("balance_global")},
            {name: "in sub-batches", values: of("balance_micro")}
        ],
        describe: `Load-balancing value by layer, ${range("balance_global")} over all tokens.`
    });
    if (highest(of("mutual_info")) > 0)
        curves(grid, {
            ...common,
            title: "What the token tells (bits)",
            yText: decimal,
            yMin: 0,
            series: [
                {name: "mutual information", values: of("mutual_info")},
                {name: "entropy of the experts", values: of("token_entropy"), quiet: true}
            ],
            describe: `Mutual information of token and expert by layer, ${range("mutual_info")} bits.`
        });
    if (t && t.reuse && t.reuse.length === t.model_layers.length && t.reuse.length)
        curves(grid, {
            ...common,
            x: t.model_layers,
            title: "Experts used again by the next token",
            yText: v => Math.round(100 * v) + " %",
            tipText: percent,
            yMin: 0,
            series: [
                {name: "reused", values: t.reuse},
                {name: "by chance", values: t.reuse.map(() => t.reuse_by_chance), quiet: true}
            ],
            describe: "Share of a token's experts that the token before had too, by layer; mean " +
                percent(t.reuse_mean) + "."
        });
    if (highest(of("mean_k")) - lowest(of("mean_k")) > 1e-6)
        curves(grid, {
            ...common,
            title: "Experts of a token",
            yText: decimal,
            yMin: 0,
            series: [{name: "experts", values: of("mean_k")}],
            describe: `Mean number of experts by layer, ${range("mean_k")}.`
        });
}
