# SPDX-License-Identifier: MIT
# libmoe trace, stats and steer: records and their forms, tables, the report, finding experts.
. "$(dirname "$0")/common.sh"

py() { "$PYTHON" -c "$@"; }
trace() { tool trace -m "$MODEL" "$@"; }
stats() { tool stats -m "$MODEL" "$@"; }
steer() { tool steer -m "$MODEL" "$@"; }
T=$tmp/tales.txt C=$tmp/code.txt
py 'print(" ".join("The king had %d daughters and the sea was wide." % i for i in range(16)))' >"$T"
py 'print("\n".join("int f%d(void) { return %d; }" % (i, i * i) for i in range(30)))' >"$C"

# ---------------------------------------------------------------------------------------------------- trace
runs 0 "trace: analysis of a file" trace "$T"
says out "trace: what it is" '^[0-9]+ tokens of [0-9]+ requests?, 3 layers of 8 experts, 3.00 for a token'
says out "trace: caches" '^ +8 100.0 % +[0-9.]+ %'
runs 0 "trace --json" trace --json "$T" --text "One more."
json "trace --json: every expert of 3 of 8" 'j["mean_k"] == 3 and j["layers"] == 3 and
abs(j["reuse_by_chance"] - 3 / 8) < 1e-4 and len(j["reuse"]) == 3 and j["requests"] >= 2'
json "trace --json: the optimum is never worse" 'all(o >= l - 1e-9 and o >= f - 1e-9 for c in
(j["layer_cache"], j["shared_cache"]) for o, l, f in zip(c["belady"], c["lru"], c["lfu"]))'
json "trace --json: rates rise with the size" 'all(a <= b + 1e-9 for c in
(j["layer_cache"], j["shared_cache"]) for k in ("lru", "belady") for a, b in zip(c[k], c[k][1:])) and
j["layer_cache"]["capacity"][-1] == 8'
cp "$tmp/out" "$tmp/analysis"
runs 0 "trace -o" trace --json -o "$tmp/t.moetrace" --weights --logits "$T" \
    --text "One more."
silent out "trace -o: no analysis unless asked for"
says err "trace -o: what was written" 't.moetrace: [0-9]+ tokens'
runs 0 "trace --from" tool trace --from "$tmp/t.moetrace" --json
same "trace --from: the same analysis" "$tmp/out" "$tmp/analysis"
runs 0 "to JSON lines" tool trace --from "$tmp/t.moetrace" -o "$tmp/t.jsonl" -q
silent err "to JSON lines, quietly"
runs 0 "and back" tool trace --from "$tmp/t.jsonl" -o "$tmp/back.moetrace"
tool trace --from "$tmp/back.moetrace" -o "$tmp/back.jsonl" 2>"$tmp/err"
same "JSON lines, there and back" "$tmp/t.jsonl" "$tmp/back.jsonl"
tool trace --from "$tmp/back.moetrace" --json >"$tmp/out" 2>"$tmp/err"
same "there and back: the same analysis" "$tmp/out" "$tmp/analysis"
runs 0 "JSON lines to standard output" tool trace --from "$tmp/t.moetrace" -o -
same "JSON lines to standard output: the same" "$tmp/out" "$tmp/t.jsonl"
holds "JSON lines: all there" py 'import json, sys
t = [json.loads(l) for l in open(sys.argv[1])]
assert [x["tok"] for x in t] == list(range(len(t))) and t[0]["experts"] == 8
assert t[0]["model_layers"] == [0, 1, 2] and t[-1]["request"] == max(x["request"] for x in t) > 0
for x in t:
    assert [len(l) for l in x["layers"]] == [3, 3, 3] and [len(l) for l in x["logits"]] == [8, 8, 8]
    for ids, w, z in zip(x["layers"], x["weights"], x["logits"]):
        assert abs(sum(w) - 1) < 2e-3 and w == sorted(w, reverse=True)
        assert set(ids) <= set(sorted(range(8), key=lambda e: -z[e])[:4])' "$tmp/t.jsonl"
