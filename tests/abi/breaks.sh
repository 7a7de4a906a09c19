#!/bin/sh
# SPDX-License-Identifier: MIT
# breaks.sh ROOT BUILD CC: breaks the binary interface in a scratch copy, in every way that a check of this folder is
# there for, one at a time, and demands that the check notices and says why. BUILD is a build with debug information
# (as abi_baseline in ./test makes it); its objects are linked anew where a library is to be broken.
set -eu
root=$(CDPATH='' cd -- "$1" && pwd)
build=$(CDPATH='' cd -- "$2" && pwd)
cc=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
w=$scratch/copy abi=$scratch/copy/tests/abi
n=0 bad=0

# A new copy of everything that the checks read.
fresh() {
    rm -rf "$w"
    mkdir -p "$w/tests"
    cp -r "$root/include" "$root/src" "$root/tools" "$root/bindings" "$w"
    cp -r "$root/tests/abi" "$w/tests"
    ln -s "$root/tests/golden" "$root/tests/api" "$w/tests"
    cp "$build/src/libmoe.a" "$scratch/libmoe.a"
}

# edit FILE SED...: a change that changes nothing is a fault of this script.
edit() {
    file=$w/$1
    shift
    cp "$file" "$scratch/before"
    sed -i "$@" "$file"
    if cmp -s "$file" "$scratch/before"; then
        echo "breaks.sh: nothing to edit in $file: $*"
        exit 2
    fi
}

# compile SOURCE OBJECT, link: today's library, with what was edited.
compile() {
    $cc -std=gnu11 -O1 -g -fPIC -fvisibility=hidden -ffp-contract=off -DMOE_BUILDING -DMOE_THREADS_POOL \
        -I"$w/include" -I"$w/src" -c "$1" -o "$2"
}
link() {
    # shellcheck disable=SC2086
    $cc -shared -Wl,-soname,libmoe.so.0.1 -Wl,--version-script="$w/src/libmoe.map" -Wl,--whole-archive "$scratch/libmoe.a" \
        -Wl,--no-whole-archive ${1:-} -lm -lpthread -o "$scratch/libmoe.so.0.1"
    ln -sf libmoe.so.0.1 "$scratch/libmoe.so"
}
# replace MEMBER SOURCE: compiles an edited source in the place of its object.
replace() {
    member=$(ar t "$scratch/libmoe.a" | grep "$1")
    compile "$w/src/$2" "$scratch/new.o"
    ar d "$scratch/libmoe.a" "$member"
    link "$scratch/new.o"
}
extra() { # extra C: an object more
    printf '%s\n' "$1" >"$scratch/extra.c"
    compile "$scratch/extra.c" "$scratch/extra.o"
    link "$scratch/extra.o"
}

# The checks, as the tests run them.
symbols() { python3 "$abi/check_symbols.py" "$w" "$scratch/libmoe.so"; }
imports() { python3 "$abi/check_imports.py" "$scratch/libmoe.so"; }
constants() { python3 "$abi/check_constants.py" "$w" "$abi/constants.txt" "$cc"; }
headers() { sh "$abi/headers.sh" "$w"; }
bindings() { python3 "$w/tools/gen_api.py" --check; }
layers() { python3 "$w/tools/check_layers.py" "$w"; }
layout() {
    python3 "$abi/gen_layout.py" "$w" >"$scratch/layout.c" &&
        $cc -std=c11 -Wpadded -Werror=padded -I"$w/include" "$scratch/layout.c" -o "$scratch/layout" &&
        python3 "$abi/check_layout.py" "$scratch/layout" "$abi/layout-$(uname -m).txt"
}
layout_elsewhere() { python3 "$abi/cross_layout.py" "$w" aarch64-linux-gnu "$abi/layout-aarch64.txt"; }
unity_list() { sh "$abi/unity.sh" "$w" "$scratch/libmoe.so" "$cc" 2>&1; }
old_programs() { sh "$abi/old.sh" "$w" "$scratch/libmoe.so" "$cc" "$scratch/chat.gguf"; }
structs() {
    python3 "$abi/gen_structs.py" "$w" >"$scratch/structs.h" &&
        $cc -std=gnu11 -I"$scratch" -I"$w/include" -I"$abi" "$abi/test_structs.c" "$scratch/libmoe.so" -lcmocka \
            -Wl,-rpath,"$scratch" -o "$scratch/structs" &&
        (cd "$root" && "$scratch/structs" "$scratch/chat.gguf")
}
description() {
    sh "$abi/dump.sh" "$scratch/libmoe.so" "$scratch/libmoe.abi" &&
        abidiff --no-added-syms "$abi/libmoe.abi" "$scratch/libmoe.abi"
}

