//! Q8_0 products with AVX2.
//!
//! Along a row: VPMADDUBSW multiplies unsigned with signed bytes, so the weights give up their signs to the
//! activations (VPABSB, VPSIGNB). It sums two products into 16 bits with saturation: at most 2 * 128 * 127 = 32,512
//! here, so it never saturates. A weight of -128 becomes 128 unsigned; an activation of -128 would break the sign
//! trick, which is why `Q8Acts` excludes it.
//!
//! In tiles the same, on weights whose magnitudes are kept beside them. Rejected: both sides as 16-bit pairs (VPMADDWD); it
//! has as many multiplications, twice the loads, and widens every token's bytes for every tile (a fifth slower).

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::TILE_ROWS;
use super::avx2::transpose8;
use super::{ask_for_next_rows, element, intrinsics};
use crate::format::BlockQ8_0;
use crate::view::Q8Token;

/// One block of 16 rows, in two halves of 8: `q[half][k]` holds, lane by lane, bytes 4k..4k+4 of each row, `magnitudes` the
/// same without their signs; `d` the rows' scales.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    q: [[[i8; 32]; 8]; 2],
    magnitudes: [[[u8; 32]; 8]; 2],
    d: [[f32; 8]; 2],
}

impl Tile {
    pub(crate) const EMPTY: Self =
        Self { q: [[[0; 32]; 8]; 2], magnitudes: [[[0; 32]; 8]; 2], d: [[0.0; 8]; 2] };
}

/// Blocks whose scales are collected at a time.
pub(super) const SCALES: usize = 16;

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load(x: &[i8; 32]) -> __m256i {
    intrinsics!(_mm256_loadu_si256(x.as_ptr().cast()))
}

/// See `Isa::q8_rows`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn rows(rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> [__m256; 2] {
    let (rows, _) = rows.as_chunks::<8>();
    [rows8(&rows[0], x), rows8(&rows[1], x)]
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn rows8(rows: &[&[BlockQ8_0]; 8], x: Q8Token<'_>) -> __m256 {
    let n = x.values.len();
    assert!(x.scales.len() >= n, "scales of {n} blocks");
    for row in rows {
        assert!(row.len() >= n, "{} blocks of a row, {n} of the token", row.len());
    }
    let ones = _mm256_set1_epi16(1);
    let mut acc = _mm256_setzero_ps();
    let mut d = [[[0_u8; 2]; 8]; SCALES];
    for start in (0..n).step_by(SCALES) {
        let end = n.min(start + SCALES);
        collect_scales(rows, start..end, &mut d);
        for (at, d) in (start..end).zip(&d) {
            ask_for_next_rows::<8>(rows[0], at, n);
            let values = load(element!(x.values, at));
            let mut dots = [_mm256_setzero_si256(); 8];
            for (dot, row) in dots.iter_mut().zip(rows) {
                let w = load(&element!(row, at).qs);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(values, w));
                *dot = _mm256_madd_epi16(pairs, ones);
            }
            let isum = sum_rows(&dots);
            let d = intrinsics!(_mm256_cvtph_ps(_mm_loadu_si128(d.as_ptr().cast())));
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(*element!(x.scales, at)));
            acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum), acc);
        }
    }
    acc
}

/// The scales of some blocks of eight rows, those of one block side by side. They lie 34 bytes apart; they are moved through
/// memory, as the shuffles have enough to do. The rows have all these blocks.
#[inline(always)]
pub(super) fn collect_scales(rows: &[&[BlockQ8_0]; 8], blocks: Range<usize>, d: &mut [[[u8; 2]; 8]; SCALES]) {
    for (at, d) in blocks.zip(d) {
        for (d, row) in d.iter_mut().zip(rows) {
            *d = element!(row, at).d;
        }
    }
}

/// Sums of eight vectors: lane i is the sum of vector i.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_rows(x: &[__m256i; 8]) -> __m256i {
    let (low, high) = (hadd4(&x[..4]), hadd4(&x[4..]));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    )
}

/// Sums of four vectors' halves: lane i of each half is the sum of that half of vector i.
#[target_feature(enable = "avx2")]
#[inline]
fn hadd4(x: &[__m256i]) -> __m256i {
    _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]))
}

/// See `Isa::q8_tile`.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) fn tile(blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Tile) {
    let (halves, _) = blocks.as_chunks::<8>();
    for (half, blocks) in halves.iter().enumerate() {
        for (k, vector) in turned(blocks).into_iter().enumerate() {
            let q = _mm256_castps_si256(vector);
            intrinsics!({
                _mm256_storeu_si256(tile.q[half][k].as_mut_ptr().cast(), q);
                _mm256_storeu_si256(tile.magnitudes[half][k].as_mut_ptr().cast(), _mm256_abs_epi8(q));
            });
        }
        intrinsics!(_mm256_storeu_ps(tile.d[half].as_mut_ptr(), scales(blocks)));
    }
}

/// The quants of eight rows' blocks, fours of bytes as the elements that are turned round.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn turned(blocks: &[&BlockQ8_0; 8]) -> [__m256; 8] {
    let mut square = [_mm256_setzero_ps(); 8];
    for (vector, block) in square.iter_mut().zip(blocks) {
        *vector = _mm256_castsi256_ps(load(&block.qs));
    }
    transpose8(square)
}

/// Their scales.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) fn scales(blocks: &[&BlockQ8_0; 8]) -> __m256 {
    let mut d = [0_u8; 16];
    for (block, d) in blocks.iter().zip(d.as_chunks_mut().0) {
        *d = block.d;
    }
    intrinsics!(_mm256_cvtph_ps(_mm_loadu_si128(d.as_ptr().cast())))
}

/// Four bytes in all lanes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn splat_four(x: &[i8; 32], k: usize) -> __m256i {
    let [a, b, c, d] = x.as_chunks().0[k];
    _mm256_set1_epi32(i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]))
}

/// See `Isa::q8_tile_dots`.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn tile_dots<const G: usize, const T: usize>(
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    acc: &mut [[[__m256; 2]; T]; G],
) {
    let ones = _mm256_set1_epi16(1);
    for (tiles, acc) in tiles.iter().zip(acc) {
        let n = tiles.len();
        for x in x {
            assert!(x.values.len() >= n && x.scales.len() >= n, "blocks of a token, {n} of the tiles");
        }
        let mut totals = *acc;
        for (at, tile) in tiles.iter().enumerate() {
            let mut dots = [[_mm256_setzero_si256(); 2]; T];
            for k in 0..8 {
                let mut magnitudes = [_mm256_setzero_si256(); 2];
                for half in 0..2 {
                    magnitudes[half] =
                        intrinsics!(_mm256_loadu_si256(tile.magnitudes[half][k].as_ptr().cast()));
                }
                for t in 0..T {
                    let four = splat_four(element!(x[t].values, at), k);
                    for half in 0..2 {
                        let signed = _mm256_sign_epi8(four, load(&tile.q[half][k]));
                        let pairs = _mm256_maddubs_epi16(magnitudes[half], signed);
                        dots[t][half] = _mm256_add_epi32(dots[t][half], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            for half in 0..2 {
                let d = intrinsics!(_mm256_loadu_ps(tile.d[half].as_ptr()));
                for t in 0..T {
                    let scale = _mm256_mul_ps(d, _mm256_set1_ps(*element!(x[t].scales, at)));
                    totals[t][half] =
                        _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dots[t][half]), totals[t][half]);
                }
            }
        }
        *acc = totals;
    }
}
