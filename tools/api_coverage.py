#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/api-coverage.md: each function of the C interface, and where C tests, Python and Rust have it.

Usage: tools/api_coverage.py [--check]

In: bindings/api.json (the functions), tests/, the Python package and the safe Rust crate with their tests. A column is
filled by what stands in the code, comments and string literals left out:
- C: files under tests/ that call the function.
- Python: the method or function of the package, reachable by its users, whose code calls it, and a test file in which that
  name is used.
- Rust: the same for the crate `moe`: its tests/, the tests inside its sources and the examples of its documentation.
A private function counts through those that call it. --check writes nothing: it fails where a place is missing or where the
page is not what would be written. (Python's tests count the calls that really happen: test_zz_every_function.py.)"""
import ast
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api-coverage.md"
PYTHON = ROOT / "bindings" / "python"
RUST = ROOT / "bindings" / "rust" / "moe"
SHOWN = 2  # test files named in a column of C; more are counted

HEAD = """\
# Which function is tested where

Written by `tools/api_coverage.py`; a test fails while it is stale or has an empty place. Each public function of the C
interface, with the test files that call it (in `tests/`), its name in Python and in Rust, and a test that uses that name
(`doc`: an example in the documentation, which is run). For Python and Rust this is read from the sources: the first public
name whose code leads to the call. Python's tests also count the calls that happen while they run and miss none
(`test_zz_every_function.py`).

"""


# ------------------------------------------------------------------------------------------------------------ texts
def blank(match):
    """A space for each character, so that places stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def c_code(text):
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def rust_code(text):
    return re.sub(r'/\*.*?\*/|//[^\n]*|b?r#"[\s\S]*?"#|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\\n])\'', blank, text, flags=re.S)


def doc_examples(text):
    """The code of the examples that rustdoc runs in /// and //! comments."""
    out, inside = [], False
    for line in text.splitlines():
        found = re.match(r"\s*//[/!] ?(.*)", line)
        if not found:
            inside = False
        elif found.group(1).startswith("```"):
            words = found.group(1)[3:]
            inside = not inside and not re.search(r"text|ignore|no_run|compile_fail|toml|sh\b", words)
        elif inside:
            out.append(re.sub(r"^# ", "", found.group(1)))
    return rust_code("\n".join(out))


# --------------------------------------------------------------------------------------------------------------- C
def c_tests(names):
    found = {name: [] for name in names}
    for path in sorted((ROOT / "tests").rglob("*.[ch]")):
        if "-0.1.0" in str(path):
            continue
        called = set(re.findall(r"\b(moe_\w+)\s*\(", c_code(path.read_text(encoding="utf-8"))))
        for name in called & found.keys():
            found[name].append(str(path.relative_to(ROOT / "tests")))
    return found


# ---------------------------------------------------------------------------------------------------------- a graph
class Graph:
    """Functions of a binding: what calls what, and which C functions each calls. A node is (owner or "", name)."""

    def __init__(self):
        self.calls_c = {}  # C function -> [node]
        self.users = {}  # "name", ".name" or "Owner::name" as it stands in code -> {node that uses it}
        self.spelled = {}  # node -> the ways in which others use it
        self.public = set()

    def add(self, node, spelled, public):
        self.spelled[node] = spelled
        if public:
            self.public.add(node)

    def calls(self, name, node):
        places = self.calls_c.setdefault(name, [])
        if node not in places:
            places.append(node)

    def reach(self, c_name):
        """Public nodes that lead to a C function, nearest first."""
        level, seen, out = list(self.calls_c.get(c_name, [])), set(), []
        while level:
            following = []
            for node in level:
                if node not in seen:
                    seen.add(node)
                    out += [node] if node in self.public else []
                    for way in self.spelled[node]:
                        following += sorted(self.users.get(way, ()))
            level = following
        return out


#: what every failing call leads to: users see it as a member of errors
SEEN_AS = {"moe_last_error": ("Error", "message")}
#: public in Python though they start with an underscore
SPECIAL = {"__version__", "__init__", "__len__", "__iter__", "__getitem__", "__contains__", "__call__"}


def python_graph():
    graph = Graph()

    def walk(body, owner, node):
        shown = not node[1].startswith("_") or node[1] in SPECIAL
        graph.add(node, {f".{node[1]}" if owner else node[1]}, shown and not owner.startswith("_"))
        for part in ast.walk(body):
            if isinstance(part, ast.Attribute):
                if part.attr.startswith("moe_") and ast.unparse(part.value).split(".")[-1] in ("lib", "_lib"):
                    graph.calls(part.attr, node)
                else:
                    graph.users.setdefault(f".{part.attr}", set()).add(node)
            elif isinstance(part, ast.Name):
                graph.users.setdefault(part.id, set()).add(node)

    for path in sorted((PYTHON / "libmoe").glob("*.py")):
        if path.name == "_declarations.py":
            continue
        for part in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.ClassDef):
                for inner in part.body:
                    if isinstance(inner, ast.FunctionDef):
                        walk(inner, part.name, (part.name, inner.name))
            elif isinstance(part, ast.FunctionDef):
                walk(part, "", ("", part.name))
            elif isinstance(part, ast.AnnAssign):  # a value that is told at import
                walk(part, "", ("", ast.unparse(part.target)))
    return graph


