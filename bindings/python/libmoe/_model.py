# SPDX-License-Identifier: MIT
"""Models and tokenizers: immutable, for any number of sessions and threads."""
from __future__ import annotations

import ctypes as C
import os
from typing import Any, BinaryIO, Iterator, Mapping, Optional, Sequence, Union

from . import _declarations as d
from ._arrays import Ints, given, room
from ._errors import BufferError, NotFoundError, RangeError
from ._hooks import Allocator, File, Logger, Progress, model_options, session_options
from ._info import LayerInfo, Memory, ModelInfo, TensorInfo, told
from ._library import CLOSED, I32, U64, Handle, Object, check, count, expect, failure, fitting, lib, path_bytes, pending, text

Path = Union[str, "os.PathLike[str]"]


class Shared(Object):
    """Immutable: many threads may call at once, and a call keeps the object alive until it is done."""

    __slots__ = ()

    def _call(self, function: Any, *arguments: Any) -> None:
        handle = self._handle
        status = function(handle.address, *arguments)
        if status < 0 or pending.error is not None:
            raise failure(status)

    def close(self) -> None:
        """Lets the object go. What was made from it lives on. Twice is fine."""
        self._handle = CLOSED


class Tokenizer(Shared):
    """Text to tokens and back. From a model (`model.tokenizer`), or from a GGUF file alone: `Tokenizer(path)`.

    Raises NotFoundError (no file, no tokenizer in it), FormatError, UnsupportedError, OutOfMemoryError."""

    __slots__ = ("_ends",)

    def __init__(self, path: Path, *, allocator: Optional[Allocator] = None) -> None:
        out = C.c_void_p()
        check(lib.moe_tokenizer_open(C.byref(out), path_bytes(path), C.byref(allocator.struct) if allocator else None))
        super().__init__(Handle(out.value or 0, lib.moe_tokenizer_free, allocator=allocator))

    @classmethod
    def _borrowed(cls, model: Handle) -> Tokenizer:
        out = C.c_void_p()
        check(lib.moe_model_tokenizer(model.address, C.byref(out)))
        made = cls.__new__(cls)
        Object.__init__(made, Handle(out.value or 0, None, model=model))
        return made

    def __len__(self) -> int:
        return int(self._ask(lib.moe_tokenizer_size))

    def encode(self, text: Union[str, bytes], *, bos: bool = False, special: bool = False) -> list[int]:
        """Tokens of a text. `bos` puts the begin-of-text token first if the model asks for it; `special` turns text
        such as "<|im_start|>" into its special token (not for text from strangers)."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        flags = d.MOE_ENCODE_BOS * bos | d.MOE_ENCODE_SPECIAL * special
        cap, n = len(raw) + 8, C.c_size_t()
        while True:
            ids = (C.c_int32 * cap)()
            try:
                self._call(lib.moe_tokenizer_encode, raw, len(raw), flags, ids, cap, C.byref(n))
                return ids[: n.value]
            except BufferError:
                cap = n.value

    def decode_bytes(self, ids: Ints, *, special: bool = False) -> bytes:
        """The bytes of tokens; they may end within a UTF-8 sequence. `special` shows special tokens as text."""
        raw, n = given(ids, C.c_int32, "tokens")
        cap, length = 16 * n + 16, C.c_size_t()
        while True:
            dst = C.create_string_buffer(cap)
            try:
                self._call(lib.moe_tokenizer_decode, raw, n, d.MOE_DECODE_SPECIAL * special, dst, cap, C.byref(length))
                return dst.raw[: length.value]
            except BufferError:
                cap = length.value

    def decode(self, ids: Ints, *, special: bool = False) -> str:
        """The text of tokens; bytes that are no UTF-8 come out as U+FFFD."""
        return self.decode_bytes(ids, special=special).decode("utf-8", "replace")

    def stream(self, *, special: bool = False) -> TokenStream:
        """A streaming decoder: feed(token) gives whole characters only."""
        return TokenStream(self, special)

    def piece(self, id: int) -> bytes:
        """The bytes of one token (special tokens: their name). RangeError past the end."""
        piece, n = C.c_char_p(), C.c_size_t()
        handle = self._handle  # the bytes are the tokenizer's
        self._call(lib.moe_tokenizer_piece, fitting(id, "token", I32), C.byref(piece), C.byref(n))
        found = C.string_at(C.cast(piece, C.c_void_p), n.value) if n.value else b""
        del handle
        return found

    def attr(self, id: int) -> int:
        """MOE_ATTR_* bits of a token; 0 out of range."""
        return int(self._ask(lib.moe_tokenizer_attr, id if 0 <= id <= I32 else d.MOE_TOKEN_NONE))

    def is_end(self, id: int) -> bool:
        """Whether a generation should stop at this token."""
        return bool(self.attr(id) & d.MOE_ATTR_END)

    @property
    def end_tokens(self) -> frozenset[int]:
        """All tokens at which a generation should stop."""
        try:
            return self._ends
        except AttributeError:
            self._ends: frozenset[int] = frozenset(i for i in range(len(self)) if self.is_end(i))
            return self._ends

    def special(self, which: str) -> Optional[int]:
        """A special token by name: "bos", "eos", "eot", "unk", "pad", "newline"; None if there is none."""
        names = {"bos": d.MOE_TOKEN_BOS, "eos": d.MOE_TOKEN_EOS, "eot": d.MOE_TOKEN_EOT, "unk": d.MOE_TOKEN_UNK,
                 "pad": d.MOE_TOKEN_PAD, "newline": d.MOE_TOKEN_NEWLINE}
        if which not in names:
            raise ValueError(f"no special token is called {which!r}: {', '.join(names)}")
        found = int(self._ask(lib.moe_tokenizer_special, names[which]))
        return None if found == d.MOE_TOKEN_NONE else found

    def find(self, piece: Union[str, bytes]) -> Optional[int]:
        """The token with exactly these bytes (or this special name); None if there is none."""
        raw = piece.encode() if isinstance(piece, str) else bytes(piece)
        out = C.c_int32()
        try:
            self._call(lib.moe_tokenizer_find, raw, len(raw), C.byref(out))
        except NotFoundError:
            return None
        return out.value

    @property
    def chat_name(self) -> Optional[str]:
        """Name of the recognised chat template; None if there is none or it is not known."""
        name = self._ask(lib.moe_tokenizer_chat_name)
        return text(name) if name else None

    def chat(self, messages: Sequence[Union[tuple[str, str], Mapping[str, str]]], *, add_assistant: bool = True) -> str:
        """A conversation in the model's format: (role, text) pairs, or dicts with "role" and "content". Encode it
        with special=True, bos=False. UnsupportedError for an unknown template, NotFoundError without one."""
        pairs = [(m["role"], m["content"]) if isinstance(m, Mapping) else m for m in messages]
        rows = (d.moe_message * len(pairs))()
        for row, (role, said) in zip(rows, pairs):
            row.size, row.role, row.text = C.sizeof(d.moe_message), role.encode(), said.encode()
        return self._text(lib.moe_tokenizer_chat, rows, len(pairs), d.MOE_CHAT_ADD_ASSISTANT * add_assistant)

    def same(self, other: Tokenizer) -> bool:
        """Whether both have the same vocabulary (end tokens aside)."""
        return self.first_difference(other) is None

    def first_difference(self, other: Tokenizer) -> Optional[int]:
        """The first token that differs between two vocabularies; None if none does."""
        first = C.c_int32()
        theirs = expect(Tokenizer, other)._handle
        same = self._ask(lib.moe_tokenizer_same, theirs.address, C.byref(first))
        return None if same else first.value


class TokenStream:
    """Decodes token by token; what is unfinished waits. One thread at a time."""

    __slots__ = ("_tokenizer", "_state", "_room", "_cap", "_n", "_refs")

    def __init__(self, tokenizer: Tokenizer, special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._state = d.moe_stream(flags=d.MOE_DECODE_SPECIAL * special)
        self._cap = 1024
        self._room = C.create_string_buffer(self._cap)
        self._n = C.c_size_t()
        self._refs = (C.byref(self._state), C.byref(self._n))

    def feed(self, id: int) -> str:
        """The whole characters that one more token completes; "" while it is not one yet."""
        state, n = self._refs
        handle = self._tokenizer._handle
        status = lib.moe_tokenizer_stream(handle.address, state, fitting(id, "token", I32, -1), self._room, self._cap, n)
        if status < 0:
            if status != d.MOE_E_BUFFER:
                raise failure(status)
            self._cap = self._n.value
            self._room = C.create_string_buffer(self._cap)
            return self.feed(id)
        whole: Any = self._room[: self._n.value]  # bytes
        return str(whole, "utf-8", "replace")

    def end(self) -> str:
        """What is still pending, as U+FFFD."""
        return self.feed(d.MOE_TOKEN_NONE)


class Metadata(Mapping[str, Any]):
    """The file's metadata as a mapping: numbers, texts, booleans; arrays as lists."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __len__(self) -> int:
        return int(self._model._ask(lib.moe_model_meta_count))

    def __iter__(self) -> Iterator[str]:
        for i in range(len(self)):
            meta = d.moe_meta()
            self._model._call(lib.moe_model_meta_at, i, C.byref(meta))
            yield text(meta.key)

    def __getitem__(self, key: str) -> Any:
        meta = d.moe_meta()
        try:
            self._model._call(lib.moe_model_meta_find, key.encode(), C.byref(meta))
        except NotFoundError:
            raise KeyError(key) from None
        if meta.type != d.MOE_META_ARRAY:
            return _meta_value(meta)
        return [self.element(key, j) for j in range(meta.n)]

    def element(self, key: str, j: int) -> Any:
        """One element of an array."""
        meta = d.moe_meta()
        handle = self._model._handle  # texts are the model's
        self._model._call(lib.moe_model_meta_elem, key.encode(), fitting(j, "element", U64), C.byref(meta))
        value = _meta_value(meta)
        del handle
        return value


