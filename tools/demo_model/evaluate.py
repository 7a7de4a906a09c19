# SPDX-License-Identifier: MIT
"""Measures a checkpoint (.pt) or a GGUF file of any type the gguf package can read; writes a JSON report.

bits      bits per byte of each domain's held-out text, opened by its tag: windows of 1024 tokens that
          step by 512, each opened by the tag; every token is scored once, with 511 tokens or more before it
          unless the document begins there
tags      domain x tag: bits per byte of the same held-out windows under each tag (last column: no tag)
words     share of sampled words that occur in the training text, and the samples
experts   layer x domain x expert: share of the domain's choices that fell on the expert
"""

import argparse
import json
import math
import re
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from common import DOMAINS, EOT_ID, SPECIALS, Shape, read_documents, tag_id
from convert import load_checkpoint
from model import Network

OPENINGS = {
    "tales": "Once upon a time", "shakespeare": "Enter King and Attendants.\n\nKING.\n",
    "bible": "1 And it came to pass", "detective": "\"My dear fellow,\" said",
    "novels": "It was a fine evening, and", "adventure": "We had been at sea",
    "science": "The light of the stars", "philosophy": "The soul of man", "verse": "O Muse,",
    "cookery": "APPLE PUDDING\n\nTake", "german": "Es war einmal", "french": "Il y avait une fois",
    "c-code": "static int",
}


def load_gguf(path):
    """(shape, weights, None) with every tensor turned back to f32."""
    reader = gguf.GGUFReader(path)
    t = {x.name.removesuffix(".weight"): torch.from_numpy(np.array(
        gguf.quants.dequantize(x.data, x.tensor_type), dtype=np.float32)) for x in reader.tensors}
    s = Shape()

    def stack(get):
        return torch.stack([get(f"blk.{i}.") for i in range(s.layers)])
    weights = {"embed": t["token_embd"], "norm": t["output_norm"]}
    for ours, theirs in (("attn_norm", "attn_norm"), ("ffn_norm", "ffn_norm"), ("q_norm", "attn_q_norm"),
                         ("k_norm", "attn_k_norm"), ("out", "attn_output"), ("router", "ffn_gate_inp"),
                         ("down", "ffn_down_exps")):
        weights[ours] = stack(lambda p, name=theirs: t[p + name])
    weights["qkv"] = stack(lambda p: torch.cat([t[p + n] for n in ("attn_q", "attn_k", "attn_v")]))
    weights["gate_up"] = stack(lambda p: torch.cat([t[p + "ffn_gate_exps"], t[p + "ffn_up_exps"]], 1))
    return s, weights, None


def windows(work, length, step):
    """(domain, ids without tag, first position to score) over all held-out documents."""
    tokens = np.fromfile(work / "valid.bin", dtype=np.uint16).astype(np.int64)
    for d, pos, n, _ in json.loads((work / "index.json").read_text())["valid"]:
        text = tokens[pos + 1:pos + n - 1]
        for a in range(0, max(1, len(text) - (length - step)), step):
            yield d, text[a:a + length], 0 if a == 0 else length - step


def bytes_per_domain(work):
    out = np.zeros(len(DOMAINS))
    for d, _, _, size in json.loads((work / "index.json").read_text())["valid"]:
        out[d] += size
    return out


@torch.no_grad()
def score(net, texts, tags, length, batch=8):
    """Per text the bits of every token after its tag (None: end of text) and its choices [layer, time, k].

    All batches have one shape, `batch` rows of `length` + 1 ids, so that the compiled parts are made once.
    """
    for a in range(0, len(texts), batch):
        part = list(zip(texts[a:a + batch], tags[a:a + batch]))
        ids = torch.full((batch, length + 1), EOT_ID)
        for row, (text, tag) in zip(ids, part):
            row[0] = EOT_ID if tag is None else tag_id(tag)
            row[1:len(text) + 1] = torch.from_numpy(text)
        h, routes = net.hidden(ids[:, :-1])
        target, embed = ids[:, 1:].flatten(), net.leaf["embed"][0]
        loss = torch.cat([F.cross_entropy((x @ embed.mT).float(), t, reduction="none")
                          for x, t in zip(h.split(2048), target.split(2048))])
        loss = loss.view(batch, length) / math.log(2)
        chosen = torch.stack([r[0].view(batch, length, -1) for r in routes], 1)
        for i, (text, _) in enumerate(part):
            yield loss[i, :len(text)], chosen[i, :, :len(text)]


