#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hugging Face Mixture-of-Experts checkpoint -> GGUF, for the families libmoe runs.

    convert_hf.py MODEL_DIR OUT.gguf [--type f32|f16|bf16] [--pre NAME] [--name TEXT]

Input: a model directory (config.json, *.safetensors, tokenizer files) or, through `convert()`, a model of
`transformers` in memory. Output: GGUF v3 with the tensor names, metadata keys and row order of llama.cpp:

  * q and k projections of the `llama` (Mixtral) and `granitemoe` architectures have the rows of each head
    permuted, so that rotary pairs lie side by side (2i, 2i+1); the others keep the halves (i, i + dim/2).
  * expert matrices are stacked: ffn_{gate,up,down}_exps, [experts][rows][columns].
  * layers without experts are written as ffn_{gate,up,down} and have no ffn_gate_inp.
  * `<arch>.expert_weights_norm` says whether the selected weights are renormalised (llama.cpp hard-codes it).
  * llama3 rotary scaling becomes the tensor rope_freqs.weight (divisors of the frequencies).

Norms, biases and routers stay F32 whatever the type. Tensors are read and written one at a time.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch

import hf_tokenizer

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
}


class ConversionError(Exception):
    """The checkpoint uses something that the target format or library does not express."""


@dataclass(frozen=True)
class Family:
    arch: str  # general.architecture
    permute: bool  # q/k rows to the interleaved rotary layout
    norm_topk: bool | None  # fixed renormalisation, None: the config's norm_topk_prob
    expert_ff: str  # config attribute with the width of one expert


FAMILIES = {
    "qwen3_moe": Family("qwen3moe", False, None, "moe_intermediate_size"),
    "qwen2_moe": Family("qwen2moe", False, None, "moe_intermediate_size"),
    "olmoe": Family("olmoe", False, None, "intermediate_size"),
    "mixtral": Family("llama", True, True, "intermediate_size"),
    "granitemoe": Family("granitemoe", True, True, "intermediate_size"),
}

# Names that map one to one, relative to model.layers.N and blk.N; a suffix .weight or .bias is kept.
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.sinks": "attn_sinks",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.router": "ffn_gate_inp",
    "block_sparse_moe.router.layer": "ffn_gate_inp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
}
# Order of a layer's tensors in the file: as they are used.
LAYER_ORDER = (
    "attn_norm attn_q attn_k attn_v attn_q_norm attn_k_norm attn_sinks attn_output ffn_norm ffn_gate_inp ffn_gate_exps"
    " ffn_up_exps ffn_down_exps ffn_gate_inp_shexp ffn_gate_shexp ffn_up_shexp ffn_down_shexp ffn_gate ffn_up"
    " ffn_down"
).split()
TOP_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
FUSED = re.compile(r"(?:mlp|block_sparse_moe)\.(experts\.gate_up_proj|input_linear)(?:\.weight)?$")
FUSED_DOWN = re.compile(r"(?:mlp|block_sparse_moe)\.(experts\.down_proj|output_linear)(?:\.weight)?$")
SINGLE = re.compile(
    r"(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight$"
)
EXPERT_ROLE = {
    "gate_proj": "gate",
    "w1": "gate",
    "up_proj": "up",
    "w3": "up",
    "down_proj": "down",
    "w2": "down",
}

Getter = Callable[[], torch.Tensor]


@dataclass
class OutTensor:
    name: str
    get: Getter  # called once, when the tensor is written


class Source:
    """Tensors by name, loaded when asked for: a module in memory or a directory of safetensors files."""

    def __init__(self, model: torch.nn.Module | str | Path):
        if isinstance(model, torch.nn.Module):
            state = model.state_dict()
            self.names = list(state)
            self.get = lambda name: state[name].detach()
            return
        from safetensors import safe_open

        files = sorted(Path(model).glob("*.safetensors"))
        if not files:
            raise ConversionError(f"{model}: no .safetensors file")
        where = {}
        for file in files:
            handle = safe_open(file, framework="pt")
            for name in handle.keys():
                where[name] = handle
        self.names = list(where)
        self.get = lambda name: where[name].get_tensor(name)


