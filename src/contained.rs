//! Work on what is not trusted, within limits of time, memory and stack.
//!
//! Parsers and compilers of other crates are given what files hold. What they take is mostly counted by themselves; the rest
//! is watched from outside: the work is done on a thread of its own, which is left behind when it takes too long or too much.

use crate::machine::status_bytes;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Reserved, not taken.
const STACK: usize = 1 << 30;
/// What is done here takes a fraction of a second, on a busy machine a few of them.
const LONGEST: Duration = Duration::from_secs(15);
/// How much the program may grow meanwhile.
const LARGEST: u64 = 1 << 30;
const LOOKS: Duration = Duration::from_millis(5);

/// Does the work and gives its result. The error is the work's own, or says which limit it broke.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (done, result) = mpsc::channel();
    let (started, before) = (Instant::now(), anonymous_memory());
    let thread = thread::Builder::new().name("contained".to_owned()).stack_size(STACK);
    // Whoever has stopped waiting needs no result.
    let thread = thread.spawn(move || drop(done.send(work())));
    let thread = thread.map_err(|error| format!("cannot start a thread for it: {error}"))?;
    loop {
        match result.recv_timeout(LOOKS) {
            Ok(result) => {
                // What it holds is let go on the deep stack.
                let _ = thread.join();
                return result;
            }
            Err(RecvTimeoutError::Disconnected) => return Err("it is not understood".to_owned()),
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
            Err("it is not understood".to_owned())
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
