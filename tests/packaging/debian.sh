#!/bin/sh
# SPDX-License-Identifier: MIT
# debian.sh ROOT: builds the Debian packages from a scratch copy, unpacks them into a scratch root, and builds and runs
# a program with nothing but that; the tool runs too. lintian, where it is installed, must have no errors or warnings.
# Skipped (77) without debhelper.
set -eu
root=$(CDPATH='' cd -- "$1" && pwd)
for command in dpkg-buildpackage dh; do
    command -v $command >/dev/null 2>&1 || { echo "$command is not installed"; exit 77; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
version=$(python3 "$root/tools/read_version.py" project)
[ "$(dpkg-parsechangelog -l "$root/debian/changelog" -S Version)" = "$version" ] || {
    echo "debian/changelog is not about $version"
    exit 1
}
source=$scratch/libmoe-$version
mkdir "$source"
(cd "$root" && tar c --exclude=./build --exclude='./build-*' --exclude=./.git --exclude=./bindings --exclude=./subprojects \
    --exclude=__pycache__ .) | tar x -C "$source"
if ! (cd "$source" && dpkg-buildpackage -us -uc -b) >"$scratch/log" 2>&1; then
    tail -n 40 "$scratch/log"
    exit 1
fi
api=$(python3 "$root/tools/read_version.py" api)
for package in "libmoe$api" libmoe-dev libmoe-tools libmoe-demo-model; do
    set -- "$scratch/${package}_$version"_*.deb
    [ -f "$1" ] || { echo "$package was not built"; exit 1; }
    dpkg -x "$1" "$scratch/root"
done

libdir=$(dirname "$(find "$scratch/root" -name "libmoe.so.$version")")
LD_LIBRARY_PATH=$libdir "$scratch/root/usr/bin/libmoe" --version
[ -f "$scratch/root/usr/share/man/man1/libmoe.1.gz" ]
PKG_CONFIG_LIBDIR=$libdir/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$scratch/root
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
# shellcheck disable=SC2046
cc -std=c11 "$root/tests/abi/logits.c" $(pkg-config --cflags --libs libmoe) -o "$scratch/logits"
LD_LIBRARY_PATH=$libdir "$scratch/logits" "$root/tests/golden/data/qwen3moe.gguf" >"$scratch/out"
[ "$(grep -c . "$scratch/out")" -gt 100 ]
# The library package has the library and its papers, nothing that a second version of the interface would overwrite.
dpkg -c "$scratch/libmoe${api}_$version"_*.deb | awk '{ print $6 }' | grep -v '/$' |
    grep -v -e "^./usr/lib/.*/libmoe.so.$api" -e "^./usr/lib/.*/libmoe.so.$version$" -e "^./usr/share/doc/libmoe$api/" && {
    echo "files that the library package should not have"
    exit 1
}
if command -v lintian >/dev/null 2>&1; then
    # the package is not part of a distribution: there is no bug that asks for it
    lintian --no-tag-display-limit --suppress-tags initial-upload-closes-no-bugs --fail-on error,warning \
        "$scratch"/*.changes || exit 1
    echo "lintian has nothing to say"
fi
echo "Debian packages of $version"
