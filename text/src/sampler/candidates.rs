//! The tokens that may be drawn, and what leaves fewer of them.
//!
//! Sums run in a fixed order, so that a seed gives the same text on any number of threads.

use std::cmp::Ordering;

/// Tokens with their logits.
pub(super) struct Candidates {
    all: Vec<Candidate>,
    /// The best logit at the start.
    top: f32,
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Its probability, up to a factor that all share.
    weight: f64,
}

impl Candidates {
    pub(super) fn new(vocab_size: usize) -> Candidates {
        Candidates { all: Vec::with_capacity(vocab_size), top: 0.0 }
    }

    /// All tokens; `top`: the best logit, a finite one.
    pub(super) fn fill(&mut self, logits: &[f32], top: f32) {
        self.top = top;
        self.all.clear();
        // A bias and a penalty of opposite infinities leave no number: such a token does not come.
        self.all.extend(logits.iter().enumerate().map(|(id, &logit)| match logit.is_nan() {
            true => Candidate { id: id as u32, logit: f32::NEG_INFINITY, weight: 0.0 },
            false => Candidate { id: id as u32, logit, weight: f64::from(logit - top).exp() },
        }));
    }

    /// Keeps the `k` best; 0 keeps all.
    pub(super) fn keep_top_k(&mut self, k: usize) {
        if k > 0 && k < self.all.len() {
            self.all.select_nth_unstable_by(k - 1, order);
            self.all.truncate(k);
            // Selection leaves any order; draws need one that depends on the logits alone.
            self.all.sort_unstable_by(order);
        }
    }

    /// Keeps the fewest tokens with more than `p` of the probability together, those first whose surprise is nearest to
    /// the expected one (Meister et al., "Locally typical sampling", 2022); 1 keeps all.
    pub(super) fn keep_typical(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        let top = self.top;
        let sum = self.sum();
        // -ln of a token's probability.
        let surprise = |candidate: &Candidate| sum.ln() - f64::from(candidate.logit - top);
        let possible = self.all.iter().filter(|candidate| candidate.weight > 0.0);
        let entropy: f64 = possible.map(|candidate| candidate.weight / sum * surprise(candidate)).sum();
        let distance = |candidate: &Candidate| (surprise(candidate) - entropy).abs();
        let nearer = |a: &Candidate, b: &Candidate| distance(a).total_cmp(&distance(b)).then(order(a, b));
        let wanted = f64::from(p) * sum;
        self.keep_first(nearer, |sum| sum > wanted);
    }

    /// Keeps the fewest best tokens with at least `p` of the probability together; 1 keeps all.
    pub(super) fn keep_top_p(&mut self, p: f32) {
        if p < 1.0 {
            let wanted = f64::from(p) * self.sum();
            self.keep_first(order, |sum| sum >= wanted);
        }
    }

    /// Keeps tokens at least `p` times as likely as the best; 0 keeps all.
    pub(super) fn keep_min_p(&mut self, p: f32) {
        if p > 0.0 {
            let best = self.all.iter().map(|candidate| candidate.weight).fold(0.0, f64::max);
            let floor = f64::from(p) * best;
            self.all.retain(|candidate| candidate.weight >= floor);
        }
    }

    /// Keeps the first tokens in this order, as many as are enough by the sum of their weights.
    fn keep_first(
        &mut self,
        order: impl Fn(&Candidate, &Candidate) -> Ordering + Copy,
        enough: impl Fn(f64) -> bool,
    ) {
        let n = self.all.len();
        // The first few nearly always suffice; sorting the whole vocabulary would cost milliseconds.
        let mut sorted = 256.min(n);
        loop {
            if sorted < n {
                self.all.select_nth_unstable_by(sorted - 1, order);
            }
            self.all[..sorted].sort_unstable_by(order);
            let mut sum = 0.0;
            let kept = self.all[..sorted].iter().position(|candidate| {
                sum += candidate.weight;
                enough(sum)
            });
            match kept {
                Some(last) => return self.all.truncate(last + 1),
                None if sorted == n => return,
                None => sorted = (sorted * 8).min(n),
            }
        }
    }

    fn sum(&self) -> f64 {
        self.all.iter().map(|candidate| candidate.weight).sum()
    }

    /// Weights at this temperature, above 0.
    pub(super) fn heat(&mut self, temperature: f32) {
        let best = self.all.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max);
        let temperature = f64::from(temperature);
        for candidate in &mut self.all {
            candidate.weight = (f64::from(candidate.logit - best) / temperature).exp();
        }
    }

    /// The best token that is left.
    pub(super) fn best(&self) -> u32 {
        self.all.iter().min_by(|a, b| order(a, b)).expect("every stage keeps a token").id
    }

    /// The token at this place, from 0 to 1, of all that are left.
    pub(super) fn at(&self, place: f64) -> u32 {
        let mut left = place * self.sum();
        let mut picked = self.all[0].id;
        for candidate in &self.all {
            if candidate.weight > 0.0 {
                picked = candidate.id;
                left -= candidate.weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        picked
    }

    /// The tokens that are left, with probabilities.
    pub(super) fn distribution(&self) -> Vec<(u32, f64)> {
        let sum = self.sum();
        self.all.iter().map(|candidate| (candidate.id, candidate.weight / sum)).collect()
    }
}

/// Better first; of equals the lower id.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}
