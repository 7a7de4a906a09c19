# SPDX-License-Identifier: MIT
from __future__ import annotations

import ctypes
import gc
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, Callable

import pytest
from conftest import DATA, ROOT

import libmoe


def golden(name: str) -> tuple[list[int], list[list[float]]]:
    """Tokens of a test vector, and the logits that transformers computed, with their rows."""
    tokens, rows = [], []
    for line in (DATA / f"{name}.vec").read_text().splitlines():
        parts = line.split()
        if parts[:1] == ["tokens"]:
            tokens = [int(x) for x in parts[2:]]
        elif parts[:1] == ["logits"]:
            rows.append([float(x) for x in parts[1:]])
    return tokens, rows


def test_eval_against_transformers(tiny: libmoe.Model) -> None:
    tokens, rows = golden("qwen3moe")
    assert len(tokens) == len(rows) == 32
    with tiny.session(n_output_max=len(tokens), kv_type_k="F32", kv_type_v="F32") as s:
        s.eval(tokens, want=[libmoe.WANT_LOGITS] * len(tokens))
        for row in rows:
            at, values = int(row[0]), row[1:]
            found = s.logits(at)
            n = len(values)
            worst = max(abs(a - b) for a, b in zip(found[:n], values))
            assert worst <= 1e-4 * max(abs(x) for x in values), at


def test_splits_are_equal(tiny: libmoe.Model, numbers: str) -> None:
    tokens = list(range(1, 21))
    with tiny.session() as a, tiny.session(threads=1) as b:
        a.eval(tokens)
        for t in tokens:
            b.eval([t])
        assert list(a.logits()) == list(b.logits())
        assert a.length() == 20 and a.tokens() == tokens
        best = a.logprobs(3)
        assert best[0][1] >= best[1][1] and a.logprob(best[0][0]) == pytest.approx(best[0][1])
        assert a.info.n_outputs == 1 and a.stats.tokens_prefill == 20
        a.reset_stats()
        assert a.stats.tokens_prefill == 0
        a.threads = 1
        assert a.threads == 1
        a.warm_up()


def test_batches_and_sequences(tiny: libmoe.Model, numbers: str) -> None:
    with tiny.session(n_seq_max=3, n_output_max=4) as s:
        s.eval([11, 12, 21, 22], seq=[0, 0, 1, 1], pos=[0, 1, 0, 1],
               want=[0, libmoe.WANT_LOGITS, 0, libmoe.WANT_LOGITS | libmoe.WANT_HIDDEN])
        row0, row1, hidden = list(s.logits(0)), list(s.logits(1)), list(s.hidden())
        assert len(row0) == 272 and len(hidden) == 48 and row0 != row1
        with pytest.raises(libmoe.RangeError):
            s.logits(2)
        s.copy(0, 2)
        s.truncate(1, 2)
        assert [s.length(q) for q in range(3)] == [2, 2, 1]
        s.eval([12], seq=2)
        assert list(s.logits()) == row0
        with pytest.raises(libmoe.RangeError):
            s.truncate(5, 0)
        s.eval(list(range(20, 120)), seq=[1] * 100)
        s.remove(10, 60, seq=1)
        assert s.tokens(1) == [21, 22, *range(20, 28), *range(88, 120)]
        with pytest.raises(libmoe.RangeError):
            s.remove(10, 60, seq=1)
        with pytest.raises(ValueError):
            s.remove(0, -1)
        s.truncate(2, 1)
        with pytest.raises(libmoe.RangeError):
            s.eval([99999])
        with pytest.raises(libmoe.InvalidError):
            s.eval([])
        with pytest.raises(ValueError):
            s.eval([1, 2], seq=[0])
        for wrong in ("text", [1.5], [None], 5, {"a": 1}):
            with pytest.raises(TypeError):
                s.eval(wrong)  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            s.eval([2**40])
        s.reset()
        assert s.length() == 0
    with tiny.session(n_ctx=64) as s, pytest.raises(libmoe.FullError):
        s.eval(list(range(1, 66)))
    with pytest.raises(ValueError):
        tiny.session(kv_type_k="Q5_0")
    with pytest.raises(libmoe.InvalidError):
        tiny.session(threads=5000)
    with tiny.session(kv_type_k="F32", kv_type_v="F32", exact_activations=True) as s:
        s.eval([1, 2, 3])


