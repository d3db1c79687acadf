//! Token embedding.

use super::step::Step;
use crate::threads::Rows;
use crate::weights::Matrix;

/// `out[t] = token_embd[tokens[t]]`; `out` holds at least `[tokens.len(), n_cols]`.
pub fn embed(step: &mut Step<'_>, token_embd: &Matrix<'_>, tokens: &[u32], out: &mut [f32]) {
    let width = token_embd.n_cols();
    let format = token_embd.format();
    let out = Rows::new(&mut out[..tokens.len() * width], width);
    step.team.split(step.locals, out, |_, t, row| {
        let token = tokens[t] as usize;
        format.decode(token_embd.rows(token..token + 1).bytes, row);
    });
}
