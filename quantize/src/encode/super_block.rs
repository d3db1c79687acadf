//! What the K formats share: 256 weights in sub-blocks, whose scales are small integers times one half.
//!
//! Three steps. Each sub-block gets its own best scale ([`super::fit`]). The largest of them fixes the half `d`. Then,
//! by turns: every sub-block takes the small integer that makes the least error *of the file* (neighbours of the nearest
//! are tried, and values rounded again for each), and `d` is fitted by least squares to all that was chosen. The better
//! turn is kept.

use super::fit::{self, Line, Residual, Values, inverse, round};
use half::f16;

/// Values in a block of any K format.
pub(super) const LEN: usize = 256;
/// Turns: the first with `d` from the largest scale, the second with the fitted one.
const TURNS: usize = 2;

/// How a format with scales alone stores a weight: `d * scale * quant`.
pub(super) struct Symmetric<'a> {
    /// Range of a quant.
    pub quants: (f32, f32),
    /// Range of a sub-block's scale.
    pub scales: (f32, f32),
    /// See [`fit::symmetric`].
    pub reaches: &'a [f32],
}

/// A block of such a format: `SUBS` sub-blocks of `N`.
pub(super) struct SymmetricBlock<const N: usize, const SUBS: usize> {
    pub d: f16,
    pub scales: [i8; SUBS],
    pub quants: [[i8; N]; SUBS],
}

/// How a format with scales and minima stores a weight: `d * scale * quant - dmin * min`.
pub(super) struct Affine<'a> {
    /// Largest quant; the smallest is 0.
    pub top: f32,
    /// Largest scale and largest minimum; the smallest are 0.
    pub most: f32,
    /// See [`fit::affine`].
    pub reaches: &'a [f32],
}

/// A block of such a format.
pub(super) struct AffineBlock<const N: usize, const SUBS: usize> {
    pub d: f16,
    pub dmin: f16,
    pub scales: [u8; SUBS],
    pub mins: [u8; SUBS],
    pub quants: [[i8; N]; SUBS],
}

impl<const N: usize, const SUBS: usize> SymmetricBlock<N, SUBS> {
    /// Quants as they are stored: with `zero` added.
    pub fn flat(&self, zero: i8) -> [u8; LEN] {
        let mut flat = [0; LEN];
        for (out, quant) in flat.iter_mut().zip(self.quants.as_flattened()) {
            *out = (quant + zero) as u8;
        }
        flat
    }
}

impl<const N: usize, const SUBS: usize> AffineBlock<N, SUBS> {
    /// Quants as they are stored.
    pub fn flat(&self) -> [u8; LEN] {
        let mut flat = [0; LEN];
        for (out, quant) in flat.iter_mut().zip(self.quants.as_flattened()) {
            *out = *quant as u8;
        }
        flat
    }
}

/// A half that is not below `x` in magnitude, so that the largest scale is within reach. It matters where halves have
/// few digits, below 2^-14: blocks whose largest weight is a thousandth get there in `q6_k`.
fn away_from_zero(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if near.to_f32().abs() < x.abs() { f16::from_bits(near.to_bits() + 1) } else { near }
}

fn subs<'a, const N: usize>(x: &'a [f32; LEN], w: &'a [f32; LEN]) -> impl Iterator<Item = Values<'a, N>> {
    x.as_chunks::<N>().0.iter().zip(w.as_chunks::<N>().0).map(|(x, w)| Values { x, w })
}

