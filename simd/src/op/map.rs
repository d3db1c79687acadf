//! Ops that go element by element.

use crate::isa::Isa;
use crate::op::exp;

/// y = f(x, y) over two slices of one length, 16 at a time; the last part is padded with zeros.
#[inline(always)]
fn map2<I: Isa>(isa: I, x: &[f32], y: &mut [f32], f: impl Fn(I::F32, I::F32) -> I::F32) {
    let (x, x_tail) = x.as_chunks::<16>();
    let (y, y_tail) = y.as_chunks_mut::<16>();
    for (x, y) in x.iter().zip(y) {
        isa.store(f(isa.load(x), isa.load(y)), y);
    }
    if !y_tail.is_empty() {
        isa.store_part(f(isa.load_part(x_tail), isa.load_part(y_tail)), y_tail);
    }
}

/// x = f(x).
#[inline(always)]
pub(super) fn map1<I: Isa>(isa: I, x: &mut [f32], f: impl Fn(I::F32) -> I::F32) {
    let (x, tail) = x.as_chunks_mut::<16>();
    for x in x {
        isa.store(f(isa.load(x)), x);
    }
    if !tail.is_empty() {
        isa.store_part(f(isa.load_part(tail)), tail);
    }
}

/// x += y.
#[inline(always)]
pub(crate) fn add<I: Isa>(isa: I, x: &mut [f32], y: &[f32]) {
    map2(isa, y, x, |y, x| isa.add(x, y));
}

/// y += a * x, one rounding each.
#[inline(always)]
pub(crate) fn axpy<I: Isa>(isa: I, a: f32, x: &[f32], y: &mut [f32]) {
    let a = isa.splat(a);
    map2(isa, x, y, |x, y| isa.fma(a, x, y));
}

/// x = 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: &mut [f32]) {
    map1(isa, x, |x| exp::sigmoid(isa, x));
}

/// out = silu(gate) * up.
#[inline(always)]
pub(crate) fn swiglu<I: Isa>(isa: I, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let f = |gate, up| isa.mul(exp::silu(isa, gate), up);
    let (gate, gate_tail) = gate.as_chunks::<16>();
    let (up, up_tail) = up.as_chunks::<16>();
    let (out, tail) = out.as_chunks_mut::<16>();
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        isa.store(f(isa.load(gate), isa.load(up)), out);
    }
    if !tail.is_empty() {
        isa.store_part(f(isa.load_part(gate_tail), isa.load_part(up_tail)), tail);
    }
}