runs 0 "to CSV" tool trace --from "$tmp/t.moetrace" -o "$tmp/t.csv"
holds "CSV: a row for each token, layer and expert" py 'import csv, json, sys
rows = list(csv.DictReader(open(sys.argv[1]))); t = [json.loads(l) for l in open(sys.argv[2])]
assert len(rows) == 9 * len(t)
for r in rows:
    x = t[int(r["index"])]
    assert x["layers"][int(r["layer"])][int(r["rank"])] == int(r["expert"]) and x["token"] == int(r["token"])
    assert abs(x["weights"][int(r["layer"])][int(r["rank"])] - float(r["weight"])) < 1e-6' \
    "$tmp/t.csv" "$tmp/t.jsonl"
runs 0 "--format over the name" tool trace --from "$tmp/t.moetrace" -o "$tmp/x.csv" --format jsonl
same "--format over the name: JSON lines" "$tmp/x.csv" "$tmp/t.jsonl"
runs 0 "trace -n: tokens made are recorded" trace --text "The king" -n 10 --ignore-end --seed 3 \
    -o "$tmp/n.jsonl"
n=$(tool tokenize -m "$MODEL" --count "The king")
holds "trace -n: as many" test "$(grep -c '' "$tmp/n.jsonl")" = $((n + 9))
holds "trace -n: the same tokens as run" py 'import json, sys
t = [json.loads(l)["token"] for l in open(sys.argv[1])]; r = json.load(open(sys.argv[2]))
assert t[-9:] == r["tokens"][:9]' "$tmp/n.jsonl" /dev/stdin <<T
$(tool run -m "$MODEL" --json --ignore-end --seed 3 -n 10 "The king" 2>/dev/null)
T
trace --ctx 16 -o "$tmp/w.jsonl" "$T" 2>"$tmp/err"
holds "windows are requests" py 'import json, sys
t = [json.loads(l) for l in open(sys.argv[1])]
assert max(x["pos"] for x in t) == 15 and t[-1]["request"] == (len(t) - 1) // 16' "$tmp/w.jsonl"
trace -o - <"$T" >"$tmp/a" 2>"$tmp/err"
trace -o - "$T" -t 1 --batch 7 >"$tmp/b" 2>"$tmp/err"
same "the same for standard input, one thread and small batches" "$tmp/a" "$tmp/b"

# As other programs write it: no positions, no number of experts.
py 'import json
for i in range(40):
    note = {"a": [1, "x]}"], "b": None}
    print(json.dumps({"tok": i, "layers": [[3, 1], [i % 4, 7]], "note": note}))' >"$tmp/other.jsonl"
