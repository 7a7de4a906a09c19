#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the published chat templates make of some conversations: the expected texts of tests/unit/test_chat.c.

    make_chat_vectors.py TEMPLATES > tests/unit/chat_vectors.h

TEMPLATES is a folder of Jinja files, one per built-in template and named like it (chatml.jinja, llama3.jinja, ...):
the `chat_template` of a model's tokenizer_config.json. They belong to the models' authors and are not kept here; where
each comes from is in docs/chat-templates.md. Rendering is that of Hugging Face `transformers`: jinja2 with trim_blocks
and lstrip_blocks. A conversation that a template refuses is recorded as refused.
"""
import json
import sys
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONVERSATIONS = {
    "question": [("user", "Who are you?")],
    "system": [("system", "Be brief."), ("user", "Who are you?")],
    "dialogue": [
        ("system", " Be brief. "),
        ("user", "Hello"),
        ("assistant", "  Hi there\n"),
        ("user", "\tWho are you?\n"),
        ("assistant", "Nobody."),
        ("user", "Really?"),
    ],
    "answered": [("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "\nFour")],
    "thought": [
        ("user", "1+1?"),
        ("assistant", "<think>\nadd\n</think>\n\n2"),
        ("user", "2+2?"),
        ("assistant", "<think>\nadd again\n\n</think>\n\n\n4"),
    ],
    "two replies": [("user", "Go"), ("assistant", "one"), ("assistant", "<think>x</think>two"), ("assistant", "three")],
    "empty texts": [("system", ""), ("user", ""), ("assistant", ""), ("user", "?")],
    "unicode": [("user", "\u00a0\u3042 \U0001f600\u3000"), ("assistant", "\u2028\u00e9\x1f"), ("user", "'s")],
    "reply first": [("assistant", "Welcome"), ("user", "Hello")],
}


class Refused(Exception):
    pass


def refuse(message: str) -> None:
    raise Refused(message)


def c_string(text: str | None) -> str:
    if text is None:
        return "NULL"
    out = ""
    for b in text.encode():
        c = chr(b)
        # Octal, always three digits: hexadecimal escapes would swallow letters that follow.
        out += "\\" + c if c in '"\\' else "\\n" if c == "\n" else c if 32 <= b < 127 else f"\\{b:03o}"
    return f'"{out}"'


def main() -> None:
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.globals["raise_exception"] = refuse
    env.filters["tojson"] = lambda x, **_: json.dumps(x, ensure_ascii=False)
    print("/* SPDX-License-Identifier: MIT */")
    print("/* Written by tools/make_chat_vectors.py; do not edit. */")
    for number, messages in enumerate(CONVERSATIONS.values()):
        print(f"static const moe_message talk_{number}[] = {{")
        for role, text in messages:
            print(f"    {{sizeof(moe_message), {c_string(role)}, {c_string(text)}}},")
        print("};")
    print("static const struct { const char *name; const moe_message *msg; size_t n; } talks[] = {")
    for number, (name, messages) in enumerate(CONVERSATIONS.items()):
        print(f'    {{"{name}", talk_{number}, {len(messages)}}},')
    print("};\n/* Expected text without and with the opening of a reply; NULL: refused. */")
    print("static const struct { const char *chat; size_t talk; const char *text, *opened; } vectors[] = {")
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        template = env.from_string(path.read_text(encoding="utf-8").removesuffix("\n"))
        for number, messages in enumerate(CONVERSATIONS.values()):
            texts = []
            for opened in (False, True):
                try:
                    texts.append(
                        template.render(
                            messages=[{"role": r, "content": t} for r, t in messages],
                            add_generation_prompt=opened,
                            bos_token="<s>",
                            eos_token="</s>",
                        )
                    )
                except (Refused, TemplateError):
                    texts.append(None)
            print(f'    {{"{path.stem}", {number},\n        {c_string(texts[0])},\n        {c_string(texts[1])}}},')
    print("};")


if __name__ == "__main__":
    main()
