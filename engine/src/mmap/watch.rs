//! How a caller watches and ends work on whole files.

use std::sync::atomic::{AtomicBool, Ordering};

/// How a caller watches and ends the work.
#[derive(Clone, Copy)]
pub struct Watch<'w> {
    /// Once true, the work ends with [`super::MapError::Stopped`].
    pub stop: &'w AtomicBool,
    /// Called with the number of bytes just done, from any thread.
    pub progress: &'w (dyn Fn(u64) + Sync),
}

impl Watch<'_> {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
