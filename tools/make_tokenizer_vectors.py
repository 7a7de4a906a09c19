#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Small vocabularies and the ids that Hugging Face `tokenizers` gives: the fixtures of tests/token.

    make_tokenizer_vectors.py [--out DIR]

For each pre-tokenizer of the supported model families a byte-level BPE vocabulary is trained on
tokenizer_training.txt, written as PRE.gguf (vocabulary only) and as PRE.vec (the strings of
tokenizer_strings.txt and more, with their ids; format: docs/formats/golden.md). `llama` is a SentencePiece
BPE model with byte fallback: trained by `sentencepiece`, turned into a `tokenizers` model as `transformers`
does it; a string is kept only if both libraries give the same ids.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import hf_tokenizer

HERE = Path(__file__).resolve().parent
TRAINING = (HERE / "tokenizer_training.txt").read_text(encoding="utf-8")
N_MERGES = 330
# Tokens that no merge makes: used only by tokenizers that look whole words up first (ignore_merges).
WHOLE_WORDS = ["xylophone", " zigzag", "\u00e9clair", " \u6771\u4eac"]
LONG = [
    "a" * 90,
    "ab" * 40,
    "the " * 30,
    " " * 150,
    "\n" * 40,
    "!" * 60,
    "\u00e9" * 30,
    "\u4e00" * 25,
    "0123456789" * 6,
    "nonononono" * 5,
    "aaabaaab" * 9,
    "The router picks the experts; it doesn't guess. " * 2,
    TRAINING[:400],
]
# Parts of Unicode that have not changed for long, so that any library's tables agree on them.
STABLE_RANGES = """20-7e a0-24f 391-3a1 3b1-3c9 400-45f 5d0-5ea 620-64a 905-939 2000-2063 2190-21ff 3041-3096
    30a1-30fa 4e00-4eff ac00-acff 1f600-1f64f"""
DENSE = " \t\n\r'sStTrReEvVmMlLdD019.,!-_aZ\u00e9\u00a0"


@dataclass
class Kind:
    pre: str
    arch: str
    regex: list[str]  # for the record in the .vec file
    steps: Callable[[], list]  # the pre-tokenizers that come before the byte-level one
    special: list[str]
    user: list[str] = field(default_factory=list)  # added tokens that are ordinary text, matched whole
    bos: str | None = None
    eos: str | None = None
    add_bos: bool = False
    nfc: bool = False
    whole_words: bool = False  # tokens that no merge makes
    ignore_merges: bool = False  # ... and that are used when a whole word equals one


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


KINDS = [
    Kind(
        "gpt-2",
        "qwen2moe",
        [hf_tokenizer.REGEX_GPT2],
        lambda: [],
        ["<|endoftext|>"],
        eos="<|endoftext|>",
        bos="<|endoftext|>",
    ),
    Kind(
        "llama-bpe",
        "llama",
        [hf_tokenizer.REGEX_LLAMA3],
        lambda: [split(hf_tokenizer.REGEX_LLAMA3)],
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        add_bos=True,
        whole_words=True,
        ignore_merges=True,
    ),
    Kind(
        "dbrx",
        "olmoe",
        [hf_tokenizer.REGEX_LLAMA3],
        lambda: [split(hf_tokenizer.REGEX_LLAMA3)],
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos="<|endoftext|>",
        whole_words=True,
    ),
    Kind(
        "qwen2",
        "qwen3moe",
        [hf_tokenizer.REGEX_QWEN2],
        lambda: [split(hf_tokenizer.REGEX_QWEN2)],
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        user=["<think>", "</think>", "<tool_call>"],
        eos="<|im_end|>",
        nfc=True,
    ),
    Kind(
        "olmo",
        "olmoe",
        [hf_tokenizer.REGEX_GPT2],
        lambda: [],
        ["|||IP_ADDRESS|||", "<|padding|>", "<|endoftext|>"],
        user=[" " * n for n in range(8, 1, -1)],
        eos="<|endoftext|>",
        nfc=True,
    ),
    Kind(
        "refact",
        "granitemoe",
        [r"\p{N}", hf_tokenizer.REGEX_GPT2],
        lambda: [pre_tokenizers.Digits(individual_digits=True)],
        ["<|end_of_text|>", "<fim_prefix>", "<|start_of_role|>", "<|end_of_role|>"],
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
    ),
    Kind(
        "default",
        "qwen2moe",
        hf_tokenizer.REGEX_DEFAULT,
        lambda: [split(p) for p in hf_tokenizer.REGEX_DEFAULT],
        ["<|endoftext|>"],
        eos="<|endoftext|>",
    ),
]

