# SPDX-License-Identifier: MIT
"""Qwen3-MoE written for fast training on a CPU; weights export 1:1 to transformers.

Master weights are f32 tensors stacked over layers (`init_weights`). A `Network` holds per-layer leaf
copies, matrices in `dtype` (bf16 to train, f32 to check), norms and router in f32. The residual stream
is f32. The experts' rows are sorted by expert and each segment, padded to a multiple of 64 rows
with rows of gate weight 0, is one matrix product; the few row counts keep oneDNN's kernel cache warm.
Padding changes nothing in the result, no row is ever dropped.
"""

import torch
import torch.nn.functional as F

from common import Shape

PAD = 64


def weight_shapes(s):
    qkv = (s.heads + 2 * s.kv_heads) * s.head_dim
    return {
        "embed": (s.vocab, s.width), "norm": (s.width,),
        "attn_norm": (s.layers, s.width), "ffn_norm": (s.layers, s.width),
        "q_norm": (s.layers, s.head_dim), "k_norm": (s.layers, s.head_dim),
        "qkv": (s.layers, qkv, s.width), "out": (s.layers, s.width, s.heads * s.head_dim),
        "router": (s.layers, s.experts, s.width),
        "gate_up": (s.layers, s.experts, 2 * s.expert_width, s.width),
        "down": (s.layers, s.experts, s.width, s.expert_width),
    }


def init_weights(s, seed):
    """Normal matrices (those that end a block small: a fresh network is near the identity), norms of one."""
    gen = torch.Generator().manual_seed(seed)
    std = {"embed": 0.02, "qkv": s.width ** -0.5, "gate_up": s.width ** -0.5, "router": 0.02,
           "out": 0.1 * s.width ** -0.5, "down": 0.1 * s.expert_width ** -0.5}
    return {n: torch.ones(sh) if n.endswith("norm") else torch.randn(sh, generator=gen) * std[n]
            for n, sh in weight_shapes(s).items()}


def rope_table(s, n):
    freq = s.rope_base ** (-torch.arange(0, s.head_dim, 2, dtype=torch.float64) / s.head_dim)
    angle = torch.outer(torch.arange(n, dtype=torch.float64), freq)
    angle = torch.cat((angle, angle), -1)
    return angle.cos().float(), angle.sin().float()


