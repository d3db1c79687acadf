//! How far one model's predictions are from another's, token by token.

use super::base::BaseRow;
use super::{Estimate, Running, log_sum_exp};
use fathom_text::sampler::best;

/// What one scored token says about two models; Q is the model at work, P the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// `-ln Q(target)`.
    pub nll: f64,
    /// `-ln P(target)`.
    pub base_nll: f64,
    /// KL divergence of Q from P, in nats.
    pub kl: f64,
    /// Whether both find the same token the likeliest.
    pub same_top: bool,
}

impl Sample {
    /// Compares a row of logits with the base's.
    ///
    /// The base holds its likeliest tokens one by one and the mass of all others together, so the others count as one
    /// event: the divergence is a lower bound of the true one, short by what happens inside that remainder.
    pub fn new(logits: &[f32], target: u32, base: &BaseRow<'_>) -> Sample {
        let total = log_sum_exp(logits);
        let ln_q = |id: u32| f64::from(logits[id as usize]) - total;
        let (mut kl, mut q_rest) = (0.0, 1.0);
        for (id, ln_p) in base.tops() {
            let p = f64::from(ln_p).exp();
            kl += p * (f64::from(ln_p) - ln_q(id));
            q_rest -= ln_q(id).exp();
        }
        let p_rest = f64::from(base.rest()).exp();
        if p_rest > 0.0 {
            // What is left of Q is a difference of sums close to 1: below that rounding it may be anything.
            kl += p_rest * (p_rest / q_rest.max(f64::EPSILON)).ln();
        }
        Sample {
            nll: -ln_q(target),
            base_nll: -f64::from(base.target()),
            // Rounding of the stored f32 logarithms can take equal distributions a hair below zero.
            kl: kl.max(0.0),
            same_top: base.tops().next().is_some_and(|(id, _)| id == best(logits)),
        }
    }

    /// `Q(target) - P(target)`.
    fn delta_p(&self) -> f64 {
        (-self.nll).exp() - (-self.base_nll).exp()
    }
}

/// Samples collected.
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    nll: Running,
    base_nll: Running,
    /// `ln Q - ln P` of the target, negated.
    difference: Running,
    kl: Running,
    delta_p: Running,
    products: f64,
    n_same_top: usize,
    kls: Vec<f32>,
    delta_ps: Vec<f32>,
}

/// Where a percentile list is read, in percent, largest first.
pub const PERCENTILES: [f64; 13] =
    [100.0, 99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1, 0.0];

/// What the samples say together.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Perplexity of the model.
    pub ppl: Estimate,
    /// Perplexity of the base.
    pub base_ppl: Estimate,
    /// Correlation of the two models' log-likelihoods.
    pub correlation: f64,
    /// `ln(PPL / base PPL)`.
    pub ln_ratio: Estimate,
    /// `PPL / base PPL`.
    pub ratio: Estimate,
    /// `PPL - base PPL`.
    pub difference: Estimate,
    /// Mean KL divergence, in nats.
    pub kl: Estimate,
    /// KL divergence at [`PERCENTILES`].
    pub kl_percentiles: [f64; 13],
    /// Mean change of the target's probability.
    pub delta_p: Estimate,
    /// Root mean square of that change.
    pub rms_delta_p: Estimate,
    /// The change at [`PERCENTILES`].
    pub delta_p_percentiles: [f64; 13],
    /// Share of tokens whose likeliest continuation is the same.
    pub same_top: Estimate,
}

impl Divergence {
    /// Takes a sample.
    pub fn add(&mut self, sample: Sample) {
        self.nll.add(sample.nll);
        self.base_nll.add(sample.base_nll);
        self.difference.add(sample.nll - sample.base_nll);
        self.kl.add(sample.kl);
        self.delta_p.add(sample.delta_p());
        self.products += sample.nll * sample.base_nll;
        self.n_same_top += usize::from(sample.same_top);
        self.kls.push(sample.kl as f32);
        self.delta_ps.push(sample.delta_p() as f32);
    }

