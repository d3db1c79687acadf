//! Signals: Ctrl-C, a polite kill, a terminal that goes away. They end the program, or only what it is doing.
//!
//! A thread of its own waits for them, so that it may take locks and leave from there as from anywhere. Three states tell it
//! what a signal means:
//!
//! - Nobody listens: the program ends at once, with unfinished files removed and the terminal as it was.
//! - [`listen`]: the work is asked to stop and says itself what there is to say. SIGTERM and SIGHUP are remembered, so that
//!   the exit code is theirs.
//! - [`hold`], a conversation: SIGINT stops only the work; every other signal lets the conversation be kept first, however often
//!   it comes. While the person is waited for ([`wait_for_person`]), all is kept, and the program ends from here.

use super::Failure;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Ctrl-C.
const INTERRUPT: i32 = signal_hook::consts::SIGINT;
/// Set by a signal while somebody listens.
static STOP: AtomicBool = AtomicBool::new(false);
/// The exit code of the signal that ends the program; 0: none came.
static ENDED: AtomicU8 = AtomicU8::new(0);
/// How often the program was woken after it had been stopped.
static CONTINUED: AtomicUsize = AtomicUsize::new(0);
/// The handlers can be installed once in a process.
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
static STATE: Mutex<State> = Mutex::new(State {
    listening: false,
    once: false,
    held: false,
    stopped_at: None,
    line: Line::None,
    waiting: false,
    n_waits: 0,
    keep_draft: None,
    unfinished: Vec::new(),
});

/// A second Ctrl-C so soon after the first is for the same answer.
const SAME_WISH: Duration = Duration::from_millis(500);
/// Between a line that is sent and a signal.
const SAME_MOMENT: Duration = Duration::from_millis(100);

/// What a signal meets.
struct State {
    listening: bool,
    /// Only the first signal is for whoever listens.
    once: bool,
    held: bool,
    /// When Ctrl-C last stopped something.
    stopped_at: Option<Instant>,
    line: Line,
    /// A conversation waits for its person: the line editor has the terminal.
    waiting: bool,
    /// How often it did.
    n_waits: usize,
    /// Keeps what the person has typed so far.
    keep_draft: Option<KeepDraft>,
    /// Files that are of no use without their end.
    unfinished: Vec<PathBuf>,
}

/// A line whose work has not begun.
#[derive(PartialEq)]
enum Line {
    None,
    Sent,
    /// Ctrl-C came behind it, for its work.
    Stopped,
}

impl State {
    /// Whether Ctrl-C has just stopped something: one more is for the same.
    fn just_stopped(&self) -> bool {
        self.stopped_at.is_some_and(|at| at.elapsed() < SAME_WISH)
    }
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, a signal sets a flag instead of ending the program. Only one may live at a time.
pub(crate) struct Listening(());

/// Catches signals from now on. A file that outgrows a limit becomes an error of the write then, not the end.
///
/// # Errors
/// A system that lets nobody catch signals.
pub(crate) fn install() -> Result<(), Failure> {
    let installed = INSTALLED.get_or_init(|| handlers::install().map_err(|error| error.to_string()));
    installed.clone().map_err(|error| Failure::runtime(format!("cannot catch Ctrl-C: {error}")))
}

/// From now on a signal sets a flag; when the value is dropped, a signal ends the program again.
///
/// # Errors
/// As [`install`].
pub(crate) fn listen() -> Result<Listening, Failure> {
    install()?;
    let mut state = state();
    (state.listening, state.once) = (true, false);
    // What asked for the end asks every work that begins after it.
    let is_stopped = std::mem::replace(&mut state.line, Line::None) == Line::Stopped;
    STOP.store(is_stopped || ended().is_some(), Ordering::Relaxed);
    Ok(Listening(()))
}

/// The same for the first Ctrl-C alone: a second one, from somebody who does not want to wait, ends the program.
///
/// # Errors
/// As [`install`].
pub(crate) fn listen_once() -> Result<Listening, Failure> {
    let listening = listen()?;
    state().once = true;
    Ok(listening)
}

impl Listening {
    /// The flag that a signal sets.
    pub(crate) fn flag(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        state().listening = false;
    }
}

/// While it lives, no signal ends the program: it asks for that with [`ended`].
pub(crate) struct Holding(());

/// A conversation begins: see [`Holding`]. The terminal is remembered as it is now.
///
/// # Errors
/// As [`install`].
pub(crate) fn hold() -> Result<Holding, Failure> {
    install()?;
    terminal::remember();
    state().held = true;
    Ok(Holding(()))
}

impl Drop for Holding {
    fn drop(&mut self) {
        state().held = false;
        if ended().is_some() {
            terminal::restore();
        }
    }
}

/// Another program gets the terminal: from now on Ctrl-C is for that.
pub(crate) fn lend_terminal() {
    state().line = Line::None;
}

/// Whether Ctrl-C has just stopped something: one more is for the same.
pub(crate) fn just_stopped() -> bool {
    state().just_stopped()
}

/// While it lives, the conversation waits for its person.
pub(crate) struct Waiting(());

/// What is done with a line that somebody was typing when the program ends.
pub(crate) type KeepDraft = Box<dyn FnOnce() + Send>;

/// See [`Waiting`]. The line editor takes SIGINT meanwhile, as a key.
pub(crate) fn wait_for_person(keep_draft: Option<KeepDraft>) -> Waiting {
    {
        let mut state = state();
        (state.waiting, state.keep_draft, state.line) = (true, keep_draft, Line::None);
        state.n_waits += 1;
    }
    if ended().is_some() {
        // Asked for before anybody waited.
        leave_soon();
    }
    Waiting(())
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Whoever has it is about to end the program.
        let mut state = state();
        (state.waiting, state.keep_draft, state.line) = (false, None, Line::Sent);
    }
}

