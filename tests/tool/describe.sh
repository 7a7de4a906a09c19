# SPDX-License-Identifier: MIT
# libmoe info, plan and tokenize.
. "$(dirname "$0")/common.sh"

for f in "$DATA"/*.gguf; do
    golden=$(basename "$f" .gguf)
    runs 0 "info: $golden" tool info "$f"
    runs 0 "info --json: $golden" tool info --json --tensors --meta --layers --kernels "$f"
    json "info --json: $golden adds up" 'j["bytes"] == sum(t["bytes"] for t in j["tensors"]) and
len(j["layers"]) == j["layer_count"] and sum(l["kind"] == "moe" for l in j["layers"]) == j["moe_layers"] and
j["metadata"]["general.architecture"] == j["family"] and 0 < j["active_parameters"] <= j["parameters"]'
    runs 0 "plan: $golden" tool plan --json "$f"
    json "plan: $golden adds up" \
        'j["total"] == sum(j[k] for k in ("dense", "experts", "kv", "scratch", "overhead")) and
0 < j["private"] <= j["total"] and j["experts"] > 0'
done
runs 0 "info of a model with a dense layer" tool info "$DATA/qwen2moe-dense.gguf"
says out "info tells the router's recipe" \
    '^router +layers [0-9]+-[0-9]+: score softmax, select top-k of [0-9]+'
runs 0 "info --layers" tool info --layers "$DATA/qwen2moe-dense.gguf"
says out "info --layers: parameters, activation ratio, granularity" \
    '^ +1  moe +[0-9]+ .* [0-9.]+ k +[0-9.]+ k +[0-9.]+ % +[0-9.]+$'
says out "info --layers: a dense layer has no such thing" '^ +0  dense .* - +-$'
runs 0 "info --layers --json" tool info --layers --json "$MODEL"
json "info --layers: measures of the shape" 'all(0 < l["active_parameters"] < l["parameters"] and
abs(l["activation"] - 3 / 8) < 1e-6 and abs(l["granularity"] - 2 * j["dim"] / l["dim_ff"]) < 1e-6
for l in j["layers"])'
json "info: the recipe in full" 'j["routers"][0]["norm"] == "none" and j["routers"][0]["groups"] in (0, 1) and
not j["routers"][0]["on_input"]'
runs 0 "info --tensors" tool info --tensors "$MODEL"
says out "info --tensors names them" '^token_embd.weight +[A-Z0-9_]+ +[0-9]+ x [0-9]+ +[0-9]+$'
runs 0 "info --kernels" tool info --kernels "$MODEL"
says out "info --kernels names instruction sets" ' (ref|avx2|avx512[a-z_]*)$'
runs 0 "plan with a longer context" tool plan --ctx 64 --json "$MODEL"
cp "$tmp/out" "$tmp/short"
runs 0 "plan with f32" tool plan --ctx 64 --kv f32 --json "$MODEL"
"$PYTHON" -c \
    'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:]); sys.exit(b["kv"] < 1.9 * a["kv"])' \
    "$tmp/short" "$tmp/out" && pass "f32 takes about twice the KV cache" || { fail \
        "f32 takes about twice the KV cache"; show; }
runs 0 "plan as a table" tool plan "$MODEL"
says out "plan as a table: total" '^total +[0-9]+ '

cat >"$tmp/text" <<'T'
Once upon a time — naïve café, 東京, Москва, שלום, مرحبا, 👩‍👩‍👧‍👦 and   blanks	tab
    int main(void) { return 0; }  /* <|endoftext|> is text here */
T
printf 'broken \377\376 \303 \360\237 end' >>"$tmp/text"
for f in qwen3moe qwen2moe olmoe granitemoe; do
    tool tokenize -m "$DATA/$f.gguf" --ids -f "$tmp/text" >"$tmp/ids" 2>"$tmp/err"
    tool tokenize -m "$DATA/$f.gguf" --decode -f "$tmp/ids" >"$tmp/back" 2>>"$tmp/err"
    same "tokenize: $f, there and back to the byte" "$tmp/text" "$tmp/back"
done
runs 0 "tokenize --json" tool tokenize -m "$MODEL" --json -f "$tmp/text"
json "tokenize --json: the pieces make up the text" \
    'bytes(b for t in j["tokens"] for b in t["bytes"]) == open("'"$tmp/text"'", "rb").read() and
j["count"] == len(j["tokens"])'
cp "$tmp/out" "$tmp/tokens"
runs 0 "tokenize --count" tool tokenize -m "$MODEL" --count -f "$tmp/text"
"$PYTHON" -c \
    'import json, sys; sys.exit(json.load(open(sys.argv[1]))["count"] != int(open(sys.argv[2]).read()))' \
    "$tmp/tokens" "$tmp/out" && pass "tokenize --count is that number" || fail \
        "tokenize --count is that number"
runs 0 "tokenize as a table" tool tokenize -m "$MODEL" "a b"
says out "tokenize as a table: id and piece" '^ +[0-9]+  a'
runs 1 "tokenize --decode of a word" tool tokenize -m "$MODEL" --decode 1 two
says err "tokenize --decode of a word: said so" '.two. is no token id'
runs 1 "tokenize --decode beyond the vocabulary" tool tokenize -m "$MODEL" --decode 99999999
runs 2 "tokenize --ids --count" tool tokenize -m "$MODEL" --ids --count x
runs 0 "tokenize of nothing" tool tokenize -m "$MODEL" --count </dev/null
says out "tokenize of nothing: no tokens" '^0$'

if [ -f "$DEMO" ]; then
    use_demo
    runs 0 "info of the bundled model" tool info
    says out "info: its voices" '^voices .*tales \(default\).*verse'
    runs 0 "plan of the bundled model" tool plan --json
    json "plan: it is small" 'j["total"] < 64 << 20'
else
    skip "the bundled model" "examples/models/demo.gguf is not there"
fi
finish
