#!/bin/sh
# SPDX-License-Identifier: MIT
# install.sh ROOT BUILD CC: installs into an empty folder; a program is then built from nothing but what
# pkg-config says about that folder, against the shared and the static library, and must run.
set -eu
root=$1 build=$2 cc=$3
command -v pkg-config >/dev/null 2>&1 || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
meson install -C "$build" --no-rebuild --destdir "$scratch/root" >"$scratch/log" 2>&1 || {
    cat "$scratch/log"
    exit 1
}
pc=$(find "$scratch/root" -name libmoe.pc)
[ -n "$pc" ] || { echo "libmoe.pc is not installed"; exit 1; }
PKG_CONFIG_LIBDIR=$(dirname "$pc")
export PKG_CONFIG_LIBDIR
prefix=$scratch/root$(pkg-config --variable=prefix libmoe)
pc() { pkg-config "--define-variable=prefix=$prefix" "$@" libmoe; }
version=$(pc --modversion)
libdir=$(pc --variable=libdir)

# All of the interface is there, and nothing that is internal.
find "$scratch/root" -name '*.h' | sed 's,.*/include/,,' | LC_ALL=C sort >"$scratch/headers"
printf 'moe/ext.h\nmoe/moe.h\nmoe/study.h\nmoe/version.h\n' | diff - "$scratch/headers"
[ -f "$libdir/libmoe.so.$version" ] && [ -f "$libdir/libmoe.a" ]

program=$scratch/program.c
cp "$root/tests/abi/logits.c" "$program"
cd "$scratch"
# shellcheck disable=SC2046
$cc -std=c11 $(pc --cflags) "$program" $(pc --libs) -o shared
# shellcheck disable=SC2046
$cc -std=c11 $(pc --cflags) "$program" "$libdir/libmoe.a" $(pc --static --libs | sed 's/-lmoe\>//') -o static
model=$root/tests/golden/data/qwen3moe.gguf
LD_LIBRARY_PATH=$libdir ./shared "$model" >want
./static "$model" >got
[ -s want ]
cmp want got
# The static program must not need the shared library; the shared one must, by its SONAME.
nm -D --undefined-only static | grep ' moe_' && exit 1
readelf -d shared | grep -q 'NEEDED.*\[libmoe\.so\.'
readelf -d "$libdir/libmoe.so.$version" | grep 'SONAME'
# The examples build against the installed headers too.
for example in "$root"/examples/*.c; do
    # shellcheck disable=SC2046
    $cc -std=c11 $(pc --cflags) "$example" $(pc --libs) -o example
done
echo "libmoe $version: shared and static programs agree"
