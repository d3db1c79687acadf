//! The mathematics, in the order a token meets it: embed, norm, indexer, attention, router, experts, head, MTP.
//!
//! This room sees weights, cache, scratch and kernels, and never files, strings, environment or the command line.
//! Formulas: DeepSeek's reference code with the corrected indexer, which transformers' `DeepseekV32ForCausalLM` and
//! llama.cpp's `deepseek32` share.

pub mod attend;
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
use fault::BadValue;
use step::{Input, Step};

/// Runs the main model on the call's tokens: fills the cache and leaves the normed hidden states of the tokens from
/// `wanted` on in `scratch.hidden`, `[n - wanted, hidden_size]`. In the last layer the tokens before `wanted` leave what
/// later tokens read of them and are done; the step goes on with the others. False if `step.go_on` ended it: what lies in
/// cache and scratch is then of no use.
pub fn forward(
    step: &mut Step<'_>,
    weights: &Weights<'_>,
    (tokens, wanted): (&[u32], usize),
    cache: &mut KvCache,
    scratch: &mut Scratch,
) -> bool {
    rotary_angles(step, scratch);
    embed::embed(step, &weights.token_embd, tokens, &mut scratch.x);
    let last = weights.layers.len() - 1;
    for (index, (layer, rows)) in weights.layers.iter().zip(&mut cache.layers).enumerate() {
        step.layer = index;
        if index == last && wanted > 0 {
            leave_behind(step, layer, wanted, rows, scratch);
        }
        if step.n > 0 {
            decoder_layer(step, layer, rows, scratch);
        }
        if index < last && !(step.go_on)(index + 1) {
            return false;
        }
    }
    step.layer = weights.layers.len();
    let n_values = step.n * step.config.hidden_size;
    norm::rms_norm(
        step,
        BadValue::Hidden,
        &scratch.x[..n_values],
        &weights.output_norm,
        &mut scratch.hidden[..n_values],
    );
    step.record(Point::FinalNorm, Values::F32(&scratch.hidden[..n_values]));
    true
}

/// Brings the call's first `n` tokens into a layer's cache, and goes on with the rest, moved to the front of the buffers.
fn leave_behind(step: &mut Step<'_>, layer: &Layer<'_>, n: usize, cache: &mut LayerCache, s: &mut Scratch) {
    let (n_all, hidden_size) = (step.n, step.config.hidden_size);
    step.n = n;
    norm::rms_norm(
        step,
        BadValue::Hidden,
        &s.x[..n * hidden_size],
        &layer.attn_norm,
        &mut s.h[..n * hidden_size],
    );
    mla::remember(step, layer, cache, s);
    step.first += n;
    step.n = n_all - n;
    s.x.copy_within(n * hidden_size..n_all * hidden_size, 0);
    rotary_angles(step, s);
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

    norm::rms_norm(step, BadValue::Hidden, &s.x[..n_values], &layer.attn_norm, &mut s.h[..n_values]);
    step.record(Point::AttnNorm, Values::F32(&s.h[..n_values]));
    mla::attention(step, layer, cache, s);
    step.record(Point::AttnOut, Values::F32(&s.y[..n_values]));
    step.add(&mut s.x[..n_values], &s.y[..n_values], hidden_size);

    norm::rms_norm(step, BadValue::Attended, &s.x[..n_values], &layer.ffn_norm, &mut s.h[..n_values]);
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
