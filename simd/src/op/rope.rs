//! Rotary position embedding, in the model's two layouts: (2i, 2i + 1) for the attention, (i, i + n/2) for the
//! indexer.

use crate::isa::Isa;

/// (x0 * cos - x1 * sin, x1 * cos + x0 * sin): the product with sin rounds first, the one with cos is fused.
#[inline(always)]
fn rotate<I: Isa>(isa: I, x0: I::F32, x1: I::F32, cos: I::F32, sin: I::F32) -> (I::F32, I::F32) {
    let (y0, y1) = (isa.mul(x1, sin), isa.mul(x0, sin));
    (isa.fma(x0, cos, isa.sub(isa.splat(-0.0), y0)), isa.fma(x1, cos, y1))
}

/// Rotates the pairs (x[2i], x[2i + 1]).
#[inline(always)]
pub(crate) fn rope_pairs<I: Isa>(isa: I, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (cos, cos_tail) = cos.as_chunks::<16>();
    let (sin, sin_tail) = sin.as_chunks::<16>();
    let (x, tail) = x.as_chunks_mut::<32>();
    for ((x, cos), sin) in x.iter_mut().zip(cos).zip(sin) {
        rotate_pairs(isa, x, isa.load(cos), isa.load(sin));
    }
    if !tail.is_empty() {
        let mut padded = [0.0; 32];
        padded[..tail.len()].copy_from_slice(tail);
        rotate_pairs(isa, &mut padded, isa.load_part(cos_tail), isa.load_part(sin_tail));
        tail.copy_from_slice(&padded[..tail.len()]);
    }
}

#[inline(always)]
fn rotate_pairs<I: Isa>(isa: I, x: &mut [f32; 32], cos: I::F32, sin: I::F32) {
    let (halves, _) = x.as_chunks_mut::<16>();
    let (even, odd) = isa.deinterleave(isa.load(&halves[0]), isa.load(&halves[1]));
    let (even, odd) = rotate(isa, even, odd, cos, sin);
    let (low, high) = isa.interleave(even, odd);
    isa.store(low, &mut halves[0]);
    isa.store(high, &mut halves[1]);
}

/// Rotates the pairs (x[i], x[i + n/2]).
#[inline(always)]
pub(crate) fn rope_halves<I: Isa>(isa: I, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x.split_at_mut(cos.len());
    let (low, low_tail) = low.as_chunks_mut::<16>();
    let (high, high_tail) = high.as_chunks_mut::<16>();
    let (cos, cos_tail) = cos.as_chunks::<16>();
    let (sin, sin_tail) = sin.as_chunks::<16>();
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (y0, y1) = rotate(isa, isa.load(low), isa.load(high), isa.load(cos), isa.load(sin));
        isa.store(y0, low);
        isa.store(y1, high);
    }
    if !low_tail.is_empty() {
        let (x0, x1) = (isa.load_part(low_tail), isa.load_part(high_tail));
        let (y0, y1) = rotate(isa, x0, x1, isa.load_part(cos_tail), isa.load_part(sin_tail));
        isa.store_part(y0, low_tail);
        isa.store_part(y1, high_tail);
    }
}
