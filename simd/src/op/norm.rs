//! RMSNorm and LayerNorm. Sums run in 16 lanes along the row, then through the tree; 1 / sqrt is a correctly
//! rounded root and a correctly rounded quotient.
//!
//! Source: transformers, `DeepseekV3RMSNorm` (w * (x * rsqrt(mean + eps))); torch `LayerNorm`.

use super::map::map;
use crate::isa::Isa;

/// `sum_of!(isa, x padded with pad, (v, acc), step)`: a sum over a slice in 16 lanes. `step` takes 16 values v to the
/// running sums acc. A macro for the reason that `map!` is one.
macro_rules! sum_of {
    ($isa:ident, $x:ident padded with $pad:expr, ($v:ident, $acc:ident), $step:expr) => {{
        let (chunks, tail) = $x.as_chunks::<16>();
        let mut $acc = $isa.zero();
        for chunk in chunks {
            let $v = $isa.load(chunk);
            $acc = $step;
        }
        if !tail.is_empty() {
            let mut padded = [$pad; 16];
            padded[..tail.len()].copy_from_slice(tail);
            let $v = $isa.load(&padded);
            $acc = $step;
        }
        $isa.sum($acc)
    }};
}

/// `1 / sqrt(squares / n + eps)`; NaN where the squares overflowed, for otherwise a row of huge numbers would come out as zeros
/// (or as the bias), and nobody would see that anything was wrong.
#[inline(always)]
fn inverse_root(squares: f32, n: f32, eps: f32) -> f32 {
    let inverse = 1.0 / (squares / n + eps).sqrt();
    if squares.is_finite() { inverse } else { f32::NAN }
}

/// out = w * (x / sqrt(mean(x^2) + eps)). Squares overflow above 1.8e19: all outputs are then NaN.
#[inline(always)]
pub(crate) fn rms_norm<I: Isa>(isa: I, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares = sum_of!(isa, x padded with 0.0, (v, acc), isa.fma(v, v, acc));
    let inverse = isa.splat(inverse_root(squares, x.len() as f32, eps));
    map!(isa, out as _old, [x = x, w = weight], isa.mul(w, isa.mul(x, inverse)));
}

/// out = (x - mean) / sqrt(variance + eps) * w + b, the last two fused. All NaN where the squares overflow.
#[inline(always)]
pub(crate) fn layer_norm<I: Isa>(isa: I, x: &[f32], affine: (&[f32], &[f32]), eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = sum_of!(isa, x padded with 0.0, (v, acc), isa.add(acc, v)) / n;
    let center = isa.splat(mean);
    // Padding with the mean adds nothing.
    let squares = sum_of!(isa, x padded with mean, (v, acc), {
        let d = isa.sub(v, center);
        isa.fma(d, d, acc)
    });
    let inverse = isa.splat(inverse_root(squares, n, eps));
    map!(isa, out as _old, [x = x, w = affine.0, b = affine.1], {
        isa.fma(isa.mul(isa.sub(x, center), inverse), w, b)
    });
}
