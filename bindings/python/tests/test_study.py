# SPDX-License-Identifier: MIT
from __future__ import annotations

import pathlib
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
        with pytest.raises(libmoe.StaleError):
            row.expert[0]
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
        last = t.at(0, 0)
    with pytest.raises(libmoe.StaleError):
        last.expert[0]
    with libmoe.Trace() as t:
        t.set_shape(3, 8)
        with tiny.session() as s:
            s.observe(t.add)
            s.eval([1, 2])
        assert len(t) == 2
        with pytest.raises(libmoe.StateError):
            t.set_shape(3, 8)
