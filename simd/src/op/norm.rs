//! RMSNorm and LayerNorm. Sums run in 16 lanes along the row, then through the tree; 1 / sqrt is a correctly
//! rounded root and a correctly rounded quotient.
//!
//! Source: transformers, `DeepseekV3RMSNorm` (w * (x * rsqrt(mean + eps))); torch `LayerNorm`.

use super::map::{add, map2};
use crate::isa::Isa;

/// A sum over a slice in 16 lanes; `step` adds 16 values, `pad` fills up the last ones.
#[inline(always)]
fn sum_of<I: Isa, C: Copy>(
    isa: I,
    x: &[f32],
    (context, pad): (C, f32),
    step: impl Fn(I, C, I::F32, I::F32) -> I::F32,
) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    let mut acc = isa.zero();
    for x in chunks {
        acc = step(isa, context, isa.load(x), acc);
    }
    if !tail.is_empty() {
        let mut padded = [pad; 16];
        padded[..tail.len()].copy_from_slice(tail);
        acc = step(isa, context, isa.load(&padded), acc);
    }
    isa.sum(acc)
}

#[inline(always)]
fn plain<I: Isa>(isa: I, (): (), x: I::F32, acc: I::F32) -> I::F32 {
    isa.add(acc, x)
}

#[inline(always)]
fn square<I: Isa>(isa: I, (): (), x: I::F32, acc: I::F32) -> I::F32 {
    isa.fma(x, x, acc)
}

#[inline(always)]
fn centered_square<I: Isa>(isa: I, mean: I::F32, x: I::F32, acc: I::F32) -> I::F32 {
    let d = isa.sub(x, mean);
    isa.fma(d, d, acc)
}

/// out = w * (x / sqrt(mean(x^2) + eps)). Squares overflow above 1.8e19, as in the reference.
#[inline(always)]
pub(crate) fn rms_norm<I: Isa>(isa: I, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    #[inline(always)]
    fn scaled<I: Isa>(isa: I, inverse: I::F32, x: I::F32, w: I::F32) -> I::F32 {
        isa.mul(w, isa.mul(x, inverse))
    }
    let squares = sum_of(isa, x, ((), 0.0), square::<I>);
    let inverse = isa.splat(1.0 / (squares / x.len() as f32 + eps).sqrt());
    out.copy_from_slice(weight);
    map2(isa, x, out, inverse, scaled::<I>);
}

/// out = (x - mean) / sqrt(variance + eps) * w + b.
#[inline(always)]
pub(crate) fn layer_norm<I: Isa>(isa: I, x: &[f32], affine: (&[f32], &[f32]), eps: f32, out: &mut [f32]) {
    #[inline(always)]
    fn scaled<I: Isa>(isa: I, (mean, inverse): (I::F32, I::F32), x: I::F32, w: I::F32) -> I::F32 {
        isa.mul(isa.mul(isa.sub(x, mean), inverse), w)
    }
    let n = x.len() as f32;
    let mean = sum_of(isa, x, ((), 0.0), plain::<I>) / n;
    let center = isa.splat(mean);
    // Padding with the mean adds nothing.
    let squares = sum_of(isa, x, (center, mean), centered_square::<I>);
    let inverse = isa.splat(1.0 / (squares / n + eps).sqrt());
    out.copy_from_slice(affine.0);
    map2(isa, x, out, (center, inverse), scaled::<I>);
    add(isa, out, affine.1);
}
