# SPDX-License-Identifier: MIT
# Guard against regressions without a clock: instructions that decoding and prefill of the bundled model take, counted by
# callgrind at --isa avx2 (the highest that valgrind knows) with one thread, inside evals only. Compared with
# instructions.txt, which has a line for each compiler: "NAME MAJOR WORK INSTRUCTIONS-PER-TOKEN". Counts of one build
# differ by less than 0.1 %; more than 3 % up is a failure, more than 3 % down asks for a new record.
#
# To record: LIBMOE=build/tools/libmoe/libmoe DEMO=examples/models/demo.gguf sh tests/tool/instructions.sh --record
# with a release build (-Dbuildtype=release), once for each compiler that is to be guarded. Record only what is understood:
# the commit says why the count changed.
DATA=${DATA:-}
PYTHON=${PYTHON:-python3}
. "$(dirname "$0")/common.sh"
RECORD=$(cd "$(dirname "$0")" && pwd)/instructions.txt
BUILD=${BUILD:-release} # build type and sanitizers, from meson

# counts WORK OPTIONS: instructions per token of 16 tokens decoded, or 64 of a prompt. Bench works twice, once unmeasured.
counts() {
    tokens=$2
    shift 2
    valgrind --tool=callgrind "--callgrind-out-file=$tmp/profile" --toggle-collect=moe_session_eval_batch \
        "$LIBMOE" bench -m "$DEMO" --isa avx2 -t 1 -r 1 -q "$@" >"$tmp/out" 2>"$tmp/err" || return 1
    awk -v n="$tokens" '$1 == "totals:" { printf "%d\n", $2 / n; found = 1 } END { exit !found }' "$tmp/profile"
}

# Why counting says nothing here, if it does not.
reason=''
build=$("$LIBMOE" --version | sed -n 2p)
compiler=$(echo "$build" | sed -n 's/^\([a-z]*\) \([0-9]*\)\..*/\1 \2/p')
if ! command -v valgrind >/dev/null 2>&1; then
    reason='valgrind is not installed'
elif [ ! -f "$DEMO" ]; then
    reason='examples/models/demo.gguf is not there'
else
    case "$BUILD, $build" in
    'release, '*optimised*'threads: pool'*avx2*) ;;
    *) reason="not a plain release build with the pool and AVX2: $BUILD, $build" ;;
    esac
fi
[ -n "$reason" ] || grep -q avx2 /proc/cpuinfo 2>/dev/null || reason='this CPU has no AVX2'
if [ "${1:-}" = --record ]; then
    [ -z "$reason" ] || { echo "not recorded: $reason" >&2; exit 1; }
    for work in decode prefill; do
        case $work in
        decode) n=$(counts decode 32 --prompt 0 --generate 16) || exit 1 ;;
        prefill) n=$(counts prefill 128 --prompt 64 --generate 0) || exit 1 ;;
        esac
        [ "$n" -gt 0 ] || { echo "nothing was counted" >&2; exit 1; }
        grep -v "^$compiler $work " "$RECORD" >"$tmp/new" 2>/dev/null || true
        echo "$compiler $work $n" >>"$tmp/new"
        LC_ALL=C sort -k1,1 -k2,2n -k3,3 "$tmp/new" >"$RECORD"
    done
    cat "$RECORD"
    exit 0
fi

guard() {
    work=$1
    shift
    recorded=$(sed -n "s/^$compiler $work //p" "$RECORD")
    if [ -n "$reason" ] || [ -z "$recorded" ]; then
        skip "instructions of $work" "${reason:-no record for $compiler, see instructions.sh}"
        return
    fi
    n=$(counts "$work" "$@") || n=0
    echo "# $work: $n instructions per token, recorded $recorded"
    if awk -v n="$n" -v r="$recorded" 'BEGIN { exit !(n > 0 && n <= r * 1.03) }'; then
        pass "instructions of $work"
        awk -v n="$n" -v r="$recorded" 'BEGIN { exit !(n < r * 0.97) }' &&
            echo "# fewer than recorded: record them (see instructions.sh)"
    else
        fail "instructions of $work"
        echo "# too many, or none: find out why, or record them if that is the price of something (see instructions.sh)"
        [ "$n" -gt 0 ] || show
    fi
}
guard decode 32 --prompt 0 --generate 16
guard prefill 128 --prompt 64 --generate 0
finish
