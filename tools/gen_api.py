#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads the public headers, which are deliberately plain, and writes what the bindings are made of.

    tools/gen_api.py            writes bindings/api.json, the Python declarations and the Rust ones
    tools/gen_api.py --check    writes nothing; fails if one of them is not what the headers say

In: include/moe/{version,moe,ext,study}.h. Out: see OUTPUTS. Everything that stands in a header must be understood:
text that fits no rule below is an error, so that nothing can be left out silently. A struct's layout is calculated
for 64-bit pointers and natural alignment (tests/abi compares it with what compilers do).

Types in api.json: {"name": "uint32_t"}, {"pointer": TYPE}, {"array": TYPE, "n": 4},
{"function": {"result": TYPE, "args": [...]}}; "const": true where it stands on that level.
"""
import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = ["moe.h", "ext.h", "study.h"]
OUTPUTS = {
    "bindings/api.json": lambda api: json.dumps(api, indent=1, ensure_ascii=False) + "\n",
    "bindings/python/libmoe/_declarations.py": lambda api: python_text(api),
    "bindings/rust/moe-sys/src/bindings.rs": lambda api: rust_text(api),
}


# ------------------------------------------------------------------------------------------------ C declarations
def tokens_of(text):
    return re.findall(r"\w+|\.\.\.|[^\s\w]", text)


class Declaration:
    """A recursive-descent parser of one declaration: `const char *name`, `int (*fn)(void *user)`, `uint64_t d[4]`."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted=None):
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise SystemExit(f"cannot read declaration: {' '.join(self.tokens)} (at {token!r})")
        self.at += 1
        return token

    def specifiers(self):
        const, name = False, None
        while name is None:
            token = self.take()
            if token == "const":
                const = True
            elif token == "struct":
                name = self.take()
            else:
                name = token
        if self.peek() == "const":
            const = bool(self.take())
        return {"name": name, **({"const": True} if const else {})}

    def declarator(self, base):
        """Returns (name or None, type): pointers bind weaker than what follows the name."""
        while self.peek() == "*":
            self.take()
            base = {"pointer": base}
            if self.peek() == "const":
                self.take()
                base["const"] = True
        if self.peek() == "(" and self.tokens[self.at + 1] == "*":
            self.take("(")
            depth, start = 1, self.at
            while depth:
                depth += {"(": 1, ")": -1}.get(self.take(), 0)
            inner = Declaration(self.tokens[start : self.at - 1])
            return inner.declarator(self.suffix(base))
        name = self.take() if re.match(r"[A-Za-z_]\w*$", self.peek()) else None
        return name, self.suffix(base)

    def suffix(self, base):
        if self.peek() == "(":
            self.take("(")
            args = self.arguments()
            return {"function": {"result": base, "args": args}}
        sizes = []
        while self.peek() == "[":
            self.take("[")
            sizes.append(int(self.take()))
            self.take("]")
        for size in reversed(sizes):
            base = {"array": base, "n": size}
        return base

    def arguments(self):
        if self.peek() == "void" and self.tokens[self.at + 1] == ")":
            self.take()
            self.take(")")
            return []
        args = []
        while True:
            name, kind = self.declarator(self.specifiers())
            args.append({"name": name or f"arg{len(args)}", "type": kind})
            if self.take() == ")":
                return args

    def whole(self):
        """All declared names of `type a, *b`."""
        base = self.specifiers()
        found = [self.declarator(base)]
        while self.peek() == ",":
            self.take()
            found.append(self.declarator(base))
        if self.peek():
            raise SystemExit(f"cannot read declaration: {' '.join(self.tokens)} (left over: {self.peek()!r})")
        return found


# -------------------------------------------------------------------------------------------------- doc comments
def clean(comment):
    """The text of a doc comment, without stars."""
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().splitlines()]
    return "\n".join(lines).strip()


def flow(text):
    """Lines of a paragraph made into one; paragraphs and list items stay apart."""
    text = re.sub(r"[ \t]*\n[ \t]*(?=[^\s-])", lambda m: " ", re.sub(r"\n\s*\n", "\0", text))
    return re.sub(r"[ \t]+", " ", text).replace("\0", "\n\n").strip()


