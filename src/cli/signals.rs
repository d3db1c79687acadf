//! Ctrl-C and a polite kill: they end the program, or only what it is doing.

use super::Failure;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by a signal while somebody listens.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether somebody does.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// The handler can be installed once in a process.
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();

/// While it lives, a signal sets a flag instead of ending the program. Only one may live at a time.
pub(super) struct Listening(());

/// From now on a signal sets a flag; when the value is dropped, a signal ends the program with exit code 130 again.
///
/// # Errors
/// A system that lets nobody catch signals.
pub(super) fn listen() -> Result<Listening, Failure> {
    let installed =
        INSTALLED.get_or_init(|| ctrlc::set_handler(on_signal).map_err(|error| error.to_string()));
    if let Err(error) = installed {
        return Err(Failure::runtime(format!("cannot catch Ctrl-C: {error}")));
    }
    STOP.store(false, Ordering::Relaxed);
    LISTENING.store(true, Ordering::Relaxed);
    Ok(Listening(()))
}

/// Runs in a thread of its own, so that leaving from here is as good as from anywhere.
fn on_signal() {
    if LISTENING.load(Ordering::Relaxed) {
        STOP.store(true, Ordering::Relaxed);
    } else {
        std::process::exit(130);
    }
}

impl Listening {
    /// The flag that a signal sets.
    pub(super) fn flag(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::Relaxed);
    }
}
