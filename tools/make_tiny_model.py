#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tiny random models and what `transformers` computes with them: the fixtures of tests/golden.

    make_tiny_model.py [--out DIR] [CASE ...]

For each case two files are written: CASE.gguf (F32 weights, made by convert_hf.py) and CASE.vec (expected
values, format: docs/formats/golden.md). The expected values come from `transformers` on the CPU in float32
with eager attention and eager experts: one pass over the whole prompt, then one token at a time with its KV
cache.

A seed is accepted only if

  * at every router decision the softmax probabilities of neighbouring ranks, down to the first expert left
    out, differ by at least MARGIN, so that a correct implementation cannot pick other ids by rounding,
  * decoding the prompt token by token gives `transformers` the same logits as the batch,
  * reference_numpy.py, which knows only the GGUF file, agrees on ids, weights and logits.

The weights are drawn with NumPy (stable between versions), larger than usual, so that attention and routing
differ visibly from token to token.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers.models.gemma2 import modeling_gemma2 as gemma2
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss

import convert_hf
import hf_tokenizer
import reference_numpy

MARGIN = 1e-4  # between neighbouring router probabilities
AGREE_LOGITS = 1e-5  # of a row's largest logit, transformers against NumPy
AGREE_WEIGHT = 2e-6
N_PROMPT, N_DECODE = 24, 8


@dataclass
class Case:
    name: str
    model: str  # transformers: the class without its ForCausalLM
    config: dict
    tokenizer: str | None = None  # pre-tokenizer name, "spm", or None for a file without vocabulary
    write_norm: bool = True  # False: leave the key out, the family's default must do
    seed: int = 1
    gains: dict = field(default_factory=dict)  # factor on the spread of tensors whose name contains the key
    attention: str = "eager"  # or one of ATTENTION, which other models of transformers have


