# SPDX-License-Identifier: MIT
from __future__ import annotations

import ctypes
import importlib
import io
import os
import pathlib
import subprocess
import sys
import threading

import pytest
from conftest import DATA, ROOT

import libmoe
from libmoe import _declarations as d
from libmoe import _library as library

DEMO = ROOT / "examples" / "models" / "demo.gguf"


def test_library() -> None:
    importlib.reload(libmoe)  # what it asks at import is asked before the tests begin to count
    assert libmoe.version() >= (0, 2, 0)
    assert libmoe.__version__ == ".".join(map(str, libmoe.version()))
    levels = ("ref", "avx2", "avxvnni", "avx512", "avx512vnni", "amx", "neon", "dotprod", "i8mm")
    assert libmoe.build_info() and libmoe.cpu_isa() in levels
    assert any(libmoe.has_feature(f) for f in ("pool", "openmp", "serial")) and not libmoe.has_feature("teleport")
    assert "qwen3moe" in libmoe.architectures()
    assert libmoe.tensor_types()["Q6_K"] == 14
    assert libmoe.kernels()
    assert "Q4_K_M" in libmoe.recipes()
    assert libmoe.status_name(-4) == "MOE_E_FORMAT"
    assert "topp" in libmoe.policy_names()


def test_another_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for path, said in ((tmp_path / "missing.so", "LIBMOE_LIBRARY"), (DEMO, "cannot be loaded")):
        done = subprocess.run([sys.executable, "-c", "import libmoe"], capture_output=True, text=True,
                              env={**os.environ, "LIBMOE_LIBRARY": str(path)})
        assert done.returncode == 1 and "ImportError" in done.stderr and said in done.stderr
    library._check()
    with monkeypatch.context() as patch, pytest.raises(ImportError, match="this package needs"):
        patch.setattr(library.lib, "moe_version", lambda: d.VERSION_NUMBER - 1)
        library._check()
    with monkeypatch.context() as patch, pytest.raises(ImportError, match="moe_stats"):
        patch.setitem(d.LAYOUT, "moe_stats", (d.LAYOUT["moe_stats"][0] + 8, {}))
        library._check()
    with monkeypatch.context() as patch, pytest.raises(ImportError, match="moe_batch.token"):
        size, members = d.LAYOUT["moe_batch"]
        patch.setitem(d.LAYOUT, "moe_batch", (size, {**members, "token": (4, 8)}))
        library._check()
    # what the checks of sizes say of a struct that lacks a member, and of one that has one more
    sampler = libmoe.Sampler()
    stage = d.moe_sample_stage

    def add(p: object) -> int:
        return int(library.lib.moe_sampler_add(sampler._handle.address, ctypes.cast(p, ctypes.POINTER(stage))))

    shorter = type("shorter", (d.Sized,), {"_fields_": stage._fields_[:-1]})
    longer = type("longer", (d.Sized,), {"_fields_": [*stage._fields_, ("more", ctypes.c_uint64)]})
    assert library._knows_at_least(add, stage) and library._knows_at_most(add, stage)
    assert library._knows_at_least(add, shorter) and not library._knows_at_most(add, shorter)
    assert not library._knows_at_least(add, longer)


def test_info(demo: libmoe.Model) -> None:
    info = demo.info
    assert (info.arch, info.n_layers, info.n_experts, info.top_k, info.dim, info.n_vocab) == ("qwen3moe", 8, 16, 2, 256, 6144)
    assert demo.layer(3).is_moe and demo.layer(3).n_experts == 16
    assert demo.route(0).top_k == 2
    with pytest.raises(libmoe.RangeError):
        demo.layer(8)
    assert "qwen3moe" in repr(demo) or info.name in repr(demo)


def test_metadata(demo: libmoe.Model) -> None:
    meta = demo.metadata
    assert meta["general.architecture"] == "qwen3moe"
    assert len(meta) == len(list(meta)) > 10
    assert meta["qwen3moe.expert_count"] == 16
    assert "german" in demo.voices and meta.element("libmoe.voices", 0) == demo.voices[0]
    with pytest.raises(KeyError):
        meta["no.such.key"]


def test_tensors(demo: libmoe.Model, numbers: str) -> None:
    infos = list(demo.tensors())
    assert len(infos) == demo.n_tensors
    norm = demo.tensor("output_norm.weight")
    assert norm.shape == (256,)
    values = demo.read_tensor("output_norm.weight")
    assert len(values) == 256
    assert list(demo.read_tensor(norm.index, 10, 5)) == list(values[10:15])
    assert tuple(demo.read_tensor("blk.0.ffn_gate_inp.weight").shape) == (16, 256)
    with pytest.raises(libmoe.NotFoundError):
        demo.tensor("no such tensor")
    with pytest.raises(libmoe.RangeError):
        demo.read_tensor("output_norm.weight", 250, 10)


