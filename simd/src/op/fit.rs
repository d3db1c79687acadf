//! The search behind every block format below 8 bits: which scale (and offset) makes the least weighted squared error.
//!
//! Rounding makes the error of a scale a jagged curve, so no formula finds its minimum. What is known is this: once
//! every value has its integer `l`, the best scale is a weighted least-squares fit; and once the scale is known, the
//! best integers are the nearest ones. Both steps can only lower the error. So a grid of scales is tried, each with
//! one fit, and the winner is refined by turns until nothing changes ([`fit_scale`], [`fit_line`]).
//!
//! Scales are then stored rounded (to a half, or to a few bits times a half): [`nearest_scale`] and [`nearest_line`]
//! round each value again for the scales next to the ideal one, and judge by the error of the file itself.
//!
//! **Form.** 16 sub-blocks lie in 16 lanes, so that no sum crosses a register and every step of the search, its
//! decisions too, is taken for 16 at a time.
//!
//! **Definition.** Each step is rounded by itself: no fused multiplication, since the scalar level, which would have
//! to call a function for one, writes the same files. A sum over a sub-block is four sums, of every fourth value from
//! the 0th, 1st, 2nd and 3rd on, added in that order. So all levels agree bit for bit.

use crate::fit::{Lanes, Lines, NearestLine, NearestScale, Range, Residuals, Totals};
use crate::isa::Isa;

/// Fits by turns after the grid; most sub-blocks need one or two.
const MAX_TURNS: usize = 4;

/// Nearest integer, halves to even, for |x| < 2^22.
#[inline(always)]
fn round<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let rounder = isa.splat(12_582_912.0);
    isa.sub(isa.add(x, rounder), rounder)
}

/// Within a range; NaN stays NaN.
#[inline(always)]
fn clamp<I: Isa>(isa: I, x: I::F32, low: I::F32, high: I::F32) -> I::F32 {
    isa.min(high, isa.max(low, x))
}

#[inline(always)]
fn negative<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    isa.sub(isa.splat(-0.0), x)
}

/// All ones where the bits of two vectors differ.
#[inline(always)]
fn differ<I: Isa>(isa: I, a: I::F32, b: I::F32) -> I::I32 {
    let d = isa.sub_i32(isa.bits(a), isa.bits(b));
    isa.shr_signed::<31>(isa.or(d, isa.sub_i32(isa.splat_i32(0), d)))
}

#[inline(always)]
fn select<I: Isa>(isa: I, mask: I::I32, a: I::F32, b: I::F32) -> I::F32 {
    isa.with_bits(isa.select(mask, isa.bits(a), isa.bits(b)))
}

/// All ones where a > b.
#[inline(always)]
fn above<I: Isa>(isa: I, a: I::F32, b: I::F32) -> I::I32 {
    differ(isa, isa.max(a, b), b)
}

/// `1 / x`, or 0 where that is no finite number: then every value becomes the integer nearest the offset.
#[inline(always)]
fn inverse<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let inverse = isa.div(isa.splat(1.0), x);
    let exponent = isa.splat_i32(0x7f80_0000);
    let exponents = isa.with_bits(isa.and(isa.bits(inverse), exponent));
    select(isa, differ(isa, exponents, isa.with_bits(exponent)), inverse, isa.zero())
}

/// The vectors' groups of four, values and weights.
#[inline(always)]
fn fours<'a>(v: Lanes<'a>) -> impl Iterator<Item = (&'a [[f32; 16]; 4], &'a [[f32; 16]; 4])> {
    v.x.as_chunks::<4>().0.iter().zip(v.w.as_chunks::<4>().0)
}

