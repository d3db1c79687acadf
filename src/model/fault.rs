//! Numbers that went bad: noted inside a token, reported after it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// The residual stream.
    Hidden,
    /// An index score.
    IndexScore,
    /// A router score.
    RouterScore,
    /// A logit.
    Logit,
}

impl std::fmt::Display for BadValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BadValue::Hidden => "hidden state",
            BadValue::IndexScore => "index score",
            BadValue::RouterScore => "router score",
            BadValue::Logit => "logit",
        })
    }
}

/// The first bad value of a forward call: lowest layer, then lowest position, whatever thread found it.
pub struct Fault(AtomicU64);

const NONE: u64 = u64::MAX;
const KINDS: [BadValue; 4] = [BadValue::Hidden, BadValue::IndexScore, BadValue::RouterScore, BadValue::Logit];

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
