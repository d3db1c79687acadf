//! Every activation buffer of a session, made once, so that no token allocates.
//!
//! Shapes stand behind the fields, outermost first; `b` is the batch (most tokens in one forward call).
//! The functions that make buffers also say what they would take, without making them ([`Buffers`]).

use crate::mmap::Zeros;
use crate::model::attend::MOST_HEADS;
use crate::model::indexer::SCORED_TOKENS;
use crate::model::step::{Q8Buffer, tile_len};
use bytemuck::Zeroable;
use fathom_arch::config::Config;
use fathom_simd::Attend;

/// Makes buffers, or only adds up their bytes: one list of sizes serves the session and the estimate before it.
///
/// When the system refuses a buffer, that one and all after it are empty and only counted; [`Buffers::refused`] tells.
pub struct Buffers {
    made: bool,
    n_bytes: usize,
    refused: Option<usize>,
}

impl Buffers {
    /// Buffers that are really there.
    pub fn made() -> Buffers {
        Buffers { made: true, n_bytes: 0, refused: None }
    }

    /// Empty buffers whose bytes are counted.
    pub fn counted() -> Buffers {
        Buffers { made: false, n_bytes: 0, refused: None }
    }

    /// Bytes of all buffers so far.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Bytes of the first buffer that the system refused.
    pub fn refused(&self) -> Option<usize> {
        self.refused
    }

    /// `n` zeros. The system gives them as untouched pages: a long context costs nothing before it is used.
    pub fn zeros<T: Zeroable>(&mut self, n: usize) -> Vec<T> {
        self.make(n * size_of::<T>(), || bytemuck::try_zeroed_vec(n).ok())
    }

    /// Room for `n` values.
    pub fn room<T>(&mut self, n: usize) -> Vec<T> {
        self.make(n * size_of::<T>(), || {
            let mut values = Vec::new();
            values.try_reserve_exact(n).ok().map(|()| values)
        })
    }

    /// `n` zero bytes in large pages, to pick rows from.
    pub fn pages(&mut self, n: usize) -> Zeros {
        self.make(n, || Zeros::new(n).ok())
    }

    fn make<B: Default>(&mut self, n_bytes: usize, make: impl Fn() -> Option<B>) -> B {
        self.n_bytes += n_bytes;
        if !self.made || self.refused.is_some() {
            return B::default();
        }
        make().unwrap_or_else(|| {
            self.refused = Some(n_bytes);
            B::default()
        })
    }
}

/// Scratch of one thread.
pub struct Local {
    /// `[b or slots of an expert, rows of a tile]`, results of a product before they are scattered.
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
    pub parts: Vec<f32>,      // [Attend::MOST_SEGMENTS, num_attention_heads, part_len], of one token
    pub latent_out: Vec<f32>, // [b, num_attention_heads, kv_lora_rank]
    pub heads_out: Vec<f32>,  // [b, num_attention_heads, v_head_dim]
}

/// Buffers of the indexer.
#[allow(missing_docs, reason = "named as in the notes; shapes stand behind the fields")]
pub struct IndexScratch {
    pub q: Vec<f32>,        // [b, index_n_heads, index_head_dim]
    pub q8: Vec<i8>,        // [b, index_n_heads, index_head_dim up to a multiple of four], with 8-bit keys
    pub q8_sums: Vec<i32>,  // [b, index_n_heads]
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
    pub places: Vec<usize>, // [n_routed_experts], while tokens are sorted
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
}

impl Scratch {
    /// Buffers for calls of up to `b` tokens in a context of `n_ctx`.
    pub fn new(c: &Config, b: usize, n_ctx: usize, mtp: bool, make: &mut Buffers) -> Scratch {
        let hidden = c.hidden_size;
        // The widest thing multiplied inside a half layer, in values a token.
        let widest = (c.num_attention_heads * c.qk_nope_head_dim.max(c.kv_lora_rank).max(c.v_head_dim))
            .max(FfnScratch::inner_width(c))
            .max(c.num_experts_per_tok * c.moe_intermediate_size)
            .max(c.q_lora_rank);
        Scratch {
            x: make.zeros(b * hidden),
            h: make.zeros(b * hidden),
            y: make.zeros(b * hidden),
            hidden: make.zeros(b * hidden),
            cos: make.zeros(b * c.qk_rope_head_dim / 2),
            sin: make.zeros(b * c.qk_rope_head_dim / 2),
            attn: AttnScratch::new(c, b, make),
            index: IndexScratch::new(c, b, n_ctx, make),
            ffn: FfnScratch::new(c, b, make),
            mtp: MtpScratch::new(c, b, mtp, make),
            q8: Q8Buffer::new(b * hidden * if mtp { 2 } else { 1 }, make),
            q8_inner: Q8Buffer::new(b * widest, make),
        }
    }
}

