//! What changes logits before tokens are chosen: biases, and penalties for what was said already.

use super::Sampling;
use super::breakers::Breakers;
use super::dry::Repetitions;
use super::penalties::Counts;

/// Changes logits. It remembers tokens where that needs it.
pub(super) struct Adjust {
    bias: Vec<(u32, f32)>,
    counts: Option<Counts>,
    repetitions: Option<Repetitions>,
    /// All tokens, where one of the two above looks at them.
    history: Vec<u32>,
    /// `[vocab_size]`.
    logits: Vec<f32>,
}

impl Adjust {
    /// `None`: nothing is changed, and nothing costs anything.
    pub(super) fn new(sampling: &Sampling, breakers: Breakers, vocab_size: usize) -> Option<Adjust> {
        let counts = Counts::new(sampling.penalties);
        let dry = &sampling.dry;
        let repetitions = dry.changes_something().then(|| Repetitions::new(dry, breakers));
        let wanted = !sampling.logit_bias.is_empty() || counts.is_some() || repetitions.is_some();
        wanted.then(|| Adjust {
            bias: sampling.logit_bias.clone(),
            counts,
            repetitions,
            history: Vec::new(),
            logits: Vec::with_capacity(vocab_size),
        })
    }

    pub(super) fn accept(&mut self, token: u32) {
        if self.counts.is_none() && self.repetitions.is_none() {
            return;
        }
        self.history.push(token);
        if let Some(counts) = &mut self.counts {
            counts.accept(&self.history);
        }
    }

    /// The logits with biases alone.
    pub(super) fn bias(&mut self, logits: &[f32]) -> &[f32] {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        for &(id, bias) in &self.bias {
            self.logits[id as usize] += bias;
        }
        &self.logits
    }

    /// The logits as they are to be used.
    pub(super) fn apply(&mut self, logits: &[f32]) -> &[f32] {
        self.bias(logits);
        if let Some(counts) = &self.counts {
            counts.apply(&mut self.logits);
        }
        if let Some(repetitions) = &mut self.repetitions {
            repetitions.apply(&self.history, &mut self.logits);
        }
        &self.logits
    }
}
