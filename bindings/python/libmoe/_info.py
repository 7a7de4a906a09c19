# SPDX-License-Identifier: MIT
"""What the library tells about its objects, as frozen dataclasses. Field comments are those of the C header."""
from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from ._library import text

T = TypeVar("T")


def told(kind: type[T], struct: Any) -> T:
    """A dataclass with the struct's members; texts decoded."""
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        value = getattr(struct, field.name)
        values[field.name] = text(value) if isinstance(value, bytes) or (value is None and field.type == "str") else value
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model is (moe_model_info). Widths in elements, sizes in bytes."""

    arch: str
    name: str
    file_type: str
    n_layers: int
    n_moe_layers: int
    n_experts: int
    n_shared: int
    top_k: int
    dim: int
    dim_ff_expert: int
    dim_ff_dense: int
    dim_ff_shared: int
    n_heads: int
    n_heads_kv: int
    dim_head: int
    n_vocab: int
    n_ctx_train: int
    n_params: int
    n_active: int
    bytes: int
    fingerprint: int
    n_null: int


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """What one layer is (moe_layer_info)."""

    ffn_kind: int
    n_experts: int
    n_shared: int
    dim_ff: int
    dim_ff_shared: int
    n_heads: int
    n_heads_kv: int
    dim_head: int
    n_params: int
    n_active: int
    activation: float
    granularity: float

    @property
    def is_moe(self) -> bool:
        return self.n_experts > 0


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file. shape has the contiguous dimension last, as in NumPy."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a model and one session, in bytes (moe_memory)."""

    dense: int
    experts: int
    kv: int
    scratch: int
    overhead: int
    private_bytes: int
    total: int


@dataclasses.dataclass(frozen=True)
class SessionInfo:
    """What a session was made with, defaults filled in (moe_session_info)."""

    flags: int
    n_ctx: int
    n_seq_max: int
    n_batch_max: int
    n_output_max: int
    n_threads: int
    kv_type_k: int
    kv_type_v: int
    n_cells_used: int
    n_outputs: int


@dataclasses.dataclass(frozen=True)
class Stats:
    """Counters of a session; times in nanoseconds (moe_stats)."""

    tokens_prefill: int
    tokens_decode: int
    ns_prefill: int
    ns_decode: int
    ns_attn: int
    ns_route: int
    ns_expert: int
    ns_dense: int
    ns_head: int
    pairs: int
    expert_bytes: int
    experts: int
    ns_select: int


@dataclasses.dataclass(frozen=True)
class RouterInfo:
    """What a router is (moe_router_info)."""

    layer: int
    n_experts: int
    n_null: int
    n_shared: int
    dim: int
    max_k: int
    flags: int
    policy: str

    @property
    def is_native(self) -> bool:
        """Nothing was changed: it routes as the file says."""
        return bool(self.flags & 1)

    @property
    def is_batch_coupled(self) -> bool:
        """A token's result depends on the rows computed with it."""
        return bool(self.flags & 2)

    @property
    def is_custom(self) -> bool:
        """A policy of the program's own selects."""
        return bool(self.flags & 4)


@dataclasses.dataclass(frozen=True)
class ExpertInfo:
    """What an expert is now (moe_expert_info)."""

    layer: int
    index: int
    type_gate: int
    type_up: int
    type_down: int
    dim: int
    dim_ff: int
    use: int
    source: int
    src_layer: int
    src_index: int
    bytes: int
    logit_bias: float
    select_bias: float
    pre: float
    post: float
    gain: float


@dataclasses.dataclass(frozen=True)
class ProfileInfo:
    """What a profile is and holds (moe_profile_info)."""

    flags: int
    n_layers: int
    n_experts: int
    n_classes: int
    n_tokens_max: int
    n_pos_max: int
    n_tokens: int
    fingerprint: int


@dataclasses.dataclass(frozen=True)
class RouterProfile:
    """Statistics of one router (moe_router_profile). Entropies in bits."""

    tokens: int
    pairs: int
    nulls: int
    dropped: int
    micro_batches: int
    entropy: float
    top1: float
    mean_k: float
    lbl_micro: float
    lbl_global: float
    mutual_info: float
    token_entropy: float


@dataclasses.dataclass(frozen=True)
class FoundExpert:
    """An expert that a profile found, and by what value."""

    layer: int
    index: int
    value: float
    channel: int


@dataclasses.dataclass(frozen=True)
class TraceInfo:
    """What a trace is and holds (moe_trace_info)."""

    flags: int
    n_layers: int
    n_experts: int
    max_k: int
    n_tokens: int
    n_requests: int
    fingerprint: int


@dataclasses.dataclass(frozen=True)
class ShapeInfo:
    """Measures of a MoE layer (moe_shape_info)."""

    activation: float
    granularity: float
    n_params: int
    n_active: int
