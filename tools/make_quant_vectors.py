#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tests/unit/data/quant_vectors.bin for tests/unit/test_quant.c with the gguf package.

The file is a run of little-endian records until its end:
    u32 kind, u32 type, u32 n, u32 n_bytes, then n_bytes of blocks, then n float32
kind 1: blocks of random and extreme bytes, and the values the gguf package reads from them
kind 2: source values, and the blocks the gguf package writes for them
"""
import argparse
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

# type: (number of blocks, byte offsets of the half-precision scales in a block)
TYPES = {
    T.F16: (512, [0]), T.BF16: (512, []),
    T.Q4_0: (24, [0]), T.Q4_1: (24, [0, 2]), T.Q5_0: (24, [0]), T.Q5_1: (24, [0, 2]), T.Q8_0: (24, [0]),
    T.Q2_K: (8, [80, 82]), T.Q3_K: (8, [108]), T.Q4_K: (8, [0, 2]), T.Q5_K: (8, [0, 2]), T.Q6_K: (8, [208]),
    T.IQ4_NL: (24, [0]), T.IQ4_XS: (8, [0]), T.MXFP4: (24, []),
}
ENCODED = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.MXFP4]
# ones, zeros of both signs, smallest and largest subnormal, smallest normal, largest number
EXTREME = [0x3C00, 0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF]


def random_blocks(rng, t):
    """Random bytes with finite scales; extreme scales and all bits clear or set in the first blocks."""
    n, scales = TYPES[t]
    _, size = gguf.GGML_QUANT_SIZES[t]
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if t == T.BF16:  # every value is legal; NaN bits are not promised
        h = b.view(np.uint16)
        b = np.where((h & 0x7F80) == 0x7F80, h & 0xFF7F, h).astype(np.uint16).view(np.uint8)
    if t == T.MXFP4:
        b[:6, 0] = [0, 1, 2, 127, 251, 252]
        b[6:, 0] = rng.integers(90, 150, n - 6)
        return b
    if scales:
        b[1], b[2] = 0, 255
    for k, at in enumerate(scales):
        h = rng.normal(0, 1, n).astype(np.float16).view(np.uint16)
        m = min(n, len(EXTREME))
        h[:m] = np.roll(EXTREME, k)[:m]
        b[:, at:at + 2] = h.reshape(n, 1).view(np.uint8)
    return b


def record(kind, t, blocks, values):
    blocks = np.ascontiguousarray(blocks).view(np.uint8).ravel()
    values = np.ascontiguousarray(values, dtype="<f4").ravel()
    return struct.pack("<4I", kind, int(t), values.size, blocks.size) + blocks.tobytes() + values.tobytes()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", nargs="?", default="tests/unit/data/quant_vectors.bin")
    rng = np.random.default_rng(20240517)
    out = b""
    for t in TYPES:
        blocks = random_blocks(rng, t)
        values = quants.dequantize(blocks.reshape(1, -1), t)
        assert np.isfinite(values).all(), t
        out += record(1, t, blocks, values)
    x = rng.standard_t(5, 2048).astype(np.float32) * np.float32(0.03)
    x[64:96] = 0
    x[96:128] = np.float32(0.5)
    for t in ENCODED:
        out += record(2, t, quants.quantize(x.reshape(1, -1), t), x)
    with open(ap.parse_args().out, "wb") as f:
        f.write(out)
    print(len(out), "bytes")


if __name__ == "__main__":
    main()