def test_numpy_input(tiny: libmoe.Model) -> None:
    np = pytest.importorskip("numpy")
    with tiny.session() as s:
        s.eval(np.array([1, 2, 3], dtype=np.int32))
        expected = s.logits().copy()
        for made in (np.array([1, 2, 3]), np.array([1, 2, 3], dtype=np.uint8), np.arange(1, 7)[::1][:3]):
            s.reset()
            s.eval(made)
            assert (s.logits() == expected).all()
        with pytest.raises(TypeError):
            s.eval(np.array([1.0, 2.0]))
        with pytest.raises(OverflowError):
            s.eval(np.array([2**40]))


def test_views_go_stale(tiny: libmoe.Model) -> None:
    np = pytest.importorskip("numpy")
    s = tiny.session(n_seq_max=1, keep_routes=True)
    s.eval([1, 2, 3], want=[0, 0, 3])
    logits, hidden = s.logits(), s.hidden()
    assert isinstance(logits, np.ndarray) and logits.dtype == np.float32 and logits.shape == (272,)
    assert logits.base is not None and s.logits().ctypes.data == logits.ctypes.data  # no copies
    with pytest.raises(ValueError):
        logits[0] = 1.0  # read-only
    part = logits[3:10]
    assert np.argmax(logits) == logits.argmax() == s.logprobs(1)[0][0]
    assert type(logits + 1) is np.ndarray and type(logits.copy()) is np.ndarray
    assert float(part[0]) == list(logits)[3]
    copy = logits.copy()
    s.eval([4])
    uses = [lambda v: v[0], lambda v: v + 1, lambda v: v.sum(), lambda v: np.argmax(v), lambda v: np.stack([v, v]),
            lambda v: list(v), lambda v: v.tolist(), lambda v: v.copy(), lambda v: np.dot(v, v), lambda v: v[1:3],
            lambda v: v == v, lambda v: np.concatenate([v, v]), lambda v: v.astype("f8"), lambda v: v.reshape(-1, 1)]
    for view in (logits, hidden, part):
        for use in uses:
            with pytest.raises(libmoe.StaleError):
                use(view)
        assert "stale" in repr(view) and "stale" in str(view)
    assert len(copy) == 272
    now = s.logits()
    plain = np.asarray(now)  # a plain array cannot be checked: its memory must stay, whatever happens
    last = s.router(0).last
    experts = last.expert
    s.close()
    for use in [*uses, libmoe.Sampler("greedy").pick]:
        with pytest.raises(libmoe.StaleError):
            use(now)
    with pytest.raises(libmoe.StaleError):
        experts.sum()
    with pytest.raises(libmoe.StaleError):
        last.offset
    del s, now
    gc.collect()
    assert np.isfinite(plain).all()


def test_views_without_numpy(tiny: libmoe.Model) -> None:
    libmoe.use_numpy(False)
    try:
        with tiny.session() as s:
            s.eval([1, 2, 3])
            view = s.logits()
            assert isinstance(view, libmoe.View) and view.shape == (272,) and len(view) == 272
            part = view[2:5]
            assert list(part) == view.tolist()[2:5] and "View" in repr(part)
            with pytest.raises(TypeError):
                view[0] = 1.0
            s.eval([4])
            for use in (lambda: view[0], lambda: part[0], lambda: list(view), view.tolist):
                with pytest.raises(libmoe.StaleError):
                    use()
            assert "stale" in repr(view)
    finally:
        libmoe.use_numpy(True)


