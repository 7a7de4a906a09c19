# SPDX-License-Identifier: MIT
"""python -m libmoe [PROMPT]: continues a text with the bundled model, or another one."""
from __future__ import annotations

import argparse
import os
import sys
import time

import libmoe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m libmoe", description="Continues a text with a language model.")
    parser.add_argument("prompt", nargs="?", default="Once upon a time")
    parser.add_argument("-m", "--model", help="a GGUF file (the bundled model)")
    parser.add_argument("-n", "--tokens", type=int, default=100, help="tokens to generate at most (100)")
    parser.add_argument("--sampler", help='stages, e.g. "top-k:k=40;temp:t=0.8"')
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--voice", help="a voice of the bundled model: tales, shakespeare, bible, german, ...")
    parser.add_argument("--stats", action="store_true", help="tell speed and experts used")
    options = parser.parse_args()
    try:
        with libmoe.Model(options.model or libmoe.demo_model()) as model, model.session(
                threads=options.threads) as session:
            started = time.perf_counter()
            print(options.prompt, end="", flush=True)
            for text in session.generate(options.prompt, max_tokens=options.tokens, sampler=options.sampler,
                                         seed=options.seed, voice=options.voice):
                print(text, end="", flush=True)
            print()
            if options.stats:
                stats = session.stats
                rate = 1e9 * stats.tokens_decode / (stats.ns_decode or 1)
                print(f"{stats.tokens_prefill} + {stats.tokens_decode} tokens in {time.perf_counter() - started:.2f} s; "
                      f"decode {rate:.0f} tokens/s; {stats.experts} experts read", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has enough; nothing is left to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (libmoe.Error, OSError, ValueError) as error:
        print(f"libmoe: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
