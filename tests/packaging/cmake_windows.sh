#!/bin/sh
# SPDX-License-Identifier: MIT
# cmake_windows.sh ROOT BUILD COMPILER: CMake crosses to Windows against an installed tree that has been moved, with the
# DLL by its import library and with the static library; wine runs both, and they compute the same.
set -eu
root=$1 build=$2 compiler=$3
command -v cmake >/dev/null 2>&1 || { echo "cmake is not installed"; exit 77; }
PATH=$PATH:/usr/lib/wine
export WINEDEBUG="${WINEDEBUG--all}" LC_ALL=C.UTF-8
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
quietly() {
    if ! "$@" >"$scratch/log" 2>&1; then
        cat "$scratch/log"
        exit 1
    fi
}
quietly meson install -C "$build" --no-rebuild --destdir "$scratch/root"
config=$(find "$scratch/root" -name libmoeConfig.cmake)
[ -n "$config" ] || { echo "libmoeConfig.cmake is not installed"; exit 1; }
mv "$scratch/root" "$scratch/elsewhere"
config=$scratch/elsewhere${config#"$scratch/root"}

mkdir "$scratch/project"
cp "$root/tests/abi/logits.c" "$scratch/project"
cat >"$scratch/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(use_libmoe C)
find_package(libmoe 0.2 REQUIRED CONFIG)
add_executable(shared logits.c)
target_link_libraries(shared PRIVATE libmoe::moe)
add_custom_command(TARGET shared POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_FILE:libmoe::moe> ${CMAKE_CURRENT_BINARY_DIR})
add_executable(static logits.c)
target_link_libraries(static PRIVATE libmoe::moe-static)
END
quietly cmake -S "$scratch/project" -B "$scratch/out" -DCMAKE_SYSTEM_NAME=Windows "-DCMAKE_C_COMPILER=$compiler" \
    -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY "-Dlibmoe_DIR=$(dirname "$config")"
quietly cmake --build "$scratch/out"
cp "$root/tests/golden/data/qwen3moe.gguf" "$scratch/out"
cd "$scratch/out"
wine64 shared.exe qwen3moe.gguf >want
wine64 static.exe qwen3moe.gguf >got
[ -s want ]
cmp want got
# Without the DLL the one does not start, and the other does not care.
rm libmoe-*.dll
if wine64 shared.exe qwen3moe.gguf >"$scratch/log" 2>&1; then
    echo "the shared program runs without the DLL"
    exit 1
fi
wine64 static.exe qwen3moe.gguf | cmp want -
echo "CMake for Windows: shared and static programs"
