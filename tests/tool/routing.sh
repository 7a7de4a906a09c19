# SPDX-License-Identifier: MIT
# Routing options: rules for all layers and by file, edits of experts, steering files, contrastive decoding.
. "$(dirname "$0")/common.sh"

run() { tool run -m "$MODEL" --seed 5 -n 12 --ignore-end --json "$@" "Once upon a time"; }
# The text that the options make, without what differs from run to run.
text_of() { run "$@" 2>"$tmp/err" | grep -E '"(text|tokens|stop)"'; }
# Records what the options do to the routers: $tmp/out is JSON lines.
trace() { runs 0 "trace $*" tool trace -m "$MODEL" --text "The king had a daughter." --weights -o - "$@"; }
# lines NAME EXPRESSION over `t`, the list of tokens of the last trace: true.
lines() {
    if "$PYTHON" -c 'import json, sys
t = [json.loads(l) for l in open(sys.argv[1])]
sys.exit(0 if len(t) > 5 and eval("(" + sys.argv[2] + ")") else 1)' "$tmp/out" "$2" >"$tmp/log" 2>&1; then
        pass "$1"
    else
        fail "$1"
        echo "# not true: $2"
        tail -n 3 "$tmp/log" | awk '{ print "# " $0 }'
    fi
}
other() {
    if cmp -s "$2" "$3"; then fail "$1"; else pass "$1"; fi
}

text_of >"$tmp/plain"
[ -s "$tmp/plain" ] && pass "the text without options" || fail "the text without options"
text_of --route native >"$tmp/text"
same "--route native changes nothing" "$tmp/text" "$tmp/plain"
text_of --route topk:k=1 >"$tmp/one"
other "--route topk:k=1 changes the text" "$tmp/one" "$tmp/plain"
for how in "--threads 1" "--batch 3" "--resident"; do
    # shellcheck disable=SC2086
    text_of --route topk:k=1 $how >"$tmp/text"
    same "--route topk:k=1 $how: same text" "$tmp/text" "$tmp/one"
done
runs 0 "info --policies" tool info --policies "$MODEL"
says out "info --policies has the rules" '^topp +the best ones until'
runs 0 "info --policies --json" tool info --policies --json "$MODEL"
json "info --policies --json" '"topk" in j["policies"] and "native" in j["policies"]'
cp "$tmp/out" "$tmp/policies"
"$PYTHON" -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))["policies"]))' "$tmp/policies" \
    >"$tmp/names"
holds "there are many" test "$(grep -c '' "$tmp/names")" -gt 10

trace
lines "as the file says: three experts" 'all(len(l) == 3 for x in t for l in x["layers"])'
trace --route topk:k=5
lines "topk:k=5: five experts" 'all(len(l) == 5 for x in t for l in x["layers"])'
trace --route all
lines "all: every expert" 'all(sorted(l) == list(range(8)) for x in t for l in x["layers"])'
runs 1 "an unknown rule" tool run -m "$MODEL" --route topq:k=1 x
says err "an unknown rule: the known ones are named" '^libmoe: --route topq:k=1: .*topp'
silent out "an unknown rule: nothing on stdout"
runs 1 "a rule out of range" tool run -m "$MODEL" --route topk:k=99 x
runs 1 "a rule without its key" tool run -m "$MODEL" --route topp x
for c in run chat perplexity bench trace stats steer; do
    runs 0 "$c --help" tool $c --help
    says out "$c has --route" '  --route RULE'
    says out "$c has --steer" '  --steer FILE'
done

cat >"$tmp/rules" <<'T'
# the first layers with one expert, the last as it is
0-1: topk:k=1   # one

  2 : native
