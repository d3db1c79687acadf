//! NEON: four registers make the logical width, the lower lanes first.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{Isa, TILE_ROWS};
use super::four::{
    fma4, fnma4, fold4, load_bytes4, load_f16_4, load_u16_4, load4, max4, min4, select4, shift_signed4,
    shift4, store_bytes4, store_f16_4, store_u16_4, store4, sum_four, swap_twos, transpose_f32,
    usdot_by_sdot,
};
use super::{intrinsics, load, parts, q8, sdot, transpose4, usdot};
use crate::format::{BlockQ8_0, QuantFormat, Tile};
use crate::op::blocks;
use crate::view::Q8Token;

/// Proof that the machine has dot products of bytes, and with `I8MM` their matrix products too.
#[derive(Clone, Copy)]
pub(crate) struct Words<const I8MM: bool> {
    _made_by_here: (),
}

impl Words<false> {
    /// Can be called where the features are enabled, which is the proof.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    pub(crate) fn here() -> Self {
        Self { _made_by_here: () }
    }
}

impl Words<true> {
    /// The same.
    #[target_feature(enable = "neon,dotprod,i8mm")]
    #[inline]
    pub(crate) fn here() -> Self {
        Self { _made_by_here: () }
    }
}

pub(super) type F32 = [float32x4_t; 4];
pub(super) type I32 = [int32x4_t; 4];

/// Applies a function to each of the four registers, or to what each of them is made of.
macro_rules! each {
    ($op:path, &$x:ident) => {
        intrinsics!([$op(&$x[0]), $op(&$x[1]), $op(&$x[2]), $op(&$x[3])])
    };
    ($op:path, $($x:ident),+) => {
        intrinsics!([$op($($x[0]),+), $op($($x[1]),+), $op($($x[2]),+), $op($($x[3]),+)])
    };
}

impl<const I8MM: bool> Isa for Words<I8MM> {
    // 32 registers, but of a quarter of the logical width: as many bytes as 16 of half of it.
    const WIDE: bool = false;
    const BY_ROW: bool = true;
    const ARRANGED: bool = false;
    type F32 = F32;
    type I32 = I32;
    type Fours = I32;
    type Signed = [int8x16_t; 4];
    type Q8Tile = q8::Tile;
    const Q8_EMPTY: Self::Q8Tile = q8::Tile::EMPTY;

