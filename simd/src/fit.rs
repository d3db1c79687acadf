//! What the encoders' searches are called with: 16 sub-blocks side by side.

/// 16 sub-blocks of as many values each, turned round: vector k holds the k-th value of every sub-block.
/// [`crate::Kernels::to_lanes`] makes them. There are a multiple of 16 vectors.
#[derive(Debug, Clone, Copy)]
pub struct Lanes<'a> {
    /// The values: [n, 16], finite, below 2^31 in magnitude.
    pub x: &'a [[f32; 16]],
    /// Importance of each value: [n, 16], finite, not negative, in no sub-block all zero.
    pub w: &'a [[f32; 16]],
}

impl Lanes<'_> {
    pub(crate) fn check(&self) {
        let (n_values, n_weights) = (self.x.len(), self.w.len());
        assert_eq!(n_weights, n_values, "weights of {n_values} vectors");
        assert!(n_values.is_multiple_of(16), "{n_values} vectors are no multiple of 16");
    }
}

/// The smallest and the largest integer that a format can store.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Smallest.
    pub low: f32,
    /// Largest.
    pub high: f32,
}

/// `scale * l + offset` for each of 16 sub-blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lines {
    /// Units between one integer and the next.
    pub scale: [f32; 16],
    /// The value of integer 0.
    pub offset: [f32; 16],
}

/// The weighted sums of each of 16 sub-blocks that do not depend on any integers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Sum of `w`.
    pub weight: [f32; 16],
    /// Sum of `w * x`.
    pub weighted: [f32; 16],
}

/// What each of 16 sub-blocks misses once its values are rounded to integers `l`, and what a better fit needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Residuals {
    /// Sum of `w * (x - decoded)^2`.
    pub error: [f32; 16],
    /// Sum of `w * l`.
    pub l: [f32; 16],
    /// Sum of `w * l^2`.
    pub ll: [f32; 16],
    /// Sum of `w * x * l`.
    pub xl: [f32; 16],
}

/// Arguments of [`crate::Kernels::nearest_scale`].
#[derive(Debug, Clone, Copy)]
pub struct NearestScale<'a> {
    /// The scale that each sub-block would like.
    pub ideal: &'a [f32; 16],
    /// What stored scales count.
    pub unit: &'a [f32; 16],
    /// The quants a format can store.
    pub quants: Range,
    /// The scales it can store.
    pub scales: Range,
}

/// Arguments of [`crate::Kernels::nearest_line`].
#[derive(Debug, Clone, Copy)]
pub struct NearestLine<'a> {
    /// The line that each sub-block would like; no offset is positive.
    pub ideal: &'a Lines,
    /// What stored scales and stored minimums (in place of the offset) count.
    pub unit: &'a Lines,
    /// Of the same sub-blocks.
    pub totals: &'a Totals,
    /// The largest quant; the smallest is 0.
    pub top: f32,
    /// The largest scale and minimum; the smallest are 0.
    pub most: f32,
}
