#!/bin/sh
# SPDX-License-Identifier: MIT
# update.sh [BUILD]: records the binary interface anew: symbols.txt, layout-<cpu>.txt, constants.txt and, where
# abidw is installed, libmoe.abi. Run it when a change of the interface is meant, and read the difference first.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
build=${1:-$scratch/build}
# The same options as ./test --all: types are described by debug information.
[ -f "$build/build.ninja" ] ||
    meson setup "$build" "$root" --buildtype=debugoptimized -Dtests=disabled -Dexamples=disabled \
        -Dtool=disabled >/dev/null
library=src/libmoe.so.$("$root/tools/read_version.py" project)
ninja -C "$build" "$library" >/dev/null
python3 "$here/check_symbols.py" "$root" "$build/$library" --update
python3 "$here/gen_layout.py" "$root" >"$scratch/layout.c"
${CC:-cc} -std=c11 -Wpadded -Werror -I"$root/include" "$scratch/layout.c" -o "$scratch/layout"
"$scratch/layout" >"$here/layout-$(uname -m).txt"
python3 "$here/cross_layout.py" "$root" aarch64-linux-gnu "$here/layout-aarch64.txt" --update || [ $? = 77 ]
python3 "$here/check_constants.py" "$root" "$here/constants.txt" "${CC:-cc}" --update
if command -v abidw >/dev/null 2>&1; then
    sh "$here/dump.sh" "$build/$library" "$here/libmoe.abi"
else
    echo "abidw is not installed: libmoe.abi stays as it is"
fi