    #[inline(always)]
    fn splat(self, x: f32) -> F32 {
        intrinsics!([vdupq_n_f32(x); 4])
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> F32 {
        let (x, _) = x.as_chunks();
        each!(load4, &x)
    }
    #[inline(always)]
    fn store(self, x: F32, out: &mut [f32; 16]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            intrinsics!(store4(x, out));
        }
    }
    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> F32 {
        let (x, _) = x.as_chunks();
        each!(load_bytes4, &x)
    }
    #[inline(always)]
    fn store_bytes(self, x: F32, out: &mut [u8; 64]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            intrinsics!(store_bytes4(x, out));
        }
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32]) -> F32 {
        let (x, _) = x.as_chunks();
        each!(load_f16_4, &x)
    }
    #[inline(always)]
    fn store_f16(self, x: F32, out: &mut [u8; 32]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            intrinsics!(store_f16_4(x, out));
        }
    }

    #[inline(always)]
    fn add(self, a: F32, b: F32) -> F32 {
        each!(vaddq_f32, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F32, b: F32) -> F32 {
        each!(vsubq_f32, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F32, b: F32) -> F32 {
        each!(vmulq_f32, a, b)
    }
    #[inline(always)]
    fn div(self, a: F32, b: F32) -> F32 {
        each!(vdivq_f32, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F32, b: F32, c: F32) -> F32 {
        each!(fma4, a, b, c)
    }
    #[inline(always)]
    fn fnma(self, a: F32, b: F32, c: F32) -> F32 {
        each!(fnma4, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: F32, b: F32) -> F32 {
        each!(max4, a, b)
    }
    #[inline(always)]
    fn min(self, a: F32, b: F32) -> F32 {
        each!(min4, a, b)
    }

    #[inline(always)]
    fn sum(self, x: F32) -> f32 {
        intrinsics!({
            let x = fold4(x);
            let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
            vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
        })
    }
    #[inline(always)]
    fn sum16(self, x: &[F32; 16]) -> F32 {
        let (x, _) = x.as_chunks();
        each!(sum_four, &x)
    }
    #[inline(always)]
    fn max_lane(self, x: F32) -> f32 {
        intrinsics!({
            let x = max4(max4(x[0], x[2]), max4(x[1], x[3]));
            let x = max4(x, swap_twos(x));
            vgetq_lane_f32::<0>(max4(x, vrev64q_f32(x)))
        })
    }
    #[inline(always)]
    fn transpose(self, x: &[F32; 16]) -> [F32; 16] {
        let mut out = [self.zero(); 16];
        for row in 0..4 {
            for column in 0..4 {
                let [a, b, c, d] = [x[4 * row], x[4 * row + 1], x[4 * row + 2], x[4 * row + 3]];
                let square = intrinsics!(transpose_f32(a[column], b[column], c[column], d[column]));
                for at in 0..4 {
                    out[4 * column + at][row] = square[at];
                }
            }
        }
        out
    }
    #[inline(always)]
    fn turn(self, rows: &[&[f32; 16]; 16], columns: &mut [[f32; 16]; 16]) {
        // A sixteenth at a time fits into the registers.
        for (down, [a, b, c, d]) in rows.as_chunks::<4>().0.iter().enumerate() {
            let squares =
                a.as_chunks().0.iter().zip(b.as_chunks().0).zip(c.as_chunks().0).zip(d.as_chunks().0);
            for ((((a, b), c), d), columns) in squares.zip(columns.as_chunks_mut::<4>().0) {
                intrinsics!({
                    let square = transpose_f32(load4(a), load4(b), load4(c), load4(d));
                    for (x, column) in square.into_iter().zip(columns) {
                        store4(x, &mut column.as_chunks_mut().0[down]);
                    }
                });
            }
        }
    }
    #[inline(always)]
    fn swap<const S: usize>(self, x: F32) -> F32 {
        match S {
            1 => each!(vrev64q_f32, x),
            2 => each!(swap_twos, x),
            4 => [x[1], x[0], x[3], x[2]],
            8 => [x[2], x[3], x[0], x[1]],
            _ => unreachable!("lanes {S} apart"),
        }
    }
    #[inline(always)]
    fn deinterleave(self, low: F32, high: F32) -> (F32, F32) {
        let (a, b) = ([low[0], low[2], high[0], high[2]], [low[1], low[3], high[1], high[3]]);
        (each!(vuzp1q_f32, a, b), each!(vuzp2q_f32, a, b))
    }
    #[inline(always)]
    fn interleave(self, even: F32, odd: F32) -> (F32, F32) {
        let (low, high) = (each!(vzip1q_f32, even, odd), each!(vzip2q_f32, even, odd));
        ([low[0], high[0], low[1], high[1]], [low[2], high[2], low[3], high[3]])
    }

    #[inline(always)]
    fn bits(self, x: F32) -> I32 {
        each!(vreinterpretq_s32_f32, x)
    }
    #[inline(always)]
    fn with_bits(self, x: I32) -> F32 {
        each!(vreinterpretq_f32_s32, x)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> I32 {
        intrinsics!([vdupq_n_s32(x); 4])
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> I32 {
        intrinsics!({
            let x = load(x);
            let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ]
        })
    }
    #[inline(always)]
    fn store_i8(self, x: I32, out: &mut [i8; 16]) {
        let [a, b, c, d] = each!(vreinterpretq_s16_s32, x);
        intrinsics!({
            let (low, high) = (vuzp1q_s16(a, b), vuzp1q_s16(c, d));
            let bytes = vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high));
            vst1q_s8(out.as_mut_ptr(), bytes);
        });
    }
    #[inline(always)]
    fn load_u16(self, x: &[u8; 32]) -> I32 {
        let (x, _) = x.as_chunks();
        each!(load_u16_4, &x)
    }
    #[inline(always)]
    fn store_u16(self, x: I32, out: &mut [u8; 32]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            intrinsics!(store_u16_4(x, out));
        }
    }
    #[inline(always)]
    fn add_i32(self, a: I32, b: I32) -> I32 {
        each!(vaddq_s32, a, b)
    }
    #[inline(always)]
    fn sub_i32(self, a: I32, b: I32) -> I32 {
        each!(vsubq_s32, a, b)
    }
    #[inline(always)]
    fn max_i32(self, a: I32, b: I32) -> I32 {
        each!(vmaxq_s32, a, b)
    }
    #[inline(always)]
    fn and(self, a: I32, b: I32) -> I32 {
        each!(vandq_s32, a, b)
    }
    #[inline(always)]
    fn or(self, a: I32, b: I32) -> I32 {
        each!(vorrq_s32, a, b)
    }
    #[inline(always)]
    fn xor(self, a: I32, b: I32) -> I32 {
        each!(veorq_s32, a, b)
    }
    #[inline(always)]
    fn select(self, mask: I32, a: I32, b: I32) -> I32 {
        each!(select4, mask, a, b)
    }
    #[inline(always)]
    fn shl<const N: u32>(self, x: I32) -> I32 {
        let n = [N.cast_signed(); 4];
        each!(shift4, x, n)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: I32) -> I32 {
        let n = [-N.cast_signed(); 4];
        each!(shift4, x, n)
    }
    #[inline(always)]
    fn shr_signed<const N: u32>(self, x: I32) -> I32 {
        let n = [-N.cast_signed(); 4];
        each!(shift_signed4, x, n)
    }
    #[inline(always)]
    fn max_lane_i32(self, x: I32) -> i32 {
        intrinsics!(vmaxvq_s32(vmaxq_s32(vmaxq_s32(x[0], x[1]), vmaxq_s32(x[2], x[3]))))
    }
    #[inline(always)]
    fn sum_i32(self, x: I32) -> i32 {
        intrinsics!(vaddvq_s32(vaddq_s32(vaddq_s32(x[0], x[1]), vaddq_s32(x[2], x[3]))))
    }
    #[inline(always)]
    fn round(self, x: F32) -> I32 {
        each!(vcvtnq_s32_f32, x)
    }
    #[inline(always)]
    fn truncate(self, x: F32) -> I32 {
        each!(vcvtq_s32_f32, x)
    }
    #[inline(always)]
    fn to_f32(self, x: I32) -> F32 {
        each!(vcvtq_f32_s32, x)
    }

    #[inline(always)]
    fn q8_rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32 {
        intrinsics!(q8::rows(rows, x))
    }
    #[inline(always)]
    fn q8_tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Q8Tile) {
        intrinsics!(q8::tile(self, blocks, tile));
    }
    #[inline(always)]
    fn q8_tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Q8Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[F32; T]; G],
    ) {
        q8::tile_dots(self, tiles, x, acc);
    }

    #[inline(always)]
    fn fours(self, rows: &[&[u8; 16]; TILE_ROWS]) -> [I32; 4] {
        let mut out = [self.splat_i32(0); 4];
        for (at, [a, b, c, d]) in rows.as_chunks::<4>().0.iter().enumerate() {
            let columns = intrinsics!(transpose4(
                vreinterpretq_s32_s8(load(a)),
                vreinterpretq_s32_s8(load(b)),
                vreinterpretq_s32_s8(load(c)),
                vreinterpretq_s32_s8(load(d)),
            ));
            for four in 0..4 {
                out[four][at] = columns[four];
            }
        }
        out
    }
    #[inline(always)]
    fn begin_fours(self, acc: I32) -> I32 {
        acc
    }
    #[inline(always)]
    fn dot_fours(self, sums: I32, w: &[u8; 64], x: I32) -> I32 {
        // At most 127: bytes with and without signs are the same.
        self.dot_signed(sums, self.load_signed(w), x)
    }
    #[inline(always)]
    fn end_fours(self, _: I32, sums: I32) -> I32 {
        sums
    }
    #[inline(always)]
    fn load_signed(self, x: &[u8; 64]) -> Self::Signed {
        let (x, _) = x.as_chunks();
        each!(load, &x)
    }
    #[inline(always)]
    fn begin_signed(self, _: i32) -> I32 {
        self.splat_i32(0)
    }
    #[inline(always)]
    fn dot_signed(self, acc: I32, w: Self::Signed, x: I32) -> I32 {
        let x = each!(vreinterpretq_s8_s32, x);
        each!(sdot, acc, w, x)
    }
    #[inline(always)]
    fn dot_bytes(self, acc: I32, w: &[u8; 64], x: I32) -> I32 {
        let (w, x) = (self.load_signed(w), each!(vreinterpretq_s8_s32, x));
        if I8MM { each!(usdot, acc, w, x) } else { each!(usdot_by_sdot, acc, w, x) }
    }
    #[inline(always)]
    fn part_dots<F: QuantFormat>(self, q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [I32; 2] {
        parts::dots::<F>(q, x)
    }
    #[inline(always)]
    fn split_twice(self, a: &[u8; 32], b: &[u8; 32]) -> [I32; 2] {
        intrinsics!(parts::split_twice(a, b))
    }
    #[inline(always)]
    fn shr_parts<const A: u32, const B: u32, const C: u32, const D: u32>(
        self,
        [first, second]: [I32; 2],
    ) -> [I32; 2] {
        let [a, b, c, d] = [A, B, C, D].map(|n| -n.cast_signed());
        let (ab, cd) = ([a, a, b, b], [c, c, d, d]);
        [each!(shift4, first, ab), each!(shift4, second, cd)]
    }
    #[inline(always)]
    fn put_parts<F: QuantFormat>(self, group: usize, parts: [I32; 2], q: &mut [[u8; 32]; 16]) {
        parts::put::<F>(group, parts, q);
    }
    #[inline(always)]
    fn widen_bytes(self, low: u64, high: u64) -> I32 {
        let lanes = intrinsics!({
            let (low, high) = (vmovl_u8(vcreate_u8(low)), vmovl_u8(vcreate_u8(high)));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_high_u16(low),
                vmovl_u16(vget_low_u16(high)),
                vmovl_high_u16(high),
            ]
        });
        each!(vreinterpretq_s32_u32, lanes)
    }
    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        // Whatever the address, this reads nothing and cannot fault.
        let line = bytes.as_ptr().wrapping_add(at);
        intrinsics!(
            asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(readonly, nostack, preserves_flags))
        );
    }
    #[inline(always)]
    fn prefetch_far(self, bytes: &[u8], at: usize) {
        let line = bytes.as_ptr().wrapping_add(at);
        intrinsics!(
            asm!("prfm pldl2keep, [{line}]", line = in(reg) line, options(readonly, nostack, preserves_flags))
        );
    }
    #[inline(always)]
    fn splat_f16_halves(self, low: [u8; 2], high: [u8; 2]) -> F32 {
        let halves: [[u8; 8]; 4] = bytemuck::cast([[low; 4], [low; 4], [high; 4], [high; 4]]);
        each!(load_f16_4, &halves)
    }
    #[inline(always)]
    fn block_dots<const H: bool, const M: bool, const RUN: usize, const G: usize, const T: usize>(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[F32; T]; G],
    ) {
        /// Out of line, with the features named once more.
        macro_rules! out_of_line {
            ($features:literal) => {{
                #[target_feature(enable = $features)]
                #[inline(never)]
                fn dots<
                    const I8MM: bool,
                    const H: bool,
                    const M: bool,
                    const RUN: usize,
                    const G: usize,
                    const T: usize,
                >(
                    isa: Words<I8MM>,
                    tiles: &[&[Tile]; G],
                    x: &[Q8Token<'_>; T],
                    offset: i32,
                    acc: &mut [[F32; T]; G],
                ) {
                    blocks::dots::<Words<I8MM>, H, M, RUN, G, T>(isa, tiles, x, offset, acc);
                }
                intrinsics!(dots::<I8MM, H, M, RUN, G, T>(self, tiles, x, offset, acc))
            }};
        }
        if I8MM { out_of_line!("neon,dotprod,i8mm") } else { out_of_line!("neon,dotprod") }
    }
}
