#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts single test cases in meson's testlog.json: count_tests.py TALLY LOG [LABEL].

Adds "passed failed skipped" to the numbers in the file TALLY. Prints what failed, with the end of its output, and why tests were
skipped. A program that speaks TAP counts by its lines, any other as one test; a program that ends badly without a failed
line counts as one failure more. A case that cannot run where it is says so in a comment, "# skipped: NAME: REASON", before
its line, and does not count as passed.
"""

import json
import re
import sys

TAP = re.compile(r"^(not )?ok\b[ \t]*\d*[ \t]*-?[ \t]*(.*)$", re.MULTILINE)
SKIP = re.compile(r"#\s*skip\S*\s*(.*)$", re.IGNORECASE)
NOT_RUN = re.compile(r"^# skipped: (.*)$", re.MULTILINE)
BAD = {"FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS"}


def count(test):
    """(passed, failed, skipped, lines to show) of one program."""
    out = test.get("stdout") or ""
    passed, failed, skipped, lines = 0, 0, 0, []
    for bad, text in TAP.findall(out):
        skip = SKIP.search(text)
        if skip and not bad:
            skipped += 1
            lines.append(f"skipped: {test['name']}: {skip.group(1) or text}")
        elif bad:
            failed += 1
            lines.append(f"FAILED: {test['name']}: {text}")
        else:
            passed += 1
    for text in NOT_RUN.findall(out):
        passed -= 1
        skipped += 1
        lines.append(f"skipped: {test['name']}: {text}")
    result = test["result"]
    if result in BAD and not failed:
        failed = 1
        lines.append(f"FAILED: {test['name']}: {result}, exit status {test.get('returncode')}")
    elif passed + failed + skipped == 0:
        if result == "SKIP":
            skipped = 1
            reason = next((line for line in reversed((out + (test.get("stderr") or "")).splitlines()) if line), "")
            lines.append(f"skipped: {test['name']}: {reason}")
        else:
            passed = 1
    if failed:
        tail = [line for line in out.splitlines() if not line.startswith("ok ")]
        tail = tail[-30:] + (test.get("stderr") or "").splitlines()[-40:]
        lines += ["    " + line for line in tail]
    return passed, failed, skipped, lines


def main():
    tally, log = sys.argv[1:3]
    label = sys.argv[3] + ": " if len(sys.argv) > 3 else ""
    total = [0, 0, 0]
    programs = 0
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            *numbers, lines = count(json.loads(line))
            total = [a + b for a, b in zip(total, numbers)]
            programs += 1
            for text in lines:
                print(text)
    print(f"{label}{programs} programs, {total[0]} passed, {total[1]} failed, {total[2]} skipped")
    with open(tally, encoding="utf-8") as f:
        before = [int(v) for v in f.read().split()]
    with open(tally, "w", encoding="utf-8") as f:
        f.write(" ".join(str(a + b) for a, b in zip(total, before)) + "\n")


main()
