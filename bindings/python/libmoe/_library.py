# SPDX-License-Identifier: MIT
"""Finds and loads the shared library, checks that it goes with these declarations, and calls it.

Which library: the file that the environment variable LIBMOE_LIBRARY names, else the one in this package, else what the
system finds under the name moe. Nothing is loaded twice, nothing else is read from the environment."""
from __future__ import annotations

import ctypes as C
import ctypes.util
import operator
import os
import pathlib
import sys
import threading
from typing import Any, Callable, TypeVar

from . import _declarations as d
from ._errors import BY_STATUS, ClosedError, Error, RangeError, StateError

T = TypeVar("T")

#: What a callback returns when it has raised; the exception waits in `pending`.
RAISED = -9001


def _candidates() -> list[str]:
    told = os.environ.get("LIBMOE_LIBRARY")
    if told:
        return [told]
    here = pathlib.Path(__file__).parent / "lib"
    found = [str(path) for pattern in ("libmoe.so*", "libmoe*.dylib", "*moe*.dll") for path in sorted(here.glob(pattern))]
    if not found:
        system = ctypes.util.find_library("moe")
        plain = f"libmoe-{d.API_VERSION}.dll" if os.name == "nt" else f"libmoe.so.{d.API_VERSION}"
        found = [system] if system else [plain]
    return found


def _load() -> C.CDLL:
    problems = []
    for name in _candidates():
        try:
            return C.CDLL(name)
        except OSError as problem:
            problems.append(f"{name}: {problem}")
    raise ImportError("the shared library of libmoe cannot be loaded (LIBMOE_LIBRARY can name it): " + "; ".join(problems))


#: Called once per token with arguments that were converted before: without a prototype, ctypes does not look at each.
PREPARED = ("moe_session_next",)


class Library:
    """The library's functions as attributes, with their prototypes set."""

    def __init__(self, dll: C.CDLL) -> None:
        for name, (result, arguments) in d.PROTOTYPES.items():
            try:
                function = getattr(dll, name)
            except AttributeError:
                raise ImportError(f"{dll._name} has no {name}: it is older than this package ({d.VERSION})") from None
            function.restype = result
            if name not in PREPARED:
                function.argtypes = arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


lib = Library(_load())


def _knows_at_most(call: Callable[[Any], int], kind: type[d.Sized]) -> bool:
    """Whether the library refuses a byte behind our struct: then it knows no larger one."""
    size = C.sizeof(kind)
    raw = C.create_string_buffer(bytes(kind()) + b"\1")
    C.c_size_t.from_buffer(raw).value = size + 1
    return call(C.cast(raw, C.POINTER(kind))) == d.MOE_E_VERSION


def _knows_at_least(call: Callable[[Any], int], kind: type[d.Sized]) -> bool:
    """Whether the library takes our struct's last byte for one of its own (not tried where it is part of a pointer)."""
    if kind._fields_[-1][1] not in (C.c_float, C.c_double, C.c_size_t, C.c_uint32, C.c_int32, C.c_uint64):
        return True
    raw = C.create_string_buffer(bytes(kind())[:-1] + b"\1", C.sizeof(kind))
    return call(C.cast(raw, C.POINTER(kind))) != d.MOE_E_VERSION


