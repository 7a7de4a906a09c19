#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""overhead.py [--tokens N] [--rounds R] [--threads T]: what a token costs from Python, beside the same loop in C, and
how long it takes from `import libmoe` to the first token.

Both loops generate the same tokens with the same library, in turns, each in a fresh process. LIBMOE_LIBRARY names the
library; overhead.c is compiled against it. Processor time is told beside wall time: it is the steadier one on a busy
machine. Needs a C compiler, and a POSIX system."""
from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

LOOP = """
import sys, time
import libmoe
path, n, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with libmoe.Model(path) as model, model.session(threads=threads) as session:
    model.tokenizer._ends = frozenset()   # an end token does not end this
    chain = libmoe.Sampler("top-p:p=0.95;temp:t=0.8;dist:seed=1")
    pieces = session.generate([100, 200, 300, 400, 500, 600, 700, 800], max_tokens=n + 1, sampler=chain)
    first = next(pieces)                  # the prompt is done, the first token is picked
    total = len(first.encode())
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for piece in pieces:
        total += len(piece)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    print(wall, cpu, total, session.length())
"""

FIRST = """
import time
started = time.perf_counter_ns()
import libmoe
imported = time.perf_counter_ns()
with libmoe.Model(libmoe.demo_model()) as model, model.session() as session:
    next(session.generate("Once upon a time", max_tokens=5))
    print(imported - started, time.perf_counter_ns() - started, int("numpy" in __import__("sys").modules))
"""


def library() -> pathlib.Path:
    told = os.environ.get("LIBMOE_LIBRARY")
    if told:
        return pathlib.Path(told).resolve()
    import libmoe

    return next((pathlib.Path(libmoe.__file__).parent / "lib").glob("libmoe.*"))


def numbers(command: list[str]) -> list[int]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(x) for x in done.stdout.split()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=900)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default=str(ROOT / "examples" / "models" / "demo.gguf"))
    options = parser.parse_args()
    lib = library()
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/overhead"
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-D_POSIX_C_SOURCE=200809L", f"-I{ROOT / 'include'}",
                        str(HERE / "overhead.c"), str(lib), f"-Wl,-rpath,{lib.parent}", "-o", program], check=True)
        job = [options.model, str(options.tokens), str(options.threads)]
        figures: dict[str, list[tuple[float, float]]] = {"C": [], "Python": []}
        for _ in range(options.rounds):
            wall, cpu, _ = numbers([program, *job])
            figures["C"].append((wall / options.tokens / 1e3, cpu / options.tokens / 1e3))
            wall, cpu, _, _ = numbers([sys.executable, "-c", LOOP, *job])
            figures["Python"].append((wall / options.tokens / 1e3, cpu / options.tokens / 1e3))
    print(f"{options.tokens} tokens, {options.rounds} rounds in turns, {options.threads} threads; microseconds a token")
    print(f"{'':8}{'wall: best':>12}{'median':>10}{'processor: best':>18}{'median':>10}")
    best = {}
    for name, rows in figures.items():
        walls, cpus = [w for w, _ in rows], [c for _, c in rows]
        best[name] = (min(walls), statistics.median(walls), min(cpus), statistics.median(cpus))
        print(f"{name:8}{best[name][0]:12.1f}{best[name][1]:10.1f}{best[name][2]:18.1f}{best[name][3]:10.1f}")
    for at, name in enumerate(("wall, best", "wall, median", "processor, best", "processor, median")):
        more = best["Python"][at] - best["C"][at]
        print(f"  {name}: {more:+.1f} us = {100 * more / best['C'][at]:+.1f} %")
    times = [numbers([sys.executable, "-c", FIRST]) for _ in range(options.rounds)]
    for name, at in (("import", 0), ("import to first token", 1)):
        row = [t[at] / 1e6 for t in times]
        print(f"{name}: best {min(row):.0f} ms, median {statistics.median(row):.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
