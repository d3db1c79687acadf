//! The scalar level: plain Rust on arrays, the definition of every word.

use std::array;

use super::{Isa, TILE_ROWS};
use crate::format::{BlockQ8_0, Tile, f16};
use crate::op::blocks;
use crate::view::Q8Token;

/// Needs no proof.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

#[inline(always)]
fn map<T: Copy, U>(x: [T; 16], f: impl Fn(T) -> U) -> [U; 16] {
    x.map(f)
}

#[inline(always)]
fn zip<T: Copy, U>(a: [T; 16], b: [T; 16], f: impl Fn(T, T) -> U) -> [U; 16] {
    array::from_fn(|lane| f(a[lane], b[lane]))
}

/// Lane i takes lane i + 8, then i + 4, i + 2, i + 1.
#[inline(always)]
fn tree<T: Copy>(mut x: [T; 16], f: impl Fn(T, T) -> T) -> T {
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            x[lane] = f(x[lane], x[lane + width]);
        }
    }
    x[0]
}

impl Isa for Scalar {
    const WIDE: bool = false;
    const BY_ROW: bool = false;
    const ARRANGED: bool = false;
    type F32 = [f32; 16];
    type I32 = [i32; 16];
    type Fours = [i32; 16];
    type Signed = [i8; 64];
    type Q8Tile = [BlockQ8_0; TILE_ROWS];
    const Q8_EMPTY: Self::Q8Tile = [BlockQ8_0 { d: [0; 2], qs: [0; 32] }; TILE_ROWS];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }
    #[inline(always)]
    fn store(self, x: [f32; 16], out: &mut [f32; 16]) {
        *out = x;
    }
    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> [f32; 16] {
        let (x, _) = x.as_chunks();
        array::from_fn(|lane| f32::from_le_bytes(x[lane]))
    }
    #[inline(always)]
    fn store_bytes(self, x: [f32; 16], out: &mut [u8; 64]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            *out = x.to_le_bytes();
        }
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32]) -> [f32; 16] {
        let (x, _) = x.as_chunks();
        array::from_fn(|lane| f16::decode(u16::from_le_bytes(x[lane])))
    }
    #[inline(always)]
    fn store_f16(self, x: [f32; 16], out: &mut [u8; 32]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            *out = f16::encode(x).to_le_bytes();
        }
    }

    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn fnma(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        array::from_fn(|lane| (-a[lane]).mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn sum(self, x: [f32; 16]) -> f32 {
        tree(x, |a, b| a + b)
    }
    #[inline(always)]
    fn sum16(self, x: &[[f32; 16]; 16]) -> [f32; 16] {
        map(*x, |x| self.sum(x))
    }
    #[inline(always)]
    fn max_lane(self, x: [f32; 16]) -> f32 {
        tree(x, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn transpose(self, x: &[[f32; 16]; 16]) -> [[f32; 16]; 16] {
        array::from_fn(|column| array::from_fn(|row| x[row][column]))
    }
    #[inline(always)]
    fn swap<const S: usize>(self, x: [f32; 16]) -> [f32; 16] {
        array::from_fn(|lane| x[lane ^ S])
    }
    #[inline(always)]
    fn deinterleave(self, low: [f32; 16], high: [f32; 16]) -> ([f32; 16], [f32; 16]) {
        let at = |place: usize| if place < 16 { low[place] } else { high[place - 16] };
        (array::from_fn(|lane| at(2 * lane)), array::from_fn(|lane| at(2 * lane + 1)))
    }
    #[inline(always)]
    fn interleave(self, even: [f32; 16], odd: [f32; 16]) -> ([f32; 16], [f32; 16]) {
        let at = |place: usize| if place.is_multiple_of(2) { even[place / 2] } else { odd[place / 2] };
        (array::from_fn(at), array::from_fn(|lane| at(lane + 16)))
    }

    #[inline(always)]
    fn bits(self, x: [f32; 16]) -> [i32; 16] {
        map(x, |x| x.to_bits().cast_signed())
    }
    #[inline(always)]
    fn with_bits(self, x: [i32; 16]) -> [f32; 16] {
        map(x, |x| f32::from_bits(x.cast_unsigned()))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> [i32; 16] {
        [x; 16]
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> [i32; 16] {
        map(*x, i32::from)
    }
    #[inline(always)]
    fn store_i8(self, x: [i32; 16], out: &mut [i8; 16]) {
        *out = map(x, |x| x as i8);
    }
    #[inline(always)]
    fn load_u16(self, x: &[u8; 32]) -> [i32; 16] {
        let (x, _) = x.as_chunks();
        array::from_fn(|lane| i32::from(u16::from_le_bytes(x[lane])))
    }
    #[inline(always)]
    fn store_u16(self, x: [i32; 16], out: &mut [u8; 32]) {
        for (x, out) in x.into_iter().zip(out.as_chunks_mut().0) {
            *out = (x as u16).to_le_bytes();
        }
    }
    #[inline(always)]
    fn add_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn max_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, i32::max)
    }
    #[inline(always)]
    fn and(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn xor(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        zip(a, b, |a, b| a ^ b)
    }
    #[inline(always)]
    fn select(self, mask: [i32; 16], a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        array::from_fn(|lane| mask[lane] & a[lane] | !mask[lane] & b[lane])
    }
    #[inline(always)]
    fn shl<const N: u32>(self, x: [i32; 16]) -> [i32; 16] {
        map(x, |x| x << N)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: [i32; 16]) -> [i32; 16] {
        map(x, |x| (x.cast_unsigned() >> N).cast_signed())
    }
    #[inline(always)]
    fn shr_signed<const N: u32>(self, x: [i32; 16]) -> [i32; 16] {
        map(x, |x| x >> N)
    }
    #[inline(always)]
    fn max_lane_i32(self, x: [i32; 16]) -> i32 {
        tree(x, i32::max)
    }
    #[inline(always)]
    fn sum_i32(self, x: [i32; 16]) -> i32 {
        tree(x, i32::wrapping_add)
    }
    #[inline(always)]
    fn round(self, x: [f32; 16]) -> [i32; 16] {
        map(x, |x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    fn truncate(self, x: [f32; 16]) -> [i32; 16] {
        map(x, |x| x as i32)
    }
    #[inline(always)]
    fn to_f32(self, x: [i32; 16]) -> [f32; 16] {
        map(x, |x| x as f32)
    }

    #[inline(always)]
    fn q8_rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> [f32; 16] {
        rows.map(|row| {
            let mut acc = 0.0_f32;
            for ((w, values), scale) in row.iter().zip(x.values).zip(x.scales) {
                acc = (w.d() * scale).mul_add(w.dot_block(values) as f32, acc);
            }
            acc
        })
    }
    #[inline(always)]
    fn q8_tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Q8Tile) {
        *tile = blocks.map(|block| *block);
    }
    #[inline(always)]
    fn q8_tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Q8Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[[f32; 16]; T]; G],
    ) {
        for (tiles, acc) in tiles.iter().zip(acc) {
            for (x, acc) in x.iter().zip(acc) {
                for ((tile, values), scale) in tiles.iter().zip(x.values).zip(x.scales) {
                    for (w, acc) in tile.iter().zip(acc.iter_mut()) {
                        *acc = (w.d() * scale).mul_add(w.dot_block(values) as f32, *acc);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn fours(self, rows: &[&[u8; 16]; TILE_ROWS]) -> [Self::I32; 4] {
        array::from_fn(|four| rows.map(|row| i32::from_le_bytes(row.as_chunks::<4>().0[four])))
    }
    #[inline(always)]
    fn begin_fours(self, acc: Self::I32) -> Self::Fours {
        acc
    }
    #[inline(always)]
    fn dot_fours(self, sums: Self::Fours, w: &[u8; 64], x: Self::I32) -> Self::Fours {
        array::from_fn(|lane| {
            let products = w.as_chunks::<4>().0[lane].into_iter().zip(x[lane].to_le_bytes());
            sums[lane].wrapping_add(products.map(|(w, x)| i32::from(w) * i32::from(x as i8)).sum())
        })
    }
    #[inline(always)]
    fn end_fours(self, _: Self::I32, sums: Self::Fours) -> Self::I32 {
        sums
    }
    #[inline(always)]
    fn load_signed(self, x: &[u8; 64]) -> Self::Signed {
        x.map(u8::cast_signed)
    }
    #[inline(always)]
    fn begin_signed(self, _: i32) -> Self::I32 {
        [0; 16]
    }
    #[inline(always)]
    fn dot_signed(self, acc: Self::I32, w: Self::Signed, x: Self::I32) -> Self::I32 {
        array::from_fn(|lane| {
            let products = w.as_chunks::<4>().0[lane].into_iter().zip(x[lane].to_le_bytes());
            acc[lane].wrapping_add(products.map(|(w, x)| i32::from(w) * i32::from(x as i8)).sum())
        })
    }
    #[inline(always)]
    fn dot_bytes(self, acc: Self::I32, w: &[u8; 64], x: Self::I32) -> Self::I32 {
        // Nothing here is summed in 16 bits.
        self.dot_fours(acc, w, x)
    }
    #[inline(always)]
    fn block_dots<const H: bool, const M: bool, const RUN: usize, const G: usize, const T: usize>(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[Self::F32; T]; G],
    ) {
        blocks::dots::<Self, H, M, RUN, G, T>(self, tiles, x, offset, acc);
    }
}