MARKED = [
    "%s",
    "%s%s",
    " %s ",
    "a%sb",
    "a %s b",
    "%suser\nhello%s\n",
    "\n%s\n\n%s",
    "%s.",
    "it's%s's",
    "   %s   ",
    "1%s2",
    "\u00e9%s\u00e9",
]


def random_strings() -> list[str]:
    """Reproducible mixtures: of many scripts, and of ASCII with much white space and many apostrophes."""
    rng = random.Random(20240229)
    ranges = [tuple(int(x, 16) for x in r.split("-")) for r in STABLE_RANGES.split()]
    out = []
    for _ in range(25):
        out.append("".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(3, 24))))
    return out + ["".join(rng.choice(DENSE) for _ in range(rng.randint(5, 40))) for _ in range(30)]


def strings() -> list[str]:
    """All test strings without special tokens, without repetition, in a fixed order."""
    lines = (HERE / "tokenizer_strings.txt").read_text(encoding="utf-8").split("\n")
    listed = [json.loads(line) for line in lines if line.startswith('"')]
    return list(dict.fromkeys(listed + LONG + random_strings()))


def spell(text: str) -> str:
    """UTF-8 bytes in GPT-2's printable alphabet."""
    table = hf_tokenizer.byte_alphabet()
    return "".join(table[b] for b in text.encode())


def train(kind: Kind) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    last_regex = kind.regex[-1] == hf_tokenizer.REGEX_GPT2  # that one is built into ByteLevel
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=last_regex)
    tok.pre_tokenizer = pre_tokenizers.Sequence(kind.steps() + [byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + N_MERGES,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator([TRAINING] * 3, trainer)
    data = json.loads(tok.to_str())["model"]
    vocab = dict(data["vocab"])
    if kind.whole_words:
        for word in WHOLE_WORDS:
            vocab[spell(word)] = len(vocab)
    merges = [tuple(m) for m in data["merges"]]
    tok.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=kind.ignore_merges)
    tok.decoder = decoders.ByteLevel()
    if kind.nfc:
        tok.normalizer = normalizers.NFC()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in kind.special])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in kind.user])
    return tok


def marked_strings(tokens: list[str]) -> list[str]:
    """Strings with special tokens in them: whole, cut short, next to one another."""
    out = []
    for i, pattern in enumerate(MARKED):
        names = [tokens[(i + j) % len(tokens)] for j in range(pattern.count("%s"))]
        out.append(pattern % tuple(names))
    out += (
        [t for t in tokens]
        + [t[:-1] for t in tokens]
        + [t[1:] for t in tokens]
        + [tokens[0][:-1] + tokens[0]]
    )
    return list(dict.fromkeys(out))


def ids_of(tok: Tokenizer, text: str, special: bool) -> list[int]:
    tok.encode_special_tokens = not special
    return tok.encode(text, add_special_tokens=False).ids


def record(kind: str, raw: bytes, ids: list[int]) -> str:
    return f"{kind} {raw.hex() or '-'} {len(ids)} {' '.join(map(str, ids))}".rstrip()


def decode_records(tokens: list[str], n_plain: int) -> list[str]:
    """Ids whose bytes are no valid UTF-8, or only together: decoding must give exactly these bytes."""
    table = {c: b for b, c in enumerate(hf_tokenizer.byte_alphabet())}
    by_byte = {table[t]: i for i, t in enumerate(tokens[:n_plain]) if len(t) == 1}
    samples = [[b] for b in (0x00, 0x0A, 0x7F, 0x80, 0xBF, 0xC0, 0xE2, 0xF0, 0xFF)]
    samples += [list(s.encode()) for s in ("\u00e9", "\u20ac", "\U0001f600", "a\u00e9\u20ac\U0001f600z")]
    samples += [
        [0xE2, 0x82],
        [0xE2, 0x41],
        [0xF0, 0x9F, 0x98],
        [0xC3, 0xC3, 0xA9],
        [0xED, 0xA0, 0x80],
        [0xFF, 0xFE, 0xFD],
        list(range(256)),
    ]
    return [record("decode", bytes(s), [by_byte[b] for b in s]) for s in samples]