    /// What they say; meaningless without samples.
    pub fn report(&self) -> Report {
        let n = self.nll.n() as f64;
        let (ppl, base_ppl) = (self.nll.perplexity(), self.base_nll.perplexity());
        let covariance = self.products / n - self.nll.mean().value * self.base_nll.mean().value;
        let spread = (self.nll.variance() * self.base_nll.variance()).sqrt();
        let ln_ratio = self.difference.mean();
        let ratio = Estimate { value: ln_ratio.value.exp(), error: ln_ratio.error * ln_ratio.value.exp() };
        let of_both = 2.0 * ppl.value * base_ppl.value * covariance / (n - 1.0);
        let variance = ppl.error.powi(2) + base_ppl.error.powi(2) - of_both;
        let share = self.n_same_top as f64 / n;
        Report {
            ppl,
            base_ppl,
            correlation: covariance / spread,
            ln_ratio,
            ratio,
            difference: Estimate { value: ppl.value - base_ppl.value, error: variance.max(0.0).sqrt() },
            kl: self.kl.mean(),
            kl_percentiles: percentiles(&self.kls),
            delta_p: self.delta_p.mean(),
            rms_delta_p: root_mean_square(&self.delta_ps),
            delta_p_percentiles: percentiles(&self.delta_ps),
            same_top: Estimate { value: share, error: (share * (1.0 - share) / (n - 1.0)).sqrt() },
        }
    }
}

/// The error follows from that of the mean square: half of it over the root.
fn root_mean_square(samples: &[f32]) -> Estimate {
    let mut squares = Running::default();
    samples.iter().for_each(|&x| squares.add(f64::from(x) * f64::from(x)));
    let Estimate { value, error } = squares.mean();
    let root = value.sqrt();
    Estimate { value: root, error: if root > 0.0 { 0.5 * error / root } else { 0.0 } }
}

/// Linear between neighbours, as most programs do.
fn percentiles(samples: &[f32]) -> [f64; 13] {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    PERCENTILES.map(|percent| {
        let at = percent / 100.0 * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        f64::from(low) + at.fract() * (f64::from(high) - f64::from(low))
    })
}

#[cfg(test)]
mod tests {
    use super::super::base::TopRow;
    use super::*;

    fn random_logits(seed: u64, n: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| (random.f32() - 0.5) * 12.0).collect()
    }

    fn full_kl(base: &[f32], logits: &[f32]) -> f64 {
        let (p_total, q_total) = (log_sum_exp(base), log_sum_exp(logits));
        let both = base.iter().zip(logits);
        both.map(|(&p, &q)| {
            let (ln_p, ln_q) = (f64::from(p) - p_total, f64::from(q) - q_total);
            ln_p.exp() * (ln_p - ln_q)
        })
        .sum()
    }

    #[test]
    fn with_the_whole_vocabulary_the_divergence_is_exact() {
        let (base, logits) = (random_logits(1, 300), random_logits(2, 300));
        let top = TopRow::new(&base, 7, 300);
        let sample = Sample::new(&logits, 7, &top.row());
        assert!((sample.kl - full_kl(&base, &logits)).abs() < 1e-5, "{sample:?}");
        assert!((sample.nll - (log_sum_exp(&logits) - f64::from(logits[7]))).abs() < 1e-12);
        assert!((sample.base_nll - (log_sum_exp(&base) - f64::from(base[7]))).abs() < 1e-5);
    }

    #[test]
    fn a_part_of_the_vocabulary_gives_a_close_lower_bound() {
        let base = random_logits(3, 5000);
        let logits: Vec<f32> =
            base.iter().zip(random_logits(4, 5000)).map(|(b, noise)| b + 0.05 * noise).collect();
        let exact = full_kl(&base, &logits);
        let of = |k: usize| Sample::new(&logits, 0, &TopRow::new(&base, 0, k).row()).kl;
        assert!(of(256) <= of(1024) + 1e-7 && of(1024) <= exact + 1e-6, "{} {} {exact}", of(256), of(1024));
        assert!(of(2048) > 0.8 * exact, "{} of {exact}", of(2048));
    }

    #[test]
    fn equal_models_do_not_diverge() {
        let base = random_logits(5, 1000);
        let mut all = Divergence::default();
        for target in 0..50 {
            all.add(Sample::new(&base, target, &TopRow::new(&base, target, 100).row()));
        }
        let report = all.report();
        assert!(report.kl.value < 1e-6 && report.kl_percentiles[0] < 1e-6, "{report:?}");
        assert!((report.ratio.value - 1.0).abs() < 1e-6);
        assert!(report.difference.value.abs() < 1e-6 * report.ppl.value);
        assert_eq!(report.same_top.value, 1.0);
        assert!(report.correlation > 0.999_999);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let samples: Vec<f32> = (0..=10).rev().map(|x| x as f32).collect();
        let found = percentiles(&samples);
        assert_eq!((found[0], found[6], found[12]), (10.0, 5.0, 0.0));
        assert!((found[1] - 9.99).abs() < 1e-9);
    }
}