def test_stale_after_load_and_reset(tiny: libmoe.Model, tmp_path: pathlib.Path) -> None:
    with tiny.session() as s:
        s.eval([1, 2, 3])
        expected = list(s.logits())
        s.save(tmp_path / "s.bin")
        stream = io.BytesIO()
        s.save(stream)
        assert stream.getvalue() == (tmp_path / "s.bin").read_bytes()
        view = s.logits()
        s.reset()
        with pytest.raises(libmoe.StaleError):
            list(view)
        s.load(tmp_path / "s.bin")
        view = s.logits()
        assert list(view) == expected
        stream.seek(0)
        s.load(stream)
        with pytest.raises(libmoe.StaleError):
            list(view)
        assert s.tokens() == [1, 2, 3] and list(s.logits()) == expected
        with pytest.raises(EOFError):
            s.load(io.BytesIO(stream.getvalue()[:50]))
        damaged = bytearray(stream.getvalue())
        damaged[len(damaged) // 2] ^= 255
        with pytest.raises(libmoe.FormatError):
            s.load(io.BytesIO(bytes(damaged)))
        assert s.tokens() == [1, 2, 3]

        class Full(io.BytesIO):
            def write(self, data: object) -> int:
                raise OSError(28, "disk full")

        with pytest.raises(OSError, match="disk full"):
            s.save(Full())
        with pytest.raises(libmoe.NotFoundError):
            s.load(tmp_path / "none")


def test_one_sequence_saved_and_loaded(tiny: libmoe.Model, tmp_path: pathlib.Path) -> None:
    with tiny.session(n_seq_max=2) as a, tiny.session(n_seq_max=3) as b:
        a.eval([1, 2, 3, 4], seq=[1] * 4)
        a.save_seq(tmp_path / "one.bin", seq=1)
        stream = io.BytesIO()
        a.save_seq(stream, 1)
        assert stream.getvalue() == (tmp_path / "one.bin").read_bytes()
        b.eval([9, 8])
        before = list(b.logits())
        b.load_seq(tmp_path / "one.bin", seq=2)
        assert list(b.logits()) == before and b.tokens(0) == [9, 8] and b.tokens(2) == [1, 2, 3, 4]
        stream.seek(0)
        b.load_seq(stream)
        assert b.tokens(0) == [1, 2, 3, 4]
        a.eval([5], seq=[1])
        b.eval([5])
        assert list(a.logits()) == list(b.logits())
        a.save(tmp_path / "all.bin")
        with pytest.raises(libmoe.StateError):
            b.load_seq(tmp_path / "all.bin")
        with pytest.raises(EOFError):
            b.load_seq(io.BytesIO(stream.getvalue()[:80]))
        with pytest.raises(libmoe.RangeError):
            b.save_seq(io.BytesIO(), 3)


def test_generate(demo: libmoe.Model) -> None:
    with demo.session() as s:
        pieces = list(s.generate("Once upon a time", max_tokens=30, sampler="top-k:k=40;temp:t=0.8", seed=3))
        text = "".join(pieces)
        assert len(text) > 20 and s.length() > 30
        s.reset()
        again = "".join(s.generate("Once upon a time", max_tokens=30, sampler="top-k:k=40;temp:t=0.8", seed=3))
        assert again == text
        s.reset()
        stop = text[10:14]
        cut = "".join(s.generate("Once upon a time", max_tokens=30, sampler="top-k:k=40;temp:t=0.8", seed=3, stop=[stop]))
        assert cut == text[: text.index(stop)]
        s.reset()
        german = "".join(s.generate("Es war", max_tokens=20, voice="german", seed=1))
        assert german
        with pytest.raises(ValueError, match="german"):
            s.reset()
            s.generate("x", voice="klingon")
        with pytest.raises(libmoe.InvalidError):
            s.generate("x", sampler="no-such-stage")
        with libmoe.Sampler("greedy") as greedy:
            s.reset()
            a = "".join(s.generate("The", max_tokens=5, sampler=greedy))
            s.reset()
            assert a == "".join(s.generate("The", max_tokens=5, sampler=greedy, seed=5))
    with demo.session(n_ctx=64) as s:
        assert "".join(s.generate("Once upon a time", seed=1))  # ends when the context is full, or at an end token
        s.reset()
        with pytest.raises(libmoe.FullError):
            for _ in range(50):
                list(s.generate("and then" * 3, max_tokens=30))


def test_generate_is_what_its_steps_are(demo: libmoe.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = "penalties:repeat=1.1;top-k:k=40;temp:t=0.9;dist:seed=4"
    prompt = demo.tokenizer.encode("The old sailor", bos=True)
    with demo.session() as s, libmoe.Sampler(chain) as p:
        for id in prompt:
            p.accept(id)
        s.eval(prompt)
        stream, steps = demo.tokenizer.stream(), []
        for _ in range(25):
            id = p.pick(s)
            p.accept(id)
            steps.append(stream.feed(id))
            s.eval([id])
        text, tokens = "".join(steps), s.tokens()
        ways = {"own": chain, "shared": libmoe.Sampler(chain), "sliced": chain, "little room": chain}
        for way, sampler in ways.items():
            monkeypatch.setattr(s, "_sliced", way == "sliced")
            monkeypatch.setattr("libmoe._session.TEXT_ROOM", 1 if way == "little room" else 512)
            s.reset()
            assert "".join(s.generate(prompt, max_tokens=25, sampler=sampler)) == text, way
            assert s.tokens() == tokens
        s.reset()  # a byte of zero is a character as any other
        (zero,) = demo.tokenizer.encode("\0")
        forced = libmoe.Sampler().add_stage("logit-bias", ids=[zero], values=[1e6])
        assert list(s.generate(prompt, max_tokens=3, sampler=forced)) == ["\0"] * 3


def test_generate_that_fails(demo: libmoe.Model) -> None:
    class Own(Exception):
        pass

    def fails(*_: object) -> None:
        raise Own("mine")

    with demo.session() as s:
        pieces = s.generate("Once upon", seed=1)
        next(pieces)
        n = s.length()
        view = s.logits()
        s.observe(lambda v: s.info and None)  # callbacks may read the session
        next(pieces)
        with pytest.raises(libmoe.StaleError):
            view.sum() if hasattr(view, "sum") else view[0]
        assert s.length() == n + 1
        s.observe(fails)
        with pytest.raises(Own, match="mine"):
            next(pieces)
        assert s.length() == n + 1
        s.observe(None)
        pieces = s.generate("", seed=1)
        next(pieces)
        s.interrupt()
        with pytest.raises(libmoe.AbortedError):
            next(pieces)
        with libmoe.Sampler() as custom:
            custom.add_custom(fails)
            with pytest.raises(Own):
                next(s.generate("", sampler=custom))
            pieces = s.generate("", sampler="dist")
            next(pieces)
        pieces = s.generate("", sampler=(closing := libmoe.Sampler("dist")))
        next(pieces)
        closing.close()
        with pytest.raises(libmoe.ClosedError):
            next(pieces)
        pieces = s.generate("", sampler="dist")
        next(pieces)
    with pytest.raises(libmoe.ClosedError):
        next(pieces)


def test_two_threads_generate(demo: libmoe.Model) -> None:
    """One of two at a time; the other is told, and neither breaks the session or its lock."""
    with demo.session() as s:
        refused: list[libmoe.StateError] = []
        s.eval([1, 2, 3])

        def work() -> None:
            for _ in range(40):
                try:
                    list(s.generate("", max_tokens=3, seed=1))
                except libmoe.FullError:
                    return
                except libmoe.StateError as error:
                    refused.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused and "another thread" in str(refused[0])
        s.reset()
        assert "".join(s.generate("Once", max_tokens=3))


def test_wrong_types(demo: libmoe.Model) -> None:
    with demo.session() as s:
        for wrong in ("abc", ["a"], [1.5], 7, None, [None], b"abc"):
            with pytest.raises(TypeError):
                s.eval(wrong)  # type: ignore[arg-type]
        for use in (lambda: libmoe.Session(3), lambda: s.router("first"), lambda: s.generate(5), lambda: s.load(3.5),
                    lambda: libmoe.Sampler(7), lambda: demo.read_tensor([])):
            with pytest.raises((TypeError, AttributeError, ctypes.ArgumentError)):
                use()  # type: ignore[no-untyped-call]
        with pytest.raises(OverflowError):
            s.eval([2**40])
        for out_of_range in ([-1], [10**9]):
            with pytest.raises(libmoe.RangeError):
                s.eval(out_of_range)
        s.eval([1, 2])
        assert s.length() == 2


def test_generate_in_a_sequence(demo: libmoe.Model) -> None:
    with demo.session(n_seq_max=2) as s:
        a = "".join(s.generate("The King", max_tokens=8, seed=1))
        b = "".join(s.generate("The King", max_tokens=8, seed=1, seq=1))
        assert a == b and s.tokens(0) == s.tokens(1)


def test_generate_batch(demo: libmoe.Model) -> None:
    prompts = ["Once upon a time", "The King said", "To be"]
    with demo.session(n_seq_max=3) as s:
        texts = ["", "", ""]
        for which, piece in s.generate_batch(prompts, max_tokens=12, seed=5):
            texts[which] += piece
    for q, prompt in enumerate(prompts):  # in company as alone
        with demo.session() as s:
            assert "".join(s.generate(prompt, max_tokens=12, seed=5 + q)) == texts[q]


def test_slices(demo: libmoe.Model) -> None:
    tokens = demo.tokenizer.encode("It was a fine evening and the King said to his daughter that " * 8)
    with demo.session(n_batch_max=64, threads=1) as a, demo.session(threads=1) as b:
        turns = sum(1 for _ in a.eval_slices(tokens, ms=0.1))
        b.eval(tokens)
        assert turns > 3 and list(a.logits()) == list(b.logits())
        for _ in a.eval_slices(tokens, ms=0.1):
            with pytest.raises(libmoe.StateError):
                a.eval([1])
            break  # left early: cancelled
        assert a.length() == len(tokens)
        a.eval([1])


def test_interrupt(demo: libmoe.Model) -> None:
    with demo.session() as s:
        s.interrupt()
        with pytest.raises(libmoe.AbortedError):
            s.eval([1, 2, 3])
        assert s.length() == 0
        s.eval([1, 2, 3])


def slow_session(demo: libmoe.Model) -> libmoe.Session:
    return demo.session(threads=1, exact_activations=True)


def slow_prompt(demo: libmoe.Model, seconds: float) -> list[int]:
    """Tokens that take about so long on this machine, in this build."""
    with slow_session(demo) as s:
        s.eval([1] * 20)
        started = time.perf_counter()
        s.eval([1] * 20)
        each = (time.perf_counter() - started) / 20
    return [100 + i % 1000 for i in range(max(40, min(1000, int(seconds / each))))]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c(demo: libmoe.Model) -> None:
    tokens = slow_prompt(demo, 1.5)
    with slow_session(demo) as s:
        started = time.perf_counter()
        s.eval(tokens)
        whole = time.perf_counter() - started
        s.reset()
        s.eval([7, 8, 9])
        delay = min(0.3 * whole, 0.5)
        timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
        started = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            s.eval(tokens)
            time.sleep(5)  # a machine that is faster than the timer
        took = time.perf_counter() - started
        timer.join()
        assert took < delay + 0.5 * whole + 0.5
        if took < whole:
            assert s.tokens() == [7, 8, 9]  # as before
        s.eval([10])  # nothing is left of the interruption


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_signal_handlers_run_during_an_eval(demo: libmoe.Model) -> None:
    seen: list[float] = []
    tokens = slow_prompt(demo, 1.0)
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(time.perf_counter()))
    try:
        with slow_session(demo) as s:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            s.eval(tokens)
            done = time.perf_counter()
            assert s.length() == len(tokens) and seen and seen[0] < done  # served in time, and nothing was stopped
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_the_gil_is_released(demo: libmoe.Model) -> None:
    count = 0
    done = threading.Event()
    tokens = slow_prompt(demo, 0.5)

    def work() -> None:
        with slow_session(demo) as s:
            s.eval(tokens)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        count += 1
        time.sleep(0.001)
    thread.join()
    assert count > 5


def test_a_second_thread_is_refused(demo: libmoe.Model) -> None:
    with slow_session(demo) as s:
        wrong: list[BaseException] = []
        tokens = slow_prompt(demo, 1.0)
        thread = threading.Thread(target=lambda: s.eval(tokens))
        thread.start()
        deadline = time.perf_counter() + 20
        while not wrong and thread.is_alive() and time.perf_counter() < deadline:
            try:
                s.info
                s.length()
            except libmoe.StateError as error:
                wrong.append(error)
        thread.join()
        assert wrong and "another thread" in str(wrong[0])
        s.eval([1])


def test_callbacks_that_raise(tiny: libmoe.Model) -> None:
    class Own(Exception):
        pass

    def fails(*_: object) -> None:
        raise Own("mine")

    with tiny.session(n_batch_max=64, progress=fails) as s, pytest.raises(Own):
        s.eval(list(range(1, 120)))
    with tiny.session() as s:
        s.eval([1, 2])
        s.observe(fails)
        with pytest.raises(Own, match="mine") as caught:
            s.eval([3])
        assert caught.traceback and s.length() == 2
        s.observe(lambda v: False)
        with pytest.raises(libmoe.AbortedError):
            s.eval([3])
        s.observe(None)
        s.eval([3])
        s.on_layer(1, "output", fails)
        with pytest.raises(Own):
            s.eval([4])
        s.on_layer(1, "output", None)
        s.router(0).expert(0).replace(fails)
        s.router(0).expert(0).use = "force"
        with pytest.raises(Own):
            s.eval([4])
        s.routers.reset()
        s.router(0).set_policy(fails)
        with pytest.raises(Own):
            s.eval([4])
        s.router(0).set_policy(None)
        s.eval([4])

        def changes(view: libmoe.RouteView) -> None:
            s.reset()
            s.eval([1])

        s.observe(changes)
        with pytest.raises(libmoe.StateError):
            s.eval([5])


def test_executor(tiny: libmoe.Model) -> None:
    with tiny.session(threads=1) as s:
        s.eval([1, 2, 3])
        expected = list(s.logits())
    with tiny.session(threads=3, executor=libmoe.ThreadExecutor()) as s:
        s.eval([1, 2, 3])
        assert list(s.logits()) == expected

    def refuses(n: int, task: object) -> None:
        raise ValueError("no threads today")

    with tiny.session(threads=2, executor=refuses) as s, pytest.raises(ValueError, match="no threads"):
        s.eval([1, 2, 3])


def test_keep_partial(tiny: libmoe.Model) -> None:
    def stop(stage: str, done: int, total: int) -> bool:
        return done < 64

    with tiny.session(n_batch_max=32, keep_partial=True, progress=stop) as s:
        with pytest.raises(libmoe.AbortedError):
            s.eval(list(range(1, 120)))
        assert 0 < s.length() < 119


def test_forgotten_objects(tiny: libmoe.Model) -> None:
    """Whatever the order in which things are forgotten, nothing breaks."""
    for _ in range(3):
        model = libmoe.Model(DATA / "qwen3moe.gguf")
        session = model.session()
        router = session.router(0)
        expert = router.expert(1)
        session.observe(lambda v: None)
        session.router(1).set_policy(lambda rows: [[0, 1]] * rows.n_rows)
        expert.replace(lambda call: call.x)
        del model
        session.eval([1, 2, 3])
        view = session.logits()
        session.close()
        for use in (lambda: router.info, lambda: expert.info, lambda: expert.apply([[0.0] * 48])):
            with pytest.raises(libmoe.ClosedError):
                use()
        del session, router
        gc.collect()
        with pytest.raises(libmoe.StaleError):
            view[0]
        del view, expert


def test_main(tmp_path: pathlib.Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "libmoe", *arguments], capture_output=True, text=True, timeout=120)

    done = run("The King", "-n", "5", "-m", str(ROOT / "examples/models/demo.gguf"), "--stats")
    assert done.returncode == 0 and done.stdout.startswith("The King") and "tokens/s" in done.stderr
    missing = run("-m", str(tmp_path / "none.gguf"))
    assert missing.returncode == 1 and "none.gguf" in missing.stderr and "Traceback" not in missing.stderr


