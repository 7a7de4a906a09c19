#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the tables of src/token: character classes for the pre-tokenizers, decompositions for normal form C.

Usage: make_unicode_tables.py classes > src/token/unicode_tables.c
       make_unicode_tables.py nfc > src/token/nfc_tables.c

The data comes from the PyPI package `unicodedata2`, whose version is that of the Unicode database (16.0.0 was used:
the version that the regular expressions of Hugging Face `tokenizers` 0.23 know). Without it Python's own, often older,
`unicodedata` serves; the version used stands in the output.
"""
import sys

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


def rows(values: list[str], per_line: int) -> None:
    for i in range(0, len(values), per_line):
        print("    " + " ".join(values[i : i + per_line]))
    print("};")


def ranges_of(value) -> list[int]:
    """Code point << 8 | value wherever the value changes."""
    out: list[int] = []
    last = -1
    for cp in range(0x110000):
        v = value(cp)
        if v != last:
            out.append(cp << 8 | v)
            last = v
    return out


def head(include: str) -> None:
    print("/* SPDX-License-Identifier: MIT */")
    print("/* Written by tools/make_unicode_tables.py; do not edit. See " + include + ". */")
    print(f'#include "token/{include}"\n')


def write_classes() -> None:
    ranges = ranges_of(flags)
    head("unicode.h")
    print(f'const char moe__unicode_version[] = "{ud.unidata_version}";')
    print(f"const size_t moe__unicode_n_ranges = {len(ranges)};")
    print(f"const uint32_t moe__unicode_ranges[{len(ranges)}] = {{")
    rows([f"0x{r:08x}," for r in ranges], 8)
    print("const uint8_t moe__unicode_ascii[128] = {")
    rows([f"{flags(c)}," for c in range(128)], 32)


def write_nfc() -> None:
    """Hangul syllables are left out: they are computed."""
    parts: list[tuple[int, int, int]] = []  # code point, first, second (0: a singleton)
    for cp in range(0x110000):
        d = ud.decomposition(chr(cp))
        if d and not d.startswith("<") and not 0xAC00 <= cp <= 0xD7A3:
            ab = [int(x, 16) for x in d.split()]
            parts.append((cp, ab[0], ab[1] if len(ab) > 1 else 0))
    pairs = [i for i, (cp, _, b) in enumerate(parts) if b and ud.normalize("NFC", chr(cp)) == chr(cp)]
    pairs.sort(key=lambda i: parts[i][1:])
    seconds = {parts[i][2] for i in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))

    def klass(cp: int) -> int:
        if 0xD800 <= cp < 0xE000:
            return 0
        ccc = ud.combining(chr(cp))
        assert ccc < 255
        return ccc or (255 if cp in seconds or ud.normalize("NFC", chr(cp)) != chr(cp) else 0)

    ranges = ranges_of(klass)
    head("nfc.h")
    print(f"const size_t moe__nfc_n_ranges = {len(ranges)};")
    print(f"const uint32_t moe__nfc_ranges[{len(ranges)}] = {{")
    rows([f"0x{r:08x}," for r in ranges], 8)
    print(f"const size_t moe__nfc_n_parts = {len(parts)};")
    print(f"const uint32_t moe__nfc_parts[{len(parts)}][3] = {{")
    rows(["{0x%x, 0x%x, 0x%x}," % p for p in parts], 3)
    print(f"const size_t moe__nfc_n_pairs = {len(pairs)};")
    print(f"const uint16_t moe__nfc_pairs[{len(pairs)}] = {{")
    rows([f"{i}," for i in pairs], 16)


if __name__ == "__main__":
    {"classes": write_classes, "nfc": write_nfc}[sys.argv[1]]()
