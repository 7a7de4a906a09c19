# SPDX-License-Identifier: MIT
from __future__ import annotations

import pathlib
from typing import Any

import pytest

import libmoe

TOKENS = [5, 17, 90, 33, 4, 61]


def logits(session: libmoe.Session, tokens: list[int] = TOKENS) -> list[float]:
    session.reset()
    session.eval(tokens)
    return list(session.logits())


def test_recipes(tiny: libmoe.Model) -> None:
    with tiny.session() as s:
        native = logits(s)
        r = s.router(1)
        assert len(r) == r.n_experts == 8 and r.info.is_native and r.info.max_k == 3
        assert r.spec == r.native_spec and r.spec.top_k == 3
        spec = r.spec
        spec.top_k = 2
        r.spec = spec
        assert r.spec.top_k == 2 and not r.info.is_native and "k=2" in r.rule
        assert logits(s) != native
        r.rule = "native"
        assert logits(s) == native
        s.routers.rule = "threshold:t=0.3,kmax=4"
        assert logits(s) != native
        with pytest.raises(libmoe.StateError):
            s.routers.rule
        with pytest.raises(libmoe.StateError):
            s.routers.info
        with pytest.raises(libmoe.InvalidError):
            r.rule = "no-such-rule"
        with pytest.raises(libmoe.RangeError):
            s.router(3)
        s.routers.reset()
        assert logits(s) == native
        fixed = r.spec
        fixed.select, fixed.ids, fixed.top_k = 10, [1, 2, 3], 3
        r.spec = fixed
        assert r.spec.ids == [1, 2, 3]
        assert "Router" in repr(r) and "all layers" in repr(s.routers)


def test_a_row() -> None:
    spec = libmoe.RouteSpec(score=1, select=1, weight=1, top_k=2, scale=1.0)
    experts, weights = spec.route([0.0, 2.0, 1.0, -1.0])
    assert experts == [1, 2] and weights[0] > weights[1]
    with pytest.raises(libmoe.Error):
        libmoe.RouteSpec().route([0.0])
    spec = libmoe.RouteSpec(score=1, select=1, weight=1, top_k=4, scale=1.0, n_null=4)
    bias, reached = spec.find_null_bias([[0.1 * i * j % 1.7 for i in range(8)] for j in range(1, 40)], 2.0)
    assert 1.5 < reached < 2.5 and isinstance(bias, float)
    shape = libmoe.measure_shape(dim=256, dim_ff_expert=256, n_experts=16, top_k=2)
    assert shape.activation == pytest.approx(0.125) and shape.granularity == 2.0


def test_use_values_limits(tiny: libmoe.Model, numbers: str) -> None:
    with tiny.session(keep_routes=True, n_seq_max=2) as s:
        native = logits(s)
        r = s.router(0)
        assert r.use == ["free"] * 8
        r.use = {1: "ban", 2: "drop"}
        assert r.use[1] == "ban" and r.expert(2).use == "drop"
        assert logits(s) != native
        assert all(1 not in experts for experts, _ in r.last.rows())
        r.expert(1).use = "free"
        r.use = ["free"] * 8
        assert logits(s) == native
        with pytest.raises(ValueError):
            r.expert(0).use = "sometimes"
        with pytest.raises(IndexError):
            r.use = {8: "ban"}
        with pytest.raises(libmoe.InvalidError):
            r.use = ["ban"] * 8
        r.set_values("gain", [2.0] + [1.0] * 7)
        assert list(r.values("gain")) == [2.0] + [1.0] * 7
        r.expert(1).set_value("logit-bias", 5.0)
        info = r.expert(1).info
        assert info.logit_bias == 5.0 and r.expert(0).info.gain == 2.0 and info.dim == 48
        r.set_values("gain", None)
        r.set_values("logit-bias", None)
        assert logits(s) == native
        with pytest.raises(libmoe.NumericError):
            r.set_values("pre", [float("nan")] * 8)
        with pytest.raises(libmoe.InvalidError):
            r.set_values("pre", [1.0])
        r.limit([0, 1, 2], seq=0)
        logits(s)
        assert all(set(experts) <= {0, 1, 2} for experts, _ in r.last.rows())
        r.limit(None)
        r.limit(None, seq=0)
        r.override([9.0, 8.0, 7.0, 0, 0, 0, 0, 0], first=1, last=2)
        logits(s)
        rows = [experts for experts, _ in r.last.rows()]
        assert rows[1] == rows[2] == [0, 1, 2]
        r.clear_overrides()
        assert logits(s) == native
        with pytest.raises(ValueError):
            r.override([1.0])