def function_doc(text):
    """{"doc", "params", "return", "since"} of a function's comment."""
    parts = re.split(r"^@(param|return|since)\b", text, flags=re.M)
    doc = {"doc": flow(parts[0]), "params": {}, "return": "", "since": ""}
    for tag, body in zip(parts[1::2], parts[2::2]):
        if tag == "param":
            name, _, what = body.strip().partition(" ")
            doc["params"][name] = flow(what)
        else:
            doc[tag] = flow(body)
    return doc


# ------------------------------------------------------------------------------------------------------- headers
RULES = [
    ("doc", r"/\*\*(?!<)(?P<text>(?:(?!\*/).)*)\*/"),
    ("comment", r"/\*(?!\*<)(?P<text>(?:(?!\*/).)*)\*/"),
    ("define", r"#define[ \t]+(?P<name>\w+)(?P<value>(?:\\\n|[^\n/]|/(?!\*))*)(?:/\*\*<(?P<after>(?:(?!\*/).)*)\*/)?"),
    ("skip", r"#(?:if|ifdef|ifndef|else|elif|endif|include)\b[^\n]*|extern \"C\" \{|\}"),
    ("opaque", r"typedef struct (?P<name>\w+) \w+;(?:\s*/\*\*<(?P<after>(?:(?!\*/).)*)\*/)?"),
    ("struct", r"typedef struct (?P<name>\w+) \{(?P<body>(?:/\*(?:(?!\*/).)*\*/|[^}])*)\}\s*\w+;"),
    ("callback", r"typedef (?P<text>[^;{]*\(\s*\*\s*(?P<name>\w+)\s*\)[^;]*);"),
    ("alias", r"typedef (?P<of>\w+) (?P<name>\w+);(?:\s*/\*\*<(?P<after>(?:(?!\*/).)*)\*/)?"),
    ("function", r"MOE_API\s+(?P<nodiscard>MOE_NODISCARD\s+)?(?P<text>[^;]*);"),
]
RULES = [(name, re.compile(rule, re.S)) for name, rule in RULES]


def scan(text):
    """Yields (rule, {group: text}) for everything in a header; the first rule that fits counts."""
    at = 0
    text = text.rstrip()
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        for name, rule in RULES:
            match = rule.match(text, at)
            if match:
                break
        else:
            line = text.count("\n", 0, at) + 1
            raise SystemExit(f"line {line}: no rule for {text[at:at + 80]!r}")
        yield name, match.groupdict()
        at = match.end()


