//! The search behind every block format: which scale (and offset) makes the least weighted squared error.
//!
//! Rounding makes the error of a scale a jagged curve, so no formula finds its minimum. What is known is this: once
//! every value has its integer `l`, the best scale is a weighted least-squares fit; and once the scale is known, the
//! best integers are the nearest ones. Both steps can only lower the error. So a grid of scales is tried, each with
//! one fit, and the winner is refined by turns until nothing changes ([`symmetric`], [`affine`]).
//!
//! Scales are then stored rounded (to a half, or to a few bits times a half): the callers round each value again for
//! the scale that is really in the file, and judge by [`Values::residual`], which is the error of the file itself.
//!
//! Loops run over four lanes with a sum in each, so that any x86-64 or Arm compiles them to vector code, and results
//! are the same bits everywhere: no fused multiply-add, no reordered sum.

/// Lanes of a sum.
const LANES: usize = 4;
/// Fits by turns after the grid; most sub-blocks need one or two.
const MAX_TURNS: usize = 4;

/// A sub-block: `N` values that share one scale.
pub(super) struct Values<'a, const N: usize> {
    pub x: &'a [f32; N],
    /// Importance of each value: finite, not negative, not all zero.
    pub w: &'a [f32; N],
}

/// What a fit needs of values rounded to integers `l`.
#[derive(Clone, Copy, Default)]
struct Sums {
    l: f32,
    ll: f32,
    xl: f32,
}

/// `scale * l + offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    pub scale: f32,
    pub offset: f32,
}

/// The error of a block as the file will hold it.
#[derive(Clone, Copy)]
pub(super) struct Residual {
    /// Sum of `w * (x - decoded)^2`.
    pub error: f32,
    /// Sum of `w * l`.
    pub l: f32,
    /// Sum of `w * l^2`.
    pub ll: f32,
    /// Sum of `w * x * l`.
    pub xl: f32,
}

/// Nearest integer, halves to even, for |x| < 2^22.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    (x + ROUNDER) - ROUNDER
}

/// `1 / x`, or 0 where that is no finite number: then every value becomes the integer nearest the offset.
#[inline(always)]
pub(super) fn inverse(x: f32) -> f32 {
    let inverse = 1.0 / x;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// All lanes, in their order.
#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    lanes.into_iter().fold(0.0, |sum, lane| sum + lane)
}

impl<'a, const N: usize> Values<'a, N> {
    /// A sum over the sub-block, in lanes.
    #[inline(always)]
    fn sum(&self, term: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0f32; LANES];
        for (x, w) in self.x.as_chunks::<LANES>().0.iter().zip(self.w.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                lanes[i] += term(x[i], w[i]);
            }
        }
        total(lanes)
    }

    /// Sum of weights.
    pub fn weight(&self) -> f32 {
        self.sum(|_, w| w)
    }

    /// Sum of weighted values.
    pub fn weighted(&self) -> f32 {
        self.sum(|x, w| w * x)
    }

    /// Smallest and largest value.
    pub fn range(&self) -> (f32, f32) {
        let mut low = [f32::INFINITY; LANES];
        let mut high = [f32::NEG_INFINITY; LANES];
        for x in self.x.as_chunks::<LANES>().0 {
            for i in 0..LANES {
                low[i] = if x[i] < low[i] { x[i] } else { low[i] };
                high[i] = if x[i] > high[i] { x[i] } else { high[i] };
            }
        }
        (low.into_iter().fold(low[0], f32::min), high.into_iter().fold(high[0], f32::max))
    }

    /// Sums for values rounded to `x * inverse + shift`, within `low..=high`.
    #[inline(always)]
    fn sums(&self, inverse: f32, shift: f32, low: f32, high: f32) -> Sums {
        let [l, ll, xl] = sums_in_lanes(self, inverse, shift, (low, high)).map(total);
        Sums { l, ll, xl }
    }

    /// The error of `scale * l + offset` with the nearest integers within `low..=high`.
    #[inline(always)]
    pub fn residual(&self, line: Line, low: f32, high: f32) -> Residual {
        let [error, l, ll, xl] = residual_in_lanes(self, line, inverse(line.scale), (low, high)).map(total);
        Residual { error, l, ll, xl }
    }

    /// The integers that [`Values::residual`] judged.
    #[inline(always)]
    pub fn quants(&self, line: Line, low: f32, high: f32, out: &mut [i8; N]) {
        let inverse = inverse(line.scale);
        for (x, out) in self.x.iter().zip(out) {
            *out = round(((x - line.offset) * inverse).clamp(low, high)) as i32 as i8;
        }
    }
}

