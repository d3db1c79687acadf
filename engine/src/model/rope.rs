//! Rotary angles, stretched by YaRN where the file declares it.

use fathom_arch::config::{Config, Yarn};

/// Rotation speed of each pair, radians per position: `[qk_rope_head_dim / 2]`.
pub struct Rotary {
    speeds: Vec<f32>,
}

impl Rotary {
    /// Speeds for a model.
    pub fn new(config: &Config) -> Rotary {
        let dim = config.qk_rope_head_dim;
        let theta = f64::from(config.rope_theta);
        let plain = |i: usize| theta.powf(-2.0 * i as f64 / dim as f64);
        let speeds = match config.yarn {
            None => (0..dim / 2).map(|i| plain(i) as f32).collect(),
            Some(yarn) => {
                let (low, high) = yarn_range(&yarn, theta, dim);
                (0..dim / 2)
                    .map(|i| {
                        let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        (plain(i) * (1.0 - ramp) + plain(i) / f64::from(yarn.factor) * ramp) as f32
                    })
                    .collect()
            }
        };
        Rotary { speeds }
    }

    /// Pairs in a vector.
    pub fn n_pairs(&self) -> usize {
        self.speeds.len()
    }

    /// Cosines and sines of position `pos`, each `[n_pairs]`.
    ///
    /// The angle is the f32 product, as in the reference: at position 100,000 its rounding is of the order of
    /// 0.004 rad, and a model trained with it expects it.
    pub fn angles(&self, pos: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((speed, cos), sin) in self.speeds.iter().zip(cos).zip(sin) {
            let (s, c) = f64::from(pos as f32 * speed).sin_cos();
            *cos = c as f32;
            *sin = s as f32;
        }
    }
}

/// Where YaRN's ramp begins and ends: pairs below are left alone, pairs above are divided by the factor.
fn yarn_range(yarn: &Yarn, theta: f64, dim: usize) -> (f64, f64) {
    let original = yarn.original_max_position_embeddings as f64;
    let pair = |rotations: f32| {
        dim as f64 * (original / (f64::from(rotations) * 2.0 * std::f64::consts::PI)).ln()
            / (2.0 * theta.ln())
    };
    let low = pair(yarn.beta_fast).floor().max(0.0);
    let high = pair(yarn.beta_slow).ceil().min(dim as f64 - 1.0);
    // Equal ends would divide by zero; the reference widens them by this much.
    if low == high { (low, high + 0.001) } else { (low, high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check values of the published model, computed with transformers.
    #[test]
    fn speeds_of_the_published_model() {
        let yarn = Yarn {
            factor: 40.0,
            original_max_position_embeddings: 4096,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale_all_dim: 1.0,
        };
        assert_eq!(yarn_range(&yarn, 10000.0, 64), (10.0, 23.0));
        let config = Config { qk_rope_head_dim: 64, rope_theta: 10000.0, yarn: Some(yarn), ..Config::tiny() };
        let speeds = Rotary::new(&config).speeds;
        for (i, expected) in [
            (0, 1.0),
            (9, 0.0749894),
            (11, 0.0390069),
            (15, 0.00833451),
            (22, 1.778279e-4),
            (31, 3.333804e-6),
        ] {
            assert!((speeds[i] / expected - 1.0).abs() < 1e-5, "{i}: {} is not {expected}", speeds[i]);
        }
        assert!((Config { qk_nope_head_dim: 128, ..config }.softmax_scale() - 0.1352338).abs() < 1e-7);
    }
}
