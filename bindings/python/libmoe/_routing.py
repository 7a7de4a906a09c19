# SPDX-License-Identifier: MIT
"""Routers, experts, weights, recipes, policies: routing that a program sees and changes. It belongs to the session."""
from __future__ import annotations

import ctypes as C
import contextlib
import dataclasses
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Sequence, Union

from . import _declarations as d
from ._arrays import Floats, Guard, Ints, copied, given, numpy_or_none, pointer, room, view
from ._errors import NotFoundError
from ._info import ExpertInfo, RouterInfo, ShapeInfo, told
from ._library import I32, Handle, check, expect, failure, fitting, guarded, lib, pending, text, unraisable
from ._model import Model, Shared

if TYPE_CHECKING:
    from ._session import Session

ALL = d.MOE_ALL_LAYERS
#: the largest values of members, which ctypes would cut off
_LIMITS = {C.c_uint32: 0xFFFFFFFF, C.c_uint64: 0xFFFFFFFFFFFFFFFF}

#: what an expert may do, by name: Router.use, Expert.use
USES = {"free": d.MOE_USE_FREE, "ban": d.MOE_USE_BAN, "ban-scored": d.MOE_USE_BAN_SCORED, "drop": d.MOE_USE_DROP,
        "drop-renorm": d.MOE_USE_DROP_RENORM, "force": d.MOE_USE_FORCE}
USE_NAMES = {value: name for name, value in USES.items()}
#: numbers that a router keeps for each expert, by name: Router.values, Expert.set_value
EDITS = {"logit-bias": d.MOE_EDIT_LOGIT_BIAS, "select-bias": d.MOE_EDIT_SELECT_BIAS, "pre": d.MOE_EDIT_PRE,
         "post": d.MOE_EDIT_POST, "gain": d.MOE_EDIT_GAIN}
#: places of a layer for Session.on_layer
PLACES = {"input": d.MOE_AT_INPUT, "attn": d.MOE_AT_ATTN, "router": d.MOE_AT_ROUTER, "experts": d.MOE_AT_EXPERTS,
          "output": d.MOE_AT_OUTPUT}
MATRICES = {"gate": d.MOE_EXPERT_GATE, "up": d.MOE_EXPERT_UP, "down": d.MOE_EXPERT_DOWN}
SOURCES = {d.MOE_SOURCE_OWN: "own", d.MOE_SOURCE_REDIRECT: "redirect", d.MOE_SOURCE_WEIGHTS: "weights",
           d.MOE_SOURCE_FUNCTION: "function"}


def number(names: dict[str, int], value: Union[int, str], what: str) -> int:
    """A constant by name or number."""
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"no {what} is called {value!r}: {', '.join(names)}")
        return names[value]
    return int(value)


# -------------------------------------------------------------------------------------------------------- recipes
@dataclasses.dataclass
class RouteSpec:
    """A router's recipe (moe_route_spec; docs/routing.md). Get one, edit it, set it: zero is off, or neutral."""

    score: int = 0
    select: int = 0
    weight: int = 0
    top_k: int = 0
    scale: float = 0.0
    flags: int = 0
    norm: int = 0
    group_score: int = 0
    n_groups: int = 0
    top_groups: int = 0
    n_null: int = 0
    k_min: int = 0
    k_max: int = 0
    temperature: float = 0.0
    top_p: float = 0.0
    threshold: float = 0.0
    epsilon: float = 0.0
    choice: float = 0.0
    null_bias: float = 0.0
    norm_eps: float = 0.0
    norm_p: float = 0.0
    capacity: float = 0.0
    capacity_min: int = 0
    capacity_round: int = 0
    capacity_order: int = 0
    seed: int = 0
    ids: Optional[list[int]] = None

    @classmethod
    def _from(cls, struct: d.moe_route_spec) -> RouteSpec:
        values = {f.name: getattr(struct, f.name) for f in dataclasses.fields(cls) if f.name != "ids"}
        return cls(**values, ids=struct.ids[: struct.n_ids] if struct.ids else None)

    def _struct(self) -> tuple[d.moe_route_spec, Any]:
        kinds: dict[str, Any] = {field[0]: field[1] for field in d.moe_route_spec._fields_}
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "ids"}
        for name, value in values.items():
            if kinds[name] in _LIMITS:
                values[name] = fitting(value, name, _LIMITS[kinds[name]])
            elif kinds[name] is C.c_int32:
                values[name] = fitting(value, name, I32, -I32)
        struct = d.moe_route_spec(**values)
        ids = None
        if self.ids is not None:
            ids, struct.n_ids = given(self.ids, C.c_uint32, "ids")
            struct.ids = C.cast(ids, C.POINTER(C.c_uint32))
        return struct, ids

    def route(self, logits: Floats, *, token: int = 0, pos: int = 0) -> tuple[list[int], list[float]]:
        """Routes one row of logits [n_experts + n_null] outside of any session: (experts, weights), best first."""
        struct, ids = self._struct()
        row, n = given(logits, C.c_float, "logits")
        n_experts = max(n - self.n_null, 0)
        cap = max(n_experts, self.top_k, 1)
        expert, weight, found = (C.c_uint32 * cap)(), (C.c_float * cap)(), C.c_size_t()
        check(lib.moe_route_row(C.byref(struct), row, n_experts, fitting(token, "token", I32, -I32),
                                fitting(pos, "position", I32, -I32), expert, weight, C.byref(found)))
        del ids
        return expert[: found.value], weight[: found.value]

    def find_null_bias(self, logits: Any, target: float) -> tuple[float, float]:
        """The null_bias with which rows of logits [n_rows][n_experts] use `target` real experts on average (AdaMoE),
        and the average reached. ValueError for rows of different lengths."""
        rows = [list(r) for r in logits]
        if any(len(row) != len(rows[0]) for row in rows):
            raise ValueError(f"rows of different lengths: {sorted({len(row) for row in rows})}")
        flat, _ = given([x for r in rows for x in r], C.c_float, "logits")
        struct, ids = self._struct()
        bias, reached = C.c_float(), C.c_double()
        check(lib.moe_route_null_bias(C.byref(struct), flat, len(rows), len(rows[0]) if rows else 0, target,
                                      C.byref(bias), C.byref(reached)))
        del ids
        return bias.value, reached.value


