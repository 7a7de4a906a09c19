# SPDX-License-Identifier: MIT
"""Runs last: every function of the C interface was called by the tests, through the package."""
from __future__ import annotations

import json
import re

import pytest
from conftest import CALLS, ROOT

API = json.loads((ROOT / "bindings" / "api.json").read_text(encoding="utf-8"))


def test_the_package_uses_every_function() -> None:
    package = ROOT / "bindings" / "python" / "libmoe"
    text = "\n".join(p.read_text(encoding="utf-8") for p in package.glob("*.py") if p.name != "_declarations.py")
    missing = [f["name"] for f in API["functions"] if not re.search(rf"\b_?lib\.{f['name']}\b", text)]
    assert not missing and len(API["functions"]) > 150


def test_the_tests_call_every_function(request: pytest.FixtureRequest) -> None:
    files = {item.path.name for item in request.session.items}
    whole = {p.name for p in (ROOT / "bindings" / "python" / "tests").glob("test_*.py")} - {"test_types.py"}
    if not files >= whole or request.config.option.keyword:
        pytest.skip("only a part of the tests runs")
    assert not [f["name"] for f in API["functions"] if not CALLS[f["name"]]]
