#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_symbols.py ROOT LIBRARY: symbols.txt (name and first version), the declarations of the headers and
what the shared library exports must be the same. With --update as a third argument it writes symbols.txt first."""
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
import header  # noqa: E402


def recorded(path):
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {name: since for name, since in rows}


def exported(library):
    command = ["nm", "-D", "--defined-only", library]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines() if line.split()[-2] != "A"}
    # what sanitizers and the linker put into every library
    return {n for n in names if not n.startswith(("__", "_init", "_fini", "_edata", "_end"))}


def main():
    root, library = pathlib.Path(sys.argv[1]), sys.argv[2]
    path = root / "tests" / "abi" / "symbols.txt"
    declared = header.functions(root)
    if "--update" in sys.argv:
        lines = [f"{name} {since}\n" for name, since in sorted(declared.items())]
        head = "# Public functions and the version each appeared in. Made by tests/abi/update.sh.\n"
        path.write_text(head + "".join(lines))
    faults = []
    table = recorded(path)
    for name in sorted(declared.keys() - table.keys()):
        faults.append(f"{name} is declared but not in symbols.txt")
    for name in sorted(table.keys() - declared.keys()):
        faults.append(f"{name} is in symbols.txt but not declared")
    for name in sorted(table.keys() & declared.keys()):
        if table[name] != declared[name]:
            faults.append(f"{name}: symbols.txt says since {table[name]}, the header {declared[name]}")
    symbols = exported(library)
    for name in sorted(declared.keys() - symbols):
        faults.append(f"{name} is declared but not exported")
    for name in sorted(symbols - declared.keys()):
        faults.append(f"{name} is exported but not declared")
    print("\n".join(faults) if faults else f"{len(declared)} functions")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
