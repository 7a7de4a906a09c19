// SPDX-License-Identifier: MIT
// The report's sections: what is shown, and how it is read. Data: the object that stats_json.c writes.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const layers = data.layers, n = data.experts, main = document.getElementById("main");
const experts = Array.from({ length: n }, (_, i) => String(i));
const layerNames = layers.map(l => String(l.layer));
const many = data.classes.length > 1;
const jumps = []; // functions that choose a layer by its place in `layers`

function section(title, lead, ...content) {
  const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
  const s = el("section", { class: "card", "aria-labelledby": id }, el("h2", { id }, title),
    lead ? el("p", { class: "lead" }, lead) : null, ...content);
  main.append(s);
  return s;
}

function chooser(label, names, change) {
  const s = el("select", { onchange: () => change(s.selectedIndex) }, names.map(x => el("option", {}, x)));
  return { node: el("label", {}, label, s), select: s };
}

// A slider over the layers.
function layerSlider(change) {
  const out = el("output", {}, layerNames[0]);
  const input = el("input", { type: "range", min: 0, max: Math.max(layers.length - 1, 0), value: 0, step: 1,
    "aria-valuetext": "layer " + layerNames[0], oninput: () => set(Number(input.value)) });
  function set(i) {
    input.value = i;
    out.textContent = layerNames[i];
    input.setAttribute("aria-valuetext", "layer " + layerNames[i]);
    change(i);
  }
  return { node: layers.length > 1 ? el("label", {}, "Layer", input, out) : null, set };
}

// ------------------------------------------------------------------------------------------------ summary
function tile(value, text) { return el("div", { class: "tile" }, el("b", {}, value), el("span", {}, text)); }

function summary() {
  const m = data.model, t = data.trace, box = document.getElementById("summary");
  document.getElementById("title").textContent = m ? m.name : "Recorded statistics";
  document.title = "Routing report: " + (m ? m.name : "recorded statistics");
  document.getElementById("about").textContent =
    (m ? `${m.family}, ${m.file_type}, ${(m.parameters / 1e6).toFixed(1)} M parameters, ` +
         `${(m.active_parameters / 1e6).toFixed(1)} M for a token. ` : "") +
    `${layers.length} layers with ${n} experts` + (m && m.shared_experts ? " and a shared one" : "") + ". " +
    `${count(data.tokens)} tokens` + (many ? ` in ${data.classes.length} classes: ${data.classes.map(c => c.name).join(", ")}.` : ".");
  box.append(tile(count(data.tokens), "tokens"));
  if (!layers.length) return;
  box.append(
    tile(decimal(mean(layers.map(l => l.mean_k))), `experts for a token, of ${n}`),
    tile(decimal(mean(layers.map(l => l.balance_global))), "load balance, 1 = even, mean of the layers"),
    tile(percent(mean(layers.map(l => l.top1))), "probability of the best expert, mean"),
    tile(decimal(mean(layers.map(l => l.entropy))) + " bits", `entropy of the router, of at most ${decimal(Math.log2(n))}`));
  if (t && t.reuse_mean !== null && t.reuse_mean !== undefined)
    box.append(tile(percent(t.reuse_mean), `of a token's experts served the token before, ${percent(t.reuse_by_chance)} by chance`));
}

// --------------------------------------------------------------------------------------------------- load
function load() {
  const even = 1 / n;
  const share = key => layers.map(l => { const s = sum(l[key]) || 1; return l[key].map(v => v / s); });
  const kinds = [["choices", "count"], ["weights", "weight"], ["probabilities", "prob"], ["first choices", "best"]]
    .filter(([, key]) => layers.every(l => l[key] && sum(l[key]) > 0)).map(([name, key]) => ({ name, v: share(key) }));
  if (!kinds.length) return;
  const box = el("div");
  const pick = chooser("Share of", kinds.map(k => k.name), i => map.update(options(i)));
  section("Load of the experts",
    "How much of each layer's work goes to each expert, in units of an even share: orange experts are busy, blue ones are idle.",
    el("div", { class: "controls" }, pick.node), box);
  function options(i) {
    const v = kinds[i].v, flat = v.flat(), top = Math.max(...flat), low = Math.min(...flat);
    return {
      rows: layerNames, columns: experts, rowTitle: "layer", columnTitle: "expert",
      value: (r, c) => v[r][c] / even, plain: (r, c) => percent(v[r][c]), scale: ratioScale(3, "even"),
      label: `share of ${kinds[i].name} in the layer`,
      text: (r, c) => `Layer ${layerNames[r]}, expert ${c}\n${percent(v[r][c])} of ${kinds[i].name} (${times(v[r][c] / even)})` +
        `\nchosen ${count(layers[r].count[c])} times`,
      describe: `Heat map of ${layers.length} layers by ${n} experts: share of ${kinds[i].name}, from ${percent(low)} to ` +
        `${percent(top)}; an even share is ${percent(even)}.`,
    };
  }
  const map = heatmap(box, options(0));
}

