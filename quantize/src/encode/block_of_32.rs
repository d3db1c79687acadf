//! What the formats with blocks of 32 share: each block is a sub-block with scales of its own, stored as halves.

use super::group::{Group, MAX_VALUES, SUBS};
use fathom_simd::fit::{Lines, Range};
use half::f16;

/// A format with one scale for 32 values, `d * (quant - zero)`: d may be negative, since the range's longer side is
/// below zero.
pub(super) struct Symmetric<'a> {
    pub range: Range,
    /// See [`fathom_simd::Kernels::fit_scale`].
    pub reaches: &'a [f32],
}

/// A format with scale and minimum, `d * quant + m`, quants from 0.
pub(super) struct Affine<'a> {
    pub top: f32,
    /// See [`fathom_simd::Kernels::fit_line`].
    pub reaches: &'a [f32],
}

/// The blocks of a group: their stored halves, and their quants one behind the other.
pub(super) struct Blocks<const HALVES: usize> {
    pub halves: [[f16; HALVES]; SUBS],
    quants: [u8; MAX_VALUES],
}

impl<const HALVES: usize> Blocks<HALVES> {
    /// Writes each block with `write`, which is given its halves' bytes and its quants; says which are within reach.
    pub fn write<const BYTES: usize>(
        &self,
        out: &mut [u8],
        write: impl Fn([[u8; 2]; HALVES], &[u8; 32], &mut [u8; BYTES]),
    ) -> [bool; SUBS] {
        let blocks = out.as_chunks_mut::<BYTES>().0.iter_mut();
        for ((out, halves), quants) in blocks.zip(self.halves).zip(self.quants.as_chunks().0) {
            write(halves.map(f16::to_le_bytes), quants, out);
        }
        self.halves.map(|halves| halves.into_iter().all(f16::is_finite))
    }
}

impl Symmetric<'_> {
    pub fn blocks(&self, group: &Group<'_>) -> Blocks<1> {
        let halves = group.scales(self.range, self.reaches).map(|scale| [f16::from_f32(scale)]);
        let lines = Lines { scale: halves.map(|[d]| d.to_f32()), offset: [0.0; SUBS] };
        Blocks { halves, quants: group.quants(&lines, self.range, -self.range.low as u8) }
    }
}

impl Affine<'_> {
    pub fn blocks(&self, group: &Group<'_>) -> Blocks<2> {
        let range = Range { low: 0.0, high: self.top };
        let totals = group.totals();
        let mut lines = group.lines(self.top, false, self.reaches);
        let mut m = [f16::ZERO; SUBS];
        for sub in 0..SUBS {
            if f16::from_f32(lines.scale[sub]) == f16::ZERO {
                lines.scale[sub] = 0.0;
                lines.offset[sub] = totals.weighted[sub] / totals.weight[sub];
            }
            m[sub] = f16::from_f32(lines.offset[sub]);
            lines.offset[sub] = m[sub].to_f32();
        }
        // Where the minimum was rounded, another scale fits better.
        let residuals = group.error(&lines, range);
        let fitted: [f32; SUBS] = std::array::from_fn(|sub| {
            let fitted = (residuals.xl[sub] - lines.offset[sub] * residuals.l[sub]) / residuals.ll[sub];
            if fitted > 0.0 { fitted } else { lines.scale[sub] }
        });
        let candidates = [lines.scale, fitted].map(|scales| scales.map(f16::from_f32));
        let errors = candidates
            .map(|d| group.error(&Lines { scale: d.map(f16::to_f32), offset: lines.offset }, range).error);
        let halves: [[f16; 2]; SUBS] = std::array::from_fn(|sub| {
            let better = usize::from(errors[1][sub] < errors[0][sub]);
            [candidates[better][sub], m[sub]]
        });
        lines.scale = halves.map(|[d, _]| d.to_f32());
        Blocks { halves, quants: group.quants(&lines, range, 0) }
    }
}