def policy_names() -> dict[str, str]:
    """Rules and family recipes that Router.rule takes, each with a line about it."""
    found: dict[str, str] = {}
    for i in itertools.count():
        summary = C.c_char_p()
        name = lib.moe_policy_name(i, C.byref(summary))
        if name is None:
            return found
        found[text(name)] = text(summary.value)
    raise AssertionError


def measure_shape(*, dim: int, dim_ff_expert: int, n_experts: int, top_k: int, dim_ff_shared: int = 0,
                  n_matrices: int = 0) -> ShapeInfo:
    """Measures of a MoE layer's shape: activation, granularity, parameters (Tian et al. 2025)."""
    shape = d.moe_shape(dim=dim, dim_ff_expert=dim_ff_expert, dim_ff_shared=dim_ff_shared, n_experts=n_experts,
                        top_k=top_k, n_matrices=n_matrices)
    out = d.moe_shape_info()
    check(lib.moe_shape_measure(C.byref(shape), C.byref(out)))
    return told(ShapeInfo, out)


# ---------------------------------------------------------------------------------------------- what callbacks see
class _Window:
    """Members of a C struct, with pointers as guarded views; made when asked for. `owner` is whose memory they show: it
    stays as long as an array made from them. Without one they are copies, in memory of Python's."""

    __slots__ = ("_struct", "_guard", "_owner")

    def __init__(self, struct: Any, guard: Guard, owner: Optional[Handle]) -> None:
        self._struct, self._guard, self._owner = struct, guard, owner

    def _number(self, name: str) -> int:
        self._guard.check()
        return int(getattr(self._struct, name))

    def _view(self, name: str, shape: tuple[int, ...], kind: Any, writable: bool = False) -> Any:
        self._guard.check()
        address = pointer(getattr(self._struct, name))
        if self._owner is not None or not address:
            return view(address, shape, kind, self._guard, self._owner, writable)
        space = self._copy(name, address, shape, kind)
        return view(C.addressof(space), shape, kind, self._guard, space, writable)

    def _copy(self, name: str, address: int, shape: tuple[int, ...], kind: Any) -> Any:
        n = 1
        for size in shape:
            n *= size
        return copied(address, n, kind)

    @property
    def layer(self) -> int:
        """0 .. n_layers-1"""
        return self._number("layer")

    @property
    def n_rows(self) -> int:
        """Rows of the sub-batch."""
        return self._number("n_rows")

    @property
    def token(self) -> Any:
        """int32 [n_rows]; -1 if not known"""
        return self._view("token", (self.n_rows,), C.c_int32)

    @property
    def pos(self) -> Any:
        """int32 [n_rows]"""
        return self._view("pos", (self.n_rows,), C.c_int32)

    @property
    def seq(self) -> Any:
        """int32 [n_rows]"""
        return self._view("seq", (self.n_rows,), C.c_int32)


