//! How far two tables of logits are apart.

use crate::Rows;

/// The distance of one table from another that counts as right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Largest difference of two values.
    pub max_abs: f64,
    /// The same, as a share of the largest value of the right table.
    pub max_rel: f64,
    /// The row with the largest difference.
    pub worst_row: usize,
    /// Rows whose largest value stands at another token.
    pub argmax_differs: usize,
    /// Mean over rows of KL(right || other) of the softmaxes, in nats.
    pub mean_kl: f64,
    /// True when every bit is the same.
    pub same_bits: bool,
}

/// Compares `other` with `right`.
///
/// # Panics
/// When the tables differ in shape or hold a value that is not finite: there is nothing to measure then.
pub fn distance(right: &Rows, other: &Rows) -> Distance {
    assert_eq!((right.width, right.len()), (other.width, other.len()), "the tables differ in shape");
    assert!(right.values.iter().chain(&other.values).all(|v| v.is_finite()), "a logit is not finite");
    let mut result = Distance {
        max_abs: 0.0,
        max_rel: 0.0,
        worst_row: 0,
        argmax_differs: 0,
        mean_kl: 0.0,
        same_bits: right.values.iter().zip(&other.values).all(|(a, b)| a.to_bits() == b.to_bits()),
    };
    for (at, (a, b)) in right.iter().zip(other.iter()).enumerate() {
        let widest = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).abs()).fold(0.0, f64::max);
        if widest > result.max_abs {
            (result.max_abs, result.worst_row) = (widest, at);
        }
        result.argmax_differs += usize::from(argmax(a) != argmax(b));
        result.mean_kl += divergence(a, b);
    }
    let scale = right.values.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
    result.max_rel = if scale > 0.0 { result.max_abs / scale } else { result.max_abs };
    result.mean_kl /= right.len() as f64;
    result
}

/// The place of the largest value, the first of equals.
pub fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// KL(p || q) of two rows of logits.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (log_p, log_q) = (log_softmax(p), log_softmax(q));
    log_p.iter().zip(&log_q).map(|(a, b)| a.exp() * (a - b)).sum()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let top = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.iter().map(|v| (f64::from(*v) - top).exp()).sum();
    row.iter().map(|v| f64::from(*v) - top - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tables_have_no_distance() {
        let rows = Rows { values: vec![1.0, 2.0, -3.0, 0.5], width: 2 };
        let found = distance(&rows, &rows);
        assert!(found.same_bits);
        assert_eq!((found.max_abs, found.argmax_differs, found.mean_kl), (0.0, 0, 0.0));
    }

    #[test]
    fn distance_names_the_worst_row_and_the_changed_choice() {
        let right = Rows { values: vec![1.0, 2.0, 4.0, 3.5], width: 2 };
        let other = Rows { values: vec![1.0, 2.0, 4.0, 4.5], width: 2 };
        let found = distance(&right, &other);
        assert_eq!((found.max_abs, found.max_rel, found.worst_row), (1.0, 0.25, 1));
        assert_eq!(found.argmax_differs, 1);
        // By hand: p = sigmoid(0.5) on the first token, q = sigmoid(-0.5).
        let p = 1.0 / (1.0 + (-0.5f64).exp());
        let kl = p * (p / (1.0 - p)).ln() + (1.0 - p) * ((1.0 - p) / p).ln();
        assert!((found.mean_kl - kl / 2.0).abs() < 1e-12);
    }
}