def _check() -> None:
    """Version and struct layouts: ctypes' against the generated ones, and sizes against the library's own refusals, for
    structs that it takes without a model. (All are compared with the compiler's by a test of the build.)"""
    found = lib.moe_version()
    if found < d.VERSION_NUMBER or found >> 16 != d.VERSION_NUMBER >> 16:
        raise ImportError(f"the library is version {lib.moe_version_string().decode()}, this package needs {d.VERSION}")
    if C.sizeof(C.c_void_p) == 8:
        for name, (size, members) in d.LAYOUT.items():
            kind = d.STRUCTS[name]
            if C.sizeof(kind) != size:
                raise ImportError(f"struct {name} has {C.sizeof(kind)} bytes here, {size} in the library")
            for member, place in members.items():
                field = getattr(kind, member)
                if (field.offset, field.size) != place:
                    raise ImportError(f"{name}.{member} lies at {field.offset}, in the library at {place[0]}")
    row = (C.c_float * 1)(0.0)
    weight, expert, n = (C.c_float * 1)(), (C.c_uint32 * 1)(), C.c_size_t()
    shape = d.moe_shape_info()
    memory, sampler, other = d.moe_memory(), C.c_void_p(), C.c_void_p()
    if lib.moe_sampler_create(C.byref(sampler), None) < 0:
        raise ImportError(f"the library cannot make a sampler: {lib.moe_last_error().decode()}")
    probes: list[tuple[type[d.Sized], Callable[[Any], int]]] = [
        (d.moe_contrast, lambda p: int(lib.moe_contrast_logits(row, row, 1, p, row))),
        (d.moe_shape, lambda p: int(lib.moe_shape_measure(p, C.byref(shape)))),
        (d.moe_route_spec, lambda p: int(lib.moe_route_row(p, row, 1, 0, 0, expert, weight, C.byref(n)))),
        (d.moe_model_options, lambda p: int(lib.moe_plan(b"", p, None, C.byref(memory)))),
        (d.moe_allocator, lambda p: int(lib.moe_sampler_create(C.byref(other), p))),
        (d.moe_sample_stage, lambda p: int(lib.moe_sampler_add(sampler, p))),
        (d.moe_candidates, lambda p: int(lib.moe_sampler_apply(sampler, p))),
    ]
    wrong = [kind.__name__ for kind, call in probes
             if not _knows_at_least(call, kind) or (found == d.VERSION_NUMBER and not _knows_at_most(call, kind))]
    lib.moe_sampler_free(sampler)
    if wrong:
        raise ImportError(f"structs are others in the library than in this package: {', '.join(wrong)}")


_check()


# --------------------------------------------------------------------------------------------------------- calls
class _Pending(threading.local):
    """The exception that a callback of the call that runs on this thread has raised."""

    error: BaseException | None = None


class _Raised:
    """Whether a callback has ever raised, on any thread: what is asked once per token, `pending` only after it."""

    __slots__ = ("ever",)

    def __init__(self) -> None:
        self.ever = False


pending = _Pending()
raised = _Raised()


def failure(status: int) -> BaseException:
    """The exception for a negative status: what a callback raised, else the library's message."""
    error = pending.error
    if error is not None:
        pending.error = None
        return error
    message = lib.moe_last_error().decode("utf-8", "replace")
    kind = BY_STATUS.get(status)
    if kind is None:
        return Error(message or f"status {status}", status)
    return kind(message, status)


def check(status: int) -> None:
    """Raises what a status means. Also after success, if a callback without a result has raised."""
    if status < 0:
        raise failure(status)
    if pending.error is not None:
        raise failure(status)


def guarded(function: Callable[..., Any], *arguments: Any) -> int:
    """Runs a callback's body: 0, or RAISED with the exception kept for the call that it came from."""
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - it goes on where the call returns
        raised.ever = True
        if pending.error is None:
            pending.error = error
        return RAISED
    return 0


def told_to_stop(answer: Any) -> int:
    """A callback's answer: False stops, all else goes on."""
    return 1 if answer is False else 0


def text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    return os.fspath(path).encode("utf-8")


#: the largest place that fitting() lets through: of layers, experts and classes, without C's word for all or none; of
#: sequences, positions and tokens; of rows and elements
U32, I32, U64 = 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFFFFFFFFFFFFFF


def fitting(value: Any, what: str, most: int = U32, least: int = 0) -> int:
    """An integer that goes to C as it is: ctypes would cut off what does not fit, and -1 may mean all."""
    found = operator.index(value)
    if not least <= found <= most:
        raise RangeError(f"{what} {found}: expected {least} to {most}", d.MOE_E_RANGE)
    return found


def count(value: Any, what: str) -> int:
    """How many of something are asked for. ValueError for less than none, which C would take for very many."""
    found = operator.index(value)
    if found < 0:
        raise ValueError(f"{found} {what} cannot be asked for")
    return found


def expect(kind: type[T], value: Any) -> T:
    """value, if it is of that class: C cannot see what a pointer points to."""
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, not {type(value).__name__}")
    return value


