//! What has to be written: one entry per GGUF tensor, with the checkpoint tensors it is made of.
//!
//! The names themselves live in the root crate's `names.rs`, the only place that knows both vocabularies; this
//! crate receives the finished list and never invents a name.

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

/// Which rows of `kv_b_proj` a tensor takes from each head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvHalf {
    /// The first `qk_nope_head_dim` rows, transposed: element `[head][c][d]` is row `d`, column `c` of the head.
    K,
    /// The last `v_head_dim` rows as they are.
    V,
}

/// Where a GGUF tensor's numbers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// One checkpoint tensor of the same shape.
    Tensor(String),
    /// One checkpoint tensor per expert, stacked in this order along the outermost axis.
    Stack(Vec<String>),
    /// One half of `kv_b_proj` (`[n_heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank]`, head-major).
    KvB {
        /// Checkpoint name of `kv_b_proj.weight`.
        name: String,
        /// Which half.
        half: KvHalf,
        /// `num_attention_heads`.
        n_heads: usize,
        /// `qk_nope_head_dim`.
        qk_nope_head_dim: usize,
        /// `v_head_dim`.
        v_head_dim: usize,
    },
}

impl Origin {
    /// The checkpoint tensors this origin reads, with the shape each must have (outermost first), given the
    /// GGUF tensor's shape.
    pub fn sources(&self, shape: &[usize]) -> Vec<(&str, Vec<usize>)> {
        match self {
            Origin::Tensor(name) => vec![(name, shape.to_vec())],
            Origin::Stack(names) => names.iter().map(|n| (n.as_str(), shape[1..].to_vec())).collect(),
            Origin::KvB { name, half, n_heads, qk_nope_head_dim, v_head_dim } => {
                let rank = match half {
                    KvHalf::K => shape[1],
                    KvHalf::V => shape[2],
                };
                vec![(name, vec![n_heads * (qk_nope_head_dim + v_head_dim), rank])]
            }
        }
    }
}

/// One tensor of the file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    /// GGUF name.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// What it is made of.
    pub origin: Origin,
}

impl TensorPlan {
    /// Number of values.
    pub fn n_elems(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }

    /// Values in a row (the innermost dimension).
    pub fn n_cols(&self) -> usize {
        *self.shape.last().expect("a planned tensor has at least one dimension")
    }
}
