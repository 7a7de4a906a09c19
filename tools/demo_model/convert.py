# SPDX-License-Identifier: MIT
"""Checkpoint -> Hugging Face directory (f32 safetensors) and GGUF file (F32, F16, Q8_0).

`--check` compares logits and gradients of our network with those of transformers' Qwen3MoeForCausalLM.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

from common import DOMAINS, EOT, EOT_ID, SPECIALS, Shape
from model import Network, init_weights

NAME = "libmoe demo"


def load_checkpoint(path):
    """(shape, weights, tokens seen)"""
    saved = torch.load(path, weights_only=True)
    return Shape(**saved["shape"]), saved["weights"], saved["position"][1]


def hf_model(shape, weights):
    """transformers' model holding our weights, f32."""
    config = Qwen3MoeConfig(
        vocab_size=shape.vocab, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim,
        intermediate_size=shape.expert_width, moe_intermediate_size=shape.expert_width,
        num_experts=shape.experts, num_experts_per_tok=shape.top_k, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], max_position_embeddings=shape.context,
        rms_norm_eps=shape.eps, rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
        tie_word_embeddings=True, hidden_act="silu", attention_bias=False, use_sliding_window=False,
        bos_token_id=EOT_ID, eos_token_id=EOT_ID)
    model = Qwen3MoeForCausalLM(config).float().eval()
    hd = shape.head_dim
    state = {"model.embed_tokens.weight": weights["embed"], "lm_head.weight": weights["embed"],
             "model.norm.weight": weights["norm"]}
    for i in range(shape.layers):
        q, k, v = weights["qkv"][i].split((shape.heads * hd, shape.kv_heads * hd, shape.kv_heads * hd))
        layer = {"input_layernorm": weights["attn_norm"][i],
                 "post_attention_layernorm": weights["ffn_norm"][i],
                 "self_attn.q_norm": weights["q_norm"][i], "self_attn.k_norm": weights["k_norm"][i],
                 "self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v,
                 "self_attn.o_proj": weights["out"][i], "mlp.gate": weights["router"][i]}
        state |= {f"model.layers.{i}.{n}.weight": t for n, t in layer.items()}
        state |= {f"model.layers.{i}.mlp.experts.gate_up_proj": weights["gate_up"][i],
                  f"model.layers.{i}.mlp.experts.down_proj": weights["down"][i]}
    model.load_state_dict(state)
    return model


def check(shape, weights):
    """Largest difference of logits and, over a short text, of gradients, relative to the largest value."""
    torch.manual_seed(0)
    ids = torch.randint(shape.vocab, (2, 301))
    model, net = hf_model(shape, weights), Network(shape, weights, torch.float32)
    theirs = model(ids[:, :-1]).logits
    F.cross_entropy(theirs.flatten(0, 1), ids[:, 1:].flatten()).backward()
    net.loss(ids[:, :-1], ids[:, 1:])[0].backward()
    ours, grads = net.logits(ids[:, :-1])[0], net.grads()
    print(f"logits differ by {((ours - theirs).abs().max() / theirs.abs().max()).item():.2e}")
    layers = model.model.layers
    pairs = {"embed": model.model.embed_tokens.weight.grad, "norm": model.model.norm.weight.grad}
    for name, get in {
            "attn_norm": lambda m: m.input_layernorm.weight,
            "ffn_norm": lambda m: m.post_attention_layernorm.weight,
            "q_norm": lambda m: m.self_attn.q_norm.weight, "k_norm": lambda m: m.self_attn.k_norm.weight,
            "out": lambda m: m.self_attn.o_proj.weight, "router": lambda m: m.mlp.gate.weight,
            "gate_up": lambda m: m.mlp.experts.gate_up_proj,
            "down": lambda m: m.mlp.experts.down_proj}.items():
        pairs[name] = torch.stack([get(m).grad for m in layers])
    pairs["qkv"] = torch.stack([torch.cat([getattr(m.self_attn, p).weight.grad
                                           for p in ("q_proj", "k_proj", "v_proj")]) for m in layers])
    for name, g in pairs.items():
        print(f"gradient of {name:9} differs by {((grads[name] - g).abs().max() / g.abs().max()).item():.2e}")


