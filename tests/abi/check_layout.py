#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_layout.py PROGRAM TABLE: what the layout program prints must be the recorded table (name, offset,
size of every member). Until 1.0 a change needs a new MOE_API_VERSION and tests/abi/update.sh; from 1.0 members are
only added at the end."""
import difflib
import os
import pathlib
import shlex
import subprocess
import sys


def main():
    emulator = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
    found = subprocess.run([*emulator, sys.argv[1]], check=True, capture_output=True, text=True).stdout.splitlines()
    path = pathlib.Path(sys.argv[2])
    if not path.exists():
        print(f"no table for this machine: {path.name}")
        return 77
    table = path.read_text(encoding="utf-8").splitlines()
    diff = list(difflib.unified_diff(table, found, "recorded", "found", lineterm=""))
    print("\n".join(diff) if diff else f"{len(found)} lines agree")
    return 1 if diff or len(found) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