def permute_rows(w: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Rows of each head from halves order (i, i + d/2) to pair order (2i, 2i + 1)."""
    half = w.shape[0] // n_heads // 2
    return w.reshape(n_heads, 2, half, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


def plan_tensors(src: Source, config, family: Family) -> Iterator[OutTensor]:
    """All tensors of the GGUF file in layer order. Every tensor of the checkpoint must find its place."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    layers: dict[int, dict[str, str]] = {}
    out: list[OutTensor] = []
    for name in src.names:
        m = re.match(r"model\.layers\.(\d+)\.(.+)", name)
        if m:
            layers.setdefault(int(m[1]), {})[m[2]] = name
        elif name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        elif name in TOP_NAMES:
            out.append(OutTensor(TOP_NAMES[name], lambda name=name: src.get(name)))
        elif not name.endswith("rotary_emb.inv_freq"):
            raise ConversionError(f"tensor {name} is not known")
    yield from sorted(out, key=lambda t: list(TOP_NAMES.values()).index(t.name))
    for i in sorted(layers):
        planned = plan_layer(src, layers[i], f"blk.{i}.", family, heads)
        yield from sorted(planned, key=lambda t: (LAYER_ORDER.index(t.name.split(".")[2]), t.name))


def plan_layer(
    src: Source, names: dict[str, str], blk: str, family: Family, heads: dict[str, int]
) -> Iterator[OutTensor]:
    singles: dict[str, dict[int, str]] = {}
    for rel, full in names.items():

        def load(full: str = full) -> torch.Tensor:
            return src.get(full)

        base, _, suffix = (rel if "." in rel and rel not in LAYER_NAMES else rel + ".weight").rpartition(".")
        if m := SINGLE.match(rel):
            singles.setdefault(EXPERT_ROLE[m[2]], {})[int(m[1])] = full
        elif FUSED.match(rel):
            yield OutTensor(f"{blk}ffn_gate_exps.weight", lambda load=load: load().chunk(2, dim=1)[0])
            yield OutTensor(f"{blk}ffn_up_exps.weight", lambda load=load: load().chunk(2, dim=1)[1])
        elif FUSED_DOWN.match(rel):
            yield OutTensor(f"{blk}ffn_down_exps.weight", load)
        elif base in LAYER_NAMES and suffix in ("weight", "bias"):
            short = LAYER_NAMES[base]
            if short in heads and family.permute:
                yield OutTensor(
                    f"{blk}{short}.{suffix}", lambda load=load, n=heads[short]: permute_rows(load(), n)
                )
            elif short == "ffn_gate_inp_shexp":
                yield OutTensor(f"{blk}{short}.{suffix}", lambda load=load: load().reshape(-1))
            else:
                yield OutTensor(f"{blk}{short}.{suffix}", load)
        elif not rel.endswith("rotary_emb.inv_freq"):
            raise ConversionError(f"tensor {full} is not known")
    for role, by_id in singles.items():
        ordered = [by_id[e] for e in range(len(by_id))]
        yield OutTensor(
            f"{blk}ffn_{role}_exps.weight", lambda ordered=ordered: torch.stack([src.get(n) for n in ordered])
        )


def rope_parameters(config) -> dict:
    """Rotary settings in one dict: rope_type, rope_theta and the numbers of the scaling type."""
    rope = dict(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {})
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("rope_theta", getattr(config, "rope_theta", None) or 10000.0)
    rope.setdefault("original_max_position_embeddings", config.max_position_embeddings)
    return rope


def llama3_divisors(rope: dict, dim: int) -> np.ndarray:
    """rope_freqs.weight: by what the llama3 rule divides each of the dim/2 frequencies."""
    freq = 1.0 / (rope["rope_theta"] ** (np.arange(0, dim, 2, dtype=np.float64) / dim))
    wavelength = 2.0 * math.pi / freq
    context, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (context / wavelength - low) / (high - low)
    middle = 1.0 / ((1.0 - smooth) / factor + smooth)
    return np.where(
        wavelength < context / high, 1.0, np.where(wavelength > context / low, factor, middle)
    ).astype(np.float32)


def write_rope(w: gguf.GGUFWriter, rope: dict) -> None:
    w.add_rope_freq_base(rope["rope_theta"])
    kind = rope["rope_type"]
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast") or 32.0)
        w.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow") or 1.0)
        if rope.get("mscale") and rope.get("mscale_all_dim") or rope.get("truncate") is False:
            raise ConversionError("yarn with mscale, mscale_all_dim or truncate=false is not expressible")
        if rope.get("attention_factor") is not None:
            # The key multiplies the magnitude 1 + 0.1 ln(factor); the config's value replaces it.
            w.add_rope_scaling_attn_factors(rope["attention_factor"] / (1.0 + 0.1 * math.log(rope["factor"])))
    elif kind not in ("default", "llama3"):
        raise ConversionError(f"rope_type {kind!r} is not supported")


def write_window(w: gguf.GGUFWriter, config, arch: str) -> None:
    """Sliding windows: the width, and the layers that have one unless all do."""
    if not getattr(config, "sliding_window", None) or getattr(config, "use_sliding_window", True) is False:
        return
    sliding = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or []]
    if sliding and not any(sliding):
        return
    w.add_sliding_window(config.sliding_window)
    if sliding and not all(sliding):
        w.add_array(f"{arch}.attention.sliding_window_pattern", sliding)


