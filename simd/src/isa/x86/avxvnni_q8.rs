//! Q8_0 products with AVX-VNNI, as `avx512_q8` makes them: weights become unsigned by adding 128 (flipping the top bit), exact
//! for -128 too; the surplus, 128 * sum of the activations, is taken off with the sums that the activation blocks carry.

use std::arch::x86_64::*;

use super::super::TILE_ROWS;
use super::avx2_q8::{SCALES, collect_scales, load, scales, splat_four, sum_rows, turned};
use super::{ask_for_next_rows, element, intrinsics};
use crate::format::BlockQ8_0;
use crate::view::Q8Token;

/// One block of 16 rows, in two halves of 8: `q[half][k]` holds, lane by lane, bytes 4k..4k+4 of each row with the top bits
/// flipped; `d` the rows' scales.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    q: [[[u8; 32]; 8]; 2],
    d: [[f32; 8]; 2],
}

impl Tile {
    pub(crate) const EMPTY: Self = Self { q: [[[0; 32]; 8]; 2], d: [[0.0; 8]; 2] };
}

/// 128 times the sum of a block's activations, from those of its halves.
#[target_feature(enable = "avx2")]
#[inline]
fn surplus(sums: [i16; 2]) -> __m256i {
    _mm256_madd_epi16(_mm256_set1_epi32(bytemuck::cast(sums)), _mm256_set1_epi16(128))
}

/// See `Isa::q8_rows`.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
#[inline]
pub(super) fn rows(rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> [__m256; 2] {
    let (rows, _) = rows.as_chunks::<8>();
    [rows8(&rows[0], x), rows8(&rows[1], x)]
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
#[inline]
fn rows8(rows: &[&[BlockQ8_0]; 8], x: Q8Token<'_>) -> __m256 {
    let n = x.values.len();
    assert!(x.scales.len() >= n && x.sums.len() >= n, "scales and sums of {n} blocks");
    for row in rows {
        assert!(row.len() >= n, "{} blocks of a row, {n} of the token", row.len());
    }
    let flip = _mm256_set1_epi8(i8::MIN);
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
                let w = _mm256_xor_si256(load(&element!(row, at).qs), flip);
                *dot = _mm256_dpbusd_avx_epi32(*dot, w, values);
            }
            let isum = _mm256_sub_epi32(sum_rows(&dots), surplus(*element!(x.sums, at)));
            let d = intrinsics!(_mm256_cvtph_ps(_mm_loadu_si128(d.as_ptr().cast())));
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(*element!(x.scales, at)));
            acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum), acc);
        }
    }
    acc
}

/// See `Isa::q8_tile`.
#[target_feature(enable = "avx2,f16c")]
#[inline]
pub(super) fn tile(blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Tile) {
    let flip = _mm256_set1_epi8(i8::MIN);
    let (halves, _) = blocks.as_chunks::<8>();
    for (half, blocks) in halves.iter().enumerate() {
        for (k, vector) in turned(blocks).into_iter().enumerate() {
            let q = _mm256_xor_si256(_mm256_castps_si256(vector), flip);
            intrinsics!(_mm256_storeu_si256(tile.q[half][k].as_mut_ptr().cast(), q));
        }
        intrinsics!(_mm256_storeu_ps(tile.d[half].as_mut_ptr(), scales(blocks)));
    }
}

/// See `Isa::q8_tile_dots`.
#[target_feature(enable = "avx2,fma,avxvnni")]
#[inline]
pub(super) fn tile_dots<const G: usize, const T: usize>(
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    acc: &mut [[[__m256; 2]; T]; G],
) {
    for (tiles, acc) in tiles.iter().zip(acc) {
        let n = tiles.len();
        for x in x {
            let lens = [x.values.len(), x.scales.len(), x.sums.len()];
            assert!(lens.iter().all(|&len| len >= n), "{lens:?} blocks of a token, {n} of the tiles");
        }
        let mut totals = *acc;
        for (at, tile) in tiles.iter().enumerate() {
            let mut dots = [[_mm256_setzero_si256(); 2]; T];
            for t in 0..T {
                let surplus = surplus(*element!(x[t].sums, at));
                dots[t] = [_mm256_sub_epi32(_mm256_setzero_si256(), surplus); 2];
            }
            for k in 0..8 {
                let mut w = [_mm256_setzero_si256(); 2];
                for half in 0..2 {
                    w[half] = intrinsics!(_mm256_loadu_si256(tile.q[half][k].as_ptr().cast()));
                }
                for t in 0..T {
                    let four = splat_four(element!(x[t].values, at), k);
                    for half in 0..2 {
                        dots[t][half] = _mm256_dpbusd_avx_epi32(dots[t][half], w[half], four);
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