/// Sums of `w * l`, `w * l^2` and `w * l * x` for values rounded to `l = x * inverse + shift`.
#[inline(always)]
fn sums<I: Isa>(isa: I, v: Lanes<'_>, inverse: I::F32, shift: I::F32, range: Range) -> [I::F32; 3] {
    let (low, high) = (isa.splat(range.low), isa.splat(range.high));
    let mut totals = [isa.zero(); 3];
    for part in 0..4 {
        let (mut l_sum, mut ll_sum, mut xl_sum) = (isa.zero(), isa.zero(), isa.zero());
        for (x, w) in fours(v) {
            let (x, w) = (isa.load(&x[part]), isa.load(&w[part]));
            let l = round(isa, clamp(isa, isa.add(isa.mul(x, inverse), shift), low, high));
            let wl = isa.mul(w, l);
            l_sum = isa.add(l_sum, wl);
            ll_sum = isa.add(ll_sum, isa.mul(wl, l));
            xl_sum = isa.add(xl_sum, isa.mul(wl, x));
        }
        totals = [isa.add(totals[0], l_sum), isa.add(totals[1], ll_sum), isa.add(totals[2], xl_sum)];
    }
    totals
}

/// [`Residuals`] in registers.
#[derive(Clone, Copy)]
struct Residual<I: Isa> {
    error: I::F32,
    l: I::F32,
    ll: I::F32,
    xl: I::F32,
}

impl<I: Isa> Residual<I> {
    /// Of lines with the nearest integers.
    #[inline(always)]
    fn of(isa: I, v: Lanes<'_>, scale: I::F32, offset: I::F32, range: Range) -> Self {
        let (low, high) = (isa.splat(range.low), isa.splat(range.high));
        let inverse = inverse(isa, scale);
        let zero = isa.zero();
        let mut totals = Self { error: zero, l: zero, ll: zero, xl: zero };
        for part in 0..4 {
            let mut sums = Self { error: zero, l: zero, ll: zero, xl: zero };
            for (x, w) in fours(v) {
                let (x, w) = (isa.load(&x[part]), isa.load(&w[part]));
                let y = isa.sub(x, offset);
                let l = round(isa, clamp(isa, isa.mul(y, inverse), low, high));
                let miss = isa.sub(y, isa.mul(scale, l));
                let wl = isa.mul(w, l);
                sums.error = isa.add(sums.error, isa.mul(w, isa.mul(miss, miss)));
                sums.l = isa.add(sums.l, wl);
                sums.ll = isa.add(sums.ll, isa.mul(wl, l));
                sums.xl = isa.add(sums.xl, isa.mul(wl, x));
            }
            totals.error = isa.add(totals.error, sums.error);
            totals.l = isa.add(totals.l, sums.l);
            totals.ll = isa.add(totals.ll, sums.ll);
            totals.xl = isa.add(totals.xl, sums.xl);
        }
        totals
    }

    /// Where the mask is set, the other.
    #[inline(always)]
    fn or(self, isa: I, mask: I::I32, other: Self) -> Self {
        Self {
            error: select(isa, mask, other.error, self.error),
            l: select(isa, mask, other.l, self.l),
            ll: select(isa, mask, other.ll, self.ll),
            xl: select(isa, mask, other.xl, self.xl),
        }
    }

    #[inline(always)]
    fn store(self, isa: I, out: &mut Residuals) {
        isa.store(self.error, &mut out.error);
        isa.store(self.l, &mut out.l);
        isa.store(self.ll, &mut out.ll);
        isa.store(self.xl, &mut out.xl);
    }
}

/// Smallest and largest value of each sub-block.
#[inline(always)]
fn extremes<I: Isa>(isa: I, v: Lanes<'_>) -> (I::F32, I::F32) {
    let (mut low, mut high) = (isa.splat(f32::INFINITY), isa.splat(f32::NEG_INFINITY));
    for x in v.x {
        let x = isa.load(x);
        (low, high) = (isa.min(x, low), isa.max(x, high));
    }
    (low, high)
}

