//! AVX2 with AVX-VNNI: products of bytes by VPDPBUSD in its encoding for machines without AVX-512. It multiplies unsigned with
//! signed bytes and sums fours into 32 bits without saturation.

use std::arch::x86_64::*;

use super::super::TILE_ROWS;
use super::avx2::F32;
use super::avx2_bytes::Bytes;
use super::{avxvnni_q8, intrinsics};
use crate::format::{BlockQ8_0, Tile};
use crate::op::blocks;
use crate::view::Q8Token;

/// Proof that the machine has this level's instructions.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni {
    _made_by_here: (),
}

impl AvxVnni {
    /// Can be called where the features are enabled, which is the proof.
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    #[inline]
    pub(crate) fn here() -> Self {
        Self { _made_by_here: () }
    }
}

impl Bytes for AvxVnni {
    /// The bytes with their top bits flipped: 128 more, as in `avxvnni_q8`.
    type Signed8 = __m256i;
    type Tile = avxvnni_q8::Tile;
    const EMPTY: Self::Tile = avxvnni_q8::Tile::EMPTY;

    #[inline(always)]
    fn begin_fours8(self, acc: __m256i) -> __m256i {
        acc
    }
    #[inline(always)]
    fn dot_fours8(self, sums: __m256i, w: &[u8; 32], x: __m256i) -> __m256i {
        intrinsics!(_mm256_dpbusd_avx_epi32(sums, _mm256_loadu_si256(w.as_ptr().cast()), x))
    }
    #[inline(always)]
    fn end_fours8(self, _: __m256i, sums: __m256i) -> __m256i {
        sums
    }
    #[inline(always)]
    fn load_signed8(self, x: &[u8; 32]) -> Self::Signed8 {
        intrinsics!(_mm256_xor_si256(_mm256_loadu_si256(x.as_ptr().cast()), _mm256_set1_epi8(i8::MIN)))
    }
    #[inline(always)]
    fn start_of_signed(self, sum: i32) -> i32 {
        // The surplus is taken off before.
        sum.wrapping_mul(-128)
    }
    #[inline(always)]
    fn dot_signed8(self, acc: __m256i, w: Self::Signed8, x: __m256i) -> __m256i {
        intrinsics!(_mm256_dpbusd_avx_epi32(acc, w, x))
    }
    #[inline(always)]
    fn dot_bytes8(self, acc: __m256i, w: &[u8; 32], x: __m256i) -> __m256i {
        // Nothing here is summed in 16 bits.
        self.dot_fours8(acc, w, x)
    }
    #[inline(always)]
    fn fours_of_part(self, q: &[u8; 32], x: &[i8; 32]) -> __m256i {
        intrinsics!({
            let (q, x) = (_mm256_loadu_si256(q.as_ptr().cast()), _mm256_loadu_si256(x.as_ptr().cast()));
            _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), q, x)
        })
    }

    #[inline(always)]
    fn rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32 {
        intrinsics!(avxvnni_q8::rows(rows, x))
    }
    #[inline(always)]
    fn tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Tile) {
        intrinsics!(avxvnni_q8::tile(blocks, tile));
    }
    #[inline(always)]
    fn tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[F32; T]; G],
    ) {
        intrinsics!(avxvnni_q8::tile_dots(tiles, x, acc));
    }
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
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
