//! Ctrl-C and a polite kill: they end the program, or only what it is doing.

use super::Failure;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by a signal while somebody listens.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether somebody does.
static LISTENING: AtomicBool = AtomicBool::new(false);
/// Whether only the first signal is for whoever listens.
static ONCE: AtomicBool = AtomicBool::new(false);
/// The handler can be installed once in a process.
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();

/// While it lives, a signal sets a flag instead of ending the program. Only one may live at a time.
pub(crate) struct Listening(());

/// From now on a signal sets a flag; when the value is dropped, a signal ends the program with exit code 130 again.
///
/// # Errors
/// A system that lets nobody catch signals.
pub(crate) fn listen() -> Result<Listening, Failure> {
    let installed =
        INSTALLED.get_or_init(|| ctrlc::set_handler(on_signal).map_err(|error| error.to_string()));
    if let Err(error) = installed {
        return Err(Failure::runtime(format!("cannot catch Ctrl-C: {error}")));
    }
    STOP.store(false, Ordering::Relaxed);
    ONCE.store(false, Ordering::Relaxed);
    LISTENING.store(true, Ordering::Relaxed);
    Ok(Listening(()))
}

/// The same for the first signal alone: a second one, from somebody who does not want to wait, ends the program.
///
/// # Errors
/// As [`listen`].
pub(crate) fn listen_once() -> Result<Listening, Failure> {
    let listening = listen()?;
    ONCE.store(true, Ordering::Relaxed);
    Ok(listening)
}

/// Runs in a thread of its own, so that leaving from here is as good as from anywhere.
fn on_signal() {
    let is_over = ONCE.load(Ordering::Relaxed) && STOP.load(Ordering::Relaxed);
    if LISTENING.load(Ordering::Relaxed) && !is_over {
        STOP.store(true, Ordering::Relaxed);
    } else {
        std::process::exit(130);
    }
}

impl Listening {
    /// The flag that a signal sets.
    pub(crate) fn flag(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::Relaxed);
    }
}