def test_views_of_routing(tiny: libmoe.Model, numbers: str) -> None:
    seen: list[tuple[int, int, list[Any]]] = []
    kept: list[Any] = []

    def look(v: libmoe.RouteView) -> None:
        assert list(v.token) == TOKENS and list(v.pos) == list(range(6)) and list(v.seq) == [0] * 6
        assert len(v.offset) == 7 and len(v.expert) == len(v.weight) == 18 and v.n_experts == v.n_logits == 8
        assert len(v.logits) == 6 and len(v.logits[0]) == 8
        assert sum(v.weight[0:3]) == pytest.approx(1.0, abs=1e-5)
        seen.append((v.layer, v.n_rows, [e for e, _ in v.rows()]))
        kept.extend([v, v.logits, v.expert])

    with tiny.session(keep_routes=True) as s:
        s.observe(look)
        logits(s)
        assert [layer for layer, _, _ in seen] == [0, 1, 2]
        assert seen[1][2] == [e for e, _ in s.router(1).last.rows()]
        with pytest.raises(libmoe.StaleError):
            kept[0].layer
        with pytest.raises(libmoe.StaleError):
            list(kept[1])
        with pytest.raises(libmoe.StaleError):
            kept[2][0]
        s.observe(None)
    with tiny.session() as s:
        s.eval([1])
        with pytest.raises(libmoe.StateError):
            s.router(0).last


def test_routing_own_rows(tiny: libmoe.Model, numbers: str) -> None:
    caught: list[list[list[float]]] = []
    chosen: list[list[int]] = []
    with tiny.session() as s:
        s.on_layer(1, "router", lambda e: caught.append([list(row) for row in e.hidden]))
        s.observe(lambda v: chosen.extend(e for e, _ in v.rows()) if v.layer == 1 else None)
        logits(s)
        s.on_layer(1, "router", None)
        s.observe(None)
        view = s.router(1).route(caught[0])
        assert [e for e, _ in view.rows()] == chosen
        s.length()
        s.info
        with pytest.raises(libmoe.StaleError):
            view.expert
        with pytest.raises(ValueError):
            s.router(1).route([[1.0, 2.0]])


def test_layer_hooks(tiny: libmoe.Model) -> None:
    np = pytest.importorskip("numpy")
    with tiny.session() as s:
        native = logits(s)
        places = []

        def scale(event: libmoe.LayerEvent) -> None:
            places.append((event.layer, event.where, event.dim))
            hidden = event.hidden
            hidden *= 0.5
            np.multiply(hidden, 1.0, out=hidden)

        s.on_layer(None, "experts", scale)
        assert logits(s) != native
        assert places == [(0, "experts", 48), (1, "experts", 48), (2, "experts", 48)]
        s.on_layer(None, "experts", None)
        assert logits(s) == native
        with pytest.raises(ValueError):
            s.on_layer(0, "nowhere", scale)
        with pytest.raises(libmoe.RangeError):
            s.on_layer(77, "input", scale)


def top(rows: libmoe.RouteInput) -> list[list[int]]:
    return [sorted(range(rows.n_experts), key=lambda e: (-row[e], e))[: rows.top_k] for row in rows.choice]