def _meta_value(meta: d.moe_meta) -> Any:
    if meta.type == d.MOE_META_STRING:
        address = C.c_void_p.from_buffer(meta, d.moe_meta.str.offset).value
        return C.string_at(address, meta.n).decode("utf-8", "replace") if address else ""
    if meta.type == d.MOE_META_BOOL:
        return bool(meta.u64)
    if meta.type in (d.MOE_META_F32, d.MOE_META_F64):
        return meta.f64
    return meta.u64 if meta.type in (d.MOE_META_U8, d.MOE_META_U16, d.MOE_META_U32, d.MOE_META_U64) else meta.i64


class Model(Shared):
    """An opened model file: immutable, shared by any number of sessions and threads.

    Model(path, *, mmap=True, metadata_only=False, check_data=False, resident=False, threads=0, memory_budget=0,
    isa=None, allocator=None, logger=None, log_level=0, progress=None). memory_budget is in bytes; progress is
    called as progress("load", done, total) and stops the opening by returning False. `path` may also be bytes or a
    binary stream that can seek: then nothing is read from the disk (`name` is for messages, `sibling(name)` gives
    the other files of a split set).

    Raises NotFoundError, FileAccessError, FormatError, UnsupportedError, OutOfMemoryError, FullError
    (memory_budget), AbortedError (progress), NumericError (check_data), and what a callback raised."""

    __slots__ = ("_tokenizer", "_info")

    def __init__(self, path: Union[Path, bytes, bytearray, memoryview, BinaryIO], *, name: str = "",
                 sibling: Any = None, **options: Any) -> None:
        made, keep = model_options(**options)
        out = C.c_void_p()
        self._tokenizer: Optional[Tokenizer] = None
        self._info: Optional[ModelInfo] = None
        if isinstance(path, (str, os.PathLike)):
            status = lib.moe_model_open(C.byref(out), path_bytes(path), C.byref(made))
        else:
            file = File(path, name, sibling)
            keep["file"] = file
            status = lib.moe_model_open_file(C.byref(out), C.byref(file.struct), None, C.byref(made))
            for part in [file, *file._siblings]:
                if status < 0 and part.error is not None and pending.error is None:
                    pending.error = part.error
        check(status)
        super().__init__(Handle(out.value or 0, lib.moe_model_release, **keep))

    @classmethod
    def _of(cls, address: int, keep: Handle) -> Model:
        """Another Python object for a model, with a reference of its own."""
        made = cls.__new__(cls)
        made._tokenizer = made._info = None
        Object.__init__(made, Handle(lib.moe_model_retain(address), lib.moe_model_release, **keep.keep))
        return made

    def share(self) -> Model:
        """A second object for the same model: it lives on when this one is closed. Costs nothing."""
        handle = self._handle
        return Model._of(handle.address, handle)

    @property
    def info(self) -> ModelInfo:
        if self._info is None:
            out = d.moe_model_info()
            self._call(lib.moe_model_get_info, C.byref(out))
            self._info = told(ModelInfo, out)
        else:
            self._handle.address
        return self._info

    def layer(self, layer: int) -> LayerInfo:
        """What one layer is. RangeError past the end."""
        out = d.moe_layer_info()
        self._call(lib.moe_model_get_layer, fitting(layer, "layer"), C.byref(out))
        return told(LayerInfo, out)

    def route(self, layer: int) -> Any:
        """The recipe (RouteSpec) that the file prescribes for a layer. NotFoundError for dense layers."""
        from ._routing import RouteSpec

        out = d.moe_route_spec()
        self._call(lib.moe_model_get_route, fitting(layer, "layer"), C.byref(out))
        return RouteSpec._from(out)

    @property
    def metadata(self) -> Metadata:
        return Metadata(self)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. NotFoundError if the file has none."""
        self._handle.address
        if self._tokenizer is None:
            self._tokenizer = Tokenizer._borrowed(self._handle)
        return self._tokenizer

    @property
    def n_tensors(self) -> int:
        return int(self._ask(lib.moe_model_tensor_count))

    def tensor(self, which: Union[int, str]) -> TensorInfo:
        """A tensor of the file by place or name. RangeError, NotFoundError."""
        if isinstance(which, str):
            place = C.c_size_t()
            self._call(lib.moe_model_tensor_find, which.encode(), C.byref(place))
            which = place.value
        out = d.moe_tensor_info()
        self._call(lib.moe_model_tensor_at, fitting(which, "tensor", U64), C.byref(out))
        shape = tuple(out.dim[i] for i in reversed(range(out.n_dims)))
        return TensorInfo(which, text(out.name), text(lib.moe_type_name(out.type)), shape, out.bytes)

    def tensors(self) -> Iterator[TensorInfo]:
        for i in range(self.n_tensors):
            yield self.tensor(i)

    def read_tensor(self, which: Union[int, str], first: int = 0, n: Optional[int] = None) -> Any:
        """Elements of a tensor as f32 (a copy): all of it in its shape, or n from `first` on, flat. RangeError if it has
        fewer."""
        info = self.tensor(which)
        total = 1
        for size in info.shape:
            total *= size
        first = fitting(first, "element", U64)
        n_read = max(total - first, 0) if n is None else count(n, "elements")
        if n_read > total:  # not even room for so many
            raise RangeError(f"tensor {info.name}: {n_read} elements, it has {total}", d.MOE_E_RANGE)
        space, result = room(info.shape if first == 0 and n is None else (n_read,), C.c_float)
        self._call(lib.moe_model_tensor_read, info.index, first, n_read, space)
        return result

    def memory(self, **options: Any) -> Memory:
        """What this model and a session with these options (see Session) take, in bytes."""
        made, keep = session_options(**options)
        out = d.moe_memory()
        self._call(lib.moe_model_get_memory, C.byref(made), C.byref(out))
        del keep
        return told(Memory, out)

    def session(self, **options: Any) -> Any:
        """Session(self, **options)."""
        from ._session import Session

        return Session(self, **options)

    @property
    def voices(self) -> list[str]:
        """Names of the voices that the model's file lists (the bundled model does); else empty."""
        return [str(v) for v in self.metadata.get("libmoe.voices", [])]

    def voice_token(self, voice: Optional[str]) -> Optional[int]:
        """The token that a voice's texts begin with. None: the file's default voice, if it has one."""
        voice = voice or self.metadata.get("libmoe.voice.default")
        if not voice:
            return None
        token = self.tokenizer.find(f"<|{voice}|>")
        if token is None or voice not in self.voices:
            raise ValueError(f"unknown voice {voice!r}; this model has: {', '.join(self.voices) or 'none'}")
        return token

    def __repr__(self) -> str:
        if self.closed:
            return "<Model, closed>"
        i = self.info
        return f"<Model {i.name or i.arch}: {i.n_layers} layers, {i.n_experts} experts, {i.top_k} used, {i.file_type}>"


def plan(path: Path, *, model: Optional[Mapping[str, Any]] = None, **session: Any) -> Memory:
    """What a model file and a session would take, in bytes: answered from the file's header, no weights are read.
    `model` holds options as for Model, the others are those of Session."""
    mo, keep_model = model_options(**dict(model or {}))
    so, keep_session = session_options(**session)
    out = d.moe_memory()
    check(lib.moe_plan(path_bytes(path), C.byref(mo), C.byref(so), C.byref(out)))
    del keep_model, keep_session
    return told(Memory, out)


__all__ = ["Logger", "Metadata", "Model", "Progress", "TokenStream", "Tokenizer", "plan"]
