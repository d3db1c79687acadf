//! Ops that go element by element.

use crate::isa::Isa;
use crate::op::exp;

/// x = f(context, x) over a slice, 16 at a time; the last part is padded with zeros.
///
/// `f` is a function item, not a closure: only a function can be told to be inlined always, and one that is not
/// inlined into the level's entry would call every instruction as a function.
#[inline(always)]
pub(super) fn map1<I: Isa, C: Copy>(isa: I, x: &mut [f32], context: C, f: impl Fn(I, C, I::F32) -> I::F32) {
    let (x, tail) = x.as_chunks_mut::<16>();
    for x in x {
        isa.store(f(isa, context, isa.load(x)), x);
    }
    if !tail.is_empty() {
        isa.store_part(f(isa, context, isa.load_part(tail)), tail);
    }
}

/// y = f(context, x, y) over two slices of one length.
#[inline(always)]
pub(super) fn map2<I: Isa, C: Copy>(
    isa: I,
    x: &[f32],
    y: &mut [f32],
    context: C,
    f: impl Fn(I, C, I::F32, I::F32) -> I::F32,
) {
    let (x, x_tail) = x.as_chunks::<16>();
    let (y, y_tail) = y.as_chunks_mut::<16>();
    for (x, y) in x.iter().zip(y) {
        isa.store(f(isa, context, isa.load(x), isa.load(y)), y);
    }
    if !y_tail.is_empty() {
        isa.store_part(f(isa, context, isa.load_part(x_tail), isa.load_part(y_tail)), y_tail);
    }
}

/// x += y.
#[inline(always)]
pub(crate) fn add<I: Isa>(isa: I, x: &mut [f32], y: &[f32]) {
    #[inline(always)]
    fn f<I: Isa>(isa: I, (): (), y: I::F32, x: I::F32) -> I::F32 {
        isa.add(x, y)
    }
    map2(isa, y, x, (), f::<I>);
}

/// y += a * x, one rounding each.
#[inline(always)]
pub(crate) fn axpy<I: Isa>(isa: I, a: f32, x: &[f32], y: &mut [f32]) {
    #[inline(always)]
    fn f<I: Isa>(isa: I, a: I::F32, x: I::F32, y: I::F32) -> I::F32 {
        isa.fma(a, x, y)
    }
    map2(isa, x, y, isa.splat(a), f::<I>);
}

/// x = 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: &mut [f32]) {
    #[inline(always)]
    fn f<I: Isa>(isa: I, (): (), x: I::F32) -> I::F32 {
        exp::sigmoid(isa, x)
    }
    map1(isa, x, (), f::<I>);
}

/// out = silu(gate) * up.
#[inline(always)]
pub(crate) fn swiglu<I: Isa>(isa: I, gate: &[f32], up: &[f32], out: &mut [f32]) {
    #[inline(always)]
    fn f<I: Isa>(isa: I, (): (), gate: I::F32, up: I::F32) -> I::F32 {
        isa.mul(exp::silu(isa, gate), up)
    }
    out.copy_from_slice(up);
    map2(isa, gate, out, (), f::<I>);
}