def test_policies(tiny: libmoe.Model, numbers: str) -> None:
    with tiny.session() as s:
        native = logits(s)
        s.routers.set_policy(top, name="mine", max_k=3)
        assert s.router(0).info.is_custom and s.router(0).info.policy == "mine"
        assert logits(s) == native  # the same rule, in Python
        s.routers.set_policy(lambda rows: (top(rows), [[1.0] * 3] * rows.n_rows), weights=True, max_k=3)
        assert logits(s) != native
        widths: list[tuple[int, int]] = []

        def hidden(rows: libmoe.RouteInput) -> Any:
            widths.append((len(rows.hidden), len(rows.hidden[0])))
            assert len(rows.score) == len(rows.logits) == rows.n_rows and rows.n_null == 0 and rows.dim == 48
            return top(rows)

        s.routers.set_policy(hidden, hidden=True, batch_coupled=True)
        logits(s)
        assert widths[0] == (6, 48) and s.router(0).info.is_batch_coupled
        for wrong, error in ((lambda r: [[99]] * r.n_rows, libmoe.PolicyError), (lambda r: [[0]], ValueError),
                             (lambda r: None, TypeError), (lambda r: [["a"]] * r.n_rows, TypeError),
                             (lambda r: [[0, 1, 2, 3, 4, 5, 6, 7, 0]] * r.n_rows, ValueError)):
            s.routers.set_policy(wrong)  # type: ignore[arg-type]
            with pytest.raises(error):
                logits(s)
        s.routers.set_policy(lambda rows: [[libmoe.EXPERT_NONE]] * rows.n_rows)
        logits(s)
        s.routers.set_policy(None)
        assert logits(s) == native


class Sticky(libmoe.Policy):
    """Keeps the experts of a sequence's first token."""

    made = 0
    events: list[str] = []

    def __init__(self) -> None:
        self.first: dict[int, list[int]] = {}

    def for_router(self, info: libmoe.PolicyInfo) -> libmoe.Policy:
        assert info.n_experts == 8 and info.spec.top_k == 3 and info.n_null == 0
        Sticky.made += 1
        return Sticky()

    def route(self, rows: libmoe.RouteInput) -> Any:
        chosen = top(rows)
        return [self.first.setdefault(int(q), experts) for q, experts in zip(rows.seq, chosen)]

    def seq_reset(self, seq: int) -> None:
        Sticky.events.append(f"reset {seq}")
        self.first.clear() if seq == -1 else self.first.pop(seq, None)

    def seq_copy(self, source: int, target: int) -> None:
        Sticky.events.append(f"copy {source} {target}")
        if source in self.first:
            self.first[target] = self.first[source]

    def seq_truncate(self, seq: int, keep: int) -> None:
        Sticky.events.append(f"truncate {seq} {keep}")

    def seq_remove(self, seq: int, first: int, n: int) -> None:
        Sticky.events.append(f"remove {seq} {first} {n}")


def test_policy_with_a_state(tiny: libmoe.Model) -> None:
    from libmoe._routing import _states

    before = len(_states)
    with tiny.session(n_seq_max=2, keep_routes=True) as s, tiny.session(n_seq_max=2) as other:
        s.routers.set_policy(Sticky())
        assert Sticky.made == 3 and len(_states) == before + 3
        s.eval(TOKENS)
        rows = [e for e, _ in s.router(2).last.rows()]
        assert all(row == rows[0] for row in rows)
        s.copy(0, 1)
        s.truncate(4, 0)
        s.remove(1, 2)
        s.truncate(2, 0)
        s.reset()
        assert "remove 0 1 2" in Sticky.events
        assert "copy 0 1" in Sticky.events and "truncate 0 2" in Sticky.events and "reset -1" in Sticky.events
        other.copy_routing(s)
        assert len(_states) == before + 6
        a, b = logits(s), logits(other)
        assert a == b
        s.close()
        assert logits(other) == a

        class Bad(libmoe.Policy):
            def for_router(self, info: libmoe.PolicyInfo) -> libmoe.Policy:
                raise ZeroDivisionError("create")

        with pytest.raises(ZeroDivisionError):
            other.routers.set_policy(Bad())
        assert logits(other) == a

        class BadReset(libmoe.Policy):
            def route(self, rows: libmoe.RouteInput) -> Any:
                return top(rows)

            def seq_reset(self, seq: int) -> None:
                raise ZeroDivisionError("reset")

        other.routers.set_policy(BadReset())
        with pytest.raises(ZeroDivisionError):
            other.reset()
        other.routers.set_policy(None)
    del s, other
    import gc

    gc.collect()
    assert len(_states) == before


