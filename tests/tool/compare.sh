# SPDX-License-Identifier: MIT
# tools/compare_peers: what the answers of other programs mean, and a whole comparison with programs that only pretend
# to be peers. The answers in peers/ were recorded from ik_llama.cpp 8337e4cd3; llama_bench.jsonl is made by hand with
# the fields that llama.cpp documents.
. "$(dirname "$0")/common.sh"
PEERS=$(cd "$(dirname "$0")/peers" && pwd)
TOOLS=$(cd "$(dirname "$0")/../../tools" && pwd)
export PYTHONDONTWRITEBYTECODE=1

# reads NAME PARSER FILE ROWS: the rows (work, tokens, depth, threads, samples) that a recorded answer has.
reads() {
    holds "$1" env "PYTHONPATH=$TOOLS" "$PYTHON" -c 'import sys, peer_programs
rows = [(r.work, r.tokens, r.depth, r.threads, r.samples)
        for r in getattr(peer_programs, sys.argv[1])(open(sys.argv[2]).read())]
print(rows)
sys.exit(rows != eval(sys.argv[3]))' "$2" "$PEERS/$3" "$4"
}
reads "JSON of ik_llama.cpp" parse_llama_bench ik_llama_bench.json '[("prefill", 16, 0, 1, [15872, 22172.9]),
("prefill", 32, 0, 1, [1679.1, 25078.8]), ("decode", 4, 0, 1, [6181.82, 342.533]),
("decode", 4, 64, 1, [5164.42, 2155.02])]'
reads "CSV of ik_llama.cpp: averages" parse_llama_bench ik_llama_bench.csv '[("prefill", 16, 0, 1, [7057.711985]),
("decode", 4, 0, 1, [3190.080143]), ("decode", 4, 64, 1, [6047.453416])]'
reads "JSON lines of llama.cpp, depth in its own field" parse_llama_bench llama_bench.jsonl \
    '[("prefill", 16, 0, 1, [30000, 30001]), ("decode", 4, 64, 1, [8000, 6000, 7000])]'
reads "JSON lines of llama-sweep-bench among its log" parse_sweep_bench ik_sweep_bench.jsonl \
    '[("decode", 8, 0, 1, [1396.160645]), ("decode", 8, 512, 1, [1177.682983])]'
reads "table of llama-sweep-bench" parse_sweep_bench ik_sweep_bench.txt '[("decode", 8, 0, None, [5726.56]),
("decode", 8, 128, None, [3066.31]), ("decode", 8, 256, None, [2353.63]), ("decode", 8, 384, None, [3348.68])]'

# pretend NAME FILE HELP: a program whose answer is a recorded one.
pretend() {
    mkdir -p "$tmp/$1"
    cat >"$tmp/$1/llama-bench" <<END
#!/bin/sh
case "\$*" in
--help) echo '$3' ;;
*) echo "\$*" >>"$tmp/$1/asked"; $2 ;;
esac
END
    chmod +x "$tmp/$1/llama-bench"
}
pretend ik "cat '$PEERS/ik_llama_bench.json'" '  -gp <pp,tg>
  -fa, --flash-attn <0|1>             (default: 1)
  -rtr, --run-time-repack <0|1>       (default: 0)'
pretend plain "cat '$PEERS/llama_bench.jsonl'" '  -d, --n-depth <n>                         (default: 0)
  -fa, --flash-attn <on|off|auto>           (default: auto)'
pretend slow 'sleep 600' ''
pretend broken 'echo no such model; exit 3' ''
compare() {
    "$PYTHON" "$TOOLS/compare_peers" -m "$MODEL" --libmoe "$LIBMOE" -t 1 -p 16 -g 4 -d 0,64 -q "$@"
}

runs 0 "compare_peers --help" "$PYTHON" "$TOOLS/compare_peers" --help
runs 0 "a comparison" compare --peer "ik=$tmp/ik/llama-bench" --peer "plain=$tmp/plain/llama-bench" --rounds 2 \
    --json "$tmp/result.json"
says out "a comparison: the best peer is marked" '^\| +\| \*\*plain\*\* \| 30000.5 \| 30000.0 \| 30001.0 \|'
says out "a comparison: the limits" '^Limits with 1 thread: [0-9.]+ GB/s read'
holds "peers are asked by turns, with and without repacking" sh -c "
    sed -n 1,4p '$tmp/ik/asked' | grep -c -e '-rtr 1' | grep -qx 2 &&
    grep -q -e '-gp 64,4' '$tmp/ik/asked' && grep -q -e '-n 4 -d 64' '$tmp/plain/asked'"
cp "$tmp/result.json" "$tmp/out"
json "a comparison: cells and settings" '[(c["work"], c["tokens"], c["depth"], [r["setting"] for r in c["results"]])
for c in j["cells"]] == [(*c, ["libmoe", "ik", "ik-rtr", "plain"])
for c in (("prefill", 16, 0), ("decode", 4, 0), ("decode", 4, 64))]'
json "a comparison: the best of each cell" \
    '[c["best_peer"] in b for c, b in zip(j["cells"], (["plain"], ["ik", "ik-rtr"], ["plain"]))] == [True] * 3'
json "a comparison: ratios" 'all(abs(c["results"][0]["ratio"] * m / c["results"][0]["median"] - 1) < 1e-9
for c, m in zip(j["cells"], (30000.5, 3262.1765, 7000)))'
json "a comparison: a round counts with its median" '[[round(x, 3) for x in r["rounds"]]
for r in j["cells"][2]["results"][1:]] == [[3659.72] * 2] * 2 + [[7000] * 2]'
json "a comparison: parts of the limits" 'all(r["limit"] > 0 for r in j["cells"][1]["results"][:3]) and
j["limits"][0]["read"] > 1e8'
json "a comparison: what a peer does not have" '"no such row in its output" in j["cells"][1]["results"][3]["failures"]'

runs 0 "load times" compare --peer "ik=$tmp/ik/llama-bench" -p 0 -g 0 --load both --no-limits --rounds 1 \
    --no-variants --json "$tmp/result.json"
cp "$tmp/result.json" "$tmp/out"
json "load times: in seconds" '[c["work"] for c in j["cells"]] == ["load warm", "load cold"] and
all(0 < r["median"] < 60 for c in j["cells"] for r in c["results"])'
runs 0 "with a busy neighbour" compare --no-path -p 16 -g 0 --busy 1 --no-limits --rounds 1 -r 1
says out "with a busy neighbour: said so" '^Other processes kept busy meanwhile: 1;'
says out "without peers no ratio" '^\| prefill 16, 1 thread \| libmoe \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \|  \|  \|  \|$'
runs 0 "peers that hang or fail are left out" compare --peer "slow=$tmp/slow/llama-bench" \
    --peer "broken=$tmp/broken/llama-bench" -d 0 -g 0 --no-limits --rounds 1 --timeout 10
says out "peers that hang: said so" '^\| +\| slow \| - .* not done in 10 s'
says out "peers that fail: said so" '^\| +\| broken \| - .* status 3: no such model'
runs 1 "a peer without a command" compare --peer ik
says err "a peer without a command: said so" 'not NAME=COMMAND'
finish
