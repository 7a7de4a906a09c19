#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Large GGUF models with random weights, for measuring speed and memory. They say nothing sensible.

    make_random_model.py OUT.gguf --preset olmoe --type q4_k_m [--arch qwen3moe] [--layers N ...]

The files have true shapes, true names and true block formats: quants are random bits, the scales of each
block are chosen so that a row of weights has a spread of 1/sqrt(columns) and activations stay finite. Norms and
routers are F32. The vocabulary is a small byte-level BPE one padded to the model's size, so that text can be
encoded. Blocks are drawn once per type and spread, some 32 MB of them, and then repeated from random places:
writing takes as long as the disk does. One tensor is in memory at a time. Needs numpy and gguf only.

Types are those of all matrices, or mixes: q4_k_m has Q6_K in the output matrix and in half of the values and down
projections, q4_k, q4_0 and iq4_nl have it in the output matrix, mxfp4 is for the experts, the rest Q8_0.

Presets (layers x width, heads/KV heads of size, experts of width, top-k, vocabulary):

    olmoe       16 x 2048, 16/16 of 128,  64 of 1024, top-8,  50304     arch olmoe (or --arch qwen3moe)
    granite     24 x 1024, 16/8  of  64,  32 of  512, top-8,  49155     arch granitemoe
    mixtral-s    8 x 1024, 16/4  of  64,   8 of 3584, top-2,  32000     arch llama
    qwen3-30b   48 x 2048, 32/4  of 128, 128 of  768, top-8, 151936     arch qwen3moe
    tiny         2 x  256,  4/2  of  64,   8 of  256, top-2,   1024     arch qwen3moe, to try the rest
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import gguf
import numpy as np

import hf_tokenizer

Q = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class Shape:
    arch: str
    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    ff: int  # width of one expert
    vocab: int
    context: int = 4096
    theta: float = 10000.0
    tied: bool = False


PRESETS = {
    "olmoe": Shape("olmoe", 16, 2048, 16, 16, 128, 64, 8, 1024, 50304),
    "granite": Shape("granitemoe", 24, 1024, 16, 8, 64, 32, 8, 512, 49155, tied=True),
    "mixtral-s": Shape("llama", 8, 1024, 16, 4, 64, 8, 2, 3584, 32000, theta=1e6),
    "qwen3-30b": Shape("qwen3moe", 48, 2048, 32, 4, 128, 128, 8, 768, 151936, context=32768, theta=1e6),
    "tiny": Shape("qwen3moe", 2, 256, 4, 2, 64, 8, 2, 256, 1024),
}
MIXES = ("q4_k_m", "q4_k", "q4_0", "q8_0", "q6_k", "iq4_nl", "mxfp4", "f16", "bf16", "f32")
ARCHES = ("qwen3moe", "olmoe", "llama", "granitemoe", "qwen2moe")


# ---- block contents
# Each function fills n blocks of its type for weights of spread sigma. The spread of the quants is that of a
# uniform draw over their range; scales vary by a third from block to block.


def block_scales(rng: np.random.Generator, n: int, scale: float) -> np.ndarray:
    """[n][2] bytes: an f16 scale per block."""
    return (scale * rng.uniform(0.7, 1.3, n)).astype(np.float16).view(np.uint8).reshape(n, 2)


