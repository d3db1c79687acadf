//! Every activation buffer of a session, made once, so that no token allocates.
//!
//! Shapes stand behind the fields, outermost first; `b` is the batch (most tokens in one forward call).

use crate::config::Config;
use crate::model::indexer::SCORED_TOKENS;
use crate::model::step::{MAX_TILE_ROWS, Q8Buffer};
use fathom_simd::Attend;

/// Scratch of one thread.
pub struct Local {
    /// `[b or slots of an expert, MAX_TILE_ROWS]`, results of a product before they are scattered.
    pub tile: Vec<f32>,
    /// Same, for the second of two products.
    pub tile2: Vec<f32>,
    /// `[q_lora_rank or kv_lora_rank]`, a latent before its norm.
    pub latent: Vec<f32>,
    /// Decoded cache rows and scores of [`fathom_simd::Kernels::attend`].
    pub attend: Vec<f32>,
    /// `[n_routed_experts]`, selection scores of one token.
    pub choice: Vec<f32>,
    /// `[n_group]`, group scores of one token.
    pub groups: Vec<f32>,
}

/// Scratch of a forward call.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct Scratch {
    pub x: Vec<f32>,      // [b, hidden_size], residual stream
    pub h: Vec<f32>,      // [b, hidden_size], normed input of a half layer
    pub y: Vec<f32>,      // [b, hidden_size], output of a half layer
    pub hidden: Vec<f32>, // [b, hidden_size], after the final norm
    pub cos: Vec<f32>,    // [b, qk_rope_head_dim / 2]
    pub sin: Vec<f32>,    // [b, qk_rope_head_dim / 2]
    pub attn: AttnScratch,
    pub index: IndexScratch,
    pub ffn: FfnScratch,
    pub mtp: MtpScratch,
    pub q8: Q8Buffer,       // input of a half layer, or of the head
    pub q8_inner: Q8Buffer, // whatever is multiplied inside a half layer
}

/// Buffers of attention.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct AttnScratch {
    pub q_latent: Vec<f32>,   // [b, q_lora_rank]
    pub kv: Vec<f32>,         // [b, kv_lora_rank + qk_rope_head_dim]
    pub q: Vec<f32>,          // [b, num_attention_heads, qk_head_dim]
    pub absorbed: Vec<f32>,   // [b, num_attention_heads, kv_lora_rank + qk_rope_head_dim]
    pub latent_out: Vec<f32>, // [b, num_attention_heads, kv_lora_rank]
    pub heads_out: Vec<f32>,  // [b, num_attention_heads, v_head_dim]
}

/// Buffers of the indexer.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct IndexScratch {
    pub q: Vec<f32>,        // [b, index_n_heads, index_head_dim]
    pub k: Vec<f32>,        // [b, index_head_dim]
    pub weights: Vec<f32>,  // [b, index_n_heads]
    pub scores: Vec<f32>,   // [SCORED_TOKENS, n_ctx]
    pub selected: Vec<u32>, // [b, index_topk], positions, ascending
}

/// Buffers of the feed-forward half.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct FfnScratch {
    pub inner: Vec<f32>,      // [b, intermediate_size or shared width], after SwiGLU
    pub shared_out: Vec<f32>, // [b, hidden_size]
    pub scores: Vec<f32>,     // [b, n_routed_experts]
    pub experts: Vec<u32>,    // [b, num_experts_per_tok], ascending
    pub weights: Vec<f32>,    // [b, num_experts_per_tok]
    pub slot_token: Vec<u32>, // [b * num_experts_per_tok], sorted by expert, then token
    pub slot_weight: Vec<f32>,
    pub active: Vec<u32>,   // experts with at least one slot, ascending
    pub bounds: Vec<usize>, // slots of active expert i: bounds[i] .. bounds[i + 1]
    pub slots: Vec<f32>,    // [b * num_experts_per_tok, moe_intermediate_size], after SwiGLU
}

/// Buffers of the MTP layer.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct MtpScratch {
    pub joined: Vec<f32>, // [b, 2 * hidden_size], normed embedding, normed hidden state
    pub tokens: Vec<u32>, // [b]
    pub hidden: Vec<f32>, // [b, hidden_size], hidden states that the call's drafts start from
    pub last: Vec<f32>,   // [hidden_size], hidden state of the last token of the call before
}