impl AttnScratch {
    fn new(c: &Config, b: usize, make: &mut Buffers) -> AttnScratch {
        let heads = c.num_attention_heads;
        AttnScratch {
            q_latent: make.zeros(b * c.q_lora_rank),
            kv: make.zeros(b * c.latent_dim()),
            q: make.zeros(b * heads * c.qk_head_dim()),
            absorbed: make.zeros(b * heads * c.latent_dim()),
            parts: make.zeros(Attend::MOST_SEGMENTS * heads * Attend::part_len(c.kv_lora_rank)),
            latent_out: make.zeros(b * heads * c.kv_lora_rank),
            heads_out: make.zeros(b * heads * c.v_head_dim),
        }
    }
}

impl IndexScratch {
    fn new(c: &Config, b: usize, n_ctx: usize, make: &mut Buffers) -> IndexScratch {
        let (n_heads, head_dim, topk) = c.indexer.map_or((0, 0, 0), |i| (i.n_heads, i.head_dim, i.topk));
        // A context that never exceeds index_topk is never selected from.
        let selects = c.indexer.is_some() && n_ctx > topk;
        IndexScratch {
            q: make.zeros(b * n_heads * head_dim),
            q8: make.zeros(b * n_heads * head_dim.next_multiple_of(4)),
            q8_sums: make.zeros(b * n_heads),
            k: make.zeros(b * head_dim),
            weights: make.zeros(b * n_heads),
            scores: make.zeros(if selects { SCORED_TOKENS.min(b) * n_ctx } else { 0 }),
            selected: make.zeros(if selects { b * topk } else { 0 }),
        }
    }
}

impl FfnScratch {
    fn inner_width(c: &Config) -> usize {
        c.intermediate_size.max(c.shared_intermediate_size())
    }

    pub(crate) fn new(c: &Config, b: usize, make: &mut Buffers) -> FfnScratch {
        let slots = b * c.num_experts_per_tok;
        FfnScratch {
            inner: make.zeros(b * FfnScratch::inner_width(c)),
            shared_out: make.zeros(b * c.hidden_size),
            scores: make.zeros(b * c.n_routed_experts),
            experts: make.zeros(slots),
            weights: make.zeros(slots),
            slot_token: make.zeros(slots),
            slot_weight: make.zeros(slots),
            places: make.zeros(c.n_routed_experts),
            active: make.room(c.n_routed_experts),
            bounds: make.room(c.n_routed_experts + 1),
            slots: make.zeros(slots * c.moe_intermediate_size),
        }
    }
}

impl MtpScratch {
    fn new(c: &Config, b: usize, mtp: bool, make: &mut Buffers) -> MtpScratch {
        let b = if mtp { b } else { 0 };
        MtpScratch {
            joined: make.zeros(b * 2 * c.hidden_size),
            tokens: make.zeros(b),
            hidden: make.zeros(b * c.hidden_size),
        }
    }
}

impl Local {
    /// Scratch of one thread, for calls of up to `b` tokens.
    pub fn new(c: &Config, b: usize, make: &mut Buffers) -> Local {
        let head_tile = b * c.kv_lora_rank.max(c.v_head_dim);
        Local {
            tile: make.zeros(head_tile.max(tile_len(b))),
            tile2: make.zeros(tile_len(b)),
            latent: make.zeros(c.q_lora_rank.max(c.kv_lora_rank)),
            attend: make.zeros(Attend::scratch_len(c.num_attention_heads.min(MOST_HEADS), c.latent_dim())),
            choice: make.zeros(c.n_routed_experts),
            groups: make.zeros(c.n_group),
        }
    }
}
