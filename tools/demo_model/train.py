# SPDX-License-Identifier: MIT
"""Trains the demo model from the files of prepare.py; stops and goes on at any time.

The learning rate warms up and stays constant; `--decay-steps N` is the finishing phase: from the
checkpoint given, N steps in which the rate falls linearly to zero. Keep the checkpoint from before it
to train on. Every batch mixes all domains in proportion to their size; each text opens with its tag.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from common import DOMAINS, EOT_ID, Shape, tag_id
from model import Network, init_weights
from muon import Optimizer

WARMUP = 100
BALANCE = 0.01                                # weight of the load-balance term
DROP_TAG = 0.1                                # share of the texts that open without a tag


class Texts:
    """Passes over the training tokens in windows of `length`, without replacement, all domains mixed."""

    def __init__(self, work, length):
        rows = json.loads((Path(work) / "index.json").read_text())["train"]
        tokens = np.fromfile(Path(work) / "train.bin", dtype=np.uint16)
        self.length, self.streams = length, []
        for d in range(len(DOMAINS)):
            mine = [r for r in rows if r[0] == d]
            self.streams.append(tokens[mine[0][1]:mine[-1][1] + mine[-1][2]])

    def order(self, n_pass):
        """[windows, 2] of (domain, start), spread so that any run of windows has every domain's share."""
        rng = np.random.default_rng((self.length, n_pass))
        out, keys = [], []
        for d, s in enumerate(self.streams):
            starts = np.arange(rng.integers(self.length), len(s) - self.length - 16, self.length)
            rng.shuffle(starts)
            out.append(np.stack((np.full_like(starts, d), starts), 1))
            keys.append((np.arange(len(starts)) + rng.random(len(starts))) / len(starts))
        return np.concatenate(out)[np.argsort(np.concatenate(keys))]

    def window(self, d, start, rng):
        """length + 1 ids that open with the domain's tag, or hold no tag at all."""
        text = self.streams[d][start:start + self.length + 16]
        if rng.random() < DROP_TAG:
            text = text[(text == EOT_ID) | (text > len(DOMAINS))]
        elif text[0] != tag_id(int(d)):
            text = np.concatenate(([tag_id(d)], text))
        return text[:self.length + 1].astype(np.int64)


class Run:
    """Weights, optimizer state and data position, saved and restored as one file."""

    def __init__(self, args):
        self.args, self.shape = args, Shape()
        self.step, self.tokens, self.n_pass, self.index = 0, 0, 0, 0
        self.weights = init_weights(self.shape, seed=1)
        self.opt = Optimizer(self.shape, self.weights, args.lr, args.adam_lr)
        self.path = Path(args.work) / args.checkpoint
        source = Path(args.work) / args.start if args.start else self.path
        if source.exists():
            self.restore(torch.load(source, weights_only=True))
        elif args.start:
            raise SystemExit(f"{source}: no such checkpoint")
        self.texts = Texts(args.work, args.length)
        self.windows = self.texts.order(self.n_pass)

    def restore(self, saved):
        for n, w in self.weights.items():
            w.copy_(saved["weights"][n])
            for k, v in self.opt.state[n].items():
                v.copy_(saved["state"][n][k])
        self.step, self.tokens, self.n_pass, self.index, length = saved["position"]
        if length != self.args.length:        # another cut of the texts: begin the next pass
            self.n_pass, self.index = self.n_pass + 1, 0

    def save(self):
        part = self.path.with_suffix(".part")
        torch.save({"shape": self.shape.asdict(), "weights": self.weights, "state": self.opt.state,
                    "position": [self.step, self.tokens, self.n_pass, self.index, self.args.length]}, part)
        os.replace(part, self.path)

    def batch(self):
        if self.index + self.args.batch > len(self.windows):
            self.n_pass, self.index = self.n_pass + 1, 0
            self.windows = self.texts.order(self.n_pass)
        rng = np.random.default_rng((self.n_pass, self.index))
        ids = np.stack([self.texts.window(d, s, rng)
                        for d, s in self.windows[self.index:self.index + self.args.batch]])
        self.index += self.args.batch
        return torch.from_numpy(ids)


def train(args):
    run = Run(args)
    net = Network(run.shape, run.weights, torch.bfloat16, compiled=True)
    first, saved, mean = run.step, time.time(), None
    last = first + (args.decay_steps or args.steps)
    print(f"from step {first} to {last}, {run.tokens:,} tokens seen", flush=True)
    began, stop = time.time(), []
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stop.append(True))     # finish the step, save, leave
    while run.step < last and not stop:
        ids = run.batch()
        net.load(run.weights)
        ce, balance = net.loss(ids[:, :-1], ids[:, 1:].contiguous())
        (ce + BALANCE * balance).backward()
        grads = net.grads()
        norm = sum(g.float().square().sum() for g in grads.values()).sqrt().item()
        for g in grads.values():
            g.mul_(min(1.0, 1.0 / norm))
        run.step += 1
        run.tokens += ids[:, 1:].numel()
        factor = min(1.0, run.step / WARMUP)
        if args.decay_steps:
            factor *= (last - run.step) / args.decay_steps
        run.opt.step(grads, factor, run.step)
        mean = ce.item() if mean is None else mean + 0.05 * (ce.item() - mean)
        if run.step % args.log == 0:
            speed = (run.step - first) * ids[:, 1:].numel() / (time.time() - began)
            print(f"step {run.step} loss {ce.item():.4f} mean {mean:.4f} balance {balance.item():.3f} "
                  f"norm {norm:.2f} {run.tokens / 1e6:.2f}M tokens, pass {run.n_pass}, {speed:.0f}/s",
                  flush=True)
        if time.time() - saved > args.save_every:
            run.save()
            saved = time.time()
    run.save()


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("work", help="directory that prepare.py wrote; checkpoints go there")
    ap.add_argument("--checkpoint", default="train.pt", help="file to write, and to go on from if it exists")
    ap.add_argument("--start", help="checkpoint to begin from instead")
    ap.add_argument("--steps", type=int, default=1000000)
    ap.add_argument("--decay-steps", type=int, default=0, help="finishing phase of that many steps")
    ap.add_argument("--length", type=int, default=512)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=3e-3)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--save-every", type=float, default=240, help="seconds")
    ap.add_argument("--log", type=int, default=10)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    train(args)


if __name__ == "__main__":
    main()
