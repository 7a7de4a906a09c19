#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Routing a second time, in NumPy and float64, from the formulas of docs/routing.md and of the papers named
there; it shares nothing with the C code. make_route_vectors.py draws the cases.

A case is a dict: n experts, native_null of the model, spec (members by their keys in texts), values, use, limits,
overrides, rows of (token, pos, seq, logits), nudge. Numbers are in units of 1/1024. What hangs on less than 1e-6
raises Redraw, so that single precision decides the same; exact ties stay if both sides of them are the same
computation on the same numbers.
"""
import math

import numpy as np

UNIT = 1024
MARGIN = 1e-6
N_TOKENS, N_SEQ, LAYER = 8, 4, 3
INF = math.inf

LOGIT_BIAS, SELECT_BIAS, PRE, POST, MODEL_LOGIT, MODEL_SELECT = 1, 2, 3, 4, 11, 12
FREE, BAN, BAN_SCORED, DROP, DROP_RENORM, FORCE = range(6)
HONOUR_FORCE = ("topk", "topp", "threshold", "random", "hash", "all")


class Redraw(Exception):
    """The case hangs on less than the margin."""


def demand(ok):
    if not ok:
        raise Redraw


# ------------------------------------------------------------------ Philox4x32-10 (Salmon et al., SC 2011)

def philox(counter, seed):
    c, k = list(counter), [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# ------------------------------------------------------------------ scores

def entmax15(z):
    """Peters et al. 2019: p = max(z/2 - tau, 0)^2, sum 1. tau by trying every support."""
    alive = np.isfinite(z)
    x = np.where(alive, z, 0) / 2
    order = np.sort(x[alive])[::-1]
    for k in range(len(order), 0, -1):
        top = order[:k]
        mean = top.mean()
        d = (1 - ((top - mean) ** 2).sum()) / k
        if d >= 0 and mean - math.sqrt(d) < top[-1]:
            tau = mean - math.sqrt(d)
            break
    d = np.where(alive, x - tau, -1)
    demand((np.abs(d) > 1e-3).all())  # clearly in or out
    return np.where(d > 0, d, 0) ** 2


def score(kind, z):
    with np.errstate(over="ignore", under="ignore"):
        if kind == "softmax":
            e = np.exp(z - z.max())
            return e / e.sum()
        if kind == "identity":
            return z.copy()
        if kind == "sigmoid":
            return 1 / (1 + np.exp(-z))
        if kind == "sqrtsoftplus":
            return np.sqrt(np.logaddexp(0, z))
        return entmax15(z)


# ------------------------------------------------------------------ one row up to its choice

def nudged(x, by):
    """Off by `by` at most, relatively; equal numbers stay equal."""
    if not by:
        return x
    finite = np.isfinite(x)
    return np.where(finite, x * (1 + by * np.sin(1e4 * np.where(finite, x, 0))), x)


class Row:
    """z, s, q of one row, and keys: entries with the same key hold the same number however it is computed."""

    def __init__(self, case, index):
        spec, n = case["spec"], case["n"]
        self.token, self.pos, self.seq, raw = case["rows"][index]
        total = n + spec["null"]
        z = np.full(total, spec["nullbias"], float)
        z[: len(raw)] = np.array(raw) / UNIT
        for kind in (MODEL_LOGIT, LOGIT_BIAS):
            if kind in case["values"]:
                z[:n] += np.array(case["values"][kind]) / UNIT
        row = self.override(case, 1)
        if row is not None:
            z[:n] = row
        banned = np.zeros(total, bool)
        use = np.array(case["use"] or [FREE] * n)
        limit = case["limits"].get(self.seq)
        if limit is not None:
            banned[:n] = ~np.isin(np.arange(n), limit)
        z[banned] = -INF
        z[:n][use == BAN] = -INF
        source = z.copy()
        z = nudged(z / (spec["temp"] or 1), case["nudge"])
        s = nudged(score(spec["score"], z), case["nudge"])
        exact = spec["score"] == "identity" and not spec["temp"]
        keys = [("x", source[e]) if exact else ("z", source[e]) if s[e] != 0 else ("x", 0.0)
                for e in range(total)]
        row = self.override(case, 2)
        if row is not None:
            s[:n] = row
            keys[:n] = [("x", x) for x in row]
        q, bias = s.copy(), np.zeros((2, total))
        for i, kind in enumerate((MODEL_SELECT, SELECT_BIAS)):
            if kind in case["values"]:
                bias[i, :n] = np.array(case["values"][kind]) / UNIT
        q += bias.sum(axis=0)
        q[z == -INF] = -INF
        q[:n][use == BAN_SCORED] = -INF
        self.keys = [("x", q[e]) if keys[e][0] == "x" else (keys[e], *bias[:, e]) for e in range(total)]
        self.z, self.s, self.q, self.n, self.use = z, s, q, n, use
        if spec["groups"] > 1:
            self.limit_groups(spec)
        forced = (use == FORCE) & (z[:n] > -INF)
        q[:n][forced] = INF
        for e in np.flatnonzero(forced):
            self.keys[e] = ("forced",)

    def override(self, case, kind):
        found = None
        for o in case["overrides"]:
            if o["kind"] == kind and o["seq"] in (-1, self.seq) and o["first"] <= self.pos and (
                    o["last"] == -1 or self.pos <= o["last"]):
                found = np.array(o["row"]) / UNIT
        return found

    def limit_groups(self, spec):
        size = self.n // spec["groups"]
        values, keys = [], []
        for g in range(spec["groups"]):
            members = sorted((e for e in range(g * size, (g + 1) * size) if self.q[e] > -INF),
                             key=lambda e: -self.q[e])
            best = members[: 2 if spec["groupscore"] == "top2" else 1]
            values.append(sum(self.q[e] for e in best) if best else -INF)
            parts = [self.keys[e] for e in best]
            exact = all(k[0] == "x" for k in parts)
            keys.append(("x", values[-1]) if exact else tuple(sorted(parts, key=repr)))
        order = sort_best(values, keys, spec["topgroups"], ordered=False)
        for g in set(range(spec["groups"])) - set(order):
            self.q[g * size:(g + 1) * size] = -INF

    def ranking(self, among=None, length=None):
        """Indices best first, nothing banned; the first `length` are certain."""
        among = [e for e in (range(len(self.q)) if among is None else among) if self.q[e] > -INF]
        order = sort_best([self.q[e] for e in among], [self.keys[e] for e in among],
                          len(among) if length is None else length)
        return [among[i] for i in order]


def sort_best(values, keys, length, ordered=True):
    """The first `length` places by falling value, ties by index. What is decided by a hair is drawn again:
    the order of those that count (ordered), and where the cut falls."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    pairs = range(len(order) - 1) if ordered else [length - 1]
    for i in pairs:
        if not 0 <= i < min(length, len(order) - 1):
            continue
        a, b = order[i], order[i + 1]
        if values[a] == values[b] and keys[a] == keys[b]:
            continue
        demand(values[a] - values[b] > MARGIN or values[a] == values[b] == -INF)
    return order[:length]


