//! The table of formats: the public `Format`, and the trait that one file per format implements.

use crate::isa::Isa;
use crate::op;
use crate::view::{Acts, Attend, IndexScores, Pick, Rows};

/// The formats' types as an array of `$make::<Format>()`, in the order of [`Format`]. This is the one list that
/// the level tables, the names and the sizes are made from.
macro_rules! per_format {
    ($make:ident) => {{
        use $crate::format::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Q8K};
        [
            $make::<F32>(),
            $make::<F16>(),
            $make::<BF16>(),
            $make::<Q8_0>(),
            $make::<Q4_0>(),
            $make::<Q4_1>(),
            $make::<Q5_0>(),
            $make::<Q5_1>(),
            $make::<Q2K>(),
            $make::<Q3K>(),
            $make::<Q4K>(),
            $make::<Q5K>(),
            $make::<Q6K>(),
            $make::<Q8K>(),
        ]
    }};
}
pub(crate) use per_format;

/// A weight format that kernels can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// Blocks of 32: one 16-bit scale and 32 signed bytes.
    Q8_0,
    /// Blocks of 32: one 16-bit scale and 4-bit quants minus 8.
    Q4_0,
    /// Blocks of 32: a 16-bit scale, a 16-bit minimum and 4-bit quants.
    Q4_1,
    /// Blocks of 32: one 16-bit scale and 5-bit quants minus 16.
    Q5_0,
    /// Blocks of 32: a 16-bit scale, a 16-bit minimum and 5-bit quants.
    Q5_1,
    /// Blocks of 256: 2-bit quants, 4-bit scales and minimums of 16 each.
    Q2K,
    /// Blocks of 256: 3-bit quants minus 4, 6-bit scales of 16 each.
    Q3K,
    /// Blocks of 256: 4-bit quants, 6-bit scales and minimums of 32 each.
    Q4K,
    /// Blocks of 256: 5-bit quants, 6-bit scales and minimums of 32 each.
    Q5K,
    /// Blocks of 256: 6-bit quants minus 32, 8-bit scales of 16 each.
    Q6K,
    /// Blocks of 256: one 32-bit scale and 256 signed bytes, with sums of 16 each that nothing reads.
    Q8K,
}

/// What a format multiplies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActKind {
    /// Unrounded 32-bit floats.
    F32,
    /// Blocks of 32 signed bytes with a 32-bit float scale ([`crate::Kernels::encode_q8`]).
    Q8,
}

/// What one file in `format/` supplies.
pub(crate) trait BlockFormat: 'static {
    const FORMAT: Format;
    /// ggml's name in lower case.
    const NAME: &'static str;
    /// Elements in a block.
    const LEN: usize;
    /// Bytes in a block.
    const BYTES: usize;
    const ACTS: ActKind;
    /// No cache holds this format, and nothing here encodes it: only `product` and the two `decode`s.
    const WEIGHTS_ONLY: bool = false;

    /// The definition: whole blocks to as many floats.
    fn decode(bytes: &[u8], out: &mut [f32]);

    /// `decode` at a level, for one row; `out` may be longer than the row, the rest of its last chunk of 16 is
    /// filled with zeros and nothing beyond it is touched.
    fn decode_row<I: Isa>(isa: I, row: &[u8], out: &mut [f32]);

    /// One row of floats to blocks.
    fn encode_row<I: Isa>(isa: I, x: &[f32], out: &mut [u8]);

    /// `out[t * n_rows + r] = w[r] . x[pick[t]]`. Shapes are checked by the caller.
    fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]);

    /// See `op/index_scores.rs`.
    #[inline(always)]
    fn index_scores<I: Isa>(isa: I, s: IndexScores<'_>, out: &mut [f32])
    where
        Self: Sized,
    {
        op::index_scores::<Self, I>(isa, s, out);
    }

    /// See `op/attend/mod.rs`.
    #[inline(always)]
    fn attend<I: Isa>(isa: I, a: Attend<'_>, segment: usize, scratch: &mut [f32], part: &mut [f32])
    where
        Self: Sized,
    {
        op::attend::<Self, I>(isa, a, segment, scratch, part);
    }
}

struct Info {
    format: Format,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
    acts: ActKind,
    weights_only: bool,
    decode: fn(&[u8], &mut [f32]),
}

const fn info<F: BlockFormat>() -> Info {
    Info {
        format: F::FORMAT,
        name: F::NAME,
        block_len: F::LEN,
        block_bytes: F::BYTES,
        acts: F::ACTS,
        weights_only: F::WEIGHTS_ONLY,
        decode: F::decode,
    }
}

const fn format_of<F: BlockFormat>() -> Format {
    F::FORMAT
}

static INFO: [Info; Format::ALL.len()] = per_format!(info);

impl Format {
    /// Every format, in the order of the kernel tables.
    pub const ALL: [Self; 14] = per_format!(format_of);

    fn info(self) -> &'static Info {
        let info = &INFO[self as usize];
        debug_assert_eq!(info.format, self);
        info
    }

    /// ggml's name in lower case: `"q8_0"`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The format of that name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Elements in a block; a row is a whole number of blocks.
    pub fn block_len(self) -> usize {
        self.info().block_len
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.info().block_bytes
    }

    /// Bytes in a row of `n_cols` elements. Panics if that is no whole number of blocks (caller's bug: shapes are
    /// checked at load).
    pub fn row_bytes(self, n_cols: usize) -> usize {
        let info = self.info();
        assert!(
            n_cols.is_multiple_of(info.block_len),
            "{}: {n_cols} columns are no multiple of {}",
            info.name,
            info.block_len
        );
        n_cols / info.block_len * info.block_bytes
    }

    /// What this format multiplies with.
    pub fn acts(self) -> ActKind {
        self.info().acts
    }

    /// Whether the format is for weights only: no cache holds it and [`crate::Kernels::encode_row`] does not write it,
    /// so of the kernels that read a format it has `product` and `decode_row`.
    pub fn weights_only(self) -> bool {
        self.info().weights_only
    }

    /// The definition of the format: whole blocks to as many floats. Panics if the lengths disagree.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            bytes.len(),
            self.row_bytes(out.len()),
            "{}: bytes of {} elements",
            self.name(),
            out.len()
        );
        (self.info().decode)(bytes, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_stand_in_the_order_of_the_enum() {
        for (at, format) in Format::ALL.into_iter().enumerate() {
            assert_eq!(format as usize, at);
            assert_eq!(INFO[at].format, format);
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
    }

    #[test]
    fn row_bytes_are_ggmls() {
        assert_eq!(Format::F32.row_bytes(7), 28);
        assert_eq!(Format::F16.row_bytes(7), 14);
        assert_eq!(Format::BF16.row_bytes(7), 14);
        assert_eq!(Format::Q8_0.row_bytes(64), 68);
        let quants = Format::ALL[4..].iter().map(|format| (format.name(), format.row_bytes(256)));
        let expected = [
            ("q4_0", 144),
            ("q4_1", 160),
            ("q5_0", 176),
            ("q5_1", 192),
            ("q2_k", 84),
            ("q3_k", 110),
            ("q4_k", 144),
            ("q5_k", 176),
            ("q6_k", 210),
            ("q8_k", 292),
        ];
        assert!(quants.eq(expected));
    }
}
