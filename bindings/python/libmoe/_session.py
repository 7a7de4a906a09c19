# SPDX-License-Identifier: MIT
"""Sessions: all that changes while a model runs, and generation."""
from __future__ import annotations

import contextlib
import ctypes as C
import io
import os
from threading import get_ident
from typing import Any, BinaryIO, Callable, Iterable, Iterator, Mapping, Optional, Sequence, Union

from . import _declarations as d
from ._arrays import Floats, Guard, Ints, given, room, view
from ._errors import AbortedError, Error, FullError, RangeError, StateError
from ._hooks import reader, session_options, writer
from ._info import SessionInfo, Stats, told
from ._library import (
    CLOSED, I32, U64, Handle, Object, Turn, check, count, expect, failure, fitting, lib, main_thread, path_bytes, pending,
    raised)
from ._model import Model, Path, TokenStream
from ._routing import ALL, PLACES, LayerEvent, Router, RouteView, number, policies_of, windowed
from ._sampler import DEFAULT_SAMPLER, Sampler
from ._study import Profile, Trace

#: An eval in the main thread is done in slices of this many nanoseconds, so that Ctrl-C and other signals are served.
SLICE_NS = 20_000_000
#: Models with more active parameters than this are sliced for single tokens too.
SLICE_PARAMS = 300_000_000

#: Room for the text of one token at first; it grows.
TEXT_ROOM = 512

#: generate() takes a text, bytes, or tokens
Prompt = Union[str, bytes, Ints]


class Step:
    """One step of generate(): moe_session_next()'s struct and arguments, converted once."""

    __slots__ = ("io", "room", "arguments", "_keep")

    def __init__(self, session: Handle, sampler: Sampler, seq: int, stream: TokenStream) -> None:
        self.io = d.moe_next(seq=seq, stream=C.pointer(stream._state))
        self._keep = (session, sampler._handle, stream)
        self._make_room(TEXT_ROOM)
        self.arguments = (C.c_void_p.from_param(session.address), C.c_void_p.from_param(sampler._handle.address),
                          C.byref(self.io))

    def _make_room(self, cap: int) -> None:
        self.room = C.create_string_buffer(cap)
        self.io.cap = cap
        self.io.text = C.cast(self.room, C.c_char_p)

    def failed(self, status: int) -> None:
        """Raises what a status means, if it means something; a text that was too long gets its room."""
        if status == d.MOE_E_BUFFER and pending.error is None:
            self._make_room(self.io.len + 1)
            status = lib.moe_session_next(*self.arguments)
        check(status)

    def make(self, session: Session, sampler: Sampler) -> int:
        """The step where a sampler may be in use elsewhere, or where signals must come through an eval."""
        sampler._enter()
        try:
            sampler._handle.address  # raises: closed
            if session._sliced and self.io.id != d.MOE_TOKEN_NONE:
                ids, row = (C.c_int32 * 1)(self.io.id), (C.c_int32 * 1)(self.io.seq)
                batch = d.moe_batch(n_tokens=1, token=C.cast(ids, C.POINTER(C.c_int32)),
                                    seq=C.cast(row, C.POINTER(C.c_int32)))
                session._run(batch, C.byref(batch), 1)
                self.io.id = d.MOE_TOKEN_NONE
            return int(lib.moe_session_next(*self.arguments))
        finally:
            sampler._lock.release()


