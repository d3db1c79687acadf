//! aarch64: NEON with dot products of bytes (Cortex-A76, Neoverse N1, Apple M1), and the same with matrix products of
//! bytes (i8mm: Neoverse V1 and N2, Cortex-X2, Apple M2). Processors without dot products, as Cortex-A53 and A72, have no
//! level here and run the scalar code.
//!
//! The instructions of the two extensions are inline assembly, because Rust 1.96's intrinsics for them are unstable.
//!
//! Everything here was only run under emulation, for want of a machine: it is exact, and its speed is not known.

mod four;
mod neon;
mod parts;
mod q8;

use std::arch::aarch64::*;
use std::arch::asm;

/// The level `neon`.
pub(crate) type Neon = neon::Words<false>;
/// The level `neon-i8mm`.
pub(crate) type NeonI8mm = neon::Words<true>;

/// Wraps intrinsics in a function that has no `#[target_feature]` itself (it is inlined into one that has), and what goes
/// through pointers.
macro_rules! intrinsics {
    ($body:expr) => {
        // SAFETY: every caller holds a level's token. A token is only made by `here`, which can only be called
        // where the level's features are enabled, so the machine has the instructions. Pointers in $body come from
        // references to arrays exactly as long as what is read or written, none of which asks for alignment. Assembly is
        // one instruction on registers, in a function that has its feature, or a prefetch, which cannot fault.
        unsafe { $body }
    };
}
use intrinsics;

/// A type of bytes, with or without signs.
trait Byte: bytemuck::Pod {}
impl Byte for i8 {}
impl Byte for u8 {}

#[target_feature(enable = "neon")]
#[inline]
fn load(x: &[impl Byte; 16]) -> int8x16_t {
    intrinsics!(vld1q_s8(x.as_ptr().cast()))
}

#[target_feature(enable = "neon")]
#[inline]
fn load_two(x: &[impl Byte; 32]) -> [int8x16_t; 2] {
    let (x, _) = x.as_chunks();
    [load(&x[0]), load(&x[1])]
}

/// Lane i is the sum of vector i.
#[target_feature(enable = "neon")]
#[inline]
fn sum_four(a: int32x4_t, b: int32x4_t, c: int32x4_t, d: int32x4_t) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

/// Four rows of four become columns.
#[target_feature(enable = "neon")]
#[inline]
fn transpose4(a: int32x4_t, b: int32x4_t, c: int32x4_t, d: int32x4_t) -> [int32x4_t; 4] {
    let (ab, ab2) = (pairs(vtrn1q_s32(a, b)), pairs(vtrn2q_s32(a, b)));
    let (cd, cd2) = (pairs(vtrn1q_s32(c, d)), pairs(vtrn2q_s32(c, d)));
    [
        vreinterpretq_s32_s64(vtrn1q_s64(ab, cd)),
        vreinterpretq_s32_s64(vtrn1q_s64(ab2, cd2)),
        vreinterpretq_s32_s64(vtrn2q_s64(ab, cd)),
        vreinterpretq_s32_s64(vtrn2q_s64(ab2, cd2)),
    ]
}

#[target_feature(enable = "neon")]
#[inline]
fn pairs(x: int32x4_t) -> int64x2_t {
    vreinterpretq_s64_s32(x)
}

/// Each lane of `acc`: plus four products of signed bytes; wraps.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    intrinsics!(asm!(
        "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
        acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
        options(pure, nomem, nostack, preserves_flags)
    ));
    acc
}

/// The same, where all lanes meet the four bytes of one lane of `b`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot_lane<const LANE: usize>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    intrinsics!(asm!(
        "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
        acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
        options(pure, nomem, nostack, preserves_flags)
    ));
    acc
}

/// `sdot` where the bytes of `a` have no signs.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn usdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    intrinsics!(asm!(
        "usdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
        acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
        options(pure, nomem, nostack, preserves_flags)
    ));
    acc
}

/// `a` and `b` are two rows of eight signed bytes each; lane 2 i + j of `acc`: plus the products of row i of `a` with row j
/// of `b`; wraps.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    intrinsics!(asm!(
        "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
        acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
        options(pure, nomem, nostack, preserves_flags)
    ));
    acc
}
