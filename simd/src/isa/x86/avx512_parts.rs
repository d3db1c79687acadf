//! Sixteen parts of 32 columns of one row with AVX-512: what `op::rows` multiplies.
//!
//! Four parts share two registers, the first 16 columns of each in one, the last 16 in the other, a quarter for each part. So
//! the dots of both registers may be added up in one, and a part has four sums to be added, not eight: the fewest shuffles
//! that were found. The lanes are put into the order of the parts by the last step, which has to move them anyway.

use std::arch::x86_64::*;

use super::intrinsics;
use crate::format::QuantFormat;

/// See `Isa::split`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn split(first: &[u8; 64], second: &[u8; 64]) -> [__m512i; 2] {
    let first = intrinsics!(_mm512_loadu_si512(first.as_ptr().cast()));
    let second = intrinsics!(_mm512_loadu_si512(second.as_ptr().cast()));
    [_mm512_shuffle_i64x2::<0x88>(first, second), _mm512_shuffle_i64x2::<0xdd>(first, second)]
}

/// See `Isa::split_twice`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn split_twice(a: &[u8; 32], b: &[u8; 32]) -> [__m512i; 2] {
    let ([a_low, a_high], [b_low, b_high]) = (halves(a), halves(b));
    [
        _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(a_low), 0xff00, b_low),
        _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(a_high), 0xff00, b_high),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn halves(part: &[u8; 32]) -> [__m128i; 2] {
    let (halves, _) = part.as_chunks::<16>();
    intrinsics!([_mm_loadu_si128(halves[0].as_ptr().cast()), _mm_loadu_si128(halves[1].as_ptr().cast())])
}

/// See `Isa::shr_parts`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn shr(parts: [__m512i; 2], bits: [u32; 4]) -> [__m512i; 2] {
    let [a, b, c, d] = bits.map(u32::cast_signed);
    let counts = _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
    [_mm512_srlv_epi32(parts[0], counts), _mm512_srlv_epi32(parts[1], counts)]
}

/// See `Isa::put_parts`.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn put(group: usize, parts: [__m512i; 2], q: &mut [[u8; 32]; 16]) {
    let (registers, _) = q.as_flattened_mut().as_chunks_mut::<64>();
    intrinsics!({
        _mm512_storeu_si512(registers[2 * group].as_mut_ptr().cast(), parts[0]);
        _mm512_storeu_si512(registers[2 * group + 1].as_mut_ptr().cast(), parts[1]);
    });
}

/// See `Isa::arrange`: the activations as `put` stores the quants.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn arrange<F: QuantFormat>(x: &[[i8; 32]; 16], out: &mut [[i8; 32]; 16]) {
    for (group, &[a, b, c, d]) in F::ORDER.iter().enumerate() {
        let parts = split(bytemuck::cast_ref(&[x[a], x[b]]), bytemuck::cast_ref(&[x[c], x[d]]));
        put(group, parts, bytemuck::cast_mut(out));
    }
}

/// Where the last step finds the sums of the even (or odd) fours of each part.
struct Lanes<F>(F);

impl<F: QuantFormat> Lanes<F> {
    const EVEN: [i32; 16] = Self::of(0);
    const ODD: [i32; 16] = Self::of(1);

    const fn of(odd: usize) -> [i32; 16] {
        let mut lanes = [0; 16];
        let mut at = 0;
        while at < 16 {
            let (group, quarter) = (at / 4, at % 4);
            // Two groups in a register, side by side in each quarter.
            let lane = group / 2 * 16 + quarter * 4 + group % 2 * 2 + odd;
            lanes[F::ORDER[group][quarter]] = lane as i32;
            at += 1;
        }
        lanes
    }
}

/// See `Isa::part_dots`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub(super) fn dots<F: QuantFormat>(q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [__m512i; 2] {
    let (q, x) = (q.as_flattened().as_chunks::<64>().0, x.as_flattened().as_chunks::<64>().0);
    let zero = _mm512_setzero_si512();
    macro_rules! fours {
        ($sums:expr, $at:expr) => {{
            let q = intrinsics!(_mm512_loadu_si512(q[$at].as_ptr().cast()));
            let x = intrinsics!(_mm512_loadu_si512(x[$at].as_ptr().cast()));
            _mm512_dpbusd_epi32($sums, q, x)
        }};
    }
    if F::HALVES {
        let low = sum_fours::<F>(fours!(zero, 0), fours!(zero, 2), fours!(zero, 4), fours!(zero, 6));
        let high = sum_fours::<F>(fours!(zero, 1), fours!(zero, 3), fours!(zero, 5), fours!(zero, 7));
        [low, high]
    } else {
        let (a, b) = (fours!(fours!(zero, 0), 1), fours!(fours!(zero, 2), 3));
        let (c, d) = (fours!(fours!(zero, 4), 5), fours!(fours!(zero, 6), 7));
        [sum_fours::<F>(a, b, c, d); 2]
    }
}

/// The sums of the fours of each part, in the order of the parts. A sum of at most 4 * 63 * 127 or 8 * 31 * 127 goes into 16
/// bits, where the machine adds neighbours in one step.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sum_fours<F: QuantFormat>(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    const {
        let steps = if F::HALVES { 4 } else { 8 };
        assert!(F::RUN == 0 || F::LARGEST * steps * 127 < 1 << 15, "fours of a row's parts fit 16 bits");
    }
    let ones = _mm512_set1_epi16(1);
    let ab = _mm512_madd_epi16(_mm512_packs_epi32(a, b), ones);
    let cd = _mm512_madd_epi16(_mm512_packs_epi32(c, d), ones);
    intrinsics!({
        let even = _mm512_loadu_si512(Lanes::<F>::EVEN.as_ptr().cast());
        let odd = _mm512_loadu_si512(Lanes::<F>::ODD.as_ptr().cast());
        _mm512_add_epi32(_mm512_permutex2var_epi32(ab, even, cd), _mm512_permutex2var_epi32(ab, odd, cd))
    })
}
