//! The speed of a model with other numbers of layers, from the time that each kind of layer took.
//!
//! Decoding and prefill are sums over layers, and all layers of a kind cost the same but for the experts that tokens
//! choose. A slice of true size with one layer of each kind therefore tells what the whole model takes on the same machine,
//! as long as that machine holds the whole model in memory.

use super::{Kind, Room, Test};
use fathom_engine::probe::{Point, Probe, Values};
use fathom_engine::session::{Session, SessionError};
use std::time::Instant;

/// How many layers of each kind, and how many rows the head has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Layers with a dense feed-forward half; they come first.
    pub n_dense: usize,
    /// Layers with experts.
    pub n_moe: usize,
    /// Rows of the head.
    pub vocab_size: usize,
}

impl Shape {
    /// DeepSeek-V3.2.
    pub const V32: Shape = Shape { n_dense: 3, n_moe: 58, vocab_size: 129_280 };
}

/// Seconds that the parts of one forward call took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerTimes {
    /// A dense layer, for all tokens of the call.
    pub dense: f64,
    /// A layer with experts, for all tokens of the call.
    pub moe: f64,
    /// One row of the head for one token.
    pub head_row: f64,
}

impl LayerTimes {
    /// Seconds of a call on a model of this shape, with the logits of one token.
    pub fn call(&self, shape: Shape) -> f64 {
        shape.n_dense as f64 * self.dense
            + shape.n_moe as f64 * self.moe
            + shape.vocab_size as f64 * self.head_row
    }
}

/// Notes when layers end.
struct Clock {
    last: Instant,
    /// Seconds of each layer of each call, in order.
    layers: Vec<f64>,
}

impl Probe for Clock {
    fn record(&mut self, point: Point, layer: usize, _: usize, _: Values<'_>) {
        let now = Instant::now();
        match point {
            // The embedding is no layer's.
            Point::AttnNorm if layer == 0 => self.last = now,
            Point::LayerOut => {
                self.layers.push((now - self.last).as_secs_f64());
                self.last = now;
            }
            _ => {}
        }
    }
}

impl Room<'_> {
    /// Runs a test once on a session that was filled to its depth, and takes the mean of its calls. A prompt is one call.
    ///
    /// # Errors
    /// As [`Room::run`].
    ///
    /// # Panics
    /// If the model lacks a kind of layer, or the prompt is longer than a call.
    pub fn layer_times(&self, session: &mut Session, test: Test) -> Result<LayerTimes, SessionError> {
        let config = &self.model().config;
        let (n_layers, n_dense) = (config.num_hidden_layers, config.first_k_dense_replace);
        assert!(0 < n_dense && n_dense < n_layers, "both kinds of layers");
        let mut clock = Clock { last: Instant::now(), layers: Vec::new() };
        let seconds = self.compute(session, test, &mut clock)?;
        let (calls, rows) = match test.kind {
            Kind::Prompt => (1, test.n),
            Kind::Generation => (test.n, 1),
        };
        assert_eq!(clock.layers.len(), calls * n_layers, "calls of {test}");
        // Means, as a run of many calls is a sum: the median call is faster than that.
        let mean = |kind: fn(&[f64], usize) -> &[f64]| {
            let layers: Vec<f64> = clock
                .layers
                .chunks_exact(n_layers)
                .flat_map(|layers| kind(layers, n_dense))
                .copied()
                .collect();
            layers.iter().sum::<f64>() / layers.len() as f64
        };
        // Embedding and final norm are counted with the head; both are next to nothing.
        let rest = (seconds - clock.layers.iter().sum::<f64>()).max(0.0);
        Ok(LayerTimes {
            dense: mean(|layers, n| &layers[..n]),
            moe: mean(|layers, n| &layers[n..]),
            head_row: rest / (calls * rows * config.vocab_size) as f64,
        })
    }
}
