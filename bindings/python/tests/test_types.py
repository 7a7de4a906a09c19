# SPDX-License-Identifier: MIT
"""mypy --strict has nothing to say about the package, and sees its types from outside."""
from __future__ import annotations

import pathlib

import pytest
from conftest import ROOT

api = pytest.importorskip("mypy.api")

USE = """
import libmoe
model = libmoe.Model("x.gguf")
for text in model.session().generate("Once", max_tokens=3):
    reveal_type(text)
ids = model.tokenizer.encode("abc")
reveal_type(ids)
reveal_type(model.info.n_experts)
"""


def test_the_package(tmp_path: pathlib.Path) -> None:
    out, err, status = api.run(["--strict", "--cache-dir", str(tmp_path), str(ROOT / "bindings/python/libmoe")])
    assert status == 0, out + err


def test_a_user(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT / "bindings/python"))
    (tmp_path / "use.py").write_text(USE)
    out, err, status = api.run(["--strict", "--cache-dir", str(tmp_path / "c"), str(tmp_path / "use.py")])
    assert status == 0, out + err
    assert "list[builtins.int]" in out.replace("builtins.list", "list") or "list[int]" in out
    assert '"builtins.int"' in out or '"int"' in out