def test_closed_by_a_callback(tiny: libmoe.Model) -> None:
    """A callback may close the object that C is at work on: it goes when C has returned."""
    seen: list[str] = []

    def closing(what: Any, name: str) -> Callable[..., Any]:
        handle = weakref.ref(what._handle)

        def close(*_: Any) -> None:
            what.close()
            gc.collect()
            assert handle() is not None, name
            seen.append(name)

        return close

    def rows(close: Callable[..., Any]) -> Callable[[libmoe.RouteInput], Any]:
        def policy(r: libmoe.RouteInput) -> Any:
            close()
            return [[0, 1]] * r.n_rows

        return policy

    def evaluates(s: libmoe.Session) -> None:
        s.observe(closing(s, "eval"))
        s.eval([1])

    def evaluates_batch(s: libmoe.Session) -> None:
        s.observe(closing(s, "batch"))
        s.eval([1, 2, 3])

    def slices(s: libmoe.Session) -> None:
        s.observe(closing(s, "slices"))
        list(s.eval_slices([1, 2, 3]))

    def generates(s: libmoe.Session) -> None:
        s.eval([1])
        s.observe(closing(s, "generate"))
        list(s.generate([2], sampler="greedy", max_tokens=3))

    def saves(s: libmoe.Session) -> None:
        s.eval([1])

        class Out(io.BytesIO):
            def write(self, data: Any) -> int:
                closing(s, "save")() if not s.closed else None
                return len(data)

        s.save(Out())

    def routes(s: libmoe.Session) -> None:
        s.router(1).set_policy(rows(closing(s, "route")))
        s.router(1).route([[0.5] * 48]).layer

    def applies(s: libmoe.Session) -> None:
        e = s.router(0).expert(1)
        close = closing(s, "apply")
        e.replace(lambda call: close() or call.x)
        e.apply([[0.5] * 48])

    def picks(s: libmoe.Session) -> None:
        s.eval([1])
        libmoe.Sampler().add_custom(closing(s, "pick")).pick(s)
        chain = libmoe.Sampler()
        chain.add_custom(closing(chain, "chain"))
        chain.pick([1.0, 2.0])

    def resets(s: libmoe.Session) -> None:
        class Closes(libmoe.Policy):
            def route(self, rows: libmoe.RouteInput) -> Any:
                return [[0]] * rows.n_rows

            def seq_reset(self, seq: int) -> None:
                close()

        close = closing(s, "reset")
        s.router(0).set_policy(Closes())
        s.eval([1])
        s.reset()

    def copies(s: libmoe.Session) -> None:
        class Closes(libmoe.Policy):
            made = 0

            def for_router(self, info: libmoe.PolicyInfo) -> libmoe.Policy:
                Closes.made += 1
                close() if Closes.made > 1 else None
                return self

        with tiny.session() as other:
            close = closing(other, "copy")
            s.router(0).set_policy(Closes())
            other.copy_routing(s)
        s.close()

    for use in (evaluates, evaluates_batch, slices, generates, saves, routes, applies, picks, resets, copies):
        s = tiny.session()
        try:
            use(s)
        except libmoe.ClosedError:
            pass
        assert s.closed
    assert set(seen) == {"eval", "batch", "slices", "generate", "save", "route", "apply", "pick", "chain", "reset", "copy"}


