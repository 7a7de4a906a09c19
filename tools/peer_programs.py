# SPDX-License-Identifier: MIT
"""For compare_peers: the programs that measure speed. What they are asked, what their answers mean, how they are run.

Known are `libmoe bench`, llama-bench as llama.cpp and as ik_llama.cpp have it, and llama-sweep-bench.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

Cell = tuple[str, int, int, int]  # work (prefill, decode, warm, cold), tokens, depth, threads
LOAD = ("warm", "cold")


# ---- what programs print
# Each parser gives rows (work, tokens, depth, threads or None, samples in tokens/s, extra).


@dataclass
class Row:
    work: str
    tokens: int
    depth: int
    threads: int | None
    samples: list[float]
    extra: dict = field(default_factory=dict)


def parse_libmoe(text: str) -> list[Row]:
    """libmoe bench --json. Extra: bytes or operations per token."""
    out = []
    for r in json.loads(text)["results"]:
        extra = {}
        if r.get("bytes_per_s"):
            extra["bytes"] = r["bytes_per_s"] / r["median"]
        if r.get("ops_per_s"):
            extra["ops"] = r["ops_per_s"] / r["median"]
        samples = [r["min"], r["median"], r["max"]]
        out.append(Row(r["kind"], r["tokens"], r["context"], r["threads"], samples, extra))
    return out


def parse_limits(text: str) -> dict[str, float]:
    """libmoe bench --limits --json with one thread count."""
    r = json.loads(text)["limits"][0]
    out = {"read": r["read_bytes_per_s"] or 0.0}
    out.update({"int8 " + k: v for k, v in r["int8_ops_per_s"].items()})
    return out


def llama_records(text: str) -> list[dict]:
    """The objects of llama-bench's JSON, JSON lines or CSV, whatever stands around them."""
    start = re.search(r"^\[\s*$|^\[\s*\{", text, re.M)
    if start:
        return json.JSONDecoder().raw_decode(text[start.start() :])[0]
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if lines:
        return [json.loads(line) for line in lines]
    start = re.search(r"^\"?build_commit\"?,", text, re.M)
    return list(csv.DictReader(io.StringIO(text[start.start() :]))) if start else []


def parse_llama_bench(text: str) -> list[Row]:
    """Generation behind a prompt is n_gen with n_depth in llama.cpp, a test `tg64@pp4096` in ik_llama.cpp."""
    out = []
    for r in llama_records(text):
        prompt, gen, depth = int(r["n_prompt"]), int(r["n_gen"]), int(r.get("n_depth") or 0)
        behind = re.fullmatch(r"tg\d+@pp(\d+)", r.get("test") or "")
        if behind:
            prompt, depth = 0, int(behind.group(1))
        if (prompt > 0) == (gen > 0):
            continue  # a prompt and its continuation timed as one
        samples = [float(x) for x in r.get("samples_ts") or [r["avg_ts"]]]
        extra = {"version": f"{r['build_commit']} ({r['build_number']})"}
        work = "prefill" if prompt else "decode"
        out.append(Row(work, prompt or gen, depth, int(r["n_threads"]), samples, extra))
    return out


def parse_sweep_bench(text: str) -> list[Row]:
    """llama-sweep-bench: JSON lines, or its table, whose columns are PP, TG, N_KV, T_PP, S_PP, T_TG, S_TG."""
    out = []
    for line in text.splitlines():
        if line.startswith("{") and '"speed_tg"' in line:
            r = json.loads(line)
            out.append(Row("decode", r["tg"], r["n_kv"], r.get("n_threads"), [r["speed_tg"]]))
        elif re.match(r"\|\s*\d+ \|", line):
            c = [x.strip() for x in line.strip("| \n").split("|")]
            out.append(Row("decode", int(c[1]), int(c[2]), None, [float(c[6])]))
    return out


# ---- programs


@dataclass
class Setting:
    name: str
    kind: str  # libmoe, llama-bench, llama-sweep-bench
    command: list[str]
    help: str = ""
    version: str = ""
    rss: int = 0  # peak of resident memory in bytes

    @property
    def ours(self) -> bool:
        return self.kind == "libmoe"

    def has(self, option: str) -> bool:
        return re.search(rf"(^|\s){re.escape(option)}[,\s]", self.help, re.M) is not None

    def words(self, cell: Cell, a: argparse.Namespace) -> list[str] | None:
        """The command for a cell, None if this program cannot do it."""
        make = {"libmoe": libmoe_words, "llama-bench": bench_words, "llama-sweep-bench": sweep_words}
        more = make[self.kind](self, cell, a)
        return None if more is None else [*self.command, "-m", str(a.model), "-t", str(cell[3]), *more]

    def rows(self, text: str) -> list[Row]:
        parse = {"libmoe": parse_libmoe, "llama-bench": parse_llama_bench, "llama-sweep-bench": parse_sweep_bench}
        return parse[self.kind](text)