passes() { # passes CHECK: the unbroken copy
    if ! "$1" >"$scratch/log" 2>&1; then
        tail -n 20 "$scratch/log"
        echo "$1 fails where nothing is broken"
        exit 2
    fi
}

# caught "WHAT" CHECK PATTERN
caught() {
    n=$((n + 1))
    if "$2" >"$scratch/log" 2>&1; then
        echo "NOT CAUGHT by $2: $1"
        bad=$((bad + 1))
    elif ! grep -q -e "$3" "$scratch/log"; then
        echo "caught by $2, but not for the right reason ($3): $1"
        tail -n 5 "$scratch/log"
        bad=$((bad + 1))
    else
        echo "caught by $2: $1"
    fi
}

python3 "$root/tests/tool/add_meta.py" "$root/tests/golden/data/qwen3moe.gguf" "$scratch/chat.gguf" tokenizer.chat_template \
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"

fresh
link
for check in symbols imports constants headers bindings layers layout layout_elsewhere structs old_programs; do
    passes $check
done
if command -v abidiff >/dev/null 2>&1; then passes description; fi

# ---- symbols
edit src/libmoe.map 's/local: \*;/local: moe_quantize; *;/'
link
caught "a function is no longer exported" symbols 'moe_quantize is declared but not exported'
fresh
extra '__attribute__((visibility("default"))) int moe_new_thing(void); int moe_new_thing(void) { return 1; }'
caught "an undeclared function is exported" symbols 'moe_new_thing is exported but not declared'
fresh
edit src/libmoe.map 's/global: .*/global: *;/; /local/d'
extra '__attribute__((visibility("default"))) int helper_of_ours(void); int helper_of_ours(void) { return 1; }'
caught "symbols are not hidden" symbols 'helper_of_ours is exported but not declared'
fresh
edit include/moe/moe.h '0,/@since 0.1.0/s///'
link
caught "a function lost its @since" symbols 'has no @since'
fresh
edit include/moe/moe.h '0,/@since 0.1.0/s//@since 0.2.0/'
link
caught "a function has another @since" symbols 'symbols.txt says since 0.1.0'
fresh
edit include/moe/moe.h 's/^MOE_API uint32_t moe_version(void);/MOE_API uint32_t moe_revision(void);/'
link
caught "a function has another name" symbols 'moe_version is in symbols.txt but not declared'

# ---- types
fresh
edit include/moe/moe.h 's/^    uint64_t dim\[4\];/    uint64_t dim[5];/'
caught "a member is wider" layout 'dim '
caught "a member is wider" layout_elsewhere 'dim '
caught "a member is wider" bindings 'stale'
fresh
edit include/moe/moe.h 's/uint32_t n_moe_layers;  */uint32_t n_later_layers; /'
caught "a member has another name" layout 'n_later_layers'
fresh
edit include/moe/moe.h '/^typedef struct moe_batch {/,/^}/{/n_tokens;/{h;d};/\*token;/G}'
caught "two members changed places" layout 'n_tokens'
fresh
edit include/moe/moe.h 's/^\( *\)uint64_t tokens_prefill;/\1uint32_t early;\n&/'
caught "padding" layout 'error=padded'
fresh
edit include/moe/study.h 's/^\/\*\* What a trace is and holds. \*\/$/typedef struct moe_novelty {\n    size_t size;\n} moe_novelty;\n&/'
caught "a struct without a test of its size" structs 'use_moe_novelty'
if command -v abidiff >/dev/null 2>&1; then
    fresh
    edit include/moe/moe.h 's/^MOE_API uint32_t moe_version(void);/MOE_API uint64_t moe_version(void);/'
    edit src/api/api_library.c 's/^uint32_t moe_version(void)/uint64_t moe_version(void)/'
    replace api_library api/api_library.c
    caught "a function has another type" description 'moe_version'