def base(**kw) -> dict:
    d = dict(
        vocab_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    d.update(kw)
    return d


def rope(kind: str, theta: float = 10000.0, **kw) -> dict:
    return {"rope_type": kind, "rope_theta": theta, **kw}


def sinks_attention(module, q, k, v, mask, scaling, **kw):
    return gpt_oss.eager_attention_forward(module, q, k, v, mask, scaling)


def capped_attention(module, q, k, v, mask, scaling, **kw):
    cap = module.config.attn_logit_softcapping
    return gemma2.eager_attention_forward(module, q, k, v, mask, scaling=scaling, softcap=cap)


ATTENTION = {"sinks": sinks_attention, "capped": capped_attention}
for _name, _forward in ATTENTION.items():
    transformers.AttentionInterface.register(_name, _forward)
    transformers.AttentionMaskInterface.register(_name, transformers.masking_utils.eager_mask)


# fmt: off
CASES = [
    Case("qwen3moe", "Qwen3Moe", tokenizer="qwen2", write_norm=False, config=base(
        num_hidden_layers=3, hidden_size=48, head_dim=20, vocab_size=272, intermediate_size=48,
        num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True,
        tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=rope("default", 1000000.0))),
    Case("olmoe", "Olmoe", tokenizer="olmo", write_norm=False, config=base(
        hidden_size=40, vocab_size=272, num_key_value_heads=4,
        num_experts=8, num_experts_per_tok=4, intermediate_size=20, norm_topk_prob=False)),
    Case("mixtral", "Mixtral", tokenizer="spm", write_norm=False, config=base(
        hidden_size=48, vocab_size=292, rope_parameters=rope("default", 1000000.0),
        num_local_experts=8, num_experts_per_tok=2, intermediate_size=16)),
    Case("qwen2moe", "Qwen2Moe", tokenizer="qwen2", write_norm=False, config=base(
        hidden_size=32, vocab_size=272, intermediate_size=44, qkv_bias=True,
        num_experts=12, num_experts_per_tok=4, moe_intermediate_size=20, norm_topk_prob=False,
        shared_expert_intermediate_size=36)),
    Case("granitemoe", "GraniteMoe", tokenizer="refact", write_norm=False, config=base(
        hidden_size=56, vocab_size=272, tie_word_embeddings=True,
        num_local_experts=8, num_experts_per_tok=3, intermediate_size=12,
        embedding_multiplier=3.0, attention_multiplier=0.21, residual_multiplier=0.6, logits_scaling=5.0),
        gains={"embed_tokens": 0.5}),
    Case("qwen2moe-dense", "Qwen2Moe", config=base(                 # only layer 1 has experts
        num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3],
        hidden_size=32, num_key_value_heads=4, intermediate_size=44, qkv_bias=True, tie_word_embeddings=True,
        num_experts=6, num_experts_per_tok=2, moe_intermediate_size=20, norm_topk_prob=True,
        shared_expert_intermediate_size=28)),
    Case("qwen3moe-dense", "Qwen3Moe", config=base(                 # layer 0 has none
        num_hidden_layers=3, mlp_only_layers=[0], hidden_size=36, head_dim=14, intermediate_size=44,
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=False,
        attention_bias=True)),
    Case("qwen3moe-yarn", "Qwen3Moe", config=base(
        hidden_size=32, head_dim=24, intermediate_size=32, max_position_embeddings=1024,
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=16, norm_topk_prob=True,
        rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=256,
                             beta_fast=8.0, beta_slow=0.5))),
    Case("mixtral-llama3", "Mixtral", config=base(
        hidden_size=32, head_dim=16, num_key_value_heads=1, tie_word_embeddings=True,
        num_local_experts=5, num_experts_per_tok=2, intermediate_size=16,
        rope_parameters=rope("llama3", factor=8.0, original_max_position_embeddings=128,
                             low_freq_factor=1.0, high_freq_factor=4.0))),
    Case("granitemoe-linear", "GraniteMoe", config=base(
        hidden_size=40, attention_bias=True, rope_parameters=rope("linear", factor=3.0),
        num_local_experts=6, num_experts_per_tok=2, intermediate_size=16,
        embedding_multiplier=2.0, attention_multiplier=0.35, residual_multiplier=1.3, logits_scaling=0.7),
        gains={"embed_tokens": 0.5}),
    Case("olmoe-norm", "Olmoe", config=base(
        hidden_size=32, tie_word_embeddings=True, clip_qkv=1.1,
        num_experts=8, num_experts_per_tok=3, intermediate_size=16, norm_topk_prob=True)),
    Case("mixtral-window", "Mixtral", config=base(
        hidden_size=32, head_dim=8, sliding_window=7,
        num_local_experts=4, num_experts_per_tok=2, intermediate_size=16)),
    Case("qwen2moe-window", "Qwen2Moe", config=base(                # layers 1 and 2 have a window
        num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1,
        hidden_size=32, intermediate_size=44, qkv_bias=True, tie_word_embeddings=True,
        num_experts=6, num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True,
        shared_expert_intermediate_size=20)),
    Case("mixtral-sinks", "Mixtral", attention="sinks", config=base(
        hidden_size=32, head_dim=8, sliding_window=9,
        num_local_experts=4, num_experts_per_tok=2, intermediate_size=16), gains={"sinks": 6.0}),
    Case("qwen3moe-capped", "Qwen3Moe", attention="capped", config=base(
        hidden_size=32, head_dim=12, intermediate_size=32, tie_word_embeddings=True,
        num_experts=6, num_experts_per_tok=2, moe_intermediate_size=16, norm_topk_prob=True,
        attn_logit_softcapping=2.5, final_logit_softcapping=4.0)),
]
# fmt: on


