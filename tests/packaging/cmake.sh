#!/bin/sh
# SPDX-License-Identifier: MIT
# cmake.sh ROOT BUILD: a CMake project builds against an installed tree, shared, static and C++, and all compute the
# same; the folder may have been moved after the installation. A version that is too new is not found.
set -eu
root=$1 build=$2
command -v cmake >/dev/null 2>&1 || { echo "cmake is not installed"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
meson install -C "$build" --no-rebuild --destdir "$scratch/root" >"$scratch/log" 2>&1 || {
    cat "$scratch/log"
    exit 1
}
config=$(find "$scratch/root" -name libmoeConfig.cmake)
[ -n "$config" ] || { echo "libmoeConfig.cmake is not installed"; exit 1; }
mv "$scratch/root" "$scratch/elsewhere"
config=$scratch/elsewhere${config#"$scratch/root"}
cp -r "$root/tests/packaging/cmake" "$scratch/project"
cp "$root/tests/abi/logits.c" "$root/examples/13_cpp.cpp" "$scratch/project"
in_project() {
    if ! "$@" >"$scratch/log" 2>&1; then
        cat "$scratch/log"
        exit 1
    fi
}
in_project cmake -S "$scratch/project" -B "$scratch/out" "-Dlibmoe_DIR=$(dirname "$config")"
in_project cmake --build "$scratch/out"
model=$root/tests/golden/data/qwen3moe.gguf
"$scratch/out/shared" "$model" >"$scratch/want"
"$scratch/out/static" "$model" >"$scratch/got"
[ -s "$scratch/want" ]
cmp "$scratch/want" "$scratch/got"
"$scratch/out/cpp" "$model" | grep 'most likely'
readelf -d "$scratch/out/shared" | grep -q 'NEEDED.*libmoe'
if readelf -d "$scratch/out/static" | grep -q 'NEEDED.*libmoe'; then
    echo "the static program needs the shared library"
    exit 1
fi
sed -i 's/find_package(libmoe 0.2/find_package(libmoe 77.0/' "$scratch/project/CMakeLists.txt"
if cmake -S "$scratch/project" -B "$scratch/out77" "-Dlibmoe_DIR=$(dirname "$config")" >/dev/null 2>&1; then
    echo "version 77.0 was found"
    exit 1
fi
echo "CMake: shared, static and C++ programs"