// ------------------------------------------------------------------------------------------------- layers
function layerCurves() {
  const grid = el("div", { class: "grid" }), x = layers.map(l => l.layer), of = key => layers.map(l => l[key]);
  const flat = v => layers.map(() => v), t = data.trace, common = { x, xLabel: "layer", xText: v => "Layer " + v };
  section("Layer by layer", "How sure the routers are, how evenly they spread the load, and what their choice hangs on.", grid,
    fold("Values as a table", () => table(
      ["layer", "tokens", "experts of a token", "entropy", "top-1", "balance in sub-batches", "balance overall", "token information", "of at most"],
      layers.map(l => [l.layer, count(l.tokens), l.mean_k, l.entropy, l.top1, l.balance_micro, l.balance_global, l.mutual_info,
        l.token_entropy].map((v, i) => typeof v === "number" && i > 1 ? decimal(v) : String(v))))));
  const range = key => `from ${decimal(Math.min(...of(key)))} to ${decimal(Math.max(...of(key)))}`;
  curves(grid, { ...common, title: "Entropy of the router (bits)", yText: decimal, yMin: 0, yMax: Math.log2(n) * 1.0001,
    series: [{ name: "entropy", values: of("entropy") }, { name: "all alike", values: flat(Math.log2(n)), quiet: true }],
    describe: `Entropy by layer, ${range("entropy")} bits.` });
  curves(grid, { ...common, title: "Probability of the best expert", yText: v => Math.round(100 * v) + " %", tipText: percent, yMin: 0,
    series: [{ name: "best expert", values: of("top1") }, { name: "all alike", values: flat(1 / n), quiet: true }],
    describe: `Probability of the best expert by layer, ${range("top1")}.` });
  curves(grid, { ...common, title: "Load balance (1 = even)", yText: decimal, yMin: 1 - 1e-9,
    series: [{ name: "over all tokens", values: of("balance_global") }, { name: "in sub-batches", values: of("balance_micro") }],
    describe: `Load-balancing value by layer, ${range("balance_global")} over all tokens.` });
  if (Math.max(...of("mutual_info")) > 0)
    curves(grid, { ...common, title: "What the token tells (bits)", yText: decimal, yMin: 0,
      series: [{ name: "mutual information", values: of("mutual_info") }, { name: "entropy of the experts", values: of("token_entropy"), quiet: true }],
      describe: `Mutual information of token and expert by layer, ${range("mutual_info")} bits.` });
  if (t && t.reuse && t.reuse.length === t.model_layers.length && t.reuse.length)
    curves(grid, { ...common, x: t.model_layers, title: "Experts used again by the next token", yText: v => Math.round(100 * v) + " %", tipText: percent, yMin: 0,
      series: [{ name: "reused", values: t.reuse }, { name: "by chance", values: t.reuse.map(() => t.reuse_by_chance), quiet: true }],
      describe: `Share of a token's experts that the token before had too, by layer, mean ${percent(t.reuse_mean)}.` });
  if (Math.max(...of("mean_k")) - Math.min(...of("mean_k")) > 1e-6)
    curves(grid, { ...common, title: "Experts of a token", yText: decimal, yMin: 0, series: [{ name: "experts", values: of("mean_k") }],
      describe: `Mean number of experts by layer, ${range("mean_k")}.` });
}