runs 0 "JSON lines of another program" tool trace --from "$tmp/other.jsonl" --json
json "constant routing is used again" 'j["reuse"][0] == 1 and abs(j["reuse"][1] - 0.5) < 1e-4 and
j["experts"] == 8'
json "its tokens" 'j["tokens"] == 40 and j["requests"] == 1 and j["mean_k"] == 2'
runs 0 "--experts" tool trace --from "$tmp/other.jsonl" --experts 64 --json
json "--experts: that many" 'j["experts"] == 64 and abs(j["reuse_by_chance"] - 2 / 64) < 1e-5'
runs 0 "the real trace's shape is printed" tool trace --from "$tmp/other.jsonl"
says out "as a table: per layer" 'layer   0 100.0 %'
runs 1 "--experts too few" tool trace --from "$tmp/other.jsonl" --experts 4
says err "--experts too few: said where" 'other.jsonl:1: .*not below'
# bad NAME LINE PATTERN: refused as the second line.
bad() {
    printf '{"layers": [[1, 2], [3]]}\n%s\n' "$2" >"$tmp/bad.jsonl"
    runs 1 "JSON lines: $1" tool trace --from "$tmp/bad.jsonl" -o "$tmp/bad.out"
    says err "JSON lines: $1: said where" "bad.jsonl:2: .*$3"
}
bad "no layers" '{"tok": 3}' 'no "layers"'
bad "no object" '[1]' 'something follows|no object'
bad "cut off" '{"layers": [[1, 2], [3' 'bracket'
bad "a word" '{"layers": [[1, x], [3]]}' 'number'
bad "half an expert" '{"layers": [[1, 2.5], [3]]}' 'expert'
bad "an expert below none" '{"layers": [[1, -2], [3]]}' 'expert'
bad "another number of layers" '{"layers": [[1, 2]]}' 'layers'
bad "weights of another shape" '{"layers": [[1, 2], [3]], "weights": [[1], [1]]}' 'shape'
bad "weights only here" '{"layers": [[1, 2], [3]], "weights": [[0.5, 0.5], [1]]}' 'weights'
bad "something behind" '{"layers": [[1, 2], [3]]} x' 'follows'
bad "nested too deep" "{\"layers\": [[1, 2], [3]], \"x\": $(py 'print("[" * 99 + "]" * 99)')}" 'deep'
holds "JSON lines: failures leave nothing behind" sh -c "! ls $tmp/bad.out* 2>/dev/null"
runs 1 "a file that is no trace" tool trace --from "$MODEL"
head -c 200 "$tmp/t.moetrace" >"$tmp/cut.moetrace"
runs 1 "a damaged trace" tool trace --from "$tmp/cut.moetrace"
: >"$tmp/empty"
runs 1 "an empty file is no trace" tool trace --from "$tmp/empty"
runs 1 "a text of nothing" trace "$tmp/empty"
runs 1 "a trace that does not exist" tool trace --from "$tmp/none"
for form in jsonl csv moetrace; do
    runs 1 "into a folder that does not exist, $form" tool trace --from "$tmp/t.moetrace" \
        -o "$tmp/none/t.$form"
done
runs 2 "--from and a text" tool trace --from "$tmp/t.moetrace" "$T"
runs 2 "--from and a model" tool trace --from "$tmp/t.moetrace" -m "$MODEL"
runs 2 "a binary trace to standard output" tool trace --from "$tmp/t.moetrace" -o - --format binary
runs 2 "trace and analysis to standard output" tool trace --from "$tmp/t.moetrace" -o - --analyse
runs 2 "--format without --output" tool trace --from "$tmp/t.moetrace" --format csv
runs 1 "trace of a text that does not exist" trace "$tmp/none" -o "$tmp/none.moetrace"
holds "and nothing was written" test ! -e "$tmp/none.moetrace"
if [ -w /dev/full ]; then
    runs 1 "trace: disk full" tool trace --from "$tmp/t.moetrace" -o /dev/full --format csv
    says err "trace: disk full: said so" 'No space left'
    holds "trace: a device stays what it is" test -c /dev/full
fi

# ---------------------------------------------------------------------------------------------------- stats
runs 0 "stats" stats "$T" "$C"
says out "stats: what it is" '^[0-9]+ tokens in 2 classes, 3 routers of 8 experts'
says out "stats: layers" '^    0 +[0-9]+ +3.00 +[0-9.]+ +[0-9.]+ '
says out "stats: classes" '^code +[0-9]+ +[0-9]:[0-9] [-0-9.]+'
runs 0 "stats --json" stats --outputs --json --save "$tmp/both.profile" "$T" \
    "$C"
cp "$tmp/out" "$tmp/both.json"
json "stats --json: counts add up" 'all(sum(l["count"]) == l["pairs"] == 3 * l["tokens"] and
l["tokens"] == j["tokens"] == sum(l["k"]) == l["k"][3] and
[sum(c) for c in zip(*l["class_count"])] == l["count"] and
sum(map(sum, l["together"])) == l["pairs"] for l in j["layers"]) and len(j["layers"]) == 3'
json "stats --json: classes" '[c["name"] for c in j["classes"]] == ["tales", "code"] and
sum(c["tokens"] for c in j["classes"]) == j["tokens"]'
json "stats --json: measures are possible" 'all(0 < l["entropy"] <= 3 and 1 / 8 <= l["top1"] < 1 and
1 - 1e-6 <= l["balance_global"] <= 8 and 0 <= l["mutual_info"] <= l["token_entropy"] + 1e-6 <= 3.001
for l in j["layers"])'
json "stats --json: outputs" 'all(min(l["norm"]) >= 0 and max(l["max"]) > 0 for l in j["layers"]) and
"super_experts" in j'
json "stats --json: with a trace" 'j["trace"]["tokens"] == j["tokens"] and len(j["trace"]["reuse"]) == 3'
holds "stats agrees with the trace" py 'import json, sys
s = json.load(open(sys.argv[1])); counts = [[0] * 8 for _ in range(3)]
for l in open(sys.argv[2]):
    for i, ids in enumerate(json.loads(l)["layers"]):
        for e in ids: counts[i][e] += 1
