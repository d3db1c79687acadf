//! What the K formats share: 256 weights in sub-blocks, whose scales are small integers times one half.
//!
//! Three steps. Each sub-block gets its own best scale. The largest of them fixes the half `d`. Then, by turns: every
//! sub-block takes the small integer that makes the least error *of the file* (neighbours of the nearest are tried, and
//! values rounded again for each), and `d` is fitted by least squares to all that was chosen. The better turn is kept.
//! The loops over values are kernels (`simd/src/op/fit.rs`); what is here goes from sub-block to sub-block.

use super::group::{Group, MAX_VALUES, SUBS};
use fathom_simd::fit::{Lines, NearestLine, NearestScale, Range, Residuals, Totals};
use half::f16;

/// Values in a block of any K format.
pub(super) const LEN: usize = 256;
/// Turns: the first with `d` from the largest scale, the second with the fitted one.
const TURNS: usize = 2;
/// Blocks in a group, at most.
const MAX_BLOCKS: usize = MAX_VALUES / LEN;

/// How a format with scales alone stores a weight: `d * scale * quant`. Sub-blocks have 16 values.
pub(super) struct Symmetric<'a> {
    /// What a quant can be.
    pub quants: Range,
    /// What a sub-block's scale can be.
    pub scales: Range,
    /// See [`fathom_simd::Kernels::fit_scale`].
    pub reaches: &'a [f32],
}

/// A block of such a format.
pub(super) struct SymmetricBlock {
    pub d: f16,
    pub scales: [i8; SUBS],
    /// As they are stored, from 0.
    pub quants: [u8; LEN],
}

/// How a format with scales and minima stores a weight: `d * scale * quant - dmin * min`.
pub(super) struct Affine<'a> {
    /// Largest quant; the smallest is 0.
    pub top: f32,
    /// Largest scale and largest minimum; the smallest are 0.
    pub most: f32,
    /// See [`fathom_simd::Kernels::fit_line`].
    pub reaches: &'a [f32],
}

/// A block of such a format, of `N` sub-blocks.
pub(super) struct AffineBlock<const N: usize> {
    pub d: f16,
    pub dmin: f16,
    pub scales: [u8; N],
    pub mins: [u8; N],
    pub quants: [u8; LEN],
}

/// A half that is not below `x` in magnitude, so that the largest scale is within reach. It matters where halves have
/// few digits, below 2^-14: blocks whose largest weight is a thousandth get there in `q6_k`.
fn away_from_zero(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if near.to_f32().abs() < x.abs() { f16::from_bits(near.to_bits() + 1) } else { near }
}

impl Symmetric<'_> {
    /// Encodes the one block of the group with `write`; see [`super::group::Form::encode`].
    pub fn write<const BYTES: usize>(
        &self,
        group: &Group<'_>,
        out: &mut [u8],
        write: impl Fn(&SymmetricBlock, &mut [u8; BYTES]),
    ) -> [bool; SUBS] {
        let ideal = group.scales(self.quants, self.reaches);
        // The largest goes to the end of the longer side.
        let largest = ideal.into_iter().fold(0f32, |m, s| if s.abs() > m.abs() { s } else { m });
        let d = away_from_zero(largest / self.scales.low);
        if !d.is_finite() {
            return [false; SUBS];
        }
        let (d, chosen) = self.choose(group, &ideal, d);
        let lines = Lines { scale: chosen.map(|scale| d.to_f32() * scale), offset: [0.0; SUBS] };
        let quants = group.quants(&lines, self.quants, -self.quants.low as u8);
        let quants = *quants.first_chunk().expect("a block is 16 sub-blocks of 16");
        let block = SymmetricBlock { d, scales: chosen.map(|scale| scale as i8), quants };
        write(&block, out.first_chunk_mut().expect("a block's bytes"));
        [true; SUBS]
    }

    /// The better turn's `d` and scales.
    fn choose(&self, group: &Group<'_>, ideal: &[f32; SUBS], mut d: f16) -> (f16, [f32; SUBS]) {
        let (mut best_error, mut best) = (f32::INFINITY, (f16::ZERO, [0f32; SUBS]));
        for _ in 0..TURNS {
            let unit = [d.to_f32(); SUBS];
            let near = NearestScale { ideal, unit: &unit, quants: self.quants, scales: self.scales };
            let (chosen, residuals) = group.nearest_scale(near);
            let (mut error, mut above, mut below) = (0f32, 0f32, 0f32);
            for (sub, scale) in chosen.into_iter().enumerate() {
                error += residuals.error[sub];
                above += scale * residuals.xl[sub];
                below += scale * scale * residuals.ll[sub];
            }
            if error < best_error {
                (best_error, best) = (error, (d, chosen));
            } else {
                break;
            }
            let fitted = f16::from_f32(above / below);
            // 0 / 0 in a block of zeros.
            if fitted.is_finite() {
                d = fitted;
            }
        }
        best
    }
}