class RouteView(_Window):
    """One layer's routing of some rows: row t has the pairs offset[t] .. offset[t+1]-1, in order of rank. Arrays are
    views: in an observer valid during the call, else until the next eval."""

    __slots__ = ()

    @property
    def n_experts(self) -> int:
        return self._number("n_experts")

    @property
    def n_logits(self) -> int:
        """Floats of a row of logits: experts, and the model's null experts."""
        return self._number("n_logits")

    @property
    def offset(self) -> Any:
        """uint32 [n_rows + 1]"""
        return self._view("offset", (self.n_rows + 1,), C.c_uint32)

    def _pairs(self) -> int:
        self._guard.check()
        return int(self._struct.offset[self.n_rows])

    @property
    def expert(self) -> Any:
        """uint32 [offset[n_rows]]; EXPERT_NONE where a null expert was chosen"""
        return self._view("expert", (self._pairs(),), C.c_uint32)

    @property
    def weight(self) -> Any:
        """f32 [offset[n_rows]] as applied; 0: chosen, but dropped"""
        return self._view("weight", (self._pairs(),), C.c_float)

    @property
    def logits(self) -> Any:
        """f32 [n_rows][n_logits] of the router, before biases and bans"""
        return self._view("logits", (self.n_rows, self.n_logits), C.c_float)

    def rows(self) -> Iterator[tuple[list[int], list[float]]]:
        """(experts, weights) of each row, as lists."""
        self._guard.check()
        s = self._struct
        for t in range(s.n_rows):
            self._guard.check()
            a, b = s.offset[t], s.offset[t + 1]
            yield s.expert[a:b], (s.weight[a:b] if s.weight else [])


class RouteInput(_Window):
    """Rows that a policy routes. Views, valid during the call."""

    __slots__ = ()

    @property
    def n_experts(self) -> int:
        return self._number("n_experts")

    @property
    def n_null(self) -> int:
        return self._number("n_null")

    @property
    def top_k(self) -> int:
        return self._number("top_k")

    @property
    def dim(self) -> int:
        return self._number("dim")

    def _rows(self, name: str) -> Any:
        stride, n = self._number("stride"), self.n_experts + self.n_null
        whole = self._view(name, (self.n_rows, stride), C.c_float)
        return whole if stride == n or numpy_or_none() is None else whole[:, :n]

    @property
    def logits(self) -> Any:
        """f32 [n_rows][n_experts + n_null] after bias, override, ban and temperature; -inf: banned"""
        return self._rows("logits")

    @property
    def score(self) -> Any:
        """f32 [n_rows][n_experts + n_null]: score(logits)"""
        return self._rows("score")

    @property
    def choice(self) -> Any:
        """f32 [n_rows][n_experts + n_null] to select by; -inf: not to be taken, +inf: forced"""
        return self._rows("choice")

    @property
    def hidden(self) -> Any:
        """f32 [n_rows][dim], if the policy was set with hidden=True; else None"""
        self._guard.check()
        return self._view("hidden", (self.n_rows, self.dim), C.c_float) if self._struct.hidden else None


class ExpertCall(_Window):
    """Rows for an expert written in Python. Valid during the call; copies, since the library's rows go when the last
    function in an expert's place goes. What was written to `y` goes back when the function returns."""

    __slots__ = ("_y",)

    def __init__(self, struct: Any, guard: Guard, owner: Optional[Handle]) -> None:
        super().__init__(struct, guard, owner)
        self._y: Any = None

    def _copy(self, name: str, address: int, shape: tuple[int, ...], kind: Any) -> Any:
        if name != "y":
            return super()._copy(name, address, shape, kind)
        if self._y is None:  # one for all who ask, so that each sees what the others wrote
            self._y = super()._copy(name, address, shape, kind)
        return self._y

    @property
    def index(self) -> int:
        return self._number("index")

    @property
    def dim(self) -> int:
        return self._number("dim")

    @property
    def x(self) -> Any:
        """f32 [n_rows][dim]"""
        return self._view("x", (self.n_rows, self.dim), C.c_float)

    @property
    def y(self) -> Any:
        """f32 [n_rows][dim], writable: the expert's output, unweighted"""
        return self._view("y", (self.n_rows, self.dim), C.c_float, True)


class LayerEvent(_Window):
    """Hidden states on their way. Views, valid during the call."""

    __slots__ = ()

    @property
    def where(self) -> str:
        value = self._number("where")
        return next(name for name, place in PLACES.items() if place == value)

    @property
    def dim(self) -> int:
        return self._number("dim")

    @property
    def hidden(self) -> Any:
        """f32 [n_rows][dim], writable: what is written there is what the model goes on with"""
        return self._view("hidden", (self.n_rows, self.dim), C.c_float, True)


