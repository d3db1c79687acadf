//! Inputs that follow from seeds, for tests that try many: `FATHOM_FUZZ_SECONDS` sets how long, and `FATHOM_FUZZ_SEED` where to
//! start. A failure prints its seed.

use std::time::Duration;

/// How long somebody wants it to go on; `None` where nobody says.
pub(crate) fn time() -> Option<Duration> {
    number("FATHOM_FUZZ_SECONDS").map(Duration::from_secs)
}

/// The seed to start with.
pub(crate) fn first_seed() -> u64 {
    number("FATHOM_FUZZ_SEED").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")))
}

/// Says what failed, if anything does while it lives.
pub(crate) struct Trying {
    pub(crate) seed: u64,
    /// What followed from it, where that says more.
    pub(crate) input: String,
}

impl Drop for Trying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("FATHOM_FUZZ_SEED={}: {:?}", self.seed, self.input);
        }
    }
}
