//! The mathematics, in the order a token meets it: embed, norm, indexer, attention, router, experts, head, MTP.
//!
//! This room sees weights, cache, scratch and kernels, and never files, strings, environment or the command line.
//! Formulas: DeepSeek's reference code with the corrected indexer, which transformers' `DeepseekV32ForCausalLM` and
//! llama.cpp's `deepseek32` share.

pub mod embed;
pub mod fault;
pub mod ffn;
pub mod head;
pub mod indexer;
pub mod mla;
pub mod moe;
pub mod mtp;
pub mod norm;
pub mod rope;
pub mod router;
pub mod step;

use crate::cache::{KvCache, LayerCache};
use crate::probe::{Point, Values};
use crate::scratch::Scratch;
use crate::weights::{Ffn, Layer, Weights};
use step::{Input, Step};

/// Runs the main model on the call's tokens: fills the cache and leaves the normed hidden states in
/// `scratch.hidden`, `[n, hidden_size]`.
pub fn forward(
    step: &mut Step<'_>,
    weights: &Weights<'_>,
    tokens: &[u32],
    cache: &mut KvCache,
    scratch: &mut Scratch,
) {
    let n_values = step.n * step.config.hidden_size;
    rotary_angles(step, scratch);
    embed::embed(step, &weights.token_embd, tokens, &mut scratch.x);
    for (index, (layer, rows)) in weights.layers.iter().zip(&mut cache.layers).enumerate() {
        step.layer = index;
        decoder_layer(step, layer, rows, scratch);
    }
    step.layer = weights.layers.len();
    norm::rms_norm(step, &scratch.x[..n_values], &weights.output_norm, &mut scratch.hidden[..n_values]);
    step.record(Point::FinalNorm, Values::F32(&scratch.hidden[..n_values]));
}

/// Cosines and sines of the call's positions.
fn rotary_angles(step: &Step<'_>, scratch: &mut Scratch) {
    let pairs = step.rotary.n_pairs();
    for t in 0..step.n {
        let range = t * pairs..(t + 1) * pairs;
        step.rotary.angles(step.position(t), &mut scratch.cos[range.clone()], &mut scratch.sin[range]);
    }
}

/// One layer, in place on `scratch.x`.
fn decoder_layer(step: &mut Step<'_>, layer: &Layer<'_>, cache: &mut LayerCache, s: &mut Scratch) {
    let hidden_size = step.config.hidden_size;
    let n_values = step.n * hidden_size;

    norm::rms_norm(step, &s.x[..n_values], &layer.attn_norm, &mut s.h[..n_values]);
    step.record(Point::AttnNorm, Values::F32(&s.h[..n_values]));
    mla::attention(step, layer, cache, s);
    step.record(Point::AttnOut, Values::F32(&s.y[..n_values]));
    step.add(&mut s.x[..n_values], &s.y[..n_values], hidden_size);

    norm::rms_norm(step, &s.x[..n_values], &layer.ffn_norm, &mut s.h[..n_values]);
    step.record(Point::FfnNorm, Values::F32(&s.h[..n_values]));
    feed_forward(step, layer, s);
    step.record(Point::FfnOut, Values::F32(&s.y[..n_values]));
    step.add(&mut s.x[..n_values], &s.y[..n_values], hidden_size);
    step.record(Point::LayerOut, Values::F32(&s.x[..n_values]));
}

/// The feed-forward half: `s.h` to `s.y`.
fn feed_forward(step: &mut Step<'_>, layer: &Layer<'_>, s: &mut Scratch) {
    let hidden_size = step.config.hidden_size;
    let n_values = step.n * hidden_size;
    let (hidden, out) = (&s.h[..n_values], &mut s.y[..n_values]);
    match &layer.ffn {
        Ffn::Dense(dense) => {
            let formats = [dense.gate.format(), dense.up.format()];
            let input = Input::new(step, hidden, hidden_size, &formats, &mut s.q8);
            ffn::swiglu(step, dense, &input, &mut s.ffn.inner, &mut s.q8_inner, out);
        }
        Ffn::Moe(moe) => {
            let input = Input::new(step, hidden, hidden_size, &moe::input_formats(moe), &mut s.q8);
            moe::forward(step, moe, &input, moe::Buffers { ffn: &mut s.ffn, q8: &mut s.q8_inner, out });
        }
    }
}
