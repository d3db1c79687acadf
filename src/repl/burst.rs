//! What comes at once: lines behind the one that was ended, and text that comes faster than it can be drawn.
//!
//! The line editor reads the terminal in pieces. What it had read behind a line's end would be lost with it, so Enter alone
//! does not end its work: it goes on, drawing nothing, until the terminal has nothing more to give. And it draws a long line
//! anew whenever that reaches another row, so a text of some size that comes at once is put into the line in pieces.

use super::ahead::Typed;
#[cfg(unix)]
use super::ahead::{INTERRUPT, Keys, reads_until_pause, reads_what_is_there};
use super::input::{MARKS, is_complete};
use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shorter lines are drawn with every key.
const LONG_LINE: usize = 2048;
/// Nobody types two keys within this time.
const AT_ONCE: Duration = Duration::from_millis(10);
/// Keys that edit when they are pressed with Alt.
const EDITING: &str = "bcdfltuy<>-0123456789";

const CTRL_G: KeyEvent = KeyEvent(KeyCode::Char('G'), Modifiers::CTRL);
const CTRL_O: KeyEvent = KeyEvent(KeyCode::Char('O'), Modifiers::CTRL);
const CTRL_C: KeyEvent = KeyEvent(KeyCode::Char('C'), Modifiers::CTRL);
const CTRL_D: KeyEvent = KeyEvent(KeyCode::Char('D'), Modifiers::CTRL);
const ENTER: KeyEvent = KeyEvent(KeyCode::Enter, Modifiers::NONE);
const ENTER_TOO: KeyEvent = KeyEvent(KeyCode::Char('M'), Modifiers::CTRL);
const LINE_FEED: KeyEvent = KeyEvent(KeyCode::Char('J'), Modifiers::CTRL);
const ALT_ENTER: KeyEvent = KeyEvent(KeyCode::Enter, Modifiers::ALT);
/// The same, pressed before the line editor had the terminal: until then the terminal makes a line feed of every Enter.
const ALT_LINE_FEED: KeyEvent = KeyEvent(KeyCode::Char('J'), Modifiers::CTRL_ALT);
const TAB: KeyEvent = KeyEvent(KeyCode::Tab, Modifiers::NONE);
const BACKSPACE: KeyEvent = KeyEvent(KeyCode::Backspace, Modifiers::NONE);

/// Sees every key before the line editor does.
#[derive(Clone, Default)]
pub(super) struct Burst(Arc<Mutex<State>>);

/// What ends a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum By {
    #[default]
    Enter,
    /// It is wanted in an editor before it is sent.
    Editor,
    /// Ctrl-C, of an empty line.
    Interrupt,
    /// Ctrl-D, the same.
    End,
}

#[derive(Default)]
struct State {
    /// The line that was ended.
    line: Option<String>,
    by: By,
    /// What came behind it.
    #[cfg(unix)]
    behind: Keys,
    /// So much of the editor's line is known.
    seen: usize,
    /// The editor's line as it was last drawn.
    drawn: String,
    /// Text for the end of a long line, not drawn yet.
    held: String,
    /// Meanwhile a pause ends the line editor's work, which then begins again with all of it.
    until_pause: bool,
    /// What is being pasted, while its end has not come.
    pasted: Option<String>,
    /// When the last character came.
    last: Option<Instant>,
}

impl Burst {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line that was ended, if one was, what ended it, and what came behind it.
    pub(super) fn take(&self) -> (Option<String>, By, Typed) {
        let state = std::mem::take(&mut *self.state());
        #[cfg(unix)]
        let typed = state.behind.typed;
        #[cfg(not(unix))]
        let typed = Typed::default();
        (state.line, state.by, typed)
    }

    /// The editor has drawn its line. Behind Enter it only grows by what was pasted.
    pub(super) fn drawn(&self, line: &str) {
        let mut state = self.state();
        if state.line.is_some() {
            let seen = std::mem::replace(&mut state.seen, line.len());
            #[cfg(unix)]
            state.behind.typed.line.push_str(line.get(seen..).unwrap_or_default());
            #[cfg(not(unix))]
            let _ = seen;
        } else {
            line.clone_into(&mut state.drawn);
        }
    }

    /// What was typed of a line so far, or all of one that was ended and not taken yet.
    pub(super) fn draft(&self) -> String {
        let state = self.state();
        match &state.line {
            Some(line) => line.clone(),
            None => {
                let pasted = state.pasted.as_deref().map(of_a_paste).unwrap_or_default();
                format!("{}{}{pasted}", state.drawn, state.held)
            }
        }
    }