/// Ends the program if the person is still waited for in a moment: a line that is sent at this time is sent, and a terminal
/// that went away is noticed by the conversation itself.
fn leave_soon() {
    let leave = || {
        std::thread::sleep(SAME_MOMENT);
        let mut state = state();
        if let (true, Some(code)) = (state.waiting, ended()) {
            leave(&mut state, code);
        }
    };
    // Without a thread it ends with the next line.
    let _ = fathom_files::process::spawn("fathom-leave", leave);
}

/// Ends the program at its prompt.
fn leave(state: &mut State, code: u8) -> ! {
    terminal::leave_line();
    state.keep_draft.take().into_iter().for_each(|keep| keep());
    std::process::exit(code.into());
}

/// SIGINT while the person is waited for. The line editor takes Ctrl-C as a key, so this is another program's; or the editor has
/// just given the terminal back with a line, and it is that line's.
fn interrupt_soon(n_waits: usize) {
    let decide = move || {
        std::thread::sleep(SAME_MOMENT);
        let mut state = state();
        if state.waiting && state.n_waits == n_waits {
            leave(&mut state, exit_code(INTERRUPT));
        }
        interrupt_work(&mut state);
    };
    // Without a thread nothing happens.
    let _ = fathom_files::process::spawn("fathom-interrupt", decide);
}

/// Stops what a conversation is doing, or is about to begin.
fn interrupt_work(state: &mut State) {
    if state.listening {
        STOP.store(true, Ordering::Relaxed);
        state.stopped_at = Some(Instant::now());
    } else if state.line != Line::None && !state.just_stopped() {
        state.line = Line::Stopped;
        state.stopped_at = Some(Instant::now());
    }
}

/// The exit code of the signal that asked for the end, if one did.
pub(crate) fn ended() -> Option<u8> {
    Some(ENDED.load(Ordering::Relaxed)).filter(|code| *code != 0)
}

/// The exit code of what was interrupted.
pub(super) fn code() -> u8 {
    ended().unwrap_or(exit_code(INTERRUPT))
}

/// A terminal that went away is told by a signal, and by every call before the signal is seen.
pub(crate) fn hang_up() {
    #[cfg(unix)]
    end(exit_code(signal_hook::consts::SIGHUP), &state());
}

/// How often the program went on after it had been stopped: what it set on the terminal may be gone.
pub(crate) fn n_continued() -> usize {
    CONTINUED.load(Ordering::Relaxed)
}

/// While it lives, the file is removed if a signal ends the program.
pub(crate) struct Unfinished(PathBuf);

/// Makes a file of no use without its end, at `path` of what is made. A signal that comes meanwhile waits, so that none can
/// come between the file and this.
///
/// # Errors
/// Those of `make`.
pub(crate) fn make_unfinished<T, E>(
    make: impl FnOnce() -> Result<T, E>,
    path: impl FnOnce(&T) -> Option<&Path>,
) -> Result<(T, Option<Unfinished>), E> {
    let mut state = state();
    let made = make()?;
    let unfinished = path(&made).map(|path| {
        state.unfinished.push(path.to_owned());
        Unfinished(path.to_owned())
    });
    // In this order: what is given back locks it when it goes.
    drop(state);
    Ok((made, unfinished))
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let unfinished = &mut state().unfinished;
        if let Some(index) = unfinished.iter().position(|path| *path == self.0) {
            unfinished.swap_remove(index);
        }
    }
}

/// As shells count them.
fn exit_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or_default()
}

/// What a signal means now.
fn on_signal(signal: i32) {
    let mut state = state();
    let interrupts = signal == INTERRUPT;
    if state.held {
        if !interrupts {
            end(exit_code(signal), &state);
        } else if !state.listening && state.waiting {
            if !state.just_stopped() {
                interrupt_soon(state.n_waits);
            }
        } else {
            interrupt_work(&mut state);
        }
    } else if state.listening && !(interrupts && state.once && STOP.load(Ordering::Relaxed)) {
        if !interrupts {
            ENDED.store(exit_code(signal), Ordering::Relaxed);
        }
        STOP.store(true, Ordering::Relaxed);
    } else {
        remove_unfinished(&mut state);
        std::process::exit(exit_code(signal).into());
    }
}

fn remove_unfinished(state: &mut State) {
    for path in state.unfinished.drain(..) {
        // Whatever is in its way, the program ends.
        let _ = std::fs::remove_file(path);
    }
}