/// [16, n] to [n, 16].
#[inline(always)]
pub(crate) fn to_lanes<I: Isa>(isa: I, values: &[f32], out: &mut [[f32; 16]]) {
    let n = out.len();
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let mut rows = [isa.zero(); 16];
        for (at, row) in rows.iter_mut().enumerate() {
            *row = isa.load(values[at * n + 16 * part..].first_chunk().expect("16 values"));
        }
        for (column, out) in isa.transpose(&rows).into_iter().zip(out) {
            isa.store(column, out);
        }
    }
}

#[inline(always)]
pub(crate) fn fit_totals<I: Isa>(isa: I, v: Lanes<'_>, out: &mut Totals) {
    let (mut weight, mut weighted) = (isa.zero(), isa.zero());
    for part in 0..4 {
        let (mut w_sum, mut wx_sum) = (isa.zero(), isa.zero());
        for (x, w) in fours(v) {
            let (x, w) = (isa.load(&x[part]), isa.load(&w[part]));
            w_sum = isa.add(w_sum, w);
            wx_sum = isa.add(wx_sum, isa.mul(w, x));
        }
        (weight, weighted) = (isa.add(weight, w_sum), isa.add(weighted, wx_sum));
    }
    isa.store(weight, &mut out.weight);
    isa.store(weighted, &mut out.weighted);
}

/// The scale of `x = scale * l`. May be negative: the longer side of the range then goes to the larger values.
///
/// `reaches` are the integers, perhaps fractions, that the value of largest magnitude is tried at.
#[inline(always)]
pub(crate) fn fit_scale<I: Isa>(isa: I, v: Lanes<'_>, range: Range, reaches: &[f32], out: &mut [f32; 16]) {
    let (smallest, largest) = extremes(isa, v);
    let longer = above(isa, largest, negative(isa, smallest));
    let unit = inverse(isa, select(isa, longer, largest, smallest));
    let (mut best, mut explained) = (isa.zero(), isa.zero());
    for turn in 0..reaches.len() + MAX_TURNS {
        let try_at = match reaches.get(turn) {
            Some(&reach) => isa.mul(unit, isa.splat(reach)),
            None => inverse(isa, best),
        };
        // With the best scale for some integers, xl / ll, the error is sum(w x^2) - xl^2 / ll.
        let [_, ll, xl] = sums(isa, v, try_at, isa.zero(), range);
        let gain = isa.div(isa.mul(xl, xl), ll);
        let better = above(isa, gain, explained);
        if turn >= reaches.len() && !any(isa, better) {
            break;
        }
        best = select(isa, better, isa.div(xl, ll), best);
        explained = isa.max(gain, explained);
    }
    isa.store(best, out);
}

/// Whether a mask is set anywhere.
#[inline(always)]
fn any<I: Isa>(isa: I, mask: I::I32) -> bool {
    isa.sum_i32(mask) != 0
}

/// What stays the same from trial to trial of [`fit_line`].
#[derive(Clone, Copy)]
struct Trial<I: Isa> {
    /// The smallest value, or 0 where that is smaller and lines are pinned; distances from it lose fewer digits than
    /// the values themselves.
    base: I::F32,
    weight: I::F32,
    /// Sum of `w * (x - base)`.
    weighted: I::F32,
    pinned: bool,
}

