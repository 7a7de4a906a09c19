# SPDX-License-Identifier: MIT
"""Profiles (statistics of every expert), traces (what was chosen, token by token), and their analysis."""
from __future__ import annotations

import ctypes as C
from typing import Any, NamedTuple, Optional, Sequence, Union

from . import _declarations as d
from ._arrays import Ints, given, numpy_or_none, pointer, room
from ._hooks import Allocator
from ._info import FoundExpert, ProfileInfo, RouterProfile, TraceInfo, told
from ._library import U64, Handle, Object, check, count, expect, fitting, lib, path_bytes
from ._model import Model, Path
from ._routing import RouteView, number

#: arrays of Profile.read, by name
ARRAYS = {name[len("MOE_PROFILE_"):].lower().replace("_", "-"): value for name, value in vars(d).items()
          if name.startswith("MOE_PROFILE_") and name not in ("MOE_PROFILE_OUTPUTS", "MOE_PROFILE_PAIRS")}
RANKS = {"npmi": d.MOE_RANK_NPMI, "diff": d.MOE_RANK_DIFF, "rate": d.MOE_RANK_RATE}
LEVELS = {"expert": d.MOE_SRP_EXPERT, "layer": d.MOE_SRP_LAYER, "model": d.MOE_SRP_MODEL}
CACHES = {"lru": d.MOE_CACHE_LRU, "lfu": d.MOE_CACHE_LFU, "belady": d.MOE_CACHE_BELADY, "sch": d.MOE_CACHE_SCH}
_NONE = 0xFFFFFFFF


def _or_none(value: Optional[int], what: str) -> int:
    return _NONE if value is None else fitting(value, what)


def _finds(call: Any, n: int) -> tuple[list[FoundExpert], int]:
    rows = (d.moe_expert_find * max(n, 1))()
    for row in rows:
        row.size = C.sizeof(d.moe_expert_find)
    found = C.c_size_t()
    call(rows, C.byref(found))
    return [told(FoundExpert, row) for row in rows[: min(n, found.value)]], found.value