def windowed(window: type[_Window], function: Callable[[Any], Any], session: Optional[Handle] = None,
             finish: Optional[Callable[[Any, Any], None]] = None) -> Any:
    """A C callback (const struct *, void *user) around a Python function of one window: False stops. What it sees is the
    memory of a session, or copied without one."""
    owner = weakref.ref(session) if session is not None else None  # weakly: the session keeps the callback

    def call(p: Any, _user: Any) -> int:
        guard = Guard()
        stop = [0]

        def body() -> None:
            seen = window(p[0], guard, owner() if owner is not None else None)
            answer = function(seen)
            if finish is not None:
                finish(seen, answer)
            elif answer is False:
                stop[0] = 1

        try:
            return guarded(body) or stop[0]
        finally:
            guard.end("the callback has returned")

    return call


# ------------------------------------------------------------------------------------------------------- policies
@dataclasses.dataclass(frozen=True)
class PolicyInfo:
    """What a policy is made for: one router."""

    layer: int
    n_experts: int
    n_null: int
    n_seq_max: int
    spec: RouteSpec


class Policy:
    """A selection rule in Python. Subclass it and write route(); a plain function will do where no state is needed.

    A policy whose result depends on earlier tokens keeps its state per sequence: for_router() makes one object for each
    router, and seq_reset, seq_copy, seq_truncate and seq_remove follow what happens to sequences."""

    def route(self, rows: RouteInput) -> Any:
        """Chooses: experts of each row, best first, as a list of lists or an integer array [n_rows][k]; with weights
        (set_policy(..., weights=True)) a pair (experts, weights). May be EXPERT_NONE; may be no expert at all."""
        raise NotImplementedError

    def for_router(self, info: PolicyInfo) -> Policy:
        """The policy object of one router."""
        del info
        return self

    def seq_reset(self, seq: int) -> None:
        """The sequence (-1: all) was emptied."""

    def seq_copy(self, source: int, target: int) -> None:
        """`target` became a copy of `source`."""

    def seq_truncate(self, seq: int, keep: int) -> None:
        """The sequence now has `keep` tokens."""

    def seq_remove(self, seq: int, first: int, n: int) -> None:
        """Tokens first .. first+n-1 were taken out of the sequence; those behind moved down."""


class _FunctionPolicy(Policy):
    def __init__(self, function: Callable[[RouteInput], Any]) -> None:
        self._function = function

    def route(self, rows: RouteInput) -> Any:
        return self._function(rows)


class _User:
    """What create finds a policy by; kept by the sessions that use it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.number = next(_numbers)
        _users[self.number] = self


class _Making(threading.local):
    """The session for which this thread has policies made: it owns what they will see."""

    session: Optional[weakref.ref[Handle]] = None


_numbers = itertools.count(1)
_users: weakref.WeakValueDictionary[int, _User] = weakref.WeakValueDictionary()
_states: dict[int, tuple[Policy, Optional[weakref.ref[Handle]]]] = {}
_making = _Making()


@contextlib.contextmanager
def policies_of(session: Handle) -> Iterator[None]:
    """Policies that C has made inside the block are this session's."""
    before = _making.session
    _making.session = weakref.ref(session)
    try:
        yield
    finally:
        _making.session = before


def _create(out: Any, info: Any, user: int) -> int:
    def body() -> None:
        i = info[0]
        made = _users[user].policy.for_router(
            PolicyInfo(i.layer, i.n_experts, i.n_null, i.n_seq_max, RouteSpec._from(i.spec[0])))
        if not isinstance(made, Policy):
            raise TypeError(f"for_router() gave {type(made).__name__}, not a Policy")
        state = next(_numbers)
        _states[state] = made, _making.session
        out[0] = state

    return guarded(body)


def _destroy(state: int) -> None:
    try:
        _states.pop(state, None)
    except BaseException as error:  # noqa: BLE001 - at the interpreter's end
        unraisable(error, "a policy")


def _write_rows(out: Any, n_rows: int, answer: Any) -> None:
    experts, weights = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    if len(experts) != n_rows or (weights is not None and len(weights) != n_rows):
        raise ValueError(f"a policy chose experts for {len(experts)} rows, not {n_rows}")
    at = 0
    for t in range(n_rows):
        row, n = given(experts[t], C.c_uint32, f"row {t}: experts")
        if at + n > out.cap:
            raise ValueError(f"row {t}: {n} experts, but a row has room for {out.cap // n_rows} (max_k)")
        C.memmove(C.addressof(out.expert.contents) + 4 * at, row, 4 * n)
        if weights is not None:
            factors, m = given(weights[t], C.c_float, f"row {t}: weights")
            if m != n:
                raise ValueError(f"row {t}: {n} experts, but {m} weights")
            C.memmove(C.addressof(out.weight.contents) + 4 * at, factors, 4 * n)
        at += n
        out.offset[t + 1] = at


