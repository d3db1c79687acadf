//! Work on what is not trusted, within limits of time, memory and stack.
//!
//! Parsers and compilers of other crates are given what files hold. What they take is mostly counted by themselves; the rest
//! is watched from outside: the work is done on a thread of its own, which is left behind when it takes too long or too much.

use crate::machine::status_bytes;
use crate::threads;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Reserved, not taken: the first that a limit on addresses (`ulimit -v`) leaves room for. The deepest work that is let in
/// needs less than the smallest.
const STACKS: [usize; 2] = [1 << 30, 256 << 20];
/// What is done here takes a fraction of a second, on a busy machine a few of them.
const LONGEST: Duration = Duration::from_secs(15);
/// How much the program may grow meanwhile.
const LARGEST: u64 = 1 << 30;
const LOOKS: Duration = Duration::from_millis(5);

/// Does the work and gives its result. The error is the work's own, or says which limit it broke.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    run_on(&STACKS, work)
}

fn run_on<T: Send + 'static>(
    stacks: &[usize],
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (started, before) = (Instant::now(), anonymous_memory());
    let (give, take) = mpsc::channel();
    let (done, result) = mpsc::channel();
    let thread = start(stacks, take, done)?;
    // A thread that ended is noticed below.
    let _ = give.send(work);
    loop {
        match result.recv_timeout(LOOKS) {
            Ok(result) => {
                // What it holds is let go on the deep stack.
                let _ = thread.join();
                return result;
            }
            Err(RecvTimeoutError::Disconnected) => return Err("its parser failed".to_owned()),
            Err(RecvTimeoutError::Timeout) if started.elapsed() > LONGEST => {
                return Err(format!("it takes longer than {} seconds", LONGEST.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let grown = before.zip(anonymous_memory()).map(|(before, now)| now.saturating_sub(before));
                if grown.is_some_and(|grown| grown > LARGEST) {
                    return Err(format!("it takes more than {} MiB of memory", LARGEST >> 20));
                }
            }
        }
    }
}

/// A thread that waits for its work, on the first of the stacks that the system gives.
fn start<T: Send + 'static>(
    stacks: &[usize],
    take: Receiver<impl FnOnce() -> T + Send + 'static>,
    done: Sender<T>,
) -> Result<JoinHandle<Option<()>>, String> {
    let take = Arc::new(Mutex::new(Some((take, done))));
    let mut refused = None;
    for &stack in stacks {
        let take = Arc::clone(&take);
        let wait = move || {
            let (take, done) = take.lock().ok().and_then(|mut both| both.take())?;
            // Whoever has stopped waiting needs no result.
            done.send(take.recv().ok()?()).ok()
        };
        let builder = thread::Builder::new().name("contained".to_owned()).stack_size(stack);
        match threads::start(builder, wait) {
            Ok(thread) => return Ok(thread),
            Err(error) => refused = Some((stack, error)),
        }
    }
    Err(refused.map_or_else(String::new, |(stack, error)| {
        format!(
            "cannot start a thread with a stack of {} MiB for it: {error}; raise the limits on memory (ulimit -v) and on processes \
             (ulimit -u)",
            stack >> 20
        )
    }))
}

/// Bytes that the program has for itself, where the system tells.
fn anonymous_memory() -> Option<u64> {
    status_bytes(Path::new("/"), "RssAnon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_comes_back_with_its_result_its_error_or_a_panic_of_its_own() {
        assert_eq!(run(|| Ok(5)), Ok(5));
        assert_eq!(run(|| Err::<(), _>("no".to_owned())), Err("no".to_owned()));
        assert_eq!(
            run(|| -> Result<(), String> { panic!("a test's own") }),
            Err("its parser failed".to_owned())
        );
    }

    #[test]
    fn a_smaller_stack_is_taken_where_there_is_no_room_for_a_large_one() {
        // More addresses than any process has.
        let none = 1 << 60;
        assert_eq!(run_on(&[none, 1 << 20], || Ok(5)), Ok(5));
        let error = run_on(&[none], || Ok(5)).unwrap_err();
        assert!(
            error.contains("cannot start a thread with a stack of") && error.contains("ulimit -v"),
            "{error}"
        );
    }

    #[test]
    fn memory_is_limited() {
        let takes_all = || -> Result<(), String> {
            // Ends by itself where the system does not tell what is taken.
            let all: Vec<Vec<u8>> = (0..200).map(|_| vec![1; 8 << 20]).collect();
            Err(format!("{} were free", all.len()))
        };
        let error = run(takes_all).unwrap_err();
        assert!(!cfg!(target_os = "linux") || error == "it takes more than 1024 MiB of memory", "{error}");
    }
}