// ------------------------------------------------------------------------------------------------ classes
function classes() {
  if (!many || !layers.every(l => l.class_count)) return;
  const names = data.classes.map(c => c.name);
  const share = layers.map(l => l.class_count.map(row => { const s = sum(row); return s ? row.map(v => v / s) : row.map(() => null); }));
  const whole = layers.map(l => { const s = sum(l.count) || 1; return l.count.map(v => v / s); });
  const kinds = [
    { name: "share, against all classes", scale: ratioScale(3, "as in all"), label: "share of the class's choices, against all classes",
      v: (i, r, c) => share[i][r][c] === null ? null : whole[i][c] > 0 ? share[i][r][c] / whole[i][c] : 1,
      plain: v => decimal(v) },
    { name: "share of the class's choices", scale: amountScale(Math.max(...share.flat(2).map(v => v || 0)), percent), label: "share of the class's choices",
      v: (i, r, c) => share[i][r][c], plain: percent },
  ];
  if (layers.every(l => l.class_npmi)) {
    const most = Math.max(0.1, ...layers.flatMap(l => l.class_npmi.flat()).map(v => v === null || v <= -1 ? 0 : Math.abs(v)));
    kinds.push({ name: "tie to the class (nPMI)", scale: signedScale(most), label: "normalised pointwise mutual information",
      v: (i, r, c) => layers[i].class_npmi[r][c], plain: decimal });
  }
  let layer = 0, kind = 0;
  const box = el("div"), best = el("div");
  const pick = chooser("Show", kinds.map(k => k.name), i => { kind = i; map.update(options()); });
  const slider = layerSlider(i => { layer = i; map.update(options()); });
  jumps.push(slider.set);
  section("Classes and experts", "Which experts each class of text uses, one layer at a time. Below, the experts most tied to each class in any layer; choose one to see its layer.",
    el("div", { class: "controls" }, slider.node, pick.node), box, best);
  function options() {
    const k = kinds[kind], i = layer;
    return {
      rows: names, columns: experts, rowTitle: "class", columnTitle: `expert of layer ${layerNames[i]}`,
      value: (r, c) => k.v(i, r, c), plain: (r, c) => k.plain(k.v(i, r, c)), scale: k.scale, label: k.label,
      text: (r, c) => `${names[r]}, layer ${layerNames[i]}, expert ${c}\n${percent(share[i][r][c])} of the class's choices\n${percent(whole[i][c])} of all classes' choices` +
        (layers[i].class_npmi ? `\nnPMI ${decimal(layers[i].class_npmi[r][c])}` : ""),
      describe: `Heat map of ${names.length} classes by ${n} experts of layer ${layerNames[i]}: ${k.name}.`,
    };
  }
  const map = heatmap(box, options());
  if (layers.every(l => l.class_npmi)) {
    const rows = names.map((name, r) => {
      const all = [];
      layers.forEach((l, i) => l.class_npmi[r].forEach((v, c) => { if (v !== null && l.class_count[r][c] > 0) all.push({ i, c, v }); }));
      all.sort((a, b) => b.v - a.v);
      const chips = all.slice(0, 6).map(f => el("button", { class: "chip", type: "button", "aria-label": `layer ${layerNames[f.i]}, expert ${f.c}, ${decimal(f.v)}`,
        onclick: () => jumps.forEach(j => j(f.i)) }, `${layerNames[f.i]}:${f.c}`, el("small", {}, f.v.toFixed(2))));
      return [name, count(data.classes[r].tokens), el("div", { class: "chips" }, chips)];
    });
    best.append(el("h3", { style: "margin:18px 0 6px" }, "Experts tied to a class"),
      el("div", { class: "scroll" }, table(["class", "tokens", "layer:expert and nPMI, strongest first"], rows, [2])));
  }
}

// ------------------------------------------------------------------------------------------- co-selection
function together() {
  if (!layers.length || !layers.every(l => l.together)) return;
  let layer = 0;
  const box = el("div");
  // Against what independent choices of the same frequencies would give, scaled to the same number of pairs.
  const lifts = [];
  function lift(i) {
    if (lifts[i]) return lifts[i];
    const p = layers[i].count, at = (r, c) => r < c ? layers[i].together[r][c - r - 1] : layers[i].together[c][r - c - 1];
    let pairs = 0, expected = 0;
    for (let r = 0; r < n; r++) for (let c = r + 1; c < n; c++) { pairs += at(r, c); expected += p[r] * p[c]; }
    const scale = pairs ? expected / pairs : 0;
    return lifts[i] = { at, v: (r, c) => r === c || !p[r] || !p[c] || !scale ? null : at(r, c) * scale / (p[r] * p[c]) };
  }
  const slider = layerSlider(i => { layer = i; map.update(options()); });
  jumps.push(slider.set);
  section("Chosen together", "How often two experts serve the same token, against what would be expected if they were chosen independently: orange pairs seek each other, blue ones avoid each other.",
    el("div", { class: "controls" }, slider.node), box);
  function options() {
    const i = layer, f = lift(i);
    return {
      rows: experts, columns: experts, rowTitle: "expert", columnTitle: `expert of layer ${layerNames[i]}`, square: true,
      value: f.v, scale: ratioScale(3, "expected"), label: "tokens shared, against expectation",
      text: (r, c) => `Layer ${layerNames[i]}, experts ${r} and ${c}\ntogether ${count(f.at(r, c))} times\n${f.v(r, c) === 0 ? "never" : decimal(f.v(r, c)) + "× expected"}`,
      describe: `Heat map of ${n} by ${n} experts of layer ${layerNames[i]}: how often two are chosen together, against independence.`,
    };
  }
  const map = heatmap(box, options());
}

