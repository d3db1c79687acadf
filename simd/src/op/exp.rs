//! exp and what is made of it.
//!
//! exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2 (a little more where n's rounding errs). exp(r) is
//! 1 + r + r^2 * q(r), q of degree 4: least maximum relative error with c2 = 1/2 and every coefficient an f32,
//! 3.7e-9, a sixteenth of half a unit in the last place. ln 2 comes in two parts so that r's error stays below
//! 2^-25.
//!
//! Bound: 2 ulp. By exhaustion over all finite f32 (scalar level, against f64): 1.00 ulp, see `tests/`.

use crate::isa::Isa;

/// 1.5 * 2^23: adding it to a number below 2^22 in magnitude rounds that number to an integer, whose value then
/// stands in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// What the f32 nearest to ln 2 lacks.
const LN_2_REST: f32 = -1.904_654_2e-9;

/// Below this exp is less than half the smallest subnormal: zero.
const LOWEST: f32 = -104.0;
/// Above this exp is infinite.
const HIGHEST: f32 = 89.0;

/// e^x: at most 2 ulp wrong, results below the normal range rounded once more. -inf gives 0, inf gives inf, NaN NaN.
#[inline(always)]
pub(crate) fn exp<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // The constant first: a NaN in x passes both.
    let x = isa.min(isa.splat(HIGHEST), isa.max(isa.splat(LOWEST), x));
    let magic = isa.splat(MAGIC);
    let shifted = isa.fma(x, isa.splat(std::f32::consts::LOG2_E), magic);
    let n = isa.sub(shifted, magic);
    let r = isa.fnma(n, isa.splat(std::f32::consts::LN_2), x);
    let r = isa.fnma(n, isa.splat(LN_2_REST), r);
    let mut q = isa.splat(1.386_493_1e-3);
    for c in [8.367_587e-3, 4.166_722_7e-2, 1.666_653_3e-1, 0.5] {
        q = isa.fma(q, r, isa.splat(c));
    }
    let p = isa.add(isa.splat(1.0), isa.fma(isa.mul(r, r), q, r));
    // 2^n in two factors, so that neither over- nor underflows before the product does.
    let n = isa.sub_i32(isa.bits(shifted), isa.bits(magic));
    let half = isa.shr_signed::<1>(n);
    isa.mul(isa.mul(p, power_of_two(isa, half)), power_of_two(isa, isa.sub_i32(n, half)))
}

/// 2^n for n in -126..=127.
#[inline(always)]
fn power_of_two<I: Isa>(isa: I, n: I::I32) -> I::F32 {
    isa.with_bits(isa.shl::<23>(isa.add_i32(n, isa.splat_i32(127))))
}

/// 1 / (1 + e^-x), from e^-|x|, which never overflows: e / (1 + e) for negative x keeps the relative precision of
/// small results.
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let one = isa.splat(1.0);
    let e = exp(isa, isa.with_bits(isa.or(isa.bits(x), isa.splat_i32(i32::MIN))));
    let negative = isa.shr_signed::<31>(isa.bits(x));
    let numerator = isa.with_bits(isa.select(negative, isa.bits(e), isa.bits(one)));
    isa.div(numerator, isa.add(one, e))
}

/// x * sigmoid(x). Finite for every finite x; -inf gives NaN (inf * 0), as the formula does.
#[inline(always)]
pub(crate) fn silu<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    isa.mul(x, sigmoid(isa, x))
}
