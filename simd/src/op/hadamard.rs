//! The Walsh-Hadamard transform in Sylvester's order, scaled to be orthogonal (and so its own inverse).
//!
//! Stages go from the nearest neighbours outwards; each adds or subtracts once, then everything is scaled once.

use crate::isa::Isa;

/// Transforms each block of n values, n the largest power of two that divides the length.
#[inline(always)]
pub(crate) fn hadamard<I: Isa>(isa: I, x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let n = 1 << x.len().trailing_zeros();
    let scale = (1.0 / (n as f64).sqrt()) as f32;
    for block in x.chunks_exact_mut(n) {
        if n < 16 {
            small(block, scale);
        } else {
            large(isa, block.as_chunks_mut::<16>().0, isa.splat(scale));
        }
    }
}

/// Fewer than 16 values: the same stages, one by one.
#[inline(always)]
fn small(x: &mut [f32], scale: f32) {
    let mut stride = 1;
    while stride < x.len() {
        for low in (0..x.len()).filter(|at| at & stride == 0) {
            let (a, b) = (x[low], x[low + stride]);
            (x[low], x[low + stride]) = (a + b, a - b);
        }
        stride *= 2;
    }
    for x in x {
        *x *= scale;
    }
}

#[inline(always)]
fn large<I: Isa>(isa: I, x: &mut [[f32; 16]], scale: I::F32) {
    let last = x.len() == 1;
    for x in x.iter_mut() {
        let v = isa.load(x);
        let v = stage::<I, 1>(isa, v);
        let v = stage::<I, 2>(isa, v);
        let v = stage::<I, 4>(isa, v);
        let v = stage::<I, 8>(isa, v);
        isa.store(if last { isa.mul(v, scale) } else { v }, x);
    }
    let mut stride = 1;
    while stride < x.len() {
        let last = stride * 2 == x.len();
        for group in x.chunks_exact_mut(stride * 2) {
            let (low, high) = group.split_at_mut(stride);
            for (low, high) in low.iter_mut().zip(high) {
                let (a, b) = (isa.load(low), isa.load(high));
                let (mut sum, mut difference) = (isa.add(a, b), isa.sub(a, b));
                if last {
                    (sum, difference) = (isa.mul(sum, scale), isa.mul(difference, scale));
                }
                isa.store(sum, low);
                isa.store(difference, high);
            }
        }
        stride *= 2;
    }
}

/// One stage inside a vector: lanes whose bit S is clear take a + b, the others a - b.
#[inline(always)]
fn stage<I: Isa, const S: usize>(isa: I, x: I::F32) -> I::F32 {
    let mut signs = [1.0; 16];
    for lane in 0..16 {
        if lane & S != 0 {
            signs[lane] = -1.0;
        }
    }
    // x * 1 + other, or x * -1 + other: exact products, so one rounding as in a + b and a - b.
    isa.fma(x, isa.load(&signs), isa.swap::<S>(x))
}
