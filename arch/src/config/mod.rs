//! Every number of the model, from either form of file, validated together.
//!
//! Names are those of Hugging Face's `config.json`. DeepSeek's own code says `dim` for `hidden_size`,
//! `n_activated_experts` for `num_experts_per_tok` and `n_limited_groups` for `topk_group`.

mod fields;
mod from_gguf;
mod from_json;
mod gguf_reader;
pub mod keys;
mod overrides;
mod rope_json;
pub mod strange_json;
mod to_gguf;
mod validate;

pub use from_gguf::has_indexer;
pub use overrides::Overrides;

use serde::{Serialize, Serializer};

/// Epsilon of the two latent norms and of the indexer's LayerNorm: fixed in DeepSeek's and in transformers' code,
/// whatever `rms_norm_eps` says.
pub const LATENT_NORM_EPS: f32 = 1e-6;

/// The numbers of a DeepSeek-V3.2 model, or of a dense sibling (V3, R1, V3.1).
///
/// Serialised, it is the numbers' part of a `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Rows of embedding and head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the dense layers' feed-forward half.
    pub intermediate_size: usize,
    /// Width of one routed expert.
    pub moe_intermediate_size: usize,
    /// Layers of the main model, the MTP layer not counted.
    pub num_hidden_layers: usize,
    /// MTP layers: 0 or 1.
    pub num_nextn_predict_layers: usize,
    /// Leading layers with a dense feed-forward half.
    pub first_k_dense_replace: usize,
    /// Routed experts in a layer.
    pub n_routed_experts: usize,
    /// Shared experts (stored as one, this many times as wide).
    pub n_shared_experts: usize,
    /// Routed experts that a token uses.
    pub num_experts_per_tok: usize,
    /// Groups of experts; 1 switches grouping off.
    pub n_group: usize,
    /// Groups that a token may choose from.
    pub topk_group: usize,
    /// Factor on the routed experts' weights.
    #[serde(serialize_with = "shortest")]
    pub routed_scaling_factor: f32,
    /// Whether the chosen experts' weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of the query latent.
    pub q_lora_rank: usize,
    /// Width of the key-value latent.
    pub kv_lora_rank: usize,
    /// Part of a head's key without position.
    pub qk_nope_head_dim: usize,
    /// Part of a head's key with rotary position, shared by all heads.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// The lightning indexer; absent in the dense siblings.
    #[serde(flatten)]
    pub indexer: Option<IndexerConfig>,
    /// Epsilon of the layer norms and of the final norm.
    #[serde(serialize_with = "shortest")]
    pub rms_norm_eps: f32,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    #[serde(serialize_with = "shortest")]
    pub rope_theta: f32,
    /// YaRN, when the file declares it.
    #[serde(rename = "rope_scaling")]
    pub yarn: Option<Yarn>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
}

/// The lightning indexer's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IndexerConfig {
    /// `index_n_heads`.
    #[serde(rename = "index_n_heads")]
    pub n_heads: usize,
    /// `index_head_dim`.
    #[serde(rename = "index_head_dim")]
    pub head_dim: usize,
    /// `index_topk`: how many rows a query attends to.
    #[serde(rename = "index_topk")]
    pub topk: usize,
}

/// YaRN's numbers (static: applied at every context length).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "yarn")]
pub struct Yarn {
    /// How far the context was stretched.
    #[serde(serialize_with = "shortest")]
    pub factor: f32,
    /// Context before stretching.
    pub original_max_position_embeddings: usize,
    /// Rotations above which a frequency is left alone.
    #[serde(serialize_with = "shortest")]
    pub beta_fast: f32,
    /// Rotations below which a frequency is divided by `factor`.
    #[serde(serialize_with = "shortest")]
    pub beta_slow: f32,
    /// Softmax temperature; equal to `mscale`, or the file is refused.
    #[serde(serialize_with = "shortest")]
    pub mscale_all_dim: f32,
}