def test_tokenizer(demo: libmoe.Model) -> None:
    tok = demo.tokenizer
    text = "Once upon a time: grüße, 日本 🙂"
    ids = tok.encode(text)
    assert tok.decode(ids) == text
    assert b"".join(tok.piece(i) for i in ids) == text.encode()
    assert len(tok) == 6144 and tok.attr(ids[0]) == 1
    stream = tok.stream()
    assert "".join(stream.feed(i) for i in ids) + stream.end() == text
    end = tok.find("<|endoftext|>")
    assert end is not None and tok.is_end(end) and end in tok.end_tokens
    assert tok.find("no such token at all") is None
    assert tok.special("eos") == end and tok.special("unk") is None
    with pytest.raises(ValueError):
        tok.special("nonsense")
    with pytest.raises(libmoe.RangeError):
        tok.piece(6144)
    with pytest.raises(TypeError):
        tok.decode("text")  # type: ignore[arg-type]
    assert tok.same(tok) and tok.decode([]) == "" and tok.encode("") == []


def test_tokenizer_alone(demo: libmoe.Model, tiny: libmoe.Model) -> None:
    with libmoe.Tokenizer(DEMO) as alone:
        assert alone.same(demo.tokenizer)
        assert not alone.same(tiny.tokenizer) and alone.first_difference(tiny.tokenizer) is not None
        ids = alone.encode("hello")
    with pytest.raises(libmoe.ClosedError):
        alone.encode("hello")
    assert demo.tokenizer.decode(ids) == "hello"
    with pytest.raises(libmoe.NotFoundError):
        libmoe.Tokenizer("/nonexistent.gguf")


def test_chat(demo: libmoe.Model) -> None:
    name = demo.tokenizer.chat_name
    if name is None:
        with pytest.raises(libmoe.Error):
            demo.tokenizer.chat([("user", "hello")])
    else:
        assert "hello" in demo.tokenizer.chat([{"role": "user", "content": "hello"}])


def test_memory(demo: libmoe.Model) -> None:
    plan = libmoe.plan(DEMO, n_ctx=256)
    memory = demo.memory(n_ctx=256)
    assert plan.total > 20_000_000 and memory.experts == plan.experts and memory.kv == plan.kv
    assert libmoe.plan(DEMO, n_ctx=512, model={"resident": True}).kv == pytest.approx(2 * plan.kv, rel=0.01)