def build(case: Case, seed: int) -> torch.nn.Module:
    """The model with weights drawn from `seed`; sums over a row have a spread of about 1 to 2."""
    config = getattr(transformers, case.model + "Config")(**case.config)
    config._attn_implementation = case.attention
    config._experts_implementation = "eager"
    model = getattr(transformers, case.model + "ForCausalLM")(config).float().eval()
    for layer in model.model.layers if case.attention == "sinks" else ():
        layer.self_attn.sinks = torch.nn.Parameter(torch.zeros(config.num_attention_heads))
    if cap := getattr(config, "final_logit_softcapping", None):  # as in Gemma2ForCausalLM
        model.lm_head.register_forward_hook(lambda _m, _i, logits: torch.tanh(logits / cap) * cap)
    rng = np.random.default_rng([seed, sum(map(ord, case.name))])
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            gain = next((g for key, g in case.gains.items() if key in name), 1.0)
            if p.ndim == 1:
                is_norm = name.endswith("norm.weight")
                values = (1.0 if is_norm else 0.0) + 0.3 * rng.standard_normal(p.shape)
            elif "embed_tokens" in name:
                values = rng.standard_normal(p.shape)
            else:
                router = ".gate.weight" in name or "router" in name
                values = rng.standard_normal(p.shape) * (1.8 if router else 1.4) / np.sqrt(p.shape[-1])
            p.copy_(torch.from_numpy((gain * values).astype(np.float32)))
    return model


@dataclass
class Expected:
    tokens: list[int]
    logits: np.ndarray  # [n_tok][n_vocab]
    routes: list[tuple[int, np.ndarray, np.ndarray]]  # layer, ids [n_tok][k], weights [n_tok][k]


