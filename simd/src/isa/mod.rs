//! The vector vocabulary: what an op may say about 16 floats (or 16 integers) at once.
//!
//! The logical width is 64 bytes on every level, whatever the machine's registers (AVX-512 one, AVX2 two, NEON four,
//! scalar an array), so an op is written once. Every word below has one exact meaning, and the levels keep it bit for bit
//! (NaN payloads apart). Since the ops never depend on anything else, their results are equal on all levels too.
//!
//! Implementations are `#[inline(always)]` and never `#[target_feature]`; that attribute stands on the entry
//! functions which `kernels.rs` makes for each level. A new word enters only when an op or format needs it.
//!
//! Unit tests are built with the scalar level alone: what they test is the same on all, and the kernels of a machine take
//! minutes to compile. Whatever speaks of levels is tested in `tests/`, with the library that everybody uses.

#[cfg(all(target_arch = "aarch64", not(test)))]
#[allow(unsafe_code, reason = "the instruction-set files are where intrinsics live")]
pub(crate) mod arm;
mod scalar;
#[cfg(all(target_arch = "x86_64", not(test)))]
#[allow(unsafe_code, reason = "the instruction-set files are where intrinsics live")]
pub(crate) mod x86;

pub(crate) use scalar::Scalar;

use crate::format::{BlockQ8_0, QuantFormat, Tile};
use crate::op;
use crate::view::{Attend, Q8Token};
use std::ops::Range;

/// One level's instructions; a value is the proof that the machine has them.
pub(crate) trait Isa: Copy {
    /// 32 vector registers of the logical width, or one of the narrower kinds: picks register tiles.
    const WIDE: bool;
    /// A single token's products with K-quants take a row of weights at a time (`op::rows`), not 16 turned round.
    const BY_ROW: bool;
    /// `part_dots` wants activations in an order of its own: see `arrange`.
    const ARRANGED: bool;
    /// 16 floats.
    type F32: Copy;
    /// 16 integers of 32 bits; also the bits of 16 floats.
    type I32: Copy;
    /// A sum of fours under way: see `dot_fours`.
    type Fours: Copy;
    /// 64 bytes with signs: see `dot_signed`.
    type Signed: Copy;
    /// One block of [`TILE_ROWS`] Q8_0 rows, rearranged for `q8_tile_dots`.
    type Q8Tile: Copy;
    /// A tile with nothing in it.
    const Q8_EMPTY: Self::Q8Tile;

    fn splat(self, x: f32) -> Self::F32;
    fn load(self, x: &[f32; 16]) -> Self::F32;
    fn store(self, x: Self::F32, out: &mut [f32; 16]);
    /// Little-endian floats at any address.
    fn load_bytes(self, x: &[u8; 64]) -> Self::F32;
    fn store_bytes(self, x: Self::F32, out: &mut [u8; 64]);
    /// `format::f16::decode`.
    fn load_f16(self, x: &[u8; 32]) -> Self::F32;
    /// `format::f16::encode`.
    fn store_f16(self, x: Self::F32, out: &mut [u8; 32]);

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a * b + c with one rounding.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// c - a * b with one rounding.
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`: b when either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`: b when either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// The reduction tree of every sum: lane i takes lane i + 8, then i + 4, i + 2, i + 1.
    fn sum(self, x: Self::F32) -> f32;
    /// `sum` of 16 vectors; lane i of the result is the sum of vector i.
    fn sum16(self, x: &[Self::F32; 16]) -> Self::F32;
    /// The same tree with `max`, lower lane first.
    fn max_lane(self, x: Self::F32) -> f32;
    /// Rows become columns.
    fn transpose(self, x: &[Self::F32; 16]) -> [Self::F32; 16];
    /// Rows become columns, in memory.
    #[inline(always)]
    fn turn(self, rows: &[&[f32; 16]; 16], columns: &mut [[f32; 16]; 16]) {
        let mut square = [self.zero(); 16];
        for (row, square) in rows.iter().zip(&mut square) {
            *square = self.load(row);
        }
        for (column, out) in self.transpose(&square).iter().zip(columns) {
            self.store(*column, out);
        }
    }
    /// Lanes i and i ^ S change places; S is 1, 2, 4 or 8.
    fn swap<const S: usize>(self, x: Self::F32) -> Self::F32;
    /// 32 values as two vectors to (those at even places, those at odd places).
    fn deinterleave(self, low: Self::F32, high: Self::F32) -> (Self::F32, Self::F32);
    /// The way back.
    fn interleave(self, even: Self::F32, odd: Self::F32) -> (Self::F32, Self::F32);