    /// Whether the line editor's work was ended because nothing more came for a moment. Then this is what it has drawn.
    pub(super) fn paused(&self) -> Option<String> {
        let state = self.state();
        (state.until_pause && state.line.is_none()).then(|| state.drawn.clone())
    }

    /// Whether the end of a paste is still to come.
    pub(super) fn is_pasting(&self) -> bool {
        self.state().pasted.is_some()
    }
}

impl ConditionalEventHandler for Burst {
    fn handle(&self, event: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        let Event::KeySeq(keys) = event else { return None };
        let [key] = keys[..] else { return None };
        self.state().key(key, context.line(), context.pos())
    }
}

impl State {
    fn key(&mut self, key: KeyEvent, line: &str, place: usize) -> Option<Cmd> {
        let key = if key == ALT_LINE_FEED { ALT_ENTER } else { key };
        if self.line.is_some() {
            return self.follows(key);
        }
        if self.pasted.is_some() {
            return Some(self.pastes(key));
        }
        let now = Instant::now();
        let is_fast = self.last.replace(now).is_some_and(|last| now - last < AT_ONCE);
        match key {
            ENTER | ENTER_TOO | LINE_FEED => self.enter(line),
            CTRL_G | CTRL_O if can_follow() => Some(self.end(line, By::Editor)),
            CTRL_C | CTRL_D if line.is_empty() && self.held.is_empty() => {
                let by = if key == CTRL_C { By::Interrupt } else { By::End };
                can_follow().then(|| self.end(line, by))
            }
            CTRL_C => {
                self.let_go();
                Some(Cmd::Kill(Movement::WholeBuffer))
            }
            // The line editor would keep it to itself until it is whole.
            KeyEvent(KeyCode::BracketedPasteStart, _) => {
                self.pasted = Some(self.let_go());
                Some(Cmd::Noop)
            }
            ALT_ENTER if self.held.is_empty() => Some(Cmd::Newline),
            ALT_ENTER => self.character('\n', line, place, is_fast),
            // Only commands are completed.
            TAB if !line.starts_with(MARKS) => self.character('\t', line, place, is_fast),
            BACKSPACE if self.held.pop().is_some() => Some(Cmd::Noop),
            KeyEvent(KeyCode::Char(c), Modifiers::NONE) if line.len() >= LONG_LINE => {
                self.character(c, line, place, is_fast)
            }
            // Esc, and another key right behind it. Where there is no text, no letter edits any.
            KeyEvent(KeyCode::Char(c), Modifiers::ALT)
                if !EDITING.contains(c.to_ascii_lowercase()) || (line.is_empty() && c.is_alphabetic()) =>
            {
                self.character(c, line, place, is_fast)
            }
            // The text goes before the key, which finds it there when it is pressed again.
            _ if !self.held.is_empty() => Some(Cmd::Insert(1, self.let_go())),
            _ => None,
        }
    }

    /// A key of what is pasted: none of them does anything but stand for itself.
    fn pastes(&mut self, key: KeyEvent) -> Cmd {
        let pasted = self.pasted.get_or_insert_default();
        match key {
            KeyEvent(KeyCode::BracketedPasteEnd, _) => {
                let text = of_a_paste(pasted);
                self.pasted = None;
                return Cmd::Insert(1, text);
            }
            ENTER | ENTER_TOO | ALT_ENTER => pasted.push('\r'),
            LINE_FEED => pasted.push('\n'),
            TAB => pasted.push('\t'),
            KeyEvent(KeyCode::Char(c), Modifiers::NONE | Modifiers::ALT) => pasted.push(c),
            _ => {}
        }
        Cmd::Noop
    }

    fn character(&mut self, c: char, line: &str, place: usize, is_fast: bool) -> Option<Cmd> {
        // Drawing takes its time, in which more has come.
        let waits = line.len() >= LONG_LINE && place == line.len() && (is_fast || more_waits());
        self.held.push(c);
        // Each piece is as long as all before it, so that a line of any length is drawn a few times.
        if waits && self.held.len() < line.len() {
            if !self.until_pause {
                self.until_pause = reads_until_pause(true);
            }
            return Some(Cmd::Noop);
        }
        Some(Cmd::Insert(1, self.let_go()))
    }

    /// What was held is drawn now.
    fn let_go(&mut self) -> String {
        if std::mem::take(&mut self.until_pause) {
            reads_until_pause(false);
        }
        std::mem::take(&mut self.held)
    }

