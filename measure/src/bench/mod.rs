//! The measuring room: speed, and what it is held against.
//!
//! Tests are llama-bench's: `pp512` is a prompt of 512 tokens in one go, `tg128` are 128 tokens one by one, and
//! `@ d4096` says that 4096 positions were in the cache before. A [`Room`] prepares and times them, tells what they
//! touch ([`Work`], counted by a probe in the warm-up run), and measures the machine's two limits between the runs:
//! the read bandwidth over the model's own mapping, and the integer multiplications of the kernels' level. `fathom
//! bench` and the comparison with llama.cpp are made of these parts.

mod limits;
mod predict;
mod room;
mod stats;
mod work;

pub use limits::Limits;
pub use predict::{LayerTimes, Shape};
pub use room::{Fill, Measured, Room, RoomOptions};
pub use stats::Stats;
pub use work::Work;

use std::fmt;

/// What a test computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prompt: all tokens in one call of the session.
    Prompt,
    /// Generation: token by token.
    Generation,
}

/// One thing to be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// What is computed.
    pub kind: Kind,
    /// Tokens computed.
    pub n: usize,
    /// Positions in the cache before.
    pub depth: usize,
}

/// llama-bench's name of the test.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Prompt => "pp",
            Kind::Generation => "tg",
        };
        let name = match self.depth {
            0 => format!("{kind}{}", self.n),
            depth => format!("{kind}{} @ d{depth}", self.n),
        };
        f.pad(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_have_the_names_of_llama_bench() {
        let name = |kind, n, depth| Test { kind, n, depth }.to_string();
        assert_eq!(name(Kind::Prompt, 512, 0), "pp512");
        assert_eq!(name(Kind::Generation, 128, 4096), "tg128 @ d4096");
    }
}
