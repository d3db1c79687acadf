//! SIGBUS inside a mapped file becomes an error with a name, and exit code 3.
//!
//! The page is gone and the instruction cannot go on, so nothing is left but to say what happened and leave. Only
//! async-signal-safe calls are made in the handler: atomic loads, `write`, `tcgetpgrp`, `getpgrp`, `tcsetattr`, `_exit`,
//! `sigaction`, `raise`. What is not about our files goes to whoever handled the signal before.

#[cfg(unix)]
pub use unix::remember_terminal;
#[cfg(unix)]
pub use unix::report_lost_pages;
#[cfg(unix)]
pub(super) use unix::{forget, watch};

#[cfg(not(unix))]
pub use elsewhere::report_lost_pages;
#[cfg(not(unix))]
pub(super) use elsewhere::{forget, watch};

#[cfg(not(unix))]
mod elsewhere {
    //! Systems without SIGBUS refuse to shorten a mapped file, or raise an exception of their own.

    /// Nothing to install here.
    pub fn report_lost_pages() {}
    pub(in super::super) fn watch(_start: *const u8, _len: usize, _name: &str) {}
    pub(in super::super) fn forget(_start: *const u8) {}
}

#[cfg(unix)]
mod unix {
    use std::ffi::{CString, c_char, c_int, c_void};
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Once, OnceLock};

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

    /// What a signal's default action, or its being ignored, is in `sigaction`.
    const NO_HANDLERS: [libc::sighandler_t; 2] = [libc::SIG_DFL, libc::SIG_IGN];
    /// Who handled SIGBUS before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
    /// The terminal's modes before a conversation changed them.
    static TERMINAL: OnceLock<libc::termios> = OnceLock::new();
    /// One thread tells what happened; others may meet the same hole.
    static TELLING: AtomicBool = AtomicBool::new(false);

    /// From now on a model file that becomes shorter while it is mapped ends the process with a message that names it, and
    /// exit code 3. For programs that are Fathom's own: in others the handler they have stays. A SIGBUS that is not about
    /// a model's file goes to the handler that was there before.
    pub fn report_lost_pages() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: zeroed sigactions are valid; the handler has the signature that SA_SIGINFO asks for and is
            // async-signal-safe. BEFORE is set before the handler can run.
            unsafe {
                let mut before: libc::sigaction = std::mem::zeroed();
                libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before);
                BEFORE.get_or_init(|| before);
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_sigbus as *const () as usize;
                // Where somebody gave the thread another stack for signals, as Rust does, this is it.
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            }
        });
    }

    /// The terminal is given back in this state where the process ends without its own cleaning up: on a lost page, and when
    /// there is no memory to be had.
    pub fn remember_terminal() {
        // SAFETY: a zeroed termios is valid; it is kept only if the call filled it. The handler makes only
        // async-signal-safe calls.
        unsafe {
            let mut modes: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &mut modes) != 0 {
                return;
            }
            TERMINAL.get_or_init(|| modes);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigabrt as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGABRT, &action, std::ptr::null_mut());
        }
    }

    /// `abort` would go on by itself, but a signal that somebody sent would be survived.
    extern "C" fn on_sigabrt(signal: c_int) {
        restore_terminal();
        restore_default(signal);
        // SAFETY: a plain system call; the signal waits until the handler returns, and then ends the process.
        unsafe { libc::raise(signal) };
    }

    fn restore_default(signal: c_int) {
        // SAFETY: a zeroed sigaction with the default action is valid.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }

    /// To a program in the background the terminal does not belong: changing it would stop the program.
    fn restore_terminal() {
        #[cfg(test)]
        tests::RESTORED.fetch_add(1, Ordering::SeqCst);
        let Some(modes) = TERMINAL.get() else { return };
        // SAFETY: plain system calls, with a termios that the system filled.
        unsafe {
            if libc::tcgetpgrp(0) == libc::getpgrp() {
                libc::tcsetattr(0, libc::TCSANOW, modes);
            }
        }
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

    extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel passes a valid siginfo_t; si_addr is filled for SIGBUS.
        let address = unsafe { (*info).si_addr() } as usize;
        for entry in &WATCHED {
            let start = entry.start.load(Ordering::Acquire);
            if start != 0 && address >= start && address - start < entry.len.load(Ordering::Acquire) {
                tell_and_leave(entry, address - start);
            }
        }
        hand_on(signal, info, context);
    }

    fn tell_and_leave(entry: &Watched, byte: usize) -> ! {
        if TELLING.swap(true, Ordering::AcqRel) {
            loop {
                // SAFETY: waits for the end that the first thread brings.
                unsafe { libc::pause() };
            }
        }
        restore_terminal();
        say(b"error: ");
        let name = entry.name.load(Ordering::Acquire);
        if !name.is_null() {
            // SAFETY: a NUL-terminated string that lives as long as the entry.
            unsafe { libc::write(2, name.cast(), libc::strlen(name)) };
        }
        say(b": byte ");
        say_number(byte);
        say(b": expected the file's contents, found nothing: it became shorter while in use, or its disk failed. Restore \
              the file and start again.\n");
        // SAFETY: leaves at once, running nothing.
        unsafe { libc::_exit(3) }
    }

    /// Not ours: the handler that was there before has it. If there was none, the default action is put back and the process
    /// ends as it would have. The terminal is restored only then: a host that carries on needs the modes that it has set.
    fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let before = BEFORE.get().filter(|before| !NO_HANDLERS.contains(&before.sa_sigaction));
        // SAFETY: the address is that of a handler which somebody gave to `sigaction` with these flags, so it has this
        // signature. A zeroed sigaction with SIG_DFL is valid.
        unsafe {
            match before {
                Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
                    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                        std::mem::transmute(before.sa_sigaction);
                    handler(signal, info, context);
                }
                Some(before) => {
                    let handler: extern "C" fn(c_int) = std::mem::transmute(before.sa_sigaction);
                    handler(signal);
                }
                None => restore_default(signal),
            }
        }
        end_if_nobody_handles(signal, info);
    }

    /// The default action is back, put there by us or by a handler that gave up, as Rust's own does. An instruction that
    /// faulted faults again; a signal that somebody sent does not come again by itself.
    fn end_if_nobody_handles(signal: c_int, info: *const libc::siginfo_t) {
        // SAFETY: reads the present action into a zeroed one; the kernel passed a valid siginfo_t. The raised signal waits
        // until the handler returns.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &mut now) != 0 || now.sa_sigaction != libc::SIG_DFL {
                return;
            }
            restore_terminal();
            // Sent by a process, not by the kernel.
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
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

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::mmap::Mapping;

        static CALLED: AtomicUsize = AtomicUsize::new(0);
        pub(super) static RESTORED: AtomicUsize = AtomicUsize::new(0);

        extern "C" fn host(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
            CALLED.fetch_add(1, Ordering::SeqCst);
        }

        fn handler() -> libc::sighandler_t {
            // SAFETY: reads the present action into a zeroed one.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut action);
                action.sa_sigaction
            }
        }

        /// One test: the handlers are the process's.
        #[test]
        fn a_host_keeps_its_handler_unless_it_asks_and_is_called_then_too() {
            // SAFETY: a zeroed sigaction with a handler of the signature that SA_SIGINFO asks for.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = host as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), b"GGUF").unwrap();
            let _mapping = Mapping::open(file.path()).unwrap();
            assert_eq!(handler(), host as *const () as usize);

            report_lost_pages();
            assert_ne!(handler(), host as *const () as usize);
            // SAFETY: a signal to this thread, about no page of ours.
            unsafe { libc::raise(libc::SIGBUS) };
            assert_eq!(CALLED.load(Ordering::SeqCst), 1);
            // Somebody who handles the signal keeps the modes that they have set.
            assert_eq!(RESTORED.load(Ordering::SeqCst), 0);
        }
    }
}