/// Asks a conversation to end; the first who asks says how.
fn end(code: u8, state: &State) {
    let _ = ENDED.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    STOP.store(true, Ordering::Relaxed);
    if state.waiting {
        leave_soon();
    }
}

#[cfg(unix)]
mod handlers {
    use super::{CONTINUED, Path, on_signal, state, terminal};
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;
    use std::sync::atomic::Ordering;

    /// What is ignored stays ignored: SIGHUP below nohup, SIGINT and SIGQUIT in the background of a shell script.
    pub(super) fn install() -> std::io::Result<()> {
        let ignored = ignored();
        let heard =
            [SIGINT, SIGTERM, SIGQUIT, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = Signals::new(heard.chain([SIGCONT, SIGXFSZ]))?;
        let wait = move || signals.forever().for_each(on_any);
        fathom_files::process::spawn("fathom-signals", wait).map(drop)
    }

    fn on_any(signal: i32) {
        match signal {
            SIGCONT => drop(CONTINUED.fetch_add(1, Ordering::Relaxed)),
            // The write fails, and that is told.
            SIGXFSZ => {}
            // A conversation ends as with other signals; somebody who asks twice gets what the system does.
            SIGQUIT if !is_held() || super::ended().is_some() => {
                super::remove_unfinished(&mut state());
                terminal::restore();
                let _ = emulate_default_handler(signal);
            }
            _ => on_signal(signal),
        }
    }

    fn is_held() -> bool {
        state().held
    }

    /// The signals that whoever started the program ignores, one bit each; only Linux tells.
    fn ignored() -> u64 {
        let mask = fathom_files::process::status(Path::new("/"), "SigIgn");
        mask.and_then(|mask| u64::from_str_radix(&mask, 16).ok()).unwrap_or(0)
    }
}

#[cfg(not(unix))]
mod handlers {
    use super::{INTERRUPT, on_signal};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// How often it is looked for.
    const TICK: Duration = Duration::from_millis(20);

    pub(super) fn install() -> std::io::Result<()> {
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(INTERRUPT, Arc::clone(&came))?;
        let wait = move || {
            loop {
                if came.swap(false, Ordering::Relaxed) {
                    on_signal(INTERRUPT);
                }
                std::thread::sleep(TICK);
            }
        };
        fathom_files::process::spawn("fathom-signals", wait).map(drop)
    }
}

/// The terminal as it was before a conversation changed it.
pub(crate) mod terminal {
    #[cfg(unix)]
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use std::io::{IsTerminal, Write, stdout};
    #[cfg(unix)]
    use std::{
        io::stdin,
        sync::{Mutex, PoisonError},
    };

    /// What ends the mode in which pasted text is marked.
    const PASTE_PLAIN: &str = "\u{1b}[?2004l";
    /// Within this time a stop has reached every thread.
    #[cfg(unix)]
    const STOPPING: std::time::Duration = std::time::Duration::from_millis(50);

    #[cfg(unix)]
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn remember() {
        #[cfg(unix)]
        {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(stdin()).ok();
            fathom_engine::mmap::remember_terminal();
        }
    }

    /// Ends a line that somebody was typing.
    pub(crate) fn leave_line() {
        restore();
        if stdout().is_terminal() {
            // A terminal that went away shows nothing.
            let _ = stdout().lock().write_all(format!("{PASTE_PLAIN}\n").as_bytes());
        }
    }

    /// Gives it back. To a program in the background it does not belong.
    pub(crate) fn restore() {
        #[cfg(unix)]
        if is_ours()
            && let Some(before) = &*BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
        {
            // A terminal that went away has no modes.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }

    /// Ctrl-Z: the terminal as it was before, and this program and all that belongs to it stop until somebody wakes them.
    /// Where nobody could, the system stops nothing.
    #[cfg(unix)]
    pub(crate) fn suspend() {
        restore();
        // What cannot be asked for does not happen.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        // Another thread is told first, and this one stopped a moment later.
        std::thread::sleep(STOPPING);
    }

    /// A program in the background that changes it is stopped by the system.
    #[cfg(unix)]
    pub(crate) fn is_ours() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
    }

    /// Whether it was there and went away.
    pub(crate) fn is_gone() -> bool {
        #[cfg(unix)]
        return matches!(tcgetattr(stdin()), Err(rustix::io::Errno::IO));
        #[cfg(not(unix))]
        return false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_behind_a_line_is_for_its_work_and_leaves_the_program_alone() {
        drop(wait_for_person(None));
        let n_waits = state().n_waits;
        // The line editor had the terminal when it was pressed, and has it no more.
        interrupt_soon(n_waits);
        let begun = Instant::now();
        while state().line != Line::Stopped {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(SAME_MOMENT);
        }
        let listening = listen().unwrap();
        assert!(listening.flag().load(Ordering::Relaxed), "the work of the line");
        drop(listening);
        let listening = listen().unwrap();
        assert!(!listening.flag().load(Ordering::Relaxed), "and no other");
        assert_eq!(ended(), None);
    }
}