    /// Ends the line, unless it goes on.
    fn enter(&mut self, line: &str) -> Option<Cmd> {
        let whole = format!("{line}{}", self.held);
        if !is_complete(&whole) {
            return match self.held.is_empty() {
                true => Some(Cmd::Newline),
                false => Some(Cmd::Insert(1, self.let_go() + "\n")),
            };
        }
        if !can_follow() {
            // The editor ends it: what may stand behind it is lost.
            return match self.held.is_empty() {
                true => None,
                false => Some(Cmd::Insert(1, self.let_go())),
            };
        }
        Some(self.end(line, By::Enter))
    }

    /// From now on nothing is drawn but the end of the line.
    fn end(&mut self, line: &str, by: By) -> Cmd {
        // Reading takes what is there, and nothing else from now on.
        self.until_pause = false;
        let held = std::mem::take(&mut self.held);
        let whole = format!("{line}{held}");
        self.seen = whole.len();
        (self.line, self.by) = (Some(whole), by);
        match held.is_empty() {
            true => Cmd::Move(Movement::EndOfBuffer),
            false => Cmd::Insert(1, held),
        }
    }

    /// A key behind Enter: it is kept and not drawn.
    #[cfg(unix)]
    fn follows(&mut self, key: KeyEvent) -> Option<Cmd> {
        let mut bytes = [0; 4];
        match key {
            ENTER | ENTER_TOO | LINE_FEED => self.behind.take(b"\r"),
            ALT_ENTER => self.behind.take(b"\x1b\r"),
            TAB => self.behind.take(b"\t"),
            BACKSPACE => self.behind.take(b"\x7f"),
            KeyEvent(KeyCode::Char('U'), Modifiers::CTRL) => self.behind.take(b"\x15"),
            CTRL_D => self.behind.take(b"\x04"),
            CTRL_C => {
                self.behind.typed.queue.push_back(INTERRUPT.to_owned());
                false
            }
            // With Alt it was pressed behind Esc: there is nothing to edit here.
            KeyEvent(KeyCode::Char(c), Modifiers::NONE | Modifiers::ALT) => {
                self.behind.take(c.encode_utf8(&mut bytes).as_bytes())
            }
            // The editor puts what is pasted into its line, where it is found.
            KeyEvent(KeyCode::BracketedPasteStart, _) => return None,
            _ => false,
        };
        Some(Cmd::Noop)
    }

    #[cfg(not(unix))]
    fn follows(&mut self, _: KeyEvent) -> Option<Cmd> {
        None
    }
}

