//! Numbers that went bad: noted inside a token, reported after it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was not a number, in the order in which a layer makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// The residual stream where a layer begins, or the head.
    Hidden,
    /// A query's or a cached row's latent.
    Latent,
    /// An index key.
    IndexKey,
    /// An index score.
    IndexScore,
    /// The residual stream behind a layer's attention.
    Attended,
    /// A router score.
    RouterScore,
    /// A logit.
    Logit,
    /// Logits that are numbers, and all the same one: nothing came through the head.
    Flat,
}

impl std::fmt::Display for BadValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BadValue::Hidden => "hidden state",
            BadValue::Latent => "attention latent",
            BadValue::IndexKey => "index key",
            BadValue::IndexScore => "index score",
            BadValue::Attended => "hidden state after attention",
            BadValue::RouterScore => "router score",
            BadValue::Logit => "logit",
            BadValue::Flat => "difference between logits",
        })
    }
}

/// The first bad value of a forward call: lowest layer, then lowest position, then what comes first there, whatever thread found it.
pub struct Fault(AtomicU64);

const NONE: u64 = u64::MAX;
const KINDS: [BadValue; 8] = [
    BadValue::Hidden,
    BadValue::Latent,
    BadValue::IndexKey,
    BadValue::IndexScore,
    BadValue::Attended,
    BadValue::RouterScore,
    BadValue::Logit,
    BadValue::Flat,
];

/// Whether all of some numbers are numbers. One pass without a branch: it is made over scores and logits that were just
/// written, of which there may be a hundred thousand.
pub fn all_finite(values: &[f32]) -> bool {
    let largest = values.iter().fold(0, |largest, value| largest.max(value.to_bits() << 1));
    largest < f32::INFINITY.to_bits() << 1
}

impl Fault {
    /// Nothing bad yet.
    pub fn new() -> Fault {
        Fault(AtomicU64::new(NONE))
    }

    /// Notes a bad value; the first one in order of layer and position is kept.
    pub fn note(&self, what: BadValue, layer: usize, position: usize) {
        // 16 bits of layer, 40 of position, 8 of kind: ordered as wanted.
        let code = (layer as u64) << 48 | (position as u64) << 8 | what as u64;
        self.0.fetch_min(code, Ordering::Relaxed);
    }

    /// What was noted first: kind, layer, position.
    pub fn first(&self) -> Option<(BadValue, usize, usize)> {
        let code = self.0.load(Ordering::Relaxed);
        (code != NONE).then(|| {
            let position = (code >> 8) & ((1 << 40) - 1);
            (KINDS[(code & 0xff) as usize], (code >> 48) as usize, position as usize)
        })
    }

    /// Forgets.
    pub fn clear(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }
}

impl Default for Fault {
    fn default() -> Self {
        Fault::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nan_are_no_numbers() {
        assert!(all_finite(&[]));
        assert!(all_finite(&[0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE]));
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            for at in 0..20 {
                let mut values = [1.0; 20];
                values[at] = bad;
                assert!(!all_finite(&values), "{bad} at {at}");
            }
        }
    }

    #[test]
    fn every_kind_comes_back() {
        for kind in KINDS {
            let fault = Fault::new();
            fault.note(kind, 1, 2);
            assert_eq!(fault.first(), Some((kind, 1, 2)));
        }
    }

    #[test]
    fn the_lowest_layer_then_position_is_reported() {
        let fault = Fault::new();
        assert_eq!(fault.first(), None);
        fault.note(BadValue::Logit, 3, 7);
        fault.note(BadValue::RouterScore, 2, 100_000);
        fault.note(BadValue::IndexScore, 2, 99_999);
        assert_eq!(fault.first(), Some((BadValue::IndexScore, 2, 99_999)));
        fault.clear();
        assert_eq!(fault.first(), None);
    }
}