else
    echo "skipped: abidiff is not installed"
fi

# ---- constants
fresh
edit include/moe/moe.h 's/^#define MOE_E_STATE (-8)/#define MOE_E_STATE (-80)/'
caught "a constant has another value" constants 'MOE_E_STATE -8'
fresh
edit include/moe/moe.h '/^#define MOE_SAMPLE_XTC /d'
caught "a constant is gone" constants '0.1.0 had: MOE_SAMPLE_XTC'
fresh
edit include/moe/moe.h 's/^#define MOE_SAMPLE_XTC .*/&\n#define MOE_SAMPLE_NEW 99/'
caught "a constant was not recorded" constants '+MOE_SAMPLE_NEW 99'

# ---- headers
fresh
edit include/moe/ext.h 's/^MOE_API MOE_NODISCARD int moe_model_open_file/typedef struct moe_odd { union { int a; float b; }; } moe_odd;\n&/'
caught "a header needs more than C99" headers 'ISO C99\|anonymous'
fresh
edit include/moe/moe.h 's/int moe_type_at(size_t i)/int moe_type_at(size_t class)/'
caught "a header is not C++" headers 'class'
fresh
edit include/moe/study.h 's/^#include "moe.h"/#include <stddef.h>/'
caught "a header does not stand alone" headers 'MOE_API\|moe_model\|unknown type'
fresh
edit include/moe/moe.h '0,/^#define MOE_STATS_INIT .*/s//#define MOE_STATS_INIT {sizeof(moe_stats), NULL, "x", 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}/'
caught "a start value does not fit its struct" headers 'excess elements\|init'

# ---- what the library does
fresh
extra '#include <stdlib.h>
int moe__peek(void); int moe__peek(void) { return getenv("HOME") != 0; }'
caught "the environment is read" imports 'getenv'
fresh
extra '#include <stdio.h>
int moe__shout(void); int moe__shout(void) { return printf("%d", 1); }'
caught "something is printed" imports 'printf'
fresh
extra '#include <stdlib.h>
int moe__quit(void); int moe__quit(void) { abort(); }'
caught "the process is ended" imports 'abort'
fresh
extra '#include <signal.h>
int moe__catch(void); int moe__catch(void) { return signal(SIGINT, SIG_IGN) == SIG_ERR; }'
caught "a signal handler is set" imports 'signal'
fresh
edit src/base/opts.c 's/if (((const unsigned char \*)src)\[i\] != 0)/if (0)/'
replace base_opts base/opts.c
caught "unknown option bytes pass" structs 'passes: 0'
fresh
edit src/base/opts.c 's/if (n > src_size) {/if (n != src_size) {/; s/n - src_size);/0);/'
replace base_opts base/opts.c
caught "more is written than there is room for" old_programs 'fails:'
fresh
edit src/base/opts.c 's/memset((char \*)dst + src_size, 0, n - src_size);//'
replace base_opts base/opts.c
caught "a larger struct's end stays unset" structs 'every_size_is_filled'

# ---- sources
fresh
edit src/base/opts.c 's/^#include "base\/status.h"/&\n#include "run\/session.h"/'
caught "a lower layer includes a higher one" layers 'opts.c'
fresh
edit src/moe_all.c '/sample\/mix.c/d'
caught "moe_all.c lacks a file" unity_list 'does not list'

echo "$((n - bad)) of $n breaks were caught"
[ $bad = 0 ] && [ $n -ge 25 ]
