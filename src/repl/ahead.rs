//! What is typed while an answer comes: it waits for its turn, and Esc stops the answer.
//!
//! Meanwhile the terminal hands keys over one by one and shows none of them, so that the answer stays in one piece. It is as
//! it was before when the answer has ended, however it ended. Other systems than Unix keep what is typed themselves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

const ESC: u8 = 0x1b;
const BACKSPACE: u8 = 0x7f;
const CTRL_H: u8 = 0x08;
const CTRL_U: u8 = 0x15;

/// What was typed and not read yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    /// Whole lines, in order.
    pub queue: VecDeque<String>,
    /// The beginning of the next one.
    pub line: String,
}

impl Typed {
    /// Makes one unfinished line of everything.
    pub(super) fn reopen(&mut self) {
        self.queue.push_back(std::mem::take(&mut self.line));
        let lines: Vec<String> = self.queue.drain(..).filter(|line| !line.trim().is_empty()).collect();
        self.line = lines.join("\n");
    }
}

/// Makes lines of keys.
#[derive(Default)]
struct Keys {
    typed: Typed,
    /// Bytes of a character that has begun.
    begun: Vec<u8>,
    place: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Text,
    /// Behind Esc: a key of its own, or the first byte of an arrow and its like.
    Escape,
    /// Inside such a sequence, which a letter or `~` ends.
    Sequence,
    /// Before the letter that is all of it.
    Letter,
}

impl Keys {
    /// Takes what came at once; true if Esc is among it. A line end with more behind it was pasted and not typed: what was
    /// pasted is one message.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let mut escaped = false;
        for (index, &byte) in bytes.iter().enumerate() {
            let is_last = index + 1 == bytes.len();
            match (self.place, byte) {
                (Place::Text, ESC) => self.place = Place::Escape,
                (Place::Text, b'\r' | b'\n') if is_last => {
                    self.typed.queue.push_back(std::mem::take(&mut self.typed.line));
                }
                (Place::Text, _) => self.text(byte),
                (Place::Escape, ESC) => escaped = true,
                (Place::Escape, b'[') => self.place = Place::Sequence,
                (Place::Escape, b'O') => self.place = Place::Letter,
                (Place::Escape, _) => {
                    self.place = Place::Text;
                    // Alt-Enter; other keys with Alt are for editing.
                    if byte == b'\r' {
                        self.text(byte);
                    }
                }
                (Place::Sequence, b'@'..=b'~') | (Place::Letter, _) => self.place = Place::Text,
                (Place::Sequence, _) => {}
            }
        }
        escaped
    }

    fn text(&mut self, byte: u8) {
        let line = &mut self.typed.line;
        match byte {
            BACKSPACE | CTRL_H => {
                line.pop();
            }
            CTRL_U => line.clear(),
            b'\r' | b'\n' => line.push('\n'),
            b'\t' => line.push('\t'),
            ..b' ' => {}
            _ => {
                self.begun.push(byte);
                match str::from_utf8(&self.begun) {
                    Ok(text) => line.push_str(text),
                    Err(error) if error.error_len().is_none() => return,
                    // No text: nothing to keep.
                    Err(_) => {}
                }
                self.begun.clear();
            }
        }
    }

    /// Nothing came for a moment: an Esc that stands last is a key of its own. True if it is.
    fn pause(&mut self) -> bool {
        let is_key = self.place == Place::Escape;
        if is_key {
            self.place = Place::Text;
        }
        is_key
    }
}

#[cfg(unix)]
pub(super) use unix::Watch;

#[cfg(unix)]
mod unix {
    use super::{AtomicBool, Keys, Ordering, Place, Typed};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::{Errno, read};
    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use std::io::stdin;
    use std::sync::Arc;
    use std::thread::{JoinHandle, sleep, spawn};
    use std::time::Duration;

