//! Softmax over one slice.

use super::exp::exp;
use super::map::map;
use crate::isa::Isa;

/// x = e^(x - max) / sum. -inf elements become 0; a NaN, or nothing but -inf, makes every element NaN.
#[inline(always)]
pub(crate) fn softmax<I: Isa>(isa: I, x: &mut [f32]) {
    let lowest = isa.splat(f32::NEG_INFINITY);
    let mut max = lowest;
    let (chunks, tail) = x.as_chunks::<16>();
    for x in chunks {
        max = isa.max(isa.load(x), max);
    }
    if !tail.is_empty() {
        let mut padded = [f32::NEG_INFINITY; 16];
        padded[..tail.len()].copy_from_slice(tail);
        max = isa.max(isa.load(&padded), max);
    }
    let max = isa.splat(isa.max_lane(max));
    map!(isa, x as v, [], exp(isa, isa.sub(v, max)));
    let mut sum = isa.zero();
    let (chunks, tail) = x.as_chunks::<16>();
    for x in chunks {
        sum = isa.add(sum, isa.load(x));
    }
    if !tail.is_empty() {
        sum = isa.add(sum, isa.load_part(tail));
    }
    let sum = isa.splat(isa.sum(sum));
    map!(isa, x as v, [], isa.div(v, sum));
}
