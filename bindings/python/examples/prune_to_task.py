#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A tutorial: keep only the experts that one task needs, and see what it costs.

    python prune_to_task.py [--task german] [--keep 6] [--model MODEL.gguf] [--texts FOLDER] [--save STEERING.json]

Three steps, each a few lines:

1. Watch: run texts of the task through a session and count which experts the routers choose (a Profile).
2. Prune: in every layer ban all experts but the `--keep` most used ones. A ban lets the next best expert step in, and
   nothing of the model changes: it is the session's routing, saved as a small JSON file if you want to keep it.
3. Measure: bits per byte of texts that step 1 has not seen, of the task and of other kinds, before and after, beside a
   control that keeps as many experts at random.

The texts are the held-out excerpts of the bundled model (examples/models/heldout): the first half of each file is for
step 1, the second for step 3. Banned experts are never read: what a mapped model keeps in memory shrinks accordingly."""
from __future__ import annotations

import argparse
import math
import pathlib
import random
import sys

import libmoe

CHUNK = 256  # tokens of one measured piece


def halves(path: pathlib.Path) -> tuple[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    middle = len(lines) // 2
    return "".join(lines[:middle]), "".join(lines[middle:])


def pieces(model: libmoe.Model, text: str, n: int) -> list[list[int]]:
    """The first n pieces of a text, each begun with the begin-of-text token where the model has one."""
    tokens = model.tokenizer.encode(text)
    return [tokens[i : i + CHUNK] for i in range(0, min(len(tokens), n * CHUNK), CHUNK)]


def bits_per_byte(session: libmoe.Session, texts: list[list[int]]) -> float:
    """-log2 p of every token after a piece's first, by the bytes that they stand for."""
    tok = session.model.tokenizer
    bits, n_bytes = 0.0, 0
    for tokens in texts:
        session.reset()
        session.eval(tokens, want=[libmoe.WANT_LOGITS] * len(tokens))
        for row, token in enumerate(tokens[1:]):
            bits -= session.logprob(token, row) / math.log(2)
            n_bytes += len(tok.piece(token))
    return bits / n_bytes


def keep_only(session: libmoe.Session, kept: dict[int, set[int]]) -> None:
    """Bans all experts but these, layer by layer."""
    for layer, experts in kept.items():
        router = session.router(layer)
        router.use = ["free" if e in experts else "ban" for e in range(router.n_experts)]


def most_used(profile: libmoe.Profile, keep: int) -> dict[int, set[int]]:
    """The most used experts of every MoE layer."""
    found = {}
    for layer, counts in enumerate(profile.counts()):
        order = sorted(range(len(counts)), key=lambda e: -counts[e])
        if sum(counts):
            found[layer] = set(order[:keep])
    return found


def main() -> int:
    here = pathlib.Path(__file__).resolve()
    parser = argparse.ArgumentParser(description="Prunes a model to the experts that one task needs.")
    parser.add_argument("--task", default="german", help="a file of the folder of texts, without .txt (german)")
    parser.add_argument("--keep", type=int, default=6, help="experts to keep in every layer (6)")
    parser.add_argument("--pieces", type=int, default=6, help=f"pieces of {CHUNK} tokens per text (6)")
    parser.add_argument("--model", help="a GGUF file (the bundled model)")
    parser.add_argument("--texts", type=pathlib.Path, default=here.parents[3] / "examples" / "models" / "heldout")
    parser.add_argument("--save", help="write the steering to this file")
    options = parser.parse_args()

    texts = {path.stem: halves(path) for path in sorted(options.texts.glob("*.txt"))}
    if options.task not in texts:
        print(f"no text {options.task}.txt in {options.texts}; there are: {', '.join(texts)}", file=sys.stderr)
        return 2

    with libmoe.Model(options.model or libmoe.demo_model()) as model, model.session(n_output_max=CHUNK) as session:
        info = model.info

        # 1. Watch.
        profile = libmoe.Profile(model)
        with session.profiled(profile):
            for tokens in pieces(model, texts[options.task][0], options.pieces):
                session.reset()
                session.eval(tokens)
        kept = most_used(profile, options.keep)
        share = sum(sum(sorted(c, reverse=True)[: options.keep]) for c in profile.counts()) / sum(
            sum(c) for c in profile.counts())
        n_all, n_kept = info.n_moe_layers * info.n_experts, sum(map(len, kept.values()))
        size = session.router(next(iter(kept))).expert(0).info.bytes
        print(f"{options.task}: {share:.0%} of all choices fall on {n_kept} of {n_all} experts "
              f"({n_kept * size / 1e6:.1f} of {n_all * size / 1e6:.1f} MB)")

        # 2. Prune, and 3. measure.
        dice = random.Random(1)
        control = {layer: set(dice.sample(range(info.n_experts), options.keep)) for layer in kept}
        measured = {name: pieces(model, half, options.pieces) for name, (_, half) in texts.items()}
        before = {name: bits_per_byte(session, tokens) for name, tokens in measured.items()}
        keep_only(session, kept)
        session.reset_stats()
        after = {name: bits_per_byte(session, tokens) for name, tokens in measured.items()}
        if options.save:
            session.save_steering(options.save)
        keep_only(session, control)
        random_ = {name: bits_per_byte(session, tokens) for name, tokens in measured.items()}

        print(f"{'bits per byte':<14}{'whole':>8}{'pruned':>8}{'change':>9}{'at random':>11}")
        for name in sorted(texts, key=lambda n: (n != options.task, after[n] - before[n])):
            mark = " <- the task" if name == options.task else ""
            print(f"{name:<14}{before[name]:8.3f}{after[name]:8.3f}{after[name] - before[name]:+9.3f}"
                  f"{random_[name] - before[name]:+11.3f}{mark}")

        session.routers.reset()  # as the file says, to the bit
        session.reset()
    return 0


if __name__ == "__main__":
    sys.exit(main())
