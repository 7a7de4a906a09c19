#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py LIBRARY: the Python package's tests (bindings/python/tests) on a library that was just built.

Exit status 77 (skipped) says why where pytest is missing, or where the library needs a sanitizer's runtime that this
interpreter cannot take in."""
import os
import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "bindings" / "python"


def main():
    python = os.environ.get("LIBMOE_TEST_PYTHON", sys.executable)
    environment = dict(os.environ, LIBMOE_LIBRARY=str(pathlib.Path(sys.argv[1]).resolve()), PYTHONPATH=str(FOLDER),
                       PYTHONDONTWRITEBYTECODE="1")
    environment.pop("MALLOC_PERTURB_", None)  # meson's; it would slow the interpreter, not the library
    if len(sys.argv) > 2:  # the sanitizer's runtime, to be loaded first; Python itself leaks by design
        environment["LD_PRELOAD"] = sys.argv[2]
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    if subprocess.run([python, "-c", "import pytest"], env=environment, capture_output=True).returncode != 0:
        print(f"pytest is not there for {python} (LIBMOE_TEST_PYTHON names another interpreter)")
        return 77
    return subprocess.run([python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests"], cwd=FOLDER,
                          env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