def write_metadata(w: gguf.GGUFWriter, config, family: Family, name: str, file_type: str) -> None:
    if getattr(config, "hidden_act", "silu") != "silu":
        raise ConversionError(f"activation {config.hidden_act!r} is not supported")
    arch = family.arch
    w.add_type("model")
    w.add_name(name)
    w.add_file_type(FILE_TYPES[file_type])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None)
    if head_dim:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    rope = rope_parameters(config)
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ConversionError("partial rotary embedding is not supported")
    write_rope(w, rope)
    write_window(w, config, arch)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if getattr(config, "attn_logit_softcapping", None):
        w.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if getattr(config, "final_logit_softcapping", None):
        w.add_final_logit_softcapping(config.final_logit_softcapping)
    w.add_vocab_size(config.vocab_size)
    if arch in ("llama", "granitemoe"):
        w.add_rope_dimension_count(head_dim or config.hidden_size // config.num_attention_heads)
    n_experts = next(getattr(config, k) for k in ("num_local_experts", "num_experts") if hasattr(config, k))
    w.add_expert_count(n_experts)
    w.add_expert_used_count(config.num_experts_per_tok)
    w.add_expert_weights_norm(bool(config.norm_topk_prob) if family.norm_topk is None else family.norm_topk)
    if family.expert_ff == "moe_intermediate_size":
        w.add_expert_feed_forward_length(config.moe_intermediate_size)
    if arch == "qwen2moe":
        w.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if arch == "olmoe" and config.clip_qkv is not None:
        w.add_clamp_kqv(config.clip_qkv)
    if arch == "granitemoe":
        w.add_attention_scale(config.attention_multiplier)
        w.add_embedding_scale(config.embedding_multiplier)
        w.add_residual_scale(config.residual_multiplier)
        w.add_logit_scale(config.logits_scaling)


def stored_type(name: str, n_dims: int, file_type: str) -> gguf.GGMLQuantizationType:
    """Matrices as asked, vectors and routers as F32."""
    keep = n_dims < 2 or "ffn_gate_inp" in name
    return gguf.GGMLQuantizationType[("f32" if keep else file_type).upper()]


def convert(
    model: torch.nn.Module | str | Path,
    out: str | Path,
    *,
    config=None,
    file_type: str = "f32",
    tokenizer: hf_tokenizer.TokenizerData | None = None,
    name: str = "model",
    drop_keys: tuple[str, ...] = (),
) -> None:
    """Write `model` (module or directory) to the GGUF file `out`.

    Without a tokenizer the file says so (tokenizer.ggml.model = none) and holds the network alone.
    `drop_keys` leaves out metadata keys by suffix, to imitate files of converters that do not write them."""
    config = config or model.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ConversionError(f"model_type {config.model_type!r}: known are {', '.join(FAMILIES)}")
    tensors = list(plan_tensors(Source(model), config, family))
    rope = rope_parameters(config)
    if rope["rope_type"] == "llama3":
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        tensors.insert(
            0, OutTensor("rope_freqs.weight", lambda: torch.from_numpy(llama3_divisors(rope, dim)))
        )

    writer = gguf.GGUFWriter(None, family.arch)
    write_metadata(writer, config, family, name, file_type)
    if tokenizer is not None:
        tokenizer.pad_to(config.vocab_size)
        tokenizer.write(writer)
    else:
        writer.add_tokenizer_model("none")
    for key in list(writer.kv_data[0]):
        if key.endswith(drop_keys) and drop_keys:
            del writer.kv_data[0][key]
    kinds = {}
    for t in tensors:
        shape = t.get().shape
        kinds[t.name] = kind = stored_type(t.name, len(shape), file_type)
        n_bytes = math.prod(shape) * gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor_info(t.name, list(shape), np.dtype(np.float32), n_bytes, raw_dtype=kind)
    writer.write_header_to_file(Path(out))
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for t in tensors:
        values = np.ascontiguousarray(t.get().to(torch.float32).cpu().numpy())
        writer.write_tensor_data(gguf.quants.quantize(values, kinds[t.name]))
    writer.close()


def main() -> None:
    p = argparse.ArgumentParser(description="Hugging Face MoE checkpoint to GGUF")
    p.add_argument("model", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--type", choices=FILE_TYPES, default="f16")
    p.add_argument("--pre", help="name of the pre-tokenizer, if it is not recognised")
    p.add_argument("--name", help="general.name, default: the directory's name")
    a = p.parse_args()
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(a.model)
    convert(
        a.model,
        a.out,
        config=config,
        file_type=a.type,
        name=a.name or a.model.name,
        tokenizer=hf_tokenizer.load(a.model, a.pre),
    )


if __name__ == "__main__":
    main()
