//! SIGBUS inside a mapped file becomes an error with a name, and exit code 3.
//!
//! The page is gone and the instruction cannot go on, so nothing is left but to say what happened and leave. Only
//! async-signal-safe calls are made in the handler: atomic loads, `write`, `_exit`, `sigaction`.

#[cfg(unix)]
pub(super) use unix::{forget, install, watch};

#[cfg(not(unix))]
pub(super) use elsewhere::{forget, install, watch};

#[cfg(not(unix))]
mod elsewhere {
    //! Systems without SIGBUS refuse to shorten a mapped file, or raise an exception of their own.

    pub(in super::super) fn install() {}
    pub(in super::super) fn watch(_start: *const u8, _len: usize, _name: &str) {}
    pub(in super::super) fn forget(_start: *const u8) {}
}

#[cfg(unix)]
mod unix {
    use std::ffi::{CString, c_char, c_int, c_void};
    use std::sync::Once;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    /// A watched range. `start` is written last and cleared first, so that the handler never sees half an entry.
    struct Watched {
        start: AtomicUsize,
        len: AtomicUsize,
        name: AtomicPtr<c_char>,
    }

    /// More shards than any published model has; further files are mapped without a name for the message.
    const MAX_WATCHED: usize = 1024;

    static WATCHED: [Watched; MAX_WATCHED] = [const {
        Watched {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            name: AtomicPtr::new(std::ptr::null_mut()),
        }
    }; MAX_WATCHED];

    pub(in super::super) fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: a zeroed sigaction is valid; the handler has the signature that SA_SIGINFO asks for and is
            // async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_sigbus as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            }
        });
    }

    pub(in super::super) fn watch(start: *const u8, len: usize, name: &str) {
        let Ok(name) = CString::new(name) else { return };
        for entry in &WATCHED {
            // A free entry is claimed by its length; the name of an earlier file in it was freed by `forget`.
            if entry.len.compare_exchange(0, len, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                entry.name.store(name.into_raw(), Ordering::Relaxed);
                entry.start.store(start as usize, Ordering::Release);
                return;
            }
        }
    }

    pub(in super::super) fn forget(start: *const u8) {
        for entry in &WATCHED {
            if entry.start.load(Ordering::Acquire) == start as usize {
                entry.start.store(0, Ordering::Release);
                let name = entry.name.swap(std::ptr::null_mut(), Ordering::AcqRel);
                if !name.is_null() {
                    // SAFETY: the pointer came from `CString::into_raw` in `watch`, and the swap took it out once.
                    drop(unsafe { CString::from_raw(name) });
                }
                entry.len.store(0, Ordering::Release);
                return;
            }
        }
    }

    extern "C" fn on_sigbus(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
        // SAFETY: the kernel passes a valid siginfo_t; si_addr is filled for SIGBUS.
        let address = unsafe { (*info).si_addr() } as usize;
        for entry in &WATCHED {
            let start = entry.start.load(Ordering::Acquire);
            if start != 0 && address >= start && address - start < entry.len.load(Ordering::Acquire) {
                say(b"error: ");
                let name = entry.name.load(Ordering::Acquire);
                if !name.is_null() {
                    // SAFETY: a NUL-terminated string that lives as long as the entry.
                    unsafe { libc::write(2, name.cast(), libc::strlen(name)) };
                }
                say(b": byte ");
                say_number(address - start);
                say(
                    b": expected the file's contents, found nothing: it became shorter while in use, or its disk \
                      failed. Restore the file and start again.\n",
                );
                // SAFETY: leaves at once, running nothing.
                unsafe { libc::_exit(3) };
            }
        }
        // Not ours: put the default action back; the instruction faults again and the process ends as it would have.
        // SAFETY: a zeroed sigaction with SIG_DFL is valid.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }

    fn say(text: &[u8]) {
        // SAFETY: writes from a valid buffer. A failed write has no better place to be reported.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }

    fn say_number(mut number: usize) {
        let mut digits = [0u8; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        say(&digits[first..]);
    }
}