def _route(state: int, rows: Any, out: Any) -> int:
    guard = Guard()

    def body() -> None:
        policy, session = _states[state]
        seen = RouteInput(rows[0], guard, session() if session is not None else None)
        _write_rows(out[0], rows[0].n_rows, policy.route(seen))

    try:
        return guarded(body)
    finally:
        guard.end("the policy has returned")


def _told(name: str) -> Callable[..., None]:
    def call(state: int, *arguments: int) -> None:
        guarded(lambda: getattr(_states[state][0], name)(*arguments))

    return call


_TABLE = dict(create=d.moe_policy_create(_create), destroy=d.moe_policy_destroy(_destroy),
              seq_reset=d.moe_policy_seq_reset(_told("seq_reset")), seq_copy=d.moe_policy_seq_copy(_told("seq_copy")),
              seq_truncate=d.moe_policy_seq_truncate(_told("seq_truncate")), route=d.moe_policy_route(_route),
              seq_remove=d.moe_policy_seq_remove(_told("seq_remove")))


# -------------------------------------------------------------------------------------------------------- weights
class Weights(Shared):
    """Weights for experts of a model, to be given to any number of experts and sessions.

    Weights(model, gate=[dim_ff][dim], up=[dim_ff][dim], down=[dim][dim_ff]): arrays of numbers (f32; f16 NumPy arrays
    stay f16). Or bytes of blocks with types={"gate": "Q8_0", ...}. copy=False uses NumPy arrays where they lie: they are
    kept, and must not be changed. Raises InvalidError (names the member), UnsupportedError, NumericError."""

    __slots__ = ()

    def __init__(self, model: Model, gate: Any, up: Any, down: Any, *, types: Optional[dict[str, str]] = None,
                 copy: bool = True) -> None:
        info = expect(Model, model).info
        struct = d.moe_expert_weights(flags=0 if copy else d.MOE_WEIGHTS_BORROW, dim=info.dim, dim_ff=info.dim_ff_expert)
        keep: dict[str, Any] = {}
        for name, values in (("gate", gate), ("up", up), ("down", down)):
            kind, data, n_bytes = _matrix(name, values, (types or {}).get(name))
            setattr(struct, f"type_{name}", kind)
            setattr(struct, name, C.cast(data, C.c_void_p))
            setattr(struct, f"{name}_bytes", n_bytes)
            keep[name] = data
        out = C.c_void_p()
        check(lib.moe_weights_create(C.byref(out), model._handle.address, C.byref(struct)))
        super().__init__(Handle(out.value or 0, lib.moe_weights_release, **({} if copy else keep)))

    def share(self) -> Weights:
        """A second object for the same weights, with a reference of its own."""
        made = Weights.__new__(Weights)
        handle = self._handle
        Shared.__init__(made, Handle(lib.moe_weights_retain(handle.address), lib.moe_weights_release, **handle.keep))
        return made


def type_number(name: str) -> int:
    """MOE_TYPE_* of a type's name. ValueError if the library does not know it."""
    for i in range(lib.moe_type_count()):
        kind = lib.moe_type_at(i)
        if text(lib.moe_type_name(kind)) == name:
            return int(kind)
    raise ValueError(f"no tensor type is called {name!r}")


def _matrix(name: str, values: Any, kind: Optional[str]) -> tuple[int, Any, int]:
    """(MOE_TYPE_*, ctypes array, bytes) of one matrix."""
    if kind is not None:
        raw = bytes(values)
        return type_number(kind), (C.c_uint8 * len(raw)).from_buffer_copy(raw), len(raw)
    np = numpy_or_none()
    if np is not None and not isinstance(values, (bytes, bytearray, memoryview)):
        array = np.asarray(values)
        if array.dtype == np.float16:
            whole = np.ascontiguousarray(array)
            data = (C.c_uint8 * whole.nbytes).from_address(whole.ctypes.data)
            data._keep = whole
            return d.MOE_TYPE_F16, data, whole.nbytes
        values = array
    elif not isinstance(values, memoryview) and len(values) and isinstance(values[0], (list, tuple)):
        values = [x for row in values for x in row]
    data, n = given(values, C.c_float, name)
    return d.MOE_TYPE_F32, data, 4 * n