    fn bits(self, x: Self::F32) -> Self::I32;
    fn with_bits(self, x: Self::I32) -> Self::F32;
    fn splat_i32(self, x: i32) -> Self::I32;
    fn load_i8(self, x: &[i8; 16]) -> Self::I32;
    /// The low bytes.
    fn store_i8(self, x: Self::I32, out: &mut [i8; 16]);
    /// Little-endian, zero-extended.
    fn load_u16(self, x: &[u8; 32]) -> Self::I32;
    /// The low halves.
    fn store_u16(self, x: Self::I32, out: &mut [u8; 32]);
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn and(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn or(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn xor(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bit by bit: a where the mask is 1, b where it is 0.
    fn select(self, mask: Self::I32, a: Self::I32, b: Self::I32) -> Self::I32;
    fn shl<const N: u32>(self, x: Self::I32) -> Self::I32;
    /// Zeros come in.
    fn shr<const N: u32>(self, x: Self::I32) -> Self::I32;
    /// The sign comes in.
    fn shr_signed<const N: u32>(self, x: Self::I32) -> Self::I32;
    fn max_lane_i32(self, x: Self::I32) -> i32;
    fn sum_i32(self, x: Self::I32) -> i32;
    /// Nearest integer to nearest even; the argument is below 2^31 in magnitude.
    fn round(self, x: Self::F32) -> Self::I32;
    /// Towards zero; the argument is below 2^31 in magnitude.
    fn truncate(self, x: Self::F32) -> Self::I32;
    fn to_f32(self, x: Self::I32) -> Self::F32;

    /// [`TILE_ROWS`] Q8_0 rows times one token; the rows may repeat, all have as many blocks as the token. Lane r:
    /// for each block in order, `acc = fma(d_w * d_x, (exact integer sum) as f32, acc)`, from zero.
    fn q8_rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> Self::F32;
    /// Rearranges one block of 16 rows.
    fn q8_tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Q8Tile);
    /// `q8_rows`, continued: `acc[g][t]` for G groups of rows, whose blocks are `tiles[g]`, and T tokens. All have
    /// the same number of blocks.
    fn q8_tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Q8Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[Self::F32; T]; G],
    );

