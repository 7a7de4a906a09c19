# SPDX-License-Identifier: MIT
"""Tokenizer data of a Hugging Face model, as GGUF metadata (tokenizer.ggml.*).

Two kinds exist in GGUF and both are written here:

  gpt2    byte-level BPE: tokens are spelled in the printable byte alphabet of GPT-2, merges are listed,
          `tokenizer.ggml.pre` names the rule that cuts the text into words first.
  llama   SentencePiece style BPE: tokens spell a space as U+2581, each has a score, and the pair whose
          concatenation is the token with the best score is merged first. 256 byte tokens catch the rest.

Input is a `tokenizer.json` (directory, file or parsed dict), and a `tokenizer.model` where there is one,
because only that file has the true scores. What cannot be expressed is refused, never approximated.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# The word-splitting patterns as the tokenizer.json files of the model families spell them.
_CONTRACTION_ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
REGEX_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
REGEX_LLAMA3 = _CONTRACTION_ANY_CASE + _WORDS % r"\p{N}{1,3}"
REGEX_QWEN2 = _CONTRACTION_ANY_CASE + _WORDS % r"\p{N}"
# `default` names no Hugging Face tokenizer: these four patterns are applied one after the other, each to the
# pieces that the one before left.
REGEX_DEFAULT = [r"[\p{P}\$\+<=>\^~\|]+", REGEX_GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]


def byte_alphabet() -> list[str]:
    """GPT-2's printable spelling of the 256 bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


@dataclass
class TokenizerData:
    """Everything that goes into tokenizer.ggml.*; ids are None where the tokenizer has no such token."""

    model: str
    pre: str | None
    tokens: list[str]
    types: list[int]
    merges: list[str] | None = None
    scores: list[float] | None = None
    ids: dict[str, int] = field(default_factory=dict)  # keys: bos eos unknown padding eot
    add_bos: bool | None = None
    add_eos: bool | None = None
    add_space_prefix: bool | None = None
    chat_template: str | None = None

    def pad_to(self, n_vocab: int) -> None:
        """Models often have more embedding rows than tokens; the surplus rows become unused tokens."""
        if n_vocab < len(self.tokens):
            raise ValueError(f"vocabulary of {len(self.tokens)} tokens does not fit {n_vocab} embedding rows")
        for i in range(len(self.tokens), n_vocab):
            self.tokens.append(f"[PAD{i}]")
            self.types.append(UNUSED)
            if self.scores is not None:
                self.scores.append(-1e4)

    def write(self, w: gguf.GGUFWriter) -> None:
        w.add_tokenizer_model(self.model)
        if self.pre is not None:
            w.add_tokenizer_pre(self.pre)
        w.add_token_list(self.tokens)
        if self.scores is not None:
            w.add_token_scores(self.scores)
        w.add_token_types(self.types)
        if self.merges is not None:
            w.add_token_merges(self.merges)
        adders = {
            "bos": w.add_bos_token_id,
            "eos": w.add_eos_token_id,
            "unknown": w.add_unk_token_id,
            "padding": w.add_pad_token_id,
            "eot": w.add_eot_token_id,
        }
        for name, token_id in self.ids.items():
            adders[name](token_id)
        if self.add_bos is not None:
            w.add_add_bos_token(self.add_bos)
        if self.add_eos is not None:
            w.add_add_eos_token(self.add_eos)
        if self.add_space_prefix is not None:
            w.add_add_space_prefix(self.add_space_prefix)
        if self.chat_template is not None:
            w.add_chat_template(self.chat_template)


SMALL_MERGES = [
    "t h",
    "th e",
    "\u0120 the",
    "i n",
    "e r",
    "a n",
    "r e",
    "o n",
    "\u0120 a",
    "a t",
    "e n",
    "an d",
]


def small_bpe(pre: str) -> TokenizerData:
    """A complete byte-level vocabulary of 270 tokens: every byte, twelve merges, two control tokens."""
    tokens = byte_alphabet() + [m.replace(" ", "") for m in SMALL_MERGES] + ["<|endoftext|>", "<|im_end|>"]
    types = [NORMAL] * (len(tokens) - 2) + [CONTROL] * 2
    ids = {"bos": len(tokens) - 2, "eos": len(tokens) - 1}
    return TokenizerData("gpt2", pre, tokens, types, merges=list(SMALL_MERGES), ids=ids, add_bos=False)


