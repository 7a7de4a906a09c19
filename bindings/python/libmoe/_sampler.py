# SPDX-License-Identifier: MIT
"""Sampler chains: from a row of logits to a token."""
from __future__ import annotations

import ctypes as C
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _declarations as d
from ._arrays import Floats, Guard, Ints, copied, given, pointer, view
from ._errors import StateError
from ._hooks import Allocator
from ._library import CLOSED, I32, U64, Handle, Object, check, expect, fitting, guarded, lib

if TYPE_CHECKING:
    from ._session import Session

#: What generate() uses if nothing is told.
DEFAULT_SAMPLER = "top-p:p=0.95;temp:t=0.8;dist"
_PICKING = ("greedy", "dist", "mirostat")

KINDS = {name[len("MOE_SAMPLE_"):].lower().replace("_", "-"): getattr(d, name) for name in dir(d)
         if name.startswith("MOE_SAMPLE_")}


class Candidates:
    """Candidates on their way through the chain: `ids` and `logits` are writable views of `n` numbers, `picked` is the
    index of the chosen one, or -1. A custom stage may edit, reorder and shrink (n >= 1) them; valid during the call.

    The numbers are copies, made when first asked for, which go back when the stage returns: the sampler's own move when it
    is given more of them."""

    __slots__ = ("_c", "_guard", "_ids", "_logits")

    def __init__(self, c: Any, guard: Guard) -> None:
        self._c, self._guard = c, guard
        self._ids: Any = None
        self._logits: Any = None

    def _checked(self) -> Any:
        self._guard.check()
        return self._c

    @property
    def n(self) -> int:
        return int(self._checked().n)

    @n.setter
    def n(self, n: int) -> None:
        if not 0 <= n <= self._checked().n:
            raise ValueError(f"{n} candidates: there are {self._c.n}")
        self._c.n = n

    def __len__(self) -> int:
        return self.n

    @property
    def ids(self) -> Any:
        c = self._checked()
        if self._ids is None:
            self._ids = copied(pointer(c.id), c.n, C.c_int32)
        return view(C.addressof(self._ids), (c.n,), C.c_int32, self._guard, self._ids, True)

    @property
    def logits(self) -> Any:
        c = self._checked()
        if self._logits is None:
            self._logits = copied(pointer(c.logit), c.n, C.c_float)
        return view(C.addressof(self._logits), (c.n,), C.c_float, self._guard, self._logits, True)

    def _give_back(self) -> None:
        for target, numbers in ((self._c.id, self._ids), (self._c.logit, self._logits)):
            if numbers is not None:
                C.memmove(pointer(target), numbers, 4 * self._c.n)

    @property
    def picked(self) -> int:
        return int(self._checked().picked)

    @picked.setter
    def picked(self, i: int) -> None:
        self._checked().picked = i

    @property
    def sorted(self) -> bool:
        return bool(self._checked().sorted)

    @sorted.setter
    def sorted(self, yes: bool) -> None:
        self._checked().sorted = int(yes)


