//! From logits to a token.
//!
//! The order is llama.cpp's: top-k, top-p, min-p on the model's own distribution, then temperature on what is left, then
//! one draw. Sums run in a fixed order, so that a seed gives the same text on any number of threads.

use std::cmp::Ordering;

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the best token; 1 is the model's own distribution.
    pub temperature: f32,
    /// Keep this many best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest best tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this many times as likely as the best; 0 keeps all.
    pub min_p: f32,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    /// What DeepSeek recommends for V3.2 run locally: temperature 1, top-p 0.95.
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, top_p: 0.95, min_p: 0.0, seed: 0 }
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Relative to the best token's.
    weight: f64,
}

/// Draws tokens.
pub struct Sampler {
    sampling: Sampling,
    random: fastrand::Rng,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler at the start of its random numbers, for a vocabulary of `vocab_size`.
    pub fn new(sampling: Sampling, vocab_size: usize) -> Sampler {
        let random = fastrand::Rng::with_seed(sampling.seed);
        Sampler { sampling, random, candidates: Vec::with_capacity(vocab_size) }
    }

    /// Draws a token; `logits`: `[vocab_size]`, none of them NaN (sessions refuse those).
    ///
    /// # Panics
    /// If there are no logits.
    pub fn pick(&mut self, logits: &[f32]) -> u32 {
        let best = best(logits);
        if self.sampling.temperature <= 0.0 {
            return best;
        }
        let top = logits[best as usize];
        self.candidates.clear();
        self.candidates.extend(logits.iter().enumerate().map(|(id, &logit)| Candidate {
            id: id as u32,
            logit,
            weight: f64::from(logit - top).exp(),
        }));
        self.keep_top_k();
        self.keep_top_p();
        let floor = f64::from(self.sampling.min_p);
        self.candidates.retain(|candidate| candidate.weight >= floor);
        self.draw(top)
    }

    fn keep_top_k(&mut self) {
        let k = self.sampling.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, order);
            self.candidates.truncate(k);
            // Selection leaves any order; draws need one that depends on the logits alone.
            self.candidates.sort_unstable_by(order);
        }
    }

    fn keep_top_p(&mut self) {
        let top_p = f64::from(self.sampling.top_p);
        if top_p >= 1.0 {
            return;
        }
        let wanted = top_p * self.candidates.iter().map(|c| c.weight).sum::<f64>();
        let n = self.candidates.len();
        // The best few nearly always suffice; sorting the whole vocabulary would cost milliseconds.
        let mut sorted = 256.min(n);
        loop {
            if sorted < n {
                self.candidates.select_nth_unstable_by(sorted - 1, order);
            }
            self.candidates[..sorted].sort_unstable_by(order);
            let mut sum = 0.0;
            let kept = self.candidates[..sorted].iter().position(|candidate| {
                sum += candidate.weight;
                sum >= wanted
            });
            match kept {
                Some(last) => return self.candidates.truncate(last + 1),
                None if sorted == n => return,
                None => sorted = (sorted * 8).min(n),
            }
        }
    }

    fn draw(&mut self, top: f32) -> u32 {
        let temperature = f64::from(self.sampling.temperature);
        let mut sum = 0.0;
        for candidate in &mut self.candidates {
            candidate.weight = (f64::from(candidate.logit - top) / temperature).exp();
            sum += candidate.weight;
        }
        let mut left = self.random.f64() * sum;
        let mut picked = self.candidates[0].id;
        for candidate in &self.candidates {
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
}

/// Better first; of equals the lower id.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

/// Id of the best logit, the first of equals; -0 equals +0.
///
/// # Panics
/// If there are no logits.
pub fn best(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "a token is drawn from at least one logit");
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, logits.len());
        (0..n).map(|_| sampler.pick(logits)).collect()
    }

    fn everything() -> Sampling {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 7 }
    }

    #[test]
    fn zero_temperature_takes_the_first_of_the_best() {
        let sampling = Sampling { temperature: 0.0, ..everything() };
        assert_eq!(drawn(sampling, &[0.5, 2.0, -1.0, 2.0], 3), [1, 1, 1]);
        assert_eq!(best(&[-0.0, 0.0]), 0);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let n = 40_000;
        let counts = drawn(everything(), &logits, n).iter().fold([0; 4], |mut counts, &id| {
            counts[id as usize] += 1;
            counts
        });
        for (count, p) in counts.iter().zip([0.5, 0.3, 0.15, 0.05]) {
            assert!((*count as f64 / n as f64 - p).abs() < 0.01, "{counts:?}");
        }
    }

    #[test]
    fn temperature_sharpens_what_is_left() {
        let logits: Vec<f32> = [0.6f32, 0.4].iter().map(|p| p.ln()).collect();
        let cold = drawn(Sampling { temperature: 0.1, ..everything() }, &logits, 2000);
        assert!(cold.iter().filter(|&&id| id == 1).count() < 100);
    }

    #[test]
    fn truncations_keep_what_they_say() {
        let logits: Vec<f32> = [0.05f32, 0.5, 0.3, 0.15].iter().map(|p| p.ln()).collect();
        let only = |sampling: Sampling, allowed: &[u32]| {
            let seen = drawn(sampling, &logits, 3000);
            assert!(seen.iter().all(|id| allowed.contains(id)));
            assert!(allowed.iter().all(|id| seen.contains(id)));
        };
        only(Sampling { top_k: 2, ..everything() }, &[1, 2]);
        only(Sampling { top_p: 0.7, ..everything() }, &[1, 2]);
        only(Sampling { top_p: 0.45, ..everything() }, &[1]);
        only(Sampling { min_p: 0.25, ..everything() }, &[1, 2, 3]);
        only(everything(), &[0, 1, 2, 3]);
    }

    #[test]
    fn top_p_of_a_flat_vocabulary_widens_its_search() {
        let logits = vec![0.0f32; 5000];
        let seen = drawn(Sampling { top_p: 0.9, ..everything() }, &logits, 20_000);
        assert!(seen.iter().all(|&id| id < 4501), "the first 90 % in order of id");
        assert!(seen.iter().any(|&id| id > 4000));
    }

    #[test]
    fn a_seed_gives_the_same_draws() {
        let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 / 10.0).collect();
        let sampling = Sampling { seed: 42, ..Sampling::default() };
        assert_eq!(drawn(sampling, &logits, 50), drawn(sampling, &logits, 50));
        assert_ne!(drawn(sampling, &logits, 50), drawn(Sampling { seed: 43, ..sampling }, &logits, 50));
    }
}
