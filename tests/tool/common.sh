# SPDX-License-Identifier: MIT
# Shared by the tests of the command-line tool: sourced by each, POSIX sh, prints TAP. Expects in the environment
# LIBMOE (the tool), DATA (the folder of the golden models), DEMO (the bundled model, which may be missing), PYTHON.
set -u
LC_ALL=C
export LC_ALL
count=0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/libmoe-tool.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
unset LIBMOE_MODEL || true

MODEL=$DATA/qwen3moe.gguf # small, random weights, with a tokenizer
export MODEL

# The bundled model as the tool finds it.
use_demo() {
    [ "${INSIDE:-no}" = yes ] || export LIBMOE_MODEL="$DEMO"
}

# Makes $tmp/chatml.gguf: the small model with a chat template.
make_talker() {
    "$PYTHON" "$(dirname "$0")/add_meta.py" "$MODEL" "$tmp/chatml.gguf" tokenizer.chat_template \
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
}

tool() { "$LIBMOE" "$@"; }

pass() {
    count=$((count + 1))
    echo "ok $count - $1"
}

fail() {
    count=$((count + 1))
    echo "not ok $count - $1"
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

# The output of the last command as comments.
show() {
    awk 'NR <= 12 { print "# out: " $0 }' "$tmp/out"
    awk 'NR <= 12 { print "# err: " $0 }' "$tmp/err"
}

# runs CODE NAME COMMAND...: the command ends with this exit status. Its output stays in $tmp/out and err.
runs() {
    expected=$1 name=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    status=$?
    if [ "$status" = "$expected" ]; then
        pass "$name"
    else
        fail "$name"
        echo "# exit status $status instead of $expected"
        show
    fi
}

# says out|err NAME PATTERN: the last output has a line that matches.
says() {
    if grep -E -q -e "$3" "$tmp/$1"; then
        pass "$2"
    else
        fail "$2"
        echo "# no match for: $3"
        show
    fi
}

silent() {
    if [ -s "$tmp/$1" ]; then
        fail "$2"
        show
    else
        pass "$2"
    fi
}

# holds NAME COMMAND...: the command succeeds.
holds() {
    name=$1
    shift
    if "$@" >"$tmp/log" 2>&1; then
        pass "$name"
    else
        fail "$name"
        awk 'NR <= 12 { print "# " $0 }' "$tmp/log"
    fi
}

# same NAME A B: two files are equal to the byte.
same() {
    holds "$1" cmp "$2" "$3"
}

# json NAME EXPRESSION: the last output is JSON for which the Python expression over `j` is true.
json() {
    if "$PYTHON" -c 'import json, sys
j = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$tmp/out" "$2" >"$tmp/log" 2>&1; then
        pass "$1"
    else
        fail "$1"
        echo "# not true: $2"
        tail -n 3 "$tmp/log" | awk '{ print "# " $0 }'
        show
    fi
}

finish() { echo "1..$count"; }
