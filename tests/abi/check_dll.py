#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_dll.py ROOT LIBRARY OBJDUMP: what the DLL for Windows exports is what the headers declare, neither more
nor less, and it needs no DLL but those that every Windows has."""
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import header  # noqa: E402

SYSTEM = {"kernel32.dll", "msvcrt.dll", "ucrtbase.dll"}


def tables(library, objdump):
    """(exported names, DLLs it needs) from the headers that objdump -p prints."""
    out = subprocess.run([*objdump, "-p", library], check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"^\s*DLL Name: (\S+)", out, flags=re.M))
    names = out.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
    return set(re.findall(r"^\s*\[\s*\d+\].*?(\w+)$", names, flags=re.M)), needed


def main():
    root, library, objdump = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    declared = set(header.functions(root))
    exported, needed = tables(library, objdump)
    faults = [f"{name} is declared but not exported" for name in sorted(declared - exported)]
    faults += [f"{name} is exported but not declared" for name in sorted(exported - declared)]
    foreign = {name for name in needed if name.lower() not in SYSTEM and not name.lower().startswith("api-ms-win-")}
    faults += [f"it needs {name}" for name in sorted(foreign)]
    print("\n".join(faults) if faults else f"{len(exported)} functions; needs {', '.join(sorted(needed))}")
    return 1 if faults or not needed else 0


if __name__ == "__main__":
    sys.exit(main())
