//! What attention remembers: one latent row and one index key per token and layer.
//!
//! The latent row `[kv_lora_rank + qk_rope_head_dim]` is key and value for all heads; the index key
//! `[index_head_dim]` is kept after Hadamard rotation, which spreads outliers, in floats or in 8 bits. Memory for the whole context is asked
//! for at once and touched only as tokens arrive, so that no token allocates.

use crate::mmap::Zeros;
use crate::scratch::Buffers;
use fathom_arch::config::Config;
use fathom_simd::{Format, Q8Keys, Rows};
use std::ops::Range;

/// Formats of the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheTypes {
    /// Latent rows: F32, BF16, F16 or Q8_0.
    pub latent: Format,
    /// Index keys.
    pub index: IndexType,
}

impl CacheTypes {
    /// Of chats, runs and benches that say nothing else.
    pub const USUAL: CacheTypes = CacheTypes { latent: Format::BF16, index: IndexType::Q8 };
}

/// How index keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    /// Exact.
    F32,
    /// Half the bytes.
    F16,
    /// A quarter: integers with one scale for each key. Of 2048 keys selected by them 99 in a hundred or more are those that
    /// exact scores select, and the scan is two to four times as fast.
    Q8,
}

impl IndexType {
    /// Widest first.
    pub const ALL: [IndexType; 3] = [IndexType::F32, IndexType::F16, IndexType::Q8];

    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            IndexType::F32 => "f32",
            IndexType::F16 => "f16",
            IndexType::Q8 => "q8",
        }
    }

    /// Bytes of a key of `dim` elements.
    pub fn key_bytes(self, dim: usize) -> usize {
        match self {
            IndexType::F32 => Format::F32.row_bytes(dim),
            IndexType::F16 => Format::F16.row_bytes(dim),
            IndexType::Q8 => Q8Keys::block_bytes(dim) / Q8Keys::PER_BLOCK,
        }
    }
}

impl CacheTypes {
    /// Why a model's rows cannot be kept so, if they cannot.
    pub fn refusal(self, config: &Config) -> Option<String> {
        let (dim, block) = (config.latent_dim(), self.latent.block_len());
        (!dim.is_multiple_of(block)).then(|| {
            let name = self.latent.name();
            format!("--cache-type {name}: expected latent rows of a multiple of {block} values, found {dim}")
        })
    }

    /// Bytes of one token's latent row and index key in one layer.
    pub fn row_bytes(self, config: &Config) -> (usize, usize) {
        let index = config.indexer.map_or(0, |index| self.index.key_bytes(index.head_dim));
        (self.latent.row_bytes(config.latent_dim()), index)
    }
}

/// `[n_ctx, dim]` rows of one format.
pub struct CacheRows {
    format: Format,
    dim: usize,
    bytes: Zeros,
}

impl CacheRows {
    fn new(format: Format, dim: usize, n_ctx: usize, make: &mut Buffers) -> CacheRows {
        CacheRows { format, dim, bytes: make.pages(format.row_bytes(dim) * n_ctx) }
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
        let n_rows = positions.len();
        Rows { format: self.format, bytes: self.bytes(positions), n_rows, n_cols: self.dim }
    }

    /// Bytes of some positions.
    pub fn bytes(&self, positions: Range<usize>) -> &[u8] {
        let row_bytes = self.row_bytes();
        &self.bytes[positions.start * row_bytes..positions.end * row_bytes]
    }

    /// Bytes of some positions, for writing.
    pub fn bytes_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        let row_bytes = self.row_bytes();
        &mut self.bytes[positions.start * row_bytes..positions.end * row_bytes]
    }
}

/// Index keys of 8 bits, in blocks.
pub struct Q8Cache {
    dim: usize,
    bytes: Zeros,
}