# ----------------------------------------------------------------------------------------------- routers, experts
class _Part:
    """Something that a session lends: lives as long as it, on its thread."""

    __slots__ = ("_session", "_address", "layer")

    def __init__(self, session: Session, address: int, layer: int) -> None:
        self._session, self._address, self.layer = session, address, layer

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        session = self._session
        session._enter()
        try:
            handle = session._touch()  # kept to the end: a callback may close the session
            status = function(self._address, *arguments)
            if status < 0 or pending.error is not None:
                raise failure(status)
        finally:
            session._lock.release()


class Router(_Part):
    """The router of a layer in one session; `session.routers` stands for all of them: setters reach all or none, and
    getters raise StateError."""

    __slots__ = ()

    @property
    def info(self) -> RouterInfo:
        out = d.moe_router_info()
        self._call(lib.moe_router_get_info, C.byref(out))
        return told(RouterInfo, out)

    @property
    def n_experts(self) -> int:
        if self.layer == ALL:
            return self._session.model.info.n_experts
        return self._session.model.layer(self.layer).n_experts

    # -- recipe
    def _spec(self, which: int) -> RouteSpec:
        out = d.moe_route_spec()
        self._call(lib.moe_router_get_spec, which, C.byref(out))
        return RouteSpec._from(out)

    @property
    def spec(self) -> RouteSpec:
        """The recipe in use. Setting it ends a policy; steering stays."""
        return self._spec(d.MOE_SPEC_CURRENT)

    @spec.setter
    def spec(self, spec: RouteSpec) -> None:
        struct, ids = spec._struct()
        self._call(lib.moe_router_set_spec, C.byref(struct))
        del ids

    @property
    def native_spec(self) -> RouteSpec:
        """The model's own recipe."""
        return self._spec(d.MOE_SPEC_NATIVE)

    @property
    def rule(self) -> str:
        """The recipe as text: "topp:p=0.4,kmin=1", "topk:k=2", "native", ... (docs/routing.md; policy_names())."""
        session = self._session
        n, cap = C.c_size_t(), 256
        while True:
            dst = C.create_string_buffer(cap)
            session._enter()
            try:
                session._touch()
                status = lib.moe_router_get_named(self._address, dst, cap, C.byref(n))
                if status < 0 and status != d.MOE_E_BUFFER:
                    raise failure(status)
            finally:
                session._lock.release()
            if status == 0:
                return text(dst.raw[: n.value])
            cap = n.value

    @rule.setter
    def rule(self, rule: str) -> None:
        self._call(lib.moe_router_set_named, rule.encode())

    def set_policy(self, policy: Union[Policy, Callable[[RouteInput], Any], None], *, name: str = "python", max_k: int = 0,
                   weights: bool = False, hidden: bool = False, batch_coupled: bool = False) -> None:
        """Has Python select: a Policy, or a function of RouteInput that returns the experts of each row. Called once
        per layer and sub-batch. None: the recipe's rule again. PolicyError comes out of the eval if the result is
        illegal, and whatever the policy raises."""
        if policy is None:
            self._call(lib.moe_router_set_policy, None, None)
            return
        user = _User(policy if isinstance(policy, Policy) else _FunctionPolicy(policy))
        flags = (d.MOE_POLICY_WEIGHTS * weights | d.MOE_POLICY_HIDDEN * hidden | d.MOE_POLICY_BATCH_COUPLED * batch_coupled)
        struct = d.moe_policy(name=name.encode(), flags=flags, max_k=fitting(max_k, "max_k"), **_TABLE)
        with policies_of(self._session._handle):
            self._call(lib.moe_router_set_policy, C.byref(struct), user.number)
        self._session._retain(("policy", self.layer), user)

    def reset(self) -> None:
        """Back to the model's own routing: recipe, steering, limits, overrides, experts."""
        self._call(lib.moe_router_reset)

    # -- steering
    @property
    def use(self) -> list[str]:
        """What every expert may do: "free", "ban", "ban-scored", "drop", "drop-renorm", "force". Set a list of them, or a
        mapping {expert: use} (the others are then free)."""
        n = self.n_experts
        row = (C.c_uint8 * n)()
        self._call(lib.moe_router_get_use, row, n)
        return [USE_NAMES[value] for value in row]

    @use.setter
    def use(self, use: Union[Sequence[Union[int, str]], dict[int, Union[int, str]]]) -> None:
        if isinstance(use, dict):
            n = self.n_experts
            for i in use:
                if not 0 <= i < n:
                    raise IndexError(f"expert {i}: there are {n}")
            use = [use.get(i, "free") for i in range(n)]
        row, n = given([number(USES, value, "use") for value in use], C.c_uint8, "use")
        self._call(lib.moe_router_set_use, row, n)

    def values(self, kind: Union[int, str]) -> Any:
        """A number of every expert, f32 [n_experts]: "logit-bias", "select-bias", "pre", "post", "gain"."""
        space, result = room((self.n_experts,), C.c_float)
        self._call(lib.moe_router_get_values, number(EDITS, kind, "value"), space, len(space))
        return result

    def set_values(self, kind: Union[int, str], values: Optional[Floats]) -> None:
        """Sets a number for every expert; None: the neutral value for all."""
        if values is None:
            self._call(lib.moe_router_set_values, number(EDITS, kind, "value"), None, 0)
        else:
            row, n = given(values, C.c_float)
            self._call(lib.moe_router_set_values, number(EDITS, kind, "value"), row, n)

    def limit(self, ids: Optional[Ints], *, seq: int = d.MOE_ALL_SEQS) -> None:
        """Limits a sequence (or all) to some experts; None: no limit."""
        if ids is None:
            self._call(lib.moe_router_set_limit, fitting(seq, "sequence", I32, -1), None, 0)
        else:
            row, n = given(ids, C.c_uint32, "ids")
            self._call(lib.moe_router_set_limit, fitting(seq, "sequence", I32, -1), row, n)

    def override(self, row: Floats, *, kind: str = "logits", seq: int = d.MOE_ALL_SEQS, first: int = 0,
                 last: int = -1) -> None:
        """Puts a row [n_experts] in the place of the router's "logits" or "scores" for positions first .. last (-1: all
        that follow). Of several that fit a token the one added last counts."""
        values, n = given(row, C.c_float, "row")
        if n != self.n_experts:
            raise ValueError(f"an override row has {self.n_experts} numbers, not {n}")
        kinds = {"logits": d.MOE_OVERRIDE_LOGITS, "scores": d.MOE_OVERRIDE_SCORES}
        struct = d.moe_route_override(
            kind=number(kinds, kind, "override"), seq=fitting(seq, "sequence", I32, -1), first=fitting(first, "position", I32),
            last=fitting(last, "position", I32, -1), row=C.cast(values, C.POINTER(C.c_float)))
        self._call(lib.moe_router_add_override, C.byref(struct))

    def clear_overrides(self) -> None:
        """Removes all override rows."""
        self._call(lib.moe_router_clear_overrides)

    # -- looking
    @property
    def last(self) -> RouteView:
        """The routing of the rows computed last (session made with keep_routes=True). Views, valid until the next eval."""
        session, out = self._session, d.moe_route_view()
        with session._held() as handle:
            self._call(lib.moe_router_last, C.byref(out))
            return RouteView(out, session._results_guard(), handle)

    def route(self, hidden: Any) -> RouteView:
        """Routes rows [n_rows][dim] of the program's own (the router's input, after the norm), as at positions 0 and up of
        sequence 0. Views, valid until the next call on this session."""
        flat, n_rows = _rows(hidden, self._session.model.info.dim)
        session, out = self._session, d.moe_route_view()
        with session._held() as handle:
            self._call(lib.moe_router_route, flat, n_rows, C.byref(out))
            session._handle.address  # raises: a policy closed it
            return RouteView(out, session._routed_guard(), handle)

    # -- experts
    def expert(self, index: int) -> Expert:
        """The expert of that number. RangeError past the end."""
        out = C.c_void_p()
        self._call(lib.moe_router_expert, fitting(index, "expert"), C.byref(out))
        return Expert(self._session, out.value or 0, self.layer, index)

    @property
    def experts(self) -> list[Expert]:
        return [self.expert(i) for i in range(self.n_experts)]

    def __len__(self) -> int:
        return self.n_experts

    def __getitem__(self, index: int) -> Expert:
        return self.expert(index)

    def __repr__(self) -> str:
        return "<Router of all layers>" if self.layer == ALL else f"<Router of layer {self.layer}>"


