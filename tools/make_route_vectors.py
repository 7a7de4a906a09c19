#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random cases for routers, and what reference_routing.py says to them.

    make_route_vectors.py > tests/unit/data/route.vec         a few thousand random cases (fixed seed)
    make_route_vectors.py --check PROGRAM --cases 40000       many more, straight into the C test

Every case draws a router (scores, rule, weights, norm, groups, null experts, temperature, capacity), steering
(biases, bans, forces, drops, factors, limits, overrides) and some rows, and says which experts with which
weights come out. A case that is decided by less than 1e-6 or whose weights magnify rounding is drawn again.

Lines of a case, numbers in 1/1024 unless they are counts, ids or weights:
    C n_experts n_null_of_the_model n_rows recipe
    B kind value...         kind: MOE_EDIT_*, or 11 and 12 for the model's own logit and selection biases
    U use...                one digit per expert, MOE_USE_*
    S seq id...             limit of a sequence
    O kind seq first last value...      override
    L token pos seq value...            one row of logits
    R id:weight...          what comes out for that row; "-" is a null expert
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)

from reference_routing import (BAN, BAN_SCORED, DROP, DROP_RENORM, FORCE, FREE, HONOUR_FORCE, LOGIT_BIAS,
                               MODEL_LOGIT, MODEL_SELECT, N_SEQ, N_TOKENS, POST, PRE, SELECT_BIAS, UNIT, Redraw,
                               demand_stable, route)

# ------------------------------------------------------------------ drawing cases

def single(x):
    """Rounded to single precision, as the C side reads it."""
    return float(np.float32(x))


