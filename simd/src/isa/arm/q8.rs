//! Q8_0 products on Arm: SDOT takes bytes with signs on both sides, -128 among them, and sums fours into 32 bits without
//! saturation, so weights stay as they are. With i8mm a tile meets two tokens at once by SMMLA, which multiplies twice as
//! many bytes.
//!
//! Rows go four at a time, each a stream of its own: their sums become the lanes of one register by three additions of
//! neighbours. Nothing is asked for ahead, as x86 does: what it would win or cost has to be measured on a machine.

use std::arch::aarch64::*;

use super::super::{Isa, TILE_ROWS};
use super::neon::{F32, I32, Words};
use super::{intrinsics, load, load_two, sdot, sdot_lane, smmla, sum_four, transpose4};
use crate::format::BlockQ8_0;
use crate::view::Q8Token;

/// One block of 16 rows, and the rows' scales. For SDOT `q[4 k + f]` holds bytes 4k..4k+4 of rows 4f..4f+4; for SMMLA
/// `q[8 e + p]` bytes 8e..8e+8 of rows 2p and 2p+1.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    q: [[i8; 16]; 32],
    d: [f32; 16],
}

impl Tile {
    pub(crate) const EMPTY: Self = Self { q: [[0; 16]; 32], d: [0.0; 16] };

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn put(&mut self, at: usize, q: int8x16_t) {
        intrinsics!(vst1q_s8(self.q[at].as_mut_ptr(), q));
    }
}

/// See `Isa::q8_rows`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn rows(rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32 {
    let (rows, _) = rows.as_chunks();
    [four_rows(&rows[0], x), four_rows(&rows[1], x), four_rows(&rows[2], x), four_rows(&rows[3], x)]
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn four_rows([a, b, c, d]: &[&[BlockQ8_0]; 4], x: Q8Token<'_>) -> float32x4_t {
    let mut acc = vdupq_n_f32(0.0);
    let blocks = a.iter().zip(*b).zip(c.iter().zip(*d));
    for (((a, b), (c, d)), (values, scale)) in blocks.zip(x.values.iter().zip(x.scales)) {
        let x = load_two(values);
        let (a_dot, b_dot) = (dot_block(&a.qs, x), dot_block(&b.qs, x));
        let isum = sum_four(a_dot, b_dot, dot_block(&c.qs, x), dot_block(&d.qs, x));
        let d = vcreate_u16(u64::from_le_bytes(bytemuck::cast([a.d, b.d, c.d, d.d])));
        let scale = vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(d)), *scale);
        acc = vfmaq_f32(acc, scale, vcvtq_f32_s32(isum));
    }
    acc
}

/// The products of one row, summed to four.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_block(w: &[i8; 32], x: [int8x16_t; 2]) -> int32x4_t {
    let w = load_two(w);
    sdot(sdot(vdupq_n_s32(0), w[0], x[0]), w[1], x[1])
}

/// See `Isa::q8_tile`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn tile<const I8MM: bool>(isa: Words<I8MM>, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Tile) {
    if I8MM {
        for (pair, [a, b]) in blocks.as_chunks::<2>().0.iter().enumerate() {
            let (a, b) = (load_two(&a.qs), load_two(&b.qs));
            for half in 0..2 {
                let [first, second] = zip_eights(a[half], b[half]);
                tile.put(16 * half + pair, first);
                tile.put(16 * half + 8 + pair, second);
            }
        }
    } else {
        for (four, [a, b, c, d]) in blocks.as_chunks::<4>().0.iter().enumerate() {
            let (a, b, c, d) = (load_two(&a.qs), load_two(&b.qs), load_two(&c.qs), load_two(&d.qs));
            for half in 0..2 {
                let (a, b) = (vreinterpretq_s32_s8(a[half]), vreinterpretq_s32_s8(b[half]));
                let (c, d) = (vreinterpretq_s32_s8(c[half]), vreinterpretq_s32_s8(d[half]));
                for (k, q) in transpose4(a, b, c, d).into_iter().enumerate() {
                    tile.put(16 * half + 4 * k + four, vreinterpretq_s8_s32(q));
                }
            }
        }
    }
    let mut d = [0; 32];
    for (block, d) in blocks.iter().zip(d.as_chunks_mut().0) {
        *d = block.d;
    }
    isa.store(isa.load_f16(&d), &mut tile.d);
}

