//! What attention remembers: one latent row and one index key per token and layer.
//!
//! The latent row `[kv_lora_rank + qk_rope_head_dim]` is key and value for all heads; the index key
//! `[index_head_dim]` is kept after Hadamard rotation, as llama.cpp keeps it. Memory for the whole context is asked
//! for at once and touched only as tokens arrive, so that no token allocates.

use crate::config::Config;
use crate::scratch::Buffers;
use fathom_simd::{Format, Rows};
use std::ops::Range;

/// Formats of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTypes {
    /// Latent rows: F32, BF16 or F16.
    pub latent: Format,
    /// Index keys: F32 or F16.
    pub index: Format,
}

impl CacheTypes {
    /// Bytes of one token's latent row and index key in one layer.
    pub fn row_bytes(self, config: &Config) -> (usize, usize) {
        let index = config.indexer.map_or(0, |index| self.index.row_bytes(index.head_dim));
        (self.latent.row_bytes(config.latent_dim()), index)
    }
}

/// `[n_ctx, dim]` rows of one format.
pub struct CacheRows {
    format: Format,
    dim: usize,
    bytes: Vec<u8>,
}

impl CacheRows {
    fn new(format: Format, dim: usize, n_ctx: usize, make: &mut Buffers) -> CacheRows {
        CacheRows { format, dim, bytes: make.zeros(format.row_bytes(dim) * n_ctx) }
    }

    /// Format of a value.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Values of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.dim)
    }

    /// Rows of some positions, for reading.
    pub fn rows(&self, positions: Range<usize>) -> Rows<'_> {
        let row_bytes = self.row_bytes();
        Rows {
            format: self.format,
            bytes: &self.bytes[positions.start * row_bytes..positions.end * row_bytes],
            n_rows: positions.len(),
            n_cols: self.dim,
        }
    }

    /// Bytes of some positions, for writing.
    pub fn bytes_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        let row_bytes = self.row_bytes();
        &mut self.bytes[positions.start * row_bytes..positions.end * row_bytes]
    }
}

/// One layer's rows.
pub struct LayerCache {
    /// Latent rows.
    pub latent: CacheRows,
    /// Index keys, where the model has an indexer.
    pub index: Option<CacheRows>,
}

/// All layers' rows.
pub struct KvCache {
    /// Main layers, then the MTP layer where one runs.
    pub layers: Vec<LayerCache>,
}

impl KvCache {
    /// Room for `n_ctx` tokens in `n_layers` layers.
    pub fn new(
        config: &Config,
        types: CacheTypes,
        n_ctx: usize,
        n_layers: usize,
        make: &mut Buffers,
    ) -> KvCache {
        let mut layer = || LayerCache {
            latent: CacheRows::new(types.latent, config.latent_dim(), n_ctx, make),
            index: config.indexer.map(|index| CacheRows::new(types.index, index.head_dim, n_ctx, make)),
        };
        KvCache { layers: (0..n_layers).map(|_| layer()).collect() }
    }
}