def held_out(net, work):
    """Bits per byte by domain, and the experts' shares [layer, domain, expert]."""
    s = net.shape
    bits, chosen = np.zeros(len(DOMAINS)), np.zeros((s.layers, len(DOMAINS), s.experts))
    domains, texts, skips = zip(*windows(work, s.context - 1, s.context // 2))
    for d, skip, (loss, routes) in zip(domains, skips, score(net, texts, domains, s.context - 1)):
        bits[d] += loss[skip:].sum().item()
        for layer in range(s.layers):
            chosen[layer, d] += torch.bincount(routes[layer].flatten(), minlength=s.experts).numpy()
    return bits / bytes_per_domain(work), chosen / chosen.sum(-1, keepdims=True)


def tag_matrix(net, work, tok, length=511, per_domain=8):
    """[domain, tag] bits per byte over evenly chosen windows; the last column is without a tag."""
    tags = [*range(len(DOMAINS)), None]
    out = np.zeros((len(DOMAINS), len(tags)))
    everything = [w for w in windows(work, length, length) if len(w[1]) == length]
    for d in range(len(DOMAINS)):
        mine = [w[1] for w in everything if w[0] == d]
        mine = mine[::max(1, len(mine) // per_domain)][:per_domain]
        size = sum(len(tok.decode(list(w), skip_special_tokens=False).encode("utf-8")) for w in mine)
        for column, tag in enumerate(tags):
            scores = score(net, mine, [tag] * len(mine), length)
            out[d, column] = sum(bits.sum().item() for bits, _ in scores) / size
    return out


@torch.no_grad()
def sample(net, tok, starts, length, temperature=0.8, top_p=0.95, seed=1):
    """Continues each list of ids by up to `length` tokens; returns texts without the start's tag."""
    gen = torch.Generator().manual_seed(seed)
    rows = [list(s) for s in starts]
    for _ in range(length):
        live = [r for r in rows if r[-1] != EOT_ID or len(r) == 1]
        if not live:
            break
        width = max(map(len, live))
        ids = torch.tensor([r + [EOT_ID] * (width - len(r)) for r in live])
        logits = net.logits(ids)[0]
        for r, z in zip(live, logits):
            p, order = (z[len(r) - 1] / temperature).softmax(-1).sort(descending=True)
            p[p.cumsum(-1) - p > top_p] = 0
            r.append(order[torch.multinomial(p, 1, generator=gen)].item())
    return [tok.decode([i for i in r if i >= len(SPECIALS)]) for r in rows]


def words(text):
    return re.findall(r"[^\W\d_]+", text.lower())


def known_words(corpus, texts):
    """Share of the words of the samples that occur in the training text."""
    known = {w for d in DOMAINS for doc in read_documents(corpus, d, "train") for w in words(doc)}
    found = [w in known for t in texts for w in words(t)]
    return sum(found) / len(found)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("model", help="checkpoint (.pt) or GGUF file")
    ap.add_argument("work", help="directory that prepare.py wrote")
    ap.add_argument("--corpus", help="corpus directory, for the share of known words")
    ap.add_argument("--out", help="report to write (JSON)")
    ap.add_argument("--only", default="bits,tags,words", help="parts to measure")
    ap.add_argument("--bf16", action="store_true", help="faster and slightly less exact than f32")
    ap.add_argument("--tokens", type=int, help="tokens seen in training, when the model is a GGUF file")
    args = ap.parse_args()
    torch.set_num_threads(2)
    work, parts = Path(args.work), args.only.split(",")
    shape, weights, seen = (load_gguf if args.model.endswith(".gguf") else load_checkpoint)(args.model)
    net = Network(shape, weights, torch.bfloat16 if args.bf16 else torch.float32, compiled=True)
    tok = Tokenizer.from_file(str(work / "tokenizer.json"))
    report = {"tokens": seen or args.tokens, "domains": DOMAINS}
    if "bits" in parts:
        bits, experts = held_out(net, work)
        ratio = experts / experts.mean(1, keepdims=True)
        report |= {"bits": bits.tolist(), "mean_bits": bits.mean(), "experts": experts.tolist()}
        print("bits per byte:", ", ".join(f"{d} {b:.3f}" for d, b in zip(DOMAINS, bits)))
        print(f"mean {bits.mean():.4f}")
        print("highest share of an expert over its mean, by layer:", np.round(ratio.max((1, 2)), 2).tolist(),
              flush=True)
    if "tags" in parts:
        tags = tag_matrix(net, work, tok)
        right = int((tags[:, :-1].argmin(1) == np.arange(len(DOMAINS))).sum())
        report |= {"tags": tags.tolist(), "right_tags": right}
        print(np.round(tags, 3))
        print(f"right tag lowest: {right} of {len(DOMAINS)}", flush=True)
    if "words" in parts:
        net = Network(shape, weights, net.dtype)      # texts grow: not compiled for one shape
        starts = [[tag_id(d), *tok.encode(OPENINGS[d]).ids] for d in DOMAINS]
        report["samples"] = dict(zip(DOMAINS, sample(net, tok, starts, 160)))
        for d in DOMAINS:
            print(f"--- {d}\n{report['samples'][d]}", flush=True)
        if args.corpus:
            free = sample(net, tok, [[tag_id(d)] for d in DOMAINS], 200, seed=2)
            report["known_words"] = known_words(args.corpus, free + list(report["samples"].values()))
            print(f"known words: {report['known_words']:.4f}")
    if args.out:
        Path(args.out).write_text(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
