// SPDX-License-Identifier: MIT
//! What things are: structs that the library fills in.

use crate::enums::{ExpertSource, Ffn, TensorType, Use};
use crate::ffi::FromC;
use moe_sys as sys;

/// `Name from c_struct { field: type = c_member, ... }`.
macro_rules! info {
    ($(#[$meta:meta])* $name:ident from $raw:ident {
        $($(#[$fmeta:meta])* $field:ident: $ty:ty),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)+
        }

        impl $name {
            /// # Safety
            /// Filled in by the library; its pointers are still valid.
            pub(crate) unsafe fn from_raw(raw: &sys::$raw) -> Self {
                // SAFETY: as promised by the caller.
                unsafe { $name { $($field: FromC::from_c(raw.$field)),+ } }
            }
        }
    };
}

info! {
    /// What a model is.
    ModelInfo from moe_model_info {
        /// E.g. `qwen3moe`.
        arch: String,
        /// `general.name`, or empty.
        name: String,
        /// The type that most bytes of weights have, e.g. `Q4_K`.
        file_type: String,
        /// Layers in all.
        n_layers: u32,
        /// Layers with a router.
        n_moe_layers: u32,
        /// Routed experts of a MoE layer.
        n_experts: u32,
        /// Shared experts of a MoE layer.
        n_shared: u32,
        /// Routed experts that a token uses.
        top_k: u32,
        /// Width of the residual stream.
        dim: u32,
        /// Width of a routed expert.
        dim_ff_expert: u32,
        /// Width of the dense layers' FFN, 0 without.
        dim_ff_dense: u32,
        /// Width of the shared expert, 0 without.
        dim_ff_shared: u32,
        /// Query heads.
        n_heads: u32,
        /// Key and value heads.
        n_heads_kv: u32,
        /// Width of a query or key head.
        dim_head: u32,
        /// Rows of logits.
        n_vocab: u32,
        /// Context length of the training.
        n_ctx_train: u32,
        /// Parameters in all.
        n_params: u64,
        /// Parameters used for one token.
        n_active: u64,
        /// Bytes of all tensors.
        bytes: u64,
        /// Tells models apart; 0 for one opened for its metadata only.
        fingerprint: u64,
        /// Null experts that the file's routers have.
        n_null: u32,
    }
}

info! {
    /// What one layer is.
    LayerInfo from moe_layer_info {
        /// What follows its attention.
        ffn_kind: Ffn,
        /// Routed experts, 0 in dense layers.
        n_experts: u32,
        /// Shared experts, 0 in dense layers.
        n_shared: u32,
        /// Width of an expert, or of the dense FFN.
        dim_ff: u32,
        /// Width of the shared expert, 0 without.
        dim_ff_shared: u32,
        /// Query heads.
        n_heads: u32,
        /// Key and value heads.
        n_heads_kv: u32,
        /// Width of a query or key head.
        dim_head: u32,
        /// Parameters of the layer.
        n_params: u64,
        /// Of these, used for one token.
        n_active: u64,
        /// Share of its experts that a token uses; 1 in dense layers.
        activation: f64,
        /// `2 dim / dim_ff_expert`; 0 in dense layers.
        granularity: f64,
    }
}

info! {
    /// What a session was made with, defaults filled in.
    SessionInfo from moe_session_info {
        /// KV cells.
        n_ctx: u32,
        /// Sequences.
        n_seq_max: u32,
        /// Rows computed at once.
        n_batch_max: u32,
        /// Rows of results of one evaluation.
        n_output_max: u32,
        /// Threads in use.
        n_threads: u32,
        /// Type of cached keys.
        kv_type_k: TensorType,
        /// Type of cached values.
        kv_type_v: TensorType,
        /// KV cells taken now, rounded up to pages.
        n_cells_used: u32,
        /// Rows of logits of the last evaluation.
        n_outputs: u32,
    }
}

info! {
    /// Memory of a model and one session, in bytes.
    Memory from moe_memory {
        /// All weights but routed experts.
        dense: u64,
        /// Routed experts.
        experts: u64,
        /// KV cache of the session.
        kv: u64,
        /// Activations, results, scratch of threads.
        scratch: u64,
        /// Tables: metadata, vocabulary, norms, handles.
        overhead: u64,
        /// Of all these, what is allocated (the rest is the mapped file).
        private_bytes: u64,
        /// Sum of the first five.
        total: u64,
    }
}

info! {
    /// Counters of a session. Times are wall-clock nanoseconds.
    Stats from moe_stats {
        /// Tokens of prefill batches.
        tokens_prefill: u64,
        /// Tokens of decode steps.
        tokens_decode: u64,
        /// Time of prefill batches.
        ns_prefill: u64,
        /// Time of decode steps.
        ns_decode: u64,
        /// Projections and attention.
        ns_attn: u64,
        /// Routers.
        ns_route: u64,
        /// Routed and shared experts.
        ns_expert: u64,
        /// Embedding, norms, additions, dense feed-forward.
        ns_dense: u64,
        /// Final norm and logits.
        ns_head: u64,
        /// (row, expert) pairs computed.
        pairs: u64,
        /// Bytes of expert weights acquired from the store.
        expert_bytes: u64,
        /// Experts acquired from the store.
        experts: u64,
        /// Part of `ns_route` from logits to weights.
        ns_select: u64,
    }
}

info! {
    /// What a router is.
    RouterInfo from moe_router_info {
        /// Its layer.
        layer: u32,
        /// Routed experts.
        n_experts: u32,
        /// Null experts in use.
        n_null: u32,
        /// Shared experts beside it.
        n_shared: u32,
        /// Width of its input.
        dim: u32,
        /// Most experts that a token can get now.
        max_k: u32,
        /// Bits; see the methods.
        flags: u32,
        /// Name of the selection rule or policy in use.
        policy: String,
    }
}

impl RouterInfo {
    /// Nothing was changed: it routes as the file says.
    pub fn is_native(&self) -> bool {
        self.flags & sys::MOE_ROUTER_NATIVE != 0
    }

    /// A token's result depends on the rows computed with it.
    pub fn is_batch_coupled(&self) -> bool {
        self.flags & sys::MOE_ROUTER_BATCH_COUPLED != 0
    }

    /// A policy of the program's own selects.
    pub fn is_custom(&self) -> bool {
        self.flags & sys::MOE_ROUTER_CUSTOM != 0
    }
}

info! {
    /// What an expert is now.
    ExpertInfo from moe_expert_info {
        /// Its layer.
        layer: u32,
        /// Its number there.
        index: u32,
        /// Type of the gate matrix in use.
        type_gate: TensorType,
        /// Type of the up matrix in use.
        type_up: TensorType,
        /// Type of the down matrix in use.
        type_down: TensorType,
        /// Width of input and output.
        dim: u32,
        /// Width inside.
        dim_ff: u32,
        /// What it may do.
        r#use: Use,
        /// Whose weights it uses.
        source: ExpertSource,
        /// Redirected: layer of the expert used instead.
        src_layer: u32,
        /// Redirected: its number.
        src_index: u32,
        /// Bytes of the weights in use; 0 for a function.
        bytes: u64,
        /// Added to the logit.
        logit_bias: f32,
        /// Added to the score for selection.
        select_bias: f32,
        /// Factor before norm.
        pre: f32,
        /// Factor after norm.
        post: f32,
        /// Factor on the output.
        gain: f32,
    }
}

info! {
    /// Measures of a MoE layer.
    ShapeInfo from moe_shape_info {
        /// `(top_k + shared) / (n_experts + shared)`.
        activation: f64,
        /// `2 dim / dim_ff_expert`.
        granularity: f64,
        /// Parameters of router, routed and shared experts.
        n_params: u64,
        /// Of these, used for one token.
        n_active: u64,
    }
}

info! {
    /// What a profile is and holds.
    ProfileInfo from moe_profile_info {
        /// Bits `MOE_PROFILE_*`.
        flags: u32,
        /// Layers of the model.
        n_layers: u32,
        /// Routed experts of a layer.
        n_experts: u32,
        /// Classes.
        n_classes: u32,
        /// As made.
        n_tokens_max: u32,
        /// As made.
        n_pos_max: u32,
        /// Tokens seen.
        n_tokens: u64,
        /// Of the model.
        fingerprint: u64,
    }
}

info! {
    /// Statistics of one router.
    RouterProfile from moe_router_profile {
        /// Tokens routed.
        tokens: u64,
        /// Experts chosen, dropped ones included, null ones not.
        pairs: u64,
        /// Null experts chosen.
        nulls: u64,
        /// Chosen, but of weight 0.
        dropped: u64,
        /// Sub-batches.
        micro_batches: u64,
        /// Mean entropy of the probabilities, in bits.
        entropy: f64,
        /// Mean probability of the best expert.
        top1: f64,
        /// Mean number of real experts of a token.
        mean_k: f64,
        /// Load-balancing value, mean over the sub-batches.
        lbl_micro: f64,
        /// The same over all tokens at once; 1 = perfect balance.
        lbl_global: f64,
        /// Mutual information of token and expert, in bits.
        mutual_info: f64,
        /// Entropy of the experts over the same tokens: its upper bound.
        token_entropy: f64,
    }
}

info! {
    /// An expert found in a profile.
    ExpertFind from moe_expert_find {
        /// Its layer.
        layer: u32,
        /// Its number.
        index: u32,
        /// What it was found by.
        value: f64,
        /// Channel of the maximum, for super experts.
        channel: u32,
    }
}

info! {
    /// What a trace is and holds.
    TraceInfo from moe_trace_info {
        /// Bits `MOE_TRACE_*`.
        flags: u32,
        /// Layers with routers: the trace counts these only, from 0.
        n_layers: u32,
        /// Experts of a layer.
        n_experts: u32,
        /// Most experts that a token has in one layer.
        max_k: u32,
        /// Tokens recorded.
        n_tokens: u64,
        /// Requests they belong to.
        n_requests: u64,
        /// Of the model; 0 if not known.
        fingerprint: u64,
    }
}

info! {
    /// A report of progress.
    Progress from moe_progress {
        /// What is going on.
        stage: crate::enums::Stage,
        /// Units finished.
        done: u64,
        /// Units in all; may be 0.
        total: u64,
    }
}

impl FromC<i32> for crate::enums::Stage {
    unsafe fn from_c(value: i32) -> Self {
        Self::from_raw(value)
    }
}
