//! This process, as the system sees it: what it says of it, and threads, which begin only where there is room for them.

use std::fs::read_to_string;
use std::io;
use std::path::Path;
use std::thread::{Builder, JoinHandle};

/// Addresses that a starting thread takes: the stack that `std` gives it, and generously what it allocates before its
/// first work.
#[cfg(target_os = "linux")]
const START: usize = 4 << 20;

/// Starts a thread of this name. All crates start their threads here, but for those that share a borrowed value.
///
/// # Errors
/// If the system refuses it, or there would be no room for it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    start(Builder::new().name(name.to_owned()), work)
}

/// Starts a thread as it was ordered.
///
/// # Errors
/// The same.
pub fn start<T: Send + 'static>(
    builder: Builder,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    room_for_a_thread()?;
    #[expect(clippy::disallowed_methods, reason = "here it has been asked whether there is room")]
    builder.spawn(work)
}

/// Whether the system gives one more thread, for code that starts one and does not expect a refusal.
pub fn one_more() -> bool {
    spawn("fathom-probe", || {}).is_ok_and(|thread| thread.join().is_ok())
}

/// An error where the limit on addresses (`ulimit -v`) leaves too few for one more thread. Asked before each start: a
/// thread that finds its stack but nothing behind it is no error to us, the C library ends the process.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn room_for_a_thread() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};
    if getrlimit(Resource::As).current.is_none() {
        return Ok(());
    }
    memmap2::MmapMut::map_anon(START).map(drop)
}

/// Nobody can say on this platform.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn room_for_a_thread() -> io::Result<()> {
    Ok(())
}

/// What the system says of this process under `name`. `root` is `/`, but in tests.
pub fn status(root: &Path, name: &str) -> Option<String> {
    let status = read_to_string(root.join("proc/self/status")).ok()?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(found, value)| (found == name).then(|| value.trim().to_owned()))
}

/// The same where it is an amount of memory, in bytes.
pub fn status_bytes(root: &Path, name: &str) -> Option<u64> {
    kib(&status(root, name)?)
}

/// Bytes, from the kernel's `123 kB`.
pub fn kib(value: &str) -> Option<u64> {
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_started_thread_has_its_name_and_gives_its_result() {
        let named = spawn("fathom-test", || std::thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(named.join().unwrap().as_deref(), Some("fathom-test"));
        // More addresses than any process has.
        assert!(start(Builder::new().stack_size(1 << 60), || ()).is_err());
    }
}