impl Q8Cache {
    fn new(dim: usize, n_ctx: usize, make: &mut Buffers) -> Q8Cache {
        let n_blocks = n_ctx.div_ceil(Q8Keys::PER_BLOCK);
        Q8Cache { dim, bytes: make.pages(n_blocks * Q8Keys::block_bytes(dim)) }
    }

    /// Elements of a key.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        Q8Keys::block_bytes(self.dim)
    }

    /// Keys of some positions, the first of which begins a block.
    pub fn keys(&self, positions: Range<usize>) -> Q8Keys<'_> {
        assert!(positions.start.is_multiple_of(Q8Keys::PER_BLOCK), "keys from {} on", positions.start);
        let n_keys = positions.len();
        Q8Keys { bytes: self.blocks(positions), n_keys, dim: self.dim }
    }

    /// The blocks that some positions touch.
    pub fn blocks(&self, positions: Range<usize>) -> &[u8] {
        &self.bytes[self.bytes_of(&positions)]
    }

    /// The blocks that some positions touch, for writing.
    pub fn blocks_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        let bytes = self.bytes_of(&positions);
        &mut self.bytes[bytes]
    }

    fn bytes_of(&self, positions: &Range<usize>) -> Range<usize> {
        let (first, last) = (positions.start / Q8Keys::PER_BLOCK, positions.end.div_ceil(Q8Keys::PER_BLOCK));
        first * self.block_bytes()..last * self.block_bytes()
    }
}

/// One layer's index keys.
pub enum IndexCache {
    /// F32 or F16.
    Floats(CacheRows),
    /// 8 bits.
    Q8(Q8Cache),
}

impl IndexCache {
    /// Bytes of some positions, the first of which begins a block of [`Q8Keys`].
    fn bytes(&self, positions: Range<usize>) -> &[u8] {
        match self {
            IndexCache::Floats(keys) => keys.bytes(positions),
            IndexCache::Q8(keys) => keys.blocks(positions),
        }
    }

    fn bytes_mut(&mut self, positions: Range<usize>) -> &mut [u8] {
        match self {
            IndexCache::Floats(keys) => keys.bytes_mut(positions),
            IndexCache::Q8(keys) => keys.blocks_mut(positions),
        }
    }

    fn new(ty: IndexType, dim: usize, n_ctx: usize, make: &mut Buffers) -> IndexCache {
        match ty {
            IndexType::F32 => IndexCache::Floats(CacheRows::new(Format::F32, dim, n_ctx, make)),
            IndexType::F16 => IndexCache::Floats(CacheRows::new(Format::F16, dim, n_ctx, make)),
            IndexType::Q8 => IndexCache::Q8(Q8Cache::new(dim, n_ctx, make)),
        }
    }
}

/// One layer's rows.
pub struct LayerCache {
    /// Latent rows.
    pub latent: CacheRows,
    /// Index keys, where the model has an indexer.
    pub index: Option<IndexCache>,
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
            index: config.indexer.map(|index| IndexCache::new(types.index, index.head_dim, n_ctx, make)),
        };
        KvCache { layers: (0..n_layers).map(|_| layer()).collect() }
    }

    /// All that is kept of some positions, the first of which begins a block of [`Q8Keys`]: layer by layer the latent rows,
    /// then the index keys.
    pub fn parts(&self, positions: Range<usize>) -> impl Iterator<Item = &[u8]> + Clone {
        self.layers.iter().flat_map(move |layer| {
            let index = layer.index.as_ref().map(|index| index.bytes(positions.clone()));
            [Some(layer.latent.bytes(positions.clone())), index].into_iter().flatten()
        })
    }

    /// The same for writing.
    pub fn parts_mut(&mut self, positions: Range<usize>) -> Vec<&mut [u8]> {
        let layers = self.layers.iter_mut().flat_map(|layer| {
            let index = layer.index.as_mut().map(|index| index.bytes_mut(positions.clone()));
            [Some(layer.latent.bytes_mut(positions.clone())), index]
        });
        layers.flatten().collect()
    }
}