def rms(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def layer_qkv(x, ffn_out, attn_norm, qkv, q_norm, k_norm, cos, sin, dims):
    """Residual; scaled queries, keys, values as [batch * kv head, (group member,) time, head_dim]."""
    heads, kv_heads, hd, eps = dims
    b, t, _ = x.shape
    x = x + ffn_out
    y = rms(x, attn_norm, eps).to(qkv.dtype) @ qkv.mT
    q, k, v = y.view(b, t, heads + 2 * kv_heads, hd).split((heads, kv_heads, kv_heads), 2)
    q = rotate(rms(q.float(), q_norm * hd ** -0.5, eps).transpose(1, 2), cos, sin).to(qkv.dtype)
    k = rotate(rms(k.float(), k_norm, eps).transpose(1, 2), cos, sin).to(qkv.dtype)
    n = b * kv_heads
    return x, q.reshape(n, -1, t, hd), k.reshape(n, t, hd), v.transpose(1, 2).reshape(n, t, hd)


def layer_mid(x, att, out, ffn_norm, router, dims):
    """After attention: residual, normed rows for the experts, router logits."""
    heads, kv_heads, hd, eps = dims
    b, t, width = x.shape
    att = att.view(b, heads, t, hd).transpose(1, 2).reshape(b, t, heads * hd)
    x = x + att @ out.mT
    h = rms(x, ffn_norm, eps).view(b * t, width)
    return x, h.to(out.dtype), h @ router.mT


def softmax_grad(weights, grad):
    p, dp = weights.float(), grad.float()
    return (p * (dp - (p * dp).sum(-1, keepdim=True))).to(weights.dtype)


class Attention(torch.autograd.Function):
    """Causal attention in blocks of queries, each over the keys up to its end; weights are kept for backward.
    At this size several times faster than the fused kernel, whose backward is slow on CPUs."""

    BLOCK = 128

    @staticmethod
    def forward(ctx, q, k, v, ops):
        n, group, t, hd = q.shape
        out, weights = torch.empty_like(q), []
        for a in range(0, t, Attention.BLOCK):
            b = min(a + Attention.BLOCK, t)
            s = torch.bmm(q[:, :, a:b].reshape(n, -1, hd), k[:, :b].mT).view(n, group, b - a, b)
            s[..., a:] += torch.full((b - a, b - a), -torch.inf, dtype=s.dtype).triu(1)
            p = s.softmax(-1).view(n, -1, b)
            out[:, :, a:b] = torch.bmm(p, v[:, :b]).view(n, group, b - a, hd)
            weights.append(p)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.ops = ops
        return out

    @staticmethod
    def backward(ctx, dout):
        q, k, v, *weights = ctx.saved_tensors
        n, group, t, hd = q.shape
        dq, dk, dv = torch.empty_like(q), torch.zeros(k.shape), torch.zeros(v.shape)
        for i, p in enumerate(weights):
            a = i * Attention.BLOCK
            b = p.shape[-1]
            do = dout[:, :, a:b].reshape(n, -1, hd)
            ds = ctx.ops.softmax_grad(p, torch.bmm(do, v[:, :b].mT))
            dq[:, :, a:b] = torch.bmm(ds, k[:, :b]).view(n, group, b - a, hd)
            dk[:, :b] += torch.bmm(ds.mT, q[:, :, a:b].reshape(n, -1, hd))
            dv[:, :b] += torch.bmm(p.mT, do)
        return dq, dk.to(k.dtype), dv.to(v.dtype), None


def gated(h, w):
    g, u = h.float().chunk(2, -1)
    return (w[:, None] * F.silu(g) * u).to(h.dtype)


def gated_grad(h, w, da):
    g, u = h.float().chunk(2, -1)
    da = da.float()
    sig = torch.sigmoid(g)
    act = g * sig
    dw = (da * act * u).sum(-1)
    da = da * w[:, None]
    dg = da * u * (sig + act * (1 - sig))
    return torch.cat((dg, da * act), -1).to(h.dtype), dw


def gather_sum(rows, slots):
    return rows[slots].float().sum(1)


def softmax_loss(logits, target, scale):
    """Per-row cross entropy and the gradient of its scaled sum with respect to the logits."""
    z = logits.float()
    lse = torch.logsumexp(z, -1, keepdim=True)
    hit = torch.arange(z.shape[-1])[None, :] == target[:, None]
    grad = ((z - lse).exp() - hit.float()) * scale
    return lse[:, 0] - (z * hit).sum(-1), grad.to(logits.dtype)


class Dispatch:
    """Rows sorted by expert: `source[p]` is the row of slot p, `slots[n, j]` the slot of row n's choice j."""

    def __init__(self, ids, n_experts):
        n, k = ids.shape
        flat = ids.flatten()
        self.counts = torch.bincount(flat, minlength=n_experts)
        padded = (self.counts + PAD - 1) // PAD * PAD
        ends = padded.cumsum(0)
        order = torch.argsort(flat, stable=True)
        shift = (ends - padded) - (self.counts.cumsum(0) - self.counts)
        slot = torch.arange(n * k) + shift[flat[order]]
        self.slots = torch.empty(n * k, dtype=torch.long)
        self.slots[order] = slot
        self.slots = self.slots.view(n, k)
        self.size = n * k + n_experts * PAD
        self.source = torch.zeros(self.size, dtype=torch.long)
        self.source[slot] = order // k
        ends = ends.tolist()
        self.segments = [(e, a, b) for e, (a, b) in enumerate(zip([0] + ends[:-1], ends)) if b > a]


class Experts(torch.autograd.Function):
    """sum over the chosen experts of weight * down(silu(gate x) * up x)."""

    @staticmethod
    def forward(ctx, x, weights, gate_up, down, plan, ops):
        rows = x[plan.source]
        w = torch.zeros(plan.size)
        w[plan.slots] = weights.detach()
        h = rows.new_empty(plan.size, gate_up.shape[1])
        for e, a, b in plan.segments:
            torch.mm(rows[a:b], gate_up[e].mT, out=h[a:b])
        act = ops.gated(h, w)
        y = torch.empty_like(rows)
        for e, a, b in plan.segments:
            torch.mm(act[a:b], down[e].mT, out=y[a:b])
        ctx.save_for_backward(rows, w, h, act, gate_up, down)
        ctx.plan, ctx.ops = plan, ops
        return ops.gather_sum(y, plan.slots)

    @staticmethod
    def backward(ctx, dy):
        rows, w, h, act, gate_up, down = ctx.saved_tensors
        plan, ops = ctx.plan, ctx.ops
        dy = dy.to(rows.dtype)[plan.source]
        da, d_down, d_gate_up = torch.empty_like(act), torch.zeros_like(down), torch.zeros_like(gate_up)
        for e, a, b in plan.segments:
            torch.mm(dy[a:b], down[e], out=da[a:b])
            torch.mm(dy[a:b].mT, act[a:b], out=d_down[e])
        dh, dw = ops.gated_grad(h, w, da)
        dx = torch.empty_like(rows)
        for e, a, b in plan.segments:
            torch.mm(dh[a:b], gate_up[e], out=dx[a:b])
            torch.mm(dh[a:b].mT, rows[a:b], out=d_gate_up[e])
        return ops.gather_sum(dx, plan.slots).to(rows.dtype), dw[plan.slots], d_gate_up, d_down, None, None


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of the tied output layer, in chunks so that the logits never exist as a whole."""

    @staticmethod
    def forward(ctx, h, embed, target, ops, chunk=2048):
        n = h.shape[0]
        dh, d_embed, total = torch.empty_like(h), torch.zeros(embed.shape), 0.0
        for a in range(0, n, chunk):
            part = h[a:a + chunk]
            loss, grad = ops.softmax_loss(part @ embed.mT, target[a:a + chunk], 1.0 / n)
            total += loss.sum()
            torch.mm(grad, embed, out=dh[a:a + chunk])
            d_embed += grad.mT @ part
        ctx.save_for_backward(dh, d_embed)
        return total / n

    @staticmethod
    def backward(ctx, g):
        dh, d_embed = ctx.saved_tensors
        return dh * g, d_embed * g, None, None, None


class Ops:
    """The fused pieces, compiled where speed matters."""

    def __init__(self, compiled):
        wrap = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        for f in (layer_qkv, layer_mid, softmax_grad, gated, gated_grad, gather_sum, softmax_loss):
            setattr(self, f.__name__, wrap(f))


class Network:
    """The network over a copy of the master weights; `load` refreshes it, `grads` stacks its gradients."""

    MATRICES = ("qkv", "out", "gate_up", "down")

    def __init__(self, shape, weights, dtype=torch.bfloat16, compiled=False):
        self.shape, self.dtype, self.ops = shape, dtype, Ops(compiled)
        self.cos, self.sin = rope_table(shape, shape.context)
        self.leaf = {}
        for name, w in weights.items():
            per_layer = w.dim() > 1 and name != "embed"
            parts = [w[i] for i in range(shape.layers)] if per_layer else [w]
            kind = dtype if name in self.MATRICES or name == "embed" else torch.float32
            self.leaf[name] = [p.to(kind, copy=True).requires_grad_() for p in parts]

    @torch.no_grad()
    def load(self, weights):
        for name, parts in self.leaf.items():
            for i, p in enumerate(parts):
                p.copy_(weights[name][i] if len(parts) > 1 else weights[name])

    def grads(self):
        """Takes the gradients away, stacked like the master weights."""
        out = {}
        for name, parts in self.leaf.items():
            out[name] = torch.stack([p.grad for p in parts]) if len(parts) > 1 else parts[0].grad
            for p in parts:
                p.grad = None
        return out

    def hidden(self, tokens):
        """[batch, time] ids -> normed rows [batch * time, width]; per layer (ids, counts, probabilities)."""
        s, w = self.shape, self.leaf
        b, t = tokens.shape
        dims = (s.heads, s.kv_heads, s.head_dim, s.eps)
        x = F.embedding(tokens, w["embed"][0]).float()
        ffn, routes = torch.zeros_like(x), []
        for i in range(s.layers):
            x, q, k, v = self.ops.layer_qkv(x, ffn, w["attn_norm"][i], w["qkv"][i], w["q_norm"][i],
                                            w["k_norm"][i], self.cos[:t], self.sin[:t], dims)
            att = Attention.apply(q, k, v, self.ops)
            x, h, logits = self.ops.layer_mid(x, att, w["out"][i], w["ffn_norm"][i], w["router"][i], dims)
            probs = logits.softmax(-1)
            top, ids = probs.topk(s.top_k, -1)
            plan = Dispatch(ids, s.experts)
            ffn = Experts.apply(h, top / top.sum(-1, keepdim=True), w["gate_up"][i], w["down"][i],
                                plan, self.ops).view(b, t, s.width)
            routes.append((ids, plan.counts, probs))
        x = rms(x + ffn, w["norm"][0], s.eps)
        return x.view(b * t, s.width).to(self.dtype), routes

    def loss(self, tokens, target):
        """(mean cross entropy in nats, mean over layers of the load-balance term, whose least value is 1)."""
        h, routes = self.hidden(tokens)
        ce = HeadLoss.apply(h, self.leaf["embed"][0], target.flatten(), self.ops)
        n = h.shape[0] * self.shape.top_k
        balance = sum(self.shape.experts * (c / n) @ p.mean(0) for _, c, p in routes) / len(routes)
        return ce, balance

    @torch.no_grad()
    def logits(self, tokens):
        h, routes = self.hidden(tokens)
        return (h @ self.leaf["embed"][0].mT).float().view(*tokens.shape, -1), routes
