# SPDX-License-Identifier: MIT
from __future__ import annotations

import pathlib
import threading
from typing import Any

import pytest

import libmoe

TOKENS = [5, 17, 90, 33, 4, 61, 17, 90]


def test_profile(tiny: libmoe.Model, numbers: str, tmp_path: pathlib.Path) -> None:
    chosen = [[0] * 8 for _ in range(3)]

    def count(v: libmoe.RouteView) -> None:
        for experts, _ in v.rows():
            for e in experts:
                chosen[v.layer][e] += 1

    with tiny.session() as s, libmoe.Profile(tiny, outputs=True, pairs=True, n_classes=2, n_tokens_max=50,
                                             n_pos_max=4) as p:
        s.observe(count)
        with s.profiled(p):
            p.begin(0)
            s.eval(TOKENS)
            p.begin(1)
            p.mark([7], 0)
            p.mark([7], None)
            s.eval([1, 2, 3])
        s.eval([9])  # no longer gathered
        chosen_in_profile = [[int(x) for x in row] for row in p.counts()]
        info = p.info
        assert info.n_tokens == 11 and info.n_classes == 2 and info.n_experts == 8
        assert sum(map(sum, chosen)) - sum(map(sum, chosen_in_profile)) == 9
        assert p.router(0).tokens == 11 and p.router(0).mean_k == 3.0
        assert tuple(p.read("together", 1).shape) == (8, 8) and len(p.read("k", 1)) == 9
        assert tuple(p.read("class-count", 0).shape) == (2, 8) and len(p.read("drops", 0)) == 4
        assert list(p.read("class-tokens", 0)) == [8.0, 3.0] and list(p.read("class-prompts", 0)) == [1.0, 1.0]
        for what in ("count", "weight", "prob", "top1", "saliency", "norm", "max", "max-channel", "npmi", "class-weight"):
            p.read(what, 0)
        assert isinstance(p.super_experts(), list)
        ranked = p.rank(0, by="rate", n=5)
        assert len(ranked) == 5 and ranked[0].value >= ranked[1].value
        assert p.rank(0, by="npmi") and p.rank(0, by="diff", other=1)
        p.save(tmp_path / "p")
        with libmoe.Profile.load(tmp_path / "p", tiny) as again, libmoe.Profile.load(tmp_path / "p") as loose:
            again.merge(loose)
            assert again.info.n_tokens == 22
            again.reset()
            assert again.info.n_tokens == 0
        for wrong in (lambda: p.read("nonsense", 0), lambda: p.rank(0, by="taste")):
            with pytest.raises(ValueError):
                wrong()
        with pytest.raises(libmoe.RangeError):
            p.router(3)
        with pytest.raises(libmoe.NotFoundError):
            libmoe.Profile.load(tmp_path / "none")
        (tmp_path / "p").write_bytes((tmp_path / "p").read_bytes()[:-9])
        with pytest.raises(libmoe.FormatError):
            libmoe.Profile.load(tmp_path / "p")
    with libmoe.Profile(tiny) as p, pytest.raises(libmoe.NotFoundError):
        p.read("saliency", 0)
    with pytest.raises(libmoe.ClosedError):
        p.info


def test_profile_from_views(tiny: libmoe.Model) -> None:
    with libmoe.Profile(tiny) as p, tiny.session(keep_routes=True) as s:
        s.observe(p.add)
        s.eval(TOKENS)
        assert p.info.n_tokens == 8
        s.observe(None)
        p.add(s.router(0).last)
        last = s.router(0).last
        s.eval([1])
        with pytest.raises(libmoe.StaleError):
            p.add(last)


def test_profile_outlives_nothing(tiny: libmoe.Model) -> None:
    """A profile that was closed while a session gathers into it stays until the session lets it go."""
    with tiny.session() as s:
        p = libmoe.Profile(tiny)
        s.set_profile(p)
        p.close()
        del p
        s.eval(TOKENS)
        s.set_profile(None)
        s.eval([1])


def test_plot(tiny: libmoe.Model) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    with libmoe.Profile(tiny) as p, libmoe.Trace(tiny) as t, tiny.session() as s:
        with s.profiled(p):
            s.trace(t)
            s.eval(TOKENS)
        image = p.plot().images[0].get_array()
        assert image.shape == (3, 8) and abs(float(image[0].sum()) - 100) < 1e-6
        assert t.plot(1).collections
    from matplotlib import pyplot

    pyplot.close("all")


def test_trace(tiny: libmoe.Model, numbers: str, tmp_path: pathlib.Path) -> None:
    rows: list[Any] = []
    with libmoe.Trace(tiny, logits=True, weights=True, allocator=libmoe.Allocator()) as t, tiny.session() as s:
        s.observe(lambda v: rows.extend(v.rows()) if v.layer == 2 else None)
        s.eval(TOKENS)
        s.reset()
        t.begin(4)
        s.trace(t)
        s.eval(TOKENS)
        s.trace(None)
        t.trim()
        info = t.info
        assert len(t) == info.n_tokens == 8 and (info.n_layers, info.n_experts, info.max_k) == (3, 8, 3)
        assert [experts[2] for experts in t.experts()] == [e for e, _ in rows]
        row = t.at(1, 2)
        assert (row.request, row.pos, row.token, row.model_layer) == (4, 1, 17, 2)
        assert list(row.expert) == rows[1][0] and len(row.logits) == 8
        assert list(row.weight) == pytest.approx(rows[1][1], rel=1e-2)
        t.at(2, 2)
        assert list(row.expert) == rows[1][0]  # a copy
        assert 0 <= t.reuse() <= 1 and 0 <= t.reuse(1) <= 1
        srp, rho = t.srp(3, level="layer")
        assert 0 < srp <= 1 and rho > 0
        rates = list(t.cache([1, 4, 24]))
        assert rates == sorted(rates) and list(t.cache([3], "sch", window=2, layer=0)) and list(t.cache([3], "lfu", warm=True))
        t.save(tmp_path / "t")
        with libmoe.Trace.load(tmp_path / "t") as again:
            assert again.experts() == t.experts()
        with pytest.raises(libmoe.RangeError):
            t.at(99, 0)
        with pytest.raises(ValueError):
            t.cache([3], "magic")
        with pytest.raises(libmoe.NotFoundError):
            libmoe.Trace.load(tmp_path / "none")
        last, expected = t.at(0, 0), t.experts()[0][0]
        s.trace(t)
        s.eval(list(range(1, 110)))  # the trace's memory moves
    assert list(last.expert) == expected
    with libmoe.Trace() as t:
        t.set_shape(3, 8)
        with tiny.session() as s:
            s.observe(t.add)
            s.eval([1, 2])
        assert len(t) == 2
        with pytest.raises(libmoe.StateError):
            t.set_shape(3, 8)


