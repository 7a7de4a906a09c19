# SPDX-License-Identifier: MIT
"""Models for the tests, and a count of every call of the C library (test_zz_every_function.py looks at it)."""
from __future__ import annotations

import collections
import pathlib
from typing import Any, Iterator

import pytest

import libmoe
from libmoe import _declarations as d
from libmoe._library import lib

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "golden" / "data"
CALLS: collections.Counter[str] = collections.Counter()


class Counted:
    """A function of the library that counts its calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.function = getattr(lib, name)

    def __call__(self, *arguments: Any) -> Any:
        CALLS[self.name] += 1
        return self.function(*arguments)

    @property
    def _as_parameter_(self) -> Any:  # handed to C as a callback
        CALLS[self.name] += 1
        return self.function


for _name in d.PROTOTYPES:
    setattr(lib, _name, Counted(_name))


@pytest.fixture(scope="session")
def demo() -> Iterator[libmoe.Model]:
    with libmoe.Model(ROOT / "examples" / "models" / "demo.gguf") as model:
        yield model


@pytest.fixture(scope="session")
def tiny() -> Iterator[libmoe.Model]:
    with libmoe.Model(DATA / "qwen3moe.gguf") as model:
        yield model


@pytest.fixture(params=["numpy", "plain"])
def numbers(request: pytest.FixtureRequest) -> Iterator[str]:
    """With NumPy arrays, and without."""
    if request.param == "numpy":
        pytest.importorskip("numpy")
    else:
        libmoe.use_numpy(False)
    yield request.param
    libmoe.use_numpy(True)
