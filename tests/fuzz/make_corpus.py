#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seed inputs of the fuzz targets, the same bytes every time. Standard library only."""

import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
FORMAT = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    U64: "Q",
    I64: "q",
    F64: "d",
}
BLOCK = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    20: (32, 18),
    23: (256, 136),
    30: (1, 2),
    39: (32, 17),
}


def string(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STR:
        return string(v)
    if kind == ARR:
        elem, items = v
        return struct.pack("<IQ", elem, len(items)) + b"".join(value(elem, x) for x in items)
    return struct.pack("<" + FORMAT[kind], v)


def n_bytes(kind, dims):
    n = 1
    for d in dims:
        n *= d
    return n // BLOCK[kind][0] * BLOCK[kind][1]


def gguf(kvs, tensors, version=3, alignment=32, data=None):
    """kvs: (key, kind, value); tensors: (name, dims, type)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs))
    for key, kind, v in kvs:
        head += string(key) + struct.pack("<I", kind) + value(kind, v)
    body, seed = b"", 1
    for name, dims, kind in tensors:
        head += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        head += struct.pack("<IQ", kind, len(body))
        size = n_bytes(kind, dims)
        if kind == 0:  # small weights, norms about 1
            for _ in range(size // 4):
                seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                x = seed / 0x7FFFFFFF - 0.5
                body += struct.pack("<f", 1.0 + 0.1 * x if "norm" in name else 0.6 * x)
        else:
            body += bytes((i * 37 + 11) & 0x3F for i in range(size))
        body += bytes(-len(body) % alignment)
    return head + bytes(-len(head) % alignment) + body


def byte_vocabulary():
    """The 256 byte tokens of byte-level BPE in their printable form, three merges, three special tokens."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    extra, chars = 0, []
    for b in range(256):
        if b in keep:
            chars.append(chr(b))
        else:
            chars.append(chr(256 + extra))
            extra += 1
    tokens = chars + ["th", "the", "\u0120the", "<|s|>", "<|e|>"]
    kinds = [1] * (len(tokens) - 2) + [3, 3]
    return tokens, kinds, ["t h", "th e", "\u0120 the"]


def bpe_keys(pre):
    tokens, kinds, merges = byte_vocabulary()
    return [
        ("tokenizer.ggml.model", STR, "gpt2"),
        ("tokenizer.ggml.pre", STR, pre),
        ("tokenizer.ggml.tokens", ARR, (STR, tokens)),
        ("tokenizer.ggml.token_type", ARR, (I32, kinds)),
        ("tokenizer.ggml.merges", ARR, (STR, merges)),
        ("tokenizer.ggml.bos_token_id", U32, 259),
        ("tokenizer.ggml.eos_token_id", U32, 260),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
    ]


def model(arch, vocab, tokenizer, extra, layer_extra, own_output=False, shared=0, dense_first=False):
    """Keys and tensors of a model of width 8 with two heads of 4, four experts of 8, two layers."""
    d, ff, e = 8, 8, 4
    kvs = (
        [
            ("general.architecture", STR, arch),
            ("general.name", STR, "seed"),
            (arch + ".block_count", U32, 2),
            (arch + ".context_length", U32, 64),
            (arch + ".embedding_length", U32, d),
            (arch + ".feed_forward_length", U32, ff),
            (arch + ".attention.head_count", U32, 2),
            (arch + ".attention.head_count_kv", U32, 1),
            (arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5),
            (arch + ".rope.freq_base", F32, 10000.0),
            (arch + ".vocab_size", U32, vocab),
            (arch + ".expert_count", U32, e),
            (arch + ".expert_used_count", U32, 2),
        ]
        + [(arch + "." + k, t, v) for k, t, v in extra]
        + tokenizer
    )
    tensors = [("token_embd.weight", [d, vocab], 0), ("output_norm.weight", [d], 0)]
    if own_output:
        tensors.append(("output.weight", [d, vocab], 0))
    for i in range(2):
        b = "blk.%d." % i
        tensors += [
            (b + "attn_norm.weight", [d], 0),
            (b + "attn_q.weight", [d, 8], 0),
            (b + "attn_k.weight", [d, 4], 0),
            (b + "attn_v.weight", [d, 4], 0),
            (b + "attn_output.weight", [8, d], 0),
            (b + "ffn_norm.weight", [d], 0),
        ]
        tensors += [(b + n, dims, 0) for n, dims in layer_extra]
        if dense_first and i == 0:
            tensors += [
                (b + "ffn_gate.weight", [d, ff], 0),
                (b + "ffn_up.weight", [d, ff], 0),
                (b + "ffn_down.weight", [ff, d], 0),
            ]
            continue
        tensors += [
            (b + "ffn_gate_inp.weight", [d, e], 0),
            (b + "ffn_gate_exps.weight", [d, ff, e], 0),
            (b + "ffn_up_exps.weight", [d, ff, e], 0),
            (b + "ffn_down_exps.weight", [ff, d, e], 0),
        ]
        if shared:
            tensors += [
                (b + "ffn_gate_inp_shexp.weight", [d], 0),
                (b + "ffn_gate_shexp.weight", [d, shared], 0),
                (b + "ffn_up_shexp.weight", [d, shared], 0),
                (b + "ffn_down_shexp.weight", [shared, d], 0),
            ]
    return kvs, tensors


def spm_keys():
    tokens = (
        ["<unk>", "<s>", "</s>"]
        + ["<0x%02X>" % b for b in range(256)]
        + ["\u2581", "e", "t", "h", "\u2581t", "he", "\u2581the"]
    )
    kinds = [2, 3, 3] + [6] * 256 + [1] * 7
    scores = [0.0] * 259 + [-float(i) for i in range(7)]
    return [
        ("tokenizer.ggml.model", STR, "llama"),
        ("tokenizer.ggml.tokens", ARR, (STR, tokens)),
        ("tokenizer.ggml.scores", ARR, (F32, scores)),
        ("tokenizer.ggml.token_type", ARR, (I32, kinds)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
    ]


def models():
    """The seed models: name -> (keys, tensors). One of each family and tokenizer."""
    none = [("tokenizer.ggml.model", STR, "none")]
    heads = [
        ("attention.key_length", U32, 4),
        ("attention.value_length", U32, 4),
        ("expert_feed_forward_length", U32, 8),
    ]
    norms = [("attn_q_norm.weight", [4]), ("attn_k_norm.weight", [4])]
    granite = [("attention.scale", F32, 0.25), ("embedding_scale", F32, 2.0), ("logit_scale", F32, 4.0)]
    return {
        "qwen3moe.gguf": model("qwen3moe", 261, bpe_keys("qwen2"), heads, norms),
        "yarn.gguf": model(
            "qwen3moe",
            12,
            none,
            heads
            + [
                ("rope.scaling.type", STR, "yarn"),
                ("rope.scaling.factor", F32, 4.0),
                ("rope.scaling.original_context_length", U32, 16),
            ],
            norms,
        ),
        "olmoe.gguf": model(
            "olmoe", 12, none, [], [("attn_q_norm.weight", [8]), ("attn_k_norm.weight", [4])], own_output=True
        ),
        "mixtral.gguf": model(
            "llama", 266, spm_keys(), [("rope.dimension_count", U32, 4)], [], own_output=True
        ),
        "qwen2moe.gguf": model(
            "qwen2moe",
            12,
            none,
            [("expert_feed_forward_length", U32, 8), ("expert_shared_feed_forward_length", U32, 8)],
            [("attn_q.bias", [8]), ("attn_k.bias", [4]), ("attn_v.bias", [4])],
            shared=8,
            dense_first=True,
        ),
        "granitemoe.gguf": model(
            "granitemoe",
            12,
            none,
            granite
            + [
                ("residual_scale", F32, 0.5),
                ("rope.scaling.type", STR, "linear"),
                ("rope.scaling.factor", F32, 2.0),
            ],
            [],
        ),
        "negative_scale.gguf": model("granitemoe", 12, none, granite + [("residual_scale", F32, -0.5)], []),
    }


def save(target, name, data):
    folder = os.path.join(HERE, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def main():
    kinds = [
        ("u8", U8, 1),
        ("i8", I8, -1),
        ("u16", U16, 2),
        ("i16", I16, -2),
        ("u32", U32, 3),
        ("i32", I32, -3),
        ("f32", F32, 0.5),
        ("bool", BOOL, True),
        ("str", STR, "text"),
        ("u64", U64, 4),
        ("i64", I64, -4),
        ("f64", F64, 0.25),
        ("a.str", ARR, (STR, ["a", "", "ccc"])),
        ("a.i16", ARR, (I16, [1, -1])),
        ("a.bool", ARR, (BOOL, [True, False])),
        ("a.none", ARR, (F64, [])),
    ]
    save("gguf", "kinds.gguf", gguf(kinds, []))
    save("gguf", "v2.gguf", gguf(kinds[:3], [("t", [4], 0)], version=2))
    save(
        "gguf",
        "types.gguf",
        gguf(
            [("general.alignment", U32, 64)],
            [("t%d" % k, [256 if b == 256 else 32, 1], k) for k, (b, _) in BLOCK.items()],
            alignment=64,
        ),
    )
    save(
        "gguf",
        "dims.gguf",
        gguf([], [("a", [1], 0), ("b", [2, 3], 1), ("c", [4, 1, 2], 0), ("d", [1, 2, 1, 2], 30)]),
    )
    save("gguf", "empty.gguf", gguf([], []))
    save("gguf", "nothing.gguf", b"")
    save("gguf", "absurd_counts.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 2**63 - 1) + bytes(13))
    save(
        "gguf",
        "split.gguf",
        gguf(
            [("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 1)], [("t", [4], 0)]
        ),
    )
    save("gguf", "big_endian.gguf", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    save("gguf", "v1.gguf", b"GGUF" + struct.pack("<III", 1, 0, 0))
    save("gguf", "nested.gguf", gguf([("a", ARR, (ARR, [(U8, [1])]))], []))
    for name, parts in models().items():
        save("model", name, gguf(*parts))
    texts = [
        "Once upon a time, the cat sat.  12345 + 678 = ?\n\n\t don't I'LL we've",
        "na\u00efve caf\u00e9 e\u0301 \u00c5\u212b",
        "\u4e16\u754c\u3053\u3093 \u05e9\u05dc\u05d5\u05dd "
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
        "<|s|>the<|e|> <s></s>",
        "\u0915\u094d\u0937 \u1100\u1161\u11a8 \uac01 \u0344\u0f73",
    ]
    for i, text in enumerate(texts):
        for kind in (i % 8, (i * 3 + 7) % 8):
            save("tokenizer", "text%d-%d" % (i, kind), bytes([kind, 2 * (i & 1)]) + text.encode())
    save("tokenizer", "invalid", bytes([0, 2]) + b"a\xff\xc3(\xe2\x82\xf0\x9f\x98 \xed\xa0\x80\x00b")
    save("tokenizer", "spaces", bytes([3, 0]) + b" " * 200 + b"\n" * 50)
    save("session", "sound", bytes([1]))
    save("session", "wrong_sum", bytes([0, 100, 0, 1]))
    save("session", "cut", bytes([1, 255, 255, 60, 0]))
    for at in range(0, 60, 4):
        save("session", "head%d" % at, bytes([1, at, 0, 255]))
    save("session", "one_sound", bytes([5]))
    save("session", "one_wrong_sum", bytes([4, 100, 0, 1]))
    save("session", "one_cut", bytes([5, 255, 255, 66, 0]))
    for at in range(48, 72, 4):
        save("session", "one_head%d" % at, bytes([5, at, 0, 255]))
    save("session", "raw", bytes([2]) + b"MOESESS\n" + bytes(60))
    save("session", "nan", bytes([1]) + b"".join(struct.pack("<HB", 88 + i, 0xFF) for i in range(40)))
    save("trace", "sound", bytes([1]))
    save("trace", "wrong_sum", bytes([0, 60, 0, 9]))
    for at in range(8, 56, 4):
        save("trace", "head%d" % at, bytes([1, at, 0, 1]))
    for at in range(56, 200, 12):
        save("trace", "body%d" % at, bytes([1, at, 0, 255]))
    save("trace", "cut", bytes([1, 255, 255, 90, 0]))
    head = b"MOETRAC\n" + struct.pack("<QIIIIQ", 7, 1, 0, 1, 300, 2) + struct.pack("<II", 5, 2)
    body = struct.pack("<2I2i2i", 3, 3, 0, 1, -1, 9) + struct.pack("<4H", 299, 0, 1, 299)
    save("trace", "wide", bytes([3]) + head + body + bytes(8))
    head = b"MOETRAC\n" + struct.pack("<QIIIIQ", 0, 1, 0, 1024, 65536, 0)
    save("trace", "layers", bytes([3]) + head + b"".join(struct.pack("<II", i, 0) for i in range(1024)) + bytes(8))
    save("profile", "sound", bytes([1]))
    save("profile", "wrong_sum", bytes([0, 80, 0, 9]))
    for at in range(8, 60, 4):
        save("profile", "head%d" % at, bytes([1, at, 0, 1]))
    for at in range(60, 260, 16):
        save("profile", "body%d" % at, bytes([1, at, 0, 255]))
    save("profile", "cut", bytes([1, 255, 255, 90, 0]))
    dense = b"MOEPROF\n" + struct.pack("<Q11I", 0, 1, 3, 4, 0, 0, 1, 0, 5, 1, 0, 0)
    save("profile", "dense", bytes([3]) + dense + struct.pack("<IIQ", 2147483647, 0, 1) + bytes(8))
    save("api", "eval", bytes([3, 11, 0, 5, 1, 2, 3, 4, 5, 16, 0, 0, 3, 9, 9, 9, 16, 1]))
    save("api", "copy", bytes([0, 0, 0, 4, 1, 2, 3, 4, 4, 1, 2, 6, 1, 2, 0, 3, 5, 6, 7, 4, 2, 1, 8]))
    save("api", "batch", bytes([4, 4, 2, 21, 6, 8, 1, 9, 2, 16, 3, 24, 4, 17, 5, 10, 6, 16, 0, 16, 1]))
    save("api", "save_load", bytes([2, 2, 0, 6, 1, 2, 3, 4, 5, 6, 10, 13, 1, 3, 7, 8, 9, 12, 16, 0]))
    save("api", "remove", bytes([0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 1, 2, 42, 1, 3, 4, 42, 2, 9, 9, 0, 2, 1, 1]))
    save("api", "one_sequence", bytes([0, 0, 0, 5, 1, 2, 3, 4, 5, 44, 0, 46, 2, 47, 1, 10, 46, 65, 4, 3, 1, 46, 0, 16, 0]))
    save("api", "stop", bytes([1, 1, 18, 5, 20, 5, 0, 7, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 1]))
    for i, text in enumerate(
        [
            "top-k:k=5;temp:t=0.7;dist:seed=3",
            "mirostat:tau=4,eta=0.1,seed=1",
            "penalties:repeat=1.1;min-p:p=0.1;dist",
            "dry:multiplier=0.8;typical:p=0.9;xtc:probability=0.5,threshold=0.1;dist",
        ]
    ):
        save("api", "sampler%d" % i, bytes([0, 0, 0, 3, 1, 2, 3, 22, len(text)]) + text.encode())
    json_texts = {
        "all_kinds": '{"a": [null, true, false, -0.5e-3, "x"], "b": {"": {}}, "c": []}\n',
        "numbers": "[0, -0, 1e308, 1e309, 5e-324, 18446744073709551615, -9223372036854775808, 0.1, 3.4028235e38]",
        "strings": '["\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\ud83d\\ude00", "\u00e9\u20ac\U0001f600"]',
        "deep": "[" * 64 + "]" * 64,
        "too_deep": "[" * 65 + "]" * 65,
        "duplicate": '{"a": 1, "\\u0061": 2}',
        "lone": '"\\ud800"',
        "comma": "[1,]",
        "nothing": "",
    }
    for name, text in json_texts.items():
        save("json", name, text.encode())
    save("json", "not_utf8", b'"\xc3("')
    layers = {
        "route": '{"layer": 0, "route": "topp:p=0.4,kmin=1"}',
        "use": '{"layer": 1, "use": [{"expert": 0, "what": "ban"}, {"expert": 1, "what": "force"}]}',
        "values": '{"layer": 0, "gain": [{"expert": 1, "value": 0.1}], "pre": [{"expert": 2, "value": 64}],'
        ' "post": [{"expert": 3, "value": 1e-45}], "logit_bias": [], "select_bias": []}',
        "limits": '{"layer": 0, "limits": [{"seq": 1, "experts": [0, 1]}, {"seq": 0, "experts": [2]}]}',
        "override": '{"layer": 1, "overrides": [{"kind": "logits", "seq": 0, "first": 1, "last": 1,'
        ' "row": [1, null, -2.5, 0]}, {"kind": "scores", "row": [0.1, 0.2, 0.3, 0.4]}]}',
        "redirects": '{"layer": 1, "redirects": [{"expert": 0, "to_expert": 1},'
        ' {"expert": 1, "to_layer": 0, "to_expert": 3}]}',
        "two": '{"layer": 1, "route": "ranks:1"}, {"layer": 0, "route": "random:k=2,seed=7"}',
        "coupled": '{"layer": 0, "route": "topk:k=2,capacity=1.25"}, {"layer": 1, "route": "expertchoice:c=1"}',
        "twice": '{"layer": 0}, {"layer": 0}',
        "unknown": '{"layer": 0, "gains": []}',
        "all_banned": '{"layer": 0, "use": [%s]}'
        % ", ".join('{"expert": %d, "what": "ban"}' % e for e in range(4)),
    }
    for name, text in layers.items():
        save("steering", name, b"\0" + text.encode())
    head = '{"format": "libmoe-steering", "version": 1, "model": {"fingerprint": "any"}'
    maps = head + ', "maps": [{"kind": "gain", "values": [[1, 0.5, 2, 1], null]}]}'
    save("steering", "maps", b"\1" + maps.encode())
    save("steering", "empty", b"\1" + (head + "}").encode())
    save("steering", "other_model", b"\1" + head.replace("any", "0123456789abcdef").encode() + b"}")
    save("steering", "version", b"\1" + head.replace("1", "2").encode() + b"}")


if __name__ == "__main__":
    main()