def write_files(
    out: Path, pre: str, arch: str, data: hf_tokenizer.TokenizerData, head: list[str], body: list[str]
) -> None:
    w = gguf.GGUFWriter(None, arch)
    w.add_type("model")
    w.add_name(f"vocabulary {pre}")
    data.write(w)
    path = out / f"{pre}.gguf"
    w.write_header_to_file(path)
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    w.close()
    vec = out / f"{pre}.vec"
    versions = f"# tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"
    lines = ["libmoe-tokens 1", versions, *head, f"model {pre}.gguf", f"tokens {len(data.tokens)}"]
    vec.write_text("\n".join(lines + body + ["end"]) + "\n", encoding="ascii")
    print(
        f"{pre:10} {len(data.tokens)} tokens, {len(body)} records,"
        f" bytes {path.stat().st_size} + {vec.stat().st_size}"
    )


def regex_comment(patterns: list[str]) -> list[str]:
    return [f"# regex {p}".encode("ascii", "backslashreplace").decode() for p in patterns]


def make_bpe(kind: Kind, out: Path) -> None:
    tok = train(kind)
    parsed = json.loads(tok.to_str())
    data = hf_tokenizer.from_json(
        parsed, {"bos_token": kind.bos, "eos_token": kind.eos, "add_bos_token": kind.add_bos}, pre=kind.pre
    )
    if hf_tokenizer.detect_pre(parsed) != kind.pre:
        raise SystemExit(f"{kind.pre}: recognised as {hf_tokenizer.detect_pre(parsed)}")
    body = []
    for text in strings() + marked_strings(kind.special + kind.user):
        plain, special = ids_of(tok, text, False), ids_of(tok, text, True)
        changed = kind.nfc and unicodedata.normalize("NFC", text) != text
        if changed:
            body.append(record("nfc", text.encode(), special))
            continue
        body.append(record("text", text.encode(), special))
        if plain != special:
            body.append(record("plain", text.encode(), plain))
    body += decode_records(data.tokens, len(data.tokens))
    write_files(out, kind.pre, kind.arch, data, regex_comment(kind.regex) + [f"pre {kind.pre}"], body)


def spm_as_bpe(sp: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    """The `tokenizers` model of a SentencePiece BPE model: every way to split a piece into two pieces is a
    merge, better scores first."""
    pieces = [sp.id_to_piece(i) for i in range(sp.get_piece_size())]
    vocab = {p: i for i, p in enumerate(pieces)}
    merges = []
    for i, p in enumerate(pieces):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i):
            continue
        halves = [(p[:c], p[c:]) for c in range(1, len(p)) if p[:c] in vocab and p[c:] in vocab]
        merges += [(-sp.get_score(i), vocab[a], vocab[b], a, b) for a, b in halves]
    merges.sort()
    tok = Tokenizer(
        models.BPE(
            vocab=vocab, merges=[m[3:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tok


def make_spm(out: Path) -> None:
    blob = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING.strip("\n").split("\n") * 3),
        model_writer=blob,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
    )
    file = out / "llama.model"
    file.write_bytes(blob.getvalue())
    data = hf_tokenizer.from_sentencepiece(file)
    file.unlink()
    sp = sentencepiece.SentencePieceProcessor(model_proto=blob.getvalue())
    tok = spm_as_bpe(sp)
    body, differ = [], []
    for text in strings():
        plain = ids_of(tok, text, False)
        if plain != sp.encode(text):
            differ.append(text)
            continue
        body.append(record("text", text.encode(), plain))
    for text in marked_strings(["<s>", "</s>", "<unk>"]):
        plain, special = ids_of(tok, text, False), ids_of(tok, text, True)
        body.append(record("text", text.encode(), special))
        if plain != special:
            body.append(record("plain", text.encode(), plain))
    if differ:
        print(
            f"llama: sentencepiece and tokenizers differ on {len(differ)} strings, left out:"
            f" {[d[:40] for d in differ]!r}"
        )
    write_files(
        out, "llama", "llama", data, ["# SentencePiece BPE, byte fallback, dummy prefix", "pre llama"], body
    )


def main() -> None:
    p = argparse.ArgumentParser(description="fixtures of tests/token")
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "tests/token/data")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        make_bpe(kind, a.out)
    make_spm(a.out)


if __name__ == "__main__":
    main()