def number(text, constants):
    """Value and type of a constant's text; None if it is no number (a macro of another kind)."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")") and re.fullmatch(r"\((?!\w+\)-)[^()]*(\([^()]*\)[^()]*)*\)", text):
        text = text[1:-1].strip()
    if text == "UINT32_MAX":
        return 0xFFFFFFFF, "uint32_t"
    cast = re.fullmatch(r"\((moe_\w+)\)(-?\w+)", text)
    if cast:
        return int(cast.group(2), 0), cast.group(1)
    plain = re.fullmatch(r"(-?(?:0x[0-9a-fA-F]+|\d+))(u?)", text)
    if plain:
        return int(plain.group(1), 0), "uint32_t" if plain.group(2) else "int"
    if text in constants:
        return constants[text]["value"], constants[text]["type"]
    return None


def init_list(text):
    """The values of a brace list, nested lists included, as texts."""
    tokens = re.findall(r"sizeof\(\w+\)|[\w.+-]+|[{},]", text)
    stack, out = [], []
    for token in tokens:
        if token == "{":
            stack.append(out)
            out = []
        elif token == "}":
            inner, out = out, stack.pop()
            out.append(inner)
        elif token != ",":
            out.append(token)
    return out[0]


def value_of(text, constants):
    if isinstance(text, list):
        return [value_of(item, constants) for item in text]
    if text.startswith("sizeof"):
        return "sizeof"
    if text == "NULL":
        return None
    known = number(text, constants)
    if known:
        return known[0]
    return float(text.rstrip("f"))


def members_of(struct, body):
    """[{"name", "type", "doc"}]: a comment before a member, or behind it, is its doc."""
    found, at, before = [], 0, ""
    rule = re.compile(r"\s*(?:/\*\*<(?P<after>(?:(?!\*/).)*)\*/|/\*\*(?P<doc>(?:(?!\*/).)*)\*/|/\*(?:(?!\*/).)*\*/"
                      r"|(?P<text>[^;/]+);)", re.S)
    while body[at:].strip():
        match = rule.match(body, at)
        if not match:
            raise SystemExit(f"struct {struct}: cannot read {body[at:at + 60].strip()!r}")
        at = match.end()
        if match.group("after") is not None:
            found[-1]["doc"] = flow(clean(match.group("after")))
        elif match.group("doc") is not None:
            before = flow(clean(match.group("doc")))
        elif match.group("text"):
            for name, kind in Declaration(tokens_of(match.group("text"))).whole():
                found.append({"name": name, "type": kind, "doc": before})
            before = ""
    return found


SIZES = {"size_t": 8, "uint64_t": 8, "int64_t": 8, "double": 8, "uint32_t": 4, "int32_t": 4, "float": 4, "int": 4,
         "uint16_t": 2, "int16_t": 2, "uint8_t": 1, "int8_t": 1, "char": 1}


def size_align(kind, aliases, structs):
    if "pointer" in kind or "function" in kind:
        return 8, 8
    if "array" in kind:
        size, align = size_align(kind["array"], aliases, structs)
        return size * kind["n"], align
    name = aliases.get(kind["name"], kind["name"])
    if name in structs:
        return structs[name]["size"], 8
    return SIZES[name], SIZES[name]


def lay_out(struct, aliases, structs):
    at, widest = 0, 1
    for member in struct["members"]:
        size, align = size_align(member["type"], aliases, structs)
        at += -at % align
        member["offset"], member["bytes"] = at, size
        at, widest = at + size, max(widest, align)
    struct["size"] = at + -at % widest


def add_struct(api, struct):
    aliases = {a["name"]: a["type"]["name"] for a in api["aliases"]}
    aliases.update({c["name"]: "size_t" for c in api["callbacks"]})  # pointers are as wide
    lay_out(struct, aliases, {s["name"]: s for s in api["structs"]})
    api["structs"].append(struct)


def read_header(api, name, constants):
    text = (ROOT / "include" / "moe" / name).read_text(encoding="utf-8")
    group, doc, section = "", "", ""
    for rule, got in scan(text):
        here = {"group": group, "header": name}
        if rule == "doc":
            doc = clean(got["text"])
            opened = re.match(r"@defgroup (\w+) (.*)\n((?:.|\n)*?)@\{", doc)
            if opened:
                group = opened.group(1)
                api["groups"].append({"name": group, "title": opened.group(2).strip(), "header": name,
                                      "doc": flow(opened.group(3))})
            elif doc == "@}":
                group = ""
            if opened or doc == "@}" or doc.startswith("@file"):
                doc = section = ""
            continue
        if rule == "comment":
            section = flow(clean(got["text"]))
            if section.startswith("---") or section.startswith("SPDX"):
                section = ""
            continue
        after = flow(clean(got.get("after") or ""))
        if rule == "define":
            read_define(api, got, doc, after, section, here, constants)
        elif rule == "opaque":
            api["handles"].append({"name": got["name"], "doc": after, **here})
        elif rule == "alias":
            api["aliases"].append({"name": got["name"], "type": {"name": got["of"]}, "doc": after, **here})
        elif rule == "struct":
            members = members_of(got["name"], got["body"])
            add_struct(api, {"name": got["name"], "doc": flow(doc), "init": None, "members": members, **here})
        elif rule == "callback":
            (_, kind), = Declaration(tokens_of(got["text"])).whole()
            api["callbacks"].append({"name": got["name"], "doc": flow(doc), **kind["pointer"]["function"], **here})
        elif rule == "function":
            (called, kind), = Declaration(tokens_of(got["text"])).whole()
            told = function_doc(doc)
            if not told["since"]:
                raise SystemExit(f"{name}: {called} has no @since")
            args = kind["function"]["args"]
            for arg in args:
                arg["doc"] = told["params"].pop(arg["name"], "")
            if told["params"]:
                raise SystemExit(f"{name}: {called} documents arguments that it lacks: {list(told['params'])}")
            api["functions"].append({
                "name": called, "since": told["since"], "doc": told["doc"], "result": kind["function"]["result"],
                "return": told["return"], "args": args, "nodiscard": bool(got["nodiscard"]), **here})
        if rule != "define":
            section = ""
        doc = ""


def read_define(api, got, doc, after, section, here, constants):
    value = got["value"].replace("\\\n", " ").strip()
    if value.startswith("{"):
        items = init_list(value)
        struct = re.fullmatch(r"sizeof\((\w+)\)", items[0]).group(1)
        found, = (s for s in api["structs"] if s["name"] == struct)
        if len(items) != len(found["members"]):
            raise SystemExit(f"{got['name']}: {len(items)} values for {len(found['members'])} members")
        found["init"] = {"name": got["name"], "values": value_of(items, constants)}
        return
    known = number(value, constants)
    if known is None:
        if value:
            raise SystemExit(f"{got['name']}: cannot read its value {value!r}")
        return  # the include guard
    constant = {"name": got["name"], "value": known[0], "type": known[1], "doc": after or flow(doc), "section": section,
                **here}
    constants[got["name"]] = constant
    api["constants"].append(constant)


def read_api():
    version = (ROOT / "include" / "moe" / "version.h").read_text(encoding="utf-8")
    parts = {name: int(value) for name, value in re.findall(r"#define MOE_(\w*VERSION_\w+) (\d+)", version)}
    number_ = parts["VERSION_MAJOR"] << 16 | parts["VERSION_MINOR"] << 8 | parts["VERSION_PATCH"]
    api = {"about": "Generated by tools/gen_api.py from include/moe; do not edit.",
           "version": "{VERSION_MAJOR}.{VERSION_MINOR}.{VERSION_PATCH}".format(**parts),
           "version_number": number_,
           "api_version": "{API_VERSION_MAJOR}.{API_VERSION_MINOR}".format(**parts),
           "groups": [], "handles": [], "aliases": [], "constants": [], "callbacks": [], "structs": [], "functions": []}
    constants = {}
    for header in HEADERS:
        read_header(api, header, constants)
    for header in HEADERS:  # nothing may slip through the rules
        text = (ROOT / "include" / "moe" / header).read_text(encoding="utf-8")
        for what, pattern in (("functions", r"^MOE_API\b"), ("structs", r"^typedef struct \w+ \{")):
            declared = len(re.findall(pattern, text, re.M))
            found = sum(1 for item in api[what] if item["header"] == header)
            if declared != found:
                raise SystemExit(f"{header}: {declared} {what} are declared, {found} were read")
    return api


# -------------------------------------------------------------------------------------------------------- Python
PYTHON_HEAD = '''# SPDX-License-Identifier: MIT
# Generated by tools/gen_api.py from include/moe; do not edit.
"""What the C headers declare, for ctypes: constants, structs, callback types, prototypes. See libmoe's modules for
the interface that programs use."""
from __future__ import annotations

import ctypes as C
from typing import Any, ClassVar

VERSION = {version!r}  #: of the headers
VERSION_NUMBER = {number:#x}
API_VERSION = {api!r}

Address = C.c_void_p  #: pointers whose target Python gives or reads by address


class Sized(C.Structure):
    """A struct that begins with its size; members that are not told have the values of the header's _INIT."""

    _init_: ClassVar[dict[str, Any]] = {{}}

    def __init__(self, **members: Any) -> None:
        super().__init__(**{{"size": C.sizeof(type(self)), **self._init_, **members}})

