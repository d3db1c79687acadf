//! Products of bytes: all that the levels of two 256-bit registers do in different ways. Here the words, and AVX2's.

use std::arch::x86_64::*;

use super::super::TILE_ROWS;
use super::avx2::{Avx2, F32};
use super::{avx2_q8, intrinsics};
use crate::format::{BlockQ8_0, Tile};
use crate::op::blocks;
use crate::view::Q8Token;

/// A level of two 256-bit registers. Its value is the proof that the machine has the instructions, as with `Isa`, whose words
/// these are, for eight rows each where the name ends in 8.
pub(crate) trait Bytes: Copy {
    type Signed8: Copy;
    /// `Isa::Q8Tile`.
    type Tile: Copy;
    const EMPTY: Self::Tile;

    fn begin_fours8(self, acc: __m256i) -> __m256i;
    fn dot_fours8(self, sums: __m256i, w: &[u8; 32], x: __m256i) -> __m256i;
    fn end_fours8(self, acc: __m256i, sums: __m256i) -> __m256i;
    fn load_signed8(self, x: &[u8; 32]) -> Self::Signed8;
    /// What each lane of `Isa::begin_signed` is.
    fn start_of_signed(self, sum: i32) -> i32;
    fn dot_signed8(self, acc: __m256i, w: Self::Signed8, x: __m256i) -> __m256i;
    fn dot_bytes8(self, acc: __m256i, w: &[u8; 32], x: __m256i) -> __m256i;
    /// See `Isa::part_dots`: the products of one part's bytes, summed by fours.
    fn fours_of_part(self, q: &[u8; 32], x: &[i8; 32]) -> __m256i;

    /// `Isa::q8_rows`.
    fn rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32;
    /// `Isa::q8_tile`.
    fn tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Tile);
    /// `Isa::q8_tile_dots`.
    fn tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[F32; T]; G],
    );
    /// `Isa::block_dots`, a function with the level's features.
    ///
    /// # Safety
    ///
    /// The machine has them, as it has where there is a token.
    unsafe fn dots_out_of_line<
        const H: bool,
        const M: bool,
        const RUN: usize,
        const G: usize,
        const T: usize,
    >(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[F32; T]; G],
    );
}

impl Bytes for Avx2 {
    /// The bytes, and their magnitudes.
    type Signed8 = [__m256i; 2];
    type Tile = avx2_q8::Tile;
    const EMPTY: Self::Tile = avx2_q8::Tile::EMPTY;

    // A run has sums of pairs, in 16 bits; no step of it saturates or wraps, by the bound on its length.
    #[inline(always)]
    fn begin_fours8(self, _: __m256i) -> __m256i {
        intrinsics!(_mm256_setzero_si256())
    }
    #[inline(always)]
    fn dot_fours8(self, sums: __m256i, w: &[u8; 32], x: __m256i) -> __m256i {
        intrinsics!(_mm256_add_epi16(sums, _mm256_maddubs_epi16(_mm256_loadu_si256(w.as_ptr().cast()), x)))
    }
    #[inline(always)]
    fn end_fours8(self, acc: __m256i, sums: __m256i) -> __m256i {
        intrinsics!(_mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1))))
    }
    #[inline(always)]
    fn load_signed8(self, x: &[u8; 32]) -> Self::Signed8 {
        intrinsics!({
            let bytes = _mm256_loadu_si256(x.as_ptr().cast());
            [bytes, _mm256_abs_epi8(bytes)]
        })
    }
    #[inline(always)]
    fn start_of_signed(self, _: i32) -> i32 {
        0
    }
    #[inline(always)]
    fn dot_signed8(self, acc: __m256i, [bytes, magnitudes]: Self::Signed8, x: __m256i) -> __m256i {
        // As in `avx2_q8`: the magnitudes, and the signs given to the other factor.
        intrinsics!({
            let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(x, bytes));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }
    #[inline(always)]
    fn dot_bytes8(self, acc: __m256i, w: &[u8; 32], x: __m256i) -> __m256i {
        // Bytes at even and at odd places, each as 16 bits.
        intrinsics!({
            let w = _mm256_loadu_si256(w.as_ptr().cast());
            let (w_even, w_odd) = (_mm256_and_si256(w, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(w));
            let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
            let even = _mm256_madd_epi16(w_even, x_even);
            let odd = _mm256_madd_epi16(w_odd, _mm256_srai_epi16::<8>(x));
            _mm256_add_epi32(acc, _mm256_add_epi32(even, odd))
        })
    }
    #[inline(always)]
    fn fours_of_part(self, q: &[u8; 32], x: &[i8; 32]) -> __m256i {
        intrinsics!({
            let (q, x) = (_mm256_loadu_si256(q.as_ptr().cast()), _mm256_loadu_si256(x.as_ptr().cast()));
            _mm256_madd_epi16(_mm256_maddubs_epi16(q, x), _mm256_set1_epi16(1))
        })
    }

    #[inline(always)]
    fn rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32 {
        intrinsics!(avx2_q8::rows(rows, x))
    }
    #[inline(always)]
    fn tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Tile) {
        intrinsics!(avx2_q8::tile(blocks, tile));
    }
    #[inline(always)]
    fn tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[F32; T]; G],
    ) {
        intrinsics!(avx2_q8::tile_dots(tiles, x, acc));
    }
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline(never)]
    unsafe fn dots_out_of_line<
        const H: bool,
        const M: bool,
        const RUN: usize,
        const G: usize,
        const T: usize,
    >(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[F32; T]; G],
    ) {
        blocks::dots::<Self, H, M, RUN, G, T>(self, tiles, x, offset, acc);
    }
}
