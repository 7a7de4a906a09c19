#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_constants.py ROOT TABLE COMPILER... [--update]: the values of all constants of the public headers must be the
recorded ones, and those of 0.1.0 (headers-0.1.0) must still be there unchanged. Values are what a C compiler makes of
them; constants that have to do with the compiler or the version itself are left out."""
import difflib
import pathlib
import re
import subprocess
import sys
import tempfile

LEFT_OUT = re.compile(r"MOE_(API|NODISCARD|BUILDING|SHARED|VERSION|VERSION_\w+|API_VERSION_\w+|\w*_INIT|\w*_?H)$")


def names_in(folder):
    names = []
    for path in sorted((folder / "moe").glob("*.h")):
        text = path.read_text(encoding="utf-8")
        names += [n for n in re.findall(r"^#define (MOE_\w+) +\S", text, re.M) if not LEFT_OUT.match(n)]
    return list(dict.fromkeys(names))


def values(folder, names, compiler):
    headers = "".join(f"#include <moe/{p.name}>\n" for p in sorted((folder / "moe").glob("*.h")))
    body = "".join(f'    printf("%s %lld\\n", "{n}", (long long)({n}));\n' for n in names)
    with tempfile.TemporaryDirectory() as scratch:
        c = pathlib.Path(scratch) / "constants.c"
        c.write_text(f"{headers}#include <stdio.h>\nint main(void)\n{{\n{body}    return 0;\n}}\n", encoding="utf-8")
        program = pathlib.Path(scratch) / "constants"
        subprocess.run(compiler + ["-std=c99", f"-I{folder}", "-o", str(program), str(c)], check=True)
        return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()


def main():
    arguments = [a for a in sys.argv[1:] if a != "--update"]
    root, path, compiler = pathlib.Path(arguments[0]), pathlib.Path(arguments[1]), arguments[2:] or ["cc"]
    now = values(root / "include", names_in(root / "include"), compiler)
    then_folder = root / "tests" / "abi" / "headers-0.1.0"
    then = values(then_folder, names_in(then_folder), compiler)
    lost = sorted(set(then) - set(now))
    for line in lost:
        print(f"0.1.0 had: {line}")
    if "--update" in sys.argv:
        path.write_text("".join(line + "\n" for line in now), encoding="utf-8")
    diff = list(difflib.unified_diff(path.read_text(encoding="utf-8").splitlines(), now, "recorded", "found", lineterm=""))
    print("\n".join(diff) if diff else f"{len(now)} constants, {len(then)} of them of 0.1.0")
    return 1 if diff or lost or len(now) < 100 or len(then) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
