//! AVX-512 with F, BW, VL, DQ, VNNI and VBMI: one register is the logical width.

use std::arch::x86_64::*;

use super::super::{Isa, TILE_ROWS};
use super::intrinsics;
use super::{avx512_bf16, avx512_parts, avx512_q8};
use crate::format::{BlockQ8_0, QuantFormat, Tile};
use crate::op::{self, blocks};
use crate::view::{Attend, Q8Token};
use std::ops::Range;

/// Proof that the machine has this level's instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx512 {
    _made_by_here: (),
}

impl Avx512 {
    /// Can be called where the features are enabled, which is the proof.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
    #[inline]
    pub(crate) fn here() -> Self {
        Self { _made_by_here: () }
    }
}

/// Blocks of four lanes: [a0, a2, b0, b2] and [a1, a3, b1, b3].
#[target_feature(enable = "avx512f")]
#[inline]
fn even_odd_blocks(a: __m512, b: __m512) -> (__m512, __m512) {
    (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
}

/// Pairs of lanes in each block: [a01, b01] and [a23, b23].
#[target_feature(enable = "avx512f")]
#[inline]
fn low_high_pairs(a: __m512, b: __m512) -> (__m512, __m512) {
    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
    (_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)))
}

/// The tree of `Isa::sum` on 16 vectors at once. Four steps halve the number of vectors; the order in which they
/// meet puts vector i's sum into lane i.
#[target_feature(enable = "avx512f")]
#[inline]
fn sum16(x: &[__m512; 16]) -> __m512 {
    let mut eights = [_mm512_setzero_ps(); 8];
    for (at, sums) in eights.iter_mut().enumerate() {
        // Vectors 0 4, 8 12, 1 5, 9 13, ...
        let first = at / 2 + at % 2 * 8;
        let (a, b) = (x[first], x[first + 4]);
        let low = _mm512_shuffle_f32x4::<0x44>(a, b);
        let high = _mm512_shuffle_f32x4::<0xee>(a, b);
        *sums = _mm512_add_ps(low, high);
    }
    let mut fours = [_mm512_setzero_ps(); 4];
    for (at, sums) in fours.iter_mut().enumerate() {
        let (low, high) = even_odd_blocks(eights[2 * at], eights[2 * at + 1]);
        *sums = _mm512_add_ps(low, high);
    }
    let mut twos = [_mm512_setzero_ps(); 2];
    for (at, sums) in twos.iter_mut().enumerate() {
        let (low, high) = low_high_pairs(fours[2 * at], fours[2 * at + 1]);
        *sums = _mm512_add_ps(low, high);
    }
    let low = _mm512_shuffle_ps::<0x88>(twos[0], twos[1]);
    let high = _mm512_shuffle_ps::<0xdd>(twos[0], twos[1]);
    _mm512_add_ps(low, high)
}

/// Rows become columns: within blocks of 4 by 4 first, then the blocks.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(x: &[__m512; 16]) -> [__m512; 16] {
    let mut inner = [_mm512_setzero_ps(); 16];
    for four in 0..4 {
        let [a, b, c, d] = [x[4 * four], x[4 * four + 1], x[4 * four + 2], x[4 * four + 3]];
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        (inner[4 * four], inner[4 * four + 1]) = low_high_pairs(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        (inner[4 * four + 2], inner[4 * four + 3]) = low_high_pairs(ab, cd);
    }
    let mut out = [_mm512_setzero_ps(); 16];
    for column in 0..4 {
        let (even_top, odd_top) = even_odd_blocks(inner[column], inner[4 + column]);
        let (even_bottom, odd_bottom) = even_odd_blocks(inner[8 + column], inner[12 + column]);
        (out[column], out[8 + column]) = even_odd_blocks(even_top, even_bottom);
        (out[4 + column], out[12 + column]) = even_odd_blocks(odd_top, odd_bottom);
    }
    out
}

