# SPDX-License-Identifier: MIT
# The command line: help, versions, mistakes and their suggestions, exit codes, generated files.
. "$(dirname "$0")/common.sh"

runs 2 "without a command: help and status 2" tool
says out "help lists the commands" '^  perplexity +measure'
runs 0 "--help" tool --help
says out "help has examples" 'libmoe run "Once upon a time"'
runs 0 "--version" tool --version
says out "version is the header's" "^libmoe $VERSION\$"
for c in run chat info plan bench tokenize perplexity quantize trace stats steer; do
    runs 0 "$c --help" tool "$c" --help
    says out "$c --help has examples" '^Examples:'
    tool help "$c" >"$tmp/help"
    same "help $c says the same" "$tmp/help" "$tmp/out"
done
for c in run info bench quantize trace stats steer; do
    tool $c --help | awk 'length > 80 { n++ } END { exit n > 3 }' && pass "$c --help fits 80 columns" ||
        fail "$c --help fits 80 columns"
done

runs 2 "unknown command" tool rnu
says err "unknown command: the nearest is named" 'did you mean run\?'
silent out "unknown command: nothing on stdout"
runs 2 "unknown option" tool run --tmp 1 x
says err "unknown option: the nearest is named" 'unknown option --tmp; did you mean --temp\?'
says err "unknown option: the help is named" 'libmoe run --help'
runs 2 "option of another command" tool run --stride 5 x
says err "option of another command: that is named" 'perplexity has'
runs 2 "unknown letter" tool run -X
runs 2 "value missing" tool run --temp
says err "value missing: said so" 'needs a value'
runs 2 "value where none belongs" tool run --json=1 x
runs 2 "no number" tool run --temp warm x
says err "no number: the range is told" 'from 0 to 100; not .warm.'
runs 2 "number out of range" tool run --top-p 1.5 x
runs 2 "number with a tail" tool run --ctx 12x x
runs 2 "number too large" tool run --ctx 99999999999999999999 x
runs 2 "not a number that compares" tool run --temp nan x
runs 2 "negative seed" tool run --seed -1 x
runs 2 "no such choice" tool run --kv f8 x
says err "no such choice: all are told" 'one of: f16 bf16 f32 q8_0 q4_0'
many="--disable 0:1 --disable 0:1 --disable 0:1"
many="$many $many $many $many $many $many $many $many $many $many $many"
# shellcheck disable=SC2086
runs 2 "an option given too often" tool run $many x
says err "an option given too often: the limit is told" 'can be given 32 times'
runs 2 "bad size" tool plan --budget 3X
runs 2 "too many arguments" tool info a b
runs 2 "option before the command" tool --json run
runs 1 "model file that does not exist" tool info "$tmp/none.gguf"
says err "message begins with the program and names the file" "^libmoe: .*none.gguf"
silent out "a failure leaves stdout alone"
printf 'not a model' >"$tmp/bad.gguf"
for c in run info plan bench tokenize trace stats; do
    runs 1 "$c: a file that is no model" tool $c -m "$tmp/bad.gguf" </dev/null
done
runs 0 "values by =, joined letters, -- before arguments" tool tokenize --model="$MODEL" --ids -- --json
runs 0 "letter with its value joined" tool tokenize -m"$MODEL" --count abc

tool --generate man >"$tmp/man" && head -n 3 "$tmp/man" | grep -q '^.TH LIBMOE 1' && pass "manual page" || \
    fail "manual page"
for o in temp stride rule contexts route edit analyse html against; do
    holds "the manual page has --$o" grep -q "fB.-.-$o" "$tmp/man"
done
if command -v groff >/dev/null 2>&1; then
    groff -man -ww -Tutf8 "$tmp/man" >"$tmp/out" 2>"$tmp/err"
    silent err "groff has nothing to say about the manual page"
else
    skip "groff has nothing to say about the manual page" "groff is not installed"
fi
for shell in bash zsh fish; do
    tool --generate $shell >"$tmp/$shell"
    if command -v $shell >/dev/null 2>&1; then
        holds "$shell accepts its completions" $shell -n "$tmp/$shell"
    else
        skip "$shell accepts its completions" "$shell is not installed"
    fi
done
if command -v bash >/dev/null 2>&1; then
    complete_line() {
        bash -c \
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
             _libmoe; echo "${COMPREPLY[*]}"' x "$tmp/bash" "$@"
    }
    [ "$(complete_line libmoe perp)" = perplexity ] && pass "bash completes commands" || fail \
        "bash completes commands"
    [ "$(complete_line libmoe run --min)" = --min-p ] && pass "bash completes options" || fail \
        "bash completes options"
    [ "$(complete_line libmoe run --route exp)" = expertchoice ] && pass "bash completes rules" || fail \
        "bash completes rules"
    [ "$(complete_line libmoe trace --format c)" = csv ] && pass "bash completes choices of trace" || fail \
        "bash completes choices of trace"
    [ "$(complete_line libmoe run --kv f1)" = f16 ] && pass "bash completes choices" || fail \
        "bash completes choices"
fi
runs 2 "--generate of something else" tool --generate tcsh
finish
