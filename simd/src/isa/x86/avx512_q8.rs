//! Q8_0 products by VPDPBUSD, which multiplies unsigned with signed bytes and sums fours into 32 bits without
//! saturation. Weights become unsigned by adding 128 (flipping the top bit), exact for -128 too; the surplus,
//! 128 * sum of the activations, is taken off with the sums that the activation blocks carry.

use std::arch::x86_64::*;

use super::super::TILE_ROWS;
use super::{ask_for_next_rows, element, intrinsics};
use crate::format::BlockQ8_0;
use crate::view::Q8Token;

/// One block of 16 rows: `q[k]` holds, lane by lane, bytes 4k..4k+4 of each row with the top bits flipped; `d` the
/// rows' scales.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    q: [[u8; 64]; 8],
    d: [f32; 16],
}

impl Tile {
    pub(crate) const EMPTY: Self = Self { q: [[0; 64]; 8], d: [0.0; 16] };
}

/// Blocks whose scales are collected at a time.
const SCALES: usize = 16;

/// Rows (r, r + 4) that share a register, in the order in which `sum_rows` wants the registers.
const PAIRS: [usize; 8] = [0, 8, 1, 9, 2, 10, 3, 11];

/// Two rows' quants in one register.
#[target_feature(enable = "avx512f")]
#[inline]
fn pair(low: &[i8; 32], high: &[i8; 32]) -> __m512i {
    intrinsics!({
        let low = _mm256_loadu_si256(low.as_ptr().cast());
        let high = _mm256_loadu_si256(high.as_ptr().cast());
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    })
}

/// Sums the eight partial sums of each of 16 rows into its lane; the tree of `avx512::sum16`, which began with
/// pairs of rows in a register. Integers: the order does not matter to the value.
#[target_feature(enable = "avx512f")]
#[inline]
fn sum_rows(x: [__m512i; 8]) -> __m512i {
    let mut fours = [_mm512_setzero_si512(); 4];
    for (at, sums) in fours.iter_mut().enumerate() {
        let (a, b) = (x[2 * at], x[2 * at + 1]);
        let low = _mm512_shuffle_i32x4::<0x88>(a, b);
        let high = _mm512_shuffle_i32x4::<0xdd>(a, b);
        *sums = _mm512_add_epi32(low, high);
    }
    let mut twos = [_mm512_setzero_ps(); 2];
    for (at, sums) in twos.iter_mut().enumerate() {
        let (a, b) = (fours[2 * at], fours[2 * at + 1]);
        let sum = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        *sums = _mm512_castsi512_ps(sum);
    }
    let low = _mm512_shuffle_ps::<0x88>(twos[0], twos[1]);
    let high = _mm512_shuffle_ps::<0xdd>(twos[0], twos[1]);
    _mm512_add_epi32(_mm512_castps_si512(low), _mm512_castps_si512(high))
}

/// 128 times the sum of a block's activations, from those of its halves.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn surplus(sums: [i16; 2]) -> __m512i {
    _mm512_madd_epi16(_mm512_set1_epi32(bytemuck::cast(sums)), _mm512_set1_epi16(128))
}

/// See `Isa::q8_rows`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,f16c")]
#[inline]
pub(super) fn rows(rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> __m512 {
    let n = x.values.len();
    assert!(x.scales.len() >= n && x.sums.len() >= n, "scales and sums of {n} blocks");
    for row in rows {
        assert!(row.len() >= n, "{} blocks of a row, {n} of the token", row.len());
    }
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut acc = _mm512_setzero_ps();
    let mut d = [[[0_u8; 2]; TILE_ROWS]; SCALES];
    for start in (0..n).step_by(SCALES) {
        let end = n.min(start + SCALES);
        // Scales lie 34 bytes apart. Moving them through memory costs load and store slots, which are free here;
        // inserting them one by one into a register would compete with the shuffles of `sum_rows`.
        for (at, d) in (start..end).zip(&mut d) {
            for (d, row) in d.iter_mut().zip(rows) {
                *d = element!(row, at).d;
            }
        }
        for (at, d) in (start..end).zip(&d) {
            ask_for_next_rows::<TILE_ROWS>(rows[0], at, n);
            let values = pair(element!(x.values, at), element!(x.values, at));
            let mut dots = [_mm512_setzero_si512(); 8];
            for (dot, row) in dots.iter_mut().zip(PAIRS) {
                let w = _mm512_xor_si512(
                    pair(&element!(rows[row], at).qs, &element!(rows[row + 4], at).qs),
                    flip,
                );
                *dot = _mm512_dpbusd_epi32(*dot, w, values);
            }
            let isum = _mm512_sub_epi32(sum_rows(dots), surplus(*element!(x.sums, at)));
            let d = intrinsics!(_mm512_cvtph_ps(_mm256_loadu_si256(d.as_ptr().cast())));
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(*element!(x.scales, at)));
            acc = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(isum), acc);
        }
    }
    acc
}