/// Folds eight lanes to one: i takes i + 4, i + 2, i + 1.
macro_rules! fold {
    ($x:expr, $op128:ident) => {{
        let x = $x;
        let x = $op128(_mm512_castps512_ps128(x), _mm512_extractf32x4_ps::<1>(x));
        let x = $op128(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32($op128(x, _mm_movehdup_ps(x)))
    }};
}

impl Isa for Avx512 {
    const WIDE: bool = true;
    const BY_ROW: bool = true;
    const ARRANGED: bool = true;
    type F32 = __m512;
    type I32 = __m512i;
    type Fours = __m512i;
    type Signed = __m512i;
    type Q8Tile = avx512_q8::Tile;
    const Q8_EMPTY: Self::Q8Tile = avx512_q8::Tile::EMPTY;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> __m512 {
        intrinsics!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn store(self, x: __m512, out: &mut [f32; 16]) {
        intrinsics!(_mm512_storeu_ps(out.as_mut_ptr(), x));
    }
    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> __m512 {
        intrinsics!(_mm512_loadu_ps(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn store_bytes(self, x: __m512, out: &mut [u8; 64]) {
        intrinsics!(_mm512_storeu_ps(out.as_mut_ptr().cast(), x));
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32]) -> __m512 {
        intrinsics!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_f16(self, x: __m512, out: &mut [u8; 32]) {
        intrinsics!({
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
        });
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics!(_mm512_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        intrinsics!({
            let x = _mm512_add_ps(x, _mm512_shuffle_f32x4::<0xee>(x, x));
            fold!(x, _mm_add_ps)
        })
    }
    #[inline(always)]
    fn sum16(self, x: &[__m512; 16]) -> __m512 {
        intrinsics!(sum16(x))
    }
    #[inline(always)]
    fn max_lane(self, x: __m512) -> f32 {
        intrinsics!({
            let x = _mm512_max_ps(x, _mm512_shuffle_f32x4::<0xee>(x, x));
            fold!(x, _mm_max_ps)
        })
    }
    #[inline(always)]
    fn transpose(self, x: &[__m512; 16]) -> [__m512; 16] {
        intrinsics!(transpose(x))
    }
    #[inline(always)]
    fn swap<const S: usize>(self, x: __m512) -> __m512 {
        intrinsics!(match S {
            1 => _mm512_permute_ps::<0xb1>(x),
            2 => _mm512_permute_ps::<0x4e>(x),
            4 => _mm512_shuffle_f32x4::<0xb1>(x, x),
            8 => _mm512_shuffle_f32x4::<0x4e>(x, x),
            _ => unreachable!("lanes {S} apart"),
        })
    }
    #[inline(always)]
    fn deinterleave(self, low: __m512, high: __m512) -> (__m512, __m512) {
        intrinsics!({
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            (_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high))
        })
    }
    #[inline(always)]
    fn interleave(self, even: __m512, odd: __m512) -> (__m512, __m512) {
        intrinsics!({
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
        })
    }

    #[inline(always)]
    fn bits(self, x: __m512) -> __m512i {
        intrinsics!(_mm512_castps_si512(x))
    }
    #[inline(always)]
    fn with_bits(self, x: __m512i) -> __m512 {
        intrinsics!(_mm512_castsi512_ps(x))
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        intrinsics!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> __m512i {
        intrinsics!(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_i8(self, x: __m512i, out: &mut [i8; 16]) {
        intrinsics!(_mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x)));
    }
    #[inline(always)]
    fn load_u16(self, x: &[u8; 32]) -> __m512i {
        intrinsics!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_u16(self, x: __m512i, out: &mut [u8; 32]) {
        intrinsics!(_mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(x)));
    }
    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn max_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_max_epi32(a, b))
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsics!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn select(self, mask: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // 0xca is the truth table of mask ? a : b.
        intrinsics!(_mm512_ternarylogic_epi32::<0xca>(mask, a, b))
    }
    #[inline(always)]
    fn shl<const N: u32>(self, x: __m512i) -> __m512i {
        intrinsics!(_mm512_slli_epi32::<N>(x))
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: __m512i) -> __m512i {
        intrinsics!(_mm512_srli_epi32::<N>(x))
    }
    #[inline(always)]
    fn shr_signed<const N: u32>(self, x: __m512i) -> __m512i {
        intrinsics!(_mm512_srai_epi32::<N>(x))
    }
    #[inline(always)]
    fn max_lane_i32(self, x: __m512i) -> i32 {
        intrinsics!(_mm512_reduce_max_epi32(x))
    }
    #[inline(always)]
    fn sum_i32(self, x: __m512i) -> i32 {
        intrinsics!(_mm512_reduce_add_epi32(x))
    }
    #[inline(always)]
    fn round(self, x: __m512) -> __m512i {
        intrinsics!(_mm512_cvtps_epi32(x))
    }
    #[inline(always)]
    fn truncate(self, x: __m512) -> __m512i {
        intrinsics!(_mm512_cvttps_epi32(x))
    }
    #[inline(always)]
    fn to_f32(self, x: __m512i) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn q8_rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> __m512 {
        intrinsics!(avx512_q8::rows(rows, x))
    }
    #[inline(always)]
    fn q8_tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Q8Tile) {
        intrinsics!(avx512_q8::tile(blocks, tile));
    }
    #[inline(always)]
    fn q8_tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Q8Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[__m512; T]; G],
    ) {
        intrinsics!(avx512_q8::tile_dots(tiles, x, acc));
    }

    #[inline(always)]
    fn fours(self, rows: &[&[u8; 16]; TILE_ROWS]) -> [Self::I32; 4] {
        // Rows e, e + 4, e + 8, e + 12 in the quarters of register e; then the four registers are turned round in
        // each quarter. Neither a closure nor a function with features of its own: those are only inlined if LLVM
        // likes.
        macro_rules! quarters {
            ($e:literal) => {{
                let a = _mm512_castsi128_si512(_mm_loadu_si128(rows[$e].as_ptr().cast()));
                let ab = _mm512_inserti32x4::<1>(a, _mm_loadu_si128(rows[$e + 4].as_ptr().cast()));
                let abc = _mm512_inserti32x4::<2>(ab, _mm_loadu_si128(rows[$e + 8].as_ptr().cast()));
                _mm512_inserti32x4::<3>(abc, _mm_loadu_si128(rows[$e + 12].as_ptr().cast()))
            }};
        }
        intrinsics!({
            let (a, b, c, d) = (quarters!(0), quarters!(1), quarters!(2), quarters!(3));
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ab2, cd2) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab2, cd2),
                _mm512_unpackhi_epi64(ab2, cd2),
            ]
        })
    }
    #[inline(always)]
    fn begin_fours(self, acc: Self::I32) -> Self::Fours {
        acc
    }
    #[inline(always)]
    fn dot_fours(self, sums: Self::Fours, w: &[u8; 64], x: Self::I32) -> Self::Fours {
        intrinsics!(_mm512_dpbusd_epi32(sums, _mm512_loadu_si512(w.as_ptr().cast()), x))
    }
    #[inline(always)]
    fn end_fours(self, _: Self::I32, sums: Self::Fours) -> Self::I32 {
        sums
    }
    #[inline(always)]
    fn load_signed(self, x: &[u8; 64]) -> Self::Signed {
        intrinsics!(_mm512_xor_si512(_mm512_loadu_si512(x.as_ptr().cast()), _mm512_set1_epi8(i8::MIN)))
    }
    #[inline(always)]
    fn begin_signed(self, sum: i32) -> Self::I32 {
        // As in `avx512_q8`: 128 more in each first factor, the surplus taken off before.
        self.splat_i32(sum.wrapping_mul(-128))
    }
    #[inline(always)]
    fn dot_signed(self, acc: Self::I32, w: Self::Signed, x: Self::I32) -> Self::I32 {
        intrinsics!(_mm512_dpbusd_epi32(acc, w, x))
    }
    #[inline(always)]
    fn dot_bytes(self, acc: Self::I32, w: &[u8; 64], x: Self::I32) -> Self::I32 {
        // Nothing here is summed in 16 bits.
        self.dot_fours(acc, w, x)
    }
    #[inline(always)]
    fn split(self, first: &[u8; 64], second: &[u8; 64]) -> [__m512i; 2] {
        intrinsics!(avx512_parts::split(first, second))
    }
    #[inline(always)]
    fn split_twice(self, a: &[u8; 32], b: &[u8; 32]) -> [__m512i; 2] {
        intrinsics!(avx512_parts::split_twice(a, b))
    }
    #[inline(always)]
    fn shr_parts<const A: u32, const B: u32, const C: u32, const D: u32>(
        self,
        parts: [__m512i; 2],
    ) -> [__m512i; 2] {
        intrinsics!(avx512_parts::shr(parts, [A, B, C, D]))
    }
    #[inline(always)]
    fn put_parts<F: QuantFormat>(self, group: usize, parts: [__m512i; 2], q: &mut [[u8; 32]; 16]) {
        intrinsics!(avx512_parts::put(group, parts, q));
    }
    #[inline(always)]
    fn arrange<F: QuantFormat>(self, x: &[[i8; 32]; 16], out: &mut [[i8; 32]; 16]) {
        intrinsics!(avx512_parts::arrange::<F>(x, out));
    }
    #[inline(always)]
    fn part_dots<F: QuantFormat>(self, q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [__m512i; 2] {
        intrinsics!(avx512_parts::dots::<F>(q, x))
    }
    #[inline(always)]
    fn widen_bytes(self, low: u64, high: u64) -> __m512i {
        intrinsics!(_mm512_cvtepu8_epi32(_mm_set_epi64x(high.cast_signed(), low.cast_signed())))
    }
    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        // Whatever the address, this reads nothing and cannot fault.
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(at).cast()));
    }
    #[inline(always)]
    fn prefetch_far(self, bytes: &[u8], at: usize) {
        intrinsics!(_mm_prefetch::<_MM_HINT_T1>(bytes.as_ptr().wrapping_add(at).cast()));
    }
    #[inline(always)]
    fn splat_f16_halves(self, low: [u8; 2], high: [u8; 2]) -> __m512 {
        intrinsics!({
            let [low, high] = [low, high].map(|half| _mm_set1_epi16(i16::from_le_bytes(half)));
            _mm512_cvtph_ps(_mm256_set_m128i(high, low))
        })
    }
    #[inline(always)]
    fn attend_pairs(self, a: Attend<'_>, places: Range<usize>, scratch: &mut [f32], part: &mut [f32]) {
        match avx512_bf16::Bf16Dots::of_this_machine() {
            Some(dots) => avx512_bf16::segment(self, dots, a, places, scratch, part),
            None => op::float_pairs(self, a, places, scratch, part),
        }
    }
    #[inline(always)]
    fn block_dots<const H: bool, const M: bool, const RUN: usize, const G: usize, const T: usize>(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[Self::F32; T]; G],
    ) {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi")]
        #[inline(never)]
        fn out_of_line<const H: bool, const M: bool, const RUN: usize, const G: usize, const T: usize>(
            isa: Avx512,
            tiles: &[&[Tile]; G],
            x: &[Q8Token<'_>; T],
            offset: i32,
            acc: &mut [[<Avx512 as Isa>::F32; T]; G],
        ) {
            blocks::dots::<Avx512, H, M, RUN, G, T>(isa, tiles, x, offset, acc);
        }
        intrinsics!(out_of_line::<H, M, RUN, G, T>(self, tiles, x, offset, acc));
    }
}
