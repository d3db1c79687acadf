//! RMSNorm and LayerNorm. Sums run in 16 lanes along the row, then through the tree; 1 / sqrt is a correctly
//! rounded root and a correctly rounded quotient.
//!
//! Source: transformers, `DeepseekV3RMSNorm` (w * (x * rsqrt(mean + eps))); torch `LayerNorm`.

use crate::isa::Isa;

/// The sum of f(x) over a slice; what pads the last part counts f(0) = 0 only if `f` says so.
#[inline(always)]
fn sum_of<I: Isa>(isa: I, x: &[f32], pad: f32, f: impl Fn(I::F32, I::F32) -> I::F32) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    let mut acc = isa.zero();
    for x in chunks {
        acc = f(isa.load(x), acc);
    }
    if !tail.is_empty() {
        let mut padded = [pad; 16];
        padded[..tail.len()].copy_from_slice(tail);
        acc = f(isa.load(&padded), acc);
    }
    isa.sum(acc)
}

/// out = w * (x / sqrt(mean(x^2) + eps)). Squares overflow above 1.8e19, as in the reference.
#[inline(always)]
pub(crate) fn rms_norm<I: Isa>(isa: I, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares = sum_of(isa, x, 0.0, |x, acc| isa.fma(x, x, acc));
    let inverse = isa.splat(1.0 / (squares / x.len() as f32 + eps).sqrt());
    let f = |x, w| isa.mul(w, isa.mul(x, inverse));
    let (x, x_tail) = x.as_chunks::<16>();
    let (weight, weight_tail) = weight.as_chunks::<16>();
    let (out, tail) = out.as_chunks_mut::<16>();
    for ((x, w), out) in x.iter().zip(weight).zip(out) {
        isa.store(f(isa.load(x), isa.load(w)), out);
    }
    if !tail.is_empty() {
        isa.store_part(f(isa.load_part(x_tail), isa.load_part(weight_tail)), tail);
    }
}

/// out = (x - mean) / sqrt(variance + eps) * w + b.
#[inline(always)]
pub(crate) fn layer_norm<I: Isa>(isa: I, x: &[f32], affine: (&[f32], &[f32]), eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = sum_of(isa, x, 0.0, |x, acc| isa.add(acc, x)) / n;
    let center = isa.splat(mean);
    let squares = sum_of(isa, x, mean, |x, acc| {
        let d = isa.sub(x, center);
        isa.fma(d, d, acc)
    });
    let inverse = isa.splat(1.0 / (squares / n + eps).sqrt());
    let f = |x, w, b| isa.fma(isa.mul(isa.sub(x, center), inverse), w, b);
    let (x, x_tail) = x.as_chunks::<16>();
    let (weight, weight_tail) = affine.0.as_chunks::<16>();
    let (bias, bias_tail) = affine.1.as_chunks::<16>();
    let (out, tail) = out.as_chunks_mut::<16>();
    for (((x, w), b), out) in x.iter().zip(weight).zip(bias).zip(out) {
        isa.store(f(isa.load(x), isa.load(w), isa.load(b)), out);
    }
    if !tail.is_empty() {
        let y = f(isa.load_part(x_tail), isa.load_part(weight_tail), isa.load_part(bias_tail));
        isa.store_part(y, tail);
    }
}
