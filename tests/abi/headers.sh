#!/bin/sh
# SPDX-License-Identifier: MIT
# headers.sh ROOT: every public header compiles alone as C99, C11, C++11 and C++17, without extensions and
# warnings, with gcc and clang as far as they are here.
set -eu
root=$(CDPATH='' cd -- "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck disable=SC2086
strict="-pedantic-errors -Wall -Wextra -Wundef -Wshadow -Werror -I$root/include -fsyntax-only"
n=0
try() { # try LANGUAGE COMPILER STANDARD
    command -v "$2" >/dev/null 2>&1 || return 0
    for header in moe.h ext.h study.h version.h; do
        # twice: a header must survive being included again
        printf '#include <moe/%s>\n#include <moe/%s>\nextern int use;\n' $header $header >"$scratch/use.$1"
        "$2" "-std=$3" $strict "$scratch/use.$1"
        n=$((n + 1))
    done
    if [ "$1" = c ]; then # and the _INIT macros must fit their structs
        cat >"$scratch/init.c" <<END
#include <moe/ext.h>
#include <moe/study.h>
$(sed -n 's/^#define \(MOE_[A-Z_]*\)_INIT .*/\1/p' "$root"/include/moe/*.h |
            awk '{ print tolower($0) " v" NR " = " $0 "_INIT;" }')
END
        "$2" "-std=$3" $strict "$scratch/init.c"
        n=$((n + 1))
    fi
}
for cc in gcc clang; do
    try c $cc c99
    try c $cc c11
done
for cxx in g++ clang++; do
    try cc $cxx c++11
    try cc $cxx c++17
done
echo "$n compilations"
[ $n -gt 0 ] || exit 77