/// The halves of the blocks in a group, and which scales and minima were chosen with them.
struct Choice {
    error: [f32; MAX_BLOCKS],
    units: [(f16, f16); MAX_BLOCKS],
    pairs: Lines,
}

impl Affine<'_> {
    /// Encodes the blocks of the group, each of `N` sub-blocks, with `write`; see [`super::group::Form::encode`].
    pub fn write<const N: usize, const BYTES: usize>(
        &self,
        group: &Group<'_>,
        out: &mut [u8],
        write: impl Fn(&AffineBlock<N>, &mut [u8; BYTES]),
    ) -> [bool; SUBS] {
        const { assert!(SUBS.is_multiple_of(N) && SUBS / N <= MAX_BLOCKS) };
        let ideal = group.lines(self.top, true, self.reaches);
        let mut units = [(f16::ZERO, f16::ZERO); MAX_BLOCKS];
        let mut within = [true; SUBS];
        for (block, unit) in units[..SUBS / N].iter_mut().enumerate() {
            let subs = block * N..(block + 1) * N;
            let scale = ideal.scale[subs.clone()].iter().copied().fold(0f32, f32::max) / self.most;
            let min = ideal.offset[subs].iter().map(|offset| -offset).fold(0f32, f32::max) / self.most;
            *unit = (away_from_zero(scale), away_from_zero(min));
            within[block] = unit.0.is_finite() && unit.1.is_finite();
            if !within[block] {
                *unit = (f16::ZERO, f16::ZERO);
            }
        }
        let Choice { units, pairs, .. } = self.choose::<N>(group, &ideal, units);
        let unit = each_sub::<N>(&units);
        let lines = Lines {
            scale: std::array::from_fn(|sub| unit.scale[sub] * pairs.scale[sub]),
            offset: std::array::from_fn(|sub| -(unit.offset[sub] * pairs.offset[sub])),
        };
        let quants = group.quants(&lines, Range { low: 0.0, high: self.top }, 0);
        for (at, out) in out.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            let part = |of: &[f32; SUBS]| std::array::from_fn(|sub| of[at * N + sub] as u8);
            let (scales, mins) = (part(&pairs.scale), part(&pairs.offset));
            let (d, dmin) = units[at];
            write(&AffineBlock { d, dmin, scales, mins, quants: quants.as_chunks().0[at] }, out);
        }
        within
    }

    /// For each block the better turn.
    fn choose<const N: usize>(
        &self,
        group: &Group<'_>,
        ideal: &Lines,
        mut units: [(f16, f16); MAX_BLOCKS],
    ) -> Choice {
        let totals = &group.totals();
        let mut best = Choice {
            error: [f32::INFINITY; MAX_BLOCKS],
            units: [(f16::ZERO, f16::ZERO); MAX_BLOCKS],
            pairs: Lines::default(),
        };
        for _ in 0..TURNS {
            let unit = &each_sub::<N>(&units);
            let near = NearestLine { ideal, unit, totals, top: self.top, most: self.most };
            let (pairs, residuals) = group.nearest_line(near);
            for block in 0..SUBS / N {
                let subs = block * N..(block + 1) * N;
                let mut normal = Normal::default();
                subs.clone().for_each(|sub| normal.add(sub, &pairs, totals, &residuals));
                let error = residuals.error[subs.clone()].iter().fold(0f32, |sum, error| sum + error);
                if error < best.error[block] {
                    (best.error[block], best.units[block]) = (error, units[block]);
                    best.pairs.scale[subs.clone()].copy_from_slice(&pairs.scale[subs.clone()]);
                    best.pairs.offset[subs.clone()].copy_from_slice(&pairs.offset[subs]);
                }
                match normal.solve().map(|(d, dmin)| (f16::from_f32(d), f16::from_f32(dmin))) {
                    Some(fitted) if fitted.0.is_finite() && fitted.1.is_finite() => units[block] = fitted,
                    // All zero, or beyond a half by a rounding: the same once more, with neighbours.
                    _ => {}
                }
            }
        }
        best
    }
}

/// The halves of each block for each of its `N` sub-blocks.
fn each_sub<const N: usize>(units: &[(f16, f16); MAX_BLOCKS]) -> Lines {
    Lines {
        scale: std::array::from_fn(|sub| units[sub / N].0.to_f32()),
        offset: std::array::from_fn(|sub| units[sub / N].1.to_f32()),
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
    fn add(&mut self, sub: usize, chosen: &Lines, totals: &Totals, residuals: &Residuals) {
        let (scale, min) = (chosen.scale[sub], chosen.offset[sub]);
        self.dd += scale * scale * residuals.ll[sub];
        self.dm += scale * min * residuals.l[sub];
        self.mm += min * min * totals.weight[sub];
        self.xd += scale * residuals.xl[sub];
        self.xm += min * totals.weighted[sub];
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
