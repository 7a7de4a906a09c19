# SPDX-License-Identifier: MIT
"""What a program hands into the library: allocators, loggers, progress functions, executors, files."""
from __future__ import annotations

import ctypes as C
import ctypes.util
import io
import sys
import threading
from typing import Any, BinaryIO, Callable, Optional, Union

from . import _declarations as d
from ._library import RAISED, fitting, guarded, pending, text, unraisable

#: progress(stage, done, total): stage is "load", "prefill", "warm-up" or "quantize"; False stops (AbortedError)
Progress = Callable[[str, int, int], Union[bool, None]]
#: logger(level, area, message): level 1 (error) .. 4 (debug); called from several threads at once
Logger = Callable[[int, str, str], None]
#: executor(n, task): calls task(i) for every i < n, all at the same time, and returns when all have returned
Executor = Callable[[int, Callable[[int], None]], None]

_STAGES = {d.MOE_PROGRESS_LOAD: "load", d.MOE_PROGRESS_PREFILL: "prefill", d.MOE_PROGRESS_QUANTIZE: "quantize",
           d.MOE_PROGRESS_WARM_UP: "warm-up"}


def progress_hook(function: Progress) -> Any:
    def call(p: Any, _user: Any) -> int:
        answer: list[Any] = []

        def body() -> None:
            answer.append(function(_STAGES.get(p[0].stage, "?"), p[0].done, p[0].total))

        return guarded(body) or (1 if answer[0] is False else 0)

    return d.moe_progress_fn(call)


def logger_hook(function: Logger, level: int) -> d.moe_logger:
    def write(at: int, area: bytes, message: bytes, _user: Any) -> None:
        try:
            function(at, text(area), text(message))
        except BaseException as error:  # noqa: BLE001 - a log line has nowhere to fail to
            unraisable(error, "a logger")

    return d.moe_logger(level=level, write=d.moe_logger_write(write))


