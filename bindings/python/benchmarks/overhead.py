#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""overhead.py [--tokens N] [--rounds R] [--threads T]: what a token costs from Python, beside the same loop in C, and
how long it takes from `import libmoe` to the first token.

Three figures, each from rounds in turns in one process, with the same tokens and the same session:
- processor time for a token by generate() and by the calls that a C program makes;
- wall time for a token by both;
- the time between two calls of the library while generate() runs: all that Python and this package do for a token,
  with caches as an evaluation leaves them. It is the steadiest one on a busy machine.

LIBMOE_LIBRARY names the library; overhead.c is compiled against it. Needs a C compiler, and a POSIX system."""
from __future__ import annotations

import argparse
import ctypes as C
import gc
import itertools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import libmoe
from libmoe._library import lib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROMPT = [100, 200, 300, 400, 500, 600, 700, 800]

FIRST = """
import time
started = time.perf_counter_ns()
import libmoe
imported = time.perf_counter_ns()
with libmoe.Model(libmoe.demo_model()) as model, model.session() as session:
    next(session.generate("Once upon a time", max_tokens=5))
    print(imported - started, time.perf_counter_ns() - started)
"""


def build(folder: str) -> C.CDLL:
    told = os.environ.get("LIBMOE_LIBRARY")
    found = pathlib.Path(told).resolve() if told else next((pathlib.Path(libmoe.__file__).parent / "lib").glob("libmoe.*"))
    name = f"{folder}/overhead.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-D_POSIX_C_SOURCE=200809L",
                    f"-I{ROOT / 'include'}", str(HERE / "overhead.c"), str(found), f"-Wl,-rpath,{found.parent}", "-o",
                    name], check=True)
    made = C.CDLL(name)
    made.overhead_loop.restype = C.c_int
    made.overhead_loop.argtypes = [C.c_void_p, C.c_void_p, C.c_void_p, C.c_int, C.c_char_p, C.c_size_t]
    made.overhead_gaps.restype = C.POINTER(C.c_longlong)
    return made


class Bench:
    def __init__(self, c: C.CDLL, path: str, threads: int, n: int) -> None:
        self.c, self.n = c, n
        self.model = libmoe.Model(path)
        self.session = self.model.session(threads=threads)
        self.ends = sorted(self.model.tokenizer.end_tokens)
        self.real = lib.moe_session_next

    def sampler(self) -> libmoe.Sampler:
        """Never picks an end token, so that all rounds have the same length."""
        made = libmoe.Sampler()
        made.add_stage("logit-bias", ids=self.ends, values=[-1e9] * len(self.ends))
        return made.add("top-p:p=0.95;temp:t=0.8;dist:seed=1")

    def pieces(self, n: int):
        """generate() with a sampler of its own, as generate(sampler="...") makes one."""
        return self.session._pieces([], self.sampler(), True, n, 0, ())

    def ready(self) -> None:
        self.session.reset()
        self.session.eval(PROMPT)

    def in_c(self) -> tuple[float, float, str]:
        self.ready()
        sampler = self.sampler()
        handles = [o._handle.address for o in (self.session, sampler, self.model.tokenizer)]
        text = C.create_string_buffer(100 * self.n)
        cpu, wall, status = self.timed(lambda: self.c.overhead_loop(*handles, self.n - 1, text, len(text)))
        if status < 0:
            raise SystemExit("the loop in C failed")
        return cpu, wall, text.value.decode()

    def in_python(self) -> tuple[float, float, str]:
        self.ready()
        pieces = self.pieces(self.n + 1)
        first = next(pieces)  # what follows is n times what C does: evaluate, pick, accept, decode
        cpu, wall, rest = self.timed(lambda: list(itertools.islice(pieces, self.n - 1)))
        return cpu, wall, "".join([first, *rest])

    def timed(self, work):
        """Microseconds a token of processor and of wall time, and what work() gives."""
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        made = work()
        n = 1e3 * (self.n - 1)
        return (time.process_time_ns() - cpu) / n, (time.perf_counter_ns() - wall) / n, made

    def between(self) -> list[float]:
        """Microseconds between calls, for each token of a round."""
        self.ready()
        n = C.c_int()
        self.c.overhead_gaps(C.byref(n))
        lib.moe_session_next = self.c.overhead_next
        try:
            for _ in self.pieces(self.n):
                pass
        finally:
            lib.moe_session_next = self.real
        gaps = self.c.overhead_gaps(C.byref(n))
        return [gaps[i] / 1e3 for i in range(n.value)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default=str(ROOT / "examples" / "models" / "demo.gguf"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(build(folder), options.model, options.threads, options.tokens)
        gc.collect()
        rounds: list[tuple] = []
        gaps: list[float] = []
        for i in range(options.rounds):
            pair = (bench.in_c(), bench.in_python()) if i % 2 else (bench.in_python(), bench.in_c())[::-1]
            if pair[0][2] != pair[1][2]:
                raise SystemExit(f"not the same text: {pair[0][2]!r} and {pair[1][2]!r}")
            rounds.append(pair)
            gaps += bench.between()
    print(f"{options.tokens} tokens, {options.rounds} rounds in turns, {options.threads} threads; microseconds a token")
    for at, name in enumerate(("processor", "wall")):
        c, python = ([r[side][at] for r in rounds] for side in (0, 1))
        more = statistics.median(p - x for x, p in zip(c, python))
        print(f"{name:10} C: best {min(c):.1f}, median {statistics.median(c):.1f}; Python: best {min(python):.1f}, median "
              f"{statistics.median(python):.1f}; median of differences {more:+.1f} = {100 * more / statistics.median(c):+.1f} %")
    quarters = statistics.quantiles(gaps, n=4)
    print(f"between calls: median {quarters[1]:.1f}, quarters {quarters[0]:.1f} and {quarters[2]:.1f}")
    times = []
    for _ in range(options.rounds // 2):
        done = subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True, text=True)
        times.append([int(x) / 1e6 for x in done.stdout.split()])
    for at, name in enumerate(("import", "import to first token")):
        row = [t[at] for t in times]
        print(f"{name}: best {min(row):.0f} ms, median {statistics.median(row):.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
