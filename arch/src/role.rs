//! What a tensor is for.

use std::fmt;

/// Norms and biases of trained models are below a few hundred. What is beyond the largest half is no weight but a damaged byte, and
/// everything after it would be text all the same: such a file is neither written nor run.
pub const LARGEST_OF_VECTORS: f32 = 65_504.0;

/// What a tensor is for: recipes choose types by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `token_embd`.
    Embed,
    /// `output`, the language-model head.
    Head,
    /// Latent projections and the output projection: `attn_q_a`, `attn_q_b`, `attn_kv_a_mqa`, `attn_output`.
    Attention,
    /// The two halves of `kv_b_proj`, stored per head: `attn_k_b`, `attn_v_b`.
    AttentionKvB,
    /// `indexer.attn_q_b` and `indexer.attn_k`.
    Indexer,
    /// Feed-forward matrices of the leading dense layers.
    DenseFfn,
    /// The shared expert.
    SharedExpert,
    /// Routed experts, `ffn_gate_exps` and `ffn_up_exps`.
    RoutedGateUp,
    /// Routed experts, `ffn_down_exps`.
    RoutedDown,
    /// `nextn.eh_proj` and the copies of embedding and head inside the MTP layer.
    Mtp,
    /// Kept in F32 whatever the recipe: norms, router, biases, `indexer.proj`.
    Exact,
}

impl Role {
    /// Every role, in the order in which tables print them.
    pub const ALL: [Role; 11] = [
        Role::Embed,
        Role::Head,
        Role::Attention,
        Role::AttentionKvB,
        Role::Indexer,
        Role::DenseFfn,
        Role::SharedExpert,
        Role::RoutedGateUp,
        Role::RoutedDown,
        Role::Mtp,
        Role::Exact,
    ];

    /// The word that tables and messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Embed => "embed",
            Role::Head => "head",
            Role::Attention => "attention",
            Role::AttentionKvB => "attention k_b/v_b",
            Role::Indexer => "indexer",
            Role::DenseFfn => "dense ffn",
            Role::SharedExpert => "shared experts",
            Role::RoutedGateUp => "experts gate/up",
            Role::RoutedDown => "experts down",
            Role::Mtp => "mtp",
            Role::Exact => "norms, router, biases",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