impl<I: Isa> Trial<I> {
    /// The best line for the integers `(x - offset) * inverse`, and what it takes off the error; NaN if no line is
    /// determined.
    #[inline(always)]
    fn fit(&self, isa: I, v: Lanes<'_>, inverse: I::F32, offset: I::F32, top: f32) -> [I::F32; 3] {
        let Self { base, weight, weighted, pinned } = *self;
        let shift = isa.mul(negative(isa, offset), inverse);
        let [l, ll, xl] = sums(isa, v, inverse, shift, Range { low: 0.0, high: top });
        let yl = isa.sub(xl, isa.mul(base, l));
        let determinant = isa.sub(isa.mul(weight, ll), isa.mul(l, l));
        let mut scale = isa.div(isa.sub(isa.mul(weight, yl), isa.mul(weighted, l)), determinant);
        let mut offset = isa.div(isa.sub(isa.mul(ll, weighted), isa.mul(l, yl)), determinant);
        if pinned {
            let limit = negative(isa, base);
            let beyond = above(isa, offset, limit);
            offset = select(isa, beyond, limit, offset);
            scale = select(isa, beyond, isa.div(isa.sub(yl, isa.mul(offset, l)), ll), scale);
        }
        let two = isa.splat(2.0);
        let by_scale =
            isa.sub(isa.sub(isa.mul(two, yl), isa.mul(scale, ll)), isa.mul(isa.mul(two, offset), l));
        let by_offset = isa.sub(isa.mul(two, weighted), isa.mul(offset, weight));
        let gain = isa.add(isa.mul(scale, by_scale), isa.mul(offset, by_offset));
        // All integers equal: nothing compares greater than what is no number.
        let gain = select(isa, above(isa, scale, isa.zero()), gain, isa.splat(f32::NAN));
        [scale, isa.add(offset, base), gain]
    }
}

/// The line `x = scale * l + offset`, `l` in `0..=top`, with `offset <= 0` if `pinned`: formats that store a magnitude
/// to subtract cannot add one.
///
/// `reaches` are the integers, perhaps fractions, that the range of values is tried at.
#[inline(always)]
pub(crate) fn fit_line<I: Isa>(
    isa: I,
    v: Lanes<'_>,
    (top, pinned): (f32, bool),
    reaches: &[f32],
    out: &mut Lines,
) {
    let (smallest, largest) = extremes(isa, v);
    let base = if pinned { isa.min(smallest, isa.zero()) } else { smallest };
    let span = isa.sub(largest, base);
    let mut totals = Totals::default();
    fit_totals(isa, v, &mut totals);
    let weight = isa.load(&totals.weight);
    let weighted = isa.sub(isa.load(&totals.weighted), isa.mul(weight, base));
    let trial = Trial::<I> { base, weight, weighted, pinned };
    let (mut scale, mut offset) = (isa.div(span, isa.splat(top)), base);
    let mut explained = isa.splat(f32::NEG_INFINITY);
    for turn in 0..reaches.len() + MAX_TURNS {
        let [new_scale, new_offset, gain] = match reaches.get(turn) {
            Some(&reach) => trial.fit(isa, v, isa.div(isa.splat(reach), span), base, top),
            None => trial.fit(isa, v, inverse(isa, scale), offset, top),
        };
        let better = above(isa, gain, explained);
        if turn >= reaches.len() && !any(isa, better) {
            break;
        }
        scale = select(isa, better, new_scale, scale);
        offset = select(isa, better, new_offset, offset);
        explained = isa.max(gain, explained);
    }
    // Where all values are equal, nothing above was a number.
    let spread = above(isa, inverse(isa, span), isa.zero());
    isa.store(select(isa, spread, scale, isa.zero()), &mut out.scale);
    isa.store(select(isa, spread, offset, base), &mut out.offset);
}

/// What lines miss, with the nearest integers within the range.
#[inline(always)]
pub(crate) fn fit_error<I: Isa>(isa: I, v: Lanes<'_>, lines: &Lines, range: Range, out: &mut Residuals) {
    let (scale, offset) = (isa.load(&lines.scale), isa.load(&lines.offset));
    Residual::of(isa, v, scale, offset, range).store(isa, out);
}