class Session(Object):
    """Sequences of evaluated tokens, their results, their routing. Session(model, *, n_ctx=0, n_seq_max=0,
    n_batch_max=0, n_output_max=0, threads=0, kv_type_k=None, kv_type_v=None, keep_partial=False,
    exact_activations=False, keep_routes=False, executor=None, progress=None); zeros are defaults (docs/sessions.md).

    One thread at a time (a second one gets StateError); interrupt() may be called from any. Raises InvalidError,
    OutOfMemoryError, FullError (threads), StateError (a model without weights)."""

    __slots__ = ("_model", "_results", "_routed", "_sliced", "_gathers")

    def __init__(self, model: Model, **options: Any) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"a session is made on a Model, not {type(model).__name__}")
        made, keep = session_options(**options)
        out = C.c_void_p()
        parent = model._handle
        check(lib.moe_session_create(C.byref(out), parent.address, C.byref(made)))
        super().__init__(Handle(out.value or 0, lib.moe_session_free, model=parent, **keep))
        self._model = model
        self._results: Optional[Guard] = None
        self._routed: Optional[Guard] = None
        self._sliced = model.info.n_active > SLICE_PARAMS
        self._gathers: dict[str, Turn] = {}  # of the Profile and the Trace that evals write to

    # -- housekeeping
    def close(self) -> None:
        """Ends the session: views, routers and experts are of no use any more. Twice is fine."""
        self._enter()
        try:
            self._end_views("the session is closed")
            super().close()
        finally:
            self._lock.release()

    def _end_views(self, reason: str) -> None:
        if self._results is not None:
            self._results.end(reason)
            self._results = None
        if self._routed is not None:
            self._routed.end(reason)
            self._routed = None

    def _touch(self) -> Handle:
        """The open handle, for a call that is no eval: results stay, routed rows go."""
        if self._routed is not None:
            self._routed.end("another call was made on the session")
            self._routed = None
        handle = self._handle
        handle.address  # raises: closed
        return handle

    def _gather(self) -> list[Turn]:
        """Takes what an eval writes to from all other threads; to be released. The session's own turn is taken."""
        taken: list[Turn] = []
        for name, turn in self._gathers.items():
            if not turn.acquire():
                for one in taken:
                    one.release()
                raise StateError(f"the {name} of this session is in use by another thread", d.MOE_E_STATE)
            taken.append(turn)
        return taken

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        self._enter()
        try:
            self._touch()
            super()._call(function, *arguments)
        finally:
            self._lock.release()

    def _results_guard(self) -> Guard:
        if self._results is None:
            self._results = Guard()
        return self._results

    def _routed_guard(self) -> Guard:
        self._routed = Guard()
        return self._routed

    def _retain(self, key: Any, what: Any) -> None:
        """Keeps what C refers to until the session is gone or the place is taken by something else."""
        if self._handle is CLOSED:  # by a callback: C needs it no longer
            return
        keep = self._handle.keep
        if what is None:
            keep.pop(key, None)
        else:
            keep[key] = what

    @property
    def model(self) -> Model:
        """The session's model; another object for it if the one that made the session was closed."""
        if self._model.closed:
            parent = self._handle.keep["model"]
            self._model = Model._of(lib.moe_session_model(self._handle.address), parent)
        return self._model

    @property
    def info(self) -> SessionInfo:
        out = d.moe_session_info()
        self._call(lib.moe_session_get_info, C.byref(out))
        return told(SessionInfo, out)

    @property
    def threads(self) -> int:
        """Threads in use. Setting it changes no result; 0 = one per usable CPU."""
        return self.info.n_threads

    @threads.setter
    def threads(self, n: int) -> None:
        self._call(lib.moe_session_set_threads, n)

    def interrupt(self) -> None:
        """Stops the eval that runs, or the next one, with AbortedError. From any thread."""
        handle = self._handle
        lib.moe_session_interrupt(handle.address)

    # -- evaluation
    def eval(self, tokens: Ints, *, seq: Union[int, Ints] = 0, pos: Optional[Ints] = None,
             want: Optional[Ints] = None) -> None:
        """Appends tokens to sequences and computes what is wanted of them.

        tokens: int32 [n], at least one. seq: one sequence, or [n]. pos: [n], a check: each sequence goes on anyway.
        want: [n] of WANT_LOGITS | WANT_HIDDEN; without it the logits of each sequence's last token.
        Ctrl-C interrupts (KeyboardInterrupt, and the session is as before). Raises RangeError, FullError,
        AbortedError, NumericError, PolicyError, CallbackError, StateError, and what a callback raised."""
        ids, n = given(tokens, C.c_int32, "tokens", copy=True)
        batch = d.moe_batch(n_tokens=n, token=C.cast(ids, C.POINTER(C.c_int32)))
        parts = [ids]
        if not isinstance(seq, int) or seq != 0:
            parts.append(self._column("seq", [seq] * n if isinstance(seq, int) else seq, n, C.c_int32))
            batch.seq = C.cast(parts[-1], C.POINTER(C.c_int32))
        if pos is not None:
            parts.append(self._column("pos", pos, n, C.c_int32))
            batch.pos = C.cast(parts[-1], C.POINTER(C.c_int32))
        if want is not None:
            parts.append(self._column("want", want, n, C.c_uint8))
            batch.want = C.cast(parts[-1], C.POINTER(C.c_uint8))
        self._enter()
        try:
            self._run(batch, C.byref(batch), n)
        finally:
            self._lock.release()

    @staticmethod
    def _column(name: str, values: Any, n: int, kind: Any) -> Any:
        row, length = given(values, kind, name, copy=True)
        if length != n:
            raise ValueError(f"{n} tokens, but {length} entries of {name}")
        return row

    def _run(self, batch: d.moe_batch, pointer: Any, n: int) -> None:
        """Evaluates a batch; the lock is held. In the main thread long ones are sliced: signals come through."""
        handle = self._handle
        handle.address  # raises: closed
        gathers = self._gather()
        try:
            self._end_views("the session has evaluated again")
            if (n > 1 or self._sliced) and main_thread():
                self._run_sliced(handle.address, pointer, SLICE_NS)
            elif n == 1 and not batch.seq and not batch.pos and not batch.want:
                status = lib.moe_session_eval(handle.address, batch.token, 1)
                if status < 0 or pending.error is not None:
                    raise failure(status)
            else:
                status = lib.moe_session_eval_batch(handle.address, pointer)
                if status < 0 or pending.error is not None:
                    raise failure(status)
        finally:
            for turn in gathers:
                turn.release()

    def _run_sliced(self, address: int, pointer: Any, slice_ns: int) -> None:
        more = C.c_int(1)  # there is an eval of ours to cancel, also where a signal comes right behind the beginning
        try:
            try:
                check(lib.moe_session_eval_begin(address, pointer))
            except Error:  # refused: what waits to go on, if something does, is somebody else's
                more.value = 0
                raise
            while more.value:
                check(lib.moe_session_eval_slice(address, slice_ns, C.byref(more)))
        except BaseException:
            if more.value:
                lib.moe_session_eval_cancel(address)
            raise

    def eval_slices(self, tokens: Ints, *, ms: float = 2.0, seq: int = 0) -> Iterator[None]:
        """Evaluates in slices of about `ms` milliseconds, for a main loop: `for _ in session.eval_slices(tokens):` does a
        slice before each turn. Leaving the loop early cancels: the session is as before."""
        ids, n = given(tokens, C.c_int32, "tokens", copy=True)
        rows = (C.c_int32 * n)(*([fitting(seq, "sequence", I32)] * n))
        batch = d.moe_batch(n_tokens=n, token=C.cast(ids, C.POINTER(C.c_int32)), seq=C.cast(rows, C.POINTER(C.c_int32)))
        more = C.c_int(1)
        slice_ns = fitting(int(ms * 1e6), "nanoseconds", U64)
        try:
            try:
                self._end_views("the session has evaluated again")
                self._call(lib.moe_session_eval_begin, C.byref(batch))
            except Error:
                more.value = 0
                raise
            while True:
                self._enter()
                try:
                    gathers = self._gather()
                    try:
                        self._call(lib.moe_session_eval_slice, slice_ns, C.byref(more))
                    finally:
                        for turn in gathers:
                            turn.release()
                finally:
                    self._lock.release()
                if not more.value:
                    return
                yield
        finally:
            if more.value and not self.closed:
                self._ask(lib.moe_session_eval_cancel)
            del rows, ids

    def _row(self, function: Any, row: int) -> Any:
        out, n = C.POINTER(C.c_float)(), C.c_size_t()
        self._enter()
        try:
            handle = self._touch()
            check(function(handle.address, fitting(row, "row", U64), C.byref(out), C.byref(n)))
            return view(C.cast(out, C.c_void_p).value, (n.value,), C.c_float, self._results_guard(), handle)
        finally:
            self._lock.release()

    def logits(self, row: int = 0) -> Any:
        """Logits of the row-th token that wanted them, f32 [n_vocab]: a view, valid until the next eval, load or reset
        (StaleError after that). RangeError if there are fewer rows."""
        return self._row(lib.moe_session_logits, row)

    def hidden(self, row: int = 0) -> Any:
        """Final hidden state of the row-th token that wanted it, f32 [dim]: a view, as logits()."""
        return self._row(lib.moe_session_hidden, row)

    def logprobs(self, k: int = 10, row: int = 0) -> list[tuple[int, float]]:
        """The k most probable tokens of a row with their natural-log probabilities, best first. ValueError for k < 0."""
        k = count(k, "tokens")
        if k > self.model.info.n_vocab:  # not even room for so many
            raise RangeError(f"{k} tokens: the vocabulary has {self.model.info.n_vocab}", d.MOE_E_RANGE)
        ids, values = (C.c_int32 * max(k, 1))(), (C.c_float * max(k, 1))()
        self._call(lib.moe_session_logprobs, fitting(row, "row", U64), k, ids, values)
        return list(zip(ids[:k], values[:k]))

    def logprob(self, token: int, row: int = 0) -> float:
        """Natural-log probability of one token in a row."""
        out = C.c_float()
        self._call(lib.moe_session_logprob, fitting(row, "row", U64), fitting(token, "token", I32), C.byref(out))
        return out.value

    def warm_up(self) -> None:
        """Touches all weights and memory and wakes the threads, so that the first eval is not slower than others."""
        self._call(lib.moe_session_warm_up)

    # -- sequences
    def length(self, seq: int = 0) -> int:
        """Tokens in a sequence; 0 for one out of range."""
        return int(self._ask(lib.moe_session_seq_len, seq if 0 <= seq <= I32 else -1))

    def tokens(self, seq: int = 0) -> list[int]:
        """Tokens of a sequence as evaluated."""
        seq = fitting(seq, "sequence", I32)
        n = C.c_size_t(self.length(seq))
        ids = (C.c_int32 * max(n.value, 1))()
        self._call(lib.moe_session_seq_tokens, seq, ids, len(ids), C.byref(n))
        return ids[: n.value]

    def copy(self, source: int, target: int) -> None:
        """Makes `target` a copy of `source`; costs next to nothing."""
        self._call(lib.moe_session_seq_copy, fitting(source, "sequence", I32), fitting(target, "sequence", I32))

    def truncate(self, keep: int, seq: int = 0) -> None:
        """Keeps the first tokens of a sequence; 0 empties it. RangeError if it has fewer."""
        self._call(lib.moe_session_seq_truncate, fitting(seq, "sequence", I32), fitting(keep, "position", I32))

    def remove(self, first: int, n: int, seq: int = 0) -> None:
        """Takes n tokens out of a sequence; those behind move down, with what they had seen of the removed ones. For
        a context that is full. RangeError if it has not all of them, FullError if shared pages cannot be copied."""
        self._call(lib.moe_session_seq_remove, fitting(seq, "sequence", I32), fitting(first, "position", I32),
                   fitting(count(n, "tokens"), "tokens", U64))

    def reset(self) -> None:
        """Empties all sequences; results are gone. Routing stays."""
        self._enter()
        try:
            handle = self._handle  # kept to the end: a policy may close the session
            self._end_views("the session was reset")
            lib.moe_session_reset(handle.address)
            check(0)
        finally:
            self._lock.release()

    def save(self, to: Union[Path, BinaryIO]) -> None:
        """Writes sequences and last results to a file (which appears when whole) or a binary stream."""
        if isinstance(to, (str, os.PathLike)):
            self._call(lib.moe_session_save_file, path_bytes(to))
        else:
            self._call(lib.moe_session_save, writer(to), None)

    def load(self, source: Union[Path, BinaryIO]) -> None:
        """Replaces the content by a saved one. On failure the session is as before: FormatError, VersionError,
        StateError (another model or KV type), FullError, NotFoundError."""
        self._enter()
        try:
            self._end_views("the session was loaded")
            if isinstance(source, (str, os.PathLike)):
                self._call(lib.moe_session_load_file, path_bytes(source))
            else:
                self._call(lib.moe_session_load, reader(source), None)
        finally:
            self._lock.release()

    def save_seq(self, to: Union[Path, BinaryIO], seq: int = 0) -> None:
        """Writes one sequence to a file (which appears when whole) or a binary stream."""
        seq = fitting(seq, "sequence", I32)
        if isinstance(to, (str, os.PathLike)):
            self._call(lib.moe_session_seq_save_file, seq, path_bytes(to))
        else:
            self._call(lib.moe_session_seq_save, seq, writer(to), None)

    def load_seq(self, source: Union[Path, BinaryIO], seq: int = 0) -> None:
        """Replaces one sequence by a saved one, of this or another session of the model; others and the results
        stay. Raises as load() does, StateError for a whole session's file."""
        seq = fitting(seq, "sequence", I32)
        if isinstance(source, (str, os.PathLike)):
            self._call(lib.moe_session_seq_load_file, seq, path_bytes(source))
        else:
            self._call(lib.moe_session_seq_load, seq, reader(source), None)

    # -- generation
    def encode(self, prompt: Prompt, *, bos: bool = True, special: bool = False) -> list[int]:
        """Tokens of a prompt: encoded if it is text, else as they are."""
        if isinstance(prompt, (str, bytes)):
            return self.model.tokenizer.encode(prompt, bos=bos, special=special)
        return list(prompt)

    def generate(self, prompt: Prompt = "", *, max_tokens: Optional[int] = None,
                 sampler: Union[str, Sampler, None] = None, seed: Optional[int] = None, seq: int = 0,
                 stop: Sequence[str] = (), voice: Optional[str] = None, special: bool = False) -> Iterator[str]:
        """Continues a sequence: `for text in session.generate("Once upon a time", max_tokens=50)`.

        prompt is appended to what is there already (text, or tokens; a model with voices gets the tag of `voice`
        before the first). sampler: a Sampler, or text ("top-k:k=40;temp:t=0.8", to which `dist` is added where
        nothing picks); seed makes another draw. Ends at an end token, after max_tokens, before one of the `stop`
        texts, or when the context is full (FullError if max_tokens was told).

        Yields text of whole characters. The token of a piece is evaluated after the piece was taken, so a loop
        that is left early leaves it out of the sequence."""
        seq = fitting(seq, "sequence", I32)
        tokens = self._prompt(prompt, seq, voice, special)
        chain = self._sampler(sampler, seed)
        return self._pieces(tokens, chain, chain is not sampler, max_tokens, seq, tuple(stop))

    def _prompt(self, prompt: Prompt, seq: int, voice: Optional[str], special: bool) -> list[int]:
        first = self.length(seq) == 0
        tag = self.model.voice_token(voice) if first and isinstance(prompt, (str, bytes)) else None
        tokens = self.encode(prompt, bos=first and tag is None, special=special)
        return tokens if tag is None else [tag, *tokens]

    @staticmethod
    def _sampler(sampler: Union[str, Sampler, None], seed: Optional[int]) -> Sampler:
        if isinstance(sampler, Sampler):
            if seed is not None:
                sampler.seed(seed)
            return sampler
        return Sampler.for_text(DEFAULT_SAMPLER if sampler is None else sampler, seed)

    def _pieces(self, tokens: list[int], chain: Sampler, own: bool, max_tokens: Optional[int], seq: int,
                stop: tuple[str, ...]) -> Iterator[str]:
        stream = self.model.tokenizer.stream()
        for token in tokens:
            chain.accept(token)
        if tokens:
            self.eval(tokens, seq=seq)
        if max_tokens == 0:
            return
        step = Step(self._handle, chain, seq, stream)
        count = 0
        held = ""
        # Per token the weights have driven all else from the caches, and every line of code and data that is touched
        # here costs some tenth of a microsecond: one call of the library, prepared arguments, few objects.
        call, (one, two, three), io = lib.moe_session_next, step.arguments, step.io
        turn, handle, callbacks, ident = self._lock, self._handle, raised, get_ident
        take, give, end = turn.take, turn.give, d.MOE_ATTR_END
        simple = own and not self._sliced
        nothing: list[Turn] = []
        while True:
            try:
                take()
            except IndexError:
                raise self._busy() from None
            gathers = nothing
            try:
                turn.owner = ident()
                if self._handle is not handle or self._results is not None or self._routed is not None:
                    self._handle.address  # raises: closed
                    self._end_views("the session has evaluated again")
                if self._gathers:
                    gathers = self._gather()
                status = call(one, two, three) if simple else step.make(self, chain)
                if status < 0 or callbacks.ever:
                    step.failed(status)
            except FullError:
                if max_tokens is None:
                    break
                raise
            finally:
                for other in gathers:
                    other.release()
                turn.owner = None
                give(True)
            raw = step.room.value
            if len(raw) != io.len:
                raw = step.room.raw[: io.len]
            if not raw and io.attr & end:
                break
            count += 1
            piece = raw.decode()
            if stop:
                held += piece
                found = min((at for at in (held.find(s) for s in stop) if at >= 0), default=-1)
                if found >= 0:
                    if found:
                        yield held[:found]
                    return
                keep = max((n for s in stop for n in range(1, len(s)) if held.endswith(s[:n])), default=0)
                piece, held = held[: len(held) - keep], held[len(held) - keep :]
            if piece:
                yield piece
            if count == max_tokens:
                self.eval([io.id], seq=seq)
                break
        rest = held + stream.end()
        if rest:
            yield rest

    def generate_batch(self, prompts: Sequence[Prompt], *, max_tokens: int, sampler: Optional[str] = None,
                       seed: int = 0, voice: Optional[str] = None) -> Iterator[tuple[int, str]]:
        """Continues several prompts together, in the sequences 0 .. len(prompts)-1 (emptied first): yields
        (which, text). Weights are read once for all of them. Needs a session with n_seq_max >= len(prompts).
        Each has a sampler of its own with seed + which; each gives what it would give alone."""
        n = len(prompts)
        tokenizer = self.model.tokenizer
        ends = tokenizer.end_tokens
        for q in range(n):
            self.truncate(0, q)
        chains = [self._sampler(sampler, seed + q) for q in range(n)]
        streams = [tokenizer.stream() for _ in range(n)]
        whole = [self._prompt(prompt, q, voice, False) for q, prompt in enumerate(prompts)]
        for chain, tokens in zip(chains, whole):
            for token in tokens:
                chain.accept(token)
        self.eval([t for tokens in whole for t in tokens], seq=[q for q, tokens in enumerate(whole) for _ in tokens])
        alive = list(range(n))
        for _ in range(max_tokens):
            taken = [(q, chains[q].pick(self, row)) for row, q in enumerate(alive)]
            pairs = [(q, id) for q, id in taken if id not in ends]
            for q, id in pairs:
                chains[q].accept(id)
                piece = streams[q].feed(id)
                if piece:
                    yield q, piece
            alive = [q for q, _ in pairs]
            if not alive:
                break
            self.eval([id for _, id in pairs], seq=alive)
        for q in range(n):
            rest = streams[q].end()
            if rest:
                yield q, rest

    # -- routing
    def router(self, layer: int) -> Router:
        """The router of a layer. RangeError past the end, NotFoundError for a dense layer."""
        return self._router(fitting(layer, "layer"))

    def _router(self, layer: int) -> Router:
        out = C.c_void_p()
        self._call(lib.moe_session_router, layer, C.byref(out))
        return Router(self, out.value or 0, layer)

    @property
    def routers(self) -> Router:
        """All routers at once: setters reach every MoE layer."""
        return self._router(ALL)

    @property
    def moe_layers(self) -> list[int]:
        """Layers that have a router."""
        return [i for i in range(self.model.info.n_layers) if self.model.layer(i).is_moe]

    def copy_routing(self, source: Session) -> None:
        """Makes this session's routing that of another one of the same model."""
        with contextlib.ExitStack() as both:
            theirs = both.enter_context(expect(Session, source)._held())
            ours = both.enter_context(self._held())
            self._touch()
            taken = {k: v for k, v in theirs.keep.items() if isinstance(k, tuple) and k[0] in ("policy", "expert")}
            with policies_of(ours):
                check(lib.moe_session_copy_routing(ours.address, theirs.address))
            ours.keep.update({(*k, "copied"): v for k, v in taken.items()})

    def observe(self, function: Optional[Callable[[RouteView], Any]]) -> None:
        """Has every MoE layer's decisions shown, per sub-batch: function(RouteView), on the thread that evaluates.
        False stops the eval (AbortedError); what it raises comes out of the eval. None ends it."""
        hook = d.moe_session_observe_fn()
        if function is not None:
            hook = d.moe_session_observe_fn(windowed(RouteView, function, self._handle))
        self._call(lib.moe_session_observe, hook, None)
        self._retain("observer", hook)
        self._gathers.pop("Trace", None)

    def on_layer(self, layer: Optional[int], where: str, function: Optional[Callable[[LayerEvent], Any]]) -> None:
        """Has function(LayerEvent) called at a place of a layer (None: every layer): "input", "attn", "router",
        "experts", "output". It may edit event.hidden. False stops the eval. A function of None removes it."""
        at = ALL if layer is None else fitting(layer, "layer")
        hook = d.moe_layer_fn() if function is None else d.moe_layer_fn(windowed(LayerEvent, function, self._handle))
        self._call(lib.moe_session_on_layer, at, number(PLACES, where, "place"), hook, None)
        if function is not None:
            hooks = self._handle.keep.setdefault(("hooks", where), {})
            hooks[at] = hook

    def save_steering(self, to: Union[Path, BinaryIO]) -> None:
        """Writes recipes, uses, numbers, limits, overrides and redirections as JSON (docs/formats/steering.md).
        UnsupportedError if there is something that a file cannot hold."""
        if isinstance(to, (str, os.PathLike)):
            self._call(lib.moe_session_save_steering_file, path_bytes(to))
        else:
            self._call(lib.moe_session_save_steering, writer(to), None)

    @property
    def steering(self) -> str:
        """The steering as JSON text. Setting it replaces it all: FormatError (line and place), StateError (another
        model), InvalidError."""
        stream = io.BytesIO()
        self.save_steering(stream)
        return stream.getvalue().decode()

    @steering.setter
    def steering(self, json: str) -> None:
        raw = json.encode()
        self._call(lib.moe_session_load_steering, raw, len(raw))

    def load_steering(self, path: Path) -> None:
        """Replaces the steering by that of a file. On failure the session is as before."""
        self._call(lib.moe_session_load_steering_file, path_bytes(path))

    def set_profile(self, profile: Optional[Profile]) -> None:
        """Has the session gather into a Profile of the same model; None ends it. While the session evaluates, other threads
        cannot use the profile, and the other way round (StateError)."""
        handle = None if profile is None else expect(Profile, profile)._handle
        self._call(lib.moe_session_set_profile, None if handle is None else handle.address)
        self._retain("profile", handle)
        if profile is None:
            self._gathers.pop("Profile", None)
        else:
            self._gathers["Profile"] = profile._lock

    @contextlib.contextmanager
    def profiled(self, profile: Profile) -> Iterator[Profile]:
        """`with session.profiled(Profile(model)) as p:` gathers inside the block."""
        self.set_profile(profile)
        try:
            yield profile
        finally:
            if not self.closed:
                self.set_profile(None)

    def trace(self, trace: Optional[Trace]) -> None:
        """Has every decision recorded in a Trace (it takes the observer's place); None ends it. While the session evaluates,
        other threads cannot use the trace, and the other way round (StateError)."""
        if trace is None:
            self.observe(None)
            return
        handle = expect(Trace, trace)._handle
        hook = C.cast(lib.moe_trace_observe, d.moe_session_observe_fn)
        self._call(lib.moe_session_observe, hook, handle.address)
        self._retain("observer", (hook, handle))
        self._gathers["Trace"] = trace._lock

    # -- figures
    @property
    def stats(self) -> Stats:
        """Counters since the session was made or reset_stats()."""
        out = d.moe_stats()
        self._call(lib.moe_session_get_stats, C.byref(out))
        return told(Stats, out)

    def reset_stats(self) -> None:
        self._enter()
        try:
            handle = self._touch()
            lib.moe_session_reset_stats(handle.address)
        finally:
            self._lock.release()

    def contrast(self, weak: Session, row: int = 0, *, alpha: float = 0.1, beta: float = 0.5, temp: float = 1.0,
                 temp_weak: float = 1.0) -> Any:
        """SCMoE contrastive decoding: logits f32 [n_vocab] of this session against those of a weak routing of the same
        text. Give them to Sampler.pick()."""
        settings = d.moe_contrast(alpha=alpha, beta=beta, temp=temp, temp_weak=temp_weak)
        space, result = room((self.model.info.n_vocab,), C.c_float)
        with expect(Session, weak)._held() as other:
            self._call(lib.moe_session_contrast, other.address, fitting(row, "row", U64), C.byref(settings), space, len(space))
        return result

    @contextlib.contextmanager
    def _held(self) -> Iterator[Handle]:
        """The open handle, kept and with its turn taken."""
        self._enter()
        try:
            handle = self._handle
            handle.address  # raises: closed
            yield handle
        finally:
            self._lock.release()

    def __repr__(self) -> str:
        if self.closed:
            return "<Session, closed>"
        i = self.info
        return f"<Session on {self.model!r}: {i.n_cells_used} of {i.n_ctx} cells, {i.n_threads} threads>"


