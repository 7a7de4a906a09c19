// SPDX-License-Identifier: MIT
//! Numbers of the C interface as enumerations that keep what they do not know.

use moe_sys as sys;
use std::os::raw::c_int;

/// `Name: type { Variant = C_NAME, ... }`; a number that no variant has is `Other`.
macro_rules! raw_enum {
    ($(#[$meta:meta])* $name:ident: $ty:ty {
        $($(#[$vmeta:meta])* $variant:ident = $value:ident),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A number that this version of the crate has no name for.
            Other($ty),
        }

        impl $name {
            /// From the number that C uses.
            #[allow(clippy::unnecessary_cast)]
            pub const fn from_raw(raw: $ty) -> Self {
                $(if raw == moe_sys::$value as $ty {
                    return Self::$variant;
                })+
                Self::Other(raw)
            }

            /// The number that C uses.
            #[allow(clippy::unnecessary_cast)]
            pub const fn to_raw(self) -> $ty {
                match self {
                    $(Self::$variant => moe_sys::$value as $ty,)+
                    Self::Other(raw) => raw,
                }
            }
        }
    };
}
pub(crate) use raw_enum;

raw_enum! {
    /// Element types of tensors.
    TensorType: i32 {
        /// 32-bit float.
        F32 = MOE_TYPE_F32,
        /// 16-bit IEEE float.
        F16 = MOE_TYPE_F16,
        /// 4 bits, blocks of 32, scale.
        Q4_0 = MOE_TYPE_Q4_0,
        /// 4 bits, blocks of 32, scale and minimum.
        Q4_1 = MOE_TYPE_Q4_1,
        /// 5 bits, blocks of 32, scale.
        Q5_0 = MOE_TYPE_Q5_0,
        /// 5 bits, blocks of 32, scale and minimum.
        Q5_1 = MOE_TYPE_Q5_1,
        /// 8 bits, blocks of 32, scale.
        Q8_0 = MOE_TYPE_Q8_0,
        /// 2 bits, blocks of 256.
        Q2K = MOE_TYPE_Q2_K,
        /// 3 bits, blocks of 256.
        Q3K = MOE_TYPE_Q3_K,
        /// 4 bits, blocks of 256.
        Q4K = MOE_TYPE_Q4_K,
        /// 5 bits, blocks of 256.
        Q5K = MOE_TYPE_Q5_K,
        /// 6 bits, blocks of 256.
        Q6K = MOE_TYPE_Q6_K,
        /// 4 bits, blocks of 32, uneven levels.
        Iq4Nl = MOE_TYPE_IQ4_NL,
        /// 4 bits, blocks of 256, uneven levels.
        Iq4Xs = MOE_TYPE_IQ4_XS,
        /// 16-bit float with the exponent of f32.
        Bf16 = MOE_TYPE_BF16,
        /// 4-bit float, blocks of 32, exponent scale.
        Mxfp4 = MOE_TYPE_MXFP4,
    }
}

impl TensorType {
    /// Name as in files, e.g. `Q4_K`; `None` if the library in use does not support the type.
    pub fn name(self) -> Option<&'static str> {
        // SAFETY: takes any number; static text or NULL.
        let p = unsafe { sys::moe_type_name(self.to_raw()) };
        // SAFETY: as above.
        (!p.is_null()).then(|| unsafe { crate::error::static_text(p) })
    }
}

raw_enum! {
    /// How much a logger hears.
    LogLevel: c_int {
        /// Something failed.
        Error = MOE_LOG_ERROR,
        /// Something is odd.
        Warn = MOE_LOG_WARN,
        /// What is being done.
        Info = MOE_LOG_INFO,
        /// Details.
        Debug = MOE_LOG_DEBUG,
    }
}

raw_enum! {
    /// Stages that report progress.
    Stage: i32 {
        /// Bytes of weights read.
        Load = MOE_PROGRESS_LOAD,
        /// Tokens of one evaluation.
        Prefill = MOE_PROGRESS_PREFILL,
        /// Bytes of source weights.
        Quantize = MOE_PROGRESS_QUANTIZE,
        /// Bytes of weights read by [`Session::warm_up`](crate::Session::warm_up).
        WarmUp = MOE_PROGRESS_WARM_UP,
    }
}

raw_enum! {
    /// What follows the attention of a layer.
    Ffn: i32 {
        /// One feed-forward block for every token.
        Dense = MOE_FFN_DENSE,
        /// A router and experts.
        Moe = MOE_FFN_MOE,
    }
}

raw_enum! {
    /// `score` of a recipe: router logits to scores.
    Score: i32 {
        /// Softmax over all experts.
        Softmax = MOE_SCORE_SOFTMAX,
        /// The raw logits.
        Identity = MOE_SCORE_IDENTITY,
        /// `1 / (1 + exp(-z))`.
        Sigmoid = MOE_SCORE_SIGMOID,
        /// `sqrt(log(1 + exp(z)))`.
        SqrtSoftplus = MOE_SCORE_SQRT_SOFTPLUS,
        /// 1.5-entmax over all experts.
        Entmax15 = MOE_SCORE_ENTMAX15,
    }
}

raw_enum! {
    /// `select` of a recipe: which experts a token gets.
    Select: i32 {
        /// The `top_k` best.
        TopK = MOE_SELECT_TOPK,
        /// The best ones until their scores add up to more than `top_p`.
        TopP = MOE_SELECT_TOPP,
        /// The `k_min` best, and others that reach `threshold` times the best score.
        Threshold = MOE_SELECT_THRESHOLD,
        /// Those at the ranks `ids`.
        Ranks = MOE_SELECT_RANKS,
        /// `top_k` drawn uniformly.
        Random = MOE_SELECT_RANDOM,
        /// Argmax `top_k` times with weights of its own (Phi-3.5-MoE).
        SparseMixer = MOE_SELECT_SPARSEMIXER,
        /// `top_k` by a hash of the token.
        Hash = MOE_SELECT_HASH,
        /// Row `token` of the table `ids`.
        Table = MOE_SELECT_TABLE,
        /// Every expert.
        All = MOE_SELECT_ALL,
        /// The set `ids`, or the sequence's own.
        Fixed = MOE_SELECT_FIXED,
        /// Every expert takes the tokens that like it best.
        ExpertChoice = MOE_SELECT_EXPERT_CHOICE,
    }
}

raw_enum! {
    /// `weight` of a recipe: what the weights are made from.
    WeightRule: i32 {
        /// The selected scores as they are.
        Raw = MOE_WEIGHT_RAW,
        /// Divided by their sum.
        SumToOne = MOE_WEIGHT_SUM_TO_ONE,
        /// Softmax over the selected logits.
        SoftmaxSelected = MOE_WEIGHT_SOFTMAX_SELECTED,
        /// Sigmoid of the selected logits.
        Sigmoid = MOE_WEIGHT_SIGMOID,
        /// 1.
        One = MOE_WEIGHT_ONE,
        /// Those that the selection rule makes itself.
        Rule = MOE_WEIGHT_RULE,
    }
}

raw_enum! {
    /// `norm` of a recipe: how the weights of a token are made comparable.
    Norm: i32 {
        /// Not at all.
        None = MOE_NORM_NONE,
        /// `w / (sum + norm_eps)`.
        Sum = MOE_NORM_SUM,
        /// `w / max(sum, norm_eps)`.
        Clamp = MOE_NORM_CLAMP,
        /// `w / (sum of |w|^norm_p)^(1/norm_p)`.
        P = MOE_NORM_P,
    }
}

raw_enum! {
    /// How groups of experts are compared.
    GroupScore: i32 {
        /// By their best expert.
        Max = MOE_GROUP_MAX,
        /// By the sum of their two best.
        Top2Sum = MOE_GROUP_TOP2_SUM,
    }
}

raw_enum! {
    /// How the number of places of an expert is rounded.
    CapacityRound: i32 {
        /// Down.
        Floor = MOE_CAPACITY_FLOOR,
        /// Up.
        Ceil = MOE_CAPACITY_CEIL,
        /// Down, then up to an even number.
        Even = MOE_CAPACITY_EVEN,
    }
}

raw_enum! {
    /// Who takes the places of an expert.
    CapacityOrder: i32 {
        /// Earlier rows.
        Position = MOE_CAPACITY_POSITION,
        /// Higher scores.
        Prob = MOE_CAPACITY_PROB,
        /// Drawn.
        Random = MOE_CAPACITY_RANDOM,
    }
}

raw_enum! {
    /// What an expert may do.
    Use: i32 {
        /// Chosen or not, as the scores say.
        Free = MOE_USE_FREE,
        /// Taken out before scoring, as if the router had no such row.
        Ban = MOE_USE_BAN,
        /// Taken out after scoring: the others' scores keep their size.
        BanScored = MOE_USE_BAN_SCORED,
        /// May be chosen, but its weight is 0 and nothing steps in.
        Drop = MOE_USE_DROP,
        /// Dropped, and the other weights grow to the sum that they had with it.
        DropRenorm = MOE_USE_DROP_RENORM,
        /// Always chosen, before any other.
        Force = MOE_USE_FORCE,
    }
}

raw_enum! {
    /// Numbers that a router keeps for each expert.
    Edit: c_int {
        /// Added to the logit (neutral: 0).
        LogitBias = MOE_EDIT_LOGIT_BIAS,
        /// Added to the score, for selection only (0).
        SelectBias = MOE_EDIT_SELECT_BIAS,
        /// Factor on the weight before norm (1).
        Pre = MOE_EDIT_PRE,
        /// Factor on the weight after norm and scale (1).
        Post = MOE_EDIT_POST,
        /// Factor on the expert's output (1).
        Gain = MOE_EDIT_GAIN,
    }
}

raw_enum! {
    /// What an override row takes the place of.
    OverrideKind: i32 {
        /// The logits.
        Logits = MOE_OVERRIDE_LOGITS,
        /// The scores.
        Scores = MOE_OVERRIDE_SCORES,
    }
}

raw_enum! {
    /// Whose weights an expert uses.
    ExpertSource: u32 {
        /// The model's.
        Own = MOE_SOURCE_OWN,
        /// Another expert's.
        Redirect = MOE_SOURCE_REDIRECT,
        /// Brought ones.
        Weights = MOE_SOURCE_WEIGHTS,
        /// A function.
        Function = MOE_SOURCE_FUNCTION,
    }
}

raw_enum! {
    /// Matrices of an expert.
    Matrix: c_int {
        /// `[dim_ff][dim]`.
        Gate = MOE_EXPERT_GATE,
        /// `[dim_ff][dim]`.
        Up = MOE_EXPERT_UP,
        /// `[dim][dim_ff]`.
        Down = MOE_EXPERT_DOWN,
    }
}

raw_enum! {
    /// Places of a layer where a hook looks and edits.
    Place: c_int {
        /// The residual stream that enters the layer.
        Input = MOE_AT_INPUT,
        /// The attention block's result, before it is added.
        Attention = MOE_AT_ATTN,
        /// The normed rows that router and experts read.
        Router = MOE_AT_ROUTER,
        /// The MoE or FFN block's result, before it is added.
        Experts = MOE_AT_EXPERTS,
        /// The residual stream that leaves the layer.
        Output = MOE_AT_OUTPUT,
    }
}

raw_enum! {
    /// Special tokens.
    Special: c_int {
        /// Begin of text.
        Bos = MOE_TOKEN_BOS,
        /// End of text.
        Eos = MOE_TOKEN_EOS,
        /// End of turn.
        Eot = MOE_TOKEN_EOT,
        /// Unknown.
        Unk = MOE_TOKEN_UNK,
        /// Padding.
        Pad = MOE_TOKEN_PAD,
        /// Line end.
        Newline = MOE_TOKEN_NEWLINE,
    }
}

raw_enum! {
    /// How rows of logits are mixed.
    Mix: c_int {
        /// Weighted mean of logits: a product of experts.
        Logits = MOE_MIX_LOGITS,
        /// Logarithm of the weighted mean of probabilities.
        Probs = MOE_MIX_PROBS,
        /// Log of the weighted sum of exp(logit).
        Lse = MOE_MIX_LSE,
    }
}

raw_enum! {
    /// Arrays of a router that a profile holds. n is the number of experts.
    ProfileArray: c_int {
        /// `[n]` how often each expert was chosen.
        Count = MOE_PROFILE_COUNT,
        /// `[n]` sum of its weights.
        Weight = MOE_PROFILE_WEIGHT,
        /// `[n]` sum of its probabilities over all tokens.
        Prob = MOE_PROFILE_PROB,
        /// `[n]` how often it was the best.
        Top1 = MOE_PROFILE_TOP1,
        /// `[n]` mean of weight * |output| over its tokens (REAP); of profiles with outputs.
        Saliency = MOE_PROFILE_SALIENCY,
        /// `[n]` mean of |output|; of profiles with outputs.
        Norm = MOE_PROFILE_NORM,
        /// `[n]` largest |element| of its output; of profiles with outputs.
        Max = MOE_PROFILE_MAX,
        /// `[n]` where that was; of profiles with outputs.
        MaxChannel = MOE_PROFILE_MAX_CHANNEL,
        /// `[n][n]` how often two were chosen together; of profiles with pairs.
        Together = MOE_PROFILE_TOGETHER,
        /// `[n+1]` tokens by number of real experts.
        K = MOE_PROFILE_K,
        /// `[n_classes][n]` choices by class.
        ClassCount = MOE_PROFILE_CLASS_COUNT,
        /// `[n_classes][n]` sums of weights by class.
        ClassWeight = MOE_PROFILE_CLASS_WEIGHT,
        /// `[n_classes]` tokens of each class.
        ClassTokens = MOE_PROFILE_CLASS_TOKENS,
        /// `[n_classes]` prompts of each class.
        ClassPrompts = MOE_PROFILE_CLASS_PROMPTS,
        /// `[n_pos_max]` dropped choices by position.
        Drops = MOE_PROFILE_DROPS,
        /// `[n_classes][n]` normalised pointwise mutual information of class and expert.
        Npmi = MOE_PROFILE_NPMI,
    }
}

raw_enum! {
    /// What experts are ranked by.
    Rank: c_int {
        /// Normalised pointwise mutual information (RICE).
        Npmi = MOE_RANK_NPMI,
        /// Choices per prompt in the class, minus those in the other (MoTE).
        Diff = MOE_RANK_DIFF,
        /// Choices per token in the class, minus those in the other.
        Rate = MOE_RANK_RATE,
    }
}

raw_enum! {
    /// Thresholds of segment routing best performance.
    SrpLevel: c_int {
        /// One for each expert.
        Expert = MOE_SRP_EXPERT,
        /// One for each layer.
        Layer = MOE_SRP_LAYER,
        /// One for all.
        Model = MOE_SRP_MODEL,
    }
}

raw_enum! {
    /// Which expert leaves a full cache.
    CachePolicy: c_int {
        /// The one unused for longest.
        Lru = MOE_CACHE_LRU,
        /// The least used so far.
        Lfu = MOE_CACHE_LFU,
        /// The one whose next use is farthest: the upper bound.
        Belady = MOE_CACHE_BELADY,
        /// The least used in the `window` tokens from this one on.
        Segment = MOE_CACHE_SCH,
    }
}

raw_enum! {
    /// Kinds of metadata values.
    MetaKind: i32 {
        /// Unsigned, 8 bits.
        U8 = MOE_META_U8,
        /// Signed, 8 bits.
        I8 = MOE_META_I8,
        /// Unsigned, 16 bits.
        U16 = MOE_META_U16,
        /// Signed, 16 bits.
        I16 = MOE_META_I16,
        /// Unsigned, 32 bits.
        U32 = MOE_META_U32,
        /// Signed, 32 bits.
        I32 = MOE_META_I32,
        /// Float, 32 bits.
        F32 = MOE_META_F32,
        /// Yes or no.
        Bool = MOE_META_BOOL,
        /// Text.
        Text = MOE_META_STRING,
        /// Elements of one kind.
        Array = MOE_META_ARRAY,
        /// Unsigned, 64 bits.
        U64 = MOE_META_U64,
        /// Signed, 64 bits.
        I64 = MOE_META_I64,
        /// Float, 64 bits.
        F64 = MOE_META_F64,
    }
}
