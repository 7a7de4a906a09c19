# SPDX-License-Identifier: MIT
# Shared by ./run and ./test: finds out what is missing on this machine, installs it on Debian and its kin, builds quietly.
# Sourced; expects $root to be the source directory. POSIX sh.

say() { echo "$*" >&2; }
die() { say "$*"; exit 1; }

# Is there a C compiler that makes programs (headers and start files included)?
can_compile() {
    printf '#include <stdio.h>\nint main(void) { return puts("x") < 0; }\n' >"$scratch/try.c"
    for candidate in ${CC:-} gcc cc clang; do
        if "$candidate" "$scratch/try.c" -o "$scratch/try" >/dev/null 2>&1; then
            compiler=$candidate
            return 0
        fi
    done
    return 1
}

has_command() { command -v "$1" >/dev/null 2>&1; }
has_package() { pkg-config --exists "$1" 2>/dev/null || pkgconf --exists "$1" 2>/dev/null; }

# The distribution's Python, which meson runs on, may stand behind another one.
has_python_module() { /usr/bin/python3 -c "import $1" 2>/dev/null || python3 -c "import $1" 2>/dev/null; }

# Adds the Debian package $1 to the list of what is missing unless the check that follows succeeds.
need() {
    package=$1
    shift
    "$@" || missing="$missing $package"
}

# The same for what makes the work fuller but can be done without: asked for only when something is installed anyway.
want() {
    package=$1
    shift
    "$@" || wanted="$wanted $package"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Installs $missing (and $wanted). Elsewhere than on Debian, or without the right to, says what to install.
install_missing() {
    [ -n "$missing" ] || return 0
    list="$missing $wanted"
    if ! has_command apt-get || { [ "$(id -u)" != 0 ] && ! has_command sudo; }; then
        say "These are missing; please install them (the names are those of Debian's packages):"
        say "   $missing"
        has_command apt-get && say "For instance:  apt-get install$missing"
        exit 1
    fi
    say "Installing:$list"
    # shellcheck disable=SC2086
    apt_install $list >"$scratch/apt.log" 2>&1 && return 0
    as_root apt-get update >>"$scratch/apt.log" 2>&1 || true
    # shellcheck disable=SC2086
    apt_install $list >>"$scratch/apt.log" 2>&1 && return 0
    # shellcheck disable=SC2086
    apt_install $missing >>"$scratch/apt.log" 2>&1 && return 0
    tail -n 20 "$scratch/apt.log" >&2
    die "Installing failed. Please install these yourself:$missing"
}

# What every build needs. Sets $compiler.
need_build_tools() {
    missing='' wanted=''
    can_compile || missing="$missing gcc libc6-dev"
    need meson has_command meson
    need ninja-build has_command ninja
    need pkg-config eval 'has_command pkg-config || has_command pkgconf'
}

check_build_tools() {
    can_compile || die "There is no C compiler that works; please install gcc."
    version=$(meson --version)
    case $version in
    0.*) die "meson 1.0 or newer is needed, this is $version; \`pip install meson\` has a newer one." ;;
    esac
}

# configure DIRECTORY OPTION...: sets a build directory up, once. A half-made one, or one of another place, is made anew.
configure() {
    directory=$1
    shift
    if [ -f "$directory/build.ninja" ] && [ "$(cat "$directory/options.txt" 2>/dev/null)" = "$root $CC $*" ]; then
        return 0
    fi
    rm -rf "$directory"
    mkdir -p "$directory"
    if ! meson setup "$directory" "$root" "$@" >"$scratch/meson.log" 2>&1; then
        cat "$scratch/meson.log" >&2
        rm -rf "$directory"
        return 1
    fi
    echo "$root $CC $*" >"$directory/options.txt"
}

# use COMPILER: what the next build directories are made with.
use() {
    CC=$1
    export CC
}

# build DIRECTORY TARGET...: says something only when it fails.
build() {
    directory=$1
    shift
    ninja -C "$directory" "$@" >"$scratch/ninja.log" 2>&1 && return 0
    grep -v '^\[' "$scratch/ninja.log" | tail -n 60 >&2
    return 1
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/libmoe.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