T
trace --route-file "$tmp/rules"
lines "--route-file: each layer as its line says" '[len(l) for l in t[3]["layers"]] == [1, 1, 3]'
printf '*: topk:k=2\n1,2: topk:k=4' >"$tmp/rules"
trace --route topk:k=1 --route-file "$tmp/rules"
lines "--route-file: later lines and lists, after --route" '[len(l) for l in t[3]["layers"]] == [2, 4, 4]'
# bad NAME LINE PATTERN: a file with this third line is refused, and the message names the place.
bad() {
    printf '# comment\n0: native\n%s\n' "$2" >"$tmp/rules"
    runs 1 "--route-file: $1" tool run -m "$MODEL" --route-file "$tmp/rules" x
    says err "--route-file: $1: said where" "^libmoe: .*/rules:3: $3"
    silent out "--route-file: $1: nothing on stdout"
}
bad "no colon" "topk" 'a line has the form'
bad "no layer" "first: native" '.first. is no layer'
bad "a range backwards" "2-1: native" '.2-1. is no layer'
bad "an unknown rule" "1: topq" 'layer 1: .*topq'
bad "a layer beyond the end" "7: native" 'layer 7: '
bad "a range beyond the end" "1-9: native" 'layer 3: '
runs 1 "--route-file that does not exist" tool run -m "$MODEL" --route-file "$tmp/none" x
runs 1 "--route-file with zero bytes" tool run -m "$MODEL" --route-file "$MODEL" x
printf '*: topk:k=1\n' >"$tmp/rules"
runs 0 "ranges and * pass over dense layers" tool bench -m "$DATA/qwen3moe-dense.gguf" --prompt 4 \
    --generate 2 -r 1 --route-file "$tmp/rules" --edit '0-2:1=gain:0.5'
printf '0: topk:k=1\n' >"$tmp/rules"
runs 1 "a dense layer by its number" tool bench -m "$DATA/qwen3moe-dense.gguf" --prompt 4 --generate 2 -r 1 \
    --route-file "$tmp/rules"
says err "a dense layer by its number: said so" 'rules:1: layer 0: .*(dense|no router)'

trace --disable '0:1,2,1-2:5'
lines "--disable: these experts are never chosen" 'not any(set(x["layers"][0]) & {1, 2} or
5 in x["layers"][1] or 5 in x["layers"][2] for x in t)'
lines "--disable: others step in" 'all(len(l) == 3 for x in t for l in x["layers"])'
trace --disable '*:1-7' --edit '*:4=free'
lines "--disable goes before --edit; fewer experts than k" 'all(set(l) <= {0, 4} and len(l) == 2
for x in t for l in x["layers"])'
trace --edit '*:0-3=drop'
lines "drop: chosen as before, without weight" 'all((w == 0) == (e < 4) for x in t
for es, ws in zip(x["layers"], x["weights"]) for e, w in zip(es, ws))'
trace --edit '1:6=force' --edit '0:0,1:1=gain:2'
lines "force: always chosen" 'all(6 in x["layers"][1] for x in t)'
text_of --edit '*:*=gain:0' >"$tmp/text"
other "gain:0 for all: another text" "$tmp/text" "$tmp/plain"
text_of --edit '*:*=gain:1' --edit '*:*=post:1' --edit '*:*=pre:1' --edit '*:*=logit:0' \
    --edit '*:*=select:0' --edit '*:*=free' >"$tmp/text"
same "neutral values change nothing" "$tmp/text" "$tmp/plain"
for wrong in 3 : 3: :3 3:x x:3 3-1:2 1:2: '1:2,' 1:-2 1:2-3-4 '1:**' '' 4294967296:1; do
    runs 2 "--disable '$wrong'" tool run -m "$MODEL" --disable "$wrong" x
done
says err "experts written wrongly: the form is told" 'LAYER:EXPERT'
for wrong in 1:2 1:2= 1:2=bann 1:2=gain 1:2=gain: 1:2=gain:x 1:2=gain:1x 1:2=ban:1 1:2=pre:inf x=drop; do
    runs 2 "--edit '$wrong'" tool run -m "$MODEL" --edit "$wrong" x
done
says err "edits written wrongly: the example is there" 'LAYER:EXPERT'
runs 1 "an expert beyond the end" tool run -m "$MODEL" --disable 0:8 x
runs 1 "a layer beyond the end" tool run -m "$MODEL" --disable 3:0 x
runs 1 "no expert left" tool run -m "$MODEL" --disable '0:*' x
says err "no expert left: said so" '^libmoe: --disable: layer 0: '
runs 0 "all banned, some freed again: what counts is the end" \
    tool run -m "$MODEL" --disable '*:*' --edit '*:0-3=free' -n 2 x
runs 1 "too many forced" tool run -m "$MODEL" --edit '0:0-3=force' x

