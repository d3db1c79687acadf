//! What kernels are called with: weight rows as they lie in the file, activations, and which of them to take.

use std::ops::Range;

use crate::format::{ActKind, Format};
use crate::op::index_q8;

/// Weight (or cache) rows as they lie in the file: row-major, contiguous, at any byte address.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// How the bytes are to be read.
    pub format: Format,
    /// `n_rows` times the format's bytes for `n_cols`.
    pub bytes: &'a [u8],
    /// Number of rows: outputs of a product, keys of an attention.
    pub n_rows: usize,
    /// Elements in a row.
    pub n_cols: usize,
}

impl<'a> Rows<'a> {
    /// Checks that the bytes are those of the shape. Panics if not (caller's bug: files are checked at load).
    pub fn new(format: Format, bytes: &'a [u8], n_rows: usize, n_cols: usize) -> Self {
        let rows = Self { format, bytes, n_rows, n_cols };
        rows.check();
        rows
    }

    /// Bytes in one row.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.n_cols)
    }

    /// The bytes of one row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let n = self.row_bytes();
        &self.bytes[row * n..][..n]
    }

    /// The rows of a range, as a view of their own. Products over slices have the same bits as over the whole.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let n = self.row_bytes();
        let bytes = &self.bytes[rows.start * n..rows.end * n];
        Self { bytes, n_rows: rows.len(), ..*self }
    }

    pub(crate) fn check(&self) {
        let expected = self.n_rows * self.row_bytes();
        assert_eq!(
            self.bytes.len(),
            expected,
            "{} rows of {} {} columns",
            self.n_rows,
            self.n_cols,
            self.format.name()
        );
    }
}

/// Activations of several tokens.
#[derive(Debug, Clone, Copy)]
pub enum Acts<'a> {
    /// Unrounded.
    F32(F32Acts<'a>),
    /// In 8-bit blocks of 32.
    Q8(Q8Acts<'a>),
}

impl Acts<'_> {
    pub(crate) fn kind(&self) -> ActKind {
        match self {
            Self::F32(_) => ActKind::F32,
            Self::Q8(_) => ActKind::Q8,
        }
    }

    /// Panics if token `last` of `n_cols` elements is not there.
    pub(crate) fn check(&self, last: usize, n_cols: usize) {
        let (stride, n_values) = match self {
            Self::F32(x) => (x.stride, x.values.len()),
            Self::Q8(x) => (x.stride, x.values.len()),
        };
        let needed = last * stride + n_cols;
        assert!(n_values >= needed, "{n_values} activations, {needed} needed for token {last}");
        if let Self::Q8(x) = self {
            assert!(stride.is_multiple_of(32), "stride {stride} of 8-bit blocks is no multiple of 32");
            let found = (x.scales.len(), x.sums.len());
            let needed = needed / 32;
            assert!(found.0 >= needed && found.1 >= needed, "{found:?} scales and sums, {needed} needed");
        }
    }
}

/// Unrounded activations: token `t` is `values[t * stride..][..n_cols]`.
#[derive(Debug, Clone, Copy)]
pub struct F32Acts<'a> {
    /// All tokens.
    pub values: &'a [f32],
    /// Elements from one token to the next.
    pub stride: usize,
}

impl<'a> F32Acts<'a> {
    #[inline(always)]
    pub(crate) fn token(&self, token: usize, n_cols: usize) -> &'a [f32] {
        &self.values[token * self.stride..][..n_cols]
    }
}

/// Activations in 8-bit blocks of 32, as [`crate::Kernels::encode_q8`] writes them: token `t` is
/// `values[t * stride..][..n_cols]`, and its scales and sums lie at `t * stride / 32`.
#[derive(Debug, Clone, Copy)]
pub struct Q8Acts<'a> {
    /// The quants, in -127..=127. Minus 128 is not allowed: no encoder here writes it, and a level's arithmetic
    /// may be inexact for it (wrong numbers, never undefined behaviour).
    pub values: &'a [i8],
    /// One scale for each block of 32.
    pub scales: &'a [f32],
    /// The sums of the two halves, 16 quants each, of each block of 32. Kernels trust them.
    pub sums: &'a [[i16; 2]],
    /// Elements from one token to the next, a multiple of 32.
    pub stride: usize,
}

/// One token's blocks.
#[derive(Clone, Copy)]
pub(crate) struct Q8Token<'a> {
    pub(crate) values: &'a [[i8; 32]],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [[i16; 2]],
}

impl<'a> Q8Token<'a> {
    /// Some of the blocks.
    #[inline(always)]
    pub(crate) fn part(&self, blocks: Range<usize>) -> Q8Token<'a> {
        Q8Token {
            values: &self.values[blocks.clone()],
            scales: &self.scales[blocks.clone()],
            sums: &self.sums[blocks],
        }
    }
}

impl<'a> Q8Acts<'a> {
    #[inline(always)]
    pub(crate) fn token(&self, token: usize, n_blocks: usize) -> Q8Token<'a> {
        let first = token * (self.stride / 32);
        Q8Token {
            values: &self.values.as_chunks().0[first..][..n_blocks],
            scales: &self.scales[first..][..n_blocks],
            sums: &self.sums[first..][..n_blocks],
        }
    }
}

/// Which tokens (or cache rows) a call takes.
#[derive(Debug, Clone, Copy)]
pub enum Pick<'a> {
    /// The first `n`, in order.
    First(usize),
    /// These, in the order given.
    Rows(&'a [u32]),
}

