# SPDX-License-Identifier: MIT
"""Reads the public headers, which are deliberately plain: functions with @since, structs with members."""
import pathlib
import re

HEADERS = ["moe.h", "ext.h", "study.h"]


def _text(root, name):
    return (pathlib.Path(root) / "include" / "moe" / name).read_text(encoding="utf-8")


def functions(root):
    """{name: version of its @since}; a function without one is an error."""
    found = {}
    for header in HEADERS:
        text = _text(root, header)
        # a doc comment, then everything up to the semicolon
        for match in re.finditer(r"/\*\*((?:(?!\*/).)*)\*/\s*MOE_API\b([^;]*);", text, re.S):
            name = re.search(r"(\w+)\s*\(", match.group(2)).group(1)
            since = re.search(r"@since\s+(\d+\.\d+\.\d+)", match.group(1))
            if not since:
                raise SystemExit(f"{header}: {name} has no @since")
            found[name] = since.group(1)
        n_declared = len(re.findall(r"^MOE_API\b", text, re.M))
        n_found = sum(1 for name in found if re.search(rf"\b{name}\s*\(", text))
        if n_declared > n_found:
            raise SystemExit(f"{header}: {n_declared} functions are declared, {n_found} have a doc comment")
    return found


def _member(declaration):
    """Names declared by one member declaration."""
    pointer = re.match(r".*?\(\s*\*\s*(\w+)\s*\)\s*\(", declaration, re.S)
    if pointer:
        return [pointer.group(1)]
    return [re.search(r"(\w+)\s*(\[[^\]]*\]\s*)*$", part.strip()).group(1) for part in declaration.split(",")]


def structs(root):
    """[(struct, [member, ...]), ...] in the order of the headers; opaque ones are left out."""
    found = []
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", " ", _text(root, header), flags=re.S)
        for match in re.finditer(r"typedef struct (\w+) \{(.*?)\}\s*(\w+)\s*;", text, re.S):
            members = []
            for declaration in match.group(2).split(";"):
                if declaration.strip():
                    members += _member(declaration.strip())
            found.append((match.group(1), members))
    return found