# ------------------------------------------------------------------------------------------------ several sessions
_MODES = {"logits": d.MOE_MIX_LOGITS, "probs": d.MOE_MIX_PROBS, "lse": d.MOE_MIX_LSE}


def contrast_logits(strong: Floats, weak: Floats, *, alpha: float = 0.1, beta: float = 0.5, temp: float = 1.0,
                    temp_weak: float = 1.0) -> Any:
    """SCMoE of two rows of logits [n]: (1 + beta) strong - beta weak where strong >= max + ln(alpha), else -inf."""
    a, n = given(strong, C.c_float, "strong")
    b, m = given(weak, C.c_float, "weak")
    if n != m:
        raise ValueError(f"rows of {n} and {m} logits")
    settings = d.moe_contrast(alpha=alpha, beta=beta, temp=temp, temp_weak=temp_weak)
    space, result = room((n,), C.c_float)
    check(lib.moe_contrast_logits(a, b, n, C.byref(settings), space))
    return result


def mix_logits(rows: Sequence[Floats], weights: Optional[Floats] = None, *, mode: str = "logits") -> Any:
    """Mixes rows of logits [n][n_vocab]: mode "logits" (weighted mean), "probs" (log of the weighted mean of
    probabilities), "lse". weights are [n], at least 0, divided by their sum (not for "lse"); None: all 1."""
    made = [given(row, C.c_float, "logits") for row in rows]
    widths = {n for _, n in made}
    if len(widths) > 1:
        raise ValueError(f"rows of different lengths: {sorted(widths)}")
    width = widths.pop() if widths else 0
    pointers = (C.POINTER(C.c_float) * max(len(made), 1))(*(C.cast(row, C.POINTER(C.c_float)) for row, _ in made))
    factors = _factors(weights, len(made))
    space, result = room((width,), C.c_float)
    check(lib.moe_mix_logits(number(_MODES, mode, "mode"), pointers, factors, len(made), width, space))
    return result


def mix_sessions(sessions: Sequence[Session], weights: Optional[Floats] = None, *, row: int = 0,
                 mode: str = "logits") -> Any:
    """The same for a row of logits of several sessions, of one or several models with the same vocabulary."""
    if not sessions:
        raise ValueError("no sessions")
    space, result = room((expect(Session, sessions[0]).model.info.n_vocab,), C.c_float)
    with contextlib.ExitStack() as held:
        handles = [held.enter_context(expect(Session, s)._held()) for s in sessions]
        addresses = (C.c_void_p * len(handles))(*(handle.address for handle in handles))
        check(lib.moe_session_mix(number(_MODES, mode, "mode"), addresses, _factors(weights, len(handles)), len(handles),
                                  fitting(row, "row", U64), space, len(space)))
    return result


def _factors(weights: Optional[Floats], n: int) -> Any:
    if weights is None:
        return None
    row, length = given(weights, C.c_float, "weights")
    if length != n:
        raise ValueError(f"{length} weights for {n} rows")
    return row


__all__ = ["AbortedError", "Iterable", "Mapping"]
