#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the layer rule of docs/architecture.md from the #include lines of src/: a folder includes only itself, folders of lower
layers, and folders of its own layer. Prints every violation; exit status 1 if there is any."""
import pathlib
import re
import sys

# Lowest first; folders of one set may include each other.
LAYERS = [
    {"base"},
    {"quant"},
    {"file"},
    {"kernel"},
    {"arch", "model", "token"},
    {"kv", "attn", "route", "expert", "study"},
    {"dispatch"},
    {"run"},
    {"sample"},
    {"api"},
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}


def violations(src: pathlib.Path):
    for path in sorted([*src.rglob("*.c"), *src.rglob("*.h"), *src.rglob("*.inl"), *src.rglob("*.def")]):
        parts = path.relative_to(src).parts
        if len(parts) == 1:  # the unity file includes everything
            continue
        if parts[0] not in LEVEL:
            yield f"{path}: folder {parts[0]} is in no layer"
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([a-z0-9_]+)/', line)
            if not match or match.group(1) == "moe":
                continue
            other = match.group(1)
            if other in LEVEL and LEVEL[other] > LEVEL[parts[0]]:
                yield f"{path}:{number}: {parts[0]} includes {other}, which lies above it"


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    found = list(violations(root / "src"))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
