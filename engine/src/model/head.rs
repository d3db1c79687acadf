//! Logits.

use super::fault::{BadValue, all_finite};
use super::step::{Input, Q8Buffer, Step};
use crate::weights::Matrix;

/// Writes `logits`, `[hidden.len() / hidden_size, vocab_size]`, for normed hidden states whose first row belongs to
/// the call's token `t0`.
pub fn logits(
    step: &mut Step<'_>,
    head: &Matrix<'_>,
    hidden: &[f32],
    q8: &mut Q8Buffer,
    t0: usize,
    logits: &mut [f32],
) {
    let input = Input::new(step, hidden, head.n_cols(), &[head.format()], q8);
    step.product(head, &input, logits);
    for (row, values) in logits.chunks_exact(head.n_rows()).enumerate() {
        let bad = match () {
            () if !all_finite(values) => BadValue::Logit,
            () if values.len() > 1 && values.iter().all(|value| *value == values[0]) => BadValue::Flat,
            () => continue,
        };
        step.fault.note(bad, step.config.num_hidden_layers, step.position(t0 + row));
    }
}
