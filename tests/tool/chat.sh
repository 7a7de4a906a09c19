# SPDX-License-Identifier: MIT
# libmoe chat, from a pipe: templates, reuse of what was evaluated, saving and loading.
. "$(dirname "$0")/common.sh"
say() { printf '%s\n' "$@"; }

for f in qwen3moe qwen2moe mixtral olmoe granitemoe; do
    say "Hello" "And now?" | tool chat -m "$DATA/$f.gguf" --temp 0 -n 6 --ctx 512 >"$tmp/out" 2>"$tmp/err"
    [ $? = 0 ] && [ ! -s "$tmp/err" ] && pass "$f: two turns" || { fail "$f: two turns"; show; }
done

say "Once upon a time" "there was a king" | tool chat -m "$MODEL" --temp 0 -n 12 --stats >"$tmp/out" \
    2>"$tmp/err"
"$PYTHON" - "$tmp/err" <<'P' && pass "a turn evaluates only what is new" || { fail \
    "a turn evaluates only what is new"; show; }
import re, sys
turns = [[int(v) for v in re.findall(r"(\d+)", re.sub(r"\([^)]*\)", "", line))] for line in open(sys.argv[1])]
(read1, wrote1, all1), (read2, wrote2, all2) = turns
# Everything that is in the context was evaluated once, by a prefill or one by one.
sys.exit(not (read2 + wrote2 < all2 and read1 + wrote1 == all1 and all2 == all1 + read2 + wrote2))
P

say "Once upon a time" "there was a king" "And then" "he said" | tool chat -m "$MODEL" --temp 0 -n 60 --ctx 128 \
    --shift 8 --stats >"$tmp/out" 2>"$tmp/err"
"$PYTHON" - "$tmp/err" <<'P' && pass "--shift: turns go on, only what is new is read" || { fail \
    "--shift: turns go on, only what is new is read"; show; }
import re, sys
turns = [re.search(r"read (\d+) .*wrote (\d+) .* (\d+) in the context", line).groups() for line in open(sys.argv[1])]
read, wrote, all = (sum(int(t[i]) for t in turns) for i in range(3))
sys.exit(not (len(turns) == 4 and read + wrote > 200 and read < 60 and max(int(t[2]) for t in turns) <= 128))
P

say "Once upon a time" "/save $tmp/talk" "there was" | tool chat -m "$MODEL" --temp 0 -n 12 >"$tmp/whole" \
    2>"$tmp/err"
says err "/save says what it saved" 'saved 2 messages'
holds "/save leaves no part behind" test ! -e "$tmp/talk.part"
say "/load $tmp/talk" "there was" | tool chat -m "$MODEL" --temp 0 -n 12 >"$tmp/rest" 2>"$tmp/err"
says err "/load says what it loaded" 'loaded 2 messages'
tail -n +1 "$tmp/whole" | tail -c "$(wc -c <"$tmp/rest")" >"$tmp/tail"
same "/load goes on as if nothing had been" "$tmp/rest" "$tmp/tail"
say "other words" "/load $tmp/none" "/reset" "Once upon a time" | tool chat -m "$MODEL" --temp 0 -n 12 \
    >"$tmp/out" 2>"$tmp/err"
says err "/load of nothing: said so" 'cannot load'
head -n 1 "$tmp/whole" >"$tmp/head"
tail -n "$(wc -l <"$tmp/head")" "$tmp/out" | head -n 1 >"$tmp/anew"
say "Once upon a time" | tool chat -m "$MODEL" --temp 0 -n 12 >"$tmp/fresh" 2>"$tmp/err"
tail -c "$(wc -c <"$tmp/fresh")" "$tmp/out" >"$tmp/anew"
same "/reset begins anew" "$tmp/anew" "$tmp/fresh"
head -c 40 "$tmp/talk" >"$tmp/cut"
{ head -c 20 "$tmp/talk" && head -c 500 /dev/zero | tr '\0' '\377'; } >"$tmp/wild"
size=$(wc -c <"$tmp/talk")
head -c $((size - 9)) "$tmp/talk" >"$tmp/short"
for bad in cut wild short; do
    say "/load $tmp/$bad" "Once upon a time" | tool chat -m "$MODEL" --temp 0 -n 12 >"$tmp/out" 2>"$tmp/err"
    says err "a damaged file is refused ($bad)" 'cannot load'
    same "and changes nothing ($bad)" "$tmp/out" "$tmp/fresh"
done
say "/load $tmp/talk" | tool chat -m "$DATA/olmoe.gguf" >"$tmp/out" 2>"$tmp/err"
says err "a conversation with another model is refused" 'cannot load'
# With a chat template.
make_talker
talk() { tool chat -m "$tmp/chatml.gguf" --temp 0 -n 8 --ctx 1000 "$@"; }
runs 0 "info names the template" tool info "$tmp/chatml.gguf"
says out "info names the template" '^chat template +chatml'
say "Hello" "Again" | talk --system "Be kind." --stats >"$tmp/out" 2>"$tmp/err"
"$PYTHON" - "$tmp/err" <<'P' && pass "with a template, too, only what is new is evaluated" ||
import re, sys
found = [re.findall(r"read (\d+) .* (\d+) in the", line)[0] for line in open(sys.argv[1])]
(read1, all1), (read2, all2) = [[int(w) for w in pair] for pair in found]
sys.exit(not (0 < read2 < all2 - read1 + 8 and all2 > all1 >= read1))
P
    { fail "with a template, too, only what is new is evaluated"; show; }
say "Hello" "/save $tmp/talk2" "Again" | talk >"$tmp/whole" 2>"$tmp/err"
say "/load $tmp/talk2" "Again" | talk >"$tmp/rest" 2>"$tmp/err"
tail -c "$(wc -c <"$tmp/rest")" "$tmp/whole" >"$tmp/tail"
same "with a template: /load goes on as if nothing had been" "$tmp/rest" "$tmp/tail"

say "/help" "/rest" "/quit" "never read" | tool chat -m "$MODEL" >"$tmp/out" 2>"$tmp/err"
says out "/help lists the commands" '/save FILE'
says err "unknown command: the nearest is named" 'did you mean /reset\?'
[ "$(grep -c . "$tmp/out")" -le 7 ] && pass "/quit ends" || fail "/quit ends"
printf 'one\\\ntwo\n' | tool chat -m "$MODEL" --temp 0 -n 5 >"$tmp/out" 2>"$tmp/err"
[ $? = 0 ] && pass "a line that goes on" || fail "a line that goes on"
mkfifo "$tmp/fifo"
sleep 3 >"$tmp/fifo" &
runs 130 "SIGTERM ends the program" timeout --preserve-status -s TERM 1 "$LIBMOE" chat -m "$MODEL" \
    <"$tmp/fifo"
printf 'Once upon a time' | tool chat -m "$MODEL" --ctx 20 -n 100 >"$tmp/out" 2>"$tmp/err"
[ $? = 0 ] && pass "a full context is no failure" || fail "a full context is no failure"
finish
