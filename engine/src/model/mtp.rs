//! The multi-token-prediction layer: drafts the token after next.
//!
//! Row `j` joins the embedding of token `j` with the main model's normed hidden state of token `j - 1`, and its
//! logits are for token `j + 1`. Rows sit in the layer's own cache at position `j`; the first row is 1, because
//! nothing stands before token 0.

use super::fault::BadValue;
use super::step::{Input, Step};
use super::{decoder_layer, embed, norm, rotary_angles};
use crate::cache::LayerCache;
use crate::scratch::Scratch;
use crate::threads::Rows;
use crate::weights::{Mtp, Weights};

/// Runs the MTP layer on the call's tokens and leaves the normed states that its head multiplies in
/// `scratch.hidden`, `[n, hidden_size]`.
///
/// Row `t` starts from `scratch.mtp.hidden[t]` and token `tokens[t]`.
pub fn forward(
    step: &mut Step<'_>,
    weights: &Weights<'_>,
    mtp: &Mtp<'_>,
    tokens: &[u32],
    cache: &mut LayerCache,
    s: &mut Scratch,
) {
    let (n, width, kernels, eps) = (step.n, step.config.hidden_size, step.kernels, step.config.rms_norm_eps);
    let n_values = n * width;
    step.layer = step.config.num_hidden_layers;
    rotary_angles(step, s);
    embed::embed(step, mtp.embed_tokens.as_ref().unwrap_or(&weights.token_embd), tokens, &mut s.y);
    let (embedded, hidden) = (&s.y, &s.mtp.hidden);
    let joined = Rows::new(&mut s.mtp.joined[..2 * n_values], 2 * width);
    step.team.split(step.locals, joined, |_, t, row| {
        let (left, right) = row.split_at_mut(width);
        kernels.rms_norm(&embedded[t * width..(t + 1) * width], &mtp.enorm, eps, left);
        kernels.rms_norm(&hidden[t * width..(t + 1) * width], &mtp.hnorm, eps, right);
    });
    let formats = [mtp.eh_proj.format()];
    let input = Input::new(step, &s.mtp.joined[..2 * n_values], 2 * width, &formats, &mut s.q8);
    step.product(&mtp.eh_proj, &input, &mut s.x[..n_values]);
    decoder_layer(step, &mtp.layer, cache, s);
    norm::rms_norm(
        step,
        BadValue::Hidden,
        &s.x[..n_values],
        &mtp.shared_head_norm,
        &mut s.hidden[..n_values],
    );
}
