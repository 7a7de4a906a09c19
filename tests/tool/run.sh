# SPDX-License-Identifier: MIT
# libmoe run: prompts from everywhere, reproducible text, JSON, limits, signals, closed pipes.
. "$(dirname "$0")/common.sh"

runs 0 "a prompt" tool run -m "$MODEL" --seed 5 -n 20 "Once upon a time"
says out "the prompt comes first" '^Once upon a time'
silent err "nothing on stderr when piped"
cp "$tmp/out" "$tmp/first"
runs 0 "again with the same seed" tool run -m "$MODEL" --seed 5 -n 20 Once upon a time
same "words joined, same seed: same text" "$tmp/out" "$tmp/first"
runs 0 "another seed" tool run -m "$MODEL" --seed 6 -n 20 "Once upon a time"
if cmp -s "$tmp/out" "$tmp/first"; then fail "another seed: another text"; else pass \
    "another seed: another text"; fi
for how in "--threads 1" "--threads 2" "--no-mmap" "--resident" "--batch 3" "--batch 1"; do
    # shellcheck disable=SC2086
    tool run -m "$MODEL" --seed 5 -n 20 $how "Once upon a time" >"$tmp/out" 2>"$tmp/err"
    same "$how: same text" "$tmp/out" "$tmp/first"
done
printf 'Once upon a time' | tool run -m "$MODEL" --seed 5 -n 20 >"$tmp/out"
same "prompt from standard input" "$tmp/out" "$tmp/first"
printf 'Once upon a time' | tool run -m "$MODEL" --seed 5 -n 20 - >"$tmp/out"
same "prompt from -" "$tmp/out" "$tmp/first"
printf 'Once upon a time' >"$tmp/prompt"
tool run -m "$MODEL" --seed 5 -n 20 -f "$tmp/prompt" >"$tmp/out"
same "prompt from a file" "$tmp/out" "$tmp/first"
LIBMOE_MODEL=$MODEL "$LIBMOE" run --seed 5 -n 20 "Once upon a time" >"$tmp/out"
same "model from the environment" "$tmp/out" "$tmp/first"
tool run -m "$MODEL" --seed 5 -n 20 --no-echo "Once upon a time" >"$tmp/more"
{ printf 'Once upon a time' && cat "$tmp/more"; } >"$tmp/out"
same "--no-echo leaves out the prompt only" "$tmp/out" "$tmp/first"
runs 1 "prompt and --file" tool run -m "$MODEL" -f "$tmp/prompt" x
runs 1 "prompt file that does not exist" tool run -m "$MODEL" -f "$tmp/none"

runs 0 "JSON" tool run -m "$MODEL" --seed 5 -n 20 --ignore-end --json "Once upon a time"
json "JSON: all there" \
    'j["prompt"] == "Once upon a time" and len(j["tokens"]) == 20 and j["stop"] == "length"'
json "JSON: seed and statistics" 'j["seed"] == 5 and j["stats"]["tokens_prefill"] == j["prompt_tokens"]'
json "JSON: the last token costs no evaluation" 'j["stats"]["tokens_decode"] == 19'
printf 'a\377\376b \303' | tool run -m "$MODEL" --seed 5 -n 4 --json >"$tmp/out"
json "prompt that is no UTF-8: still JSON" '"\ufffd" in j["prompt"]'
printf 'a\377\376b \303' | tool run -m "$MODEL" --seed 5 -n 4 >"$tmp/out"
printf 'a\377\376b \303' >"$tmp/raw"
head -c 6 "$tmp/out" >"$tmp/start"
same "prompt that is no UTF-8: passed through" "$tmp/start" "$tmp/raw"

runs 0 "greedy" tool run -m "$MODEL" --temp 0 -n 12 --json "The"
json "greedy: tokens" 'len(j["tokens"]) <= 12'
cp "$tmp/out" "$tmp/greedy"
runs 0 "greedy by --samplers" tool run -m "$MODEL" --samplers greedy -n 12 --json "The"
"$PYTHON" -c \
    'import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(a["tokens"] != b["tokens"])' \
    "$tmp/out" "$tmp/greedy" && pass "greedy both ways: same tokens" || fail "greedy both ways: same tokens"
