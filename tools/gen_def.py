#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gen_def.py ROOT: the module definition file of the DLL, on standard output: every function that the public
headers declare with MOE_API, in the order of the alphabet."""
import pathlib
import re
import sys


def functions(root):
    found = set()
    for name in ("moe.h", "ext.h", "study.h"):
        text = (pathlib.Path(root) / "include" / "moe" / name).read_text(encoding="utf-8")
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        found.update(re.findall(r"^MOE_API\b[^;(]*?(\w+)\s*\(", text, flags=re.M))
    return sorted(found)


def main():
    print("EXPORTS")
    for name in functions(sys.argv[1]):
        print(f"    {name}")


if __name__ == "__main__":
    main()
