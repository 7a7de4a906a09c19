# SPDX-License-Identifier: MIT
"""Writes the model card from measurements and from the works listed in the corpus' README.md.

    card.py CORPUS/README.md model.gguf Q6_K f16-ppl.json q6_k-ppl.json report.json... > README.md

The two -ppl files are what `libmoe perplexity -j --voice auto` says of the excerpts before and after
quantisation; the reports come from evaluate.py, any number that have all parts between them.
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
The scripts are in `tools/demo_model/`.

## Measured

Bits per byte of held-out text (whole documents, 1.28 MB in all, none of them in the training text), under the
right tag: windows of 1024 tokens that step by 512, every token scored once. First all of it, by PyTorch from
the weights in F16; then the excerpts in `heldout/`, by `libmoe perplexity --voice auto`, before and after
quantisation.
"""

LICENCE = """## Training text and licence

All text is in the public domain in the United States: books published before 1929, and source code dedicated
to the public domain by its authors. (In the United Kingdom the King James Bible is under a Crown privilege.)
The excerpts in `heldout/` come from the same works. The weights are under the MIT licence.
"""


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---"] + ["--:"] * (len(header) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def loss_table(report, before, after, kind):
    before, after = ({Path(t["file"]).stem: t["bits_per_byte"] for t in ppl["texts"]}
                     for ppl in (before, after))
    rows = [(d, bits, before[d], after[d]) for d, bits in zip(report["domains"], report["bits"])]
    rows.append(("mean", *(sum(r[i] for r in rows) / len(rows) for i in (1, 2, 3))))
    return table(("domain", "all, F16", "excerpt, F16", f"excerpt, {kind}", "change"),
                 [(d, *(f"{x:.3f}" for x in bits), f"{100 * (bits[2] / bits[1] - 1):+.2f} %")
                  for d, *bits in rows])


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


def main(readme, model, kind, before, after, *reports):
    before, after, *reports = (json.loads(Path(p).read_text()) for p in (before, after, *reports))
    report = {k: v for r in reports for k, v in r.items() if v is not None}
    s = Shape()
    expert = 3 * s.width * s.expert_width
    attn = 2 * s.width * s.head_dim * (s.heads + s.kv_heads)
    fixed = s.vocab * s.width + s.layers * (attn + s.experts * s.width)
    tokens = f"{report['tokens'] / 1e6:.1f} million (one pass over the text is 16.8 million)"
    print(HEAD.format(file=Path(model).name, size=Path(model).stat().st_size, kind=kind, tokens=tokens,
                      params=(fixed + s.layers * s.experts * expert) / 1e6,
                      active=(fixed + s.layers * s.top_k * expert) / 1e6, **s.asdict()))
    print(loss_table(report, before, after, kind))
    print(f"The right tag gives the lowest loss in {report['right_tags']} of {len(report['domains'])} "
          "domains (bits per byte of a text under each tag):\n")
    print(tag_table(report))
    print(f"Of the words of the samples, {100 * report['known_words']:.1f} % occur in the training text.\n")
    print("## What the experts do\n\nPer layer, the expert that leans most towards one domain (share of the "
          "domain's choices, over the\nheld-out text, beside its mean over all domains):\n")
    print(expert_table(report))
    middle = s.layers // 2
    print(f"All of layer {middle}, in percent of the domain's choices (each row sums to 100):\n")
    print(domain_by_expert(report, middle))
    print("## Samples\n\nTemperature 0.8, top-p 0.95, one draw each, not chosen.\n")
    for d in report["domains"]:
        text = re.sub(r"\n{3,}", "\n\n", report["samples"][d]).strip()
        print(f"### {d}\n\n```text\n{text}\n```\n")
    print(LICENCE)
    print("\n".join(works(Path(readme).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