/// See `Isa::q8_tile`.
#[target_feature(enable = "avx512f,avx512bw,f16c")]
#[inline]
pub(super) fn tile(blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Tile) {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut halves = [[_mm512_setzero_si512(); 4]; 2];
    for (half, out) in halves.iter_mut().enumerate() {
        // Fours of bytes, 4 by 4 within each quarter: rows 8h..8h+4 in the lower half, the next four in the upper.
        let row = 8 * half;
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| pair(&blocks[row + at].qs, &blocks[row + at + 4].qs));
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        out[0] = _mm512_unpacklo_epi64(ab, cd);
        out[1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        out[2] = _mm512_unpacklo_epi64(ab, cd);
        out[3] = _mm512_unpackhi_epi64(ab, cd);
    }
    for at in 0..4 {
        let (top, bottom) = (halves[0][at], halves[1][at]);
        let low = _mm512_xor_si512(_mm512_shuffle_i32x4::<0x88>(top, bottom), flip);
        let high = _mm512_xor_si512(_mm512_shuffle_i32x4::<0xdd>(top, bottom), flip);
        intrinsics!({
            _mm512_storeu_si512(tile.q[at].as_mut_ptr().cast(), low);
            _mm512_storeu_si512(tile.q[at + 4].as_mut_ptr().cast(), high);
        });
    }
    let mut d = [0_u8; 32];
    for (block, d) in blocks.iter().zip(d.as_chunks_mut().0) {
        *d = block.d;
    }
    intrinsics!({
        let d = _mm512_cvtph_ps(_mm256_loadu_si256(d.as_ptr().cast()));
        _mm512_storeu_ps(tile.d.as_mut_ptr(), d);
    });
}

/// See `Isa::q8_tile_dots`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub(super) fn tile_dots<const G: usize, const T: usize>(
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    acc: &mut [[__m512; T]; G],
) {
    let n = tiles[0].len();
    for tiles in tiles {
        assert!(tiles.len() >= n, "{} blocks of a tile, {n} of the first", tiles.len());
    }
    for x in x {
        let lens = [x.values.len(), x.scales.len(), x.sums.len()];
        assert!(lens.iter().all(|&len| len >= n), "{lens:?} blocks of a token, {n} of the tiles");
    }
    let mut totals = *acc;
    for at in 0..n {
        let mut dots = [[_mm512_setzero_si512(); T]; G];
        for t in 0..T {
            let surplus = surplus(*element!(x[t].sums, at));
            for g in 0..G {
                dots[g][t] = _mm512_sub_epi32(_mm512_setzero_si512(), surplus);
            }
        }
        for k in 0..8 {
            let mut w = [_mm512_setzero_si512(); G];
            for g in 0..G {
                let fours = &element!(tiles[g], at).q[k];
                w[g] = intrinsics!(_mm512_loadu_si512(fours.as_ptr().cast()));
            }
            for t in 0..T {
                let (fours, _) = element!(x[t].values, at).as_chunks::<4>();
                let [a, b, c, d] = fours[k];
                let four = i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]);
                for g in 0..G {
                    dots[g][t] = _mm512_dpbusd_epi32(dots[g][t], w[g], _mm512_set1_epi32(four));
                }
            }
        }
        for g in 0..G {
            let d = &element!(tiles[g], at).d;
            let d = intrinsics!(_mm512_loadu_ps(d.as_ptr()));
            for t in 0..T {
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(*element!(x[t].scales, at)));
                totals[g][t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dots[g][t]), totals[g][t]);
            }
        }
    }
    *acc = totals;
}
