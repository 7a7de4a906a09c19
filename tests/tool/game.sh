# SPDX-License-Identifier: MIT
# The game, without a display: who speaks, what is cut short, budgets, both modes, the picture it writes.
. "$(dirname "$0")/common.sh"
: "${GAME:=}"
if [ -z "$GAME" ]; then
    skip "game" "built without SDL2"
    finish
    exit 0
fi
# No display and no sound card are asked for.
unset DISPLAY WAYLAND_DISPLAY || true

runs 0 "game: help" "$GAME" --help
says out "game: the options" '--budget MIB'
runs 2 "game: no model named" "$GAME" --headless --frames 10
runs 2 "game: an unknown option" "$GAME" --nonsense "$MODEL"
says err "game: names it" 'nonsense'
runs 2 "game: a number that is none" "$GAME" --frames many "$MODEL"
runs 2 "game: no window and no end" "$GAME" --headless "$MODEL"
runs 1 "game: no such model" "$GAME" --headless --frames 10 "$tmp/none.gguf"
says err "game: says why" 'none.gguf'
runs 1 "game: a model without voices" "$GAME" --headless --frames 10 --budget 0 "$MODEL"
says err "game: names the tag" 'tales'
if [ ! -f "$DEMO" ]; then
    skip "game: a walk over the square" "no bundled model"
    finish
    exit 0
fi

runs 1 "game: too small a budget" "$GAME" --headless --frames 10 --budget 20 "$DEMO"
says err "game: what is needed, what is allowed" 'speech needs [0-9.]+ MiB .* the budget is 20\.0'

# said NAME: characters of all that somebody said, cut short or not.
said() {
    awk -v who="$1" '
        index($0, who) == 1 { sub(/^[^:]*: /, ""); n += length($0) }
        END { print n + 0 }' "$tmp/out"
}
# figure PATTERN: the number before the pattern in the report.
figure() { sed -n "s/.*[^0-9.]\([0-9.][0-9.]*\) $1.*/\1/p" "$tmp/out" | head -n 1; }

# A walk past everybody; on a slow machine they say less, never nothing.
walk() { # MODE OPTION...
    mode=$1
    shift
    runs 0 "game, $mode: a walk over the square" \
        "$GAME" --headless --frames 960 --screenshot "$tmp/$mode.bmp" "$@" "$DEMO"
    for who in Nan Will "The Inspector" Marie Heinrich "His echo"; do
        holds "game, $mode: $who speaks" test "$(said "$who")" -gt 8
    done
    says out "game, $mode: somebody is left in the middle of a sentence" '^[^:]* \(interrupted\): '
    holds "game, $mode: tokens are made" test "$(figure 'tokens, ')" -gt 40
    says out "game, $mode: quiet frames" '^quiet +[1-9][0-9]* '
    says out "game, $mode: frames with generation" '^with generation +[1-9][0-9]* '
    holds "game, $mode: it takes no more memory than planned" awk '
        /^memory: planned/ { planned = $3; taken = $(NF - 1) }
        END { exit !(taken > 0 && taken <= planned) }' "$tmp/out"
    # A BMP of 1280 x 720 with 24 bits, and not a blank one.
    holds "game, $mode: the picture" test "$(wc -c <"$tmp/$mode.bmp")" -ge 2764800
    holds "game, $mode: something is in it" test "$(gzip -c "$tmp/$mode.bmp" | wc -c)" -gt 60000
}
walk worker --budget 40
says out "game, worker: its mode" '^mode: one worker thread$'
walk slices --slices
says out "game, slices: its mode" '^mode: slices of 2\.0 ms'

runs 0 "game: as fast as it can" "$GAME" --headless --frames 240 --pace 0 "$DEMO"
runs 1 "game: a picture that cannot be written" \
    "$GAME" --headless --frames 2 --screenshot "$tmp/none/x.bmp" "$DEMO"
finish
