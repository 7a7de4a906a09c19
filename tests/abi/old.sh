#!/bin/sh
# SPDX-License-Identifier: MIT
# old.sh ROOT LIBRARY CC CHAT_MODEL: programs built with the headers of 0.1.0 (headers-0.1.0, and its examples in
# programs-0.1.0) run with the library at hand and say what they say when built with today's headers. With
# OLD_LIBRARY in the environment (a libmoe.so of 0.1.0) they must say the same there (floats nearly), and programs built with
# today's headers run with it too.
set -eu
root=$(CDPATH='' cd -- "$1" && pwd)
library=$2 cc=$3 chat=$4
here=$root/tests/abi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
model=$root/tests/golden/data/qwen3moe.gguf
printf 'Hello\nAgain\n\n' >"$scratch/lines"

# build OUT HEADERS SOURCE: against the library at hand; which one runs is told by LD_LIBRARY_PATH.
build() {
    # shellcheck disable=SC2086
    $cc -std=c11 -O1 -Wall -Wextra -Werror -I"$2" "$3" "$library" -lm -o "$1"
}

# Times and file names differ from run to run, scratch memory from version to version.
plain() {
    sed -e 's/scratch [0-9]*, tables [0-9]*; [0-9]* of them/scratch .../' -e 's/[0-9][0-9.]* *\(ms\|s\|us\|ns\|tokens\/s\|tok\/s\|MB\/s\)\b/TIME/g' \
        -e "s,$scratch/[^ ]*,FILE,g"
}

# run TAG PROGRAM: its output in $scratch/TAG.out, with the folder of the library in $from.
run() {
    tag=$1 program=$2
    case $program in
    *01_generate*) set -- "$model" "Once upon a time" 20 ;;
    *02_chat*) set -- "$chat" ;;
    *04_route_trace*) set -- "$model" "The king and the" ;;
    *09_batch_server*) set -- "$model" 4 ;;
    *10_save_restore*) set -- "$model" "$scratch/state" ;;
    *) set -- "$model" ;;
    esac
    if ! LD_LIBRARY_PATH=$from "$program" "$@" <"$scratch/lines" >"$scratch/$tag.raw" 2>"$scratch/$tag.err"; then
        echo "$tag fails:"
        cat "$scratch/$tag.raw" "$scratch/$tag.err"
        exit 1
    fi
    [ -s "$scratch/$tag.raw" ] || { echo "$tag says nothing"; exit 1; }
    plain <"$scratch/$tag.raw" >"$scratch/$tag.out"
}

alike() { # alike A B
    diff "$scratch/$1.out" "$scratch/$2.out" || { echo "$1 and $2 differ"; exit 1; }
}

# Another version may sum in another order (attention does since 0.2.0): of what follows from attention to more than
# one position, floats are to be near, as bits (logits.c) or as numbers; all else is to be the same.
near() { # near A B
    python3 - "$scratch/$1.out" "$scratch/$2.out" <<'EOF' || { echo "$1 and $2 differ"; exit 1; }
import re
import struct
import sys

a, b = (open(name).read().split("tokens: 20") for name in sys.argv[1:])
if len(a) != len(b) or (len(a) == 2 and a[0] != b[0]):
    sys.exit("not even what attention does not change is the same")
bits = len(a) == 2
is_float = re.compile("[0-9a-f]{8}" if bits else r"-?[0-9]+\.[0-9]+").fullmatch
value = (lambda word: struct.unpack("!f", bytes.fromhex(word))[0]) if bits else float
a, b = (text[-1].split() for text in (a, b))
floats = [(value(x), value(y)) for x, y in zip(a, b) if is_float(x) and is_float(y)]
rest = [(x, y) for x, y in zip(a, b) if not (is_float(x) and is_float(y))]
error = max(abs(x - y) for x, y in floats) / max(abs(y) for _, y in floats)
sys.exit(len(a) != len(b) or any(x != y for x, y in rest) or not error < 1e-4)
EOF
}

# The loader finds libraries by SONAME.
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')
mkdir "$scratch/now"
ln -s "$library" "$scratch/now/$soname"
if [ -n "${OLD_LIBRARY:-}" ]; then
    mkdir "$scratch/before"
    ln -s "$OLD_LIBRARY" "$scratch/before/$soname"
fi

n=0
for source in "$here"/programs-0.1.0/*.c "$here/logits.c"; do
    name=$(basename "$source" .c)
    build "$scratch/$name-old" "$here/headers-0.1.0" "$source"
    build "$scratch/$name-new" "$root/include" "$source"
    from=$scratch/now
    run "$name.old" "$scratch/$name-old"
    run "$name.new" "$scratch/$name-new"
    alike "$name.old" "$name.new"
    if [ -n "${OLD_LIBRARY:-}" ]; then
        from=$scratch/before
        compare=alike
        case $name in logits | structs) compare=near ;; esac
        run "$name.old-there" "$scratch/$name-old"
        $compare "$name.old" "$name.old-there"
        run "$name.new-there" "$scratch/$name-new"
        $compare "$name.old" "$name.new-there"
    fi
    n=$((n + 1))
done

# What 0.1.0 does not know it refuses; what it does not export, a program that needs it does not start with.
if [ -n "${OLD_LIBRARY:-}" ]; then
    build "$scratch/newer" "$root/include" "$here/newer.c"
    LD_LIBRARY_PATH=$scratch/before "$scratch/newer" "$model"
    build "$scratch/experts" "$root/include" "$root/examples/05_disable_expert.c"
    if LD_BIND_NOW=1 LD_LIBRARY_PATH=$scratch/before "$scratch/experts" "$model" >"$scratch/log" 2>&1; then
        echo "05_disable_expert runs with a library of 0.1.0"
        exit 1
    fi
    grep -q 'undefined symbol: moe_' "$scratch/log"
fi
[ $n -ge 10 ]
echo "$n programs of 0.1.0${OLD_LIBRARY:+, with the library of then too}"
