#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Small cases of attention as transformers computes them: sinks (GPT-OSS), limited scores (Gemma 2), latent
attention (DeepSeek-V3) expanded and absorbed.

    make_attention_vectors.py > tests/unit/data/attention.vec

The first line is "attention 1". Lines of a case; one of K, V, Q and O for each position:
    A name n_heads n_heads_kv dim_k dim_v v_in_k scale cap window n_positions dim_u
    S sink...           of each query head, if it has sinks
    K, V value...       of all KV heads, turned and normed already; no V where v_in_k
    Q value...          of all query heads
    U value...          for each head a matrix [dim_u][dim_v], if dim_u: results are multiplied by it
    O value...          what comes out

The absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1) is not in transformers: its queries are made
here from the weights of the module, and what comes out has to be what the module gives in the expanded form.
"""
import sys

try:
    import torch
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek
    from transformers.models.gemma2 import modeling_gemma2 as gemma
    from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss
except ImportError as e:
    print(f"skipped: {e}", file=sys.stderr)
    sys.exit(77)

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)


def line(kind, values):
    print(kind, *(f"{v:.9g}" for v in values.reshape(-1).tolist()))


def head(name, q, k, v, scale, cap=0.0, window=0, sinks=None, v_in_k=0, dim_v=0, dim_u=0):
    """q, k, v: [1][heads][positions][width]"""
    print("A", name, q.shape[1], k.shape[1], k.shape[3], dim_v or v.shape[3], v_in_k, f"{scale:.9g}", f"{cap:.9g}",
          window, q.shape[2], dim_u)
    if sinks is not None:
        line("S", sinks)
    for p in range(q.shape[2]):
        line("K", k[0, :, p])
    for p in range(q.shape[2] if v is not None else 0):
        line("V", v[0, :, p])
    for p in range(q.shape[2]):
        line("Q", q[0, :, p])


def results(out):
    """[1][positions][heads][width]"""
    for p in range(out.shape[1]):
        line("O", out[0, p])


def mask(n, window=0):
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    seen = (j <= i) & ((i - j < window) if window else (j <= i))
    return torch.where(seen, 0.0, float("-inf"))[None, None]


def single(*shape, by=1.0):
    """Numbers that are the same in single precision."""
    return (torch.randn(*shape) * by).to(torch.float32).to(torch.float64)


class Module(torch.nn.Module):
    """What the functions of transformers ask of a layer."""

    def __init__(self, n_heads, n_heads_kv, width, sinks=None):
        super().__init__()
        self.num_key_value_groups, self.head_dim, self.sinks = n_heads // n_heads_kv, width, sinks
        self.eval()


def sinks(name, n, window):
    q, k, v, s = single(1, 4, n, 32, by=2), single(1, 2, n, 32), single(1, 2, n, 32), single(4, by=2)
    scale = 32 ** -0.5
    head(name, q, k, v, scale, window=window, sinks=s)
    results(gpt_oss.eager_attention_forward(Module(4, 2, 32, s), q, k, v, mask(n, window), scale)[0])


def limited(name, n, cap):
    q, k, v = single(1, 2, n, 32, by=3), single(1, 1, n, 32, by=2), single(1, 1, n, 32)
    head(name, q, k, v, 0.3, cap=cap)
    results(gemma.eager_attention_forward(Module(2, 1, 32), q, k, v, mask(n), scaling=0.3, softcap=cap)[0])


def latent(n):
    nope, rope, rank, width, heads = 32, 32, 32, 32, 2
    config = deepseek.DeepseekV3Config(hidden_size=48, num_attention_heads=heads, num_key_value_heads=heads,
                                       q_lora_rank=24, kv_lora_rank=rank, qk_nope_head_dim=nope,
                                       qk_rope_head_dim=rope, v_head_dim=width)
    config._attn_implementation = "eager"
    m = deepseek.DeepseekV3Attention(config, 0).eval()
    for p in m.parameters():
        p.data = single(*p.shape, by=0.25) + (p.dim() == 1)
    seen = {}

    def attend(module, q, k, v, attention_mask, **more):
        out = deepseek.eager_attention_forward(module, q, k, v, attention_mask, **more)
        seen.update(q=q, k=k, v=v, out=out[0])
        return out

    deepseek.ALL_ATTENTION_FUNCTIONS.register("seen", attend)
    config._attn_implementation = "seen"
    angle = torch.arange(n)[:, None] * 0.1 ** torch.arange(rope // 2)[None, :]
    turn = torch.cat((angle, angle), -1)[None]
    x = single(1, n, 48, by=2)
    with torch.no_grad():
        m(x, (turn.cos(), turn.sin()), mask(n))
        q, k, v, out = seen["q"], seen["k"], seen["v"], seen["out"]
        head("expanded", q, k, v, m.scaling)
        results(out)
        # the module's own latents, its up-projection split into the part of keys and the part of values
        c = m.kv_a_layernorm(m.kv_a_proj_with_mqa(x)[..., :rank])[:, None]
        up = m.kv_b_proj.weight.view(heads, nope + width, rank)
        absorbed = torch.cat((torch.einsum("bhpd,hdr->bhpr", q[..., :nope], up[:, :nope]), q[..., nope:]), -1)
        keys = torch.cat((c, k[:, :1, :, nope:]), -1)
        head("absorbed", absorbed, keys, None, m.scaling, v_in_k=1, dim_v=rank, dim_u=width)
        for h in range(heads):
            line("U", up[h, nope:])
        results(out)


print("attention 1")
with torch.no_grad():
    sinks("sinks", 6, 0)
    sinks("sinks-window", 8, 3)
    limited("limited", 6, 4.0)
latent(6)