    /// How often the end of the answer is looked for.
    const TICK: Duration = Duration::from_millis(20);
    /// The bytes of one key come closer together than this.
    const ONE_KEY: Duration = Duration::from_millis(50);
    /// Nobody types or pastes more at once.
    const MOST: usize = 1 << 20;

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
            let mut keys = before.clone();
            // Ctrl-C stays a signal.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            if tcsetattr(stdin(), OptionalActions::Now, &keys).is_err() {
                return Err(typed);
            }
            let over = Arc::new(AtomicBool::new(false));
            let ends = Arc::clone(&over);
            let keys = Keys { typed, ..Keys::default() };
            Ok(Watch { before, over, thread: Some(spawn(move || follow(keys, &ends, stop))) })
        }

        /// The terminal is as before; gives what was typed.
        pub(crate) fn end(mut self) -> Typed {
            self.finish().unwrap_or_default()
        }

        fn finish(&mut self) -> Option<Typed> {
            let thread = self.thread.take()?;
            self.over.store(true, Ordering::Relaxed);
            let typed = thread.join().ok();
            // A terminal that went away has no modes.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
            typed
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.finish();
        }
    }

    fn follow(mut keys: Keys, over: &AtomicBool, stop: &AtomicBool) -> Typed {
        let mut bytes = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let wait = if keys.place == Place::Escape { ONE_KEY } else { TICK };
            if !is_ours() {
                sleep(wait);
                continue;
            }
            bytes.clear();
            let goes_on = gather(&mut bytes, wait);
            let escaped = if bytes.is_empty() { keys.pause() } else { keys.take(&bytes) };
            if escaped {
                stop.store(true, Ordering::Relaxed);
            }
            if !goes_on {
                break;
            }
        }
        keys.typed
    }

    /// A program in the background that reads is stopped by the system.
    fn is_ours() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
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
}

/// Watches nothing.
#[cfg(not(unix))]
pub(super) struct Watch;

#[cfg(not(unix))]
impl Watch {
    pub(super) fn begin(typed: Typed, _: &'static AtomicBool) -> Result<Watch, Typed> {
        Err(typed)
    }

    pub(super) fn end(self) -> Typed {
        Typed::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What chunks of keys leave, and whether Esc was among them; a pause stands between chunks.
    fn typed(chunks: &[&str]) -> (Vec<String>, String, bool) {
        let mut keys = Keys::default();
        let mut escaped = false;
        for chunk in chunks {
            escaped |= keys.take(chunk.as_bytes());
            escaped |= keys.pause();
        }
        (keys.typed.queue.into(), keys.typed.line, escaped)
    }

    #[test]
    fn keys_become_lines() {
        assert_eq!(typed(&["a", "b", "\r", "c"]), (vec!["ab".into()], "c".into(), false));
        assert_eq!(typed(&["naïve 🦀x", "\u{7f}", "\u{7f}!"]), (vec![], "naïve !".into(), false));
        assert_eq!(typed(&["gone\u{15}kept\u{1}\u{4}"]), (vec![], "kept".into(), false));
        assert_eq!(typed(&["\u{7f}\r", "\r"]), (vec!["".into(), "".into()], "".into(), false));
    }

    #[test]
    fn a_paste_is_one_message() {
        let (queue, line, _) = typed(&["fn a() {\r\tb\\\r}\r", "x\ry"]);
        assert_eq!((queue, line), (vec!["fn a() {\n\tb\\\n}".into()], "x\ny".into()));
        assert_eq!(typed(&["a", "\u{1b}\r", "b\r"]).0, ["a\nb"], "Alt-Enter");
    }

    #[test]
    fn only_esc_alone_is_esc() {
        assert!(typed(&["\u{1b}"]).2);
        assert!(typed(&["ab\u{1b}"]).2);
        assert!(typed(&["\u{1b}\u{1b}"]).2);
        for keys in ["\u{1b}[A", "\u{1b}OP", "\u{1b}[1;5C", "\u{1b}[3~", "\u{1b}b"] {
            assert_eq!(typed(&[keys, "z"]), (vec![], "z".into(), false), "{keys:?}");
        }
    }

    #[test]
    fn what_waits_becomes_one_line_again() {
        let mut typed = Typed { queue: ["one".into(), " ".into(), "two".into()].into(), line: String::new() };
        typed.reopen();
        assert_eq!(typed, Typed { line: "one\ntwo".into(), ..Typed::default() });
    }

    #[test]
    fn characters_may_come_in_parts() {
        let mut keys = Keys::default();
        for byte in "é🦀".bytes() {
            keys.take(&[byte]);
        }
        keys.take(&[0xff, b'a']);
        assert_eq!(keys.typed.line, "é🦀a");
    }
}