def matching(text, opening):
    """Where the brace at `opening` is closed."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    return len(text)


def rust_owners(code):
    """(start, end, type, trait or "") of every impl block."""
    for block in re.finditer(r"^impl\b([^{;]*)\{", code, flags=re.M):
        head = re.sub(r"^<[^{]*?>\s+", "", block.group(1)).split(" where ")[0]
        trait, _, kind = head.rpartition(" for ")
        name = re.match(r"\s*(?:&\s*)?(\w+)", kind)
        if name:
            yield block.end() - 1, matching(code, block.end() - 1), name.group(1), trait.strip()


def rust_graph():
    graph = Graph()
    for path in sorted((RUST / "src").glob("*.rs")):
        code = rust_code(path.read_text(encoding="utf-8")).split("#[cfg(test)]")[0]
        owners = list(rust_owners(code))
        for found in re.finditer(r"(\bpub(?:\([^)]*\))?\s+)?(?:const\s+)?(?:unsafe\s+)?(?:extern\s+)?\bfn\s+(\w+)", code):
            opening = re.compile(r"[{;]").search(re.sub(r"\[[^\]]*\]", blank, code[found.end() :]))
            if not opening or opening.group() == ";":
                continue
            start = found.end() + opening.start()
            body = code[start : matching(code, start)]
            owner, trait = next(((o[2], o[3]) for o in owners if o[0] < found.start() < o[1]), ("", ""))
            node = (owner, found.group(2))
            spelled = {f"{owner}::{node[1]}"} if owner else {node[1]}
            if re.match(r"[^)]*\bself\b", code[found.end() : start]):
                spelled.add(f".{node[1]}")
            graph.add(node, spelled, (found.group(1) or "").strip() == "pub" or trait in ("Drop", "Clone", "Iterator"))
            for name in re.findall(r"\bsys::(moe_\w+)", body):
                graph.calls(name, node)
            for before, name in re.findall(r"(\b\w+::|\.)?\b(\w+)\b", body):
                before = f"{owner}::" if before == "Self::" else before
                graph.users.setdefault(f"{before}{name}", set()).add(node)
    return graph


# ----------------------------------------------------------------------------------------------------- names in tests
def python_tests():
    tests = {}
    for path in sorted((PYTHON / "tests").glob("test_*.py")):
        if path.name in ("test_types.py", "test_zz_every_function.py"):
            continue
        names = set()
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(part, ast.Attribute):
                names.add(part.attr)
            elif isinstance(part, ast.Name):
                names.add(part.id)
            elif isinstance(part, ast.arg):
                names.add(part.arg)
        tests[path.name] = names
    return tests


def rust_tests():
    tests = {}
    for path in sorted((RUST / "tests").rglob("*.rs")):
        tests[str(path.relative_to(RUST))] = set(re.findall(r"\w+", rust_code(path.read_text(encoding="utf-8"))))
    for path in sorted((RUST / "src").glob("*.rs")):
        whole = path.read_text(encoding="utf-8")
        inside = rust_code(whole).split("#[cfg(test)]")
        if len(inside) > 1:
            tests[f"src/{path.name}"] = set(re.findall(r"\w+", inside[1]))
        tests[f"doc of {path.name}"] = set(re.findall(r"\w+", doc_examples(whole)))
    return tests


def place(node, tests, dot):
    """How a node is written, and the test files that use it: they name it, and something called like its owner."""
    owner, name = node
    bare = re.sub(r"(Ref|Options)$", "", owner).lower()

    def has_owner(used):
        return any(bare in word.lower() for word in used)

    if owner and name in SPECIAL or dot == "::" and name in ("drop", "clone", "next"):
        written = owner if name in ("__init__", "drop", "clone") else f"{owner}{dot}{name}"
        return written, [file for file, used in tests.items() if has_owner(used)]
    written = f"{owner}{dot}{name}" if owner else name
    return written, [file for file, used in tests.items() if name in used and has_owner(used)]


def column(graph, tests, name, dot):
    """(the name, a test file) of the first public place that a test uses."""
    nodes = graph.reach(name)
    if nodes and name in SEEN_AS:
        nodes = [SEEN_AS[name]]
    for node in nodes:
        written, files = place(node, tests, dot)
        if files:
            return f"`{written}`", files[0]
    return (f"`{place(nodes[0], tests, dot)[0]}`", None) if nodes else (None, None)


def page():
    api = json.loads((ROOT / "bindings" / "api.json").read_text(encoding="utf-8"))
    functions = api["functions"]
    in_c = c_tests([f["name"] for f in functions])
    python, py_tests, rust, rs_tests = python_graph(), python_tests(), rust_graph(), rust_tests()
    lines = [HEAD + f"{len(functions)} functions."]
    missing = []
    group = None
    for function in functions:
        name = function["name"]
        if function["group"] != group:
            group = function["group"]
            lines += [f"\n## {group}\n\n| function | C test | Python | test | Rust | test |",
                      "| --- | --- | --- | --- | --- | --- |"]
        c_files = in_c[name]
        py, py_file = column(python, py_tests, name, ".")
        rs, rs_file = column(rust, rs_tests, name, "::")
        for what, there in (("C test", c_files), ("place in Python", py), ("test in Python", py_file),
                            ("place in Rust", rs), ("test in Rust", rs_file)):
            if not there:
                missing.append(f"{name}: no {what}")
        shown = ", ".join(c_files[:SHOWN]) + (f" and {len(c_files) - SHOWN} more" if len(c_files) > SHOWN else "")
        lines.append(f"| `{name}` | {shown or '-'} | {py or '-'} | {py_file or '-'} | {rs or '-'} | {rs_file or '-'} |")
    return "\n".join(lines) + "\n", missing


def main():
    text, missing = page()
    for line in missing:
        print(line)
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/api-coverage.md is stale: run tools/api_coverage.py")
            return 1
    else:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