def test_open_failures(tmp_path: pathlib.Path) -> None:
    with pytest.raises(libmoe.NotFoundError) as missing:
        libmoe.Model("/no/such/model.gguf")
    assert missing.value.status == -11 and "/no/such/model.gguf" in str(missing.value)
    assert isinstance(missing.value, LookupError)
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(DEMO.read_bytes()[:100_000])
    with pytest.raises(libmoe.FormatError) as cut:
        libmoe.Model(damaged)
    assert "damaged.gguf" in cut.value.message
    damaged.write_bytes(b"not a model at all, really")
    with pytest.raises(libmoe.FormatError):
        libmoe.Model(damaged)
    with pytest.raises(libmoe.FileAccessError):
        libmoe.Model(tmp_path)
    with pytest.raises(TypeError):
        libmoe.Model(3.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        libmoe.Model(DEMO, no_such_option=1)
    with pytest.raises(libmoe.InvalidError, match="quantum"):
        libmoe.Model(DEMO, isa="quantum")
    with pytest.raises(libmoe.FullError):
        libmoe.Model(DEMO, resident=True, memory_budget=1000)


def test_closed() -> None:
    model = libmoe.Model(DATA / "qwen3moe.gguf")
    tok = model.tokenizer
    other = model.share()
    session = model.session()
    model.close()
    model.close()
    assert model.closed and "closed" in repr(model)
    for use in (lambda: model.info, lambda: model.tokenizer, lambda: model.session(), lambda: len(model.metadata),
                lambda: model.read_tensor(0), lambda: model.memory()):
        with pytest.raises(libmoe.ClosedError):
            use()
    assert tok.encode("abc")  # a tokenizer keeps its model alive
    session.eval([1, 2, 3])  # and so does a session
    assert session.model.info.n_layers == 3 and other.info.n_layers == 3
    other.close()
    session.close()
    with pytest.raises(libmoe.ClosedError):
        session.eval([1])
    with pytest.raises(libmoe.ClosedError):
        with model:
            pass


def test_own_file() -> None:
    raw = (DATA / "qwen3moe.gguf").read_bytes()
    with libmoe.Model(DATA / "qwen3moe.gguf") as plain, plain.session() as s:
        s.eval([1, 2, 3])
        expected = list(s.logits())
    for source in (raw, bytearray(raw), memoryview(raw), io.BytesIO(raw)):
        with libmoe.Model(source, name="in memory") as model, model.session() as s:
            s.eval([1, 2, 3])
            assert list(s.logits()) == expected
    with pytest.raises(libmoe.FormatError, match="in memory"):
        libmoe.Model(raw[:5000], name="in memory")

    class Broken(io.BytesIO):
        def read(self, n: int | None = -1) -> bytes:
            raise ZeroDivisionError("from the stream")

    with pytest.raises(ZeroDivisionError, match="from the stream"):
        libmoe.Model(Broken(raw))
    with pytest.raises(EOFError):
        class Short(io.BytesIO):
            def read(self, n: int | None = -1) -> bytes:
                return super().read(n)[:-1]

        libmoe.Model(Short(raw))


def test_hooks() -> None:
    lines: list[tuple[int, str, str]] = []
    seen: list[tuple[str, int, int]] = []
    with libmoe.Model(DATA / "qwen3moe.gguf", logger=lambda *a: lines.append(a), log_level=4, resident=True,
                      progress=lambda *a: seen.append(a)):
        pass
    assert all(isinstance(text, str) and 1 <= level <= 4 for level, _, text in lines)
    assert seen and seen[-1][0] == "load"
    with pytest.raises(libmoe.AbortedError):
        libmoe.Model(DATA / "qwen3moe.gguf", resident=True, progress=lambda *a: False)

    def fails(*_: object) -> None:
        raise KeyError("progress")

    with pytest.raises(KeyError, match="progress"):
        libmoe.Model(DATA / "qwen3moe.gguf", resident=True, progress=fails)


def test_allocator() -> None:
    memory = libmoe.Allocator()
    with libmoe.Model(DATA / "qwen3moe.gguf", allocator=memory, resident=True) as model:
        before = memory.used
        assert before > model.info.bytes // 2
        with model.session() as session:
            assert memory.used > before
            used = memory.used
            session.eval([1, 2, 3])
            assert memory.used == used  # an eval allocates nothing
        with libmoe.Sampler("top-k", allocator=memory), libmoe.Tokenizer(DATA / "qwen3moe.gguf", allocator=memory):
            pass
    del session
    assert memory.used == 0 and memory.n_blocks == 0 and memory.peak > 0
    # out of memory at every size up to what is needed: an exception each time, nothing left over
    need = memory.peak
    for limit in range(0, need, max(need // 40, 1)):
        tight = libmoe.Allocator(limit)
        with pytest.raises(libmoe.OutOfMemoryError) as error:
            with libmoe.Model(DATA / "qwen3moe.gguf", allocator=tight, resident=True) as model, model.session() as session:
                session.eval([1, 2, 3])
        assert isinstance(error.value, MemoryError)
        del error
        assert tight.used == 0, limit


def test_threads(tiny: libmoe.Model) -> None:
    expected = []
    with tiny.session() as s:
        s.eval([1, 2, 3, 4])
        expected = list(s.logits())
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with tiny.session(threads=1) as s:
                    s.eval([1, 2, 3, 4])
                    assert list(s.logits()) == expected
                    assert tiny.tokenizer.decode(tiny.tokenizer.encode("some text")) == "some text"
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_quantize(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "small.gguf"
    seen: list[str] = []
    libmoe.quantize(DATA / "qwen3moe.gguf", target, "Q8_0", rules="*=Q8_0", threads=1,
                    progress=lambda stage, done, total: seen.append(stage), allocator=libmoe.Allocator())
    assert "quantize" in seen
    with libmoe.Model(target) as model, model.session() as s:
        s.eval([1, 2])
    with pytest.raises(libmoe.InvalidError):
        libmoe.quantize(DATA / "qwen3moe.gguf", target, "Q9_Z")
    with pytest.raises(libmoe.NotFoundError):
        libmoe.quantize(tmp_path / "none.gguf", target, "Q8_0")


def test_a_stream_in_parts() -> None:
    class Parts(io.BytesIO):
        def read(self, n: object = -1) -> bytes:
            assert isinstance(n, int)
            return super().read(min(n, 1000) if n > 0 else n)

    with libmoe.Model(Parts((DATA / "qwen3moe.gguf").read_bytes())) as model, model.session() as s:
        s.eval([1, 2, 3])
    with pytest.raises(EOFError):
        libmoe.Model(Ends((DATA / "qwen3moe.gguf").read_bytes()))


class Ends(io.BytesIO):
    """Is said to be longer than it is."""

    def read(self, n: object = -1) -> bytes:
        return super().read(n) if self.tell() < 2000 else b""  # type: ignore[arg-type]


def test_an_allocator_within_itself() -> None:
    """The collector may run where the allocator holds its lock, and free what the allocator gave."""
    allocator = libmoe.Allocator()
    done = threading.Event()

    def work() -> None:
        sampler = libmoe.Sampler(allocator=allocator)
        with allocator._lock:
            sampler.close()
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20) and allocator.used == 0


def test_numbers_that_c_cannot_take(demo: libmoe.Model) -> None:
    tok = demo.tokenizer
    for use in (demo.layer, demo.route, demo.tensor, tok.piece, tok.stream().feed, lambda i: demo.read_tensor(0, i),
                lambda i: demo.metadata.element("libmoe.voices", i)):
        for wrong in (-2, 2**64):
            with pytest.raises(libmoe.RangeError):
                use(wrong)
    for use in (demo.layer, demo.route, tok.piece):
        with pytest.raises(libmoe.RangeError):
            use(2**32)
    assert tok.attr(2**32 + 1) == tok.attr(-1) == 0 and tok.attr(1)
    with pytest.raises(ValueError):
        demo.read_tensor("output_norm.weight", 0, -1)
    for first, n in ((257, None), (0, 2**50)):
        with pytest.raises(libmoe.RangeError):
            demo.read_tensor("output_norm.weight", first, n)
