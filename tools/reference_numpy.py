#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A second opinion: the forward pass of a GGUF file in NumPy, float64, written for clarity and nothing else.

It knows GGUF only (names, keys, row order), not `transformers`. make_tiny_model.py runs it on every fixture
that it writes, so that a fixture is accepted only when two independent implementations agree on logits,
expert ids and weights. One sequence, whole prompt at once, no cache.

    reference_numpy.py MODEL.gguf ID [ID ...]      prints the best tokens after the last id
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import gguf
import numpy as np

INTERLEAVED = ("llama", "granitemoe")  # rotary pairs (2i, 2i+1); the others (i, i + dim/2)
NORM_DEFAULT = {"llama": True, "granitemoe": True, "qwen3moe": True, "qwen2moe": False, "olmoe": False}


@dataclass
class Route:
    layer: int
    ids: np.ndarray  # [n_tok][k], best first
    weights: np.ndarray  # [n_tok][k], as used
    probs: np.ndarray  # [n_tok][n_experts], softmax over all experts


class Model:
    def __init__(self, path: str):
        reader = gguf.GGUFReader(path)
        self.meta = {k: f.contents() for k, f in reader.fields.items()}
        self.arch = self.meta["general.architecture"]
        self.t = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors
        }

    def key(self, name: str, default=None):
        return self.meta.get(f"{self.arch}.{name}", default)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.t[name + ".weight"]


