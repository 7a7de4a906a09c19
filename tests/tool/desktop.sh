# SPDX-License-Identifier: MIT
# The writing window, under a virtual display: scripts use it as a user would (examples/desktop/README.md).
. "$(dirname "$0")/common.sh"
model=$MODEL
[ -f "$DEMO" ] && model=$DEMO

give_up() { # REASON: the whole file is skipped
    echo "1..0 # SKIP $1"
    exit 0
}
[ -n "$DESKTOP" ] || give_up "GTK 4 is not installed (Debian: libgtk-4-dev)"
command -v Xvfb >/dev/null || give_up "Xvfb is not installed (Debian: xvfb)"

# A display, software rendering, and no files, settings or buses of the user's.
unset WAYLAND_DISPLAY LIBMOE_MODEL DBUS_SESSION_BUS_ADDRESS
export HOME="$tmp" XDG_CONFIG_HOME="$tmp/config" XDG_CACHE_HOME="$tmp/cache" XDG_DATA_HOME="$tmp/data"
export XDG_RUNTIME_DIR="$tmp" GDK_BACKEND=x11 GSK_RENDERER=cairo GTK_A11Y=none GSETTINGS_BACKEND=memory
export DBUS_SESSION_BUS_ADDRESS=disabled: NO_AT_BRIDGE=1

# In builds with a leak checker: fonts that fontconfig keeps to the end of the process are not ours.
printf 'leak:libfontconfig\nleak:libpango\nleak:libcairo\n' >"$tmp/leaks"
export LSAN_OPTIONS="suppressions=$tmp/leaks:print_suppressions=0"

DISPLAY='' runs 2 "without a display" "$DESKTOP" "$model"
says err "without a display: says so" 'no display'

Xvfb -displayfd 3 -screen 0 1400x1000x24 -nolisten tcp 3>"$tmp/display" 2>"$tmp/xvfb.log" &
xvfb=$!
trap 'kill $xvfb 2>/dev/null; wait $xvfb 2>/dev/null; rm -rf "$tmp"' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -s "$tmp/display" ] && break
    sleep 0.5
done
[ -s "$tmp/display" ] || give_up "Xvfb does not start: $(head -n 1 "$tmp/xvfb.log")"
DISPLAY=:$(cat "$tmp/display")
export DISPLAY

# script CODE NAME [OPTION...] <LINES: the window does what the lines say, ends with this status and does not
# complain. What it printed is in $tmp/out.
script() {
    code=$1 title=$2
    shift 2
    cat >"$tmp/script"
    runs "$code" "$title" "$DESKTOP" "$model" --script "$tmp/script" "$@"
    holds "$title: no complaints" awk '/CRITICAL|WARNING|ERROR/ && !/bus/ { print; bad = 1 }
        END { exit bad }' "$tmp/err"
}

script 0 "writing" --screenshot "$tmp/window.png" <<END
wait
print start
type Once upon a time there was
set length 40
set seed 7
action continue
print going
wait
print one
action undo
print undone
set seed 7
action continue
wait
print same
action again
wait
print again
type \ The end.
action undo
print later
type \ Or
action continue
wait
edit undo
print step
edit redo
print redone
END
says out "writing: the model is there" '^start model: .* experts in '
says out "writing: nothing on the page at first" '^start text: $'
says out "writing: the seed says what comes" '^one text: Once upon a time there was..'
says out "writing: the count" '^one state: Wrote [1-9][0-9]* tokens$'
says out "writing: tokens per second" '^one rate: [0-9.]+ tokens/s$'
says out "writing: taken back" '^undone text: Once upon a time there was$'
holds "writing: the same seed, the same words; another, others" awk '
    / text: / { name = $1; sub(/^[a-z]+ text: /, ""); text[name] = $0 }
    END { exit !(text["one"] == text["same"] && text["again"] != text["one"] &&
                 index(text["again"], "Once upon a time there was") == 1 &&
                 length(text["again"]) > length(text["undone"])) }' "$tmp/out"
says out "writing: what was written behind it stays" '^later text: Once upon a time there was The end\.$'
if [ -f "$DEMO" ]; then # GTK joins what has no spaces with the word before
    says out "writing: a continuation is one step for Ctrl+Z" \
        '^step text: Once upon a time there was Or The end\.$'
else
    skip "writing: a continuation is one step for Ctrl+Z" "no bundled model"
fi
says out "writing: and can be brought back" '^redone text: Once upon a time there was Or.+ The end\.$'
# A picture of the window, not of nothing: PNG, of some size, with many different rows of pixels.
cat >"$tmp/picture.py" <<'END'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
width, height = struct.unpack(">II", data[16:24])
at, pixels = 8, b""
while at < len(data):
    n, kind = struct.unpack(">I4s", data[at:at + 8])
    if kind == b"IDAT":
        pixels += data[at + 8:at + 8 + n]
    at += 12 + n
