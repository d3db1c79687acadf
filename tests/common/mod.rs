//! What the end-to-end tests share: the program, terminals, patience, and the fixtures of the libraries' tests.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

pub mod program;
#[cfg(target_os = "linux")]
pub mod terminal;

pub use fathom_fixtures::*;

use std::process::Command;
use std::time::{Duration, Instant};

/// The program, without anybody's settings.
pub fn fathom() -> Command {
    program::fathom()
}

/// What takes no second on an idle machine may take this long on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
