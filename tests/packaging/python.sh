#!/bin/sh
# SPDX-License-Identifier: MIT
# python.sh ROOT: the Python package as its users install it, in a fresh environment, without network: a source archive
# is made and unpacked, a wheel built from it and installed, then the unpacked folder installed "editable". Each time
# the program generates in an empty folder, with nothing but the environment's commands on its path.
#
# 77 means skipped, the reason is printed: no venv with pip, no meson or ninja (pip would fetch them).
set -eu
root=$1
skip() {
    echo "skipped: $1"
    exit 77
}
command -v meson >/dev/null 2>&1 && command -v ninja >/dev/null 2>&1 || skip 'no meson or no ninja'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv" >/dev/null 2>&1 || skip 'python3 makes no environment (python3-venv)'
python=$scratch/venv/bin/python
"$python" -m pip --version >/dev/null 2>&1 || skip 'no pip in a fresh environment'
unset PYTHONPATH LIBMOE_LIBRARY
export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR="$scratch/cache"

check() { # check WHERE: the package is the one in WHERE, and works
    (
        mkdir -p "$scratch/empty"
        cd "$scratch/empty"
        at=$(env -i HOME="$scratch" PATH="$scratch/venv/bin" python -c 'import libmoe; print(libmoe.__file__)')
        case $at in
        "$1"/*) ;;
        *) echo "the package is $at, not in $1"; exit 1 ;;
        esac
        text=$(env -i HOME="$scratch" PATH="$scratch/venv/bin" python -m libmoe 'Once upon a time' --tokens 12)
        case $text in
        'Once upon a time'?*) echo "$text" | head -n 1 ;;
        *) echo "it said: $text"; exit 1 ;;
        esac
    )
}

mkdir "$scratch/sdist"
(cd "$root/bindings/python" && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=_build "$python" -c \
    "import backend, sys; backend.build_sdist(sys.argv[1])" "$scratch/sdist")
tar -xzf "$scratch"/sdist/libmoe-*.tar.gz -C "$scratch/sdist"
source=$(echo "$scratch"/sdist/libmoe-*/)
source=${source%/}

"$python" -m pip install -q "$source"
"$python" -m pip check
check "$scratch/venv/lib"
"$python" -m pip uninstall -q -y libmoe

"$python" -m pip install -q --no-build-isolation -e "$source"
check "$source"
"$python" -m pip uninstall -q -y libmoe
if env -i PATH="$scratch/venv/bin" python -c 'import libmoe' 2>/dev/null; then
    echo 'still there after it was uninstalled'
    exit 1
fi
