//! Blocks in groups of 16 sub-blocks, which the kernels search side by side.

use fathom_simd::Kernels;
use fathom_simd::fit::{Lanes, Lines, NearestLine, NearestScale, Range, Residuals, Totals};

/// Sub-blocks of a group.
pub(super) const SUBS: usize = 16;
/// Values of a group, at most.
pub(super) const MAX_VALUES: usize = SUBS * MAX_SUB;
/// Values of a sub-block, at most.
const MAX_SUB: usize = 32;

/// A block format whose scales are searched for.
pub(super) trait Form {
    /// Values in a block.
    const LEN: usize;
    /// Values in a sub-block, 16 or 32. A group is 16 of them.
    const SUB: usize;
    /// Bytes in a block.
    const BYTES: usize;

    /// Encodes the group's blocks one behind the other; says of each whether its scales are within a half's reach.
    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS];
}

/// 16 sub-blocks with their weights, turned round.
pub(super) struct Group<'k> {
    kernels: &'k Kernels,
    /// Values in a sub-block.
    n: usize,
    x: [[f32; SUBS]; MAX_SUB],
    w: [[f32; SUBS]; MAX_SUB],
}

impl<'k> Group<'k> {
    /// A group of sub-blocks of `n` values: zeros, all equally important.
    pub fn new(kernels: &'k Kernels, n: usize) -> Group<'k> {
        assert!(n == 16 || n == MAX_SUB, "sub-blocks of {n} values");
        Group { kernels, n, x: [[0.0; SUBS]; MAX_SUB], w: [[1.0; SUBS]; MAX_SUB] }
    }

    /// Takes 16 sub-blocks one behind the other, and a weight for each value.
    pub fn fill(&mut self, values: &[f32], weights: Option<&[f32]>) {
        self.kernels.to_lanes(values, &mut self.x[..self.n]);
        if let Some(weights) = weights {
            self.kernels.to_lanes(weights, &mut self.w[..self.n]);
        }
    }

    fn lanes(&self) -> Lanes<'_> {
        Lanes { x: &self.x[..self.n], w: &self.w[..self.n] }
    }

    /// The largest magnitude.
    pub fn largest(&self) -> f32 {
        let mut largest = [0f32; SUBS];
        for x in &self.x[..self.n] {
            for (largest, x) in largest.iter_mut().zip(x) {
                *largest = if x.abs() > *largest { x.abs() } else { *largest };
            }
        }
        largest.into_iter().fold(0.0, f32::max)
    }

    /// See [`Kernels::fit_totals`].
    pub fn totals(&self) -> Totals {
        let mut out = Totals::default();
        self.kernels.fit_totals(self.lanes(), &mut out);
        out
    }

    /// See [`Kernels::fit_scale`].
    pub fn scales(&self, range: Range, reaches: &[f32]) -> [f32; SUBS] {
        let mut out = [0.0; SUBS];
        self.kernels.fit_scale(self.lanes(), range, reaches, &mut out);
        out
    }

    /// See [`Kernels::fit_line`].
    pub fn lines(&self, top: f32, pinned: bool, reaches: &[f32]) -> Lines {
        let mut out = Lines::default();
        self.kernels.fit_line(self.lanes(), top, pinned, reaches, &mut out);
        out
    }

    /// See [`Kernels::fit_error`].
    pub fn error(&self, lines: &Lines, range: Range) -> Residuals {
        let mut out = Residuals::default();
        self.kernels.fit_error(self.lanes(), lines, range, &mut out);
        out
    }

    /// See [`Kernels::nearest_scale`].
    pub fn nearest_scale(&self, near: NearestScale<'_>) -> ([f32; SUBS], Residuals) {
        let mut out = ([0.0; SUBS], Residuals::default());
        self.kernels.nearest_scale(self.lanes(), near, &mut out.0, &mut out.1);
        out
    }

    /// See [`Kernels::nearest_line`].
    pub fn nearest_line(&self, near: NearestLine<'_>) -> (Lines, Residuals) {
        let mut out = (Lines::default(), Residuals::default());
        self.kernels.nearest_line(self.lanes(), near, &mut out.0, &mut out.1);
        out
    }

    /// The integers as they are stored, `zero` added; the sub-blocks one behind the other.
    pub fn quants(&self, lines: &Lines, range: Range, zero: u8) -> [u8; MAX_VALUES] {
        let mut signed = [0; MAX_VALUES];
        self.kernels.fit_quants(self.lanes(), lines, range, &mut signed[..SUBS * self.n]);
        let mut out = [0; MAX_VALUES];
        for (out, quant) in out.iter_mut().zip(signed) {
            *out = (quant as u8).wrapping_add(zero);
        }
        out
    }
}
