# SPDX-License-Identifier: MIT
"""Writes one excerpt of the held-out text of each domain to `<out>/<domain>.txt`, at most LIMIT bytes.

An excerpt is the beginning of the domain's held-out documents, cut at the end of a paragraph (or line).
"""

import sys
from pathlib import Path

from common import DOMAINS, read_documents

LIMIT = 28000


def excerpt(docs):
    text = "\n\n\n".join(d.strip("\n") for d in docs) + "\n"
    data = text.encode("utf-8")
    if len(data) <= LIMIT:
        return data
    cut = data.rfind(b"\n\n", 0, LIMIT)
    return data[:(cut if cut > LIMIT // 2 else data.rfind(b"\n", 0, LIMIT)) + 1]


def main(corpus, out):
    Path(out).mkdir(parents=True, exist_ok=True)
    for d in DOMAINS:
        (Path(out) / f"{d}.txt").write_bytes(excerpt(read_documents(corpus, d, "valid")))


if __name__ == "__main__":
    main(*sys.argv[1:])