def _rows(values: Any, width: int) -> tuple[Any, int]:
    """(flat ctypes array, number of rows) of rows of this width."""
    np = numpy_or_none()
    shape = getattr(values, "shape", None)
    if shape is None or np is None:
        if len(values) and not isinstance(values[0], (int, float)):
            if any(len(row) != width for row in values):
                raise ValueError(f"expected rows of {width} numbers, found {sorted({len(row) for row in values})}")
            values = [x for row in values for x in row]
    elif len(shape) > 2 or shape[-1] != width:
        raise ValueError(f"expected rows of {width} numbers, found an array of shape {tuple(shape)}")
    flat, n = given(values, C.c_float, "rows")
    if n % width:
        raise ValueError(f"expected rows of {width} numbers, found {n} numbers")
    return flat, n // width


class Expert(_Part):
    """One expert in one session, or the same one in all layers (`session.routers.expert(i)`)."""

    __slots__ = ("index",)

    def __init__(self, session: Session, address: int, layer: int, index: int) -> None:
        super().__init__(session, address, layer)
        self.index = index

    @property
    def info(self) -> ExpertInfo:
        out = d.moe_expert_info()
        self._call(lib.moe_expert_get_info, C.byref(out))
        return told(ExpertInfo, out)

    @property
    def source(self) -> str:
        """Whose weights it uses: "own", "redirect", "weights", "function"."""
        return SOURCES[self.info.source]

    @property
    def use(self) -> str:
        """What it may do: "free", "ban", "ban-scored", "drop", "drop-renorm", "force"."""
        return USE_NAMES[self.info.use]

    @use.setter
    def use(self, use: Union[int, str]) -> None:
        self._call(lib.moe_expert_set_use, number(USES, use, "use"))

    def set_value(self, kind: Union[int, str], value: float) -> None:
        """Sets "logit-bias", "select-bias", "pre", "post" or "gain"; `info` tells them."""
        self._call(lib.moe_expert_set_value, number(EDITS, kind, "value"), value)

    def read(self, which: str) -> Any:
        """A matrix of the weights in use as f32 (a copy): "gate", "up" [dim_ff][dim], "down" [dim][dim_ff].

        NotFoundError for a function."""
        number_ = number(MATRICES, which, "matrix")
        info = self._session.model.info
        n = C.c_size_t()
        shape = (info.dim, info.dim_ff_expert) if which == "down" else (info.dim_ff_expert, info.dim)
        space, result = room(shape, C.c_float)
        self._call(lib.moe_expert_read, number_, space, len(space), C.byref(n))
        return result

    @property
    def gate(self) -> Any:
        return self.read("gate")

    @property
    def up(self) -> Any:
        return self.read("up")

    @property
    def down(self) -> Any:
        return self.read("down")

    def replace(self, weights: Union[Weights, Callable[[ExpertCall], Any], None] = None, *, gate: Any = None,
                up: Any = None, down: Any = None) -> None:
        """Has it use brought weights, or arrays (missing ones stay as they are), or a function of ExpertCall that
        returns [n_rows][dim], or fills in call.y and returns None. In this session, until restore()."""
        if weights is None:
            if gate is None and up is None and down is None:
                raise TypeError("replace() needs weights, arrays, or a function")
            weights = Weights(self._session.model, self.gate if gate is None else gate, self.up if up is None else up,
                              self.down if down is None else down)
        key = ("expert", self.layer, self.index)
        if isinstance(weights, Weights):
            handle = weights._handle
            self._call(lib.moe_expert_replace, handle.address)
            self._session._retain(key, handle if handle.keep else None)
        elif callable(weights):
            hook = d.moe_expert_fn(windowed(ExpertCall, weights, finish=_fill_expert))
            self._call(lib.moe_expert_replace_fn, hook, None)
            self._session._retain(key, hook)
        else:
            raise TypeError(f"an expert is replaced by Weights or a function, not {type(weights).__name__}")

    def redirect(self, index: int, layer: Optional[int] = None) -> None:
        """Has it use another expert's own weights; of its own layer if none is told."""
        self._call(lib.moe_expert_redirect, ALL if layer is None else fitting(layer, "layer"), fitting(index, "expert"))

    def restore(self) -> None:
        """Has it use its own weights again. Uses and numbers stay."""
        self._call(lib.moe_expert_restore)

    def apply(self, x: Any) -> Any:
        """Runs it on rows [n_rows][dim] of the program's own, without weight and gain: f32 [n_rows][dim]."""
        width = self._session.model.info.dim
        flat, n_rows = _rows(x, width)
        space, result = room((n_rows, width), C.c_float)
        self._call(lib.moe_expert_apply, flat, n_rows, space)
        return result

    def __repr__(self) -> str:
        where = "all layers" if self.layer == ALL else f"layer {self.layer}"
        return f"<Expert {self.index} of {where}>"


def _fill_expert(call: Any, answer: Any) -> None:
    if answer is None:
        if call._y is not None:
            C.memmove(pointer(call._struct.y), call._y, C.sizeof(call._y))
        return
    flat, n_rows = _rows(answer, call.dim)
    if n_rows != call.n_rows:
        raise ValueError(f"an expert function gave {n_rows} rows, not {call.n_rows}")
    C.memmove(pointer(call._struct.y), flat, 4 * n_rows * call.dim)


__all__ = ["NotFoundError"]
