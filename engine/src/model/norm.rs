//! Norms over all tokens of a call.

use super::fault::BadValue;
use super::step::Step;
use crate::threads::Rows;

/// `out[t] = rms_norm(x[t]) * weight`, both `[n, weight.len()]`; a row that is not a number is noted as `what`.
pub fn rms_norm(step: &mut Step<'_>, what: BadValue, x: &[f32], weight: &[f32], out: &mut [f32]) {
    let (kernels, eps, width) = (step.kernels, step.config.rms_norm_eps, weight.len());
    let (fault, layer, first) = (step.fault, step.layer, step.first);
    step.team.split(step.locals, Rows::new(out, width), |_, t, row| {
        kernels.rms_norm(&x[t * width..(t + 1) * width], weight, eps, row);
        // One bad value, or squares that overflow, make the sum of squares bad, and with it every output.
        if !row[0].is_finite() {
            fault.note(what, layer, first + t);
        }
    });
}