def run_transformers(model: torch.nn.Module, tokens: list[int]) -> Expected:
    """Prompt in one pass, the rest token by token; the routers are read while they run."""
    seen: dict[int, list] = {}
    hooks = []
    for name, module in model.named_modules():
        if type(module).__name__.endswith("TopKRouter"):
            layer = int(name.split(".layers.")[1].split(".")[0])
            hooks.append(
                module.register_forward_hook(
                    lambda _m, _i, out, layer=layer: seen.setdefault(layer, []).append(out[1:3])
                )
            )
    rows = []
    with torch.no_grad():
        step = model(torch.tensor([tokens[:N_PROMPT]]), use_cache=True)
        rows.append(step.logits[0])
        for t in tokens[N_PROMPT:]:
            step = model(torch.tensor([[t]]), past_key_values=step.past_key_values, use_cache=True)
            rows.append(step.logits[0])
        for h in hooks:
            h.remove()
        cache, stepwise = None, []
        for t in tokens[:N_PROMPT]:
            step = model(torch.tensor([[t]]), past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            stepwise.append(step.logits[0])
    drift = (torch.cat(stepwise) - rows[0]).abs().max() / rows[0].abs().max()
    if drift > AGREE_LOGITS:
        raise SystemExit(f"transformers disagrees with itself between batch and steps by {drift:.2e}")
    routes = [
        (layer, torch.cat([ids for _, ids in parts]).numpy(), torch.cat([w for w, _ in parts]).numpy())
        for layer, parts in sorted(seen.items())
    ]
    return Expected(tokens, torch.cat(rows).numpy(), routes)


def smallest_margin(routes: list[reference_numpy.Route]) -> float:
    """Least gap between neighbouring ranks 0..k of any router decision."""
    gaps = []
    for r in routes:
        ranked = -np.sort(-r.probs, axis=-1)[:, : r.ids.shape[1] + 1]
        gaps.append((ranked[:, :-1] - ranked[:, 1:]).min())
    return float(min(gaps))


def disagreement(want: Expected, path: Path) -> tuple[float, float, float]:
    """(logit error relative to the row's largest, weight error, router margin) against NumPy on the file."""
    logits, routes = reference_numpy.forward(reference_numpy.Model(str(path)), want.tokens)
    error = (np.abs(logits - want.logits).max(-1) / np.abs(want.logits).max(-1)).max()
    worst = 0.0
    if [r.layer for r in routes] != [layer for layer, _, _ in want.routes]:
        raise SystemExit(f"{path}: the layers with experts differ")
    for r, (_, ids, weights) in zip(routes, want.routes):
        if not np.array_equal(r.ids, ids):
            return float(error), float("inf"), smallest_margin(routes)
        worst = max(worst, np.abs(r.weights - weights).max())
    return float(error), float(worst), smallest_margin(routes)


def number(x: float) -> str:
    return f"{x:.9g}"


def write_vec(path: Path, case: Case, want: Expected, note: str) -> None:
    lines = [
        "libmoe-golden 1",
        f"# transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, {note}",
        f"case {case.name}",
        f"model {case.name}.gguf",
        f"vocab {want.logits.shape[1]}",
        f"prompt {N_PROMPT}",
        f"tokens {len(want.tokens)} " + " ".join(map(str, want.tokens)),
    ]
    for layer, ids, weights in want.routes:
        for row in range(len(ids)):
            pairs = " ".join(f"{e}:{number(w)}" for e, w in zip(ids[row], weights[row]))
            lines.append(f"route {layer} {row} {ids.shape[1]} {pairs}")
    for row, values in enumerate(want.logits):
        lines.append(f"logits {row} " + " ".join(map(number, values)))
    path.write_text("\n".join(lines + ["end"]) + "\n", encoding="ascii")


def tiny_tokenizer(kind: str) -> hf_tokenizer.TokenizerData:
    """A complete small vocabulary: every byte has a token, a few merges, two control tokens."""
    normal, control = hf_tokenizer.NORMAL, hf_tokenizer.CONTROL
    if kind == "spm":
        pieces = [
            "\u2581",
            *"etaoinshrdlucmfwygpbvk",
            "th",
            "the",
            "\u2581the",
            "in",
            "er",
            "\u2581a",
            "an",
            "and",
        ]
        return hf_tokenizer.TokenizerData(
            model="llama",
            pre="default",
            tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces,
            types=[hf_tokenizer.UNKNOWN, control, control]
            + [hf_tokenizer.BYTE] * 256
            + [normal] * len(pieces),
            scores=[0.0] * 259
            + [-1000.0 + (i if len(p) == 1 else 900 + 50 - i) for i, p in enumerate(pieces)],
            ids={"bos": 1, "eos": 2, "unknown": 0},
            add_bos=True,
            add_eos=False,
            add_space_prefix=True,
        )
    return hf_tokenizer.small_bpe(kind)


def make(case: Case, out: Path) -> None:
    for seed in range(case.seed, case.seed + 50):
        model = build(case, seed)
        # Ids are drawn from half of the vocabulary, so that some repeat.
        rng = np.random.default_rng([seed, 77])
        tokens = [int(t) for t in rng.integers(0, case.config["vocab_size"] // 2, N_PROMPT + N_DECODE)]
        want = run_transformers(model, tokens)
        path = out / f"{case.name}.gguf"
        tokenizer = tiny_tokenizer(case.tokenizer) if case.tokenizer else None
        drop = () if case.write_norm else (".expert_weights_norm",)
        convert_hf.convert(model, path, tokenizer=tokenizer, name=f"tiny {case.name}", drop_keys=drop)
        error, weight_error, margin = disagreement(want, path)
        if margin < MARGIN:
            print(f"{case.name}: seed {seed} rejected, margin {margin:.1e}")
            continue
        if error > AGREE_LOGITS or weight_error > AGREE_WEIGHT:
            raise SystemExit(f"{case.name}: NumPy disagrees: logits {error:.2e}, weights {weight_error:.2e}")
        vec = path.with_suffix(".vec")
        write_vec(vec, case, want, f"seed {seed}, router margin {margin:.2e}, numpy differs by {error:.1e}")
        used = {(layer, int(e)) for layer, ids, _ in want.routes for e in ids.ravel()}
        print(
            f"{case.name:18} seed {seed}  margin {margin:.1e}"
            f"  numpy: logits {error:.1e} weights {weight_error:.1e}"
            f"  experts used {len(used)}  logit spread {want.logits.std():.2f}"
            f"  bytes {path.stat().st_size} + {vec.stat().st_size}"
        )
        return
    raise SystemExit(f"{case.name}: no seed has a router margin of {MARGIN}")


def main() -> None:
    p = argparse.ArgumentParser(description="fixtures of tests/golden")
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "tests/golden/data")
    p.add_argument("cases", nargs="*", help="default: all")
    a = p.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    a.out.mkdir(parents=True, exist_ok=True)
    unknown = set(a.cases) - {c.name for c in CASES}
    if unknown:
        sys.exit(f"unknown case: {', '.join(sorted(unknown))}")
    for case in CASES:
        if not a.cases or case.name in a.cases:
            make(case, a.out)


if __name__ == "__main__":
    main()