assert [l["class_count"][0] for l in s["layers"]] == counts' "$tmp/both.json" "$tmp/a"
stats --outputs --names tales,code --save "$tmp/a.profile" "$T" >"$tmp/out" 2>"$tmp/err"
says out "stats --names: a class without texts" '^code +0'
stats --outputs --names tales,code --load "$tmp/a.profile" --json "$C" >"$tmp/out" \
    2>"$tmp/err"
both="__import__('json').load(open('$tmp/both.json'))"
json "stats in two runs: the same counts" "all([l[k] for l in j['layers']] == [l[k] for l in $both['layers']]
for k in ('count', 'class_count', 'together'))"
runs 0 "stats of profile files alone" tool stats --load "$tmp/both.profile" --names tales,code
says out "stats of profile files: no model is needed" '^code +[0-9]+ '
runs 0 "two profiles" tool stats --load "$tmp/both.profile" --load "$tmp/both.profile" --json
json "two profiles: twice the tokens" "j['tokens'] == 2 * $both['tokens']"
json "two profiles: classes without names are numbered" 'j["classes"][0]["name"] == "class 0" and
j["classes"][1]["name"] == "class 1" and
j["model"] is None'
runs 2 "a file that --names lacks" stats --names tales "$C"
says err "a file that --names lacks: said so" 'has no class code'
runs 2 "more names than classes" tool stats --load "$tmp/both.profile" --names a,b,c
runs 2 "an empty name" tool stats --load "$tmp/both.profile" --names a,,c
runs 1 "a profile of another model" tool stats -m "$DATA/olmoe.gguf" --load "$tmp/both.profile" "$T" \
    "$C"
head -c 300 "$tmp/both.profile" >"$tmp/cut.profile"
runs 1 "a damaged profile" tool stats --load "$tmp/cut.profile"
runs 1 "a profile that does not exist" tool stats --load "$tmp/none"
runs 1 "profiles of different options" stats --load "$tmp/both.profile" "$T" "$C"
runs 1 "stats --save into a folder that does not exist" stats --save "$tmp/none/p" "$T"
runs 0 "stats with routing that leaves nobody out" stats --route all --json "$T"
json "stats --route all: every expert alike" 'all(set(l["count"]) == {l["tokens"]} and
abs(l["mean_k"] - 8) < 1e-9 for l in j["layers"])'
runs 0 "stats with dropped experts" stats --edit '*:0=drop' "$T"
says out "stats with dropped experts: counted" 'dropped [1-9][0-9]* of'

