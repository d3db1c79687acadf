//! Sixteen parts of 32 columns of one row on Arm: what `op/rows.rs` multiplies. A part is two registers; quants are at most
//! 63, so their bytes may count as signed.

use std::arch::aarch64::*;

use super::neon::I32;
use super::{intrinsics, load_two, sdot, sum_four};
use crate::format::QuantFormat;

/// See `Isa::split_twice`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn split_twice(a: &[u8; 32], b: &[u8; 32]) -> [I32; 2] {
    [twice(a), twice(b)]
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn twice(part: &[u8; 32]) -> I32 {
    let [low, high] = load_two(part);
    let (low, high) = (vreinterpretq_s32_s8(low), vreinterpretq_s32_s8(high));
    [low, high, low, high]
}

/// See `Isa::put_parts`.
#[inline(always)]
pub(super) fn put<F: QuantFormat>(group: usize, [ab, cd]: [I32; 2], q: &mut [[u8; 32]; 16]) {
    let order = &F::ORDER[group];
    store(&mut q[order[0]], ab[0], ab[1]);
    store(&mut q[order[1]], ab[2], ab[3]);
    store(&mut q[order[2]], cd[0], cd[1]);
    store(&mut q[order[3]], cd[2], cd[3]);
}

#[inline(always)]
fn store(part: &mut [u8; 32], low: int32x4_t, high: int32x4_t) {
    let (part, _) = part.as_chunks_mut::<16>();
    intrinsics!({
        vst1q_u8(part[0].as_mut_ptr(), vreinterpretq_u8_s32(low));
        vst1q_u8(part[1].as_mut_ptr(), vreinterpretq_u8_s32(high));
    });
}

/// See `Isa::part_dots`.
#[inline(always)]
pub(super) fn dots<F: QuantFormat>(q: &[[u8; 32]; 16], x: &[[i8; 32]; 16]) -> [I32; 2] {
    const { assert!(F::RUN == 0 || F::LARGEST <= 63) };
    intrinsics!({
        let zero = vdupq_n_s32(0);
        let mut sums = [[zero; 4]; 2];
        for four in 0..4 {
            let (mut low, mut high) = ([zero; 4], [zero; 4]);
            for at in 0..4 {
                let (q, x) = (load_two(&q[4 * four + at]), load_two(&x[4 * four + at]));
                low[at] = sdot(zero, q[0], x[0]);
                high[at] = sdot(if F::HALVES { zero } else { low[at] }, q[1], x[1]);
            }
            if F::HALVES {
                sums[0][four] = sum_four(low[0], low[1], low[2], low[3]);
            }
            sums[1][four] = sum_four(high[0], high[1], high[2], high[3]);
        }
        if F::HALVES { sums } else { [sums[1]; 2] }
    })
}
