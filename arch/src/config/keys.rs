//! The keys that a GGUF file has below its architecture's name: those that are read, those that mean nothing here, and those under
//! which a relative of the family would compute something else.

use super::overrides::Scalar;
use fathom_gguf::Metadata;
use std::fmt;

/// The value under which a key changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Neutral {
    /// No such thing.
    Zero,
    /// A factor or a step that is none; 0 stands for an absent one, as in llama.cpp.
    One,
    /// A factor that counts whatever it is, 0 too.
    Factor,
    /// A factor that llama.cpp takes from elsewhere where it is below 0, which it writes for one that was not set.
    FactorOrUnset,
    Flag(bool),
}

impl Neutral {
    pub(super) fn is(self, found: &Scalar) -> bool {
        match (self, found) {
            (Neutral::Flag(flag), Scalar::Bool(found)) => flag == *found,
            (Neutral::Zero, found) => is(found, 0),
            (Neutral::One, found) => is(found, 0) || is(found, 1),
            (Neutral::Factor, found) => is(found, 1),
            (Neutral::FactorOrUnset, found) => is(found, 1) || is_below_0(found),
            _ => false,
        }
    }
}

fn is(found: &Scalar, number: u8) -> bool {
    match found {
        Scalar::Int(n) => *n == u64::from(number),
        Scalar::Float(x) => *x == f64::from(number),
        _ => false,
    }
}

fn is_below_0(found: &Scalar) -> bool {
    matches!(found, Scalar::Float(x) if *x < 0.0)
}

impl fmt::Display for Neutral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Neutral::Zero => f.write_str("0"),
            Neutral::One | Neutral::Factor => f.write_str("1"),
            Neutral::FactorOrUnset => f.write_str("1 (or below 0: not set)"),
            Neutral::Flag(flag) => flag.fmt(f),
        }
    }
}

/// Keys of llama.cpp under which other models compute something else.
pub(super) const SWITCHES: [(&str, Neutral); 23] = [
    ("rope.scaling.attn_factor", Neutral::Factor),
    ("rope.scaling.yarn_ext_factor", Neutral::FactorOrUnset),
    ("rope.scaling.yarn_attn_factor", Neutral::Factor),
    ("rope.scale_linear", Neutral::One),
    ("logit_scale", Neutral::One),
    ("embedding_scale", Neutral::One),
    ("residual_scale", Neutral::One),
    ("expert_group_scale", Neutral::Factor),
    ("moe_every_n_layers", Neutral::One),
    ("interleave_moe_layer_step", Neutral::One),
    ("attention.scale", Neutral::Zero),
    ("attention.sliding_window", Neutral::Zero),
    ("attention.clamp_kqv", Neutral::Zero),
    ("attention.max_alibi_bias", Neutral::Zero),
    ("attention.temperature_scale", Neutral::Zero),
    ("attn_logit_softcapping", Neutral::Zero),
    ("final_logit_softcapping", Neutral::Zero),
    ("router_logit_softcapping", Neutral::Zero),
    ("swiglu_clamp_exp", Neutral::Zero),
    ("swiglu_clamp_shexp", Neutral::Zero),
    ("attention.indexer.types", Neutral::Zero),
    ("attention.causal", Neutral::Flag(true)),
    ("use_parallel_residual", Neutral::Flag(false)),
];

/// Keys that are read, or that say nothing about what is computed.
const KNOWN: [&str; 39] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.indexer.head_count",
    "attention.indexer.key_length",
    "attention.indexer.top_k",
    "attention.key_length",
    "attention.key_length_mla",
    "attention.kv_lora_rank",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.q_lora_rank",
    "attention.value_length",
    "attention.value_length_mla",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_feed_forward_length",
    "expert_gating_func",
    "expert_group_count",
    "expert_group_used_count",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "expert_weights_norm",
    "expert_weights_scale",
    "feed_forward_length",
    "leading_dense_block_count",
    "nextn_predict_layers",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
    "vocab_size",
];

/// The architecture's keys that nobody here knows.
pub fn unknown<'d>(metadata: &Metadata<'d>, arch: &str) -> Vec<&'d str> {
    let is_known = |key: &str| KNOWN.contains(&key) || SWITCHES.iter().any(|(switch, _)| *switch == key);
    let below = |key: &'d str| key.strip_prefix(arch)?.strip_prefix('.');
    metadata.iter().map(|(key, _)| key).filter(|key| below(key).is_some_and(|key| !is_known(key))).collect()
}
