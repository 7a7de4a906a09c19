# SPDX-License-Identifier: MIT
"""libmoe: load and run Mixture-of-Experts language models on the CPU.

    import libmoe

    with libmoe.Model(libmoe.demo_model()) as model, model.session() as session:
        for text in session.generate("Once upon a time", max_tokens=50):
            print(text, end="", flush=True)

docs/python.md is the tour. Numbers come as NumPy arrays where NumPy is installed, else as memoryviews and sequences."""
from __future__ import annotations

import ctypes as _C
import pathlib as _pathlib
from typing import Optional as _Optional

from . import _declarations as _d
from ._arrays import View, use_numpy
from ._errors import (
    AbortedError, BufferError, CallbackError, ClosedError, Error, FileAccessError, FormatError, FullError, InternalError,
    InvalidError, NotFoundError, NumericError, OutOfMemoryError, PolicyError, RangeError, StaleError, StateError,
    UnsupportedError, VersionError)
from ._hooks import Allocator, Executor, File, Logger, Progress, ThreadExecutor, progress_hook as _progress_hook
from ._info import (
    ExpertInfo, FoundExpert, LayerInfo, Memory, ModelInfo, ProfileInfo, RouterInfo, RouterProfile, SessionInfo,
    ShapeInfo, Stats, TensorInfo, TraceInfo)
from ._library import check as _check, lib as _lib, path_bytes as _path_bytes, text as _text
from ._model import Metadata, Model, Path, Tokenizer, TokenStream, plan
from ._routing import (
    Expert, ExpertCall, LayerEvent, Policy, PolicyInfo, RouteInput, Router, RouteSpec, RouteView, Weights, measure_shape,
    policy_names)
from ._sampler import Candidates, Sampler
from ._session import Session, contrast_logits, mix_logits, mix_sessions
from ._study import Profile, Trace, TraceRow

#: "no expert" in routing results
EXPERT_NONE: int = _d.MOE_EXPERT_NONE
#: for Session.eval(want=...)
WANT_LOGITS: int = _d.MOE_WANT_LOGITS
WANT_HIDDEN: int = _d.MOE_WANT_HIDDEN

#: version of the library in use
__version__: str = _text(_lib.moe_version_string())


def version() -> tuple[int, int, int]:
    """Version of the library in use."""
    number = _lib.moe_version()
    return number >> 16, number >> 8 & 255, number & 255


def build_info() -> str:
    """Compiler, build type, thread layer, compiled instruction sets."""
    return _text(_lib.moe_build_info())


def has_feature(name: str) -> bool:
    """Whether the build has "openmp", "pool", "serial", "mmap", "avx2", "avx512", "vnni"."""
    return bool(_lib.moe_has_feature(name.encode()))


def cpu_isa() -> str:
    """The best instruction-set level of this CPU that the build has kernels for."""
    return _text(_lib.moe_cpu_isa())


def status_name(status: int) -> str:
    """Name of a status code, e.g. "MOE_E_FORMAT"."""
    return _text(_lib.moe_status_name(status))


def architectures() -> list[str]:
    """Supported model architectures."""
    return [_text(_lib.moe_arch_name(i)) for i in range(_lib.moe_arch_count())]


def tensor_types() -> dict[str, int]:
    """Supported tensor types: name -> MOE_TYPE_*."""
    kinds = [_lib.moe_type_at(i) for i in range(_lib.moe_type_count())]
    return {_text(_lib.moe_type_name(kind)): kind for kind in kinds}


def kernels() -> dict[str, str]:
    """Compute kernels and the instruction-set level of the version that runs on this CPU."""
    found = {}
    name, isa = _C.c_char_p(), _C.c_char_p()
    for i in range(_lib.moe_kernel_count()):
        _check(_lib.moe_kernel_at(i, _C.byref(name), _C.byref(isa)))
        found[_text(name.value)] = _text(isa.value)
    return found


def recipes() -> list[str]:
    """Quantisation recipes for quantize()."""
    found: list[str] = []
    while True:
        name = _lib.moe_recipe_name(len(found))
        if name is None:
            return found
        found.append(_text(name))


def quantize(source: Path, target: Path, recipe: str, *, rules: _Optional[str] = None, threads: int = 0,
             progress: _Optional[Progress] = None, allocator: _Optional[Allocator] = None) -> None:
    """Writes a quantised copy of a GGUF model, whole or not at all. rules: "pattern=TYPE,...".

    Raises InvalidError (recipe, rules), NotFoundError, FileAccessError, FormatError, UnsupportedError, NumericError,
    AbortedError (progress returned False), OutOfMemoryError."""
    options = _d.moe_quantize_options(recipe=recipe.encode(), rules=None if rules is None else rules.encode(),
                                      n_threads=threads)
    hook = None if progress is None else _progress_hook(progress)
    if hook is not None:
        options.progress = hook
    if allocator is not None:
        options.allocator = _C.pointer(allocator.struct)
    _check(_lib.moe_quantize(_path_bytes(source), _path_bytes(target), _C.byref(options)))


def demo_model() -> str:
    """Path of the bundled model: in this package, or in the sources that it is run from (archive, repository).

    FileNotFoundError if it is in neither."""
    here = _pathlib.Path(__file__).resolve().parent
    examples = ("examples", "models", "demo.gguf")
    for path in (here / "models" / "demo.gguf", here.parent.joinpath("csrc", *examples), here.parents[2].joinpath(*examples)):
        if path.is_file():
            return str(path)
    raise FileNotFoundError("this installation of libmoe does not have the bundled model (libmoe/models/demo.gguf)")


__all__ = [
    "AbortedError", "Allocator", "BufferError", "CallbackError", "Candidates", "ClosedError", "EXPERT_NONE", "Error",
    "Executor", "Expert", "ExpertCall", "ExpertInfo", "File", "FileAccessError", "FormatError", "FoundExpert", "FullError",
    "InternalError", "InvalidError", "LayerEvent", "LayerInfo", "Logger", "Memory", "Metadata", "Model", "ModelInfo",
    "NotFoundError", "NumericError", "OutOfMemoryError", "Path", "Policy", "PolicyError", "PolicyInfo", "Profile",
    "ProfileInfo", "Progress", "RangeError", "RouteInput", "RouteSpec", "RouteView", "Router", "RouterInfo",
    "RouterProfile", "Sampler", "Session", "SessionInfo", "ShapeInfo", "StaleError", "StateError", "Stats", "TensorInfo",
    "ThreadExecutor", "TokenStream", "Tokenizer", "Trace", "TraceInfo", "TraceRow", "UnsupportedError", "VersionError",
    "View", "WANT_HIDDEN", "WANT_LOGITS", "Weights", "__version__", "architectures", "build_info", "contrast_logits",
    "cpu_isa", "demo_model", "has_feature", "kernels", "measure_shape", "mix_logits", "mix_sessions", "plan",
    "policy_names", "quantize", "recipes", "status_name", "tensor_types", "use_numpy", "version",
]
