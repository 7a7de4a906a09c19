#!/bin/sh
# SPDX-License-Identifier: MIT
# unity.sh ROOT LIBRARY CC: src/moe_all.c lists every source file, compiles with the one line that its comment
# promises and without warnings, with and without threads, and a program with it built in computes the same
# bits as with the shared library.
set -eu
root=$1 library=$2 cc=$3
program=$root/tests/abi/logits.c
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Files that are left out on purpose: kernels for one instruction set, OpenMP.
(cd "$root/src" && find . -name '*.c' | sed 's,^\./,,' | LC_ALL=C sort |
    grep -v -e '^kernel/x86/' -e '^kernel/arm/' -e '^base/parallel_omp.c$' -e '^moe_all.c$') >"$scratch/there"
sed -n 's/^#include "\(.*\.c\)"$/\1/p' "$root/src/moe_all.c" | LC_ALL=C sort >"$scratch/listed"
if ! diff "$scratch/there" "$scratch/listed"; then
    echo "moe_all.c does not list the source files of src/"
    exit 1
fi

compile() { # compile NAME OPTION...
    name=$1
    shift
    (cd "$root" && $cc -std=c11 -O2 -Iinclude -Isrc "$@" -c src/moe_all.c -o "$scratch/$name.o") \
        2>"$scratch/warnings" || {
        head -n 40 "$scratch/warnings"
        exit 1
    }
    if [ -s "$scratch/warnings" ]; then
        cat "$scratch/warnings"
        echo "moe_all.c: warnings with: $*"
        exit 1
    fi
    $cc -std=c11 -O1 -I"$root/include" "$program" "$scratch/$name.o" -o "$scratch/$name" -lm -lpthread
}

compile pool -Wall -Wextra
compile serial -DMOE_THREADS_SERIAL -Wall -Wextra -Wconversion
$cc -std=c11 -O1 -I"$root/include" "$program" "$library" -Wl,-rpath,"$(dirname "$library")" \
    -o "$scratch/shared"
for model in qwen3moe qwen2moe-dense mixtral olmoe granitemoe; do
    "$scratch/shared" "$root/tests/golden/data/$model.gguf" >"$scratch/want"
    [ -s "$scratch/want" ] || exit 1
    for name in pool serial; do
        "$scratch/$name" "$root/tests/golden/data/$model.gguf" >"$scratch/got"
        cmp "$scratch/want" "$scratch/got"
    done
done
echo "moe_all.c: the same bits on $(wc -l <"$scratch/there") files"
