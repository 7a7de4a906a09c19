#!/bin/sh
# SPDX-License-Identifier: MIT
# subproject.sh ROOT LIBRARY CC: a meson project with the source tree as its subproject builds and computes what the
# library at hand computes.
set -eu
root=$1 library=$2 cc=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$root/tests/packaging/subproject" "$scratch/project"
cp "$root/tests/abi/logits.c" "$scratch/project"
mkdir -p "$scratch/project/subprojects/libmoe"
for part in meson.build meson_options.txt include src tools tests examples docs; do
    ln -s "$root/$part" "$scratch/project/subprojects/libmoe/$part"
done
if ! { meson setup --wrap-mode=forcefallback "$scratch/out" "$scratch/project" && ninja -C "$scratch/out" logits; } \
    >"$scratch/log" 2>&1; then
    tail -n 40 "$scratch/log"
    exit 1
fi
# shellcheck disable=SC2086
$cc -std=c11 -I"$root/include" "$root/tests/abi/logits.c" "$library" -Wl,-rpath,"$(dirname "$library")" -o "$scratch/want"
"$scratch/want" "$root/tests/golden/data/qwen3moe.gguf" >"$scratch/a"
"$scratch/out/logits" "$root/tests/golden/data/qwen3moe.gguf" >"$scratch/b"
[ -s "$scratch/a" ]
cmp "$scratch/a" "$scratch/b"
echo "as a subproject: the same bits"
