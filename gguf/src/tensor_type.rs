//! The table of ggml tensor types: id, name, elements in a block, bytes in a block.
//!
//! A GGUF file stores a type as a number; that number means nothing without this table, because the size of a
//! tensor is not in the file: it follows from its shape and the two block numbers here. Ids are never reused by
//! ggml. Where a type was taken out, its number stays a hole: such files are refused by name, not as "unknown".
//!
//! Facts from ggml (`ggml.h`, `ggml-common.h`) as of 2026; `tests/pypi/check.py` compares every row with the
//! package `gguf`. One row differs on purpose: that package says 40 bytes for `q8_1`, ggml's struct has had two
//! halves and 32 bytes (36) since its scale fields became f16.

use std::fmt;

/// How the numbers of a tensor are stored. Variants carry ggml's names without underscores between letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the name of the format is all there is to say here; see `name`")]
pub enum TensorType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    IQ2XXS,
    IQ2XS,
    IQ3XXS,
    IQ1S,
    IQ4NL,
    IQ3S,
    IQ2S,
    IQ4XS,
    I8,
    I16,
    I32,
    I64,
    F64,
    IQ1M,
    BF16,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
}

/// What the table says of one type.
struct Row {
    ty: TensorType,
    id: u32,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
}

const fn row(ty: TensorType, id: u32, name: &'static str, block_len: usize, block_bytes: usize) -> Row {
    Row { ty, id, name, block_len, block_bytes }
}

/// In the order of the enum, so that `ty as usize` is the index; a const assertion below holds it to that.
const TABLE: [Row; 35] = [
    row(TensorType::F32, 0, "f32", 1, 4),
    row(TensorType::F16, 1, "f16", 1, 2),
    row(TensorType::Q4_0, 2, "q4_0", 32, 18),
    row(TensorType::Q4_1, 3, "q4_1", 32, 20),
    row(TensorType::Q5_0, 6, "q5_0", 32, 22),
    row(TensorType::Q5_1, 7, "q5_1", 32, 24),
    row(TensorType::Q8_0, 8, "q8_0", 32, 34),
    row(TensorType::Q8_1, 9, "q8_1", 32, 36),
    row(TensorType::Q2K, 10, "q2_k", 256, 84),
    row(TensorType::Q3K, 11, "q3_k", 256, 110),
    row(TensorType::Q4K, 12, "q4_k", 256, 144),
    row(TensorType::Q5K, 13, "q5_k", 256, 176),
    row(TensorType::Q6K, 14, "q6_k", 256, 210),
    row(TensorType::Q8K, 15, "q8_k", 256, 292),
    row(TensorType::IQ2XXS, 16, "iq2_xxs", 256, 66),
    row(TensorType::IQ2XS, 17, "iq2_xs", 256, 74),
    row(TensorType::IQ3XXS, 18, "iq3_xxs", 256, 98),
    row(TensorType::IQ1S, 19, "iq1_s", 256, 50),
    row(TensorType::IQ4NL, 20, "iq4_nl", 32, 18),
    row(TensorType::IQ3S, 21, "iq3_s", 256, 110),
    row(TensorType::IQ2S, 22, "iq2_s", 256, 82),
    row(TensorType::IQ4XS, 23, "iq4_xs", 256, 136),
    row(TensorType::I8, 24, "i8", 1, 1),
    row(TensorType::I16, 25, "i16", 1, 2),
    row(TensorType::I32, 26, "i32", 1, 4),
    row(TensorType::I64, 27, "i64", 1, 8),
    row(TensorType::F64, 28, "f64", 1, 8),
    row(TensorType::IQ1M, 29, "iq1_m", 256, 56),
    row(TensorType::BF16, 30, "bf16", 1, 2),
    row(TensorType::TQ1_0, 34, "tq1_0", 256, 54),
    row(TensorType::TQ2_0, 35, "tq2_0", 256, 66),
    row(TensorType::MXFP4, 39, "mxfp4", 32, 17),
    row(TensorType::NVFP4, 40, "nvfp4", 64, 36),
    row(TensorType::Q1_0, 41, "q1_0", 128, 18),
    row(TensorType::Q2_0, 42, "q2_0", 64, 18),
];

/// Ids that ggml once had and no longer reads.
const REMOVED: [(u32, &str); 8] = [
    (4, "q4_2"),
    (5, "q4_3"),
    (31, "q4_0_4_4"),
    (32, "q4_0_4_8"),
    (33, "q4_0_8_8"),
    (36, "iq4_nl_4_4"),
    (37, "iq4_nl_4_8"),
    (38, "iq4_nl_8_8"),
];

const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].ty as usize == i, "the table must be in the order of the enum");
        assert!(i == 0 || TABLE[i - 1].id < TABLE[i].id, "ids must ascend");
        i += 1;
    }
};

impl TensorType {
    /// Every type, in ascending id.
    pub fn all() -> impl Iterator<Item = TensorType> {
        TABLE.iter().map(|row| row.ty)
    }

    /// The type with this ggml id; `None` for an id that is unknown or removed (see [`TensorType::removed_name`]).
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.binary_search_by_key(&id, |row| row.id).ok().map(|i| TABLE[i].ty)
    }

    /// The type with this ggml name, in any case: `q4_k`, `Q4_K`.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.ty)
    }

    /// The name of a type that ggml had under this id and has removed.
    pub fn removed_name(id: u32) -> Option<&'static str> {
        REMOVED.iter().find(|(removed, _)| *removed == id).map(|(_, name)| *name)
    }

    /// The number that stands in the file.
    pub const fn id(self) -> u32 {
        TABLE[self as usize].id
    }

    /// ggml's name in lower case: `q4_k`, `iq2_xxs`, `bf16`.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    /// Elements in one block; 1 for plain numbers.
    pub const fn block_len(self) -> usize {
        TABLE[self as usize].block_len
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        TABLE[self as usize].block_bytes
    }

    /// Bytes of a row of `cols` elements; `None` when `cols` is no multiple of the block length (blocks never
    /// span rows) or when the product does not fit.
    pub fn row_bytes(self, cols: usize) -> Option<u64> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        ((cols / self.block_len()) as u64).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_below_the_last_is_known_or_removed() {
        for id in 0..=TensorType::Q2_0.id() {
            assert_ne!(TensorType::from_id(id).is_some(), TensorType::removed_name(id).is_some(), "id {id}");
        }
        assert_eq!(TensorType::from_id(43), None);
        assert_eq!(TensorType::removed_name(43), None);
    }

    #[test]
    fn id_and_name_lead_back_to_the_type() {
        for ty in TensorType::all() {
            assert_eq!(TensorType::from_id(ty.id()), Some(ty));
            assert_eq!(TensorType::from_name(ty.name()), Some(ty));
            assert_eq!(TensorType::from_name(&ty.name().to_uppercase()), Some(ty));
        }
        assert_eq!(TensorType::from_name("q4_2"), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(TensorType::F32.row_bytes(3), Some(12));
        assert_eq!(TensorType::Q8_0.row_bytes(64), Some(68));
        assert_eq!(TensorType::Q8_0.row_bytes(63), None);
        assert_eq!(TensorType::Q4K.row_bytes(7168), Some(28 * 144));
        assert_eq!(TensorType::F64.row_bytes(usize::MAX), None);
    }
}