# ------------------------------------------------------------------ rules: a row -> ids (and weights of their own)

def rule_topk(spec, row):
    return row.ranking(length=spec["k"])


def rule_topp(spec, row):
    total, taken = 0.0, []
    low, high = spec["kmin"] or 1, spec["kmax"] or row.n
    order = row.ranking(length=high)
    for e in order:
        taken.append(e)
        total += row.s[e]
        if any(row.q[other] == INF for other in order[len(taken):]):
            continue  # forced ones are taken in any case
        whole = spec["score"] in ("softmax", "entmax15") and spec["p"] >= 1
        if not whole:
            demand(abs(total - spec["p"]) > MARGIN)
            if len(taken) >= low and total > spec["p"]:
                break
    return taken


def rule_threshold(spec, row):
    low, high = spec["kmin"] or 1, spec["kmax"] or row.n
    usable = [e for e in range(len(row.q)) if row.q[e] > -INF]
    best = max((row.s[e] for e in usable), default=0)
    taken = []
    for i, e in enumerate(row.ranking()):
        if i >= low and row.q[e] < INF:
            demand(row.s[e] == best or row.s[e] == spec["t"] * best == 0
                   or abs(row.s[e] - spec["t"] * best) > MARGIN)
            if row.s[e] < spec["t"] * best:
                continue
        taken.append(e)
    return taken[:high]


def rule_ranks(spec, row):
    order = row.ranking(length=max(spec["ids"]) + 1)
    return [e for i, e in enumerate(order) if i in spec["ids"]]