raw = zlib.decompress(pixels)
row = len(raw) // height
rows = {raw[i * row:(i + 1) * row] for i in range(height)}
print(width, height, len(rows))
assert width >= 900 and height >= 600 and len(rows) > 100
END
holds "writing: a screenshot" "$PYTHON" "$tmp/picture.py" "$tmp/window.png"

script 0 "stopping" <<END
wait
type The sea
set length 2000
action continue
tokens 5
action stop
wait
time stop
print stopped
END
says out "stopping: it stopped" '^stopped state: Stopped after [0-9]+ tokens$'
says out "stopping: no trouble" '^stopped trouble: none$'
holds "stopping: at once" awk '/^stop took/ { ms = $3 } END { exit !(ms != "" && ms < 2000) }' "$tmp/out"
holds "stopping: long before the end" awk '
    /state: Stopped/ { n = $5 } END { exit !(n >= 5 && n < 1500) }' "$tmp/out"

script 0 "steering" <<END
wait
press 0 1
press 1 2
press 1 2
press 2 3
press 2 3
press 2 3
wait
cell 0 1
cell 1 2
cell 2 3
save-steering $tmp/steer.json
type It was
set length 30
action continue
wait
cell 0 1
cell 1 2
print spoke
action reset
wait
cell 0 1
routing top1
wait
print top1
load-steering $tmp/steer.json
wait
cell 0 1
cell 1 2
free 0 1
wait
cell 0 1
print loaded
load-steering $tmp/none.json
wait
print none
END
holds "steering: a click bans, two force, three drop" awk '
    /^cell/ { n++; if (n <= 3) got = got $4 " " } END { exit got != "ban force drop " }' "$tmp/out"
holds "steering: who is banned is silent, who is forced speaks" awk '
    /^cell/ { n++; if (n == 4) ban = $5; if (n == 5) force = $5 }
    END { exit !(ban == 0.0 && force > 5) }' "$tmp/out"
holds "steering: put back, loaded, let go" awk '
    /^cell/ { n++; if (n > 5) got = got $4 " " } END { exit got != "free ban force free " }' "$tmp/out"
says out "steering: a rule" '^top1 routing: top1$'
says out "steering: the file brings its own" '^loaded routing: native$'
says out "steering: a file that is not there" '^none trouble: The steering cannot be loaded: .*none.json'
cp "$tmp/steer.json" "$tmp/out"
json "steering: the file" 'len(j["layers"]) == 3'

printf 'bad \377 text' >"$tmp/latin"
printf 'not a model' >"$tmp/bad.gguf"
script 0 "files" --text "$tmp/script" <<END
wait
print opened
open-text $tmp/latin
print latin
open-model $tmp/bad.gguf
wait
print bad
open-model $tmp/none.gguf
wait
print none
type  And
set length 5
action continue
wait
print goes on
save-text $tmp/saved
print saved
save-text $tmp/none/saved
print nowhere
action open-model
pause 300
action close
END
says out "files: a text" '^opened title: script$'
says out "files: not a text" '^latin trouble: .*UTF-8'
says out "files: not a model" '^bad trouble: The model cannot be opened: .*bad.gguf'
says out "files: no model" '^none trouble: The model cannot be opened: .*none.gguf'
says out "files: the model before still works" '^goes on state: (Wrote [1-5]|[1-5]) tokens'
says out "files: saved" '^saved title: saved$'
says out "files: not saved" '^nowhere trouble: Cannot save '
holds "files: what was saved" grep -q '^save-text' "$tmp/saved"

script 0 "another model while writing" <<END
wait
type The king
set length 2000
action continue
tokens 5
open-model $MODEL
wait
print other
set length 2000
set seed 3
action continue
wait
print long
END
says out "another model while writing: it is there" '^other model: .*qwen3moe'
says out "another model while writing: no trouble" '^long trouble: none$'
says out "another model while writing: on and on, past its context" '^long state: (Wrote 2000|[0-9]+) tokens'

# Stop at many moments; nothing of one continuation may reach the next.
{
    echo wait
    echo 'type It was a'
    echo 'set length 400'
    for ms in 0 1 2 3 5 8 13 21 34 55 89 144; do
        printf 'action continue\npause %s\ntry stop\nwait\n' "$ms"
    done
    printf 'print stops\nset length 25\naction continue\nwait\nprint whole\n'
} >"$tmp/stops"
script 0 "stopping at many moments" <"$tmp/stops"
says out "stopping at many moments: no trouble" '^stops trouble: none$'
says out "stopping at many moments: then a whole one" '^whole state: (Wrote 25|[0-9]+) tokens'

# Ends in the middle of things.
script 0 "closed while writing" <<END
wait
type Where
set length 2000
action continue
tokens 3
END
script 0 "closed while opening" <<END
pause 1
END
script 1 "a script that cannot be done" <<END
wait
nonsense
END
says err "a script that cannot be done: says where" 'line 2: cannot be done: nonsense'
finish