set -- --route topk:k=2 --edit '0:1=drop' --edit '2:3=pre:64' --disable 1:7
text_of "$@" >"$tmp/bent"
runs 0 "--save-steering" tool run -m "$MODEL" -n 0 "$@" --save-steering "$tmp/s.json" x
text_of --steer "$tmp/s.json" >"$tmp/text"
same "--steer does what the options did" "$tmp/text" "$tmp/bent"
other "and that is something" "$tmp/bent" "$tmp/plain"
runs 0 "--steer and --save-steering" tool run -m "$MODEL" -n 0 --steer "$tmp/s.json" --save-steering \
    "$tmp/s2.json" x
same "a steering file comes back as it was" "$tmp/s.json" "$tmp/s2.json"
runs 1 "a steering file of another model" tool run -m "$DATA/olmoe.gguf" --steer "$tmp/s.json" x
says err "a steering file of another model: said so" '^libmoe: --steer .*s.json: .*model'
head -c 100 "$tmp/s.json" >"$tmp/cut.json"
runs 1 "a damaged steering file" tool run -m "$MODEL" --steer "$tmp/cut.json" \
    --save-steering "$tmp/none.json" x
runs 1 "a steering file that does not exist" tool run -m "$MODEL" --steer "$tmp/none" x
holds "a failure writes no steering file" test ! -e "$tmp/none.json"
runs 1 "--save-steering into a folder that does not exist" tool run -m "$MODEL" -n 0 --save-steering \
    "$tmp/none/s.json" x
"$PYTHON" -c 'print(" ".join("The king had %d daughters and the sea was wide." % i for i in range(6)))' \
    >"$tmp/tales.txt"
loss() {
    tool perplexity -m "$MODEL" --ctx 32 --kv f32 --json "$@" "$tmp/tales.txt" 2>"$tmp/err" | grep '"nll"'
}
loss >"$tmp/plain"
loss --route native >"$tmp/text"
same "perplexity --route native: the same" "$tmp/text" "$tmp/plain"
loss --steer "$tmp/s.json" >"$tmp/text"
other "perplexity --steer: another loss" "$tmp/text" "$tmp/plain"
[ "$(grep -c nll "$tmp/text")" = 2 ] && pass "perplexity --steer: a loss" || fail "perplexity --steer: a loss"

runs 0 "greedy" tool run -m "$MODEL" --temp 0 -n 16 "The king"
cp "$tmp/out" "$tmp/greedy"
runs 0 "--contrast with the same routing" tool run -m "$MODEL" --temp 0 -n 16 --contrast native "The king"
same "--contrast with the same routing: the same text" "$tmp/out" "$tmp/greedy"
runs 0 "--contrast of no strength" tool run -m "$MODEL" --temp 0 -n 16 --contrast topk:k=1 --contrast-beta 0 \
    "The king"
same "--contrast of no strength: the same text" "$tmp/out" "$tmp/greedy"
runs 0 "--contrast" tool run -m "$MODEL" --temp 0 -n 16 --contrast ranks:ids=1 --contrast-beta 5 \
    --contrast-alpha 0.001 "The king"
other "--contrast: another text" "$tmp/out" "$tmp/greedy"
cp "$tmp/out" "$tmp/contrast"
runs 0 "--contrast, one thread" tool run -m "$MODEL" --temp 0 -n 16 --contrast ranks:ids=1 --contrast-beta 5 \
    --contrast-alpha 0.001 -t 1 "The king"
same "--contrast: the same for any number of threads" "$tmp/out" "$tmp/contrast"
runs 1 "--contrast of an unknown rule" tool run -m "$MODEL" --contrast weak x
says err "--contrast of an unknown rule: said so" '^libmoe: --contrast weak: '
runs 2 "--contrast-alpha out of range" tool run -m "$MODEL" --contrast native --contrast-alpha 2 x
runs 130 "--contrast interrupted" timeout --preserve-status -s INT 2 "$LIBMOE" run -m "$MODEL" --ctx 100000 \
    -n 99999 --ignore-end --contrast topk:k=1 "Once"
talk() { printf 'One\nTwo\n' | tool chat -m "$MODEL" --temp 0 -n 6 "$@"; }
runs 0 "chat" talk
cp "$tmp/out" "$tmp/first"
runs 0 "chat --contrast with the same routing" talk --contrast native
same "chat --contrast with the same routing: the same text" "$tmp/out" "$tmp/first"
runs 0 "chat --route" talk --route topk:k=1
other "chat --route: another text" "$tmp/out" "$tmp/first"
finish
