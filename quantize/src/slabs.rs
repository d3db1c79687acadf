//! Handing out work: each thread of the current rayon pool takes the next slab until there are none.

use crate::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How a caller watches and stops the work.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Once true, the work ends with [`Error::Interrupted`] and without a file.
    pub stop: &'a AtomicBool,
    /// Called with the number of bytes just written, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Watch<'_> {
    pub(crate) fn stopped(&self) -> bool {
        // Relaxed: nothing else is read on the strength of this flag.
        self.stop.load(Ordering::Relaxed)
    }
}

/// Does `work` on every slab, in order as far as threads allow. `W` is what one thread reuses from slab to slab; `work`
/// returns the bytes it wrote.
pub(crate) fn run<S: Sync, W: Default>(
    slabs: &[S],
    watch: Watch<'_>,
    work: impl Fn(&S, &mut W) -> Result<u64, Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results = rayon::broadcast(|_| {
        let mut workspace = W::default();
        // Relaxed: the counter hands out numbers and the flag only shortens work; results come back by join.
        while let Some(slab) = slabs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if watch.stopped() {
                return Err(Error::Interrupted);
            }
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let written =
                work(slab, &mut workspace).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            (watch.progress)(written);
        }
        Ok(())
    });
    results.into_iter().collect()
}
