//! AVX2 with FMA and F16C: two registers make the logical width, the lower lanes first. AVX-VNNI is the same but for
//! products of bytes (`Bytes`).

use std::arch::x86_64::*;

use super::super::{Isa, TILE_ROWS};
use super::avx2_bytes::Bytes;
use super::intrinsics;
use crate::format::{BlockQ8_0, QuantFormat, Tile};
use crate::view::Q8Token;

/// Proof that the machine has this level's instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx2 {
    _made_by_here: (),
}

impl Avx2 {
    /// Can be called where the features are enabled, which is the proof.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    pub(crate) fn here() -> Self {
        Self { _made_by_here: () }
    }
}

/// Eight rows of eight become columns.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn transpose8(x: [__m256; 8]) -> [__m256; 8] {
    let mut inner = [_mm256_setzero_ps(); 8];
    for four in 0..2 {
        let [a, b, c, d] = [x[4 * four], x[4 * four + 1], x[4 * four + 2], x[4 * four + 3]];
        let pairs = [
            (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)),
            (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)),
        ];
        for (at, (ab, cd)) in pairs.into_iter().enumerate() {
            inner[4 * four + 2 * at] = _mm256_shuffle_ps::<0x44>(ab, cd);
            inner[4 * four + 2 * at + 1] = _mm256_shuffle_ps::<0xee>(ab, cd);
        }
    }
    let mut out = [_mm256_setzero_ps(); 8];
    for column in 0..4 {
        let (top, bottom) = (inner[column], inner[4 + column]);
        out[column] = _mm256_permute2f128_ps::<0x20>(top, bottom);
        out[4 + column] = _mm256_permute2f128_ps::<0x31>(top, bottom);
    }
    out
}

/// Sums of eight vectors of eight: lane i + 4, then i + 2, then i + 1, as the tree of `Isa::sum` goes on after its
/// first step.
#[target_feature(enable = "avx2")]
#[inline]
fn sum8(x: [__m256; 8]) -> __m256 {
    // The order in which vectors meet puts vector i's sum into lane i: 0 4, 1 5, 2 6, 3 7.
    let mut fours = [_mm256_setzero_ps(); 4];
    for (at, sums) in fours.iter_mut().enumerate() {
        let (a, b) = (x[at], x[at + 4]);
        let low = _mm256_permute2f128_ps::<0x20>(a, b);
        *sums = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(a, b));
    }
    let mut twos = [_mm256_setzero_ps(); 2];
    for (at, sums) in twos.iter_mut().enumerate() {
        let (a, b) = (fours[2 * at], fours[2 * at + 1]);
        *sums = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b));
    }
    let (a, b) = (twos[0], twos[1]);
    _mm256_add_ps(_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b))
}

/// See `Isa::fours`, for eight rows. Neither a closure nor a function with features of its own: those are only inlined
/// if LLVM likes, and then every intrinsic in it may become a call.
#[inline(always)]
fn fours8(rows: &[&[u8; 16]; 8]) -> [__m256i; 4] {
    // Rows e and e + 4 in the halves of register e; then the four registers are turned round in each half.
    macro_rules! halves {
        ($e:literal) => {
            _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(_mm_loadu_si128(rows[$e].as_ptr().cast())),
                _mm_loadu_si128(rows[$e + 4].as_ptr().cast()),
            )
        };
    }
    intrinsics!({
        let (a, b, c, d) = (halves!(0), halves!(1), halves!(2), halves!(3));
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ab2, cd2) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab2, cd2),
            _mm256_unpackhi_epi64(ab2, cd2),
        ]
    })
}

/// The sums of parts a and b, two lanes in each half for each: at most 4 * 31 * 127 and 8 * 31 * 127 (or 4 * 63 * 127)
/// go into 16 bits, where the machine sums pairs at once.
#[inline(always)]
fn pairs_of_two(a: __m256i, b: __m256i) -> __m256i {
    intrinsics!(_mm256_madd_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(1)))
}

/// Eight parts: the sums of columns 0..16 of parts 0..4, then of columns 16..32; the same for parts 4..8.
#[inline(always)]
fn half_dots8<L: Bytes, F: QuantFormat>(isa: L, q: &[[u8; 32]; 8], x: &[[i8; 32]; 8]) -> [__m256i; 2] {
    // Eight names and no array: an array goes through memory, and this through registers.
    let ab = pairs_of_two(isa.fours_of_part(&q[0], &x[0]), isa.fours_of_part(&q[1], &x[1]));
    let cd = pairs_of_two(isa.fours_of_part(&q[2], &x[2]), isa.fours_of_part(&q[3], &x[3]));
    let ef = pairs_of_two(isa.fours_of_part(&q[4], &x[4]), isa.fours_of_part(&q[5], &x[5]));
    let gh = pairs_of_two(isa.fours_of_part(&q[6], &x[6]), isa.fours_of_part(&q[7], &x[7]));
    if F::HALVES {
        intrinsics!([_mm256_hadd_epi32(ab, cd), _mm256_hadd_epi32(ef, gh)])
    } else {
        [pairs_of_two(ab, cd), pairs_of_two(ef, gh)]
    }
}