'''
CTYPES = {"size_t": "C.c_size_t", "uint64_t": "C.c_uint64", "int64_t": "C.c_int64", "double": "C.c_double",
          "uint32_t": "C.c_uint32", "int32_t": "C.c_int32", "float": "C.c_float", "int": "C.c_int",
          "uint16_t": "C.c_uint16", "int16_t": "C.c_int16", "uint8_t": "C.c_uint8", "int8_t": "C.c_int8",
          "char": "C.c_char"}


class Python:
    def __init__(self, api):
        self.api = api
        self.handles = {h["name"] for h in api["handles"]}
        self.structs = {s["name"] for s in api["structs"]}
        self.named = {a["name"] for a in api["aliases"]} | {c["name"] for c in api["callbacks"]}
        self.inside = ""  # the struct being defined: its own functions see it as an address
        self.callbacks = []  # types made for function pointers without a name

    def type(self, kind, name):
        """ctypes text. Handles, void * and buffers are addresses; char * is bytes only where it is text in a call."""
        if "array" in kind:
            return f"{self.type(kind['array'], name)} * {kind['n']}"
        if "pointer" not in kind:
            return CTYPES.get(kind["name"], kind["name"])
        target = kind["pointer"]
        if "function" in target:
            self.callbacks.append((name, target["function"]))
            return name
        if "pointer" in target or "array" in target:
            return f"C.POINTER({self.type(target, name)})"
        what = target["name"]
        if what == "void" or what in self.handles or what == self.inside:
            return "C.c_void_p"
        if what == "char":
            return "C.c_char_p"
        return f"C.POINTER({self.type(target, name)})"

    def prototype(self, result, args, name):
        kinds = [self.type(arg["type"], f"{name}_{arg['name']}") for arg in args]
        return ("None" if result == {"name": "void"} else self.type(result, name)), kinds

    def function_type(self, name, function):
        result, kinds = self.prototype(function["result"], function["args"], name)
        # A result that is a pointer goes back to C as an address.
        if result.startswith("C.POINTER") or result == "C.c_char_p":
            result = "C.c_void_p"
        return f"{name} = C.CFUNCTYPE({', '.join([result, *kinds])})"

    def struct(self, struct):
        lines = [f"class {struct['name']}(Sized):", "    _fields_ = ["]
        for member in struct["members"]:
            kind = self.type(member["type"], f"{struct['name']}_{member['name']}")
            lines.append(f"        (\"{member['name']}\", {kind}),")
        lines.append("    ]")
        values = struct["init"]["values"] if struct["init"] else []
        unusual = {m["name"]: v for m, v in zip(struct["members"], values)
                   if v not in (None, "sizeof", 0) and not isinstance(v, list)}
        if unusual:
            lines.append(f"    _init_ = {unusual!r}".replace("'", '"'))
        return lines

    def text(self):
        api = self.api
        out = [PYTHON_HEAD.format(version=api["version"], number=api["version_number"], api=api["api_version"])]
        for constant in api["constants"]:
            out.append(f"{constant['name']} = {constant['value']:#x}" if constant["value"] == 0xFFFFFFFF
                       else f"{constant['name']} = {constant['value']}")
        out += ["", *(f"{a['name']} = {CTYPES[a['type']['name']]}" for a in api["aliases"])]
        for item in sorted([*api["structs"], *api["callbacks"]], key=lambda i: self.depth(i["name"], ())):
            self.inside = item["name"]
            before = len(self.callbacks)
            lines = self.struct(item) if "members" in item else [self.function_type(item["name"], item)]
            new = self.callbacks[before:]
            while new:  # a callback may take another one
                before = len(self.callbacks)
                made = [self.function_type(name, function) for name, function in new]
                nested = self.callbacks[before:]
                lines = made + (["", ""] if "members" in item else []) + lines
                new = nested
            if "members" in item:
                out += ["", "", *lines]
            else:
                out += ["", *lines]
        self.inside = ""
        prototypes = []
        before = len(self.callbacks)
        for function in api["functions"]:
            result, kinds = self.prototype(function["result"], function["args"], function["name"])
            prototypes.append(f"    \"{function['name']}\": ({result}, [{', '.join(kinds)}]),")
        out += ["", ""]
        out += [self.function_type(name, function) for name, function in self.callbacks[before:]]
        out += ["", "#: name: (result, arguments)", "PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {", *prototypes, "}"]
        out += ["", "#: struct: (bytes, {member: (offset, bytes)}) with 64-bit pointers",
                "LAYOUT: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {"]
        for struct in api["structs"]:
            members = ", ".join(f"\"{m['name']}\": ({m['offset']}, {m['bytes']})" for m in struct["members"])
            out.append(f"    \"{struct['name']}\": ({struct['size']}, {{{members}}}),")
        out += ["}", "", f"STRUCTS: dict[str, type[Sized]] = {{name: globals()[name] for name in LAYOUT}}"]
        return "\n".join(line.rstrip() for line in out) + "\n"

    def depth(self, name, seen):
        """How deep a struct or callback mentions others: the order in which they can be defined."""
        items = {i["name"]: i for i in [*self.api["structs"], *self.api["callbacks"]]}
        if name not in items or name in seen:
            return 0
        item = items[name]
        parts = item["members"] if "members" in item else item["args"]
        return 1 + max((self.depth(n, (*seen, name)) for p in parts for n in names_in(p["type"])), default=0)


def names_in(kind):
    if "name" in kind:
        return [kind["name"]]
    if "pointer" in kind:
        return names_in(kind["pointer"])
    if "array" in kind:
        return names_in(kind["array"])
    function = kind["function"]
    return names_in(function["result"]) + [n for a in function["args"] for n in names_in(a["type"])]


def python_text(api):
    return Python(api).text()


# ---------------------------------------------------------------------------------------------------------- Rust
RUST_HEAD = """// SPDX-License-Identifier: MIT
// Generated by tools/gen_api.py from include/moe; do not edit.
//
// The crate that uses this file (`mod bindings;`) allows non_camel_case_types for it.

use std::marker::{{PhantomData, PhantomPinned}};
use std::mem::size_of;
use std::os::raw::{{c_char, c_int, c_void}};
use std::ptr;

/// Version of the headers that this was made from, comparable with [`moe_version`].
pub const MOE_VERSION: u32 = {number:#x};
pub const MOE_VERSION_MAJOR: u32 = {major};
pub const MOE_VERSION_MINOR: u32 = {minor};
pub const MOE_VERSION_PATCH: u32 = {patch};
/// Version of the binary interface.
pub const MOE_API_VERSION: (u32, u32) = ({api_major}, {api_minor});
"""
RUST = {"size_t": "usize", "uint64_t": "u64", "int64_t": "i64", "double": "f64", "uint32_t": "u32", "int32_t": "i32",
        "float": "f32", "int": "c_int", "uint16_t": "u16", "int16_t": "i16", "uint8_t": "u8", "int8_t": "i8",
        "char": "c_char", "void": "c_void"}
RUST_WORDS = {"type", "in", "ref", "where", "move", "use", "fn", "self", "loop", "match", "mod", "box", "final"}


class Rust:
    def __init__(self, api):
        self.api = api
        self.handles = {h["name"] for h in api["handles"]}
        self.aliases = {a["name"]: a["type"]["name"] for a in api["aliases"]}
        self.callbacks = {c["name"] for c in api["callbacks"]}
        self.known = {f["name"] for f in api["functions"]} | {s["name"] for s in api["structs"]} | self.handles | {
            c["name"] for c in api["constants"]}

    def name(self, text):
        return f"r#{text}" if text in RUST_WORDS else text

    def doc(self, text, indent=""):
        if not text:
            return []
        out = []
        for i, part in enumerate(re.split(r"(`[^`]*`)", text)):
            if i % 2:
                out.append(part)
                continue
            part = re.sub(r"([\[\]<>*])", r"\\\1", part)
            part = re.sub(r"#(MOE_\w+)", lambda m: self.link(m.group(1)), part)
            out.append(re.sub(r"\b(moe_\w+)\(\)", lambda m: self.link(m.group(1)), part))
        return [f"{indent}/// {line}".rstrip() for line in "".join(out).split("\n")]

    def link(self, name):
        return f"[`{name}`]" if name in self.known else f"`{name}`"

    def type(self, kind):
        if "array" in kind:
            return f"[{self.type(kind['array'])}; {kind['n']}]"
        if "pointer" not in kind:
            name = kind["name"]
            return f"Option<{name}>" if name in self.callbacks else RUST.get(name, name)
        target = kind["pointer"]
        if "function" in target:
            return f"Option<{self.function(target['function'])}>"
        return f"*{'const' if target.get('const') else 'mut'} {self.type(target)}"

    def function(self, function):
        args = ", ".join(f"{self.name(a['name'])}: {self.type(a['type'])}" for a in function["args"])
        return f'unsafe extern "C" fn({args}){self.result(function["result"])}'

    def result(self, kind):
        return "" if kind == {"name": "void"} else f" -> {self.type(kind)}"

    def value(self, value, kind, struct):
        if value == "sizeof":
            return f"size_of::<{struct}>()"
        if "array" in kind:
            items = value if isinstance(value, list) else [0] * kind["n"]
            return "[" + ", ".join(self.value(item, kind["array"], struct) for item in items) + "]"
        if "pointer" in kind:
            if "function" in kind["pointer"]:
                return "None"
            return f"ptr::null{'' if kind['pointer'].get('const') else '_mut'}()"
        name = self.aliases.get(kind["name"], kind["name"])
        if name in self.callbacks:
            return "None"
        return repr(float(value or 0)) if name in ("float", "double") else str(value or 0)

    def struct(self, struct):
        name = struct["name"]
        out = ["", *self.doc(struct["doc"]), "#[repr(C)]", "#[derive(Clone, Copy, Debug)]", f"pub struct {name} {{"]
        for member in struct["members"]:
            out += self.doc(member["doc"], "    ")
            out.append(f"    pub {self.name(member['name'])}: {self.type(member['type'])},")
        values = struct["init"]["values"] if struct["init"] else ["sizeof"] + [0] * (len(struct["members"]) - 1)
        init = struct["init"]["name"] if struct["init"] else name.upper() + "_INIT"
        out += ["}", f"/// Start value of [`{name}`].", f"pub const {init}: {name} = {name} {{"]
        for member, value in zip(struct["members"], values):
            out.append(f"    {self.name(member['name'])}: {self.value(value, member['type'], name)},")
        out += ["};", f"impl Default for {name} {{", "    fn default() -> Self {", f"        {init}", "    }", "}",
                '#[cfg(target_pointer_width = "64")]', f"const _: () = assert!(size_of::<{name}>() == {struct['size']});"]
        return out

    def text(self):
        api = self.api
        major, minor, patch = api["version"].split(".")
        api_major, api_minor = api["api_version"].split(".")
        out = [RUST_HEAD.format(number=api["version_number"], major=major, minor=minor, patch=patch,
                                api_major=api_major, api_minor=api_minor)]
        for alias in api["aliases"]:
            out += [*self.doc(alias["doc"]), f"pub type {alias['name']} = {RUST[alias['type']['name']]};"]
        out.append("")
        for constant in api["constants"]:
            kind = constant["type"]
            out += [*self.doc(constant["doc"]), f"pub const {constant['name']}: {RUST.get(kind, kind)} = "
                    + ("u32::MAX;" if constant["value"] == 0xFFFFFFFF else f"{constant['value']};")]
        for handle in api["handles"]:
            out += ["", *self.doc(handle["doc"]), "#[repr(C)]", f"pub struct {handle['name']} {{", "    _data: [u8; 0],",
                    "    _marker: PhantomData<(*mut u8, PhantomPinned)>,", "}"]
        for callback in api["callbacks"]:
            out += ["", *self.doc(callback["doc"]), f"pub type {callback['name']} ="]
            out.append(f"    {self.function(callback)};")
        for struct in api["structs"]:
            out += self.struct(struct)
        out += ["", 'extern "C" {']
        for function in api["functions"]:
            out += self.doc(function["doc"], "    ")
            documented = [a for a in function["args"] if a["doc"]]
            if documented:
                out.append("    ///")
            for arg in documented:
                out += self.doc(f"- `{arg['name']}`: {arg['doc']}", "    ")
            if function["return"]:
                out += ["    ///", *self.doc("Returns " + function["return"], "    ")]
            out += ["    ///", f"    /// Since {function['since']}."]
            if function["nodiscard"]:
                out.append("    #[must_use]")
            args = [f"{self.name(a['name'])}: {self.type(a['type'])}" for a in function["args"]]
            line = f"    pub fn {function['name']}({', '.join(args)}){self.result(function['result'])};"
            if len(line) > 100:
                line = "\n".join([f"    pub fn {function['name']}(", *(f"        {a}," for a in args),
                                  f"    ){self.result(function['result'])};"])
            out.append(line)
        out += ["}", "", "/// Names of all functions, in the order of the headers.", "pub const MOE_FUNCTIONS: &[&str] = &["]
        out += [f"    \"{function['name']}\"," for function in api["functions"]] + ["];"]
        return "\n".join(line.rstrip() for line in out) + "\n"


def rust_text(api):
    return Rust(api).text()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    options = parser.parse_args()
    api = read_api()
    stale = []
    for path, make in OUTPUTS.items():
        text = make(api)
        file = ROOT / path
        if options.check:
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                stale.append(path)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print(f"stale: {', '.join(stale)}; run tools/gen_api.py")
        return 1
    print(f"{len(api['functions'])} functions, {len(api['structs'])} structs, {len(api['constants'])} constants, "
          f"{len(api['callbacks'])} callbacks, {len(api['handles'])} handles")
    return 0


if __name__ == "__main__":
    sys.exit(main())
