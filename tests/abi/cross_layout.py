#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cross_layout.py ROOT TARGET TABLE [--update]: layouts of all public structs on another machine must be the recorded
table. Nothing is run there: a compiler for TARGET (aarch64-linux-gnu, x86_64-w64-mingw32, ...) writes an array of sizes
and offsets as assembly, which is read back. TARGET-gcc is taken, else clang --target; exit status 77 without both."""
import difflib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import header  # noqa: E402

CLANG = {"x86_64-w64-mingw32": "x86_64-w64-windows-gnu"}


def compiler(target):
    if shutil.which(f"{target}-gcc"):
        return [f"{target}-gcc"]
    if shutil.which("clang"):
        return ["clang", "--target=" + CLANG.get(target, target)]
    return None


def source(structs):
    numbers = []
    for struct, members in structs:
        numbers.append(f"sizeof({struct})")
        for member in members:
            numbers += [f"offsetof({struct}, {member})", f"sizeof((({struct} *)0)->{member})"]
    return ("#include <moe/ext.h>\n#include <moe/study.h>\nextern const uint32_t layout[];\nconst uint32_t layout[] = {\n    "
            + ",\n    ".join(numbers) + "};\n")


def numbers_in(assembly):
    """Elements of the array: .word and its other names, .zero for runs of zeros."""
    found, inside = [], False
    for line in assembly.splitlines():
        if re.match(r"_?layout:", line):
            inside = True
        elif inside and (m := re.match(r"\s+\.(?:word|long|4byte|xword)\s+(\d+)", line)):
            found.append(int(m.group(1)))
        elif inside and (m := re.match(r"\s+\.(?:zero|space)\s+(\d+)", line)):
            found += [0] * (int(m.group(1)) // 4)
        elif inside and not re.match(r"\s+\.(size|ident|section)|\s*(#|//|@)", line):
            break
    return found


def main():
    root, target, path = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    cc = compiler(target)
    if not cc:
        print(f"no compiler for {target} (package gcc-{target.replace('_', '-')}, or clang)")
        return 77
    structs = header.structs(root)
    with tempfile.TemporaryDirectory() as scratch:
        c = pathlib.Path(scratch) / "layout.c"
        c.write_text(source(structs), encoding="utf-8")
        command = cc + ["-std=c11", "-ffreestanding", "-Wpadded", "-Werror=padded", f"-I{root}/include", "-S", "-o", "-", str(c)]
        assembly = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    numbers = iter(numbers_in(assembly))
    lines = []
    for struct, members in structs: # the form of gen_layout.py
        lines.append(f"{struct:<24} {next(numbers)}")
        lines += [f"    {member:<20} {next(numbers):4} {next(numbers):4}" for member in members]
    if list(numbers):
        raise SystemExit("numbers are left over")
    if "--update" in sys.argv:
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    table = path.read_text(encoding="utf-8").splitlines()
    diff = list(difflib.unified_diff(table, lines, "recorded", f"{target} ({cc[0]})", lineterm=""))
    print("\n".join(diff) if diff else f"{len(lines)} lines agree ({cc[0]})")
    return 1 if diff or len(lines) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