/// Folds eight lanes to one: i takes i + 4, i + 2, i + 1.
macro_rules! fold {
    ($x:expr, $op128:ident) => {{
        let x = $x;
        let x = $op128(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = $op128(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32($op128(x, _mm_movehdup_ps(x)))
    }};
}

/// Applies an intrinsic to both registers.
macro_rules! both {
    ($op:path, $a:ident) => {
        intrinsics!([$op($a[0]), $op($a[1])])
    };
    ($op:path, $a:ident, $b:ident) => {
        intrinsics!([$op($a[0], $b[0]), $op($a[1], $b[1])])
    };
    ($op:path, $a:ident, $b:ident, $c:ident) => {
        intrinsics!([$op($a[0], $b[0], $c[0]), $op($a[1], $b[1], $c[1])])
    };
}

pub(super) type F32 = [__m256; 2];
pub(super) type I32 = [__m256i; 2];

impl<L: Bytes> Isa for L {
    const WIDE: bool = false;
    const BY_ROW: bool = true;
    const ARRANGED: bool = false;
    type F32 = F32;
    type I32 = I32;
    type Fours = I32;
    type Signed = [L::Signed8; 2];
    type Q8Tile = L::Tile;
    const Q8_EMPTY: Self::Q8Tile = L::EMPTY;

    #[inline(always)]
    fn splat(self, x: f32) -> F32 {
        intrinsics!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> F32 {
        let (x, _) = x.as_chunks::<8>();
        intrinsics!([_mm256_loadu_ps(x[0].as_ptr()), _mm256_loadu_ps(x[1].as_ptr())])
    }
    #[inline(always)]
    fn store(self, x: F32, out: &mut [f32; 16]) {
        let (out, _) = out.as_chunks_mut::<8>();
        intrinsics!({
            _mm256_storeu_ps(out[0].as_mut_ptr(), x[0]);
            _mm256_storeu_ps(out[1].as_mut_ptr(), x[1]);
        });
    }
    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> F32 {
        let (x, _) = x.as_chunks::<32>();
        intrinsics!([_mm256_loadu_ps(x[0].as_ptr().cast()), _mm256_loadu_ps(x[1].as_ptr().cast())])
    }
    #[inline(always)]
    fn store_bytes(self, x: F32, out: &mut [u8; 64]) {
        let (out, _) = out.as_chunks_mut::<32>();
        intrinsics!({
            _mm256_storeu_ps(out[0].as_mut_ptr().cast(), x[0]);
            _mm256_storeu_ps(out[1].as_mut_ptr().cast(), x[1]);
        });
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32]) -> F32 {
        let (x, _) = x.as_chunks::<16>();
        intrinsics!([
            _mm256_cvtph_ps(_mm_loadu_si128(x[0].as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(x[1].as_ptr().cast())),
        ])
    }
    #[inline(always)]
    fn store_f16(self, x: F32, out: &mut [u8; 32]) {
        const ROUNDING: i32 = _MM_FROUND_TO_NEAREST_INT;
        let (out, _) = out.as_chunks_mut::<16>();
        intrinsics!({
            _mm_storeu_si128(out[0].as_mut_ptr().cast(), _mm256_cvtps_ph::<ROUNDING>(x[0]));
            _mm_storeu_si128(out[1].as_mut_ptr().cast(), _mm256_cvtps_ph::<ROUNDING>(x[1]));
        });
    }

    #[inline(always)]
    fn add(self, a: F32, b: F32) -> F32 {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: F32, b: F32) -> F32 {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: F32, b: F32) -> F32 {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: F32, b: F32) -> F32 {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: F32, b: F32, c: F32) -> F32 {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn fnma(self, a: F32, b: F32, c: F32) -> F32 {
        both!(_mm256_fnmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: F32, b: F32) -> F32 {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: F32, b: F32) -> F32 {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn sum(self, x: F32) -> f32 {
        intrinsics!(fold!(_mm256_add_ps(x[0], x[1]), _mm_add_ps))
    }
    #[inline(always)]
    fn sum16(self, x: &[F32; 16]) -> F32 {
        intrinsics!({
            let mut halves = [[_mm256_setzero_ps(); 8]; 2];
            for (x, sum) in x.iter().zip(halves.as_flattened_mut()) {
                *sum = _mm256_add_ps(x[0], x[1]);
            }
            [sum8(halves[0]), sum8(halves[1])]
        })
    }
    #[inline(always)]
    fn max_lane(self, x: F32) -> f32 {
        intrinsics!(fold!(_mm256_max_ps(x[0], x[1]), _mm_max_ps))
    }
    #[inline(always)]
    fn transpose(self, x: &[F32; 16]) -> [F32; 16] {
        intrinsics!({
            let mut out = [[_mm256_setzero_ps(); 2]; 16];
            for row in 0..2 {
                for column in 0..2 {
                    let mut square = [_mm256_setzero_ps(); 8];
                    for (square, x) in square.iter_mut().zip(&x[8 * row..]) {
                        *square = x[column];
                    }
                    for (square, out) in transpose8(square).into_iter().zip(&mut out[8 * column..]) {
                        out[row] = square;
                    }
                }
            }
            out
        })
    }
    #[inline(always)]
    fn turn(self, rows: &[&[f32; 16]; 16], columns: &mut [[f32; 16]; 16]) {
        // A quarter at a time fits into the registers.
        for (down, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
            for (right, columns) in columns.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                intrinsics!({
                    let quarter = rows.map(|row| _mm256_loadu_ps(row[8 * right..].as_ptr()));
                    for (column, out) in transpose8(quarter).into_iter().zip(columns) {
                        _mm256_storeu_ps(out[8 * down..].as_mut_ptr(), column);
                    }
                });
            }
        }
    }
    #[inline(always)]
    fn swap<const S: usize>(self, x: F32) -> F32 {
        match S {
            1 => both!(_mm256_permute_ps::<0xb1>, x),
            2 => both!(_mm256_permute_ps::<0x4e>, x),
            4 => both!(_mm256_permute2f128_ps::<1>, x, x),
            8 => [x[1], x[0]],
            _ => unreachable!("lanes {S} apart"),
        }
    }
    #[inline(always)]
    fn deinterleave(self, low: F32, high: F32) -> (F32, F32) {
        // The shuffle leaves the quarters of each result in the order 0, 2, 1, 3.
        intrinsics!({
            let sorted = |x| {
                let x = _mm256_permute4x64_pd::<0xd8>(_mm256_castps_pd(x));
                _mm256_castpd_ps(x)
            };
            let even = |x: F32| sorted(_mm256_shuffle_ps::<0x88>(x[0], x[1]));
            let odd = |x: F32| sorted(_mm256_shuffle_ps::<0xdd>(x[0], x[1]));
            ([even(low), even(high)], [odd(low), odd(high)])
        })
    }
    #[inline(always)]
    fn interleave(self, even: F32, odd: F32) -> (F32, F32) {
        intrinsics!({
            let zip = |even, odd| {
                let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
                [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
            };
            (zip(even[0], odd[0]), zip(even[1], odd[1]))
        })
    }

    #[inline(always)]
    fn bits(self, x: F32) -> I32 {
        both!(_mm256_castps_si256, x)
    }
    #[inline(always)]
    fn with_bits(self, x: I32) -> F32 {
        both!(_mm256_castsi256_ps, x)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> I32 {
        intrinsics!([_mm256_set1_epi32(x); 2])
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> I32 {
        intrinsics!({
            let x = _mm_loadu_si128(x.as_ptr().cast());
            [_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x, x))]
        })
    }
    #[inline(always)]
    fn store_i8(self, x: I32, out: &mut [i8; 16]) {
        intrinsics!({
            // Packing saturates, so the upper bytes go first.
            let low = _mm256_set1_epi32(0xff);
            let x = _mm256_packus_epi32(_mm256_and_si256(x[0], low), _mm256_and_si256(x[1], low));
            let x = _mm256_permute4x64_epi64::<0xd8>(x);
            let x = _mm_packus_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm_storeu_si128(out.as_mut_ptr().cast(), x);
        });
    }
    #[inline(always)]
    fn load_u16(self, x: &[u8; 32]) -> I32 {
        let (x, _) = x.as_chunks::<16>();
        intrinsics!([
            _mm256_cvtepu16_epi32(_mm_loadu_si128(x[0].as_ptr().cast())),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(x[1].as_ptr().cast())),
        ])
    }
    #[inline(always)]
    fn store_u16(self, x: I32, out: &mut [u8; 32]) {
        intrinsics!({
            let low = _mm256_set1_epi32(0xffff);
            let x = _mm256_packus_epi32(_mm256_and_si256(x[0], low), _mm256_and_si256(x[1], low));
            let x = _mm256_permute4x64_epi64::<0xd8>(x);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), x);
        });
    }
    #[inline(always)]
    fn add_i32(self, a: I32, b: I32) -> I32 {
        both!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn sub_i32(self, a: I32, b: I32) -> I32 {
        both!(_mm256_sub_epi32, a, b)
    }
    #[inline(always)]
    fn max_i32(self, a: I32, b: I32) -> I32 {
        both!(_mm256_max_epi32, a, b)
    }
    #[inline(always)]
    fn and(self, a: I32, b: I32) -> I32 {
        both!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn or(self, a: I32, b: I32) -> I32 {
        both!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn xor(self, a: I32, b: I32) -> I32 {
        both!(_mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn select(self, mask: I32, a: I32, b: I32) -> I32 {
        let (a, b) = (both!(_mm256_and_si256, mask, a), both!(_mm256_andnot_si256, mask, b));
        both!(_mm256_or_si256, a, b)
    }
    // The shifts by a register, whose count is a constant here, become shifts by an immediate; the intrinsics with
    // an immediate want it as an i32, into which a u32 const parameter cannot be turned.
    #[inline(always)]
    fn shl<const N: u32>(self, x: I32) -> I32 {
        intrinsics!(x.map(|x| _mm256_sll_epi32(x, _mm_cvtsi32_si128(N.cast_signed()))))
    }
    #[inline(always)]
    fn shr<const N: u32>(self, x: I32) -> I32 {
        intrinsics!(x.map(|x| _mm256_srl_epi32(x, _mm_cvtsi32_si128(N.cast_signed()))))
    }
    #[inline(always)]
    fn shr_signed<const N: u32>(self, x: I32) -> I32 {
        intrinsics!(x.map(|x| _mm256_sra_epi32(x, _mm_cvtsi32_si128(N.cast_signed()))))
    }
    #[inline(always)]
    fn max_lane_i32(self, x: I32) -> i32 {
        intrinsics!({
            let x = _mm256_max_epi32(x[0], x[1]);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_unpackhi_epi64(x, x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<1>(x)))
        })
    }
    #[inline(always)]
    fn sum_i32(self, x: I32) -> i32 {
        intrinsics!({
            let x = _mm256_add_epi32(x[0], x[1]);
            let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
            _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<1>(x)))
        })
    }
    #[inline(always)]
    fn round(self, x: F32) -> I32 {
        both!(_mm256_cvtps_epi32, x)
    }
    #[inline(always)]
    fn truncate(self, x: F32) -> I32 {
        both!(_mm256_cvttps_epi32, x)
    }
    #[inline(always)]
    fn to_f32(self, x: I32) -> F32 {
        both!(_mm256_cvtepi32_ps, x)
    }

    #[inline(always)]
    fn q8_rows(self, rows: &[&[BlockQ8_0]; TILE_ROWS], x: Q8Token<'_>) -> F32 {
        self.rows(rows, x)
    }
    #[inline(always)]
    fn q8_tile(self, blocks: &[&BlockQ8_0; TILE_ROWS], tile: &mut Self::Q8Tile) {
        self.tile(blocks, tile);
    }
    #[inline(always)]
    fn q8_tile_dots<const G: usize, const T: usize>(
        self,
        tiles: &[&[Self::Q8Tile]; G],
        x: &[Q8Token<'_>; T],
        acc: &mut [[F32; T]; G],
    ) {
        self.tile_dots(tiles, x, acc);
    }

    #[inline(always)]
    fn fours(self, rows: &[&[u8; 16]; TILE_ROWS]) -> [Self::I32; 4] {
        let (rows, _) = rows.as_chunks::<8>();
        let (low, high) = (fours8(&rows[0]), fours8(&rows[1]));
        [[low[0], high[0]], [low[1], high[1]], [low[2], high[2]], [low[3], high[3]]]
    }
    #[inline(always)]
    fn begin_fours(self, acc: Self::I32) -> Self::Fours {
        [self.begin_fours8(acc[0]), self.begin_fours8(acc[1])]
    }
    #[inline(always)]
    fn dot_fours(self, sums: Self::Fours, w: &[u8; 64], x: Self::I32) -> Self::Fours {
        let (w, _) = w.as_chunks::<32>();
        [self.dot_fours8(sums[0], &w[0], x[0]), self.dot_fours8(sums[1], &w[1], x[1])]
    }
    #[inline(always)]
    fn end_fours(self, acc: Self::I32, sums: Self::Fours) -> Self::I32 {
        [self.end_fours8(acc[0], sums[0]), self.end_fours8(acc[1], sums[1])]
    }
    #[inline(always)]
    fn load_signed(self, x: &[u8; 64]) -> Self::Signed {
        let (x, _) = x.as_chunks::<32>();
        [self.load_signed8(&x[0]), self.load_signed8(&x[1])]
    }
    #[inline(always)]
    fn begin_signed(self, sum: i32) -> Self::I32 {
        self.splat_i32(self.start_of_signed(sum))
    }
    #[inline(always)]
    fn dot_signed(self, acc: Self::I32, w: Self::Signed, x: Self::I32) -> Self::I32 {
        [self.dot_signed8(acc[0], w[0], x[0]), self.dot_signed8(acc[1], w[1], x[1])]
    }
    #[inline(always)]
    fn dot_bytes(self, acc: I32, w: &[u8; 64], x: I32) -> I32 {
        let (w, _) = w.as_chunks::<32>();
        [self.dot_bytes8(acc[0], &w[0], x[0]), self.dot_bytes8(acc[1], &w[1], x[1])]
    }
    #[inline(always)]
    fn part_dots<F: QuantFormat>(self, q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [I32; 2] {
        let (q, x) = (q.as_chunks().0, x.as_chunks().0);
        let [a, b] = half_dots8::<L, F>(self, &q[0], &x[0]);
        let [c, d] = half_dots8::<L, F>(self, &q[1], &x[1]);
        intrinsics!({
            let low = [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d)];
            let high = [_mm256_permute2x128_si256::<0x31>(a, b), _mm256_permute2x128_si256::<0x31>(c, d)];
            if F::HALVES {
                [low, high]
            } else {
                [[_mm256_add_epi32(low[0], high[0]), _mm256_add_epi32(low[1], high[1])]; 2]
            }
        })
    }
    #[inline(always)]
    fn split_twice(self, a: &[u8; 32], b: &[u8; 32]) -> [I32; 2] {
        intrinsics!([a, b].map(|part| [_mm256_loadu_si256(part.as_ptr().cast()); 2]))
    }
    #[inline(always)]
    fn shr_parts<const A: u32, const B: u32, const C: u32, const D: u32>(
        self,
        [[a, b], [c, d]]: [I32; 2],
    ) -> [I32; 2] {
        intrinsics!([
            [
                _mm256_srl_epi32(a, _mm_cvtsi32_si128(A.cast_signed())),
                _mm256_srl_epi32(b, _mm_cvtsi32_si128(B.cast_signed())),
            ],
            [
                _mm256_srl_epi32(c, _mm_cvtsi32_si128(C.cast_signed())),
                _mm256_srl_epi32(d, _mm_cvtsi32_si128(D.cast_signed())),
            ],
        ])
    }
    #[inline(always)]
    fn put_parts<F: QuantFormat>(self, group: usize, [[a, b], [c, d]]: [I32; 2], q: &mut [[u8; 32]; 16]) {
        let order = &F::ORDER[group];
        intrinsics!({
            _mm256_storeu_si256(q[order[0]].as_mut_ptr().cast(), a);
            _mm256_storeu_si256(q[order[1]].as_mut_ptr().cast(), b);
            _mm256_storeu_si256(q[order[2]].as_mut_ptr().cast(), c);
            _mm256_storeu_si256(q[order[3]].as_mut_ptr().cast(), d);
        });
    }
    #[inline(always)]
    fn widen_bytes(self, low: u64, high: u64) -> I32 {
        intrinsics!([
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(low.cast_signed())),
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(high.cast_signed())),
        ])
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
    fn splat_f16_halves(self, low: [u8; 2], high: [u8; 2]) -> F32 {
        intrinsics!({
            let low = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes(low))));
            let high = _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes(high))));
            [_mm256_broadcastss_ps(low), _mm256_broadcastss_ps(high)]
        })
    }
    #[inline(always)]
    fn block_dots<const H: bool, const M: bool, const RUN: usize, const G: usize, const T: usize>(
        self,
        tiles: &[&[Tile]; G],
        x: &[Q8Token<'_>; T],
        offset: i32,
        acc: &mut [[Self::F32; T]; G],
    ) {
        intrinsics!(self.dots_out_of_line::<H, M, RUN, G, T>(tiles, x, offset, acc));
    }
}