def test_numbers_that_c_cannot_take(tiny: libmoe.Model) -> None:
    with libmoe.Profile(tiny, n_classes=2) as p, libmoe.Trace(tiny) as t, tiny.session() as s:
        s.trace(t)
        with s.profiled(p):
            for cls in (0, 1):
                p.begin(cls)
                s.eval(TOKENS)
        with pytest.raises(ValueError):
            p.rank(0, n=-1)
        assert p.rank(0, n=0) == []
        for use in (lambda i: p.begin(i), lambda i: p.mark([1], i), lambda i: p.router(i), lambda i: p.read("count", i),
                    lambda i: p.rank(i), lambda i: p.rank(0, by="diff", other=i), lambda i: t.at(0, i), lambda i: t.reuse(i),
                    lambda i: t.srp(3, layer=i), lambda i: t.srp(i), lambda i: t.cache([1], layer=i),
                    lambda i: t.cache([1], window=i), lambda i: t.begin(i), lambda i: libmoe.Profile(tiny, n_classes=i)):
            for wrong in (-1, 2**32, 2**32 + 1):
                with pytest.raises(libmoe.RangeError):
                    use(wrong)
        for wrong in (-1, 2**64):
            with pytest.raises(libmoe.RangeError):
                t.at(wrong, 0)
        with pytest.raises(TypeError):
            p.router(0.5)  # type: ignore[arg-type]


def test_objects_of_another_kind(tiny: libmoe.Model) -> None:
    with libmoe.Profile(tiny) as p, libmoe.Trace(tiny) as t, tiny.session() as s, libmoe.Sampler("greedy") as chain:
        s.eval([1])
        wrong: Any
        for wrong in (t, s, 5):
            for use in (s.set_profile, p.merge, p.add, t.add, libmoe.Profile, libmoe.Trace, tiny.tokenizer.same):
                with pytest.raises(TypeError):
                    use(wrong)
        call: Any
        for call, arguments in ((s.trace, [p]), (chain.pick, [tiny]), (chain.pick, [t]), (s.copy_routing, [t]),
                                (s.contrast, [tiny]), (libmoe.mix_sessions, [[s, t]]), (libmoe.mix_sessions, [[t]]),
                                (libmoe.Weights, [s, [], [], []])):
            with pytest.raises(TypeError):
                call(*arguments)
        s.eval([2])


def test_gathering_takes_a_turn(tiny: libmoe.Model) -> None:
    """What an eval writes to is refused to other threads meanwhile, and the eval while another thread has it."""
    refused: list[str] = []

    def other_thread(what: Any) -> None:
        def work() -> None:
            try:
                what()
            except libmoe.StateError as error:
                refused.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    with libmoe.Profile(tiny) as p, libmoe.Trace(tiny) as t, tiny.session() as s:
        def look(event: libmoe.LayerEvent) -> None:
            for use in (t.experts, lambda: len(t), lambda: p.info, p.counts, t.close):
                other_thread(use)
            assert len(t) >= 0 and p.info  # this thread may

        s.trace(t)
        s.set_profile(p)
        s.on_layer(1, "input", look)
        s.eval(TOKENS)
        assert len(refused) == 5
        for _ in s.eval_slices(TOKENS, ms=100):
            pass
        assert len(refused) == 10
        s.on_layer(1, "input", None)
        tokens, n = s.tokens(), len(t)
        for busy in (t, p):
            refused.clear()
            with busy:
                busy._enter()
                other_thread(lambda: s.eval([1]))
                other_thread(lambda: s.eval(TOKENS))
                other_thread(lambda: list(s.eval_slices(TOKENS)))
                assert len(refused) == 3 and type(busy).__name__ in refused[0]
                busy._lock.release()
            assert s.tokens() == tokens
            s.trace(None)
        s.set_profile(None)
        s.eval(TOKENS)


def test_generating_takes_a_turn(demo: libmoe.Model) -> None:
    with libmoe.Trace(demo) as t, demo.session() as s:
        s.trace(t)
        pieces = s.generate("Once upon", sampler="greedy")
        next(pieces)
        n = len(t)
        next(pieces)
        assert len(t) == n + 1
        refused: list[BaseException] = []

        def work() -> None:
            try:
                next(pieces)
            except libmoe.StateError as error:
                refused.append(error)

        t._enter()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        t._lock.release()
        assert len(refused) == 1 and "Trace" in str(refused[0])
        assert list(s.generate("", max_tokens=1, sampler="greedy"))
