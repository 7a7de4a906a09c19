# SPDX-License-Identifier: MIT
"""Writes the model card from two reports of evaluate.py and the works listed in the corpus' README.md.

    card.py before.json after.json corpus/README.md model.gguf "Q6_K" > examples/models/README.md
"""

import json
import re
import sys
from pathlib import Path

from common import Shape

HEAD = """# The bundled model

`{file}` ({size:,} bytes) is a small Mixture-of-Experts language model, trained from nothing on public-domain
text in 13 domains. It is here so that the library can show what it does without a download; it writes in 13
voices and is no source of facts.

| | |
|---|---|
| architecture | Qwen3-MoE (`qwen3moe`), {layers} layers, width {width} |
| attention | {heads} query and {kv_heads} KV heads of {head_dim}, QK-norm, RoPE |
| experts | {experts} of {expert_width} per layer, top-{top_k}, weights renormalised over the chosen |
| parameters | {params:.1f} million, {active:.1f} million used per token |
| vocabulary | {vocab} byte-level BPE tokens, pre-tokenizer of Qwen2 |
| context | {context} tokens |
| tokens seen in training | {tokens} |
| weight type | {kind} |
| licence | MIT, like the library (the training text is in the public domain) |

A prompt chooses the voice by its first token, `<|tales|>`, `<|shakespeare|>` and so on; `<|endoftext|>` ends
a text.
The metadata keys `libmoe.voices` and `libmoe.voice.default` name the voices.
Scripts and the exact steps are in `tools/demo_model/`.

## Measured

Bits per byte of held-out text (whole documents, 1.28 MB in all, none of them in the training text), under the
right tag: windows of 1024 tokens that step by 512, every token scored once. The excerpts in `heldout/` are
parts of the same text.
"""

LICENCE = """## Training text and licence

All text is in the public domain in the United States: books published before 1929, and source code dedicated
to the public domain by its authors. (In the United Kingdom the King James Bible is under a Crown privilege.)
The excerpts in `heldout/` come from the same works. The weights are under the MIT licence.
"""


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---"] + ["--:"] * (len(header) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def loss_table(before, after, kind):
    rows = [(d, f"{b:.3f}", f"{a:.3f}", f"{100 * (a / b - 1):+.2f} %")
            for d, b, a in zip(before["domains"], before["bits"], after["bits"])]
    b, a = before["mean_bits"], after["mean_bits"]
    rows.append(("**mean**", f"**{b:.3f}**", f"**{a:.3f}**", f"**{100 * (a / b - 1):+.2f} %**"))
    return table(("domain", "F16", kind, "change"), rows)


def tag_table(report):
    names = report["domains"]
    rows = []
    for d, row in zip(names, report["tags"]):
        best = min(row[:-1])
        rows.append((d, *(f"**{x:.2f}**" if x == best else f"{x:.2f}" for x in row)))
    return table(("text \\ tag", *names, "none"), rows)


def expert_table(report):
    """Per layer the expert that leans most towards one domain, and its share there and on average."""
    rows = []
    for i, layer in enumerate(report["experts"]):
        n = len(layer)
        mean = [sum(layer[d][e] for d in range(n)) / n for e in range(len(layer[0]))]
        ratio, e, d = max((layer[d][e] / m, e, d) for d in range(n) for e, m in enumerate(mean) if m)
        rows.append((str(i), str(e), report["domains"][d], f"{100 * layer[d][e]:.1f} %",
                     f"{100 * mean[e]:.1f} %", f"{ratio:.1f}"))
    return table(("layer", "expert", "domain", "share there", "mean share", "ratio"), rows)


def domain_by_expert(report, i):
    layer = report["experts"][i]
    rows = [(d, *(f"{100 * x:.0f}" for x in row)) for d, row in zip(report["domains"], layer)]
    return table(("domain", *(str(e) for e in range(len(layer[0])))), rows)


def works(readme):
    """Short form of the README's tables: one paragraph per domain."""
    text = readme.split("## Works")[1].split("\n## ")[0]
    for section in text.split("\n### ")[1:]:
        domain, body = section.split("\n", 1)
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in body.splitlines()
                 if line.startswith("| ")][1:]
        yield f"- **{domain}**: " + "; ".join(f"{c[0]} ({c[1]}, {c[2]})" for c in cells) + "."


def main(before, after, readme, model, kind):
    before, after = (json.loads(Path(p).read_text()) for p in (before, after))
    after = before | {k: v for k, v in after.items() if v}      # parts measured once count for both
    s = Shape()
    expert = 3 * s.width * s.expert_width
    attn = 2 * s.width * s.head_dim * (s.heads + s.kv_heads)
    fixed = s.vocab * s.width + s.layers * (attn + s.experts * s.width)
    tokens = f"{after['tokens'] / 1e6:.0f} million" if after["tokens"] else "not recorded"
    print(HEAD.format(file=Path(model).name, size=Path(model).stat().st_size, kind=kind, tokens=tokens,
                      params=(fixed + s.layers * s.experts * expert) / 1e6,
                      active=(fixed + s.layers * s.top_k * expert) / 1e6, **s.asdict()))
    print(loss_table(before, after, kind))
    print(f"The right tag gives the lowest loss in {after['right_tags']} of {len(after['domains'])} domains "
          "(bits per byte of a text under each tag):\n")
    print(tag_table(after))
    print(f"Of the words of the samples, {100 * after['known_words']:.1f} % occur in the training text.\n")
    print("## What the experts do\n\nPer layer, the expert that leans most towards one domain (share of the "
          "domain's choices, over the\nheld-out text, beside its mean over all domains):\n")
    print(expert_table(after))
    middle = s.layers // 2
    print(f"All of layer {middle}, in percent of the domain's choices (each row sums to 100):\n")
    print(domain_by_expert(after, middle))
    print("## Samples\n\nTemperature 0.8, top-p 0.95, one draw each, not chosen.\n")
    for d in after["domains"]:
        text = re.sub(r"\n{3,}", "\n\n", after["samples"][d]).strip()
        print(f"### {d}\n\n```text\n{text}\n```\n")
    print(LICENCE)
    print("\n".join(works(Path(readme).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
