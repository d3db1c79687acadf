//! What has to be written: one entry per GGUF tensor, with the checkpoint tensors it is made of.
//!
//! The names themselves live in `names.rs`, the only place that knows both vocabularies: whoever writes a file receives the
//! finished list and never invents a name.

use crate::role::Role;

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
