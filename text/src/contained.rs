//! Work on what is not trusted, within limits of time, memory and stack.
//!
//! Parsers and compilers of other crates are given what files hold. What they take is mostly counted by themselves; the rest
//! is watched from outside: the work is done on a thread of its own, which is left behind when it takes too long or too much.
//!
//! A thread cannot be ended from outside: work that broke a limit goes on, with all that it holds, until the program ends.
//! And what a thread takes is not known, only what the program has: what others take meanwhile counts, too.

use fathom_files::process::{self, status_bytes};
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Reserved, not taken: the first that a limit on addresses (`ulimit -v`) leaves room for. The deepest work that is let in
/// needs less than the smallest.
const STACKS: [usize; 2] = [1 << 30, 256 << 20];
/// What is done here takes a fraction of a second, on a busy machine a few of them.
const LONGEST: Duration = Duration::from_secs(15);
/// How much the program may grow meanwhile.
const LARGEST: u64 = 1 << 30;
/// Begins what is told of work that panicked: a fault of the program or of a crate in it.
const FAILED: &str = "Fathom failed while reading it (a bug; please report it)";
/// Begin what is told of work that broke a limit.
const TOO_LONG: &str = "this takes longer than";
const TOO_LARGE: &str = "it takes more than";
/// So much of what a panic says is told.
const LONGEST_SAYING: usize = 200;

/// Whether this is told of work that panicked.
pub(crate) fn is_failure(problem: &str) -> bool {
    problem.starts_with(FAILED)
}

/// Whether this is told of work that broke a limit, and goes on: more of it is not to be begun.
pub(crate) fn is_limit(problem: &str) -> bool {
    problem.starts_with(TOO_LONG) || problem.starts_with(TOO_LARGE)
}

thread_local! {
    /// Whether this thread does such work.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}
const LOOKS: Duration = Duration::from_millis(5);

/// Does the work and gives its result. The error is the work's own, or says which limit it broke.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    run_on(&STACKS, LARGEST, work)
}

fn run_on<T: Send + 'static>(
    stacks: &[usize],
    largest: u64,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    stay_silent();
    let (started, before) = (Instant::now(), anonymous_memory());
    let (give, take) = mpsc::channel();
    let (done, result) = mpsc::channel();
    let thread = start(stacks, take, done)?;
    // A thread that ended is noticed below.
    let _ =
        give.send(|| panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|why| Err(failure(&*why))));
    loop {
        match result.recv_timeout(LOOKS) {
            Ok(result) => {
                // What it holds is let go on the deep stack.
                let _ = thread.join();
                return result;
            }
            Err(RecvTimeoutError::Disconnected) => return Err(FAILED.to_owned()),
            Err(RecvTimeoutError::Timeout) if started.elapsed() > LONGEST => {
                return Err(format!("{TOO_LONG} {} seconds; make it simpler", LONGEST.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let grown = before.zip(anonymous_memory()).map(|(before, now)| now.saturating_sub(before));
                if grown.is_some_and(|grown| grown > largest) {
                    return Err(format!("{TOO_LARGE} {} MiB of memory", largest >> 20));
                }
            }
        }
    }
}

/// What is told of a panic: it names what went wrong, for whoever reports it and for whoever looks at what was read.
fn failure(why: &(dyn Any + Send)) -> String {
    let said =
        why.downcast_ref::<&str>().copied().or_else(|| why.downcast_ref::<String>().map(String::as_str));
    let said: String =
        said.and_then(|said| said.lines().next()).unwrap_or_default().chars().take(LONGEST_SAYING).collect();
    if said.is_empty() { FAILED.to_owned() } else { format!("{FAILED}: {said}") }
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
            CONTAINED.set(true);
            let (take, done) = take.lock().ok().and_then(|mut both| both.take())?;
            // Whoever has stopped waiting needs no result.
            done.send(take.recv().ok()?()).ok()
        };
        let builder = thread::Builder::new().name("contained".to_owned()).stack_size(stack);
        match process::start(builder, wait) {
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

/// What fails in contained work is told by whoever asked for it, in its place: a panic there writes nothing by itself.
fn stay_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            // At a thread's end there is no such value any more.
            if !CONTAINED.try_with(Cell::get).unwrap_or(false) {
                tell(about);
            }
        }));
    });
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
        let error = run(|| -> Result<(), String> { panic!("a test's own\nsecond line") }).unwrap_err();
        assert_eq!(error, format!("{FAILED}: a test's own"));
        assert!(is_failure(&error) && !is_failure("no"));
    }

    #[test]
    fn a_smaller_stack_is_taken_where_there_is_no_room_for_a_large_one() {
        // More addresses than any process has.
        let none = 1 << 60;
        assert_eq!(run_on(&[none, 1 << 20], LARGEST, || Ok(5)), Ok(5));
        let error = run_on(&[none], LARGEST, || Ok(5)).unwrap_err();
        assert!(
            error.contains("cannot start a thread with a stack of") && error.contains("ulimit -v"),
            "{error}"
        );
    }

    #[test]
    fn memory_is_limited() {
        let takes_all = || -> Result<(), String> {
            let mut all = Vec::new();
            // Far below what others that run meanwhile may take; ends by itself where the system does not tell what is taken.
            for _ in 0..256 {
                all.push(vec![1u8; 1 << 20]);
                thread::sleep(LOOKS / 2);
            }
            thread::sleep(LONGEST);
            Err(format!("{} were free", all.len()))
        };
        let error = run_on(&STACKS, 64 << 20, takes_all).unwrap_err();
        assert!(!cfg!(target_os = "linux") || error == "it takes more than 64 MiB of memory", "{error}");
        assert!(!cfg!(target_os = "linux") || is_limit(&error), "{error}");
    }
}
