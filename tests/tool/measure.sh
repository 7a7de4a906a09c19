# SPDX-License-Identifier: MIT
# libmoe bench, perplexity and quantize.
. "$(dirname "$0")/common.sh"

runs 0 "bench --json" tool bench -m "$MODEL" --prompt 8,16 --generate 4 --contexts 0,8 --threads 1,2 -r 3 \
    --json
json "bench: every combination" 'len(j["results"]) == 12 and j["complete"] and
{(r["kind"], r["tokens"], r["context"], r["threads"]) for r in j["results"]} ==
{(k, n, c, t) for k, n in (("prefill", 8), ("prefill", 16), ("decode", 4)) for c in (0, 8)
for t in ((1,) if "threads: serial" in j["build"] else (1, 2))}'
json "bench: min <= median <= max" 'all(0 < r["min"] <= r["median"] <= r["max"] for r in j["results"])'
json "bench: bytes per second from the active bytes and the KV cache" \
    'all(1 <= r["bytes_per_s"] / (r["median"] * j["active_bytes"]) < 1.5
for r in j["results"] if r["kind"] == "decode") and 0 < j["active_bytes"] < j["bytes"] and
len({round(r["bytes_per_s"] / r["median"]) for r in j["results"] if r["kind"] == "decode"}) == 2'
json "bench: operations per second of a prompt" \
    'all(abs(r["ops_per_s"] / (2 * j["products_per_token"] * r["median"]) - 1) < 1e-6
for r in j["results"] if r["kind"] == "prefill") and 0 < j["products_per_token"] < j["bytes"]'
json "bench: stages are parts of the time" \
    'all(0 < sum(v for k, v in r["stage_ns"].items() if k != "selection") < 2e9 / r["min"] and
0 < r["stage_ns"]["selection"] < r["stage_ns"]["routers"] for r in j["results"])'
runs 0 "bench --csv --limits" tool bench -m "$MODEL" --prompt 8 --generate 4 -r 2 --csv --limits
holds "bench --csv: 18 columns each" awk -F, 'NF != 18 { bad = 1 } END { exit bad || NR < 4 }' "$tmp/out"
runs 0 "bench of the machine alone" tool bench -m "$MODEL" --prompt 0 --generate 0 --threads 1 --limits --json
json "bench of the machine alone: possible figures" 'j["results"] == [] and j["complete"] and
[1e8 < r["read_bytes_per_s"] < 1e12 and all(1e9 < x < 1e14 for x in r["int8_ops_per_s"].values())
for r in j["limits"]] == [True]'
runs 0 "bench of several sequences" tool bench -m "$MODEL" --prompt 0 --generate 6 --contexts 0,70 \
    --sequences 1,3,5 --threads 1 -r 1 --json
json "bench of several sequences: a row for each" '[(r["context"], r["sequences"]) for r in j["results"]] ==
[(c, n) for c in (0, 70) for n in (1, 3, 5)] and j["complete"] and
all(0 < r["bytes_per_s"] < 1e12 for r in j["results"])'
runs 2 "bench: too many sequences" tool bench -m "$MODEL" --generate 100000000 --sequences 64
runs 0 "bench as a table" tool bench -m "$MODEL" --prompt 8 --generate 4 -r 1 --stages --limits
says out "bench as a table: a row" '^decode +4 +0 '
says out "bench as a table: stages below it" '^ +experts +[0-9.]+ us +[0-9.]+%$'
says out "bench as a table: limits" '^[0-9]+ +[0-9.]+ [KMGT]iB/s '
runs 2 "bench of nothing" tool bench -m "$MODEL" --prompt 0 --generate 0
runs 2 "bench: bad list" tool bench -m "$MODEL" --prompt 8,,9
runs 130 "bench interrupted" timeout --preserve-status -s INT 2 "$LIBMOE" bench -m "$MODEL" --prompt 8 \
    --generate 20000 -r 100 --json
json "bench interrupted: whole JSON" 'not j["complete"]'

"$PYTHON" -c 'print(" ".join("The king had %d daughters and the sea was wide." % i for i in range(16)))' \
    >"$tmp/tales.txt"
runs 0 "perplexity" tool perplexity -m "$MODEL" --ctx 32 --kv f32 --json "$tmp/tales.txt"
cp "$tmp/out" "$tmp/reference"
json "perplexity: figures fit together" \
    'abs(__import__("math").exp(j["total"]["nll"]) / j["total"]["perplexity"] - 1) < 1e-6 and
