#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Copies a GGUF file (v3, little endian) with string metadata added.

add_meta.py IN OUT KEY VALUE [KEY VALUE]...
"""

import struct
import sys

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of number types
STRING, ARRAY = 8, 9


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def skip_value(data, at, kind):
    if kind == STRING:
        return at + 8 + u64(data, at)
    if kind == ARRAY:
        (elem,) = struct.unpack_from("<I", data, at)
        count = u64(data, at + 4)
        at += 12
        for _ in range(count):
            at = skip_value(data, at, elem)
        return at
    return at + SIZES[kind]


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def main():
    source, target, *pairs = sys.argv[1:]
    with open(source, "rb") as f:
        data = f.read()
    magic, version, n_tensors, n_meta = struct.unpack_from("<4sIQQ", data)
    assert magic == b"GGUF" and version == 3
    at, alignment = 24, 32
    for _ in range(n_meta):
        length = u64(data, at)
        key = data[at + 8:at + 8 + length].decode()
        (kind,) = struct.unpack_from("<I", data, at + 8 + length)
        value = at + 12 + length
        if key == "general.alignment":
            (alignment,) = struct.unpack_from("<I", data, value)
        at = skip_value(data, value, kind)
    meta_end = at
    for _ in range(n_tensors):
        at += 8 + u64(data, at)
        (n_dims,) = struct.unpack_from("<I", data, at)
        at += 4 + 8 * n_dims + 4 + 8
    added = b"".join(text(k) + struct.pack("<I", STRING) + text(v) for k, v in zip(pairs[::2], pairs[1::2]))
    head = struct.pack("<4sIQQ", magic, version, n_tensors, n_meta + len(pairs) // 2)
    head += data[24:meta_end] + added + data[meta_end:at]
    body = data[-(-at // alignment) * alignment:]
    with open(target, "wb") as f:
        f.write(head + b"\0" * (-len(head) % alignment) + body)


main()
