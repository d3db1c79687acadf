//! exp and what is made of it.
//!
//! exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2 (a little more where n's rounding errs). exp(r) is
//! 1 + r + r^2 * q(r), q of degree 4: least maximum relative error with c2 = 1/2 and every coefficient an f32,
//! 3.7e-9, a sixteenth of half a unit in the last place. ln 2 comes in two parts so that r's error stays below
//! 2^-25.
//!
//! Bound: 2 ulp. Over all floats by exhaustion: 1.02 ulp (the tests below).

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;

    /// By exhaustion, 2026-11-23.
    const MEASURED: f64 = 1.0201;

    /// Largest error in units in the last place of the exact result (of the smallest subnormal, below the normal
    /// range) over every `stride`th float, on all cores.
    fn largest_error(stride: usize) -> f64 {
        let n = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let shares: Vec<_> =
                (0..n).map(|share| scope.spawn(move || largest_error_of(share, n, stride))).collect();
            shares.into_iter().map(|share| share.join().unwrap()).fold(0.0, f64::max)
        })
    }

    /// The same over one of `n` shares.
    fn largest_error_of(share: usize, n: usize, stride: usize) -> f64 {
        let mut largest = 0.0_f64;
        for bits in ((share * 16 * stride) as u32..=u32::MAX).step_by(16 * stride * n) {
            let x: [f32; 16] =
                std::array::from_fn(|lane| f32::from_bits(bits.wrapping_add((lane * stride) as u32)));
            for (x, found) in x.into_iter().zip(exp(Scalar, x)) {
                let exact = f64::from(x).exp();
                if exact >= f64::from(f32::MAX) || x.is_nan() {
                    assert!(found == f32::INFINITY || found == f32::MAX || x.is_nan(), "{x:e} {found:e}");
                    continue;
                }
                let exponent = exact.log2().floor().max(-126.0);
                largest = largest.max((f64::from(found) - exact).abs() / (exponent - 23.0).exp2());
            }
        }
        largest
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let found = largest_error(1009);
        assert!(found <= 2.0, "{found}");
    }

    #[test]
    #[ignore = "every float: minutes"]
    fn exp_of_every_float_is_within_its_measured_error() {
        let found = largest_error(1);
        println!("{found} ulp");
        assert!(found <= MEASURED, "{found}");
    }

    #[test]
    fn edges_of_exp() {
        let at = |x: f32| exp(Scalar, [x; 16])[0];
        assert_eq!(at(0.0), 1.0);
        assert_eq!(at(-0.0), 1.0);
        assert_eq!(at(f32::NEG_INFINITY), 0.0);
        assert_eq!(at(-1e30), 0.0);
        assert_eq!(at(f32::INFINITY), f32::INFINITY);
        assert_eq!(at(1e30), f32::INFINITY);
        assert_eq!(at(88.8), f32::INFINITY);
        assert!(at(88.7).is_finite());
        assert!(at(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_silu_of_large_numbers_are_no_nan() {
        let (sigmoid, silu) = (|x: f32| sigmoid(Scalar, [x; 16])[0], |x: f32| silu(Scalar, [x; 16])[0]);
        for x in [90.0, 1e30, f32::MAX, f32::INFINITY] {
            assert_eq!(sigmoid(x), 1.0, "{x}");
            assert!((0.0..1e-38).contains(&sigmoid(-x)), "{x}");
            assert_eq!(silu(x), x);
        }
        assert_eq!(silu(-1e30), 0.0);
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!(sigmoid(-0.0), 0.5);
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
