#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/unit/data/sampler.txt: what each sampling stage must do, computed in NumPy from the papers' formulas.

Every stage is written here a second time, in the most direct way (sort everything, compare everything), and shares
nothing with the C code but the definitions in docs/sampling.md. Random numbers come from Philox4x32-10, also written
here from its paper.

    python3 tools/make_sampler_vectors.py > tests/unit/data/sampler.txt

Lines of a case: `case` stages as moe_sampler_add_named() reads them; `history` tokens accepted before; `logits` of
tokens 0, 1, 2 ...; then `keep` (token:logit pairs that are left, by token) or `picks` (tokens of successive picks,
each accepted).
"""
import math

import numpy as np

RNG = np.random.default_rng(20240607)
LN2 = math.log(2.0)


# ---------------------------------------------------------------- Philox4x32-10 (Salmon et al. 2011)

def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Stream:
    """Draws of one random stage: block i of its stream, two words, the upper 53 bits as a fraction."""

    def __init__(self, seed, stream):
        self.seed, self.stream, self.i = seed, stream, 0

    def unit(self):
        words = philox([self.i & 0xFFFFFFFF, self.i >> 32, self.stream & 0xFFFFFFFF, self.stream >> 32],
                       [self.seed & 0xFFFFFFFF, self.seed >> 32])
        self.i += 1
        return ((words[1] << 32 | words[0]) >> 11) * 2.0 ** -53


# ---------------------------------------------------------------- stages: (ids, logits) -> (ids, logits)

def softmax(x):
    w = np.exp(x - x.max())
    return w / w.sum()


def best_first(ids, x):
    return np.lexsort((ids, -x))


def keep_at_least(ids, x, mask, n):
    """The masked ones, or the best n where those are fewer."""
    if mask.sum() < n:
        mask = np.zeros(len(x), bool)
        mask[best_first(ids, x)[:n]] = True
    return ids[mask], x[mask]


def top_k(ids, x, o, **_):
    k = int(o.get("k", 40))
    pick = best_first(ids, x)[:k] if k else np.arange(len(x))
    return ids[pick], x[pick]


def top_p(ids, x, o, **_):
    p = o.get("p", 0.95)
    order = best_first(ids, x)
    cum = np.cumsum(softmax(x)[order])
    n = len(x) if p >= 1 else int(np.argmax(cum >= p)) + 1 if (cum >= p).any() else len(x)
    pick = order[:max(n, int(o.get("keep", 1)))]
    return ids[pick], x[pick]


def min_p(ids, x, o, **_):
    prob = softmax(x)
    return keep_at_least(ids, x, prob >= o.get("p", 0.05) * prob.max(), int(o.get("keep", 1)))


def typical(ids, x, o, **_):
    p = o.get("p", 0.95)
    prob = softmax(x)
    logp = x - x.max() - np.log(np.exp(x - x.max()).sum())
    entropy = -(prob * logp).sum()
    order = np.lexsort((ids, np.abs(-logp - entropy)))
    cum = np.cumsum(prob[order])
    n = len(x) if p >= 1 or not (cum >= p).any() else int(np.argmax(cum >= p)) + 1
    pick = order[:max(n, int(o.get("keep", 1)))]
    pick = pick[best_first(ids[pick], x[pick])]
    return ids[pick], x[pick]


def top_n_sigma(ids, x, o, **_):
    return keep_at_least(ids, x, x >= x.max() - o.get("n", 1.0) * x.std(), 1)


def xtc(ids, x, o, rng, **_):
    hit = rng.unit() < o.get("p", 0.5)
    above = np.flatnonzero(softmax(x) >= o.get("t", 0.1))
    if not hit or len(above) < 2 or len(x) - (len(above) - 1) < o.get("keep", 1):
        return ids, x
    gone = above[best_first(ids[above], x[above])][:-1]
    mask = np.ones(len(x), bool)
    mask[gone] = False
    return ids[mask], x[mask]


def greedy_only(ids, x):
    i = best_first(ids, x)[:1]
    return ids[i], x[i]


def temp(ids, x, o, **_):
    t = o.get("t", 0.8)
    return greedy_only(ids, x) if t < 1e-5 else (ids, x / t)


def temp_dynamic(ids, x, o, **_):
    mid, spread, exponent = o.get("t", 0.8), o.get("range", 0.5), o.get("exp", 1.0)
    low, high = max(0.0, mid - spread), mid + spread
    share = 0.0
    if len(x) > 1:
        prob = softmax(x)
        share = -(prob * np.log(prob)).sum() / math.log(len(x))
    t = low + (high - low) * share ** exponent
    return greedy_only(ids, x) if t < 1e-5 else (ids, x / t)


def window(history, n):
    return history if n < 0 else history[-n:]


def penalties(ids, x, o, history, **_):
    seen = window(history, int(o.get("last", 64)))
    x = x.copy()
    for i, token in enumerate(ids):
        n = seen.count(token)
        if n:
            x[i] = x[i] / o.get("repeat", 1.0) if x[i] > 0 else x[i] * o.get("repeat", 1.0)
            x[i] -= n * o.get("freq", 0.0) + o.get("present", 0.0)
    return ids, x


def dry(ids, x, o, history, **_):
    h = window(history, int(o.get("last", -1)))
    breakers = o.get("ids", [])
    allowed = int(o.get("allowed", 2))
    longest = {}
    for end in range(1, len(h)):  # h[:end] is followed by h[end]
        n = 0
        while n < end and h[end - 1 - n] == h[-1 - n] and h[-1 - n] not in breakers:
            n += 1
        if h[end] not in breakers:
            longest[h[end]] = max(longest.get(h[end], 0), n)
    x = x.copy()
    for i, token in enumerate(ids):
        n = longest.get(int(token), 0)
        if n >= allowed:
            x[i] -= o.get("mult", 0.8) * o.get("base", 1.75) ** (n - allowed)
    return ids, x


def logit_bias(ids, x, o, **_):
    x = x + np.array([o["bias"].get(int(t), 0.0) for t in ids])
    return ids[x > -np.inf], x[x > -np.inf]


def draw(x, rng):
    prob = np.exp(x - x.max())
    return int(np.argmax(np.cumsum(prob) > rng.unit() * prob.sum()))


class Mirostat:
    """Version 2: cut at mu bits of surprise, draw, move mu by eta times the error (Basu et al. 2021, algorithm 2)."""

    def __init__(self, o):
        self.tau, self.eta = o.get("tau", 5.0), o.get("eta", 0.1)
        self.mu = 2 * self.tau

    def pick(self, ids, x, rng):
        surprise = -np.log2(softmax(x))
        mask = surprise <= self.mu
        mask[best_first(ids, x)[0]] = True
        ids, x = ids[mask], x[mask]
        i = draw(x, rng)
        self.mu -= self.eta * (-math.log2(softmax(x)[i]) - self.tau)
        return int(ids[i])


FILTERS = {"top-k": top_k, "top-p": top_p, "min-p": min_p, "typical": typical, "top-n-sigma": top_n_sigma, "xtc": xtc,
           "temp": temp, "temp-dynamic": temp_dynamic, "penalties": penalties, "dry": dry, "logit-bias": logit_bias}
RANDOM = ("dist", "xtc", "mirostat")


# ---------------------------------------------------------------- the chain

def parse(text):
    """[(name, options)] of a text such as "top-k:k=3;dist:seed=7"."""
    out = []
    for stage in text.split(";"):
        name, _, items = stage.partition(":")
        o = {}
        for item in filter(None, items.split(",")):
            key, _, value = item.partition("=")
            if name == "logit-bias" and key != "seed":
                o.setdefault("bias", {})[int(key)] = float(np.float32(value))
            elif key == "ids":
                o["ids"] = [int(v) for v in value.split("+")]
            else:  # parameters are stored as f32
                o[key] = int(value) if key == "seed" else float(np.float32(value))
        out.append((name, o))
    return out


# Standard values that f32 rounds.
STANDARD = {("top-p", "p"): 0.95, ("min-p", "p"): 0.05, ("typical", "p"): 0.95, ("xtc", "t"): 0.1, ("temp", "t"): 0.8,
            ("temp-dynamic", "t"): 0.8, ("dry", "mult"): 0.8, ("mirostat", "eta"): 0.1}


class Chain:
    def __init__(self, text):
        self.stages = parse(text)
        self.history = []
        n = 0
        for name, o in self.stages:
            for (stage, key), value in STANDARD.items():
                if stage == name:
                    o.setdefault(key, float(np.float32(value)))
            if name in RANDOM:
                o["rng"] = Stream(o.get("seed", 0), n)
                n += 1
            if name == "mirostat":
                o["state"] = Mirostat(o)

    def run(self, logits):
        """(ids, logits, picked id or None); logits are rounded to f32 after each stage."""
        ids, x = np.arange(len(logits)), logits.astype(np.float64)
        for name, o in self.stages:
            if name == "greedy":
                return ids, x, int(greedy_only(ids, x)[0][0])
            if name == "dist":
                return ids, x, int(ids[draw(x, o["rng"])])
            if name == "mirostat":
                return ids, x, o["state"].pick(ids, x, o["rng"])
            ids, x = FILTERS[name](ids, x, o, history=self.history, rng=o.get("rng"))
            x = x.astype(np.float32).astype(np.float64)
        return ids, x, None


# ---------------------------------------------------------------- cases

def number(x):
    return "%.9g" % np.float32(x)


def row(n, spread=2.0):
    return (RNG.standard_normal(n) * spread).astype(np.float32).round(4)


def emit(text, logits, history=(), n_picks=0):
    chain = Chain(text)
    chain.history = [int(t) for t in history]
    print("case", text)
    if chain.history:
        print("history", *chain.history)
    print("logits", *[number(v) for v in logits])
    if n_picks == 0:
        ids, x, _ = chain.run(logits)
        order = np.argsort(ids)
        print("keep", *["%d:%.9g" % (ids[i], x[i]) for i in order])
    else:
        picks = []
        for _ in range(n_picks):
            picks.append(chain.run(logits)[2])
            chain.history.append(picks[-1])
        print("picks", *picks)
    print()


def main():
    print("# SPDX-License-Identifier: MIT")
    print("# Written by tools/make_sampler_vectors.py; do not edit.\n")
    ties = np.array([1, 3, 3, 2, 3, -1, 0, 2], np.float32)
    for spec in ("top-k:k=1", "top-k:k=2", "top-k:k=4", "top-k:k=0", "top-k:k=100", "top-p:p=0.5", "min-p:p=1",
                 "typical:p=0.5", "temp:t=0", "top-n-sigma:n=0", "xtc:p=1,t=0.2"):
        emit(spec, ties)
    for n in (2, 17, 40):
        x = row(n)
        for spec in ("top-k:k=3", "top-p", "top-p:p=0.3", "top-p:p=0", "top-p:p=1", "top-p:p=0.2,keep=5", "min-p",
                     "min-p:p=0.3", "min-p:p=0.9,keep=4", "min-p:p=0", "typical", "typical:p=0.2", "typical:p=0.6",
                     "typical:p=0.1,keep=6", "top-n-sigma", "top-n-sigma:n=0.5", "top-n-sigma:n=2.5", "xtc:p=1",
                     "xtc:p=1,t=0.02", "xtc:p=1,t=0.02,keep=15", "xtc:p=0", "temp", "temp:t=1.7", "temp-dynamic",
                     "temp-dynamic:t=1,range=0.9,exp=2.5", "temp-dynamic:t=0.5,range=0.5", "logit-bias:0=-inf,1=2.5"):
            emit(spec, x)
    talk = RNG.integers(0, 12, 90)
    for spec in ("penalties:repeat=1.3", "penalties:repeat=1.3,last=5", "penalties:freq=0.4,last=-1",
                 "penalties:present=0.7,last=9", "penalties:repeat=0.8,freq=-0.2,present=1.5,last=20"):
        emit(spec, row(14), talk)
    for spec in ("dry", "dry:allowed=1", "dry:mult=1.5,base=2,allowed=3", "dry:last=6", "dry:ids=3", "dry:ids=3+7,allowed=1",
                 "dry:allowed=1,last=2"):
        emit(spec, row(10), [1, 2, 3, 4, 9, 1, 2, 3, 5, 7, 1, 2, 3, 4, 8, 1, 2, 3])
        emit(spec, row(10), [5] * 7)
        emit(spec, row(4), RNG.integers(0, 3, 40))
        emit(spec, row(3), RNG.integers(0, 2, 64))
    for spec in ("dist", "dist:seed=7", "temp:t=0.7;dist:seed=18446744073709551615", "top-k:k=5;top-p:p=0.9;temp;dist:seed=3",
                 "xtc:p=0.5,t=0.05,seed=11;dist:seed=11", "mirostat", "mirostat:tau=2,eta=0.3,seed=5",
                 "mirostat:tau=0.5,eta=1,seed=9", "penalties:repeat=1.5,freq=0.3,last=8;dist:seed=4", "dry:allowed=1;greedy",
                 "penalties:freq=0.5,last=12;greedy", "min-p;typical:p=0.9;temp-dynamic;dist:seed=21"):
        emit(spec, row(24), n_picks=40)
    emit("top-n-sigma:n=1.1", np.array([2, 1, 0], np.float32))  # 1 is out only by the population's deviation
    for spec in ("dry:ids=4", "dry:ids=4+5,allowed=1", "dry:ids=2,allowed=1", "dry:ids=1,allowed=1", "dry:ids=8+9",
                 "dry:ids=5,allowed=3"):
        emit(spec, row(10), [1, 2, 3, 4, 9, 1, 2, 3, 5, 7, 1, 2, 3, 4, 8, 1, 2, 3])
        emit(spec, row(6), RNG.integers(0, 6, 60))


if __name__ == "__main__":
    main()