# The report: one file, data inside, nothing from elsewhere.
mv "$C" "$tmp/a <b> & 'c'.txt"
runs 0 "stats --html" stats --outputs --html "$tmp/r.html" "$T" "$tmp/a <b> & 'c'.txt"
says err "stats --html: said what to do with it" 'r.html: [0-9]+ bytes, to be opened in a browser'
holds "the report loads nothing" py 'import re, sys
t = open(sys.argv[1], encoding="utf-8").read()
assert not re.search(r"<link|<img|<iframe|<script[^>]+src|url\(|@import|fetch\(|XMLHttp|import\(", t), "loads"
assert set(re.findall(r"https?://[^\x22\x27 ]+", t)) <= {"http://www.w3.org/2000/svg"}' "$tmp/r.html"
holds "the report's data is that of --json" py 'import json, re, sys
t = open(sys.argv[1], encoding="utf-8").read()
d = re.search(r"<script type=.application/json. id=.data.>(.*?)</script>", t, re.S).group(1)
assert "<" not in d, "markup"
d = json.loads(d); j = json.load(open(sys.argv[2]))
assert [c["name"] for c in d["classes"]] == ["tales", "a <b> & \x27c\x27"]
for k in ("count", "together", "class_count", "entropy", "max"):
    assert [l[k] for l in d["layers"]] == [l[k] for l in j["layers"]], k' "$tmp/r.html" "$tmp/both.json"
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -n "$chromium" ]; then
    timeout 60 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$tmp/chromium" \
        --enable-logging=stderr --dump-dom "file://$tmp/r.html" >"$tmp/dom" 2>"$tmp/log"
    if [ -s "$tmp/dom" ]; then
        grep CONSOLE "$tmp/log" >"$tmp/err"
        cp "$tmp/dom" "$tmp/out"
        silent err "a browser has nothing to complain of"
        says out "a browser runs the page to its end" '<footer id="footer">Made by libmoe '
        holds "a browser draws the figures" test "$(grep -o '<canvas' "$tmp/dom" | wc -l)" -ge 4
    else
        skip "a browser runs the page to its end" "$chromium does not start here"
    fi
else
    skip "a browser runs the page to its end" "no Chromium is installed"
fi
runs 0 "stats --html -" stats --outputs --html - "$T" "$tmp/a <b> & 'c'.txt"
same "stats --html - is the same page" "$tmp/out" "$tmp/r.html"
runs 1 "stats --html into a folder that does not exist" stats --html "$tmp/none/r.html" "$T"
runs 2 "stats --html - --json" stats --html - --json "$T"
runs 1 "stats of a text that does not exist" stats --html "$tmp/n.html" "$tmp/none"
holds "failures leave no report behind" sh -c "! ls $tmp/n.html* $tmp/*.part 2>/dev/null"
mv "$tmp/a <b> & 'c'.txt" "$C"
py 'print("The sea was wide. " * 200000)' >"$tmp/long.txt"
runs 130 "stats interrupted" timeout --preserve-status -s INT 1 "$LIBMOE" stats -m "$MODEL" \
    --save "$tmp/i.profile" "$tmp/long.txt"
says err "stats interrupted: said so" '^libmoe: .*interrupted'
holds "stats interrupted: nothing left behind" test ! -e "$tmp/i.profile"

# ---------------------------------------------------------------------------------------------------- steer
runs 0 "steer" steer "$C" --against "$T" --top 4 --set drop -o "$tmp/s.json"
says out "steer: a table" '^   1  [0-2]:[0-7] '
says err "steer: what was written" 's.json: 4 experts set to drop'
if [ -w /dev/full ]; then # the note on stderr flushes what stands before it
    steer "$C" --against "$T" --top 4 -o "$tmp/full.json" >/dev/full 2>"$tmp/err"
    code=$?
    : >"$tmp/out"
    holds "steer: disk full" test $code = 1
    says err "steer: disk full, message" 'cannot write the output: No space left'
else
    skip "steer: disk full" "there is no /dev/full"
fi
steer "$C" --against "$T" --top 4 --json >"$tmp/out" 2>"$tmp/err"
json "steer --json: best first" 'len(j["experts"]) == 4 and j["by"] == "rate" and
[e["value"] for e in j["experts"]] == sorted((e["value"] for e in j["experts"]), reverse=True)'
json "steer --json: the value is the difference of rates" 'all(abs(e["value"] -
(e["per_token"] - e["per_token_elsewhere"])) < 1e-6 for e in j["experts"])'
holds "the steering file names these experts" py 'import json, sys
s = json.load(open(sys.argv[1])); j = json.load(open(sys.argv[2]))
assert {(l["layer"], u["expert"], u["what"]) for l in s["layers"] for u in l["use"]} == \
       {(e["layer"], e["expert"], "drop") for e in j["experts"]}' "$tmp/s.json" "$tmp/out"