def rms(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def frequencies(m: Model, dim: int) -> tuple[np.ndarray, float]:
    """Angle per position of each rotary pair, and the factor on cos and sin."""
    base = m.key("rope.freq_base", 10000.0)
    freq = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if "rope_freqs.weight" in m.t:
        freq = freq / m["rope_freqs"]
    kind, factor = m.key("rope.scaling.type", "none"), m.key("rope.scaling.factor", 1.0)
    if kind == "linear":
        return freq / factor, 1.0
    if kind == "yarn":
        context = m.key("rope.scaling.original_context_length")

        def pair(rotations: float) -> float:
            return dim * np.log(context / (rotations * 2 * np.pi)) / (2 * np.log(base))

        low = max(np.floor(pair(m.key("rope.scaling.yarn_beta_fast", 32.0))), 0)
        high = min(np.ceil(pair(m.key("rope.scaling.yarn_beta_slow", 1.0))), dim - 1)
        ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
        scale = (1.0 + 0.1 * np.log(factor)) * m.key("rope.scaling.attn_factor", 1.0)
        return freq / factor * ramp + freq * (1 - ramp), scale
    return freq, 1.0


def rotate(m: Model, x: np.ndarray) -> np.ndarray:
    """x [n_tok][heads][dim], positions 0..n_tok-1."""
    n, _, dim = x.shape
    freq, scale = frequencies(m, dim)
    angle = np.arange(n)[:, None, None] * freq
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    out = np.empty_like(x)
    a, b = (
        (slice(0, None, 2), slice(1, None, 2))
        if m.arch in INTERLEAVED
        else (slice(0, dim // 2), slice(dim // 2, None))
    )
    out[..., a] = x[..., a] * c - x[..., b] * s
    out[..., b] = x[..., a] * s + x[..., b] * c
    return out


def window(m: Model, i: int, n: int) -> int:
    """Positions that layer i sees, its own included, of n in all."""
    width, pattern = m.key("attention.sliding_window", 0), m.key("attention.sliding_window_pattern")
    if isinstance(pattern, int):
        has = pattern == 0 or i % pattern < pattern - 1
    else:
        has = pattern is None or bool(pattern[i])
    return width if width and has else n


def attention(m: Model, i: int, x: np.ndarray) -> np.ndarray:
    n, eps = len(x), m.key("attention.layer_norm_rms_epsilon")
    n_head, n_kv = m.key("attention.head_count"), m.key("attention.head_count_kv")
    dim = m.key("attention.key_length", m.key("embedding_length") // n_head)
    blk, clamp = f"blk.{i}.", m.key("attention.clamp_kqv")

    def project(role: str, heads: int) -> np.ndarray:
        y = x @ m[blk + f"attn_{role}"].T + m.t.get(blk + f"attn_{role}.bias", 0.0)
        norm = m.t.get(blk + f"attn_{role}_norm.weight")
        if norm is not None and len(norm) != dim:  # OLMoE: over the whole row
            y = rms(y, norm, eps)
        if clamp:
            y = np.clip(y, -clamp, clamp)
        y = y.reshape(n, heads, dim)
        return rms(y, norm, eps) if norm is not None and len(norm) == dim else y

    q, k, v = rotate(m, project("q", n_head)), rotate(m, project("k", n_kv)), project("v", n_kv)
    k, v = k.repeat(n_head // n_kv, axis=1), v.repeat(n_head // n_kv, axis=1)
    score = np.einsum("qhd,khd->hqk", q, k) * m.key("attention.scale", dim**-0.5)
    if cap := m.key("attn_logit_softcapping", 0.0):
        score = cap * np.tanh(score / cap)
    score = np.where(np.tril(np.ones((n, n), bool)) & ~np.tri(n, n, -window(m, i, n), bool), score, -np.inf)
    sinks = m.t.get(blk + "attn_sinks.weight")
    if sinks is not None:  # one more score in each row, without a value
        score = np.concatenate((score, np.broadcast_to(sinks[:, None, None], (n_head, n, 1))), -1)
    y = np.einsum("hqk,khd->qhd", softmax(score)[..., :n], v).reshape(n, n_head * dim)
    return y @ m[blk + "attn_output"].T + m.t.get(blk + "attn_output.bias", 0.0)


def experts(m: Model, i: int, x: np.ndarray, routes: list[Route]) -> np.ndarray:
    blk = f"blk.{i}."

    def mlp(h: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
        return (silu(h @ gate.T) * (h @ up.T)) @ down.T

    if blk + "ffn_gate_inp.weight" not in m.t:
        return mlp(x, m[blk + "ffn_gate"], m[blk + "ffn_up"], m[blk + "ffn_down"])
    probs = softmax(x @ m[blk + "ffn_gate_inp"].T)
    ids = np.argsort(-probs, axis=-1, kind="stable")[:, : m.key("expert_used_count")]
    weights = np.take_along_axis(probs, ids, axis=-1)
    if m.key("expert_weights_norm", NORM_DEFAULT[m.arch]):
        weights = weights / weights.sum(-1, keepdims=True)
    routes.append(Route(i, ids, weights, probs))
    gate, up, down = (m[blk + f"ffn_{r}_exps"] for r in ("gate", "up", "down"))
    y = np.zeros_like(x)
    for t in range(len(x)):
        for e, w in zip(ids[t], weights[t]):
            y[t] += w * mlp(x[t], gate[e], up[e], down[e])
    if blk + "ffn_gate_shexp.weight" in m.t:
        shared = mlp(x, *(m[blk + f"ffn_{r}_shexp"] for r in ("gate", "up", "down")))
        y += shared / (1.0 + np.exp(-(x @ m[blk + "ffn_gate_inp_shexp"])))[:, None]
    return y


def forward(m: Model, tokens: list[int]) -> tuple[np.ndarray, list[Route]]:
    """Logits [n_tok][n_vocab] and the routing of every layer that has experts."""
    eps, residual = m.key("attention.layer_norm_rms_epsilon"), m.key("residual_scale", 1.0)
    routes: list[Route] = []
    x = m["token_embd"][np.asarray(tokens)] * m.key("embedding_scale", 1.0)
    for i in range(m.key("block_count")):
        x = x + residual * attention(m, i, rms(x, m[f"blk.{i}.attn_norm"], eps))
        x = x + residual * experts(m, i, rms(x, m[f"blk.{i}.ffn_norm"], eps), routes)
    x = rms(x, m["output_norm"], eps)
    head = m["output"] if "output.weight" in m.t else m["token_embd"]
    logits = x @ head.T / m.key("logit_scale", 1.0)
    if cap := m.key("final_logit_softcapping", 0.0):
        logits = cap * np.tanh(logits / cap)
    return logits, routes


if __name__ == "__main__":
    last = forward(Model(sys.argv[1]), [int(a) for a in sys.argv[2:]])[0][-1]
    for token in np.argsort(-last)[:5]:
        print(token, f"{last[token]:.6f}")
