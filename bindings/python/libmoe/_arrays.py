# SPDX-License-Identifier: MIT
"""Numbers in and out: NumPy where it is there, memoryviews and sequences where it is not.

Views show memory of the library without copying. Each has a guard: when its owner moves on (another eval, the end of a
callback, close) every use of the view raises StaleError. The memory itself stays until the last view is gone, so that not
even a plain array made from a view (numpy.asarray) can touch freed memory; such an array shows what is there then."""
from __future__ import annotations

import array
import ctypes as C
import sys
from typing import TYPE_CHECKING, Any, Iterator, Sequence, Union, overload

from ._declarations import MOE_E_STATE
from ._errors import StaleError

if TYPE_CHECKING:
    import numpy
    import numpy.typing

    Floats = Union[Sequence[float], "numpy.typing.NDArray[Any]", array.array[float], memoryview, C.Array[C.c_float]]
    Ints = Union[Sequence[int], "numpy.typing.NDArray[Any]", array.array[int], memoryview, C.Array[C.c_int32]]
    FloatArray = numpy.typing.NDArray[numpy.float32]
    DoubleArray = numpy.typing.NDArray[numpy.float64]
    IntArray = numpy.typing.NDArray[Any]
else:
    Floats = Ints = FloatArray = DoubleArray = IntArray = Any

_CODES: dict[Any, str] = {C.c_float: "f", C.c_double: "d", C.c_int32: "i", C.c_uint32: "I", C.c_uint8: "B"}
_state: dict[str, Any] = {}


def numpy_or_none() -> Any:
    """NumPy, imported when first needed, or None. `use_numpy(False)` makes it None."""
    if "numpy" not in _state:
        try:
            import numpy as np
        except ImportError:
            np = None  # type: ignore[assignment]
        _state["numpy"] = np
    return _state["numpy"]


def use_numpy(yes: bool) -> None:
    """Whether results are NumPy arrays, where NumPy can be imported (the default), or memoryviews and sequences."""
    _state.clear()
    if not yes:
        _state["numpy"] = None


# ------------------------------------------------------------------------------------------------------- numbers in
def given(values: Any, kind: Any, what: str = "values", copy: bool = False) -> tuple[Any, int]:
    """(ctypes array, length) of numbers that a caller gave. A contiguous NumPy array of the right type is not copied,
    unless told: for numbers that C checks once and reads again, while a callback or a thread may write them.

    Raises TypeError for what is no sequence of such numbers, OverflowError for integers out of range."""
    code = _CODES[kind]
    np = sys.modules.get("numpy")
    if np is not None and isinstance(values, np.ndarray):
        guard = getattr(values, "_guard", None)
        if guard is not None:
            guard.check()
        dtype = np.dtype(code)
        if not np.can_cast(values.dtype, dtype, "same_kind") and not (dtype.kind in "iu" and values.dtype.kind in "iub"):
            raise TypeError(f"{what}: an array of {values.dtype} is no array of {dtype}")
        if dtype.kind in "iu" and values.size and values.dtype != dtype:
            limits = np.iinfo(dtype)
            if values.min() < limits.min or values.max() > limits.max:
                raise OverflowError(f"{what}: a value does not fit {dtype}")
        whole = np.array(values, dtype=dtype, order="C") if copy else np.ascontiguousarray(values, dtype=dtype)
        given_ = (kind * whole.size).from_address(whole.ctypes.data if whole.size else 0)
        given_._keep = whole
        return given_, int(whole.size)
    ours = isinstance(values, C.Array) and getattr(values, "_type_", None) is kind
    if ours:
        return (kind * len(values)).from_buffer_copy(values) if copy else values, len(values)
    if isinstance(values, View):
        values._guard.check()
        values = values._memory
    if isinstance(values, (str, bytes, bytearray)) and kind is not C.c_uint8:
        raise TypeError(f"{what}: expected numbers, not {type(values).__name__}")
    if isinstance(values, memoryview) and values.format == code and values.contiguous:
        flat = values.cast("B")
        n = values.nbytes // C.sizeof(kind)
        return (kind * n).from_buffer_copy(flat), n
    packed = array.array(code, values)
    n = len(packed)
    return (kind * n).from_buffer(packed) if n else (kind * 0)(), n


# ------------------------------------------------------------------------------------------------------ numbers out
def room(shape: tuple[int, ...], kind: Any) -> tuple[Any, Any]:
    """(ctypes array to be filled in, the result to hand out) that share memory."""
    n = 1
    for size in shape:
        n *= size
    space = (kind * n)()
    np = numpy_or_none()
    if np is not None:
        return space, np.frombuffer(space, dtype=_CODES[kind], count=n).reshape(shape) if n else np.zeros(
            shape, _CODES[kind])
    if n == 0:
        return space, memoryview(b"").cast("B")
    return space, _shaped(space, kind, shape) if len(shape) == 1 else View(_shaped(space, kind, shape), Guard(), True)


def _shaped(memory: Any, kind: Any, shape: tuple[int, ...]) -> Any:
    return memoryview(memory).cast("B").cast(_CODES[kind], list(shape))  # type: ignore[call-overload]