/// A float with the digits that tell it from its neighbours: 0.000001, not 0.0000009999999974752427.
fn shortest<S: Serializer>(value: &f32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(value.to_string().parse().unwrap_or(f64::from(*value)))
}

/// Why a file's numbers cannot be used. Each variant lists all problems of its kind.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not the expected form.
    #[error("config.json: {0}; expected the file as it was published: download it again")]
    Json(#[from] serde_json::Error),
    /// Another model.
    #[error(
        "this is {found}, not DeepSeek-V3.2 or a dense sibling: expected one of {expected}; \
         Fathom runs this one architecture only"
    )]
    OtherModel {
        /// What the file says.
        found: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// A metadata value could not be read.
    #[error("metadata: {0}")]
    Gguf(#[from] fathom_gguf::Error),
    /// Everything that is missing or contradictory, one line each.
    #[error(
        "Fathom cannot run a model with these settings:\n  {}\nIf the model is DeepSeek-V3.2, V3.1, V3 or R1 as \
         published, fetch it again, or convert it again with a current program; a variant of them cannot be run",
        .0.join("\n  ")
    )]
    Invalid(Vec<String>),
}

impl Config {
    /// Width of one head's query and key.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Width of a cached row: latent and rotary key.
    pub fn latent_dim(&self) -> usize {
        self.kv_lora_rank + self.qk_rope_head_dim
    }

    /// Width of the shared expert.
    pub fn shared_intermediate_size(&self) -> usize {
        self.n_shared_experts * self.moe_intermediate_size
    }

    /// Layers with weights, the MTP layer included.
    pub fn n_layers_with_mtp(&self) -> usize {
        // Asked before the numbers are checked, too.
        self.num_hidden_layers.saturating_add(self.num_nextn_predict_layers)
    }

    /// Whether `layer` is the MTP layer.
    pub fn is_mtp_layer(&self, layer: usize) -> bool {
        layer >= self.num_hidden_layers
    }

    /// Whether `layer` has a dense feed-forward half.
    pub fn is_dense_layer(&self, layer: usize) -> bool {
        layer < self.first_k_dense_replace
    }

    /// The indexer's numbers.
    ///
    /// # Panics
    /// If the model has none: shapes of indexer tensors are only asked for where there is one.
    pub fn index(&self) -> IndexerConfig {
        self.indexer.expect("indexer shapes are asked for only when the model has an indexer")
    }

    /// Factor on attention scores: `qk_head_dim^-1/2`, times YaRN's temperature squared.
    pub fn softmax_scale(&self) -> f32 {
        let mscale = match self.yarn {
            Some(y) if y.factor > 1.0 => 0.1 * f64::from(y.mscale_all_dim) * f64::from(y.factor).ln() + 1.0,
            _ => 1.0,
        };
        (mscale * mscale / (self.qk_head_dim() as f64).sqrt()) as f32
    }
}

impl Config {
    /// Numbers that fit together, for tests that change a few, those of other rooms too.
    #[doc(hidden)]
    pub fn tiny() -> Config {
        Config {
            vocab_size: 64,
            hidden_size: 64,
            intermediate_size: 96,
            moe_intermediate_size: 32,
            num_hidden_layers: 2,
            num_nextn_predict_layers: 0,
            first_k_dense_replace: 1,
            n_routed_experts: 8,
            n_shared_experts: 1,
            num_experts_per_tok: 2,
            n_group: 2,
            topk_group: 1,
            routed_scaling_factor: 2.5,
            norm_topk_prob: true,
            num_attention_heads: 2,
            q_lora_rank: 32,
            kv_lora_rank: 32,
            qk_nope_head_dim: 32,
            qk_rope_head_dim: 16,
            v_head_dim: 32,
            indexer: Some(IndexerConfig { n_heads: 16, head_dim: 32, topk: 8 }),
            rms_norm_eps: 1e-6,
            max_position_embeddings: 4096,
            rope_theta: 10000.0,
            yarn: None,
            tie_word_embeddings: false,
        }
    }
}
