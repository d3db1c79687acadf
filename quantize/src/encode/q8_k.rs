//! `q8_k`: 256 weights share one single-precision scale; 9.125 bits per weight.
//!
//! ```text
//! byte 0..4      d: f32, little-endian
//! byte 4..260    quants, signed
//! byte 260..292  sums of 16 quants each: i16, little-endian
//! ```
//! weight = d * quant. Source of the layout: ggml, `block_q8_K`. Neither its encoder nor this one writes a quant of -128.

use super::group::{Form, Group, SUBS};
use fathom_simd::fit::{Lines, Range};

const QUANTS: Range = Range { low: -127.0, high: 127.0 };
/// The integers, perhaps fractions, that the value of largest magnitude is tried at; ggml's first, so that nothing worse
/// is chosen.
const REACHES: [f32; 9] = [127.0, 128.0, 127.5, 126.5, 126.0, 125.5, 125.0, 124.5, 124.0];
/// Fits by turns after these; most blocks need one.
const MAX_TURNS: usize = 4;

pub(super) struct Q8K;

impl Form for Q8K {
    const LEN: usize = 256;
    const SUB: usize = 16;
    const BYTES: usize = 292;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        let d = best_scale(group);
        let quants = group.quants(&with_scale(d), QUANTS, 0);
        let (quants, out) = (&quants[..Self::LEN], &mut out[..Self::BYTES]);
        out[..4].copy_from_slice(&d.to_le_bytes());
        out[4..260].copy_from_slice(quants);
        for (quants, out) in quants.chunks_exact(16).zip(out[260..].as_chunks_mut().0) {
            let sum: i16 = quants.iter().map(|&q| i16::from(q as i8)).sum();
            *out = sum.to_le_bytes();
        }
        [true; SUBS]
    }
}

/// One scale for the block, so for each of its parts.
fn with_scale(d: f32) -> Lines {
    Lines { scale: [d; SUBS], offset: [0.0; SUBS] }
}

/// The scale with the least error. Errors are measured, not computed from the sums of a fit as in
/// [`fathom_simd::Kernels::fit_scale`]: so near to the values, too few digits would be left of the difference.
fn best_scale(group: &Group<'_>) -> f32 {
    let largest = group.largest();
    let mut best = Trial { error: f32::INFINITY, d: 0.0, fitted: 0.0 };
    for reach in REACHES {
        let trial = Trial::of(group, largest / reach);
        if trial.error < best.error {
            best = trial;
        }
    }
    for _ in 0..MAX_TURNS {
        let trial = Trial::of(group, best.fitted);
        // Not so where nothing was rounded to anything but 0, and what would fit is no number.
        if !(trial.d > 0.0 && trial.error < best.error) {
            break;
        }
        best = trial;
    }
    best.d
}

struct Trial {
    /// Sum of `w * (x - decoded)^2` over the block.
    error: f32,
    d: f32,
    /// The scale that fits the integers of this one best.
    fitted: f32,
}

impl Trial {
    fn of(group: &Group<'_>, d: f32) -> Trial {
        let residuals = group.error(&with_scale(d), QUANTS);
        let sum = |of: [f32; SUBS]| of.into_iter().sum::<f32>();
        Trial { error: sum(residuals.error), d, fitted: sum(residuals.xl) / sum(residuals.ll) }
    }
}