def fill_q8_0(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    q = rng.integers(-127, 128, (n, 32), dtype=np.int8).view(np.uint8)
    return np.concatenate([block_scales(rng, n, sigma / 73.6), q], axis=1)


def fill_q4_0(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    q = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    return np.concatenate([block_scales(rng, n, sigma / 4.61), q], axis=1)


def fill_q4_k(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    """Weights are d sc q - dmin m with q of 0..15; m close to sc and dmin = 7.5 d keep the mean near zero."""
    sc = rng.integers(24, 60, (n, 8), dtype=np.uint8)
    m = sc + rng.integers(0, 4, (n, 8), dtype=np.uint8)
    packed = np.empty((n, 12), np.uint8)
    packed[:, 0:4] = sc[:, :4] | (sc[:, 4:] >> 4) << 6
    packed[:, 4:8] = m[:, :4] | (m[:, 4:] >> 4) << 6
    packed[:, 8:12] = (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4
    d = sigma / (4.61 * 43.0) * rng.uniform(0.7, 1.3, n)
    scales = np.stack([d, 7.5 * d], axis=1).astype(np.float16).view(np.uint8)
    q = rng.integers(0, 256, (n, 128), dtype=np.uint8)
    return np.concatenate([scales, packed, q], axis=1)


def fill_q6_k(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    bits = rng.integers(0, 256, (n, 192), dtype=np.uint8)
    sign = rng.integers(0, 2, (n, 16), dtype=np.int8) * 2 - 1
    scales = (rng.integers(32, 96, (n, 16), dtype=np.int8) * sign).view(np.uint8)
    return np.concatenate([bits, scales, block_scales(rng, n, sigma / (18.5 * 66.0))], axis=1)


def fill_iq4_nl(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    """The spread of the type's table of 16 values is 68.9."""
    q = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    return np.concatenate([block_scales(rng, n, sigma / 68.9), q], axis=1)


def fill_mxfp4(rng: np.random.Generator, n: int, sigma: float) -> np.ndarray:
    """Scales are powers of two, 2^(e-127); the elements, 0 to 6, have a spread of 2.93."""
    e = np.floor(np.log2(sigma / 2.93 * rng.uniform(1.0, 2.0, (n, 1)))) + 127
    q = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    return np.concatenate([e.astype(np.uint8), q], axis=1)


def fill_float(rng: np.random.Generator, n: int, sigma: float, kind: Q) -> np.ndarray:
    values = (sigma * rng.standard_normal(n)).astype(np.float32)
    return gguf.quants.quantize(values, kind).view(np.uint8).reshape(n, -1)


FILL: dict[Q, Callable[[np.random.Generator, int, float], np.ndarray]] = {
    Q.Q8_0: fill_q8_0,
    Q.Q4_0: fill_q4_0,
    Q.Q4_K: fill_q4_k,
    Q.Q6_K: fill_q6_k,
    Q.IQ4_NL: fill_iq4_nl,
    Q.MXFP4: fill_mxfp4,
    Q.F16: lambda r, n, s: fill_float(r, n, s, Q.F16),
    Q.BF16: lambda r, n, s: fill_float(r, n, s, Q.BF16),
    Q.F32: lambda r, n, s: fill_float(r, n, s, Q.F32),
}


POOL_BYTES = 32 << 20
pools: dict[tuple[Q, float], np.ndarray] = {}  # by type and spread: blocks [n][bytes]


def matrix(rng: np.random.Generator, shape: tuple[int, ...], kind: Q, gain: float = 1.0) -> np.ndarray:
    """Bytes of a tensor [...][rows][columns]; blocks run along the columns."""
    length, width = gguf.GGML_QUANT_SIZES[kind]
    if shape[-1] % length:
        raise SystemExit(f"{kind.name} needs rows that are multiples of {length}, not {shape[-1]}")
    sigma = gain / np.sqrt(shape[-1])
    if (kind, sigma) not in pools:
        pools[kind, sigma] = FILL[kind](rng, POOL_BYTES // width, sigma)
    pool = pools[kind, sigma]
    out = np.empty((int(np.prod(shape)) // length, width), np.uint8)
    step = len(pool) // 2
    for at in range(0, len(out), step):
        n = min(len(out) - at, step)
        start = int(rng.integers(0, len(pool) - n + 1))
        out[at : at + n] = pool[start : start + n]
    return out.reshape(*shape[:-1], shape[-1] // length * width)


# ---- the model


@dataclass(frozen=True)
class Plan:
    name: str
    shape: tuple[int, ...]
    kind: Q
    norm: bool = False  # values around 1 instead of around 0
    gain: float = 1.0


def more_bits(i: int, n: int) -> bool:
    """The layers in which mixes such as Q4_K_M spend more: first and last eighth, every third between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def plan(s: Shape, mix: str) -> Iterator[Plan]:
    pure = {"q4_k_m": Q.Q4_K, "mxfp4": Q.Q8_0}.get(mix) or Q[mix.upper()]
    expert = Q.MXFP4 if mix == "mxfp4" else pure
    head = Q.Q6_K if mix in ("q4_k_m", "q4_k", "q4_0", "iq4_nl") else pure
    yield Plan("token_embd.weight", (s.vocab, s.dim), head if s.tied else pure, gain=np.sqrt(s.dim) * 0.5)
    yield Plan("output_norm.weight", (s.dim,), Q.F32, norm=True)
    if not s.tied:
        yield Plan("output.weight", (s.vocab, s.dim), head)
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        finer = Q.Q6_K if mix == "q4_k_m" and more_bits(i, s.layers) else pure
        b = f"blk.{i}."
        yield Plan(b + "attn_norm.weight", (s.dim,), Q.F32, norm=True)
        yield Plan(b + "attn_q.weight", (q, s.dim), pure)
        yield Plan(b + "attn_k.weight", (kv, s.dim), pure)
        yield Plan(b + "attn_v.weight", (kv, s.dim), finer)
        if s.arch in ("qwen3moe", "olmoe"):
            per_head = s.arch == "qwen3moe"
            yield Plan(b + "attn_q_norm.weight", (s.head_dim if per_head else q,), Q.F32, norm=True)
            yield Plan(b + "attn_k_norm.weight", (s.head_dim if per_head else kv,), Q.F32, norm=True)
        if s.arch == "qwen2moe":
            for r, n in (("q", q), ("k", kv), ("v", kv)):
                yield Plan(b + f"attn_{r}.bias", (n,), Q.F32)
        yield Plan(b + "attn_output.weight", (s.dim, q), pure)
        yield Plan(b + "ffn_norm.weight", (s.dim,), Q.F32, norm=True)
        yield Plan(b + "ffn_gate_inp.weight", (s.experts, s.dim), Q.F32, gain=2.0)
        yield Plan(b + "ffn_gate_exps.weight", (s.experts, s.ff, s.dim), expert)
        yield Plan(b + "ffn_up_exps.weight", (s.experts, s.ff, s.dim), expert)
        down = expert if mix == "mxfp4" else finer
        yield Plan(b + "ffn_down_exps.weight", (s.experts, s.dim, s.ff), down)
        if s.arch == "qwen2moe":
            yield Plan(b + "ffn_gate_inp_shexp.weight", (s.dim,), Q.F32)
            yield Plan(b + "ffn_gate_shexp.weight", (4 * s.ff, s.dim), pure)
            yield Plan(b + "ffn_up_shexp.weight", (4 * s.ff, s.dim), pure)
            yield Plan(b + "ffn_down_shexp.weight", (s.dim, 4 * s.ff), finer)


def write_metadata(w: gguf.GGUFWriter, s: Shape, name: str, mix: str) -> None:
    w.add_type("model")
    w.add_name(name)
    types = {"f32": "ALL_F32", "q4_k": "MOSTLY_Q4_K_S", "mxfp4": "MOSTLY_MXFP4_MOE"}
    w.add_file_type(gguf.LlamaFileType[types.get(mix, "MOSTLY_" + mix.upper())])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(s.layers)
    w.add_context_length(s.context)
    w.add_embedding_length(s.dim)
    w.add_feed_forward_length(s.ff)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv_heads)
    w.add_key_length(s.head_dim)
    w.add_value_length(s.head_dim)
    w.add_rope_freq_base(s.theta)
    w.add_rope_dimension_count(s.head_dim)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(s.vocab)
    w.add_expert_count(s.experts)
    w.add_expert_used_count(s.top_k)
    w.add_expert_weights_norm(s.arch not in ("olmoe", "qwen2moe"))
    if s.arch in ("qwen3moe", "qwen2moe"):
        w.add_expert_feed_forward_length(s.ff)
    if s.arch == "qwen2moe":
        w.add_expert_shared_feed_forward_length(4 * s.ff)
    if s.arch == "granitemoe":
        w.add_attention_scale(1.0 / s.head_dim)
        w.add_embedding_scale(12.0)
        w.add_residual_scale(0.22)
        w.add_logit_scale(6.0)


def write_model(out: Path, s: Shape, mix: str, seed: int, name: str) -> None:
    tensors = list(plan(s, mix))
    w = gguf.GGUFWriter(None, s.arch)
    write_metadata(w, s, name, mix)
    vocabulary = hf_tokenizer.small_bpe("qwen2")
    vocabulary.pad_to(s.vocab)
    vocabulary.write(w)
    for t in tensors:
        length, width = gguf.GGML_QUANT_SIZES[t.kind]
        n_bytes = int(np.prod(t.shape)) // length * width
        w.add_tensor_info(t.name, list(t.shape), np.dtype(np.float32), n_bytes, raw_dtype=t.kind)
    w.write_header_to_file(out)
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for i, t in enumerate(tensors):
        rng = np.random.default_rng([seed, i])
        if t.norm:
            data = (1.0 + 0.1 * rng.standard_normal(t.shape)).astype(np.float32)
        else:
            data = matrix(rng, t.shape, t.kind, t.gain)
        w.write_tensor_data(data)
    w.close()


def main() -> None:
    p = argparse.ArgumentParser(
        description="GGUF model with random weights", formatter_class=argparse.RawTextHelpFormatter
    )
    p.add_argument("out", type=Path)
    p.add_argument("--preset", choices=PRESETS, default="tiny")
    p.add_argument("--type", default="q4_k_m", choices=MIXES)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--arch", choices=ARCHES)
    for f in fields(Shape):
        if f.name not in ("arch", "tied"):
            p.add_argument("--" + f.name.replace("_", "-"), type=type(getattr(PRESETS["tiny"], f.name)))
    a = p.parse_args()
    given = {f.name: getattr(a, f.name, None) for f in fields(Shape)}
    shape = replace(PRESETS[a.preset], **{k: v for k, v in given.items() if v is not None})
    write_model(a.out, shape, a.type, a.seed, f"random {a.preset} {a.type}")
    total = sum(int(np.prod(t.shape)) for t in plan(shape, a.type))
    print(f"{a.out}: {shape.arch}, {total / 1e6:.1f} M parameters, {a.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
