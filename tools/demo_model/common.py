# SPDX-License-Identifier: MIT
"""Shared facts of the demo model: its domains, its shape, and how the corpus is read.

The corpus directory holds `<domain>.txt.zst` (training) and `valid-<domain>.txt.zst` (held out):
UTF-8 text, documents separated by a line that holds only a form feed.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import zstandard

DOMAINS = ("tales", "shakespeare", "bible", "detective", "novels", "adventure", "science",
           "philosophy", "verse", "cookery", "german", "french", "c-code")
EOT = "<|endoftext|>"
EOT_ID = 0                                   # the specials take the first ids, in this order
SPECIALS = (EOT, *(f"<|{d}|>" for d in DOMAINS))


def tag_id(domain):
    """Token id of the tag that opens a document of `domain` (a name or its index)."""
    return 1 + (DOMAINS.index(domain) if isinstance(domain, str) else domain)


@dataclass(frozen=True)
class Shape:
    """Dimensions of the network; every row length is a multiple of 256, as K-quants need."""
    vocab: int = 6144
    layers: int = 8
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 16
    top_k: int = 2
    expert_width: int = 256
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-6

    def asdict(self):
        return asdict(self)


def read_documents(corpus, domain, split):
    """The documents of one domain as a list of str; split is "train" or "valid"."""
    name = f"{domain}.txt.zst" if split == "train" else f"valid-{domain}.txt.zst"
    with open(Path(corpus) / name, "rb") as f:
        text = zstandard.ZstdDecompressor().stream_reader(f).read().decode("utf-8")
    return text.split("\n\f\n")