/// The loop of [`Values::sums`]. By itself, because lanes that are returned in memory are what compilers see as vectors;
/// inlined into a sum of lanes the loop becomes twice as slow.
#[inline(never)]
fn sums_in_lanes<const N: usize>(
    values: &Values<'_, N>,
    inverse: f32,
    shift: f32,
    (low, high): (f32, f32),
) -> [[f32; LANES]; 3] {
    let (mut l_sum, mut ll_sum, mut xl_sum) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for (x, w) in values.x.as_chunks::<LANES>().0.iter().zip(values.w.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let l = round((x[i] * inverse + shift).clamp(low, high));
            let wl = w[i] * l;
            l_sum[i] += wl;
            ll_sum[i] += wl * l;
            xl_sum[i] += wl * x[i];
        }
    }
    [l_sum, ll_sum, xl_sum]
}

/// The loop of [`Values::residual`], by itself for the same reason.
#[inline(never)]
fn residual_in_lanes<const N: usize>(
    values: &Values<'_, N>,
    Line { scale, offset }: Line,
    inverse: f32,
    (low, high): (f32, f32),
) -> [[f32; LANES]; 4] {
    let mut error = [0f32; LANES];
    let (mut l_sum, mut ll_sum, mut xl_sum) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for (x, w) in values.x.as_chunks::<LANES>().0.iter().zip(values.w.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let y = x[i] - offset;
            let l = round((y * inverse).clamp(low, high));
            let miss = y - scale * l;
            let wl = w[i] * l;
            error[i] += w[i] * (miss * miss);
            l_sum[i] += wl;
            ll_sum[i] += wl * l;
            xl_sum[i] += wl * x[i];
        }
    }
    [error, l_sum, ll_sum, xl_sum]
}

/// The scale of `x = scale * l`, `l` in `low..=high` (`low < 0 < high`). May be negative: the longer side of the range
/// then goes to the larger values.
///
/// `reaches` are the integers, perhaps fractions, that the value of largest magnitude is tried at.
#[inline(always)]
pub(super) fn symmetric<const N: usize>(values: &Values<'_, N>, low: f32, high: f32, reaches: &[f32]) -> f32 {
    let (smallest, largest) = values.range();
    let unit = inverse(if largest > -smallest { largest } else { smallest });
    // With the best scale for some integers, xl / ll, the error is sum(w x^2) - xl^2 / ll.
    let fit = |inverse: f32| {
        let sums = values.sums(inverse, 0.0, low, high);
        (sums.xl / sums.ll, sums.xl * sums.xl / sums.ll)
    };
    let (mut best, mut explained) = (0.0, 0.0);
    for reach in reaches {
        let (scale, gain) = fit(unit * reach);
        if gain > explained {
            (best, explained) = (scale, gain);
        }
    }
    for _ in 0..MAX_TURNS {
        let (scale, gain) = fit(inverse(best));
        if gain > explained {
            (best, explained) = (scale, gain);
        } else {
            break;
        }
    }
    best
}

/// The line `x = scale * l + offset`, `l` in `0..=high`, with `offset <= 0` if `pinned`: formats that store a
/// magnitude to subtract cannot add one.
///
/// `reaches` are the integers, perhaps fractions, that the range of values is tried at.
#[inline(always)]
pub(super) fn affine<const N: usize>(
    values: &Values<'_, N>,
    high: f32,
    pinned: bool,
    reaches: &[f32],
) -> Line {
    let (smallest, largest) = values.range();
    let base = if pinned { smallest.min(0.0) } else { smallest };
    let span = largest - base;
    if inverse(span) <= 0.0 {
        return Line { scale: 0.0, offset: base };
    }
    let weight = values.weight();
    // Distances from `base` lose fewer digits than the values themselves: y = x - base.
    let weighted = values.weighted() - weight * base;
    let fit = |inverse: f32, offset: f32| {
        let sums = values.sums(inverse, -offset * inverse, 0.0, high);
        let yl = sums.xl - base * sums.l;
        let determinant = weight * sums.ll - sums.l * sums.l;
        let mut scale = (weight * yl - weighted * sums.l) / determinant;
        let mut offset = (sums.ll * weighted - sums.l * yl) / determinant;
        if pinned && offset > -base {
            offset = -base;
            scale = (yl - offset * sums.l) / sums.ll;
        }
        // What the line takes off sum(w y^2).
        let gain = scale * (2.0 * yl - scale * sums.ll - 2.0 * offset * sums.l)
            + offset * (2.0 * weighted - offset * weight);
        // All integers equal: no line is determined, and nothing compares greater than what is no number.
        (Line { scale, offset: offset + base }, if scale > 0.0 { gain } else { f32::NAN })
    };
    let (mut best, mut explained) = (Line { scale: span / high, offset: base }, f32::NEG_INFINITY);
    for reach in reaches {
        let (line, gain) = fit(reach / span, base);
        if gain > explained {
            (best, explained) = (line, gain);
        }
    }
    for _ in 0..MAX_TURNS {
        let (line, gain) = fit(inverse(best.scale), best.offset);
        if gain > explained {
            (best, explained) = (line, gain);
        } else {
            break;
        }
    }
    best
}