impl Scratch {
    /// Buffers for calls of up to `b` tokens in a context of `n_ctx`.
    pub fn new(c: &Config, b: usize, n_ctx: usize, mtp: bool) -> Scratch {
        let zeros = |n: usize| vec![0f32; n];
        let (heads, hidden) = (c.num_attention_heads, c.hidden_size);
        let slots = b * c.num_experts_per_tok;
        let inner = c.intermediate_size.max(c.shared_intermediate_size());
        let index = c.indexer;
        let mtp_b = if mtp { b } else { 0 };
        // The widest thing multiplied inside a half layer, in values a token.
        let widest = (heads * c.qk_nope_head_dim)
            .max(heads * c.kv_lora_rank)
            .max(heads * c.v_head_dim)
            .max(inner)
            .max(c.num_experts_per_tok * c.moe_intermediate_size)
            .max(c.q_lora_rank);
        Scratch {
            x: zeros(b * hidden),
            h: zeros(b * hidden),
            y: zeros(b * hidden),
            hidden: zeros(b * hidden),
            cos: zeros(b * c.qk_rope_head_dim / 2),
            sin: zeros(b * c.qk_rope_head_dim / 2),
            attn: AttnScratch {
                q_latent: zeros(b * c.q_lora_rank),
                kv: zeros(b * c.latent_dim()),
                q: zeros(b * heads * c.qk_head_dim()),
                absorbed: zeros(b * heads * c.latent_dim()),
                latent_out: zeros(b * heads * c.kv_lora_rank),
                heads_out: zeros(b * heads * c.v_head_dim),
            },
            index: IndexScratch {
                q: zeros(index.map_or(0, |i| b * i.n_heads * i.head_dim)),
                k: zeros(index.map_or(0, |i| b * i.head_dim)),
                weights: zeros(index.map_or(0, |i| b * i.n_heads)),
                scores: zeros(
                    index.map_or(0, |i| if n_ctx > i.topk { SCORED_TOKENS.min(b) * n_ctx } else { 0 }),
                ),
                selected: vec![0; index.map_or(0, |i| if n_ctx > i.topk { b * i.topk } else { 0 })],
            },
            ffn: FfnScratch {
                inner: zeros(b * inner),
                shared_out: zeros(b * hidden),
                scores: zeros(b * c.n_routed_experts),
                experts: vec![0; slots],
                weights: zeros(slots),
                slot_token: vec![0; slots],
                slot_weight: zeros(slots),
                active: Vec::with_capacity(c.n_routed_experts),
                bounds: Vec::with_capacity(c.n_routed_experts + 1),
                slots: zeros(slots * c.moe_intermediate_size),
            },
            mtp: MtpScratch {
                joined: zeros(mtp_b * 2 * hidden),
                tokens: vec![0; mtp_b],
                hidden: zeros(mtp_b * hidden),
                last: zeros(if mtp { hidden } else { 0 }),
            },
            q8: Q8Buffer::new(b * hidden * if mtp { 2 } else { 1 }),
            q8_inner: Q8Buffer::new(b * widest),
        }
    }

    /// Bytes held.
    pub fn n_bytes(&self) -> usize {
        let s = self;
        let f32s = [
            &s.x,
            &s.h,
            &s.y,
            &s.hidden,
            &s.cos,
            &s.sin,
            &s.attn.q_latent,
            &s.attn.kv,
            &s.attn.q,
            &s.attn.absorbed,
            &s.attn.latent_out,
            &s.attn.heads_out,
            &s.index.q,
            &s.index.k,
            &s.index.weights,
            &s.index.scores,
            &s.ffn.inner,
            &s.ffn.shared_out,
            &s.ffn.scores,
            &s.ffn.weights,
            &s.ffn.slot_weight,
            &s.ffn.slots,
            &s.mtp.joined,
            &s.mtp.hidden,
            &s.mtp.last,
        ];
        let u32s = [&s.index.selected, &s.ffn.experts, &s.ffn.slot_token, &s.ffn.active, &s.mtp.tokens];
        4 * f32s.iter().map(|v| v.len()).sum::<usize>()
            + 4 * u32s.iter().map(|v| v.capacity()).sum::<usize>()
            + 8 * s.ffn.bounds.capacity()
            + s.q8.n_bytes()
            + s.q8_inner.n_bytes()
    }
}

impl Local {
    /// Scratch of one thread, for calls of up to `b` tokens.
    pub fn new(c: &Config, b: usize) -> Local {
        let head_tile = c.kv_lora_rank.max(c.v_head_dim).max(MAX_TILE_ROWS);
        Local {
            tile: vec![0.0; b * head_tile],
            tile2: vec![0.0; b * MAX_TILE_ROWS],
            latent: vec![0.0; c.q_lora_rank.max(c.kv_lora_rank)],
            attend: vec![0.0; Attend::scratch_len(c.num_attention_heads, c.latent_dim())],
            choice: vec![0.0; c.n_routed_experts],
            groups: vec![0.0; c.n_group],
        }
    }

    /// Bytes held.
    pub fn n_bytes(&self) -> usize {
        4 * (self.tile.len()
            + self.tile2.len()
            + self.latent.len()
            + self.attend.len()
            + self.choice.len()
            + self.groups.len())
    }
}