def test_experts(tiny: libmoe.Model, numbers: str) -> None:
    with tiny.session() as s:
        native = logits(s)
        e = s.router(1).expert(4)
        assert e.source == "own" and repr(e) and len(s.router(1).experts) == 8
        shape = tuple(e.gate.shape), tuple(e.up.shape), tuple(e.down.shape)
        assert shape == ((16, 48), (16, 48), (48, 16))
        x = [[0.1 * i % 1.3 for i in range(48)]]
        y = [list(row) for row in e.apply(x)]
        e.redirect(2)
        assert e.source == "redirect" and e.info.src_index == 2
        assert [list(r) for r in e.apply(x)] == [list(r) for r in s.router(1).expert(2).apply(x)] != y
        e.restore()
        assert [list(r) for r in e.apply(x)] == y
        with libmoe.Weights(tiny, e.gate, e.up, e.down) as same:
            e.replace(same)
            assert e.source == "weights" and logits(s) == native
            other = same.share()
            other.close()
        assert logits(s) == native  # the session holds the weights
        down = e.down
        e.restore()
        e.replace(down=[[0.0] * 16] * 48)
        assert [list(r) for r in e.apply(x)] == [[0.0] * 48]
        e.restore()
        calls = []

        def function(call: libmoe.ExpertCall) -> Any:
            calls.append((call.layer, call.index, call.n_rows, call.dim))
            return [[0.0] * call.dim] * call.n_rows

        e.replace(function)
        assert e.source == "function"
        e.use = "force"
        logits(s)
        assert calls and calls[0] == (1, 4, 6, 48)
        with pytest.raises(libmoe.NotFoundError):
            e.read("gate")

        def in_place(call: libmoe.ExpertCall) -> None:
            for t in range(call.n_rows):
                call.y[t] = call.x[t]

        e.replace(in_place)
        assert [list(r) for r in e.apply(x)] == [[pytest.approx(v) for v in x[0]]]
        e.replace(lambda call: [[float("nan")] * call.dim] * call.n_rows)
        with pytest.raises(libmoe.CallbackError):
            logits(s)
        e.replace(lambda call: [[1.0]])
        with pytest.raises(ValueError):
            logits(s)
        s.routers.reset()
        assert logits(s) == native
        with pytest.raises(TypeError):
            e.replace()
        with pytest.raises(TypeError):
            e.replace(5)  # type: ignore[arg-type]
        with pytest.raises(libmoe.NumericError):
            libmoe.Weights(tiny, [[float("inf")] * 48] * 16, e.up, e.down)
        with pytest.raises(libmoe.InvalidError):
            libmoe.Weights(tiny, [[1.0] * 48] * 15, e.up, e.down)
        with pytest.raises(libmoe.RangeError):
            s.router(1).expert(8)
        with pytest.raises(libmoe.RangeError):
            e.redirect(9)
        assert s.routers[3].layer == 0xFFFFFFFF


def test_borrowed_weights(tiny: libmoe.Model) -> None:
    np = pytest.importorskip("numpy")
    import gc

    with tiny.session() as s:
        native = logits(s)
        e = s.router(0).expert(0)
        gate, up, down = (np.array(e.read(n)) for n in ("gate", "up", "down"))
        weights = libmoe.Weights(tiny, gate, up, down, copy=False)
        e.replace(weights)
        weights.close()
        del gate, up, down, weights
        gc.collect()
        np.ones(10_000)
        assert logits(s) == native  # the arrays are kept
        half = libmoe.Weights(tiny, *(e.read(n).astype(np.float16) for n in ("gate", "up", "down")))
        e.restore()
        e.replace(half)
        assert np.allclose(logits(s), native, atol=0.1)
        raw = {n: np.ascontiguousarray(e.read(n)).tobytes() for n in ("gate", "up", "down")}
        e.replace(libmoe.Weights(tiny, **raw, types={n: "F32" for n in raw}))
        with pytest.raises(ValueError):
            libmoe.Weights(tiny, **raw, types={n: "Q77" for n in raw})