    /// 16 bytes of 16 rows, turned round: lane r of vector k holds bytes 4k..4k+4 of row r, little-endian.
    fn fours(self, rows: &[&[u8; 16]; TILE_ROWS]) -> [Self::I32; 4];
    /// Begins a run of `dot_fours` on top of `acc`.
    fn begin_fours(self, acc: Self::I32) -> Self::Fours;
    /// Each lane: plus the sum of four products of unsigned bytes, at most 127 each, with the lane's signed bytes; wraps. A
    /// run may be as long as two products of each step, all steps together, stay below 2^15: levels without a 32-bit dot
    /// product of bytes sum pairs in 16 bits and widen them once a run.
    fn dot_fours(self, sums: Self::Fours, w: &[u8; 64], x: Self::I32) -> Self::Fours;
    /// `acc`, the one that the run began with, and the run's sums.
    fn end_fours(self, acc: Self::I32, sums: Self::Fours) -> Self::I32;
    /// Bytes ready for `dot_signed`, which multiplies them more than once.
    fn load_signed(self, x: &[u8; 64]) -> Self::Signed;
    /// Begins a sum of `dot_signed`: `sum` is the sum of all second factors that a lane will meet.
    fn begin_signed(self, sum: i32) -> Self::I32;
    /// Each lane: plus the sum of four products of signed bytes; wraps. No second factor is -128.
    fn dot_signed(self, acc: Self::I32, w: Self::Signed, x: Self::I32) -> Self::I32;
    /// Each lane: `acc` plus the sum of four products of unsigned bytes, of any size, with the lane's signed bytes; wraps.
    fn dot_bytes(self, acc: Self::I32, w: &[u8; 64], x: Self::I32) -> Self::I32;
    /// `op::blocks::dots`, once for each level and kind of format and not once for each format.
    fn block_dots<const HALVES: bool, const MINS: bool, const RUN: usize, const G: usize, const T: usize>(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[Self::F32; T]; G],
    );

    /// Four parts of 32 bytes, those of `first` and then those of `second`, in two vectors: which byte lies where is the
    /// level's own affair. Words on bytes act on all four parts alike, `shr_parts` on each as it says, and `put_parts`
    /// takes them.
    #[inline(always)]
    fn split(self, first: &[u8; 64], second: &[u8; 64]) -> [Self::I32; 2] {
        [self.bits(self.load_bytes(first)), self.bits(self.load_bytes(second))]
    }
    /// The parts a, a, b, b.
    #[inline(always)]
    fn split_twice(self, a: &[u8; 32], b: &[u8; 32]) -> [Self::I32; 2] {
        self.split(bytemuck::cast_ref(&[*a; 2]), bytemuck::cast_ref(&[*b; 2]))
    }
    /// `shr` of each of the four parts by its own number of bits.
    #[inline(always)]
    fn shr_parts<const A: u32, const B: u32, const C: u32, const D: u32>(
        self,
        [first, second]: [Self::I32; 2],
    ) -> [Self::I32; 2] {
        let mut upper = [0; 64];
        upper[32..].fill(0xff);
        let upper = self.bits(self.load_bytes(&upper));
        [
            self.select(upper, self.shr::<B>(first), self.shr::<A>(first)),
            self.select(upper, self.shr::<D>(second), self.shr::<C>(second)),
        ]
    }
    /// Stores the group of four parts that `F::ORDER` names.
    #[inline(always)]
    fn put_parts<F: QuantFormat>(self, group: usize, parts: [Self::I32; 2], q: &mut [[u8; 32]; 16]) {
        for (parts, order) in parts.into_iter().zip(F::ORDER[group].as_chunks::<2>().0) {
            let mut bytes = [0; 64];
            self.store_bytes(self.with_bits(parts), &mut bytes);
            q[order[0]].copy_from_slice(&bytes[..32]);
            q[order[1]].copy_from_slice(&bytes[32..]);
        }
    }
    /// The activations of 16 parts as `part_dots` wants them, once for all rows.
    #[inline(always)]
    fn arrange<F: QuantFormat>(self, x: &[[i8; 32]; 16], out: &mut [[i8; 32]; 16]) {
        *out = *x;
    }
    /// The exact sums of products of 16 parts of 32 columns that `put_parts` stored, one a lane: of all columns in the first
    /// place, or of columns 0..16 and 16..32 (`F::HALVES`). `x`: the activations, arranged where `ARRANGED` says so;
    /// none is -128.
    #[inline(always)]
    fn part_dots<F: QuantFormat>(self, q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [Self::I32; 2] {
        let mut dots = [[[0; 4]; 16]; 2];
        for (lane, (q, x)) in q.iter().zip(x).enumerate() {
            for (half, (q, x)) in q.as_chunks::<16>().0.iter().zip(x.as_chunks::<16>().0).enumerate() {
                let dot: i32 = q.iter().zip(x).map(|(&q, &x)| i32::from(q) * i32::from(x)).sum();
                let sums = &mut dots[if F::HALVES { half } else { 0 }][lane];
                *sums = (i32::from_le_bytes(*sums) + dot).to_le_bytes();
            }
        }
        dots.map(|lanes| {
            let bytes = lanes.as_flattened().first_chunk().expect("64 bytes");
            self.bits(self.load_bytes(bytes))
        })
    }
    /// The bytes of two words as lanes, zero-extended.
    #[inline(always)]
    fn widen_bytes(self, low: u64, high: u64) -> Self::I32 {
        let mut lanes = [0; 64];
        for (byte, lane) in
            [low.to_le_bytes(), high.to_le_bytes()].as_flattened().iter().zip(lanes.chunks_exact_mut(4))
        {
            lane[0] = *byte;
        }
        self.bits(self.load_bytes(&lanes))
    }
    /// Asks for the cache line `at` bytes on, which may lie behind the end.
    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _at: usize) {}
    /// `prefetch` into the second-level cache.
    #[inline(always)]
    fn prefetch_far(self, _bytes: &[u8], _at: usize) {}
    /// The 16-bit float `low` in lanes 0..8, `high` in the others.
    #[inline(always)]
    fn splat_f16_halves(self, low: [u8; 2], high: [u8; 2]) -> Self::F32 {
        let mut lanes = [low; 16];
        lanes[8..].fill(high);
        self.load_f16(lanes.as_flattened().first_chunk().expect("32 bytes"))
    }

    /// A segment of attention over BF16 rows, with products of BF16 where the machine has them.
    #[inline(always)]
    fn attend_pairs(self, a: Attend<'_>, places: Range<usize>, scratch: &mut [f32], part: &mut [f32]) {
        op::float_pairs(self, a, places, scratch, part);
    }

    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }

    /// Up to 16 values, zeros behind them.
    #[inline(always)]
    fn load_part(self, x: &[f32]) -> Self::F32 {
        let mut padded = [0.0; 16];
        padded[..x.len()].copy_from_slice(x);
        self.load(&padded)
    }

    /// The first `out.len()` lanes, up to 16.
    #[inline(always)]
    fn store_part(self, x: Self::F32, out: &mut [f32]) {
        let mut padded = [0.0; 16];
        self.store(x, &mut padded);
        out.copy_from_slice(&padded[..out.len()]);
    }
}

/// A buffer that begins where a cache line does, so that no vector in it lies across two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Aligned<T>(pub(crate) T);

/// Rows in a Q8_0 tile: one per lane.
pub(crate) const TILE_ROWS: usize = 16;