def test_arrays_outlive_callbacks(tiny: libmoe.Model) -> None:
    """Plain arrays made from what callbacks see keep their memory."""
    np = pytest.importorskip("numpy")
    kept: list[Any] = []
    s = tiny.session()
    s.observe(lambda v: kept.extend(map(np.asarray, (v.token, v.logits, v.expert))))
    s.on_layer(1, "output", lambda e: kept.append(np.asarray(e.hidden)))
    s.router(1).set_policy(lambda r: kept.extend(map(np.asarray, (r.choice, r.seq))) or [[0, 1]] * r.n_rows)
    with tiny.session() as other:
        other.copy_routing(s)  # the policy's rows are then this session's
        other.eval([1, 2])
        handle = weakref.ref(other._handle)
    assert len(kept) == 2 and handle() is not None
    kept.clear()
    gc.collect()
    assert handle() is None
    s.eval([1, 2, 3])
    handle = weakref.ref(s._handle)
    s.close()
    del s
    gc.collect()
    assert len(kept) == 12 and handle() is not None
    assert all(np.isfinite(x).all() for x in kept)
    kept.clear()
    gc.collect()
    assert handle() is None


def test_tokens_are_taken_at_once(demo: libmoe.Model) -> None:
    np = pytest.importorskip("numpy")
    ids = demo.tokenizer.encode("It was a fine evening and the King said to his daughter that " * 8)
    with demo.session(n_batch_max=64) as a, demo.session(n_batch_max=64) as b:
        b.eval(ids)
        expected = b.tokens(), list(b.logits())
        for given in (np.array(ids, dtype=np.int32), (ctypes.c_int32 * len(ids))(*ids)):
            a.reset()
            for _ in a.eval_slices(given, ms=0.01):
                given[:] = [7] * len(ids)
            assert (a.tokens(), list(a.logits())) == expected
        given = np.array(ids, dtype=np.int32)
        a.reset()
        a.observe(lambda v: given.fill(7))
        a.eval(given)
        assert (a.tokens(), list(a.logits())) == expected


