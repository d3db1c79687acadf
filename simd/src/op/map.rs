//! Ops that go element by element.

use crate::isa::Isa;
use crate::op::exp;

/// `map!(isa, out as y, [a = x, ...], value)`: out = value, 16 elements at a time, where y stands for what is in out
/// and a for what is in x; the last part is padded with zeros.
///
/// A macro, because a closure cannot be told to be inlined always, and one that is not inlined into the level's entry
/// calls every instruction as a function (40 times slower when it was tried).
macro_rules! map {
    ($isa:ident, $out:ident as $y:ident, [$($x:ident = $slice:expr),*], $value:expr) => {{
        let (chunks, tail) = $out.as_chunks_mut::<16>();
        let n = chunks.len();
        for at in 0..n {
            let $y = $isa.load(&chunks[at]);
            $(let $x = $isa.load(&$slice.as_chunks().0[at]);)*
            $isa.store($value, &mut chunks[at]);
        }
        if !tail.is_empty() {
            let $y = $isa.load_part(tail);
            $(let $x = $isa.load_part(&$slice[16 * n..]);)*
            $isa.store_part($value, tail);
        }
    }};
}
pub(super) use map;

/// x += y.
#[inline(always)]
pub(crate) fn add<I: Isa>(isa: I, x: &mut [f32], y: &[f32]) {
    map!(isa, x as sum, [y = y], isa.add(sum, y));
}

/// y += a * x, one rounding each.
#[inline(always)]
pub(crate) fn axpy<I: Isa>(isa: I, a: f32, x: &[f32], y: &mut [f32]) {
    let a = isa.splat(a);
    map!(isa, y as sum, [x = x], isa.fma(a, x, sum));
}

/// x = 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: &mut [f32]) {
    map!(isa, x as v, [], exp::sigmoid(isa, v));
}

/// out = silu(gate) * up.
#[inline(always)]
pub(crate) fn swiglu<I: Isa>(isa: I, gate: &[f32], up: &[f32], out: &mut [f32]) {
    map!(isa, out as _old, [gate = gate, up = up], isa.mul(exp::silu(isa, gate), up));
}
