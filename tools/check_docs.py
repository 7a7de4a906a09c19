#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks README.md and docs/: every block of C compiles, every relative link leads to a file, names of the interface
that stand there exist, and pages that promise to be complete have all constants of their kinds.

A block that contains `#include` or defines functions stands for itself. Any other is put into a function
that has the usual variables (model, session, sampler, tok, ids, ...). A block that follows a line
`<!-- from FILE -->` must stand in that file, line by line.

Usage: tools/check_docs.py [COMPILER WORD...]
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRELUDE = """\
#include <moe/ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
"""
VARIABLES = """\
extern int work(void);
extern moe_model *model; extern moe_session *session; extern moe_sampler *sampler;
extern const moe_tokenizer *tok; extern moe_router *router; extern moe_expert *expert;
extern const float *rows; extern size_t n_rows;
extern moe_token ids[256], id; extern size_t n, len;
extern const char *path, *prompt, *piece; extern void *my_state;
extern int observe(const moe_route_view *v, void *user);
int work(void)
{
"""


def blocks(text):
    """Yields (line, origin, code) of every block of C."""
    origin, code, start = None, None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if code is not None:
            if line.strip() == "```":
                yield start, origin, "\n".join(code) + "\n"
                origin, code = None, None
            else:
                code.append(line)
        elif line.strip() == "```c":
            code, start = [], number + 1
        elif match := re.fullmatch(r"<!-- from (\S+) -->", line.strip()):
            origin = match.group(1)
        elif line.strip():
            origin = None


def program(code):
    if "#include" in code:
        return code
    if re.search(r"^(static|int|void) [^;=]*\)\n\{", code, re.M):
        return PRELUDE + code
    return PRELUDE + VARIABLES + code + "    return 0;\n}\n"


def flat(code):
    """Without indentation."""
    return "\n".join(line.strip() for line in code.strip().splitlines())


def check_block(compiler, where, origin, code):
    if origin:
        if flat(code) not in flat((ROOT / origin).read_text(encoding="utf-8")):
            return [f"{where}: this is not what stands in {origin}"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "block.c"
        path.write_text(program(code), encoding="utf-8")
        run = subprocess.run([*compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror",
                              "-Wno-unused", "-fsyntax-only", f"-I{ROOT / 'include'}", str(path)],
                             capture_output=True, text=True, check=False)
    return [f"{where}: does not compile\n{run.stderr}"] if run.returncode else []


def check_links(path, text):
    text = re.sub(r"```.*?```|^    .*?$", "", text, flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not (path.parent / target).exists():
            yield f"{path.relative_to(ROOT)}: there is no {target}"


# Pages that tell every constant that begins so.
COMPLETE = {
    "docs/routing.md": ["SCORE", "SELECT", "WEIGHT", "NORM", "GROUP", "ROUTE", "CAPACITY", "ROUTER", "USE", "EDIT",
                        "OVERRIDE", "POLICY"],
    "docs/experts.md": ["SOURCE", "AT"],
    "docs/several-sessions.md": ["MIX"],
    "docs/errors.md": ["E"],
}


def names_of(folder, patterns):
    text = "\n".join(path.read_text(encoding="utf-8") for pattern in patterns
                     for path in sorted((ROOT / folder).rglob(pattern)))
    return set(re.findall(r"\bmoe_\w+|\bMOE_\w+", text))


def check_names(path, text, known):
    """Names in backticks and calls; one that ends in an underscore or a star stands for all that begin so."""
    found = re.findall(r"\b(MOE_[A-Z0-9_]+|moe_[a-z0-9_]+(?=\(|\*|`))(?!\.)", text)
    for name in sorted(set(found)):
        if name not in known and not (name.endswith("_") and any(k.startswith(name) for k in known)):
            yield f"{path.relative_to(ROOT)}: there is no {name}"


def check_complete():
    defined = "".join((ROOT / "include/moe" / name).read_text(encoding="utf-8") for name in ("moe.h", "ext.h"))
    for page, kinds in COMPLETE.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for kind in kinds:
            for name in re.findall(rf"^#define (MOE_{kind}_\w+) ", defined, re.M):
                if not name.endswith("_INIT") and not re.search(rf"\b{name}\b", text):
                    yield f"{page}: {name} is missing"


def main():
    compiler = sys.argv[1:] or ["cc"]
    paths = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
    known = names_of("include", ["*.h"]) | names_of("src", ["*.c", "*.h", "*.map"])
    faults, n_blocks = [*check_complete()], 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        faults += check_links(path, text)
        faults += check_names(path, text, known)
        for line, origin, code in blocks(text):
            faults += check_block(compiler, f"{path.relative_to(ROOT)}:{line}", origin, code)
            n_blocks += 1
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(paths)} texts, {n_blocks} blocks of C, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
