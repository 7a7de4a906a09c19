#!/bin/sh
# SPDX-License-Identifier: MIT
# dump.sh LIBRARY OUTPUT: the interface of a library with debug information as abidw sees it: exported functions
# and public types, nothing that depends on the machine or on internals.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
abidw --exported-interfaces-only --drop-private-types --headers-dir "$root/include/moe" \
    --type-id-style hash --no-elf-needed --no-show-locs --no-comp-dir-path --no-corpus-path \
    --out-file "$2" "$1"
# Paths from the build folder to the sources: only what lies below the root is the same everywhere.
sed -i -E "s#path='[^']*/(src|include)/#path='\1/#g" "$2"