/// Bytes 0..8 of both, and bytes 8..16 of both.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn zip_eights(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
    [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
}

/// See `Isa::q8_tile_dots`.
#[inline(always)]
pub(super) fn tile_dots<const I8MM: bool, const G: usize, const T: usize>(
    isa: Words<I8MM>,
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    acc: &mut [[F32; T]; G],
) {
    for (tiles, acc) in tiles.iter().zip(acc) {
        let mut tokens = *x;
        for token in &mut tokens {
            *token = token.part(0..tiles.len());
        }
        let mut totals = *acc;
        for (at, tile) in tiles.iter().enumerate() {
            let dots = intrinsics!(if I8MM { squares(tile, &tokens, at) } else { fours(tile, &tokens, at) });
            let d = isa.load(&tile.d);
            for t in 0..T {
                let scale = isa.mul(d, isa.splat(tokens[t].scales[at]));
                totals[t] = isa.fma(scale, isa.to_f32(dots[t]), totals[t]);
            }
        }
        *acc = totals;
    }
}

/// Block `at` of some tokens.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn load_tokens<const T: usize>(x: &[Q8Token<'_>; T], at: usize) -> [[int8x16_t; 2]; T] {
    let mut values = [[vdupq_n_s8(0); 2]; T];
    for t in 0..T {
        values[t] = load_two(&x[t].values[at]);
    }
    values
}

/// The products of a tile with block `at` of the tokens by SDOT.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn fours<const T: usize>(tile: &Tile, x: &[Q8Token<'_>; T], at: usize) -> [I32; T] {
    let values = load_tokens(x, at);
    let mut dots = [[vdupq_n_s32(0); 4]; T];
    for half in 0..2 {
        let mut x = [vdupq_n_s8(0); T];
        for t in 0..T {
            x[t] = values[t][half];
        }
        let (q, _) = tile.q[16 * half..16 * half + 16].as_chunks();
        four::<0, T>(&q[0], x, &mut dots);
        four::<1, T>(&q[1], x, &mut dots);
        four::<2, T>(&q[2], x, &mut dots);
        four::<3, T>(&q[3], x, &mut dots);
    }
    dots
}

/// Four bytes of each row with those in one lane of the tokens.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn four<const LANE: usize, const T: usize>(q: &[[i8; 16]; 4], x: [int8x16_t; T], dots: &mut [I32; T]) {
    for rows in 0..4 {
        let w = load(&q[rows]);
        for t in 0..T {
            dots[t][rows] = sdot_lane::<LANE>(dots[t][rows], w, x[t]);
        }
    }
}

/// The same by SMMLA: two rows and two tokens make a square.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
fn squares<const T: usize>(tile: &Tile, x: &[Q8Token<'_>; T], at: usize) -> [I32; T] {
    let values = load_tokens(x, at);
    // As many pairs as tokens, of which half are used; an odd token is its own neighbour.
    let n_pairs = T.div_ceil(2);
    let mut sums = [[vdupq_n_s32(0); 8]; T];
    for half in 0..2 {
        let mut x = [[vdupq_n_s8(0); 2]; T];
        for pair in 0..n_pairs {
            x[pair] = zip_eights(values[2 * pair][half], values[(2 * pair + 1).min(T - 1)][half]);
        }
        for eight in 0..2 {
            for rows in 0..8 {
                let w = load(&tile.q[16 * half + 8 * eight + rows]);
                for pair in 0..n_pairs {
                    sums[pair][rows] = smmla(sums[pair][rows], w, x[pair][eight]);
                }
            }
        }
    }
    let mut dots = [[vdupq_n_s32(0); 4]; T];
    for t in 0..T {
        for rows in 0..4 {
            let (low, high) = (sums[t / 2][2 * rows], sums[t / 2][2 * rows + 1]);
            dots[t][rows] = if t % 2 == 0 { vuzp1q_s32(low, high) } else { vuzp2q_s32(low, high) };
        }
    }
    dots
}