// ------------------------------------------------------------------------------------------------- caches
function caches() {
  const t = data.trace;
  if (!t || !t.layer_cache) return;
  const pair = el("div", { class: "pair" });
  section("Caches of experts", "How many uses would find their expert in memory, by the size of the cache. The optimum knows the future; the segment cache " +
    `knows the next ${t.layer_cache.sch_window} tokens; LRU and LFU know the past only. Chance is what a fixed set of that size would give if all experts were alike.`, pair,
    fold("Values as a table", () => {
      const rows = [];
      for (const [c, where] of [[t.layer_cache, "each layer"], [t.shared_cache, "shared"]])
        c.capacity.forEach((v, i) => rows.push([where, String(v), percent(v / c.experts), ...["belady", "sch", "lfu", "lru"].map(k => percent(c[k][i]))]));
      return table(["cache", "experts", "of all", "optimum", "segment", "LFU", "LRU"], rows);
    }));
  for (const [c, title] of [[t.layer_cache, "A cache in each layer"], [t.shared_cache, "One cache for all layers"]]) {
    const x = c.capacity.map(v => v / c.experts);
    curves(pair, { wide: true, title, x, xTicks: ticks(x), xTick: v => Math.round(100 * v) + " %", xLabel: "experts in memory",
      xText: v => `${count(v * c.experts)} of ${count(c.experts)} experts (${percent(v)})`, yText: v => Math.round(100 * v) + " %", tipText: percent,
      yMin: 0, yMax: 1,
      series: [{ name: "optimum", values: c.belady }, { name: "segment", values: c.sch }, { name: "LFU", values: c.lfu },
        { name: "LRU", values: c.lru }, { name: "chance", values: x, quiet: true }],
      describe: `${title}: hit rates by cache size.` });
  }
  if (t.srp && t.srp.length)
    main.lastElementChild.append(el("h3", { style: "margin:18px 0 4px" }, "Segments"),
      el("p", { class: "note", style: "margin:0 0 6px" }, "How well one set of experts, chosen for a whole segment of tokens, does for all of them (SRP, an F1 score: 1 = perfectly), " +
        "with one threshold for each expert, each layer, or all; and the size of the set against the experts of one token."),
      el("div", { class: "scroll" }, table(["tokens", "each expert", "each layer", "all", "set size"],
        t.srp.map(s => [String(s.window), decimal(s.expert), decimal(s.layer), decimal(s.model), decimal(s.rho) + "×"]))));
}
function ticks(x) { return [0.25, 0.5, 0.75, 1].map(q => x.reduce((a, b) => Math.abs(b - q) < Math.abs(a - q) ? b : a)); }

// ------------------------------------------------------------------------------------------------ outputs
function outputs() {
  const kinds = [["saliency", "saliency", "mean of weight × size of the output (REAP): what leaves with the expert"],
    ["size of the output", "norm", "mean size of the output, unweighted"], ["largest element", "max", "largest element of any output"]]
    .filter(([, key]) => layers.length && layers.every(l => l[key]));
  if (!kinds.length) return;
  const box = el("div");
  const pick = chooser("Show", kinds.map(k => k[0]), i => map.update(options(i)));
  const found = data.super_experts || [];
  section("What the experts put out", "How much each expert changes the stream, and the few that write extreme values.", el("div", { class: "controls" }, pick.node), box,
    el("h3", { style: "margin:18px 0 4px" }, "Super experts"),
    found.length ? el("div", { class: "scroll" }, table(["layer:expert", "largest element", "channel"], found.map(f => [`${f.layer}:${f.expert}`, decimal(f.value), String(f.channel)])))
                 : el("p", { class: "note", style: "margin:0" }, "None: no expert's largest output stands out as far as the definition asks (Su et al. 2025)."));
  function options(i) {
    const [name, key, about] = kinds[i], top = Math.max(...layers.flatMap(l => l[key]));
    return {
      rows: layerNames, columns: experts, rowTitle: "layer", columnTitle: "expert", value: (r, c) => layers[r].count[c] ? layers[r][key][c] : null,
      scale: amountScale(top, decimal), label: about,
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
  section("Experts of a token", "How many experts tokens get, as a share of the layer's tokens.", box);
  heatmap(box, {
    rows: layerNames, columns: ks.map(String), rowTitle: "layer", columnTitle: "experts",
    value: (r, c) => layers[r].k[ks[c]] / (layers[r].tokens || 1), plain: (r, c) => percent(layers[r].k[ks[c]] / (layers[r].tokens || 1)),
    scale: amountScale(1, percent), label: "share of tokens",
    text: (r, c) => `Layer ${layerNames[r]}: ${ks[c]} experts\n${count(layers[r].k[ks[c]])} tokens, ${percent(layers[r].k[ks[c]] / (layers[r].tokens || 1))}`,
    describe: `Heat map of ${layers.length} layers by number of experts of a token.`,
  });
}

summary();
if (layers.length) [load, layerCurves, classes, together, caches, sizes, outputs].forEach(f => f());
document.getElementById("footer").textContent =
  `Made by libmoe ${data.libmoe} (libmoe stats --html). Figures answer to the pointer and to the arrow keys; the page needs nothing from the network.`;