def test_a_refused_eval_cancels_nothing(demo: libmoe.Model) -> None:
    tokens = demo.tokenizer.encode("It was a fine evening and the King said to his daughter that " * 8)
    with demo.session(n_batch_max=64, threads=1) as s:
        slices = s.eval_slices(tokens, ms=0.1)
        next(slices)
        for refused in (lambda: s.eval([1, 2, 3]), lambda: next(s.eval_slices([1, 2]))):
            with pytest.raises(libmoe.StateError):
                refused()
        for _ in slices:
            pass
        assert s.tokens() == tokens


def test_numbers_that_c_cannot_take(tiny: libmoe.Model) -> None:
    with tiny.session(n_seq_max=2) as s:
        s.eval([1, 2, 3])
        before = list(s.logits())
        hook = lambda event: None  # noqa: E731
        for use in (s.router, lambda i: s.on_layer(i, "input", hook), lambda i: s.copy(0, i), lambda i: s.copy(i, 1),
                    lambda i: s.truncate(i), lambda i: s.truncate(0, i), lambda i: s.remove(i, 1), s.tokens, s.logits, s.hidden,
                    lambda i: s.remove(0, 1, i), lambda i: s.logprobs(1, i), s.logprob, lambda i: s.logprob(0, i),
                    lambda i: s.save_seq(io.BytesIO(), i), lambda i: s.load_seq(io.BytesIO(), i),
                    lambda i: s.generate([4], seq=i), lambda i: next(s.eval_slices([4], seq=i)),
                    lambda i: libmoe.Sampler("greedy").pick(s, i), lambda i: s.contrast(s, i),
                    lambda i: libmoe.mix_sessions([s], row=i), lambda i: tiny.session(n_ctx=i)):
            for wrong in (-1, 2**64):
                with pytest.raises(libmoe.RangeError):
                    use(wrong)
        for use in (s.router, s.truncate, lambda i: s.truncate(0, i), lambda i: s.copy(1, i), s.logprob):
            with pytest.raises(libmoe.RangeError):
                use(2**32)
        assert s.length(2**32) == s.length(-1) == 0
        for k in (-1, -(2**63)):
            with pytest.raises(ValueError):
                s.logprobs(k)
        with pytest.raises(libmoe.RangeError):
            s.logprobs(2**40)
        assert s.logprobs(0) == [] and s.tokens() == [1, 2, 3] and list(s.logits()) == before
        with pytest.raises(TypeError):
            s.truncate(1.5)  # type: ignore[arg-type]


def test_a_stream_that_gives_too_much(tiny: libmoe.Model) -> None:
    class More(io.BytesIO):
        def read(self, n: Any = -1) -> bytes:
            return super().read(n) + bytes(100_000)

    with tiny.session() as s:
        s.eval([1, 2, 3])
        saved = io.BytesIO()
        s.save(saved)
        with pytest.raises(OSError, match="were asked for"):
            s.load(More(saved.getvalue()))
        assert s.tokens() == [1, 2, 3]
