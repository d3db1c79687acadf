//! `rayon`'s threads, for what is outside a token: as many as the system gives, and none where it gives none.

use fathom_files::process::spawn;
use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::io::Error;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Whether all threads have their common pool. One that is there already stays.
static POOL: Mutex<bool> = Mutex::new(false);
/// What says how many threads the pool has, to whoever knows `rayon`.
const N_THREADS: &str = "RAYON_NUM_THREADS";

/// To be called before anything is shared out by `rayon`: left alone, it would panic where the system refuses it a thread. A
/// pool that is there already stays.
pub fn ready() {
    ready_in(&POOL, started);
}

/// The common pool of threads that `start` starts, or where it starts none a pool of the calling thread alone: work that others
/// would be given then would wait for this thread, which does something else. The next who asks tries again.
fn ready_in(pool: &Mutex<bool>, start: impl FnOnce(usize) -> Vec<Sender<ThreadBuilder>>) {
    if rayon::current_thread_index().is_some() {
        return;
    }
    let mut is_there = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_there {
        return;
    }
    let waiting = start(wanted(std::env::var(N_THREADS).ok().as_deref()));
    if waiting.is_empty() {
        // The thread belongs to its pool from now on, whatever becomes of the value.
        std::mem::forget(ThreadPoolBuilder::new().num_threads(1).use_current_thread().build());
        return;
    }
    let n_threads = waiting.len();
    let mut waiting = waiting.into_iter();
    let hand_over = move |work: ThreadBuilder| {
        let thread = waiting.next().ok_or_else(|| Error::other("more threads than were asked for"))?;
        thread.send(work).map_err(|_| Error::other("a thread that ended"))
    };
    // An error is a pool that somebody made before.
    let _ = ThreadPoolBuilder::new().num_threads(n_threads).spawn_handler(hand_over).build_global();
    *is_there = true;
}

/// As many threads as somebody said, or as there are processors.
fn wanted(said: Option<&str>) -> usize {
    let said = said.and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    said.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// Threads that wait for what they are to do, up to `wanted`. A pool is made once in a process, and whole or not at all: so
/// what it is made of is there before.
fn started(wanted: usize) -> Vec<Sender<ThreadBuilder>> {
    let mut waiting = Vec::new();
    for index in 0..wanted {
        let (give, take) = channel::<ThreadBuilder>();
        // Without a pool its end of the channel is dropped, and the thread ends.
        let work = move || take.recv().map_or((), ThreadBuilder::run);
        match spawn(&format!("fathom-pool-{index}"), work) {
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

    #[test]
    fn threads_that_get_no_helpers_wait_for_nobody() {
        let pool = Mutex::new(false);
        let sum = |pool: &Mutex<bool>| {
            ready_in(pool, |_| Vec::new());
            assert_eq!(rayon::current_num_threads(), 1);
            (0..1000u64).into_par_iter().sum::<u64>()
        };
        std::thread::scope(|scope| {
            let (done, others) = channel();
            let pool = &pool;
            let first = scope.spawn(move || {
                let before = sum(pool);
                // It lives, and does no work of others.
                others.recv().unwrap();
                before + sum(pool)
            });
            for _ in 0..2 {
                assert_eq!(scope.spawn(move || sum(pool)).join().unwrap(), 499_500);
            }
            done.send(()).unwrap();
            assert_eq!(first.join().unwrap(), 2 * 499_500);
        });
        assert!(!*pool.lock().unwrap(), "who asks when there are threads gets them");
    }

    #[test]
    fn a_number_of_threads_that_was_said_counts() {
        let all = std::thread::available_parallelism().unwrap().get();
        for (said, expected) in [(Some("3"), 3), (Some("0"), all), (Some("many"), all), (None, all)] {
            assert_eq!(wanted(said), expected, "{said:?}");
        }
    }
}