impl Pick<'_> {
    /// How many are picked.
    #[inline(always)]
    pub fn len(&self) -> usize {
        match self {
            Self::First(n) => *n,
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Whether nothing is picked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of the picked one at place `at`. Panics if `at` is out of the list.
    #[inline(always)]
    pub fn get(&self, at: usize) -> usize {
        match self {
            Self::First(n) => {
                debug_assert!(at < *n, "place {at} of {n} picked");
                at
            }
            Self::Rows(rows) => rows[at] as usize,
        }
    }

    /// The largest index picked.
    pub(crate) fn max(&self) -> Option<usize> {
        match self {
            Self::First(n) => n.checked_sub(1),
            Self::Rows(rows) => rows.iter().max().map(|&row| row as usize),
        }
    }
}

/// Arguments of [`crate::Kernels::index_scores`].
#[derive(Debug, Clone, Copy)]
pub struct IndexScores<'a> {
    /// One token's index queries: [n_heads, n_cols of the keys].
    pub q: &'a [f32],
    /// One weight per head, all scales folded in; may be negative.
    pub weights: &'a [f32],
    /// The index keys, one row per position.
    pub keys: Rows<'a>,
}

/// Index keys of 8 bits, in blocks of [`Q8Keys::PER_BLOCK`]: for each four elements, four bytes of each key, then the keys'
/// scales (f32). Written by [`crate::Kernels::store_index_key`].
#[derive(Debug, Clone, Copy)]
pub struct Q8Keys<'a> {
    /// `n_keys.div_ceil(PER_BLOCK)` blocks of `block_bytes(dim)`; lanes of the last one that hold no key are not looked at.
    pub bytes: &'a [u8],
    /// How many there are.
    pub n_keys: usize,
    /// Elements of a key.
    pub dim: usize,
}

impl Q8Keys<'_> {
    /// Keys in a block.
    pub const PER_BLOCK: usize = index_q8::BLOCK_KEYS;

    /// Bytes of a block of keys with `dim` elements.
    pub const fn block_bytes(dim: usize) -> usize {
        Self::PER_BLOCK * (dim.next_multiple_of(4) + 4)
    }

    pub(crate) fn check(&self) {
        let expected = self.n_keys.div_ceil(Self::PER_BLOCK) * Self::block_bytes(self.dim);
        assert_eq!(self.bytes.len(), expected, "bytes of {} keys of {}", self.n_keys, self.dim);
    }
}

/// What goes with a row of 8-bit integers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Q8Row {
    /// Value of an integer's step.
    pub scale: f32,
    /// Sum of the integers.
    pub sum: i32,
}

/// Arguments of [`crate::Kernels::index_scores_q8`].
#[derive(Debug, Clone, Copy)]
pub struct Q8IndexScores<'a> {
    /// One token's index queries as [`crate::Kernels::index_query`] makes them: [n_heads, dim, up to a multiple of four].
    pub q: &'a [i8],
    /// Sum of each query's integers.
    pub sums: &'a [i32],
    /// One weight per head, all scales folded in, the query's among them; may be negative.
    pub weights: &'a [f32],
    /// The index keys.
    pub keys: Q8Keys<'a>,
}

/// Arguments of [`crate::Kernels::attend`].
#[derive(Debug, Clone, Copy)]
pub struct Attend<'a> {
    /// One token's absorbed queries: [n_heads, n_cols of the rows].
    pub q: &'a [f32],
    /// The latent cache: a row is the key, and its first `v_dim` values are the value.
    pub rows: Rows<'a>,
    /// Which rows to attend to, in ascending position; not empty.
    pub pick: Pick<'a>,
    /// What a score is multiplied with before the softmax.
    pub scale: f32,
    /// Elements of the value.
    pub v_dim: usize,
}

impl Attend<'_> {
    /// Most segments of any pick.
    pub const MOST_SEGMENTS: usize = crate::op::MOST_SEGMENTS;

    /// Floats of scratch that [`crate::Kernels::attend`] needs for `n_heads` queries of `dim` elements.
    pub const fn scratch_len(n_heads: usize, dim: usize) -> usize {
        16 + 2 * n_heads * Self::part_len(dim) + Self::segment_scratch_len(n_heads, dim)
    }

    /// Floats of scratch that [`crate::Kernels::attend_segment`] needs.
    pub const fn segment_scratch_len(n_heads: usize, dim: usize) -> usize {
        crate::op::attend_scratch_len(n_heads, dim)
    }

    /// Floats of what one head has of a segment.
    pub const fn part_len(v_dim: usize) -> usize {
        crate::op::attend_part_len(v_dim)
    }

    /// Segments of a pick of `n_picked` rows.
    pub const fn segments_of(n_picked: usize) -> usize {
        crate::op::n_segments(n_picked)
    }

    /// Segments of the pick.
    pub fn n_segments(&self) -> usize {
        Self::segments_of(self.pick.len())
    }

    /// Panics with numbers where something does not fit; the number of heads.
    pub(crate) fn check(&self) -> usize {
        self.rows.check();
        let dim = self.rows.n_cols;
        let last = self.pick.max().expect("attention needs at least one picked row");
        assert!(last < self.rows.n_rows, "row {last} picked of {}", self.rows.n_rows);
        assert!((1..=dim).contains(&self.v_dim), "values of {} in rows of {dim}", self.v_dim);
        assert!(self.q.len().is_multiple_of(dim), "{} query values for rows of {dim}", self.q.len());
        self.q.len() / dim
    }
}