/// The integers that [`fit_error`] judged: [16, n].
#[inline(always)]
pub(crate) fn fit_quants<I: Isa>(isa: I, v: Lanes<'_>, lines: &Lines, range: Range, out: &mut [i8]) {
    let (scale, offset) = (isa.load(&lines.scale), isa.load(&lines.offset));
    let (low, high, inverse) = (isa.splat(range.low), isa.splat(range.high), inverse(isa, scale));
    let n = v.x.len();
    for (part, xs) in v.x.as_chunks::<16>().0.iter().enumerate() {
        let mut columns = [isa.zero(); 16];
        for (x, column) in xs.iter().zip(&mut columns) {
            let l = isa.mul(isa.sub(isa.load(x), offset), inverse);
            *column = round(isa, clamp(isa, l, low, high));
        }
        for (at, row) in isa.transpose(&columns).into_iter().enumerate() {
            let out = out[at * n + 16 * part..].first_chunk_mut().expect("16 quants");
            isa.store_i8(isa.round(row), out);
        }
    }
}

/// The stored scale for which the file has the least error, among those next to `ideal / unit`.
#[inline(always)]
pub(crate) fn nearest_scale<I: Isa>(
    isa: I,
    v: Lanes<'_>,
    near: NearestScale<'_>,
    scale: &mut [f32; 16],
    out: &mut Residuals,
) {
    let NearestScale { ideal, unit, quants, scales } = near;
    let (low, high, unit) = (isa.splat(scales.low), isa.splat(scales.high), isa.load(unit));
    let centre = isa.mul(isa.load(ideal), inverse(isa, unit));
    let centre = round(isa, clamp(isa, centre, low, high));
    let mut best = centre;
    let mut residual = Residual::of(isa, v, isa.mul(unit, centre), isa.zero(), quants);
    for step in [-1.0, 1.0] {
        let next = clamp(isa, isa.add(centre, isa.splat(step)), low, high);
        let found = Residual::of(isa, v, isa.mul(unit, next), isa.zero(), quants);
        let better = above(isa, residual.error, found.error);
        best = select(isa, better, next, best);
        residual = residual.or(isa, better, found);
    }
    isa.store(best, scale);
    residual.store(isa, out);
}

/// The stored scale and minimum for which the file has the least error, among those next to the ideal line.
#[inline(always)]
pub(crate) fn nearest_line<I: Isa>(
    isa: I,
    v: Lanes<'_>,
    near: NearestLine<'_>,
    pairs: &mut Lines,
    out: &mut Residuals,
) {
    let most = isa.splat(near.most);
    let quants = Range { low: 0.0, high: near.top };
    let (d, dmin) = (isa.load(&near.unit.scale), isa.load(&near.unit.offset));
    let (weight, weighted) = (isa.load(&near.totals.weight), isa.load(&near.totals.weighted));
    let min_inverse = inverse(isa, dmin);
    let centre = isa.mul(isa.load(&near.ideal.scale), inverse(isa, d));
    let centre = round(isa, clamp(isa, centre, isa.zero(), most));
    let first_min = isa.mul(negative(isa, isa.load(&near.ideal.offset)), min_inverse);
    let first_min = round(isa, clamp(isa, first_min, isa.zero(), most));
    let zero = isa.zero();
    let (mut best_scale, mut best_min) = (zero, zero);
    let mut best = Residual::<I> { error: isa.splat(f32::INFINITY), l: zero, ll: zero, xl: zero };
    for step in [0.0, -1.0, 1.0] {
        let scale = clamp(isa, isa.add(centre, isa.splat(step)), zero, most);
        let mut min = first_min;
        for fitted in [false, true] {
            let offset = negative(isa, isa.mul(dmin, min));
            let found = Residual::of(isa, v, isa.mul(d, scale), offset, quants);
            let better = above(isa, best.error, found.error);
            best_scale = select(isa, better, scale, best_scale);
            best_min = select(isa, better, min, best_min);
            best = best.or(isa, better, found);
            if !fitted {
                // The minimum that fits these integers best.
                let exact = isa.div(isa.sub(isa.mul(isa.mul(d, scale), found.l), weighted), weight);
                min = round(isa, clamp(isa, isa.mul(exact, min_inverse), zero, most));
            }
        }
    }
    isa.store(best_scale, &mut pairs.scale);
    isa.store(best_min, &mut pairs.offset);
    best.store(isa, out);
}