def draw(spec, row, purpose, a, b):
    numbers = {}
    for e in range(len(row.q)):
        words = philox([purpose << 16 | e // 4, LAYER, a & 0xFFFFFFFF, b & 0xFFFFFFFF], spec["seed"])
        numbers[e] = INF if row.q[e] == INF else words[e % 4] >> 8
    usable = [e for e in numbers if row.q[e] > -INF]
    return sorted(usable, key=lambda e: (-numbers[e], e))[: spec["k"]]


def rule_random(spec, row):
    return draw(spec, row, 1, row.seq, 0xFFFFFFFF if spec["perseq"] else row.pos)


def rule_hash(spec, row):
    return draw(spec, row, 2, row.token, 0)


def rule_sparsemixer(spec, row):
    """Phi-3.5-MoE: argmax, softmax over those near it; then again without it."""
    limit = 2 * (spec["jitter"] or float(np.float32(0.01)))
    left = row.ranking()[:]
    chosen, weights = [], []
    order = row.ranking(length=spec["k"])
    for a in order:
        total = 0.0
        for j in left:
            size = max(abs(row.z[j]), row.z[a])
            if size != 0:
                apart = (row.z[a] - row.z[j]) / size
                demand(abs(apart - limit) > MARGIN)
                if apart > limit:
                    continue
            total += math.exp(row.z[j] - row.z[a])
        chosen.append(a)
        weights.append(1 / total)
        left.remove(a)
    return chosen, weights


def rule_table(spec, row):
    line = spec["ids"][row.token * spec["k"]:(row.token + 1) * spec["k"]]
    return [e for e in line if e is not None and row.q[e] > -INF]


def rule_all(spec, row):
    return row.ranking(among=range(row.n))


def rule_fixed(spec, row):
    return row.ranking(among=spec["ids"] or range(row.n))


RULES = {"topk": rule_topk, "topp": rule_topp, "threshold": rule_threshold, "ranks": rule_ranks,
         "random": rule_random, "sparsemixer": rule_sparsemixer, "hash": rule_hash, "table": rule_table,
         "all": rule_all, "fixed": rule_fixed}


def expert_choice(spec, rows):
    """Zhou et al. 2022: every expert takes the rows that score highest for it."""
    n = rows[0].n
    parties = {}
    for t, row in enumerate(rows):
        parties.setdefault(row.seq if spec["perseq"] else 0, []).append(t)
    taken = [[] for _ in rows]
    for members in parties.values():
        places = min(len(members), max(1, int(spec["c"] * len(members) / n)))
        for e in range(n):
            usable = [t for t in members if rows[t].q[e] > -INF]
            # a softmax of another row is another sum: only what is exact may tie
            alone = spec["score"] in ("sigmoid", "sqrtsoftplus")
            keys = [rows[t].keys[e] if alone or rows[t].keys[e][0] == "x" else (t, rows[t].keys[e])
                    for t in usable]
            for i in sort_best([rows[t].q[e] for t in usable], keys, places, ordered=False):
                taken[usable[i]].append(e)
    return [rows[t].ranking(among=sorted(taken[t])) for t in range(len(rows))]


# ------------------------------------------------------------------ weights

def first_weights(spec, row, ids, made):
    real = [e for e in ids if e < row.n]
    w = dict.fromkeys(ids, 0.0)
    kind = spec["weight"]
    if kind == "rule":
        return made
    if kind == "selected" and real:
        z = np.array([row.z[e] for e in real])
        total = np.exp(z - z.max()).sum()
        w.update({e: math.exp(row.z[e] - z.max()) / total for e in real})
    elif kind == "sigmoid":
        w.update({e: 1 / (1 + math.exp(-row.z[e])) for e in real})
    elif kind == "one":
        w.update({e: 1.0 for e in real})
    elif kind in ("raw", "sum"):
        w.update({e: row.s[e] for e in real})
    return [w[e] for e in ids]


def norm(spec, w):
    """Over real experts; what weighs nothing in all stays nothing."""
    kind = "sum" if spec["weight"] == "sum" else spec["norm"]
    w = np.array(w, float)
    if kind == "none" or not w.any():
        return w
    if kind == "p":
        return w / (np.abs(w) ** spec["normp"]).sum() ** (1 / spec["normp"])
    total = w.sum()
    demand(abs(total) > 0.2 * np.abs(w).sum())  # no cancellation
    if kind == "clamp":
        demand(abs(total - spec["eps"]) > MARGIN and max(total, spec["eps"]) > 0)
        return w / max(total, spec["eps"])
    demand(abs(total + spec["eps"]) > 0.2 * np.abs(w).sum())
    return w / (total + spec["eps"])


def factors(case, kind, ids, n):
    values = case["values"].get(kind)
    return np.array([values[e] / UNIT if values and e < n else 1.0 for e in ids])


def drop(case, ids, w):
    use, n = case["use"], case["n"]
    if not use:
        return w
    w = np.array([0.0 if e < n and use[e] == DROP else x for e, x in zip(ids, w)])
    gone = np.array([e < n and use[e] == DROP_RENORM for e in ids], bool)
    if not gone.any():
        return w
    before, after = w.sum(), w[~gone].sum()
    w[gone] = 0
    if not w.any():
        return w
    demand(abs(after) > 0.1 * np.abs(w).sum() and abs(before) < 20 * abs(after))
    return w * (before / after) if after > 0 else w


def capacity(spec, n, ids, weights):
    """Places in order; pairs of real experts only. Returns the weights after dropping."""
    n_rows = len(ids)
    places = spec["capacity"] * spec["k"] * n_rows / n
    places = {"floor": math.floor, "ceil": math.ceil,
              "even": lambda x: math.floor(x) + math.floor(x) % 2}[spec["capround"]](places)
    places = max(places, spec["capmin"])
    pairs, number = [], 0
    for t in range(n_rows):
        for rank, e in enumerate(ids[t]):
            pairs.append((t, rank, number, e, weights[t][rank]))
            number += 1

    def order(pair):
        t, rank, number, e, w = pair
        by = {"position": 0, "prob": -w, "random": 0}[spec["caporder"]]
        if spec["caporder"] == "random":
            by = -philox([3 << 16, LAYER, number, 0], spec["seed"])[0]
        return (rank if spec["choicemajor"] else 0, by, number)

    waiting = {}
    for pair in sorted(pairs, key=order):
        if pair[3] < n:
            waiting.setdefault(pair[3], []).append(pair)
    out = [np.array(w, float) for w in weights]
    for queue in waiting.values():
        if spec["caporder"] == "prob":
            for a, b in zip(queue, queue[1:]):
                if not spec["choicemajor"] or a[1] == b[1]:
                    demand(a[4] - b[4] > MARGIN or (a[4] == b[4] == 0))
        for t, rank, _, _, _ in queue[places:]:
            out[t][rank] = 0
    return out


def route(case):
    """Ids (None: a null expert) and weights of every row."""
    spec, n = case["spec"], case["n"]
    rows = [Row(case, t) for t in range(len(case["rows"]))]
    made = [None] * len(rows)
    if spec["rule"] == "expertchoice":
        ids = expert_choice(spec, rows)
    else:
        ids = [RULES[spec["rule"]](spec, row) for row in rows]
        if spec["rule"] == "sparsemixer":
            made = [m for _, m in ids]
            ids = [i for i, _ in ids]
    weights = [np.array(first_weights(spec, row, i, m), float) * factors(case, PRE, i, n)
               for row, i, m in zip(rows, ids, made)]
    weights = [np.where(np.array(i, int) < n, w, 0) if i else w for i, w in zip(ids, weights)]
    first = spec["capacity"] and spec["dropfirst"]
    if first:
        weights = capacity(spec, n, ids, weights)
    weights = [drop(case, i, norm(spec, w) * (spec["scale"] or 1) * factors(case, POST, i, n))
               for i, w in zip(ids, weights)]
    if spec["capacity"] and not first:
        weights = capacity(spec, n, ids, weights)
    for w in weights:
        demand(np.isfinite(w).all() and (np.abs(w) < 1e4).all())
    return [([None if e >= n else e for e in i], w) for i, w in zip(ids, weights)]


def demand_stable(result, other):
    """Rounding of logits and scores to single precision must not show: some norms and entmax magnify it."""
    for (ids, w), (other_ids, other_w) in zip(result, other):
        demand(ids == other_ids)
        demand((np.abs(w - other_w) <= MARGIN / 2 * np.maximum(1, np.abs(w))).all())