/// A text with line ends of any kind.
fn of_a_paste(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[cfg(unix)]
fn can_follow() -> bool {
    reads_what_is_there()
}

#[cfg(not(unix))]
fn can_follow() -> bool {
    false
}

#[cfg(not(unix))]
fn reads_until_pause(_: bool) -> bool {
    false
}

/// Whether the terminal has keys that nobody has read.
#[cfg(unix)]
fn more_waits() -> bool {
    rustix::io::ioctl_fionread(std::io::stdin()).is_ok_and(|n| n > 0)
}

#[cfg(not(unix))]
fn more_waits() -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn char(c: char) -> KeyEvent {
        KeyEvent::from(c)
    }

    #[test]
    fn a_long_line_that_comes_at_once_is_drawn_in_pieces() {
        let mut state = State::default();
        let (mut line, mut n_drawn) = (String::new(), 0);
        let text: String = ('a'..='z').cycle().take(50_000).collect();
        for c in text.chars() {
            match state.key(char(c), &line, line.len()) {
                None => line.push(c),
                Some(Cmd::Insert(1, piece)) => line += &piece,
                Some(Cmd::Noop) => continue,
                other => panic!("{other:?}"),
            }
            n_drawn += 1;
        }
        assert_eq!(line + &state.held, text);
        assert!(n_drawn < LONG_LINE + 100, "{n_drawn} times");
    }

    #[test]
    fn what_is_held_is_part_of_the_line() {
        let held = || State { held: "held".into(), ..State::default() };
        assert_eq!(held().key(BACKSPACE, "line ", 5), Some(Cmd::Noop));
        assert_eq!(
            held().key(KeyEvent(KeyCode::Left, Modifiers::NONE), "", 0),
            Some(Cmd::Insert(1, "held".into()))
        );
        assert_eq!(held().key(CTRL_C, "", 0), Some(Cmd::Kill(Movement::WholeBuffer)));
        assert_eq!(State::default().key(CTRL_C, "", 0), None, "an empty line is left");
        let mut state = State { held: "held\\".into(), ..State::default() };
        assert_eq!(
            state.key(ENTER, "line ", 5),
            Some(Cmd::Insert(1, "held\\\n".into())),
            "the message goes on"
        );
    }

    #[test]
    fn what_was_typed_so_far_is_known() {
        let burst = Burst::default();
        assert_eq!(burst.draft(), "");
        burst.drawn("half of a");
        burst.drawn("half of a line");
        burst.state().held = " and".into();
        assert_eq!(burst.draft(), "half of a line and");
        burst.state().end("half of a line", By::Enter);
        burst.drawn("half of a line and what was pasted behind it");
        assert_eq!(burst.draft(), "half of a line and");
        burst.take();
        assert_eq!(burst.draft(), "");
    }

    #[test]
    fn alt_enter_is_a_line_end_whatever_the_terminal_made_of_it() {
        for key in ['\r', '\n'].map(KeyEvent::alt) {
            assert_eq!(State::default().key(key, "first", 5), Some(Cmd::Newline), "{key:?}");
            let mut state = State { pasted: Some("pasted".into()), ..State::default() };
            assert_eq!(state.key(key, "", 0), Some(Cmd::Noop));
            assert_eq!(state.pasted.as_deref(), Some("pasted\r"));
            let mut state = State { line: Some("sent".into()), seen: 4, ..State::default() };
            for key in [char('a'), key, char('b')] {
                state.key(key, "sent", 4);
            }
            assert_eq!(state.behind.typed.line, "a\nb");
        }
    }

    #[test]
    fn esc_swallows_no_key() {
        assert_eq!(State::default().key(KeyEvent::alt('h'), "", 0), Some(Cmd::Insert(1, "h".into())));
        assert_eq!(State::default().key(KeyEvent::alt('b'), "x", 1), None, "a word back");
        assert_eq!(State::default().key(KeyEvent::alt('y'), "", 0), Some(Cmd::Insert(1, "y".into())));
        assert_eq!(State::default().key(TAB, "x", 1), Some(Cmd::Insert(1, "\t".into())));
        assert_eq!(State::default().key(TAB, "/he", 3), None);
        assert_eq!(State::default().key(TAB, "!ls", 3), None);
    }

    #[test]
    fn what_comes_behind_a_line_is_kept_in_order() {
        let burst = Burst::default();
        burst.state().line = Some("one".into());
        burst.state().seen = 3;
        for key in "two\rth\u{e9}\u{7f}ree\r".chars() {
            burst.state().key(char(key), "one", 3);
        }
        burst.drawn("onepasted\nlines");
        burst.state().key(char('!'), "onepasted\nlines", 3);
        let (line, _, typed) = burst.take();
        assert_eq!(line.as_deref(), Some("one"));
        assert_eq!(
            typed,
            Typed { queue: ["two".into(), "three".into()].into(), line: "pasted\nlines!".into() }
        );
        assert_eq!(burst.take(), (None, By::Enter, Typed::default()));
    }

    #[test]
    fn esc_and_ctrl_c_behind_a_line_take_nothing_away() {
        let burst = Burst::default();
        burst.state().line = Some("one".into());
        for key in [KeyEvent::alt('b'), char('e'), CTRL_C, ENTER, CTRL_C, char('x')] {
            burst.state().key(key, "one", 3);
        }
        let (_, _, typed) = burst.take();
        assert_eq!(typed.queue, [INTERRUPT, "be", INTERRUPT]);
        assert_eq!(typed.line, "x");
    }

    #[test]
    fn a_paste_is_known_before_it_ends() {
        let burst = Burst::default();
        let press = |key| burst.state().key(key, "line ", 5);
        burst.drawn("line ");
        burst.state().held = "held ".into();
        let (start, end) = (KeyCode::BracketedPasteStart, KeyCode::BracketedPasteEnd);
        press(KeyEvent(start, Modifiers::NONE));
        for key in "a\tb\r\nc\u{3}\u{4}\rd\n".chars().map(char).chain([KeyEvent::alt('e'), CTRL_O]) {
            assert_eq!(press(key), Some(Cmd::Noop), "{key:?}");
        }
        let pasted = "held a\tb\nc\nd\ne";
        assert_eq!((burst.draft(), burst.is_pasting()), (format!("line {pasted}"), true));
        assert_eq!(press(KeyEvent(end, Modifiers::NONE)), Some(Cmd::Insert(1, pasted.into())));
        assert!(!burst.is_pasting());
    }
}
