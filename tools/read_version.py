#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the project version or the API version (for the SONAME) from include/moe/version.h."""
import pathlib
import re
import sys

header = (pathlib.Path(__file__).parent.parent / "include/moe/version.h").read_text(encoding="utf-8")
prefix = {"project": "MOE_VERSION", "api": "MOE_API_VERSION"}[sys.argv[1]]
parts = ("MAJOR", "MINOR", "PATCH") if sys.argv[1] == "project" else ("MAJOR", "MINOR")
print(".".join(re.search(rf"#define {prefix}_{p} (\d+)", header).group(1) for p in parts))