runs 0 "the steering file can be used" stats --steer "$tmp/s.json" --json "$C"
json "its experts are dropped" 'sum(l["dropped"] for l in j["layers"]) > 0'
for by in npmi diff rate; do
    runs 0 "steer --by $by" steer "$C" --against "$T" --by $by --json
    json "steer --by $by: said so" 'j["by"] == "'$by'" and len(j["experts"]) == 10'
done
runs 0 "steer --lines" steer "$C" --against "$T" --by diff --lines --top 3
runs 0 "steer --set pre:64" steer "$C" --against "$T" --top 2 -o "$tmp/p.json"
holds "steer --set pre:64: in the file" grep -q 64 "$tmp/p.json"
for seed in 1 2; do
    steer "$C" --against "$T" --top 4 --control $seed --set drop -o \
        "$tmp/c$seed.json" --json >"$tmp/out" 2>"$tmp/err"
    json "steer --control $seed: said so" 'j["control"] and len(j["experts"]) == 4'
done
holds "controls: others of the same layers, each time" py 'import json, sys
f, a, b = ({(l["layer"], u["expert"]) for l in json.load(open(p))["layers"] for u in l["use"]}
           for p in sys.argv[1:])
assert not f & a and not f & b and a != b and sorted(l for l, _ in f) == sorted(l for l, _ in a)' \
    "$tmp/s.json" "$tmp/c1.json" "$tmp/c2.json"
token=$(tool tokenize -m "$MODEL" --json "e" | py 'import json, sys; print(json.load(sys.stdin)["count"])')
if [ "$token" = 1 ]; then
    runs 0 "steer --mark" steer --mark e "$T" --json --top 5
    json "steer --mark: by mutual information" 'j["by"] == "npmi" and
all(-1 <= e["value"] <= 1 for e in j["experts"])'
    runs 1 "steer --mark of a token that is not there" steer --mark '~' "$T"
fi
runs 1 "steer --mark of several tokens" steer --mark "The king had" "$T"
says err "steer --mark of several tokens: said so" 'no single token'
runs 2 "steer without anything to compare" steer "$T"
runs 2 "steer without a text" steer --against "$T"
runs 2 "steer --mark and --against" steer --mark e --against "$T" "$C"
runs 2 "steer --set of nonsense" steer --set louder "$C" --against "$T"
runs 1 "steer: too many forced" steer --set force --top 24 "$C" --against "$T" \
    -o "$tmp/f.json"
says err "steer: too many forced: said where" '^libmoe: --set force for expert [0-9]:[0-9]: .*forced'
runs 1 "steer: a text that does not exist" steer "$tmp/none" --against "$T" -o "$tmp/f.json"
holds "failures write no steering file" test ! -e "$tmp/f.json"

if [ -f "$DEMO" ]; then
    use_demo
    held=$(dirname "$DEMO")/heldout
    for voice in german tales; do head -c 9000 "$held/$voice.txt" >"$tmp/$voice.txt"; done
    runs 0 "German in the bundled model" tool steer "$tmp/german.txt" --against "$T" --top 8 --set drop -o \
        "$tmp/german.json"
    tool steer "$tmp/german.txt" --against "$T" --top 8 --set drop --control 1 -o "$tmp/control.json" \
        >"$tmp/out" 2>"$tmp/err"
    for voice in german tales; do tail -c 6000 "$held/$voice.txt" >"$tmp/$voice.txt"; done
    for how in german control; do
        tool perplexity --steer "$tmp/$how.json" --json "$tmp/german.txt" "$T" >"$tmp/$how.out"
    done
    tool perplexity --json "$tmp/german.txt" "$T" >"$tmp/plain.out"
    holds "without its experts German is lost, not tales; without as many others neither" py 'import json, sys
plain, found, control = ([t["bits_per_byte"] for t in json.load(open(p))["texts"]] for p in sys.argv[1:])
assert found[0] > plain[0] + 0.3 and found[1] < plain[1] + 0.02, (plain, found)
assert control[0] < plain[0] + 0.1, (plain, control)' \
        "$tmp/plain.out" "$tmp/german.out" "$tmp/control.out"
else
    skip "German in the bundled model" "examples/models/demo.gguf is not there"
fi
finish
