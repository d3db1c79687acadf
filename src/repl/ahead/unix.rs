//! The terminal of a Unix, watched by a thread.

use super::Typed;
use super::keys::{Keys, Place};
use crate::cli::below;
use crate::cli::signals::terminal::{is_ours, suspend};
use crate::cli::signals::{ended, n_continued};
use fathom_files::process::spawn;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Write, stderr, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

const CTRL_Z: u8 = 0x1a;
/// What says that a special character is no key.
const NO_KEY: u8 = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { 0xff };
/// How often the end of the answer is looked for.
const TICK: Duration = Duration::from_millis(20);
/// The bytes of one key come closer together than this.
const ONE_KEY: Duration = Duration::from_millis(50);
/// Nobody types or pastes more at once.
const MOST: usize = 1 << 20;
/// In shorter answers nobody pastes anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// The parts of one paste come closer together than this.
const ONE_PASTE: Duration = Duration::from_millis(500);
/// The terminal marks what is pasted, so that its line ends are text; the cursor is to be seen, too.
const MARKS_PASTES: &str = "\u{1b}[?25;2004h";
const MARKS_NOTHING: &str = "\u{1b}[?2004l";

/// Watches the keys until it is dropped.
pub(crate) struct Watch {
    before: Termios,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Typed>>,
}

impl Watch {
    /// From now on Esc sets `stop`. Gives back what was typed before if stdin is no terminal.
    pub(crate) fn begin(typed: Typed, stop: &'static AtomicBool) -> Result<Watch, Typed> {
        let Ok(before) = tcgetattr(stdin()) else { return Err(typed) };
        // Esc is a comfort: a system that gives no thread for it gives an answer all the same.
        let (give, take) = channel::<(Keys, Modes)>();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let watch = move || {
            take.recv().map_or_else(|_| Typed::default(), |(keys, modes)| follow(keys, modes, &ends, stop))
        };
        let Ok(thread) = spawn("fathom-keys", watch) else { return Err(typed) };
        let mut keys = before.clone();
        // Ctrl-C stays a signal, which takes nothing away of what came before it and is not read yet.
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        keys.local_modes |= LocalModes::NOFLSH;
        // Ctrl-Z comes as a key, so that the shell gets its terminal back with echo.
        keys.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        if tcsetattr(stdin(), OptionalActions::Now, &keys).is_err() {
            return Err(typed);
        }
        let modes = Modes { keys, n_continued: n_continued() };
        let keys = Keys::after(typed);
        below::open();
        below::say(keys.typed.shown());
        // It waits for nothing else.
        let _ = give.send((keys, modes));
        Ok(Watch { before, over, thread: Some(thread) })
    }