def test_steering_files(tiny: libmoe.Model, tmp_path: pathlib.Path) -> None:
    with tiny.session() as a, tiny.session() as b:
        native = logits(a)
        a.router(1).use = {3: "ban"}
        a.router(2).rule = "topk:k=2"
        a.router(0).expert(1).redirect(2)
        steered = logits(a)
        assert steered != native
        b.steering = a.steering
        assert logits(b) == steered and b.steering == a.steering
        a.save_steering(tmp_path / "s.json")
        b.routers.reset()
        b.load_steering(tmp_path / "s.json")
        assert logits(b) == steered
        b.routers.reset()
        b.copy_routing(a)
        assert logits(b) == steered
        with pytest.raises(libmoe.FormatError):
            b.steering = "{ this is not json"
        with pytest.raises(libmoe.NotFoundError):
            b.load_steering(tmp_path / "none.json")
        assert logits(b) == steered
        a.router(0).expert(0).replace(lambda call: call.x)
        with pytest.raises(libmoe.UnsupportedError):
            a.steering
        b.copy_routing(a)
        c = logits(a)
        a.close()
        assert logits(b) == c  # the function is kept


def test_steering_of_another_model(tiny: libmoe.Model, demo: libmoe.Model) -> None:
    with tiny.session() as a, demo.session() as b:
        a.router(1).use = {3: "ban"}
        with pytest.raises(libmoe.StateError):
            b.steering = a.steering
        with pytest.raises(libmoe.StateError):
            b.copy_routing(a)


def test_numbers_that_c_cannot_take(tiny: libmoe.Model) -> None:
    spec = libmoe.RouteSpec(score=1, select=1, weight=1, top_k=2, scale=1.0, n_null=2)
    for ragged in ([[1.0] * 8, [1.0] * 3], [[1.0] * 3, [1.0] * 8]):
        with pytest.raises(ValueError, match="different lengths"):
            spec.find_null_bias(ragged, 1.0)
    for wrong in (-1, 1 - 2**32, 2**32 + 1):
        with pytest.raises(libmoe.RangeError):
            libmoe.RouteSpec(score=1, select=1, weight=1, top_k=2, scale=1.0, n_null=wrong).route([1.0, 2.0, 3.0])
    with pytest.raises(libmoe.RangeError):
        spec.route([1.0] * 6, token=2**32)
    with tiny.session() as s:
        native = logits(s)
        r, e = s.router(1), s.router(1).expert(4)
        for use in (r.expert, lambda i: r[i], e.redirect, lambda i: e.redirect(0, layer=i),
                    lambda i: r.set_policy(top, max_k=i), lambda i: r.override([0.0] * 8, first=i)):
            for bad in (-1, 2**32, 2**32 + 1):
                with pytest.raises(libmoe.RangeError):
                    use(bad)
        for use in (lambda i: r.limit([0], seq=i), lambda i: r.limit(None, seq=i), lambda i: r.override([0.0] * 8, seq=i),
                    lambda i: r.override([0.0] * 8, last=i)):
            for bad in (-2, 2**32 - 1, 2**32):
                with pytest.raises(libmoe.RangeError):
                    use(bad)
        with pytest.raises(ValueError):
            r.route([[1.0] * 40, [1.0] * 56])
        assert logits(s) == native


def test_rows_of_an_expert_are_copies(tiny: libmoe.Model, numbers: str) -> None:
    with tiny.session() as s:
        e = s.router(0).expert(0)
        kept: list[Any] = []

        def half(call: libmoe.ExpertCall) -> None:
            x, y = call.x, call.y
            for t in range(call.n_rows):
                y[t] = [0.5 * v for v in x[t]]
            assert list(call.y[0]) == list(y[0])
            if numbers == "numpy":
                import numpy

                kept.extend(map(numpy.asarray, (x, y, call.pos)))
            kept.append(x)

        e.replace(half)
        x = [[0.25 * i for i in range(48)]] * 2
        assert [list(row) for row in e.apply(x)] == [[0.125 * i for i in range(48)]] * 2
        e.apply([[1.0] * 48] * 2)
        e.restore()  # the library gives the memory back
        with pytest.raises(libmoe.StaleError):
            kept[-1][0]
        if numbers == "numpy":
            assert [list(row) for row in kept[0]] == x and [list(row) for row in kept[1]] == [[0.125 * i for i in range(48)]] * 2
        e.replace(lambda call: None)
        with pytest.raises(libmoe.CallbackError):  # y was not written
            e.apply(x)
