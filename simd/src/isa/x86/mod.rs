//! x86-64: AVX2 (Haswell), AVX-VNNI (Alder Lake) and AVX-512 (Ice Lake, Zen 4).

mod avx2;
mod avx2_bytes;
mod avx2_q8;
mod avx512;
mod avx512_bf16;
mod avx512_parts;
mod avx512_q8;
mod avxvnni;
mod avxvnni_q8;

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use avxvnni::AvxVnni;

use crate::format::BlockQ8_0;

/// Wraps intrinsics in a function that has no `#[target_feature]` itself (it is inlined into one that has).
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: every caller holds a level's token. A token is only made by `here`, which can only be called
        // where the level's features are enabled, so the machine has the instructions. Pointers in $body come from
        // references to arrays exactly as long as what is read or written, and the intrinsics used are those that
        // ask for no alignment.
        unsafe { $body }
    };
}
pub(crate) use intrinsics;

/// Element `$at` of a slice, unchecked: the hot loops of the 8-bit products read 16 rows at a time, and a check for
/// each costs more than the products.
macro_rules! element {
    ($slice:expr, $at:expr) => {
        // SAFETY: the functions that use this first check that every slice they read has at least n elements, and
        // their indices come from ranges that end at n.
        unsafe { $slice.get_unchecked($at) }
    };
}
pub(crate) use element;

/// Asks for a part of the `ROWS` rows that follow, as large as the blocks that are multiplied now (block `at` of n, of `ROWS`
/// rows from `row` on): in the order of memory, a single stream, which machines follow better than `ROWS` of them.
///
/// Into the second-level cache: a group of rows is larger than the first. One Zen 4 core, 7168 columns from memory, GB/s: AVX-512
/// 18.9 unasked, 12.8 into the first level, 31.6 into the second, of 34 that reading alone has; AVX2 17.9, and 27.6 into the
/// second. Zen 3, AVX2, short rows, unasked and into the first level: 512 columns 8.9 and 16.7, 1536 11.1 and 16.6.
#[inline(always)]
fn ask_for_next_rows<const ROWS: usize>(row: &[BlockQ8_0], at: usize, n: usize) {
    /// How far ahead of short rows, in bytes, at least.
    const AHEAD: usize = 4096;
    let (rows, blocks) = (ROWS * n * size_of::<BlockQ8_0>(), ROWS * size_of::<BlockQ8_0>());
    let first = AHEAD.next_multiple_of(rows) + at * blocks;
    for line in (0..blocks).step_by(64) {
        // Whatever the address, this reads nothing and cannot fault.
        intrinsics!(_mm_prefetch::<_MM_HINT_T1>(row.as_ptr().cast::<i8>().wrapping_add(first + line)));
    }
}
