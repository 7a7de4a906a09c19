#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes the two crates into packages that stand on their own:  package.sh [--list]
#
# Copies the library's sources and headers to moe-sys/vendor and the licence into both crates (git keeps none of
# these copies), then has cargo pack them. moe can only be verified by cargo once moe-sys is in a registry, so the
# contents of moe-sys are verified here by a build of what was packed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
vendor=$here/moe-sys/vendor
rm -rf "$vendor"
mkdir -p "$vendor"
(cd "$root" && find include/moe src \( -name '*.c' -o -name '*.h' -o -name '*.inl' -o -name '*.def' -o -name levels.txt \)) |
while read -r file; do
    mkdir -p "$vendor/$(dirname "$file")"
    cp "$root/$file" "$vendor/$file"
done
cp "$root/LICENSE" "$here/moe-sys/LICENSE"
cp "$root/LICENSE" "$here/moe/LICENSE"
cd "$here"
if [ "${1-}" = --list ]; then
    exec cargo package --offline --allow-dirty --list -p moe-sys
fi
cargo package --offline --allow-dirty -p moe-sys --features vendored
cargo package --offline --allow-dirty --list -p moe