class Profile(Object):
    """Statistics of a model's routers and experts, gathered while sessions run:

        with Profile(model, outputs=True) as p, session.profiled(p): session.eval(tokens)
        p.counts()                         # [n_layers][n_experts]

    Profile(model, *, outputs=False, pairs=False, n_classes=1, n_tokens_max=0, n_pos_max=0). One thread at a time."""

    __slots__ = ("_model",)

    def __init__(self, model: Model, *, outputs: bool = False, pairs: bool = False, n_classes: int = 0,
                 n_tokens_max: int = 0, n_pos_max: int = 0) -> None:
        options = d.moe_profile_options(flags=d.MOE_PROFILE_OUTPUTS * outputs | d.MOE_PROFILE_PAIRS * pairs,
                                        n_classes=fitting(n_classes, "n_classes"),
                                        n_tokens_max=fitting(n_tokens_max, "n_tokens_max"),
                                        n_pos_max=fitting(n_pos_max, "n_pos_max"))
        out = C.c_void_p()
        parent = expect(Model, model)._handle
        check(lib.moe_profile_create(C.byref(out), parent.address, C.byref(options)))
        super().__init__(Handle(out.value or 0, lib.moe_profile_free, model=parent))

    @classmethod
    def load(cls, path: Path, model: Optional[Model] = None) -> Profile:
        """Reads a profile. Without a model it cannot be given to a session."""
        out = C.c_void_p()
        parent = None if model is None else expect(Model, model)._handle
        check(lib.moe_profile_load_file(C.byref(out), None if parent is None else parent.address, path_bytes(path)))
        made = cls.__new__(cls)
        Object.__init__(made, Handle(out.value or 0, lib.moe_profile_free, model=parent))
        return made

    def save(self, path: Path) -> None:
        """Writes it to a file that appears when whole."""
        self._call(lib.moe_profile_save_file, path_bytes(path))

    def begin(self, cls: int = 0) -> None:
        """Begins a prompt: tokens that follow are of this class."""
        self._call(lib.moe_profile_begin, fitting(cls, "class"))

    def mark(self, ids: Ints, cls: Optional[int]) -> None:
        """Marks tokens of the vocabulary: they are of this class wherever they come. None takes marks away."""
        row, n = given(ids, C.c_int32, "ids")
        self._call(lib.moe_profile_mark, _or_none(cls, "class"), row, n)

    def add(self, routing: RouteView) -> None:
        """Counts routing that comes from elsewhere: an observer's view, Router.last, Router.route()."""
        expect(RouteView, routing)._guard.check()
        self._call(lib.moe_profile_add, C.byref(routing._struct))

    def reset(self) -> None:
        """Forgets all counts; options and marks stay."""
        self._enter()
        try:
            self._ask(lib.moe_profile_reset)
        finally:
            self._lock.release()

    def merge(self, other: Profile) -> None:
        """Adds the counts of another profile of the same shape and options."""
        expect(Profile, other)._enter()
        try:
            theirs = other._handle
            self._call(lib.moe_profile_merge, theirs.address)
        finally:
            other._lock.release()

    @property
    def info(self) -> ProfileInfo:
        out = d.moe_profile_info()
        self._call(lib.moe_profile_get_info, C.byref(out))
        return told(ProfileInfo, out)

    def router(self, layer: int) -> RouterProfile:
        """Statistics of one router; zeros for a dense layer. RangeError past the end."""
        out = d.moe_router_profile()
        self._call(lib.moe_profile_router, fitting(layer, "layer"), C.byref(out))
        return told(RouterProfile, out)

    def read(self, what: Union[int, str], layer: int) -> Any:
        """An array of one router, f64: "count", "weight", "prob", "top1", "saliency", "norm", "max", "max-channel"
        [n_experts]; "together" [n][n]; "k" [n+1]; "class-count", "class-weight", "npmi" [n_classes][n];
        "class-tokens", "class-prompts" [n_classes]; "drops" [n_pos_max]. NotFoundError if made without it."""
        which = number(ARRAYS, what, "array")
        info = self.info
        n, c = info.n_experts, info.n_classes
        shapes: dict[int, tuple[int, ...]] = {
            d.MOE_PROFILE_TOGETHER: (n, n), d.MOE_PROFILE_K: (n + 1,), d.MOE_PROFILE_CLASS_COUNT: (c, n),
            d.MOE_PROFILE_CLASS_WEIGHT: (c, n), d.MOE_PROFILE_CLASS_TOKENS: (c,), d.MOE_PROFILE_CLASS_PROMPTS: (c,),
            d.MOE_PROFILE_NPMI: (c, n), d.MOE_PROFILE_DROPS: (info.n_pos_max,)}
        space, result = room(shapes.get(which, (n,)), C.c_double)
        length = C.c_size_t()
        self._call(lib.moe_profile_read, fitting(layer, "layer"), which, space, len(space), C.byref(length))
        return result

    def counts(self, what: str = "count") -> Any:
        """An array [n_experts] of every layer: [n_layers][n_experts], zeros for dense layers."""
        rows = [self.read(what, layer) for layer in range(self.info.n_layers)]
        np = numpy_or_none()
        return [row.tolist() for row in rows] if np is None else np.stack(rows)

    def super_experts(self) -> list[FoundExpert]:
        """Super Experts (Su et al. 2025), largest output first. Needs outputs=True."""
        info = self.info
        found, _ = _finds(lambda rows, n: self._call(lib.moe_profile_super, rows, len(rows), n),
                          info.n_layers * info.n_experts)
        return found

    def rank(self, cls: int, *, by: str = "rate", other: Optional[int] = None, n: Optional[int] = None) -> list[FoundExpert]:
        """Experts of all layers by what ties them to a class, best first: "npmi" (RICE), "diff" (MoTE), "rate". `other`
        is the class to compare with; None: all others together. n: the best n, ValueError if it is negative."""
        info = self.info
        most = info.n_layers * info.n_experts
        wanted = most if n is None else min(count(n, "experts"), most)
        found, _ = _finds(lambda rows, got: self._call(
            lib.moe_profile_rank, number(RANKS, by, "measure"), fitting(cls, "class"), _or_none(other, "class"), rows, wanted,
            got), wanted)
        return found

    def plot(self, what: str = "count", *, ax: Any = None, share: bool = True) -> Any:
        """A heat map of layers x experts with matplotlib; returns the axes. share: each layer's shares in percent."""
        from matplotlib import pyplot

        rows = [list(map(float, row)) for row in self.counts(what)]
        if share:
            rows = [[100.0 * x / (sum(row) or 1.0) for x in row] for row in rows]
        if ax is None:
            _, ax = pyplot.subplots()
        image = ax.imshow(rows, aspect="auto", cmap="viridis")
        ax.set_xlabel("expert")
        ax.set_ylabel("layer")
        ax.set_title(f"{what}: share of the layer, %" if share else what)
        ax.figure.colorbar(image, ax=ax)
        return ax


class TraceRow(NamedTuple):
    """One token in one layer. expert, weight and logits are copies: the trace's own rows move while it records."""

    request: int
    pos: int
    token: int
    model_layer: int
    expert: Any  #: uint32 [k], best first
    weight: Any  #: f32 [k], or None
    logits: Any  #: f32 [n_experts], or None


def _row(numbers: Any, n: int, kind: Any) -> Any:
    space, result = room((n,), kind)
    C.memmove(space, pointer(numbers), C.sizeof(space))
    return result