def write_hf(shape, weights, work, out):
    hf_model(shape, weights).save_pretrained(out)
    PreTrainedTokenizerFast(tokenizer_file=str(work / "tokenizer.json"), bos_token=EOT, eos_token=EOT,
                            additional_special_tokens=list(SPECIALS[1:]),
                            model_max_length=shape.context).save_pretrained(out)


def add_tokenizer(w, path):
    spec = json.loads(path.read_text())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if i < len(SPECIALS) else gguf.TokenType.NORMAL
                       for i in range(len(tokens))])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["merges"]])
    w.add_bos_token_id(EOT_ID)
    w.add_eos_token_id(EOT_ID)
    w.add_add_bos_token(False)
    w.add_string("libmoe.tokenizer.normalizer", "none")     # files of kind qwen2 usually do normalise


def gguf_tensors(shape, weights):
    """(name, array) in llama.cpp's naming; the output matrix is the embedding and not stored."""
    hd = shape.head_dim
    yield "token_embd.weight", weights["embed"]
    yield "output_norm.weight", weights["norm"]
    for i in range(shape.layers):
        q, k, v = weights["qkv"][i].split((shape.heads * hd, shape.kv_heads * hd, shape.kv_heads * hd))
        gate, up = weights["gate_up"][i].split(shape.expert_width, 1)
        for name, t in (("attn_norm", weights["attn_norm"][i]), ("attn_q", q), ("attn_k", k), ("attn_v", v),
                        ("attn_q_norm", weights["q_norm"][i]), ("attn_k_norm", weights["k_norm"][i]),
                        ("attn_output", weights["out"][i]), ("ffn_norm", weights["ffn_norm"][i]),
                        ("ffn_gate_inp", weights["router"][i]), ("ffn_gate_exps", gate), ("ffn_up_exps", up),
                        ("ffn_down_exps", weights["down"][i])):
            yield f"blk.{i}.{name}.weight", t


def write_gguf(shape, weights, work, out, kind):
    """Matrices in `kind` (f32, f16, q8_0); norms and routers always in F32."""
    kind = gguf.GGMLQuantizationType[kind.upper()]
    w = gguf.GGUFWriter(out, "qwen3moe")
    w.add_name(NAME)
    w.add_license("mit")
    w.add_description("Small mixture-of-experts model trained on public-domain text in 13 domains")
    w.add_file_type({"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16,
                     "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind.name])
    w.add_vocab_size(shape.vocab)
    w.add_block_count(shape.layers)
    w.add_context_length(shape.context)
    w.add_embedding_length(shape.width)
    w.add_feed_forward_length(shape.expert_width)
    w.add_head_count(shape.heads)
    w.add_head_count_kv(shape.kv_heads)
    w.add_key_length(shape.head_dim)
    w.add_value_length(shape.head_dim)
    w.add_layer_norm_rms_eps(shape.eps)
    w.add_rope_freq_base(shape.rope_base)
    w.add_expert_count(shape.experts)
    w.add_expert_used_count(shape.top_k)
    w.add_expert_feed_forward_length(shape.expert_width)
    w.add_expert_weights_norm(True)
    add_tokenizer(w, work / "tokenizer.json")
    w.add_array("libmoe.voices", list(DOMAINS))     # the tag token of voice v is <|v|>
    w.add_string("libmoe.voice.default", DOMAINS[0])
    for name, t in gguf_tensors(shape, weights):
        a = np.ascontiguousarray(t.numpy())
        if a.ndim > 1 and "ffn_gate_inp" not in name and kind != gguf.GGMLQuantizationType.F32:
            w.add_tensor(name, gguf.quants.quantize(a, kind), raw_dtype=kind)
        else:
            w.add_tensor(name, a)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("checkpoint")
    ap.add_argument("work", help="directory that holds tokenizer.json")
    ap.add_argument("--hf", help="directory to write")
    ap.add_argument("--gguf", help="file to write")
    ap.add_argument("--type", default="f16", choices=("f32", "f16", "q8_0"))
    ap.add_argument("--check", action="store_true")
    args = ap.parse_args()
    shape, weights, _ = load_checkpoint(args.checkpoint)
    if args.check:
        check(shape, weights)
    if args.hf:
        write_hf(shape, weights, Path(args.work), args.hf)
    if args.gguf:
        write_gguf(shape, weights, Path(args.work), args.gguf, args.type)


if __name__ == "__main__":
    main()
