# SPDX-License-Identifier: MIT
# The command-line tool of Windows, started by wine: what differs there. Names beyond ASCII are written and read
# by this system, so that they are right or not found.
. "$(dirname "$0")/../tool/common.sh"

model="$tmp/größe-мост-橋.gguf"
cp "$DATA/qwen3moe.gguf" "$model"
runs 0 "a model whose name is not ASCII" "$LIBMOE" run -m "$model" --seed 1 --max-tokens 5 "Once"
says out "the prompt and more" '^Once.'
runs 0 "text beyond ASCII" "$LIBMOE" run -m "$model" --seed 1 --max-tokens 1 "Grüße, мост 橋"
says out "comes back as it was" '^Grüße, мост 橋'
printf 'Grüße 橋\r\n' >"$tmp/länge.txt"
runs 0 "tokens of a file" "$LIBMOE" tokenize -m "$model" --ids -f "$tmp/länge.txt"
cp "$tmp/out" "$tmp/ids"
runs 0 "and back" "$LIBMOE" tokenize -m "$model" --decode -f "$tmp/ids"
says out "are the text" '^Grüße 橋'
runs 1 "no such file" "$LIBMOE" info "$tmp/fehlt-橋.gguf"
says err "is named" 'fehlt-橋.gguf: cannot open: No such file'
runs 1 "a directory" "$LIBMOE" info "$tmp"
says err "is no model" 'found a directory'
runs 0 "a smaller copy" "$LIBMOE" quantize --type q8_0 "$model" "$tmp/kleiner-橋.gguf"
holds "is there under its name" test -s "$tmp/kleiner-橋.gguf"
runs 0 "a list of routes" "$LIBMOE" trace -m "$model" -o "$tmp/wege-橋.moetrace" --text "Once upon"
holds "is there too" test -s "$tmp/wege-橋.moetrace"
runs 0 "the machine's limits" "$LIBMOE" bench -m "$model" --prompt 0 --generate 0 --threads 2 --limits
says out "are measured" '^2 +[0-9.]+ [MGT]iB/s +[a-z0-9]+ [0-9]+'
finish