impl Symmetric<'_> {
    /// `None` if `d` is beyond a half.
    #[inline(always)]
    pub fn block<const N: usize, const SUBS: usize>(
        &self,
        x: &[f32; LEN],
        w: &[f32; LEN],
    ) -> Option<SymmetricBlock<N, SUBS>> {
        let (low, high) = self.quants;
        let mut ideal = [0f32; SUBS];
        for (scale, values) in ideal.iter_mut().zip(subs::<N>(x, w)) {
            *scale = fit::symmetric(&values, low, high, self.reaches);
        }
        // The largest goes to the end of the longer side.
        let largest = ideal.into_iter().fold(0f32, |m, s| if s.abs() > m.abs() { s } else { m });
        let mut d = away_from_zero(largest / self.scales.0);
        if !d.is_finite() {
            return None;
        }
        let (mut best_error, mut best_d, mut best) = (f32::INFINITY, f16::ZERO, [0f32; SUBS]);
        for _ in 0..TURNS {
            let unit = d.to_f32();
            let (mut error, mut above, mut below) = (0f32, 0f32, 0f32);
            let mut chosen = [0f32; SUBS];
            for ((values, ideal), chosen) in subs::<N>(x, w).zip(ideal).zip(&mut chosen) {
                let (scale, residual) = self.nearest(&values, ideal, unit);
                *chosen = scale;
                error += residual.error;
                above += scale * residual.xl;
                below += scale * scale * residual.ll;
            }
            if error < best_error {
                (best_error, best_d, best) = (error, d, chosen);
            } else {
                break;
            }
            let fitted = f16::from_f32(above / below);
            // 0 / 0 in a block of zeros.
            if fitted.is_finite() {
                d = fitted;
            }
        }
        let unit = best_d.to_f32();
        let mut block = SymmetricBlock { d: best_d, scales: [0; SUBS], quants: [[0; N]; SUBS] };
        for (sub, values) in subs::<N>(x, w).enumerate() {
            block.scales[sub] = best[sub] as i8;
            let line = Line { scale: unit * best[sub], offset: 0.0 };
            values.quants(line, low, high, &mut block.quants[sub]);
        }
        Some(block)
    }

    /// The scale for which the file has the least error, among those next to `ideal / unit`.
    #[inline(always)]
    fn nearest<const N: usize>(&self, values: &Values<'_, N>, ideal: f32, unit: f32) -> (f32, Residual) {
        let judge = |scale: f32| {
            values.residual(Line { scale: unit * scale, offset: 0.0 }, self.quants.0, self.quants.1)
        };
        let centre = round((ideal * inverse(unit)).clamp(self.scales.0, self.scales.1));
        let mut best = (centre, judge(centre));
        for step in [-1.0, 1.0] {
            let scale = (centre + step).clamp(self.scales.0, self.scales.1);
            let residual = judge(scale);
            if residual.error < best.1.error {
                best = (scale, residual);
            }
        }
        best
    }
}

