#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the report's page a C source: embed.py PAGE.html STYLE.css SCRIPT.js... OUTPUT.c

The page has the words @STYLE@ and @SCRIPT@, which the other files replace, and @DATA@, where the program
puts its JSON: the two parts around it become arrays.
"""
import sys


def array(name, text):
    data = text.encode("utf-8")
    lines = [f"const char {name}[] = {{"]
    for i in range(0, len(data), 24):
        # char may be signed: bytes above 127 are written as negative numbers.
        lines.append("    " + ", ".join(str(b if b < 128 else b - 256) for b in data[i:i + 24]) + ",")
    lines += ["};", f"const size_t {name}_size = sizeof {name};", ""]
    return "\n".join(lines)


def main():
    page, style, *scripts = (open(path, encoding="utf-8").read().strip() for path in sys.argv[1:-1])
    page = page.replace("@STYLE@", style).replace("@SCRIPT@", "\n\n".join(scripts)) + "\n"
    before, after = page.split("@DATA@")
    with open(sys.argv[-1], "w", encoding="utf-8") as out:
        out.write("/* SPDX-License-Identifier: MIT */\n/* Made by embed.py; do not edit. */\n"
                  '#include "report_page.h"\n\n')
        out.write(array("report_before", before) + "\n" + array("report_after", after))


if __name__ == "__main__":
    main()
