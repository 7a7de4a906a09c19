#!/bin/sh
# SPDX-License-Identifier: MIT
# old_library.sh ROOT LIBRARY CC: builds the library of 0.1.0 from the history and runs old.sh with both libraries.
# Skipped (77) where there is no history.
set -eu
root=$(CDPATH='' cd -- "$1" && pwd)
library=$2 cc=$3 commit=85a4059
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! git -C "$root" cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "no history here: 0.1.0 ($commit) cannot be built"
    exit 77
fi
mkdir "$scratch/old"
git -C "$root" archive "$commit" | tar x -C "$scratch/old"
[ "$(python3 "$scratch/old/tools/read_version.py" project)" = 0.1.0 ]
if ! { meson setup "$scratch/build" "$scratch/old" -Dbuildtype=release -Dtests=disabled -Dexamples=disabled -Dtool=disabled &&
    ninja -C "$scratch/build" src/libmoe.so.0.1.0; } >"$scratch/log" 2>&1; then
    tail -n 30 "$scratch/log"
    exit 1
fi
python3 "$root/tests/tool/add_meta.py" "$root/tests/golden/data/qwen3moe.gguf" "$scratch/chat.gguf" tokenizer.chat_template \
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
OLD_LIBRARY=$scratch/build/src/libmoe.so.0.1.0 sh "$root/tests/abi/old.sh" "$root" "$library" "$cc" "$scratch/chat.gguf"