def _flatten(step: dict | None, key: str) -> list[dict]:
    """A `Sequence` of pre-tokenizers or normalizers as a plain list."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [leaf for part in step[key] for leaf in _flatten(part, key)]
    return [step]


def detect_pre(tok: dict) -> str:
    """Name of the pre-tokenizer (`tokenizer.ggml.pre`) that cuts words as this tokenizer.json does."""
    steps = _flatten(tok.get("pre_tokenizer"), "pretokenizers")
    normalizers = [n["type"] for n in _flatten(tok.get("normalizer"), "normalizers")]
    shape = []
    for s in steps:
        if s["type"] == "Split":
            shape.append(s["pattern"].get("Regex", s["pattern"].get("String")))
        elif s["type"] == "Digits":
            shape.append("digits" if s.get("individual_digits") else "digit runs")
        elif s["type"] == "ByteLevel":
            shape.append("bytelevel+regex" if s.get("use_regex", True) else "bytelevel")
        else:
            shape.append(s["type"])
    if shape == [REGEX_LLAMA3, "bytelevel"]:
        return "llama-bpe" if tok["model"].get("ignore_merges") else "dbrx"
    if shape == [REGEX_QWEN2, "bytelevel"]:
        return "qwen2"
    if shape == ["digits", "bytelevel+regex"]:
        return "refact"
    if shape == ["bytelevel+regex"]:
        return "olmo" if "NFC" in normalizers else "gpt-2"
    if shape == REGEX_DEFAULT + ["bytelevel"]:
        return "default"
    raise ValueError(f"no pre-tokenizer name is known for {shape}; name one with --pre")


def _token_types(tok: dict, vocab: dict[str, int], spm: bool) -> tuple[list[str], list[int]]:
    n = max(max(vocab.values(), default=-1), max((t["id"] for t in tok["added_tokens"]), default=-1)) + 1
    tokens = [f"[PAD{i}]" for i in range(n)]
    types = [UNUSED] * n
    for text, i in vocab.items():
        tokens[i] = text
        types[i] = BYTE if spm and re.fullmatch(r"<0x[0-9A-F]{2}>", text) else NORMAL
    unk = tok["model"].get("unk_token")
    for added in tok["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if spm and unk in vocab:
        types[vocab[unk]] = UNKNOWN
    return tokens, types


def _scores_from_merges(tokens: list[str], types: list[int], merges: list[str]) -> list[float]:
    """Score = minus the rank of the first merge that makes the token, as SentencePiece BPE numbers them."""
    rank: dict[str, int] = {}
    for merge in merges:
        rank.setdefault(merge.replace(" ", ""), len(rank))
    return [0.0 if types[i] != NORMAL else -float(rank.get(t, len(rank))) for i, t in enumerate(tokens)]


def _template_adds_bos(tok: dict) -> bool | None:
    """True when the post-processor of the tokenizer puts a special token in front."""
    post = tok.get("post_processor")
    for p in (_flatten(post, "processors") if post else []):
        if p["type"] == "TemplateProcessing":
            return bool(p["single"]) and "SpecialToken" in p["single"][0]
    return None


def _special_id(vocab: dict[str, int], config: dict, name: str) -> int | None:
    value = config.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    return vocab.get(value) if isinstance(value, str) else None


def from_json(
    tok: dict[str, Any], config: dict[str, Any] | None = None, pre: str | None = None
) -> TokenizerData:
    """`tok` is a parsed tokenizer.json, `config` a parsed tokenizer_config.json."""
    config = config or {}
    model = tok["model"]
    if model.get("type") != "BPE":
        raise ValueError(f"tokenizer model {model.get('type')!r} is not BPE")
    spm = bool(model.get("byte_fallback"))
    vocab = dict(model["vocab"])
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    tokens, types = _token_types(tok, vocab, spm)
    everything = {t: i for i, t in enumerate(tokens)}
    ids = {}
    for key, name in (
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
    ):
        token_id = _special_id(everything, config, name)
        if token_id is not None:
            ids[key] = token_id
    add_bos = config.get("add_bos_token", _template_adds_bos(tok))
    data = TokenizerData(
        model="llama" if spm else "gpt2",
        pre="default" if spm else pre or detect_pre(tok),
        tokens=tokens,
        types=types,
        ids=ids,
        add_bos=add_bos,
        add_eos=config.get("add_eos_token"),
        chat_template=config.get("chat_template"),
    )
    if spm:
        normalizers = [n["type"] for n in _flatten(tok.get("normalizer"), "normalizers")]
        data.add_space_prefix = (
            "Prepend" in normalizers or (tok.get("pre_tokenizer") or {}).get("type") == "Metaspace"
        )
        data.scores = _scores_from_merges(tokens, types, merges)
    else:
        data.merges = merges
    return data


def from_sentencepiece(path: str | Path, config: dict[str, Any] | None = None) -> TokenizerData:
    """`path` is a tokenizer.model trained by SentencePiece as BPE."""
    from sentencepiece import SentencePieceProcessor

    config = config or {}
    sp = SentencePieceProcessor(model_file=str(path))
    n = sp.get_piece_size()

    def kind(i: int) -> int:
        if sp.is_unknown(i):
            return UNKNOWN
        if sp.is_control(i):
            return CONTROL
        return BYTE if sp.is_byte(i) else UNUSED if sp.is_unused(i) else NORMAL

    ids = {
        k: v
        for k, v in (
            ("bos", sp.bos_id()),
            ("eos", sp.eos_id()),
            ("unknown", sp.unk_id()),
            ("padding", sp.pad_id()),
        )
        if v >= 0
    }
    return TokenizerData(
        model="llama",
        pre="default",
        tokens=[sp.id_to_piece(i) for i in range(n)],
        types=[kind(i) for i in range(n)],
        scores=[sp.get_score(i) for i in range(n)],
        ids=ids,
        add_bos=config.get("add_bos_token", True),
        add_eos=config.get("add_eos_token", False),
        add_space_prefix=config.get("add_prefix_space", True),
        chat_template=config.get("chat_template"),
    )


def load(path: str | Path, pre: str | None = None) -> TokenizerData:
    """Tokenizer of a model directory, or of a single tokenizer.json."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent

    def read(name: str) -> dict:
        file = folder / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    config = read("tokenizer_config.json")
    template = folder / "chat_template.jinja"
    if "chat_template" not in config and template.is_file():
        config["chat_template"] = template.read_text(encoding="utf-8")
    if path.is_dir() and (folder / "tokenizer.model").is_file():
        return from_sentencepiece(folder / "tokenizer.model", config)
    file = path if path.is_file() else folder / "tokenizer.json"
    return from_json(json.loads(file.read_text(encoding="utf-8")), config, pre)