    /// Gives what was typed. The terminal is as before when this is dropped.
    pub(crate) fn end(&mut self) -> Typed {
        let Some(thread) = self.thread.take() else { return Typed::default() };
        self.over.store(true, Ordering::Relaxed);
        let typed = thread.join().unwrap_or_default();
        below::close();
        typed
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
        // In the background this waits until the terminal is ours again, but who is asked to end does not wait.
        if ended().is_none() || is_ours() {
            // A terminal that went away has no modes.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }
}

/// Sets a mode of the terminal; one that is dumb would show the letters.
fn ask_terminal(mode: &str) {
    let mut err = stderr().lock();
    if !below::is_dumb() && err.is_terminal() {
        // A terminal that went away marks nothing.
        let _ = err.write_all(mode.as_bytes()).and_then(|()| err.flush());
    }
}

/// From now on, until the terminal's modes are set anew, reading takes what is there and waits for nothing: at the end of
/// it, it reads nothing, as at the end of a file. False if the terminal cannot do it.
pub(in crate::repl) fn reads_what_is_there() -> bool {
    read_with(0, 0)
}

/// The same after a tenth of a second in which nothing came, or, with `false`, as usual: reading waits.
pub(in crate::repl) fn reads_until_pause(pauses: bool) -> bool {
    if pauses { read_with(0, 1) } else { read_with(1, 0) }
}

/// Reading waits for `least` bytes, or for so many tenths of a second.
fn read_with(least: u8, tenths: u8) -> bool {
    let Ok(mut modes) = tcgetattr(stdin()) else { return false };
    if modes.local_modes.contains(LocalModes::ICANON) {
        return false;
    }
    modes.special_codes[SpecialCodeIndex::VMIN] = least;
    modes.special_codes[SpecialCodeIndex::VTIME] = tenths;
    tcsetattr(stdin(), OptionalActions::Now, &modes).is_ok()
}

/// Puts behind `typed` what is there and nobody has read yet; `pasting`: also what comes at once until the paste ends.
pub(in crate::repl) fn take_rest(typed: Typed, pasting: bool) -> Typed {
    let Ok(before) = tcgetattr(stdin()) else { return typed };
    let mut modes = before.clone();
    modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    if tcsetattr(stdin(), OptionalActions::Now, &modes).is_err() {
        return typed;
    }
    let mut keys = Keys::after(typed);
    keys.pasting = pasting;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let goes_on = gather(&mut bytes, if keys.pasting { ONE_PASTE } else { Duration::ZERO });
        keys.take(&bytes);
        if bytes.is_empty() || !goes_on {
            break;
        }
    }
    // A terminal that went away has no modes.
    let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    keys.typed
}

/// What the terminal is set to while an answer comes.
struct Modes {
    keys: Termios,
    n_continued: usize,
}

impl Modes {
    /// The terminal that the person left for the shell and came back to has the shell's modes.
    fn renew(&mut self) {
        if n_continued() != self.n_continued {
            self.n_continued = n_continued();
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.keys);
        }
    }

    /// Ctrl-Z. In the background the terminal stays the shell's.
    fn suspend(&self) {
        suspend();
        if is_ours() {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.keys);
        }
    }
}

fn follow(mut keys: Keys, mut modes: Modes, over: &AtomicBool, stop: &AtomicBool) -> Typed {
    let mut bytes = Vec::new();
    let begun = Instant::now();
    let (mut last, mut marks) = (begun, false);
    // A paste is one piece, also where the answer ends in the middle of it.
    while !over.load(Ordering::Relaxed) || (keys.pasting && last.elapsed() < ONE_PASTE) {
        if !marks && begun.elapsed() >= PATIENCE {
            marks = true;
            ask_terminal(MARKS_PASTES);
        }
        let wait = if keys.place == Place::Escape { ONE_KEY } else { TICK };
        // A program in the background that reads is stopped by the system.
        if !is_ours() {
            sleep(wait);
            continue;
        }
        modes.renew();
        bytes.clear();
        let goes_on = gather(&mut bytes, wait);
        if !bytes.is_empty() {
            last = Instant::now();
        }
        let n_bytes = bytes.len();
        bytes.retain(|byte| *byte != CTRL_Z);
        if bytes.len() < n_bytes {
            below::make_room();
            modes.suspend();
        }
        let escaped = if bytes.is_empty() { keys.pause() } else { keys.take(&bytes) };
        if !bytes.is_empty() {
            below::say(keys.typed.shown());
        }
        if escaped {
            stop.store(true, Ordering::Relaxed);
        }
        if !goes_on {
            break;
        }
    }
    // Also what came at the end, Ctrl-C's line above all, belongs to this answer.
    if is_ours() {
        bytes.clear();
        gather(&mut bytes, Duration::ZERO);
        bytes.retain(|byte| *byte != CTRL_Z);
        keys.take(&bytes);
    }
    if marks {
        ask_terminal(MARKS_NOTHING);
    }
    keys.typed
}

/// All that comes at once; false if no more will ever come.
fn gather(bytes: &mut Vec<u8>, mut wait: Duration) -> bool {
    let mut buffer = [0; 4096];
    while bytes.len() < MOST && has_more(wait) {
        match read(stdin(), &mut buffer) {
            Ok(0) => return false,
            Ok(n) => bytes.extend(&buffer[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
        wait = Duration::ZERO;
    }
    true
}

fn has_more(wait: Duration) -> bool {
    let stdin = stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    poll(&mut fds, Some(&wait)).is_ok_and(|n| n > 0)
}
