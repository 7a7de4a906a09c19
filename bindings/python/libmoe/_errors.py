# SPDX-License-Identifier: MIT
"""Exceptions: one class for each status of the library, carrying its message."""
from __future__ import annotations

from . import _declarations as d


class Error(Exception):
    """A call of the library failed. `status` is the number (MOE_E_*), `message` what the library said."""

    status: int = 0

    def __init__(self, message: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return self.message or type(self).__name__


class InvalidError(Error, ValueError):
    """A wrong argument."""

    status = d.MOE_E_INVALID


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""

    status = d.MOE_E_NOMEM


class FileAccessError(Error):
    """The operating system refused a file operation."""

    status = d.MOE_E_IO


class FormatError(Error, ValueError):
    """A damaged or self-contradictory file."""

    status = d.MOE_E_FORMAT


class UnsupportedError(Error):
    """A sound file or request that this build cannot serve."""

    status = d.MOE_E_UNSUPPORTED


class VersionError(Error):
    """Struct, file or library versions do not go together."""

    status = d.MOE_E_VERSION


class RangeError(Error, IndexError):
    """An index, token or position out of range."""

    status = d.MOE_E_RANGE


class StateError(Error, RuntimeError):
    """The call is not legal now."""

    status = d.MOE_E_STATE


class FullError(Error):
    """No room left: KV cache, sequences, output rows, memory budget, threads."""

    status = d.MOE_E_FULL


class BufferError(Error):  # noqa: A001 - the library's name for it
    """The buffer given is too small."""

    status = d.MOE_E_BUFFER


class NotFoundError(Error, LookupError):
    """No such file, key, tensor, token or name."""

    status = d.MOE_E_NOTFOUND


class AbortedError(Error):
    """Interrupted, or a callback said stop."""

    status = d.MOE_E_ABORTED


class CallbackError(Error):
    """A callback broke its contract."""

    status = d.MOE_E_CALLBACK


class PolicyError(Error):
    """A routing policy returned an illegal result."""

    status = d.MOE_E_POLICY


class NumericError(Error, ArithmeticError):
    """Infinite or not-a-number values where finite ones are needed."""

    status = d.MOE_E_NUMERIC


class InternalError(Error):
    """A fault of the library itself; please report it."""

    status = d.MOE_E_INTERNAL


class ClosedError(StateError):
    """The object was closed."""


class StaleError(StateError):
    """A view whose owner has moved on: an eval has replaced the results, a callback is over, the owner is closed."""


#: status -> class
BY_STATUS: dict[int, type[Error]] = {
    kind.status: kind
    for kind in (InvalidError, OutOfMemoryError, FileAccessError, FormatError, UnsupportedError, VersionError,
                 RangeError, StateError, FullError, BufferError, NotFoundError, AbortedError, CallbackError,
                 PolicyError, NumericError, InternalError)
}