j["total"]["tokens"] > 100 and 0 < j["total"]["nll_stderr"] < j["total"]["nll"] and j["complete"]'
json "perplexity: bits per byte" 'abs(j["total"]["bits_per_byte"] - j["total"]["nll"] * j["total"]["tokens"] /
__import__("math").log(2) / j["total"]["bytes"]) < 1e-6'
n=$(tool tokenize -m "$MODEL" --count -f "$tmp/tales.txt")
json "perplexity: each token scored once" "$n - 1 <= j['total']['tokens'] <= $n"
# The figures of tools/reference_numpy.py (float64, no cache), windowed and averaged as docs/tool.md says.
for expected in qwen3moe:22.51016232:0.31612853 olmoe:6.78649958:0.05384842; do
    figures=${expected#*:}
    runs 0 "perplexity of ${expected%%:*}" tool perplexity -m "$DATA/${expected%%:*}.gguf" --ctx 48 \
        --stride 20 --kv f32 --json "$tmp/tales.txt"
    json "perplexity of ${expected%%:*}: as another implementation has it" "j['total']['tokens'] == 645 and
        abs(j['total']['nll'] / ${figures%:*} - 1) < 1e-5 and
        abs(j['total']['nll_stderr'] / ${figures#*:} - 1) < 1e-4"
done
for how in "--batch 5" "--threads 1" "--no-mmap"; do
    # shellcheck disable=SC2086
    tool perplexity -m "$MODEL" --ctx 32 --kv f32 --json $how "$tmp/tales.txt" >"$tmp/out" 2>"$tmp/err"
    same "perplexity $how: the same to the digit" "$tmp/out" "$tmp/reference"
done
tool perplexity -m "$MODEL" --ctx 32 --kv f32 --json <"$tmp/tales.txt" | sed 's/standard input//' >"$tmp/out"
json "perplexity of standard input" \
    'j["total"] == __import__("json").load(open("'"$tmp/reference"'"))["total"]'
runs 0 "perplexity of two files" tool perplexity -m "$MODEL" --ctx 32 "$tmp/tales.txt" "$tmp/tales.txt"
says out "perplexity of two files: a sum" '^all '
runs 1 "perplexity of a file that does not exist" tool perplexity -m "$MODEL" "$tmp/none"
: >"$tmp/empty"
runs 1 "perplexity of nothing" tool perplexity -m "$MODEL" "$tmp/empty"
says err "perplexity of nothing: said so" 'too short'
runs 2 "perplexity: stride beyond the window" tool perplexity -m "$MODEL" --ctx 32 --stride 33 \
    "$tmp/tales.txt"
runs 1 "perplexity: no voice for the file" tool perplexity -m "$MODEL" --voice auto "$tmp/tales.txt"

runs 0 "quantize --list" tool quantize --list
says out "quantize --list: types and mixes" '^Q4_K_M$'
SOURCE=$DATA/qwen2moe.gguf # some of its rows are whole blocks, others must fall back to a wider type
tool perplexity -m "$SOURCE" --ctx 32 --kv f32 --json "$tmp/tales.txt" >"$tmp/reference"
runs 0 "quantize" tool quantize --type q8_0 "$SOURCE" "$tmp/q8.gguf"
says err "quantize tells the sizes" 'q8.gguf: .* from '
silent out "quantize: nothing on stdout"
runs 0 "the copy can be read" tool info --json --tensors "$tmp/q8.gguf"
json "the copy has the type" 'any(t["type"] == "Q8_0" for t in j["tensors"])'
runs 0 "the copy can be measured" tool perplexity -m "$tmp/q8.gguf" --ctx 32 --kv f32 --json "$tmp/tales.txt"
json "the copy is nearly as good" \
    'abs(j["total"]["nll"] / __import__("json").load(open("'"$tmp/reference"'"))["total"]["nll"] - 1) < 0.05'
cp "$tmp/q8.gguf" "$tmp/before"
runs 1 "an existing output is refused" tool quantize --type Q8_0 "$SOURCE" "$tmp/q8.gguf"
says err "an existing output: the way out is told" '--force'
same "an existing output is left alone" "$tmp/q8.gguf" "$tmp/before"
runs 0 "--force replaces it" tool quantize --type Q8_0 --force -q "$SOURCE" "$tmp/q8.gguf"
silent err "--quiet: not a word"
same "the same input gives the same file" "$tmp/q8.gguf" "$tmp/before"
runs 0 "rules" tool quantize --type Q8_0 --rule '*_exps.weight=F16' --rule 'token_embd.weight=F32' "$SOURCE" \
    "$tmp/r.gguf"
runs 0 "rules: the copy" tool info --json --tensors "$tmp/r.gguf"
json "rules: they were followed" \
    'all(t["type"] == "F16" for t in j["tensors"] if t["name"].endswith("_exps.weight")) and
[t["type"] for t in j["tensors"] if t["name"] == "token_embd.weight"] == ["F32"]'
runs 1 "a bad rule" tool quantize --rule 'x=Q99' "$SOURCE" "$tmp/bad.gguf"
runs 2 "a bad type" tool quantize --type Q8_1 "$SOURCE" "$tmp/bad.gguf"
says err "a bad type: the nearest is named" 'did you mean Q8_0\?'
runs 2 "input and output the same" tool quantize --force "$tmp/q8.gguf" "$tmp/q8.gguf"
runs 2 "one argument" tool quantize "$SOURCE"
runs 1 "output in a folder that does not exist" tool quantize "$SOURCE" "$tmp/none/x.gguf"
runs 1 "input that is no model" tool quantize "$tmp/tales.txt" "$tmp/bad.gguf"
holds "failures leave nothing behind" sh -c "! ls $tmp/bad.gguf* $tmp/.bad* 2>/dev/null"

if [ -f "$DEMO" ]; then
    # The copy takes a fraction of a second: try until a signal comes in the midst of it.
    for delay in 0.01 0.02 0.03 0.05 0.08 0.12 0.2 0.4; do
        rm -f "$tmp/demo.gguf"
        "$LIBMOE" quantize --type Q8_0 "$DEMO" "$tmp/demo.gguf" >"$tmp/out" 2>"$tmp/err" &
        sleep $delay
        kill -TERM $! 2>/dev/null
        wait $!
        status=$?
        [ $status != 130 ] || break
    done
    if [ $status = 130 ]; then
        holds "interrupted: nothing left behind" sh -c "! ls $tmp/demo.gguf* $tmp/.demo* 2>/dev/null"
        says err "interrupted: said so" 'interrupted; .* was not written'
    else
        skip "interrupted: nothing left behind" "the copy was always faster than the signal"
    fi
else
    skip "the bundled model" "examples/models/demo.gguf is not there"
fi
finish