class Sampler(Object):
    """A chain of stages from a row of logits to a token, from text: "top-k:k=40;temp:t=0.8;dist:seed=7"
    (docs/sampling.md). Without a picking stage the best candidate is picked. One thread at a time.

    InvalidError tells what is wrong in the text, and where."""

    __slots__ = ()

    def __init__(self, text: str = "", *, seed: Optional[int] = None, allocator: Optional[Allocator] = None) -> None:
        out = C.c_void_p()
        check(lib.moe_sampler_create(C.byref(out), C.byref(allocator.struct) if allocator else None))
        super().__init__(Handle(out.value or 0, lib.moe_sampler_free, allocator=allocator))
        if text:
            self.add(text)
        if seed is not None:
            self.seed(seed)

    @classmethod
    def for_text(cls, text: str, seed: Optional[int] = None) -> Sampler:
        """A sampler from text that draws: `dist` is added where the text has no stage that picks."""
        if text.split(";")[-1].split(":")[0].strip() not in _PICKING:
            text = f"{text};dist" if text.strip() else "dist"
        return cls(text, seed=seed)

    def add(self, text: str) -> Sampler:
        """Appends stages from text; all or, on failure, none."""
        self._call(lib.moe_sampler_add_named, text.encode())
        return self

    def add_stage(self, kind: Union[int, str], *, n: int = 0, m: int = 0, a: float = 0.0, b: float = 0.0, c: float = 0.0,
                  seed: int = 0, ids: Optional[Ints] = None, values: Optional[Floats] = None) -> Sampler:
        """Appends one stage by its fields (docs/sampling.md); kind is MOE_SAMPLE_* or a name like "top-k"."""
        if isinstance(kind, str):
            if kind not in KINDS:
                raise ValueError(f"no stage is called {kind!r}: {', '.join(KINDS)}")
            kind = KINDS[kind]
        stage = d.moe_sample_stage(kind=kind, n=n, m=m, a=a, b=b, c=c, seed=seed)
        id_row, n_ids = given(() if ids is None else ids, C.c_int32, "ids")
        value_row, n_values = given(() if values is None else values, C.c_float, "values")
        if values is not None and n_values != n_ids:
            raise ValueError(f"{n_ids} ids, but {n_values} values")
        if n_ids:
            stage.ids, stage.n_data = C.cast(id_row, C.POINTER(C.c_int32)), n_ids
        if n_values:
            stage.values = C.cast(value_row, C.POINTER(C.c_float))
        self._call(lib.moe_sampler_add, C.byref(stage))
        return self

    def add_custom(self, stage: Callable[[Candidates], Any]) -> Sampler:
        """Appends a stage in Python: called with Candidates. False stops the pick (AbortedError); what it raises
        comes out of the pick."""

        def apply(c: Any, _user: Any) -> int:
            guard = Guard()
            answer: list[Any] = []

            def body() -> None:
                seen = Candidates(c[0], guard)
                answer.append(stage(seen))
                seen._give_back()

            try:
                return guarded(body) or (1 if answer[0] is False else 0)
            finally:
                guard.end("the stage has returned")

        hook = d.moe_sampler_add_custom_apply(apply)
        self._call(lib.moe_sampler_add_custom, hook, None)
        keep = self._handle.keep
        keep["stages"] = [*keep.get("stages", []), hook]
        return self

    def clone(self) -> Sampler:
        """A copy with the same stages and state."""
        out = C.c_void_p()
        self._enter()
        try:
            handle = self._handle
            check(lib.moe_sampler_clone(C.byref(out), handle.address))
        finally:
            self._lock.release()
        made = Sampler.__new__(Sampler)
        Object.__init__(made, Handle(out.value or 0, lib.moe_sampler_free, **handle.keep))
        return made

    def reset(self) -> None:
        """Forgets accepted tokens and restarts the random numbers; the stages stay."""
        self._call(lib.moe_sampler_reset)

    def seed(self, seed: int) -> None:
        """Sets the seed of every stochastic stage and restarts them."""
        self._call(lib.moe_sampler_set_seed, seed)

    def accept(self, id: int) -> None:
        """Tells the chain that a token was taken."""
        self._call(lib.moe_sampler_accept, fitting(id, "token", I32))

    def _work(self, function: Callable[..., int], *arguments: Any) -> None:
        """A call that runs the chain. A stage cannot make it: it would take the candidates from under the first."""
        self._enter()
        try:
            if self._lock.depth:
                raise StateError("this Sampler is at work: a stage of it cannot have it pick", d.MOE_E_STATE)
            self._call(function, *arguments)
        finally:
            self._lock.release()

    def apply(self, ids: Ints, logits: Floats) -> tuple[list[int], list[float], int]:
        """Runs the chain over candidates: (ids left, their logits, index of the chosen one or -1)."""
        id_row, n = given(list(ids), C.c_int32, "ids")
        logit_row, n_logits = given(list(logits), C.c_float, "logits")
        if n != n_logits:
            raise ValueError(f"{n} ids, but {n_logits} logits")
        c = d.moe_candidates(n=n, id=C.cast(id_row, C.POINTER(C.c_int32)), logit=C.cast(logit_row, C.POINTER(C.c_float)))
        self._work(lib.moe_sampler_apply, C.byref(c))
        return id_row[: c.n], logit_row[: c.n], c.picked

    def pick(self, logits: Union[Floats, "Session"], row: int = 0) -> int:
        """A token from a row of logits [n_vocab], or from a row of a session's. Does not accept it.

        NumericError if no logit is finite, RangeError if there are fewer rows."""
        out = C.c_int32()
        if isinstance(logits, Object):
            from ._session import Session

            with expect(Session, logits)._held() as handle:
                self._work(lib.moe_sampler_pick, handle.address, fitting(row, "row", U64), C.byref(out))
        else:
            values, n = given(logits, C.c_float, "logits")
            self._work(lib.moe_sampler_pick_logits, values, n, C.byref(out))
        return out.value


__all__ = ["CLOSED", "Candidates", "DEFAULT_SAMPLER", "KINDS", "Sampler"]