class Turn:
    """Whose turn it is with an object: a lock that never waits and that its owner may take again. `take` and `give` are
    atomic by themselves, and cheap, for code that runs once per token; it must set and clear `owner` in between."""

    __slots__ = ("take", "give", "owner", "depth")

    def __init__(self) -> None:
        free = [True]
        self.take = free.pop  # IndexError: somebody has it
        self.give = free.append
        self.owner: int | None = None
        self.depth = 0

    def acquire(self) -> bool:
        me = threading.get_ident()
        if self.owner == me:  # nobody else sets it to this
            self.depth += 1
            return True
        try:
            self.take()
        except IndexError:
            return False
        self.owner = me
        return True

    def release(self) -> None:
        if self.depth:
            self.depth -= 1
        else:
            self.owner = None
            self.give(True)


class Handle:
    """Owns one object of the library. It is freed when the last Python object that needs it is gone: views keep it."""

    __slots__ = ("address", "_free", "keep", "__weakref__")

    def __init__(self, address: int, free: Callable[[int], Any] | None, **keep: Any) -> None:
        self.address = address
        self._free = free
        self.keep: dict[Any, Any] = keep  # what C refers to: callbacks, arrays, parents

    def __del__(self) -> None:
        free, self._free = self._free, None
        if free is not None and self.address:
            free(self.address)


class _Closed(Handle):
    @property
    def address(self) -> int:  # type: ignore[override]
        raise ClosedError("this object was closed", d.MOE_E_STATE)

    def __init__(self) -> None:  # nothing to own
        self._free = None
        self.keep = {}


CLOSED = _Closed()


class Object:
    """Something with a handle: a context manager, closed at the end of a `with`, by close(), or when forgotten.

    Objects that belong to one thread at a time refuse a second one (StateError) instead of breaking."""

    __slots__ = ("_handle", "_lock", "__weakref__")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._lock = Turn()

    @property
    def closed(self) -> bool:
        return self._handle is CLOSED

    def close(self) -> None:
        """Lets the object go. Twice is fine. Views on its memory raise StaleError from now on."""
        self._enter()
        try:
            self._handle = CLOSED
        finally:
            self._lock.release()

    def __enter__(self) -> Any:
        self._handle.address
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _busy(self) -> Error:
        return StateError(f"this {type(self).__name__} is in use by another thread", d.MOE_E_STATE)

    def _enter(self) -> None:
        if not self._lock.acquire():
            raise self._busy()

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        """function(handle, *arguments), a status: raises if it fails."""
        self._enter()
        try:
            handle = self._handle  # kept to the end: a callback may close the object on which C is running
            status = function(handle.address, *arguments)
            if status < 0 or pending.error is not None:
                raise failure(status)
        finally:
            self._lock.release()

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(handle, *arguments), which cannot fail. For what any thread may ask: it does not wait its turn."""
        handle = self._handle
        return function(handle.address, *arguments)

    def _text(self, function: Callable[..., int], *arguments: Any) -> str:
        """A text output (dst, cap, &len): asks again with more room if it must."""
        n = C.c_size_t()
        cap = 256
        while True:
            room = C.create_string_buffer(cap)
            try:
                self._call(function, *arguments, room, cap, C.byref(n))
                return text(room.raw[: n.value])
            except BY_STATUS[d.MOE_E_BUFFER]:
                if n.value <= cap:
                    raise
                cap = n.value


def main_thread() -> bool:
    return threading.get_ident() == _MAIN


_MAIN = threading.main_thread().ident


def unraisable(error: BaseException, where: str) -> None:
    """For callbacks from which nothing can come out: as Python does with destructors."""
    sys.unraisablehook(_Unraisable(type(error), error, error.__traceback__, f"libmoe: {where} raised", None))


class _Unraisable(tuple):  # type: ignore[type-arg]
    exc_type = property(lambda self: self[0])
    exc_value = property(lambda self: self[1])
    exc_traceback = property(lambda self: self[2])
    err_msg = property(lambda self: self[3])
    object = property(lambda self: self[4])

    def __new__(cls, *parts: Any) -> "_Unraisable":
        return super().__new__(cls, parts)
