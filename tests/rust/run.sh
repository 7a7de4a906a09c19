#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests of the Rust crates, in bindings/rust:  run.sh crates | style | examples | installed | vendored
#
# In: LIBMOE_LIB_DIR, the folder with the library; CARGO_TARGET_DIR; for `installed` LIBMOE_BUILD, the build folder. 77 means skipped, the reason is printed.
set -eu
skip() {
    echo "skipped: $1"
    exit 77
}
cargo=${CARGO:-cargo}
command -v "$cargo" > /dev/null || skip 'no cargo'
"$cargo" --version > /dev/null 2>&1 || skip 'cargo does not run'
export LD_LIBRARY_PATH="$LIBMOE_LIB_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export DYLD_LIBRARY_PATH="$LD_LIBRARY_PATH"

case $1 in
crates) # units, layouts, integration, examples of the documentation, what must not compile
    exec "$cargo" test --offline --locked -j2
    ;;
style)
    "$cargo" fmt --version > /dev/null 2>&1 || skip 'no rustfmt'
    "$cargo" clippy --version > /dev/null 2>&1 || skip 'no clippy'
    "$cargo" fmt --check
    exec "$cargo" clippy --offline --locked -j2 --all-targets -- -D warnings
    ;;
examples) # the programs do what they say
    demo=../../examples/models/demo.gguf
    "$cargo" build -q --offline --locked -j2 --examples
    bin=$CARGO_TARGET_DIR/debug/examples
    text=$("$bin/generate" $demo 'Once upon a time' 20)
    case $text in
    'Once upon a time'?*) ;;
    *) echo "generate: $text"; exit 1 ;;
    esac
    [ "$text" = "$("$bin/generate" $demo 'Once upon a time' 20)" ] || { echo 'generate: not the same twice'; exit 1; }
    "$bin/observe" $demo 'The old sailor told a story.' | grep -c '^layer' | grep -qx 8 || { echo observe; exit 1; }
    "$bin/policy" $demo 'The captain' | grep -q '^experts of a token in a layer: 1\.[0-9]* of 2$' ||
        { echo policy; exit 1; }
    "$bin/overhead" $demo 10 1 | grep -q 'us per token' || { echo overhead; exit 1; }
    if "$bin/generate" /no/such/file.gguf x 2> /dev/null; then echo 'generate: no file, no error'; exit 1; fi
    ;;
installed) # the library is found by pkg-config, where it was installed
    command -v pkg-config > /dev/null || skip 'no pkg-config'
    command -v meson > /dev/null || skip 'no meson'
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    meson install -C "$LIBMOE_BUILD" --no-rebuild --quiet --destdir "$scratch" > "$scratch/log" 2>&1 ||
        { cat "$scratch/log"; exit 1; }
    pc=$(find "$scratch" -name libmoe.pc)
    prefix=$(sed -n 's/^prefix=//p' "$pc")
    sed -i "s|^prefix=.*|prefix=$scratch$prefix|" "$pc"
    export PKG_CONFIG_PATH=${pc%/*}
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir libmoe)
    export LD_LIBRARY_PATH
    unset LIBMOE_LIB_DIR
    "$cargo" test --offline --locked -j2 --tests --target-dir "$CARGO_TARGET_DIR/installed"
    # and it is that library, not one that happened to be elsewhere
    LD_LIBRARY_PATH='' ldd "$(find "$CARGO_TARGET_DIR/installed/debug/deps" -name 'session-*' -perm -u+x -type f | head -n 1)" |
        grep -q 'libmoe.*not found' || { echo 'linked with something else'; exit 1; }
    ;;
vendored) # build.rs compiles the library: all kernels that meson's has, and it works
    "${CC:-cc}" --version > /dev/null 2>&1 || skip 'no C compiler'
    "$cargo" build -q --offline --locked -j2 -p moe --example version
    "$cargo" build -q --offline --locked -j2 -p moe --examples --features vendored --target-dir "$CARGO_TARGET_DIR/vendored"
    here=$("$CARGO_TARGET_DIR/debug/examples/version")
    own=$CARGO_TARGET_DIR/vendored/debug/examples
    there=$("$own/version")
    for level in $(echo "$here" | sed -n 's/.*kernels: //p'); do
        case " $(echo "$there" | sed -n 's/.*kernels: //p') " in
        *" $level "*) ;;
        *) echo "no $level in the vendored library: $there"; exit 1 ;;
        esac
    done
    "$cargo" build -q --offline --locked -j2 -p moe --example generate
    for text in 'Once upon a time' 'The captain'; do
        [ "$("$own/generate" ../../examples/models/demo.gguf "$text" 20)" = \
            "$("$CARGO_TARGET_DIR/debug/examples/generate" ../../examples/models/demo.gguf "$text" 20)" ] ||
            { echo 'generate: another text'; exit 1; }
    done
    ;;
*)
    echo "what is $1?"
    exit 2
    ;;
esac