class Draw:
    def __init__(self, seed):
        self.g = np.random.default_rng(seed)

    def chance(self, p):
        return self.g.random() < p

    def whole(self, low, high):
        return int(self.g.integers(low, high + 1))

    def one_of(self, options):
        return options[self.whole(0, len(options) - 1)]

    def numbers(self, n, size, coarse):
        """Multiples of 1/1024 up to `size`; coarse: of which many are equal."""
        if coarse:
            return [self.whole(-2, 2) * UNIT // 2 for _ in range(n)]
        return [self.whole(-int(size * UNIT), int(size * UNIT)) for _ in range(n)]

    def subset(self, n, low, high):
        return sorted(self.g.permutation(n)[: self.whole(low, high)].tolist())

    def spec(self, n, native_null):
        rule = self.one_of(["topk"] * 6 + ["topp"] * 3 + ["threshold"] * 3 + ["expertchoice"] * 2 + [
            "ranks", "random", "sparsemixer", "hash", "table", "all", "fixed"])
        parts = ("softmax", "sigmoid", "sqrtsoftplus", "entmax15")
        s = {"rule": rule, "k": self.whole(1, min(n, 8)), "null": native_null, "nullbias": 0.0, "ids": None}
        for key in ("p", "t", "kmin", "kmax", "jitter", "c", "perseq", "seed", "temp", "eps", "normp", "scale",
                    "groups", "topgroups", "capacity", "capmin", "choicemajor", "dropfirst"):
            s[key] = 0
        s.update(norm="none", groupscore="max", capround="floor", caporder="position")
        s["score"] = self.one_of(parts if rule in ("topp", "threshold") else parts + ("identity",))
        kinds = ["raw", "sum", "selected", "sigmoid", "one"]
        s["weight"] = "rule" if rule == "sparsemixer" else self.one_of(kinds)
        self.rule_keys(s, n)
        if rule != "expertchoice" and self.chance(0.25):
            s["null"] = min(n, native_null + self.whole(1, 3))
            s["nullbias"] = single(self.whole(-UNIT, 2 * UNIT) / UNIT) if s["null"] > native_null else 0.0
        if rule == "table":  # null experts may stand in it
            s["ids"] = [None if self.chance(0.1) else self.whole(0, n + s["null"] - 1)
                        for _ in range(N_TOKENS * s["k"])]
            for t in range(N_TOKENS):  # the model in NumPy keeps weights by id: no expert twice
                line = s["ids"][t * s["k"]:(t + 1) * s["k"]]
                line = [e if line.index(e) == i else None for i, e in enumerate(line)]
                s["ids"][t * s["k"]:(t + 1) * s["k"]] = line
        if s["weight"] != "sum":
            s["norm"] = self.one_of(["none", "none", "sum", "clamp", "p"])
        if s["norm"] == "p":
            s["normp"] = self.one_of([1.0, 2.0, 3.0, 0.5])
        elif s["weight"] == "sum" or s["norm"] in ("sum", "clamp"):
            s["eps"] = single(self.one_of([0, 1e-20, 1e-6, 0.25]))
        s["scale"] = single(self.one_of([0, 1, 2.5, 0.8, -1.5]))
        s["temp"] = single(self.one_of([0, 0, 0, 0.5, 2, 0.7]))
        if rule in ("topk", "topp", "threshold", "ranks", "sparsemixer") and self.chance(0.35):
            self.groups(s, n)
        if rule != "expertchoice" and self.chance(0.2):
            self.capacity(s)
        return s

    def rule_keys(self, s, n):
        rule = s["rule"]
        if rule == "topp":
            s["p"] = 1.0 if self.chance(0.1) else single(0.05 + 0.9 * self.g.random())
        if rule == "threshold":
            s["t"] = single(self.one_of([0, 1, self.g.random(), self.g.random(), self.g.random()]))
        if rule in ("topp", "threshold") and self.chance(0.5):
            s["kmin"] = self.whole(1, min(n, 4))
            s["kmax"] = self.whole(s["kmin"], n)
        if rule in ("ranks", "fixed"):
            s["ids"] = self.subset(n, 1, min(n, 5))
        if rule == "fixed" and self.chance(0.3):
            s["ids"] = []
        if rule in ("random", "hash"):
            s["seed"] = self.whole(0, 2 ** 62)
        if rule == "random" and self.chance(0.4):
            s["perseq"] = 1
        if rule == "sparsemixer" and self.chance(0.5):
            s["jitter"] = single(self.one_of([0.001, 0.05, 0.2]))
        if rule == "expertchoice":
            s["c"] = single(self.whole(1, 4 * n) / 4)
            s["perseq"] = self.whole(0, 1)

    def groups(self, s, n):
        s["groups"] = self.one_of([g for g in range(2, n + 1) if n % g == 0])
        s["topgroups"] = self.whole(1, s["groups"])
        s["groupscore"] = self.one_of(["max", "top2"])
        room = n // s["groups"] * s["topgroups"] + s["null"]
        s["k"] = min(s["k"], room)

    def capacity(self, s):
        s["capacity"] = single(self.one_of([0.25, 0.5, 1, 1.25, 2, 0.9]))
        s["capmin"] = self.one_of([0, 0, 1, 4])
        s["capround"] = self.one_of(["floor", "ceil", "even"])
        s["caporder"] = self.one_of(["position", "prob", "random"])
        s["choicemajor"] = self.whole(0, 1)
        if s["norm"] != "none" or s["weight"] == "sum":
            s["dropfirst"] = self.whole(0, 1)
        if s["caporder"] == "random":
            s["seed"] = self.whole(0, 2 ** 62)

    def most(self, s, n):
        if s["rule"] in ("topk", "random", "hash"):
            return s["k"]
        return s["kmax"] or n

    def steering(self, case):
        n, s = case["n"], case["spec"]
        keeper = self.whole(0, n - 1)  # somebody is always left
        if self.chance(0.35):
            kinds = [FREE, FREE, FREE, FREE, BAN, BAN_SCORED, DROP, DROP_RENORM]
            use = [self.one_of(kinds) for _ in range(n)]
            if s["rule"] in HONOUR_FORCE and self.chance(0.4):
                for e in self.subset(n, 0, min(3, self.most(s, n))):
                    use[e] = FORCE
            use[keeper] = FREE if use[keeper] in (BAN, BAN_SCORED) else use[keeper]
            case["use"] = use
        for kind in (MODEL_LOGIT, MODEL_SELECT, LOGIT_BIAS, SELECT_BIAS):
            if self.chance(0.15):
                size = 1 if kind in (MODEL_LOGIT, LOGIT_BIAS) else 0.25
                case["values"][kind] = self.numbers(n, size, self.chance(0.3))
        for kind in (PRE, POST):
            if self.chance(0.12):
                sizes = [UNIT, UNIT, 0, 2 * UNIT, UNIT // 2, 64 * UNIT]
                case["values"][kind] = [self.one_of(sizes) for _ in range(n)]
        for seq in range(N_SEQ):
            if self.chance(0.06):
                ids = set(self.subset(n, 1, n)) | {keeper}
                ids |= {e for e in range(n) if case["use"] and case["use"][e] == FORCE}
                case["limits"][seq] = sorted(ids)
        while self.chance(0.1):
            kind = self.whole(1, 2)
            row = self.numbers(n, 3, self.chance(0.3))
            if kind == 2:
                row = [abs(x) // 4 for x in row]
            first = self.whole(0, 4)
            case["overrides"].append({"kind": kind, "seq": self.whole(-1, N_SEQ - 1), "first": first,
                                      "last": self.one_of([-1, first, first + 3]), "row": row})

    def case(self):
        n = self.one_of([2, 3, 4, 6, 8, 8, 12, 16, 16, 24, 40, 64])
        native_null = self.whole(1, min(n, 3)) if self.chance(0.1) else 0
        spec = self.spec(n, native_null)
        while spec["rule"] == "expertchoice" and native_null:
            spec = self.spec(n, native_null)
        together = spec["rule"] == "expertchoice" or spec["capacity"]
        n_rows = self.whole(2, 16 if n < 16 else 6) if together else self.whole(1, 2)
        case = {"n": n, "native_null": native_null, "spec": spec, "use": None, "values": {}, "limits": {},
                "overrides": [], "nudge": 0}
        coarse = self.chance(0.15)
        size = self.one_of([1, 3, 6])
        case["rows"] = [(self.whole(0, N_TOKENS - 1), self.whole(0, 9), self.whole(0, N_SEQ - 1),
                         self.numbers(n + native_null, size, coarse)) for _ in range(n_rows)]
        if self.chance(0.6):
            self.steering(case)
        return case


# ------------------------------------------------------------------ writing

KEYS = ("k", "p", "t", "kmin", "kmax", "jitter", "c", "perseq", "seed", "score", "temp", "weight", "norm", "eps",
        "normp", "scale", "groups", "topgroups", "groupscore", "null", "nullbias", "capacity", "capmin", "capround",
        "caporder", "choicemajor", "dropfirst")
REST = {"norm": "none", "groupscore": "max", "capround": "floor", "caporder": "position"}


def text_of(spec):
    items = []
    if spec["ids"]:
        items.append("+".join("none" if e is None else str(e) for e in spec["ids"]))
    for key in KEYS:
        x = spec[key]
        if x == REST.get(key, 0) and not (key == "t" and spec["rule"] == "threshold"):
            continue
        items.append(f"{key}={str(np.float32(x)) if isinstance(x, float) else x}")
    return spec["rule"] + ":" + ",".join(items)


def write(case, result, out):
    def line(*words):
        out.write(" ".join(str(w) for w in words) + "\n")

    line("C", case["n"], case["native_null"], len(case["rows"]), text_of(case["spec"]))
    for kind, values in case["values"].items():
        line("B", kind, *values)
    if case["use"]:
        line("U", "".join(str(u) for u in case["use"]))
    for seq, ids in case["limits"].items():
        line("S", seq, *ids)
    for o in case["overrides"]:
        line("O", o["kind"], o["seq"], o["first"], o["last"], *o["row"])
    for (token, pos, seq, logits), (ids, weights) in zip(case["rows"], result):
        line("L", token, pos, seq, *logits)
        line("R", *(f"{'-' if e is None else e}:{w:.9g}" for e, w in zip(ids, weights)))


def generate(n_cases, seed, out):
    out.write("libmoe-routes 1\n# Written by tools/make_route_vectors.py, which says what the lines mean.\n")
    draw_ = Draw(seed)
    done = again = 0
    while done < n_cases:
        case = draw_.case()
        try:
            result = route(case)
            demand_stable(result, route({**case, "nudge": 1.2e-7}))
        except Redraw:
            again += 1
            continue
        write(case, result, out)
        done += 1
    return again


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=20240807)
    parser.add_argument("--check", metavar="PROGRAM", help="run this with a temporary folder; nothing is printed")
    args = parser.parse_args()
    if not args.check:
        generate(args.cases, args.seed, sys.stdout)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "route.vec"), "w", encoding="ascii") as out:
            again = generate(args.cases, args.seed + 1, out)
        print(f"# {args.cases} cases, {again} drawn again", flush=True)
        emulator = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
        return subprocess.run([*emulator, args.check, folder], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
