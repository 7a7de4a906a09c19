#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes src/token/unicode_tables.c: the character classes that the pre-tokenizers ask for.

Usage: make_unicode_tables.py > src/token/unicode_tables.c

The data comes from the PyPI package `unicodedata2`, whose version is that of the Unicode database (16.0.0 was used:
the version that the regular expressions of Hugging Face `tokenizers` 0.23 know). Without it Python's own, often older,
`unicodedata` serves; the version used stands in the output.
"""
try:
    import unicodedata2 as ud
except ImportError:
    import unicodedata as ud

LETTER, NUMBER, SPACE, PUNCT = 1, 2, 4, 8
# The White_Space property: the separator categories and these control characters.
CONTROL_SPACES = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85}


def flags(cp: int) -> int:
    cat = ud.category(chr(cp))
    if cat[0] == "Z" or cp in CONTROL_SPACES:
        return SPACE
    return {"L": LETTER, "N": NUMBER, "P": PUNCT}.get(cat[0], 0)


def main() -> None:
    ranges: list[int] = []
    last = -1
    for cp in range(0x110000):
        f = flags(cp)
        if f != last:
            ranges.append(cp << 8 | f)
            last = f
    print("/* SPDX-License-Identifier: MIT */")
    print("/* Written by tools/make_unicode_tables.py; do not edit. See unicode.h. */")
    print('#include "token/unicode.h"\n')
    print(f'const char moe__unicode_version[] = "{ud.unidata_version}";')
    print(f"const size_t moe__unicode_n_ranges = {len(ranges)};")
    print(f"const uint32_t moe__unicode_ranges[{len(ranges)}] = {{")
    for i in range(0, len(ranges), 9):
        print("    " + " ".join(f"0x{r:08x}," for r in ranges[i : i + 9]))
    print("};")
    print("const uint8_t moe__unicode_ascii[128] = {")
    for i in range(0, 128, 32):
        print("    " + " ".join(f"{flags(c)}," for c in range(i, i + 32)))
    print("};")


if __name__ == "__main__":
    main()