impl Affine<'_> {
    /// `None` if `d` or `dmin` is beyond a half.
    #[inline(always)]
    pub fn block<const N: usize, const SUBS: usize>(
        &self,
        x: &[f32; LEN],
        w: &[f32; LEN],
    ) -> Option<AffineBlock<N, SUBS>> {
        let mut ideal = [Line::default(); SUBS];
        let mut weights = [(0f32, 0f32); SUBS];
        for ((line, sums), values) in ideal.iter_mut().zip(&mut weights).zip(subs::<N>(x, w)) {
            *line = fit::affine(&values, self.top, true, self.reaches);
            *sums = (values.weight(), values.weighted());
        }
        let largest = |of: fn(&Line) -> f32| ideal.iter().map(of).fold(0f32, f32::max) / self.most;
        let mut units = (away_from_zero(largest(|l| l.scale)), away_from_zero(largest(|l| -l.offset)));
        if !units.0.is_finite() || !units.1.is_finite() {
            return None;
        }
        let (mut best_error, mut best_units, mut best) =
            (f32::INFINITY, (f16::ZERO, f16::ZERO), [(0f32, 0f32); SUBS]);
        for _ in 0..TURNS {
            let (d, dmin) = (units.0.to_f32(), units.1.to_f32());
            let mut error = 0f32;
            let mut normal = Normal::default();
            let mut chosen = [(0f32, 0f32); SUBS];
            for (sub, values) in subs::<N>(x, w).enumerate() {
                let (pair, residual) = self.nearest(&values, weights[sub], ideal[sub], (d, dmin));
                chosen[sub] = pair;
                error += residual.error;
                normal.add(pair, weights[sub], &residual);
            }
            if error < best_error {
                (best_error, best_units, best) = (error, units, chosen);
            } else {
                break;
            }
            match normal.solve().map(|(d, dmin)| (f16::from_f32(d), f16::from_f32(dmin))) {
                Some(fitted) if fitted.0.is_finite() && fitted.1.is_finite() => units = fitted,
                // All zero, or beyond a half by a rounding: the same once more, with neighbours.
                _ => {}
            }
        }
        let (d, dmin) = (best_units.0.to_f32(), best_units.1.to_f32());
        let mut block = AffineBlock {
            d: best_units.0,
            dmin: best_units.1,
            scales: [0; SUBS],
            mins: [0; SUBS],
            quants: [[0; N]; SUBS],
        };
        for (sub, values) in subs::<N>(x, w).enumerate() {
            let (scale, min) = best[sub];
            (block.scales[sub], block.mins[sub]) = (scale as u8, min as u8);
            let line = Line { scale: d * scale, offset: -(dmin * min) };
            values.quants(line, 0.0, self.top, &mut block.quants[sub]);
        }
        Some(block)
    }

    /// Scale and minimum for which the file has the least error, among those next to the ideal line.
    #[inline(always)]
    fn nearest<const N: usize>(
        &self,
        values: &Values<'_, N>,
        (weight, weighted): (f32, f32),
        ideal: Line,
        (d, dmin): (f32, f32),
    ) -> ((f32, f32), Residual) {
        let within = |x: f32| round(x.clamp(0.0, self.most));
        let min_inverse = inverse(dmin);
        let centre = within(ideal.scale * inverse(d));
        let min = within(-ideal.offset * min_inverse);
        let nothing = Residual { error: f32::INFINITY, l: 0.0, ll: 0.0, xl: 0.0 };
        let mut best = ((0.0, 0.0), nothing);
        let mut consider = |scale: f32, min: f32| {
            let line = Line { scale: d * scale, offset: -(dmin * min) };
            let residual = values.residual(line, 0.0, self.top);
            if residual.error < best.1.error {
                best = ((scale, min), residual);
            }
            residual.l
        };
        for step in [0.0, -1.0, 1.0] {
            let scale = (centre + step).clamp(0.0, self.most);
            let l = consider(scale, min);
            // The minimum that fits these integers best.
            let fitted = within((d * scale * l - weighted) / weight * min_inverse);
            if fitted != min {
                consider(scale, fitted);
            }
        }
        best
    }
}

/// Normal equations of `x = d * (scale * l) - dmin * min` over a block.
#[derive(Default)]
struct Normal {
    dd: f32,
    dm: f32,
    mm: f32,
    xd: f32,
    xm: f32,
}

impl Normal {
    fn add(&mut self, (scale, min): (f32, f32), (weight, weighted): (f32, f32), residual: &Residual) {
        self.dd += scale * scale * residual.ll;
        self.dm += scale * min * residual.l;
        self.mm += min * min * weight;
        self.xd += scale * residual.xl;
        self.xm += min * weighted;
    }

    /// `(d, dmin)`, neither negative; `None` if nothing was rounded to anything but 0.
    fn solve(&self) -> Option<(f32, f32)> {
        let determinant = self.dd * self.mm - self.dm * self.dm;
        let d = (self.xd * self.mm - self.xm * self.dm) / determinant;
        let dmin = (self.xd * self.dm - self.xm * self.dd) / determinant;
        if d > 0.0 && dmin >= 0.0 {
            return Some((d, dmin));
        }
        let alone = self.xd / self.dd;
        (self.mm == 0.0 && alone > 0.0).then_some((alone, 0.0))
    }
}
