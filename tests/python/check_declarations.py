#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_declarations.py PROGRAM: the generated Python structs must lie in memory as a C compiler lays them out (the
program of tests/abi prints that), and so must the layouts of bindings/api.json."""
import ctypes
import importlib.util
import json
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def declarations():
    path = ROOT / "bindings/python/libmoe/_declarations.py"
    spec = importlib.util.spec_from_file_location("declarations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        print("recorded layouts are for 64-bit pointers")
        return 77
    compiled, struct = {}, ""
    for line in subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout.splitlines():
        parts = line.split()
        if line.startswith(" "):
            compiled[struct][1][parts[0]] = (int(parts[1]), int(parts[2]))
        else:
            struct = parts[0]
            compiled[struct] = (int(parts[1]), {})
    python = {}
    for name, kind in declarations().STRUCTS.items():
        members = {field[0]: (getattr(kind, field[0]).offset, getattr(kind, field[0]).size) for field in kind._fields_}
        python[name] = (ctypes.sizeof(kind), members)
    api = json.loads((ROOT / "bindings/api.json").read_text(encoding="utf-8"))
    listed = {s["name"]: (s["size"], {m["name"]: (m["offset"], m["bytes"]) for m in s["members"]})
              for s in api["structs"]}
    wrong = [name for name in compiled.keys() | python.keys() | listed.keys()
             if not compiled.get(name) == python.get(name) == listed.get(name)]
    for name in wrong:
        print(f"{name}:\n  C      {compiled.get(name)}\n  Python {python.get(name)}\n  api    {listed.get(name)}")
    print(f"{len(compiled)} structs, {len(wrong)} differ")
    return 1 if wrong or len(compiled) < 40 else 0


if __name__ == "__main__":
    sys.exit(main())