def libmoe_words(s: Setting, cell: Cell, a: argparse.Namespace) -> list[str]:
    work, n, depth, _ = cell
    words = ["--json", "-q", "-c", str(depth), "-r", str(1 if work in LOAD else a.repetitions)]
    words += ["-p", "0", "-g", str(n)] if work == "decode" else ["-p", str(n), "-g", "0"]
    return words + (["--kv", a.kv] if a.kv else [])


def bench_words(s: Setting, cell: Cell, a: argparse.Namespace) -> list[str] | None:
    work, n, depth, _ = cell
    words = ["-o", "json", "-r", str(1 if depth or work in LOAD else a.repetitions)]
    if work in LOAD:
        words += ["--no-warmup"] if s.has("--no-warmup") else ["-w", "0"] if s.has("-w") else []
    if work != "decode":
        words += ["-p", str(n), "-n", "0"]
    elif depth == 0:
        words += ["-p", "0", "-n", str(n)]
    elif s.has("-d") or s.has("--n-depth"):
        words += ["-p", "0", "-n", str(n), "-d", str(depth)]
    elif s.has("-gp"):
        words += ["-p", "0", "-n", "0", "-gp", f"{depth},{n}"]
    else:
        return None
    return words + kv_words(s, a, ["-fa", "1"])


def sweep_words(s: Setting, cell: Cell, a: argparse.Namespace) -> list[str] | None:
    """It goes through the context in steps of one sub-batch and decodes behind each, or each so many."""
    work, n, depth, _ = cell
    step = 512 if depth % 512 == 0 else depth
    if work != "decode" or step > 2048:
        return None
    words = ["-c", str(depth + max(step, n)), "-b", "2048", "-ub", str(step), "-n", str(n)]
    words += ["--output-format", "jsonl"] if s.has("--output-format") else []
    words += ["--sweep-stride", str(depth // step)] if depth and s.has("--sweep-stride") else []
    return words + kv_words(s, a, [] if s.has("-no-fa") else ["-fa"])


def kv_words(s: Setting, a: argparse.Namespace, flash: list[str]) -> list[str]:
    """A quantised cache of values needs flash attention there."""
    if not a.kv:
        return []
    given = "-fa" in s.command or not a.kv.startswith("q")
    return ["-ctk", a.kv, "-ctv", a.kv] + ([] if given else flash)


def kind_of(command: list[str]) -> str:
    name = Path(command[0]).name
    return next((k for k in ("llama-sweep-bench", "llama-bench") if k[6:] in name), "")


def variants(s: Setting) -> list[Setting]:
    """The command as it is, and with what may be faster and is not its default."""
    value = ["1"] if s.kind == "llama-bench" else []
    extra = []
    for option in ("-rtr", "-fa"):
        line = next((x for x in s.help.splitlines() if re.match(rf"\s*{option},", x)), "")
        default = re.search(r"default: (1|on|enabled|auto)", line) or (option == "-fa" and s.has("-no-fa"))
        if line and option not in s.command and not default:
            extra.append((option, [option, *value]))
    out = []
    for n in range(len(extra) + 1):
        for chosen in itertools.combinations(extra, n):
            name = s.name + "".join(o for o, _ in chosen)
            out.append(Setting(name, s.kind, s.command + [w for _, x in chosen for w in x], s.help))
    return out


# ---- running them


@dataclass
class Run:
    text: str = ""
    seconds: float = 0.0
    rss: int = 0
    failure: str = ""


def run_program(words: list[str], timeout: float, folder: str) -> Run:
    """Runs in a scratch folder, as some programs write logs. The process group dies with the time limit."""
    with tempfile.TemporaryFile() as out:
        start = time.monotonic()
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, start_new_session=True
        )
        r = Run()
        try:
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                r.seconds = time.monotonic() - start
                if pid:
                    break
                if r.seconds > timeout:
                    r.failure = f"not done in {timeout:g} s"
                    os.killpg(child.pid, signal.SIGKILL)
                    _, status, usage = os.wait4(child.pid, 0)
                    break
                time.sleep(0.02)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        r.text = out.read().decode("utf-8", "replace")
        r.rss = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if child.returncode and not r.failure:
            lines = [x for x in r.text.splitlines() if x.strip()]
            r.failure = f"status {child.returncode}: {lines[-1][:100] if lines else 'no output'}"
        return r