class Allocator:
    """Memory for a model, tokenizer or sampler and all that is made from it: counted, and refused beyond a limit.

    `limit` is in bytes, None for none. `used` and `peak` are what is and was taken. The counting is done in Python, so a
    model opens more slowly with it; an eval allocates nothing and costs nothing."""

    def __init__(self, limit: Optional[int] = None) -> None:
        self.limit = limit
        self.used = 0
        self.peak = 0
        self.n_blocks = 0
        self._lock = threading.RLock()  # taken again where Python's collector runs inside and frees something of ours
        if sys.platform == "win32":
            libc = C.CDLL("msvcrt")
            self._alloc, self._free = libc._aligned_malloc, libc._aligned_free
            self._swapped = False
        else:
            libc = C.CDLL(None)
            self._alloc, self._free = libc.aligned_alloc, libc.free
            self._swapped = True
        self._alloc.restype, self._alloc.argtypes = C.c_void_p, [C.c_size_t, C.c_size_t]
        self._free.restype, self._free.argtypes = None, [C.c_void_p]
        self.struct = d.moe_allocator(alloc=d.moe_allocator_alloc(self._take), free=d.moe_allocator_free(self._give))

    def _take(self, n: int, align: int, _user: Any) -> Optional[int]:
        try:
            with self._lock:
                if self.limit is not None and self.used + n > self.limit:
                    return None
                self.used += n
                self.peak = max(self.peak, self.used)
                self.n_blocks += 1
            align = max(align, 8)
            whole = -(-n // align) * align
            address: Optional[int] = self._alloc(align, whole) if self._swapped else self._alloc(whole, align)
            if address is None:
                with self._lock:
                    self.used -= n
                    self.n_blocks -= 1
            return address
        except BaseException as error:  # noqa: BLE001 - the library is told that there is no memory
            unraisable(error, "an allocator")
            return None

    def _give(self, address: int, n: int, _user: Any) -> None:
        self._free(address)
        with self._lock:
            self.used -= n
            self.n_blocks -= 1


def executor_hook(function: Executor) -> d.moe_executor:
    def run(n: int, task: Any, arg: Any, _user: Any) -> int:
        return guarded(lambda: function(n, lambda i: task(arg, i)))

    return d.moe_executor(run=d.moe_executor_run(run))


class ThreadExecutor:
    """An executor of Python threads that start for each call: an example, and for tests. Slow."""

    def __call__(self, n: int, task: Callable[[int], None]) -> None:
        threads = [threading.Thread(target=task, args=(i,)) for i in range(1, n)]
        for thread in threads:
            thread.start()
        task(0)
        for thread in threads:
            thread.join()


# --------------------------------------------------------------------------------------------------------- streams
def writer(stream: BinaryIO) -> Any:
    def write(data: int, n: int, _user: Any) -> int:
        return guarded(lambda: _write_all(stream, C.string_at(data, n)))

    return d.moe_write_fn(write)


def _write_all(stream: BinaryIO, data: bytes) -> None:
    done = stream.write(data)
    if done is not None and done != len(data):
        raise OSError(f"{done} of {len(data)} bytes were written")


def _read_all(stream: BinaryIO, to: int, n: int) -> None:
    """n bytes from where a stream stands; a raw one may give them in parts."""
    at = 0
    while at < n:
        part = stream.read(n - at)
        if not part:
            raise EOFError(f"the stream ended {n - at} bytes early")
        if len(part) > n - at:
            raise OSError(f"{n - at} bytes were asked for, the stream gave {len(part)}")
        C.memmove(to + at, part, len(part))
        at += len(part)


def reader(stream: BinaryIO) -> Any:
    def read(data: int, n: int, _user: Any) -> int:
        return guarded(lambda: _read_all(stream, data, n))

    return d.moe_read_fn(read)


class File:
    """A moe_file over bytes, a buffer, or a binary stream that can seek. What raises is kept and comes out of the open."""

    def __init__(self, source: Union[bytes, bytearray, memoryview, BinaryIO], name: str = "",
                 sibling: Optional[Callable[[str], Any]] = None) -> None:
        self._lock = threading.Lock()
        self._siblings: list[File] = []
        self._open_sibling = sibling
        self.closed = 0
        self.error: Optional[BaseException] = None
        self._view: Any = None
        self._stream: Optional[BinaryIO] = None
        members: dict[str, Any] = {}
        if isinstance(source, (bytes, bytearray, memoryview)):
            self._view = memoryview(source).cast("B")
            self._n = len(self._view)
            if isinstance(source, bytes):
                self._base = C.cast(C.c_char_p(source), C.c_void_p).value or 0
            elif not self._view.readonly and self._n:
                self._whole = (C.c_char * self._n).from_buffer(self._view)
                self._base = C.addressof(self._whole)
            else:
                self._base = 0
            if self._base:
                members["map"] = d.moe_file_map(self._map)
        elif hasattr(source, "read") and hasattr(source, "seek"):
            self._stream = source
            self._n = source.seek(0, io.SEEK_END)
        else:
            raise TypeError(f"a file is bytes or a binary stream, not {type(source).__name__}")
        if sibling is not None:
            members["sibling"] = d.moe_file_sibling(self._sibling)
        self.struct = d.moe_file(
            name=name.encode() or None, length=d.moe_file_length(lambda _f: self._n),
            read_at=d.moe_file_read_at(self._read_at), close=d.moe_file_close(self._close), **members)

    def _guard(self, body: Callable[[], None]) -> int:
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - may run on any thread; raised by the open
            self.error = self.error or error
            return RAISED
        return 0

    def _read_at(self, _f: Any, off: int, dst: int, n: int) -> int:
        def body() -> None:
            if self._stream is not None:
                with self._lock:
                    self._stream.seek(off)
                    _read_all(self._stream, dst, n)
                return
            part = bytes(self._view[off : off + n])
            if len(part) != n:
                raise EOFError(f"{n} bytes at {off}: only {len(part)} are there")
            C.memmove(dst, part, n)

        return self._guard(body)

    def _map(self, _f: Any, off: int, n: int) -> Optional[int]:
        return self._base + off if off + n <= self._n else None

    def _sibling(self, _f: Any, name: bytes, out: int, out_user: Any) -> int:
        def body() -> None:
            assert self._open_sibling is not None
            file = File(self._open_sibling(text(name)), text(name))
            self._siblings.append(file)
            C.memmove(out, C.byref(file.struct), C.sizeof(d.moe_file))
            out_user[0] = None

        return self._guard(body)

    def _close(self, _f: Any) -> None:
        self.closed += 1


def model_options(*, mmap: bool = True, metadata_only: bool = False, check_data: bool = False, resident: bool = False,
                  threads: int = 0, memory_budget: int = 0, isa: Optional[str] = None,
                  allocator: Optional[Allocator] = None, logger: Optional[Logger] = None, log_level: int = 0,
                  progress: Optional[Progress] = None) -> tuple[d.moe_model_options, dict[str, Any]]:
    """The struct, and what must live as long as the model."""
    flags = (d.MOE_OPEN_NO_MMAP * (not mmap) | d.MOE_OPEN_METADATA_ONLY * metadata_only
             | d.MOE_OPEN_CHECK_DATA * check_data | d.MOE_OPEN_RESIDENT * resident)
    options = d.moe_model_options(flags=flags, n_threads=threads, memory_budget=memory_budget,
                                  isa_max=isa.encode() if isa else None)
    keep: dict[str, Any] = {}
    if allocator is not None:
        options.allocator = C.pointer(allocator.struct)
        keep["allocator"] = allocator
    if logger is not None:
        keep["logger"] = logger_hook(logger, log_level)
        options.logger = C.pointer(keep["logger"])
    if progress is not None:
        keep["progress"] = progress_hook(progress)
        options.progress = keep["progress"]
    return options, keep


def session_options(*, n_ctx: int = 0, n_seq_max: int = 0, n_batch_max: int = 0, n_output_max: int = 0,
                    threads: int = 0, kv_type_k: Optional[str] = None, kv_type_v: Optional[str] = None,
                    keep_partial: bool = False, exact_activations: bool = False, keep_routes: bool = False,
                    executor: Optional[Executor] = None, progress: Optional[Progress] = None,
                    ) -> tuple[d.moe_session_options, dict[str, Any]]:
    kinds = {None: 0, "F16": d.MOE_TYPE_F16, "F32": d.MOE_KV_F32, "BF16": d.MOE_TYPE_BF16,
             "Q8_0": d.MOE_TYPE_Q8_0, "Q4_0": d.MOE_TYPE_Q4_0}
    for kind in (kv_type_k, kv_type_v):
        if kind not in kinds:
            raise ValueError(f"a KV cache is F32, F16, BF16, Q8_0 or Q4_0, not {kind!r}")
    flags = (d.MOE_SESSION_KEEP_PARTIAL * keep_partial | d.MOE_SESSION_EXACT_ACT * exact_activations
             | d.MOE_SESSION_KEEP_ROUTES * keep_routes)
    options = d.moe_session_options(
        flags=flags, n_ctx=fitting(n_ctx, "n_ctx"), n_seq_max=fitting(n_seq_max, "n_seq_max"),
        n_batch_max=fitting(n_batch_max, "n_batch_max"), n_output_max=fitting(n_output_max, "n_output_max"), n_threads=threads,
        kv_type_k=kinds[kv_type_k], kv_type_v=kinds[kv_type_v])
    keep: dict[str, Any] = {}
    if executor is not None:
        keep["executor"] = executor_hook(executor)
        options.executor = C.pointer(keep["executor"])
    if progress is not None:
        keep["progress"] = progress_hook(progress)
        options.progress = keep["progress"]
    return options, keep


__all__ = ["Allocator", "Executor", "File", "Logger", "Progress", "ThreadExecutor", "pending"]