runs 1 "bad --samplers" tool run -m "$MODEL" --samplers "bogus:x=1" "The"
says err "bad --samplers: the library says what is wrong" 'bogus'
runs 0 "no tokens" tool run -m "$MODEL" -n 0 --json "The"
json "no tokens: empty text" 'j["tokens"] == [] and j["text"] == ""'
runs 0 "full context ends the text" tool run -m "$MODEL" --ctx 24 -n 200 --ignore-end --json "The"
json "full context: said so" 'j["stop"] == "context" and len(j["tokens"]) >= 16'
says err "full context: a note" 'context is full with [0-9]+ tokens'
"$PYTHON" -c 'print("one two three " * 100)' >"$tmp/long"
runs 1 "prompt longer than the context" tool run -m "$MODEL" --ctx 64 -f "$tmp/long"
says err "prompt longer than the context: said so" 'does not fit'
runs 0 "--shift" tool run -m "$MODEL" --ctx 64 --shift 4 -n 200 --ignore-end --temp 0 --json "The"
json "--shift: as long as asked for" 'j["stop"] == "length" and len(j["tokens"]) == 200 and
j["tokens_taken_out"] >= 120 and j["tokens_taken_out"] % 30 == 0'
cp "$tmp/out" "$tmp/shifted"
runs 0 "--shift, one thread and small batches" tool run -m "$MODEL" --ctx 64 --shift 4 -n 200 --ignore-end \
    --temp 0 --json --threads 1 --batch 3 "The"
"$PYTHON" -c \
    'import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(a["tokens"] != b["tokens"])' \
    "$tmp/out" "$tmp/shifted" && pass "--shift: the same tokens" || fail "--shift: the same tokens"
runs 0 "--shift: a prompt longer than the context" tool run -m "$MODEL" --ctx 64 --shift 8 -n 5 --ignore-end \
    --json -f "$tmp/long"
json "--shift: a prompt longer than the context: read in full" 'j["prompt_tokens"] > 200 and
j["prompt_tokens"] + len(j["tokens"]) - 64 <= j["tokens_taken_out"] < j["prompt_tokens"]'
runs 0 "--shift with --contrast" tool run -m "$MODEL" --ctx 64 --shift 4 -n 100 --ignore-end --temp 0 \
    --contrast ranks:1 --json "The"
json "--shift with --contrast: as long as asked for" 'len(j["tokens"]) == 100'
runs 2 "--shift without room" tool run -m "$MODEL" --ctx 64 --shift 61 "The"
says err "--shift without room: said so" 'has no room'
runs 2 "voice of a model that has none" tool run -m "$MODEL" --voice tales x
says err "voice of a model that has none: said so" 'no voices'
runs 0 "--voice none with any model" tool run -m "$MODEL" --voice none -n 2 x
runs 0 "--stats" tool run -m "$MODEL" --stats -n 5 --ignore-end x
says err "--stats: speeds" 'tokens/s'
runs 0 "--verbose" tool run -m "$MODEL" --verbose -n 1 x

runs 130 "interrupted by Ctrl-C" "$PYTHON" "$(dirname "$0")/signal_when_printing.py" INT \
    "$LIBMOE" run -m "$MODEL" --ctx 1000000 -n 999999 --ignore-end "Once"
says err "interrupted: says what was done" '^libmoe: interrupted after [0-9]+ tokens'
says out "interrupted: the text so far is there" '^Once'
runs 130 "interrupted by SIGTERM, JSON" timeout --preserve-status -s TERM 2 \
    "$LIBMOE" run -m "$MODEL" --ctx 1000000 -n 999999 --ignore-end --json "Once"
json "interrupted: whole JSON" 'j["stop"] == "interrupted"'
{
    "$LIBMOE" run -m "$MODEL" --ctx 100000 -n 99999 --ignore-end "Once" 2>"$tmp/err"
    echo $? >"$tmp/status"
} | head -c 100 >"$tmp/out"
[ "$(cat "$tmp/status")" = 141 ] && pass "reader gone: status 141" || fail "reader gone: status 141"
silent err "reader gone: not a word"
if [ -w /dev/full ]; then
    "$LIBMOE" run -m "$MODEL" -n 3 x >/dev/full 2>"$tmp/err"
    [ $? = 1 ] && pass "disk full: status 1" || fail "disk full: status 1"
    says err "disk full: said so" 'No space left'
else
    skip "disk full" "there is no /dev/full"
fi

if [ -f "$DEMO" ]; then
    use_demo
    runs 0 "the bundled model is found" tool run --seed 1 -n 30 "Once upon a time"
    says out "the bundled model writes words" '^Once upon a time,? [a-z]+'
    tool run --seed 1 -n 30 --voice tales "Once upon a time" >"$tmp/tales"
    same "tales is the usual voice" "$tmp/out" "$tmp/tales"
    tool run --seed 1 -n 30 --voice c-code "Once upon a time" >"$tmp/code"
    if cmp -s "$tmp/out" "$tmp/code"; then fail "another voice: another text"; else pass \
        "another voice: another text"; fi
    runs 2 "unknown voice" tool run --voice tale x
    says err "unknown voice: the nearest is named" 'did you mean tales\?'
    says err "unknown voice: all are listed" 'shakespeare'
    runs 0 "no prompt: the voice begins" tool run --seed 3 -n 10 </dev/null
else
    skip "the bundled model" "examples/models/demo.gguf is not there"
fi
finish
