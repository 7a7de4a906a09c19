#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes models that are sound GGUF but wrong as models.

Values, kinds and lengths of keys, shapes, types and names of tensors are changed. Byte-wise fuzzing seldom
gets there: a length that no longer fits ends the reading. Standard library only.

Usage: damage_models.py FOLDER [COUNT [SEED]], then: replay_model FOLDER
"""

import os
import random
import sys

from make_corpus import ARR, BOOL, F32, I32, I64, STR, U32, U64, gguf, models

INTEGERS = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    12,
    16,
    31,
    32,
    33,
    63,
    64,
    65,
    100,
    127,
    128,
    255,
    256,
    1000,
    4096,
    65535,
    65536,
    10**5,
    2**20,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
]
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-30,
    1e30,
    3e38,
    float("inf"),
    float("-inf"),
    float("nan"),
    1e-45,
    0.5,
    2.0,
    1e6,
]
WORDS = ["", "llama", "linear", "yarn", "longrope", "none", "gpt2", "qwen2", "default", "x" * 300]
SIGNED = [-1, 0, 1, 2, 3, 4, 5, 6, 7, 2**31 - 1, -(2**31)]
OTHER_KEYS = [
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "leading_dense_block_count",
    "decoder_sparse_step",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "attention.scale",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
    "attention.sliding_window",
    "attention.clamp_kqv",
    "vocab_size",
    "attention.layer_norm_epsilon",
]
ANY = {U32: 3, STR: "s", F32: 1.0, BOOL: True, ARR: (U32, [1, 2, 3]), U64: 2**63, I64: -1}


def other_array(rng, value):
    elem, items = value[0], list(value[1])
    how = rng.randrange(6)
    if how == 0:
        return elem, items[: len(items) // 2]
    if how == 1:
        return elem, []
    if how == 2:
        return elem, items + items[:5]
    if how == 3 and items:
        items[rng.randrange(len(items))] = other_value(rng, elem, items[0])
    elif how == 4 and items:
        items[rng.randrange(len(items))] = rng.choice(items)
    elif how == 5:
        elem = rng.choice([I32, U32, F32, STR])
        items = ["a" if elem == STR else 1.0 if elem == F32 else rng.choice(INTEGERS[:20]) for _ in items]
    return elem, items


def other_value(rng, kind, value):
    if kind == ARR:
        return other_array(rng, value)
    if kind == BOOL:
        return not value
    return rng.choice({STR: WORDS, F32: FLOATS, I32: SIGNED}.get(kind, INTEGERS))


def change_key(rng, keys):
    i = rng.randrange(len(keys))
    name, kind, value = keys[i]
    how = rng.randrange(8)
    if how < 5:
        keys[i] = (name, kind, other_value(rng, kind, value))
    elif how == 5:
        del keys[i]
    elif how == 6:
        kind = rng.choice(list(ANY))
        keys[i] = (name, kind, ANY[kind])
    else:
        name = "%s.%s" % (keys[0][2], rng.choice(OTHER_KEYS))
        kind = rng.choice([U32, F32, BOOL, STR, ARR])
        value = (F32, [1.0] * rng.choice([0, 1, 2, 4])) if kind == ARR else other_value(rng, kind, True)
        if all(k[0] != name for k in keys):
            keys.append((name, kind, value))


def change_tensor(rng, tensors):
    i = rng.randrange(len(tensors))
    name, dims, kind = tensors[i]
    dims = list(dims)
    how = rng.randrange(4)
    if how == 0:
        del tensors[i]
    elif how == 1:
        j = rng.randrange(len(dims))
        dims[j] = max(1, rng.choice([dims[j] + 1, dims[j] - 1, dims[j] * 2, 1, dims[j] // 2]))
        tensors[i] = (name, dims, kind)
    elif how == 2:
        tensors[i] = (name, dims, rng.choice([1, 30]))
    else:
        tensors[i] = (name, rng.choice([dims + [1], dims[::-1], dims[:1], dims + [2]]), kind)


def main():
    folder, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    sound = list(models().values())
    os.makedirs(folder, exist_ok=True)
    for n in range(count):
        keys, tensors = (list(part) for part in rng.choice(sound))
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
            if rng.randrange(12) > 7:
                change_tensor(rng, tensors)
            else:
                change_key(rng, keys)
        data = gguf(keys, tensors)
        if len(data) < 400000:
            with open(os.path.join(folder, "%05d" % n), "wb") as f:
                f.write(data + bytes(n % 5))  # the target takes its flags from the length


if __name__ == "__main__":
    main()
