# SPDX-License-Identifier: MIT
"""Corpus directory -> vocabulary and token files in a work directory.

Writes tokenizer.json (byte-level BPE, pre-tokenizer of Qwen2, no normaliser, specials first),
train.bin and valid.bin (uint16 token ids of all documents, each as [tag] text [end]) and
index.json: per split a list of [domain index, first token, tokens, bytes of text] per document.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from common import DOMAINS, EOT_ID, SPECIALS, Shape, read_documents, tag_id

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def train_tokenizer(corpus):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=Shape.vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIALS],
        show_progress=False)
    tok.train_from_iterator((doc for d in DOMAINS for doc in read_documents(corpus, d, "train")), trainer)
    assert tok.get_vocab_size() == Shape.vocab and tok.token_to_id(SPECIALS[0]) == EOT_ID
    return tok


def encode_split(tok, corpus, split, path):
    """Writes the token file of one split; returns the index rows of its documents."""
    rows, pos = [], 0
    with open(path, "wb") as out:
        for d, domain in enumerate(DOMAINS):
            docs = read_documents(corpus, domain, split)
            for doc, enc in zip(docs, tok.encode_batch(docs, add_special_tokens=False)):
                ids = np.array([tag_id(d), *enc.ids, EOT_ID], dtype=np.uint16)
                out.write(ids.tobytes())
                rows.append([d, pos, len(ids), len(doc.encode("utf-8"))])
                pos += len(ids)
    print(f"{split}: {len(rows)} documents, {pos:,} tokens, "
          f"{sum(r[3] for r in rows) / pos:.2f} bytes per token")
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("corpus")
    ap.add_argument("work")
    args = ap.parse_args()
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    tok = train_tokenizer(args.corpus)
    tok.save(str(work / "tokenizer.json"))
    index = {s: encode_split(tok, args.corpus, s, work / f"{s}.bin") for s in ("train", "valid")}
    (work / "index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
