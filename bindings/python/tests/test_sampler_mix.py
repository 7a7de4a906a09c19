# SPDX-License-Identifier: MIT
from __future__ import annotations

import math

import pytest

import libmoe


def test_chain(numbers: str) -> None:
    with libmoe.Sampler("top-k:k=2;greedy") as s:
        assert s.pick([0.0, 3.0, 1.0]) == 1
        ids, values, picked = s.apply([7, 8, 9], [0.5, 2.0, 1.0])
        assert ids[picked] == 8 and len(ids) == len(values) == 2
    with libmoe.Sampler("temp:t=1;dist", seed=4) as s:
        first = [s.pick([0.0, 0.1, 0.2, 0.3]) for _ in range(20)]
        copy = s.clone()
        s.reset()
        s.seed(4)
        assert [s.pick([0.0, 0.1, 0.2, 0.3]) for _ in range(20)] == first and len(set(first)) > 1
        assert copy.pick([0.0, 0.1, 0.2, 0.3]) == s.pick([0.0, 0.1, 0.2, 0.3])
        copy.close()
    with libmoe.Sampler() as s:
        s.add_stage("logit-bias", ids=[2], values=[10.0]).add_stage("penalties", n=-1, a=1.5)
        assert s.pick([1.0, 2.0, 0.0]) == 2
        s.accept(2)
        with pytest.raises(ValueError):
            s.add_stage("no-such-stage")
        with pytest.raises(ValueError):
            s.add_stage("logit-bias", ids=[2], values=[])
        with pytest.raises(libmoe.InvalidError):
            s.add("top-k:k=oops")
        with pytest.raises(libmoe.NumericError):
            s.pick([math.nan, math.inf])
        with pytest.raises(libmoe.RangeError):
            s.accept(-5)
        with pytest.raises(ValueError):
            s.apply([1, 2], [0.0])
    with pytest.raises(libmoe.ClosedError):
        s.pick([0.0])


def test_custom_stage(tiny: libmoe.Model, numbers: str) -> None:
    def odd_only(c: libmoe.Candidates) -> None:
        kept = [(i, x) for i, x in zip(list(c.ids), list(c.logits)) if i % 2]
        for at, (i, x) in enumerate(kept):
            c.ids[at], c.logits[at] = i, x
        c.n = len(kept)
        c.sorted = False

    kept: list[object] = []
    with libmoe.Sampler() as s:
        s.add_custom(odd_only).add_custom(lambda c: kept.append(c.ids)).add("greedy")
        assert s.pick([9.0, 1.0, 8.0, 2.0]) == 3
        with pytest.raises(libmoe.StaleError):
            kept[0][0]  # type: ignore[index]
        copy = s.clone()
        s.close()
        assert copy.pick([9.0, 1.0, 8.0, 2.0]) == 3

    def picks(c: libmoe.Candidates) -> None:
        assert len(c) == 3 and c.picked == -1 and not c.sorted
        c.picked = 1

    with libmoe.Sampler().add_custom(picks) as s:
        assert s.pick([9.0, 1.0, 8.0]) == 1

    def raises(c: libmoe.Candidates) -> None:
        raise ZeroDivisionError("stage")

    def empties(c: libmoe.Candidates) -> None:
        c.n = 0

    for stage, error in ((raises, ZeroDivisionError), (lambda c: False, libmoe.AbortedError), (empties, libmoe.CallbackError)):
        with libmoe.Sampler().add_custom(stage) as s, tiny.session() as session:  # type: ignore[arg-type]
            session.eval([1])
            with pytest.raises(error):
                s.pick(session)
            with pytest.raises(error):
                list(session.generate([2], max_tokens=2, sampler=s))


def test_pick_from_a_session(tiny: libmoe.Model) -> None:
    with tiny.session() as session, libmoe.Sampler("greedy") as s:
        with pytest.raises(libmoe.RangeError):
            s.pick(session)
        session.eval([1, 2, 3])
        assert s.pick(session) == session.logprobs(1)[0][0] == s.pick(session.logits())


def test_contrast_and_mixtures(tiny: libmoe.Model, demo: libmoe.Model, numbers: str) -> None:
    with tiny.session() as strong, tiny.session() as weak:
        weak.routers.rule = "ranks:ids=1"
        for s in (strong, weak):
            s.eval([1, 2, 3])
        a, b = list(strong.logits()), list(weak.logits())
        both = list(strong.contrast(weak, alpha=0.1, beta=0.5))
        assert both == list(libmoe.contrast_logits(a, b, alpha=0.1, beta=0.5))
        best = max(range(len(a)), key=lambda i: a[i])
        assert both[best] == pytest.approx(1.5 * a[best] - 0.5 * b[best], rel=1e-5)
        mixed = list(libmoe.mix_sessions([strong, weak], [3.0, 1.0]))
        assert mixed == list(libmoe.mix_logits([a, b], [3.0, 1.0]))
        assert mixed[0] == pytest.approx(0.75 * a[0] + 0.25 * b[0], rel=1e-4, abs=1e-5)
        assert len(libmoe.mix_logits([a, b], mode="probs")) == len(a)
        with pytest.raises(ValueError):
            libmoe.mix_logits([a, b[:-1]])
        with pytest.raises(ValueError):
            libmoe.mix_logits([a, b], mode="soup")
        with pytest.raises(ValueError):
            libmoe.mix_sessions([])
        with pytest.raises(ValueError):
            libmoe.contrast_logits(a, b[:-1])
        with pytest.raises(libmoe.InvalidError):
            strong.contrast(weak, alpha=5.0)
        with demo.session() as other:
            other.eval([1])
            with pytest.raises(libmoe.StateError):
                libmoe.mix_sessions([strong, other])


def test_candidates_are_copies(numbers: str) -> None:
    kept: list[list[object]] = []

    def keep(c: libmoe.Candidates) -> None:
        logits = c.logits
        logits[0] = 5.0
        assert c.logits[0] == 5.0
        c.n = 2
        assert len(c.logits) == 2
        if numbers == "numpy":
            import numpy

            kept.append([numpy.asarray(c.ids), numpy.asarray(logits)])

    with libmoe.Sampler().add_custom(keep) as s:
        assert s.apply([3, 4, 5], [1.0, 2.0, 9.0]) == ([3, 4], [5.0, 2.0], -1)
        assert s.pick([1.0, 2.0, 9.0]) == 0
        s.pick([3.0, 3.0, 3.0])
        s.pick([0.0] * 100_000)  # the sampler's rows move
        if numbers == "numpy":
            assert [list(x) for x in kept[1]] == [[0, 1], [5.0, 2.0, 9.0]]  # type: ignore[call-overload]


def test_a_stage_cannot_pick() -> None:
    sampler = libmoe.Sampler()
    sampler.add_custom(lambda c: sampler.pick([0.0] * 10_000))
    with pytest.raises(libmoe.StateError):
        sampler.pick([1.0, 2.0])
    with pytest.raises(libmoe.RangeError):
        sampler.accept(2**32)