class Guard:
    """Valid until end() tells why it no longer is."""

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason: str | None = None

    def end(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason

    def check(self) -> None:
        if self.reason is not None:
            raise StaleError(f"this view is no longer valid: {self.reason}", MOE_E_STATE)


class View(Sequence[float]):
    """A guarded sequence over the library's memory, where NumPy is not there. Rows of rows for two dimensions."""

    __slots__ = ("_memory", "_guard", "_writable")

    def __init__(self, memory: memoryview, guard: Guard, writable: bool) -> None:
        self._memory = memory
        self._guard = guard
        self._writable = writable

    @property
    def shape(self) -> tuple[int, ...]:
        return self._memory.shape or ()

    def __len__(self) -> int:
        return len(self._memory)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> Any: ...
    def __getitem__(self, i: Any) -> Any:
        self._guard.check()
        if self._memory.ndim == 1:
            part = self._memory[i]
            return View(part, self._guard, self._writable) if isinstance(i, slice) else part
        if isinstance(i, tuple):
            return self._memory[i]
        if isinstance(i, slice):
            raise TypeError("a view of two dimensions takes one index or two")
        rows, width = self.shape
        i = range(rows)[i]
        code = self._memory.format
        flat = self._memory.cast("B")
        step = width * self._memory.itemsize
        return View(flat[i * step : (i + 1) * step].cast(code), self._guard, self._writable)  # type: ignore[call-overload]

    def __setitem__(self, i: Any, value: Any) -> None:
        self._guard.check()
        if not self._writable:
            raise TypeError("this view is read-only")
        if self._memory.ndim == 2 and isinstance(i, int):
            row = self[i]
            for j, x in enumerate(value):
                row[j] = x
        else:
            self._memory[i] = value

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]

    def tolist(self) -> list[Any]:
        """A copy as lists."""
        self._guard.check()
        return self._memory.tolist()

    def __repr__(self) -> str:
        return f"<stale view: {self._guard.reason}>" if self._guard.reason else f"View({self.tolist()!r})"


def view(address: Any, shape: tuple[int, ...], kind: Any, guard: Guard, owner: Any, writable: bool = False) -> Any:
    """A guarded view of `shape` numbers at an address, which keeps `owner` alive."""
    n = 1
    for size in shape:
        n *= size
    if not n or not address:
        return room((0,) * len(shape) if not address else shape, kind)[1]
    memory = (kind * n).from_address(address)
    memory._owner = owner
    np = numpy_or_none()
    if np is None:
        return View(_shaped(memory, kind, shape), guard, writable)
    made = np.frombuffer(memory, dtype=_CODES[kind]).reshape(shape).view(_array_class(np))
    made.flags.writeable = writable
    made._guard = guard
    return made


def copied(address: int, n: int, kind: Any) -> Any:
    """A ctypes array of its own with n numbers from an address."""
    space = (kind * n)()
    C.memmove(space, address, C.sizeof(space))
    return space


def pointer(p: Any) -> int:
    """Address of a ctypes pointer; 0 for NULL."""
    return C.cast(p, C.c_void_p).value or 0


def _array_class(np: Any) -> Any:
    """The guarded subclass of numpy.ndarray, made when first needed."""
    if "class" in _state:
        return _state["class"]
    plain = np.ndarray

    def bare(value: Any) -> Any:
        """value with guarded arrays in it checked and made plain."""
        if isinstance(value, ArrayView):
            value._check()
            return value.view(plain)
        if isinstance(value, (list, tuple)) and any(isinstance(v, (ArrayView, list, tuple)) for v in value):
            return type(value)(bare(v) for v in value)
        return value

    class ArrayView(np.ndarray):  # type: ignore[misc,unused-ignore]
        """An array over the library's memory that raises StaleError once its owner has moved on."""

        _guard: Guard | None

        def __array_finalize__(self, origin: Any) -> None:
            self._guard = getattr(origin, "_guard", None)

        def _check(self) -> None:
            if self._guard is not None and self._guard.reason is not None:
                self._guard.check()

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
            into = options.get("out")
            if into:
                options["out"] = tuple(bare(o) for o in into)
            result = getattr(ufunc, method)(*(bare(i) for i in inputs), **options)
            return into[0] if into and len(into) == 1 else result

        def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
            del types
            return function(*bare(tuple(arguments)), **{key: bare(value) for key, value in options.items()})

        def __iter__(self) -> Iterator[Any]:
            for i in range(len(self)):
                yield self[i]

        def __repr__(self) -> str:
            if self._guard is not None and self._guard.reason is not None:
                return f"<stale view: {self._guard.reason}>"
            return repr(self.view(plain))

        __str__ = __repr__

    def checked(name: str) -> Any:
        inner = getattr(plain, name)

        def method(self: Any, *arguments: Any, **options: Any) -> Any:
            self._check()
            whole = self.view(plain)
            result = inner(whole, *bare(arguments), **options)
            if type(result) is plain and np.may_share_memory(result, whole):
                result = result.view(ArrayView)
                result._guard = self._guard
            return result

        method.__name__ = name
        method.__doc__ = inner.__doc__
        return method

    special = ["__getitem__", "__setitem__", "__contains__", "__float__", "__int__", "__bool__", "__index__",
               "__complex__", "__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__format__",
               "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"]  # NumPy 1 keeps quiet about errors in these
    for name in special + [n for n in dir(plain) if not n.startswith("_") and callable(getattr(plain, n))]:
        if name not in ("view", "setflags"):  # these act on the array object itself
            setattr(ArrayView, name, checked(name))
    _state["class"] = ArrayView
    return ArrayView