class Trace(Object):
    """What routers chose, token by token: `session.trace(Trace(model))`, or observe() with views. One thread at a time.

    Trace(model=None, *, logits=False, weights=False, allocator=None); without a model set_shape() tells the shape."""

    __slots__ = ()

    def __init__(self, model: Optional[Model] = None, *, logits: bool = False, weights: bool = False,
                 allocator: Optional[Allocator] = None) -> None:
        out = C.c_void_p()
        parent = None if model is None else expect(Model, model)._handle
        check(lib.moe_trace_create(C.byref(out), None if parent is None else parent.address,
                                   d.MOE_TRACE_LOGITS * logits | d.MOE_TRACE_WEIGHTS * weights,
                                   C.byref(allocator.struct) if allocator else None))
        super().__init__(Handle(out.value or 0, lib.moe_trace_free, allocator=allocator, model=parent))

    @classmethod
    def load(cls, path: Path, *, allocator: Optional[Allocator] = None) -> Trace:
        """Reads a trace. FormatError, VersionError, NotFoundError."""
        out = C.c_void_p()
        check(lib.moe_trace_load_file(C.byref(out), path_bytes(path), C.byref(allocator.struct) if allocator else None))
        made = cls.__new__(cls)
        Object.__init__(made, Handle(out.value or 0, lib.moe_trace_free, allocator=allocator))
        return made

    def save(self, path: Path) -> None:
        """Writes it to a file that appears when whole."""
        self._call(lib.moe_trace_save_file, path_bytes(path))

    def set_shape(self, n_layers: int, n_experts: int) -> None:
        """Tells an empty trace without a model its shape."""
        self._call(lib.moe_trace_set_shape, fitting(n_layers, "n_layers"), fitting(n_experts, "n_experts"))

    def begin(self, request: int) -> None:
        """Begins a request: what follows belongs to it."""
        self._call(lib.moe_trace_begin, fitting(request, "request", _NONE))

    def add(self, routing: RouteView) -> None:
        """Records a layer's routing; layers must come in the order in which they run."""
        expect(RouteView, routing)._guard.check()
        self._enter()
        try:
            handle = self._handle
            check(lib.moe_trace_observe(C.byref(routing._struct), handle.address))
        finally:
            self._lock.release()

    def trim(self) -> None:
        """Forgets tokens that lack layers."""
        self._call(lib.moe_trace_trim)

    @property
    def info(self) -> TraceInfo:
        out = d.moe_trace_info()
        self._call(lib.moe_trace_get_info, C.byref(out))
        return told(TraceInfo, out)

    def __len__(self) -> int:
        return self.info.n_tokens

    def at(self, i: int, layer: int) -> TraceRow:
        """Token i in layer 0 .. n_layers-1 of the trace. RangeError past the end."""
        out = d.moe_trace_row()
        self._enter()  # to the last number: what the row points to is the trace's
        try:
            n_experts = self.info.n_experts
            self._call(lib.moe_trace_at, fitting(i, "token", U64), fitting(layer, "layer"), C.byref(out))
            return TraceRow(out.request, out.pos, out.token, out.model_layer, _row(out.expert, out.k, C.c_uint32),
                            _row(out.weight, out.k, C.c_float) if out.weight else None,
                            _row(out.logits, n_experts, C.c_float) if out.logits else None)
        finally:
            self._lock.release()

    def experts(self) -> list[list[list[int]]]:
        """Experts of every token and layer: [n_tokens][n_layers][k]."""
        out = d.moe_trace_row()
        whole = []
        self._enter()
        try:
            info = self.info
            for i in range(info.n_tokens):
                layers = []
                for layer in range(info.n_layers):
                    self._call(lib.moe_trace_at, i, layer, C.byref(out))
                    layers.append(out.expert[: out.k])
                whole.append(layers)
        finally:
            self._lock.release()
        return whole

    def reuse(self, layer: Optional[int] = None) -> float:
        """Share of a token's experts that the token before it had too; None: the mean over layers."""
        out = C.c_double()
        self._call(lib.moe_trace_reuse, _or_none(layer, "layer"), C.byref(out))
        return out.value

    def srp(self, window: int, *, layer: Optional[int] = None, level: str = "expert") -> tuple[float, float]:
        """Segment routing best performance (Liang et al. 2026) and the size of the set: how well the experts of
        `window` tokens in a row are told by one set. level: "expert", "layer", "model"."""
        srp, rho = C.c_double(), C.c_double()
        self._call(lib.moe_trace_srp, _or_none(layer, "layer"), fitting(window, "window"), number(LEVELS, level, "level"),
                   C.byref(srp), C.byref(rho))
        return srp.value, rho.value

    def cache(self, capacity: Sequence[int], policy: str = "lru", *, layer: Optional[int] = None, window: int = 0,
              warm: bool = False) -> Any:
        """Hit rates f64 [n] of caches of `capacity` experts: "lru", "lfu", "belady", "sch" (with a window). layer: a
        cache for it alone; None: one for all layers."""
        sizes, n = given(capacity, C.c_uint32, "capacity")
        space, result = room((n,), C.c_double)
        self._call(lib.moe_trace_cache, number(CACHES, policy, "cache") | d.MOE_CACHE_WARM * warm,
                   _or_none(layer, "layer"), fitting(window, "window"), sizes, n, space)
        return result

    def plot(self, layer: int = 0, *, ax: Any = None) -> Any:
        """Which experts each token used in a layer, as a picture (matplotlib); returns the axes."""
        from matplotlib import pyplot

        chosen = [row[layer] for row in self.experts()]
        if ax is None:
            _, ax = pyplot.subplots()
        ax.scatter([i for i, row in enumerate(chosen) for _ in row], [e for row in chosen for e in row], s=4)
        ax.set_xlabel("token")
        ax.set_ylabel("expert")
        ax.set_title(f"layer {layer}")
        return ax
