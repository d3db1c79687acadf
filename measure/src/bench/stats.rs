//! Numbers of repeated runs.

/// Median and spread of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The mean.
    pub mean: f64,
    /// Standard deviation of the samples; 0 for a single one.
    pub stddev: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Stats {
    /// Of at least one sample.
    ///
    /// # Panics
    /// Without samples.
    pub fn of(samples: &[f64]) -> Stats {
        assert!(!samples.is_empty(), "statistics of nothing");
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares: f64 = sorted.iter().map(|x| (x - mean).powi(2)).sum();
        Stats {
            median: sorted[(n - 1) / 2].midpoint(sorted[n / 2]),
            mean,
            stddev: if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 },
            min: sorted[0],
            max: sorted[n - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up() {
        let stats = Stats::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((stats.median, stats.mean, stats.min, stats.max), (2.5, 2.5, 1.0, 4.0));
        assert!((stats.stddev - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let one = Stats::of(&[7.0]);
        assert_eq!((one.median, one.stddev), (7.0, 0.0));
        assert_eq!(Stats::of(&[9.0, 1.0, 2.0]).median, 2.0);
    }
}
