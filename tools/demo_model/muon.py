# SPDX-License-Identifier: MIT
"""Muon for the hidden matrices, AdamW for the rest.

Muon (K. Jordan, 2024): momentum, then the nearest (semi-)orthogonal matrix by a Newton-Schulz
iteration in bf16, over all matrices of one shape at once. A fused weight counts as its parts (query, key,
value; gate, up of every expert), since each is a map of its own.
"""

import torch


def orthogonal(m, steps=5):
    """[n, rows, cols] -> matrices with all singular values near 1 and the same singular vectors."""
    x = m.to(torch.bfloat16)
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).to(torch.bfloat16)
    for _ in range(steps):
        a = torch.bmm(x, x.mT)
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x if wide else x.mT


class Optimizer:
    """State and update of the stacked master weights (a dict of f32 tensors, changed in place)."""

    def __init__(self, shape, weights, muon_lr=0.02, adam_lr=3e-3, decay=0.1):
        self.shape, self.weights = shape, weights
        self.lr = {"muon": muon_lr, "adam": adam_lr}
        self.decay = decay
        self.state = {n: {"m": torch.zeros_like(w)} for n, w in weights.items()}
        for n, s in self.state.items():
            if not self.is_matrix(n):
                s["v"] = torch.zeros_like(weights[n])

    @staticmethod
    def is_matrix(name):
        return name in ("qkv", "out", "gate_up", "down")

    def parts(self, name, t):
        """The maps inside a stacked weight as views [n, rows, cols]."""
        s = self.shape
        if name == "gate_up":
            return [t.view(-1, s.expert_width, s.width)]
        if name == "qkv":
            return list(t.split((s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim), 1))
        return [t.view(-1, t.shape[-2], t.shape[-1])]

    @torch.no_grad()
    def step(self, grads, factor, n_step):
        """One update with all learning rates times `factor`; n_step counts from 1."""
        for name, w in self.weights.items():
            g = grads[name].float()
            if self.is_matrix(name):
                self.muon(name, w, g, factor * self.lr["muon"])
            else:
                self.adam(name, w, g, factor * self.lr["adam"], n_step)

    def muon(self, name, w, g, lr):
        m = self.state[name]["m"]
        m.lerp_(g, 0.05)
        update = g.lerp_(m, 0.95)
        w.mul_(1 - lr * self.decay)
        for wp, up in zip(self.parts(name, w), self.parts(name, update)):
            scale = max(1.0, up.shape[-2] / up.shape[-1]) ** 0.5
            wp.add_(orthogonal(up).float(), alpha=-lr * scale)

    def adam(self, name, w, g, lr, n_step, b1=0.9, b2=0.95):
        m, v = self.state[name]["m"], self.state[name]["v"]
        m.lerp_(g, 1 - b1)
        v.lerp_(g.square(), 1 - b2)
        if name in ("embed", "router"):
            w.mul_(1 - lr * self.decay)
        w.addcdiv_(m / (1 - b1 ** n_step), (v / (1 - b2 ** n_step)).sqrt_().add_(1e-10), value=-lr)
