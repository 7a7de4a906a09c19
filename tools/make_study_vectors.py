#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the data of tests/unit/test_profile.c and test_analysis.c.

    make_study_vectors.py vectors > tests/unit/data/study.txt
    make_study_vectors.py trace FILE.jsonl N_EXPERTS OUT.trace

`vectors` draws a routing of 5 layers, three of them with routers, by a rule that tests/unit/study_case.h has a second
time, and computes profile and analysis numbers from their definitions in docs/studying-routing.md, in the most direct
way (sets, all windows, one cache at a time). It shares nothing with the C code but Philox4x32-10 and those texts.
Lines: a name, then numbers. `trace` turns JSON lines {"tok": position, "layers": [[experts], ...]} into a trace file
(docs/formats/trace.md)."""
import json
import struct
import sys

import numpy as np

N_LAYERS, ROUTERS, N, N_TOKENS, N_CLASSES, VOCAB, N_POS, TRACKED = 5, [1, 2, 4], 12, 120, 3, 20, 30, 15
MARKED = {3: 2, 11: 1}  # tokens that are of a class wherever they come


# ---------------------------------------------------------------- the case

def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Draw:
    def __init__(self, seed):
        self.seed, self.i = seed, 0

    def __call__(self, n):
        w = philox([self.i & 0xFFFFFFFF, self.i >> 32, 0, 0], [self.seed & 0xFFFFFFFF, self.seed >> 32])
        self.i += 1
        return (w[1] << 32 | w[0]) % n


def make_case():
    """Tokens with request, position, class of their prompt, and per router ids (-1: null), weights, logits."""
    draw, tokens, pos = Draw(7), [], [0, 0, 0]
    for t in range(N_TOKENS):
        request = draw(3)
        token = {"request": request, "pos": pos[request], "id": draw(VOCAB), "cls": t * N_CLASSES // N_TOKENS, "rows": []}
        pos[request] += 1
        for r in range(len(ROUTERS)):
            k = 3 if r == 0 else draw(6)
            ids, weights = [], []
            while len(ids) < k:
                e = min(draw(N), draw(N))
                if e in ids:
                    continue
                ids.append(e)
                weights.append(draw(1024) / 1024 if draw(10) else 0.0)
            for j in range(k):
                if draw(8) == 0:
                    ids[j] = -1
            logits = [(draw(512) - 256) / 64 for _ in range(N)]
            token["rows"].append((ids, weights, logits))
        tokens.append(token)
    batches, first = [], 0
    while first < N_TOKENS:
        n = min(1 + draw(7), 40 - first % 40)  # prompts of 40 tokens
        batches.append((first, first + n))
        first += n
    return tokens, batches


def put(name, *values):
    print(name, *[repr(float(v)) for v in values])


# ---------------------------------------------------------------- profile

def softmax(z):
    z = np.asarray(z, np.float64)
    p = np.exp(z - z.max())
    return p / p.sum()


def npmi(both, expert, cls, n):
    if both == 0:
        return -1.0
    if both == n:
        return 0.0
    pmi = np.log2((both / cls) / (expert / n))
    return pmi / -np.log2(both / n)


def entropy(p):
    p = np.asarray(p, np.float64)
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def profile(tokens, batches, r):
    name = "r%d." % r
    cls = [MARKED.get(t["id"], t["cls"]) for t in tokens]
    count, weight, top1 = np.zeros(N), np.zeros(N), np.zeros(N)
    class_count, class_weight = np.zeros((N_CLASSES, N)), np.zeros((N_CLASSES, N))
    hist, drops, pairs = np.zeros(N + 1), np.zeros(N_POS), np.zeros((N, N))
    nulls = dropped = 0
    tracked = []
    for t in tokens:
        if t["id"] not in tracked and len(tracked) < TRACKED:
            tracked.append(t["id"])
    table = np.zeros((len(tracked), N))
    for t, c in zip(tokens, cls):
        ids, weights, _ = t["rows"][r]
        real = [e for e in ids if e >= 0]
        nulls += len(ids) - len(real)
        if real:
            top1[real[0]] += 1
        for e, w in zip(ids, weights):
            if e < 0:
                continue
            count[e] += 1
            weight[e] += w
            class_count[c, e] += 1
            class_weight[c, e] += w
            if t["id"] in tracked:
                table[tracked.index(t["id"]), e] += 1
            if w == 0:
                dropped += 1
                if t["pos"] < N_POS:
                    drops[t["pos"]] += 1
        hist[sum(1 for e, w in zip(ids, weights) if e >= 0 and w != 0)] += 1
        for a in real:
            for b in real:
                pairs[a, b] += 1
    prob = np.array([softmax(t["rows"][r][2]) for t in tokens])
    lbl = []
    for a, b in batches:
        f = np.zeros(N)
        for t in tokens[a:b]:
            for e in t["rows"][r][0]:
                if e >= 0:
                    f[e] += 1
        if f.sum():
            lbl.append(N * (f / f.sum() * prob[a:b].mean(axis=0)).sum())
    joint = table / table.sum()
    mi = entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint.ravel())
    put(name + "router", N_TOKENS, count.sum(), nulls, dropped, len(batches), np.mean([entropy(p) for p in prob]),
        prob.max(axis=1).mean(), (hist * np.arange(N + 1)).sum() / N_TOKENS, np.mean(lbl),
        N * (count / count.sum() * prob.mean(axis=0)).sum(), mi, entropy(joint.sum(axis=0)))
    class_tokens = np.array([cls.count(c) for c in range(N_CLASSES)])
    for key, value in (("count", count), ("weight", weight), ("prob", prob.sum(axis=0)), ("top1", top1),
                       ("together", pairs.ravel()), ("k", hist), ("class_count", class_count.ravel()),
                       ("class_weight", class_weight.ravel()), ("class_tokens", class_tokens), ("drops", drops)):
        put(name + key, *value)
    table = [[npmi(class_count[c, e], count[e], class_tokens[c], N_TOKENS) if count[e] else 0.0 for e in range(N)]
             for c in range(N_CLASSES)]
    put(name + "npmi", *np.ravel(table))
    return class_count, class_tokens, table, count


def ranks(per_router, prompts):
    """The best five by each rule for class 1: layer, expert, value; against class 0, and against all others."""
    for key in ("npmi", "diff", "rate"):
        for other in ([0] if key == "npmi" else [0, None]):
            found = []
            for r, (cc, ct, table, count) in enumerate(per_router):
                rest = [c for c in range(N_CLASSES) if (c != 1 if other is None else c == other)]
                for e in range(N):
                    if count[e] == 0:
                        continue
                    if key == "npmi":
                        v = table[1][e]
                    else:
                        by = prompts if key == "diff" else ct
                        v = cc[1, e] / by[1] - sum(cc[c, e] for c in rest) / sum(by[c] for c in rest)
                    found.append((-v, ROUTERS[r], e))
            found.sort()
            put("rank.%s.%s" % (key, "all" if other is None else other), len(found),
                *[x for v, layer, e in found[:5] for x in (layer, e, -v)])


# ---------------------------------------------------------------- analysis

def uses(tokens, r):
    return [[e for e, w in zip(*t["rows"][r][:2]) if e >= 0 and w != 0] for t in tokens]


def reuse(tokens, u):
    same = total = 0
    last = {}
    for t, s in zip(tokens, u):
        if t["request"] in last:
            same += len(set(s) & set(last[t["request"]]))
            total += len(s)
        last[t["request"]] = s
    return same / total


def windows(tokens, u, m):
    """n[window][expert] of all windows of all requests."""
    out = []
    for request in range(3):
        rows = [s for t, s in zip(tokens, u) if t["request"] == request]
        for i in range(len(rows) - m + 1):
            out.append([sum(e in s for s in rows[i:i + m]) for e in range(N)])
    return np.array(out)


def best_f1(n, m):
    best, size = -1.0, 0.0
    for t in range(1, m + 1):
        f = 2 * n[n >= t].sum() / (m * (n >= t).sum() + n.sum())
        if f > best:
            best, size = f, m * (n >= t).sum() / n.sum()
    return best, size


def srp(tokens, use, m, level):
    w = [windows(tokens, u, m) for u in use]
    if level == 3:
        parts = [np.concatenate([x.ravel() for x in w])]
    elif level == 2:
        parts = [x.ravel() for x in w]
    else:
        parts = [x[:, e] for x in w for e in range(N)]
    scores = [best_f1(p, m) for p in parts if p.sum()]
    return np.mean([s[0] for s in scores]), np.mean([s[1] for s in scores])


def cache(steps, policy, c, m, per_token, warm):
    """steps: uses of one token in one layer; ids are unique over layers. per_token: steps of a token."""
    cached, count, last, seen, hits, total, stamp = set(), {}, {}, set(), 0, 0, 0

    def worth(e, i):
        if policy == "lru":
            return (last[e],)
        if policy == "lfu":
            return (count[e], last[e])
        if policy == "belady":
            later = [j for j in range(i + 1, len(steps)) if e in steps[j]]
            return (-(later[0] if later else len(steps)), last[e])
        end = (i // per_token + m) * per_token
        return (sum(e in steps[j] for j in range(i + 1, min(end, len(steps)))), last[e])

    for i, g in enumerate(steps):
        for e in g:
            total += 1
            if e in cached or (warm and e not in seen and len(seen) < c):
                hits += 1
            seen.add(e)
        rest = cached - set(g)
        while rest and len(rest) + len(g) > c:
            rest.remove(min(rest, key=lambda e: worth(e, i)))
        for e in g:
            stamp += 1
            last[e], count[e] = stamp, count.get(e, 0) + 1
        cached = rest | set(g)
        while len(cached) > c:
            cached.remove(min(cached, key=lambda e: worth(e, i)))
    return hits / total


def analysis(tokens):
    use = [uses(tokens, r) for r in range(len(ROUTERS))]
    each = [reuse(tokens, u) for u in use]
    put("reuse", *each, np.mean(each))
    for m in (1, 2, 5, 16):
        for level in (1, 2, 3):
            for key, which in (("0", use[:1]), ("1", use[1:2]), ("all", use)):
                put("srp.%d.%d.%s" % (m, level, key), *srp(tokens, which, m, level))
    for key, which, sizes in (("0", [0], (1, 2, 3, 4, 8, 12, 20)), ("2", [2], (1, 3, 5, 9)),
                              ("all", [0, 1, 2], (1, 3, 8, 14, 20, 36))):
        steps = [[e + N * r for e in use[r][t]] for t in range(N_TOKENS) for r in which]
        for warm in (0, 1):
            for policy in ("lru", "lfu", "belady"):
                put("cache.%s.%s.%d" % (policy, key, warm),
                    *[cache(steps, policy, c, 0, len(which), warm) for c in sizes])
        for m in (1, 4, 50):
            put("cache.sch%d.%s" % (m, key), *[cache(steps, "sch", c, m, len(which), 1) for c in sizes])


def write_vectors():
    print("# SPDX-License-Identifier: MIT\n# Written by tools/make_study_vectors.py; do not edit.")
    tokens, batches = make_case()
    per_router = [profile(tokens, batches, r) for r in range(len(ROUTERS))]
    ranks(per_router, [1, 1, 2])  # the test begins class 2 twice
    analysis(tokens)


# ---------------------------------------------------------------- trace files

def xxh64(data):
    mask, (p1, p2, p3, p4, p5) = (1 << 64) - 1, (11400714785074694791, 14029467366897019727, 1609587929392839161,
                                                 9650029242287828579, 2870177450012600261)

    def rotl(x, n):
        return (x << n | x >> (64 - n)) & mask

    def mix(lane, x):
        return rotl((lane + x * p2) & mask, 31) * p1 & mask

    lanes, i = [(p1 + p2) & mask, p2, 0, -p1 & mask], 0
    while len(data) - i >= 32:
        lanes = [mix(v, w) for v, w in zip(lanes, struct.unpack_from("<4Q", data, i))]
        i += 32
    h = p5
    if len(data) >= 32:
        h = sum(rotl(v, n) for v, n in zip(lanes, (1, 7, 12, 18))) & mask
        for v in lanes:
            h = ((h ^ mix(0, v)) * p1 + p4) & mask
    h = (h + len(data)) & mask
    for i in range(i, len(data) - 7, 8):
        h = (rotl(h ^ mix(0, struct.unpack_from("<Q", data, i)[0]), 27) * p1 + p4) & mask
    i = len(data) - len(data) % 8
    if len(data) - i >= 4:
        h = (rotl(h ^ struct.unpack_from("<I", data, i)[0] * p1 & mask, 23) * p2 + p3) & mask
        i += 4
    for b in data[i:]:
        h = rotl(h ^ b * p5 & mask, 11) * p1 & mask
    h = (h ^ h >> 33) * p2 & mask
    h = (h ^ h >> 29) * p3 & mask
    return h ^ h >> 32


def write_trace(source, n_experts, path):
    with open(source, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    n_layers, k = len(rows[0]["layers"]), len(rows[0]["layers"][0])
    if any(len(r["layers"]) != n_layers or any(len(ids) != k for ids in r["layers"]) for r in rows):
        raise ValueError("rows of different shapes")
    out = b"MOETRAC\n" + struct.pack("<QIIIIQ", 0, 1, 0, n_layers, n_experts, len(rows))
    for layer in range(n_layers):
        out += struct.pack("<II", layer, k)
    out += bytes(4 * len(rows)) + b"".join(struct.pack("<i", r["tok"]) for r in rows) + b"\xff" * (4 * len(rows))
    for layer in range(n_layers):
        for r in rows:
            out += struct.pack("<%d%s" % (k, "B" if n_experts <= 256 else "H"), *r["layers"][layer])
    with open(path, "wb") as f:
        f.write(out + struct.pack("<Q", xxh64(out)))


if __name__ == "__main__":
    if sys.argv[1:] == ["vectors"]:
        write_vectors()
    elif len(sys.argv) == 5 and sys.argv[1] == "trace":
        write_trace(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        sys.exit(__doc__)
