# SPDX-License-Identifier: MIT
# The example programs do what they say.
. "$(dirname "$0")/common.sh"
LIBMOE=$EXAMPLES/01_generate
model=$MODEL
[ -f "$DEMO" ] && model=$DEMO

runs 0 "01_generate" "$EXAMPLES/01_generate" "$model" "Once upon a time" 20
says out "01_generate: the prompt and more" '^Once upon a time'
runs 1 "01_generate: no such model" "$EXAMPLES/01_generate" "$tmp/none.gguf" x
says err "01_generate: says why" 'none.gguf'
runs 2 "01_generate: usage" "$EXAMPLES/01_generate"
printf 'Hello\nAgain\n\n' >"$tmp/lines"
make_talker
runs 0 "02_chat" "$EXAMPLES/02_chat" "$tmp/chatml.gguf" <"$tmp/lines"
holds "02_chat: two answers" test "$(grep -c '' "$tmp/out")" -ge 2
runs 1 "02_chat: a model without a template" "$EXAMPLES/02_chat" "$MODEL"
runs 0 "10_save_restore" "$EXAMPLES/10_save_restore" "$model" "$tmp/state"
says out "10_save_restore: both go on alike" 'same 24 tokens'
runs 0 "00_hello" "$EXAMPLES/00_hello" "$model"
runs 0 "03_inspect" "$EXAMPLES/03_inspect" "$model"
says out "03_inspect: the tensors" 'token_embd.weight'
runs 0 "04_route_trace" "$EXAMPLES/04_route_trace" "$model" "The king and the"
says out "04_route_trace: counts of each layer" '^layer  1: '
runs 0 "09_batch_server" "$EXAMPLES/09_batch_server" "$model" 8
says out "09_batch_server: the company does not matter" 'says the same'
runs 0 "11_own_file" "$EXAMPLES/11_own_file" "$model"
says out "11_own_file: from the archive as from the file" 'the same logits'
finish
