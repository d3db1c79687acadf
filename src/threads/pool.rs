//! `rayon`'s threads, for what is outside a token: as many as the system gives, and none where it gives none.

use super::room_for_a_thread;
use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::io::Error;
use std::sync::Once;
use std::sync::mpsc::{Sender, channel};

/// To be called before anything is shared out by `rayon`: left alone, it would panic where the system refuses it a thread. A
/// pool that is there already stays.
pub(crate) fn ready() {
    static READY: Once = Once::new();
    READY.call_once(|| {
        let wanted = std::thread::available_parallelism().map_or(1, |n| n.get());
        let waiting = started(wanted);
        let builder = ThreadPoolBuilder::new();
        // An error is a pool that somebody made before.
        let _ = if waiting.is_empty() {
            builder.num_threads(1).use_current_thread().build_global()
        } else {
            let n_threads = waiting.len();
            let mut waiting = waiting.into_iter();
            let hand_over = move |work: ThreadBuilder| {
                let thread =
                    waiting.next().ok_or_else(|| Error::other("more threads than were asked for"))?;
                thread.send(work).map_err(|_| Error::other("a thread that ended"))
            };
            builder.num_threads(n_threads).spawn_handler(hand_over).build_global()
        };
    });
}

/// Whether the system gives one more thread, for code that starts one and does not expect a refusal.
pub(crate) fn one_more() -> bool {
    let started = room_for_a_thread().and_then(|()| std::thread::Builder::new().spawn(|| {}));
    started.is_ok_and(|thread| thread.join().is_ok())
}

/// Threads that wait for what they are to do, up to `wanted`. A pool is made once in a process, and whole or not at all: so
/// what it is made of is there before.
fn started(wanted: usize) -> Vec<Sender<ThreadBuilder>> {
    let mut waiting = Vec::new();
    for index in 0..wanted {
        let (give, take) = channel::<ThreadBuilder>();
        let builder = std::thread::Builder::new().name(format!("fathom-pool-{index}"));
        // Without a pool its end of the channel is dropped, and the thread ends.
        let work = move || take.recv().map_or((), ThreadBuilder::run);
        match room_for_a_thread().and_then(|()| builder.spawn(work)) {
            Ok(_) => waiting.push(give),
            Err(_) => break,
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn work_is_shared_out_and_asking_again_changes_nothing() {
        for _ in 0..2 {
            ready();
            assert_eq!((0..1000u64).into_par_iter().sum::<u64>(), 499_500);
        }
    }
}
