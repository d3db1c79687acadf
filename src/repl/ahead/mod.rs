//! What is typed while an answer comes: it waits for its turn, and Esc stops the answer.
//!
//! Meanwhile the terminal hands keys over one by one and shows none of them, so that the answer stays in one piece. It is as
//! it was before when the answer has ended, however it ended. Other systems than Unix keep what is typed themselves.

#[cfg(unix)]
mod keys;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub(super) use keys::Keys;
use std::collections::VecDeque;
#[cfg(unix)]
pub(super) use unix::{Watch, reads_until_pause, reads_what_is_there, take_rest};

/// Stands among the lines that wait for Ctrl-C: that was pressed behind the line before it.
pub(super) const INTERRUPT: &str = "\u{3}";

/// What was typed and not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        let is_text = |line: &String| !line.trim().is_empty() && line != INTERRUPT;
        let lines: Vec<String> = self.queue.drain(..).filter(is_text).collect();
        self.line = lines.join("\n");
    }

    /// Whether Ctrl-C comes next, which is then done with.
    pub(super) fn interrupts(&mut self) -> bool {
        self.queue.pop_front_if(|line| line == INTERRUPT).is_some()
    }

    /// It in one line, for the person to look at.
    #[cfg(unix)]
    fn shown(&self) -> String {
        let lines = self.queue.iter().map(|line| line.trim());
        let lines = lines.filter(|line| !line.is_empty() && *line != INTERRUPT);
        let lines = lines.collect::<Vec<_>>().join(" | ");
        let begun = if self.line.is_empty() { String::new() } else { format!("> {}", self.line) };
        match lines.is_empty() {
            true => begun,
            false => format!("queued: {lines} {begun}").trim_end().to_owned(),
        }
    }

    /// Puts what was typed later behind it.
    pub(super) fn append(&mut self, mut later: Typed) {
        let begun = std::mem::take(&mut self.line);
        match later.queue.iter_mut().find(|line| *line != INTERRUPT) {
            Some(first) => first.insert_str(0, &begun),
            None => later.line.insert_str(0, &begun),
        }
        self.queue.append(&mut later.queue);
        self.line = later.line;
    }
}

/// What nobody has read yet stays where it is.
#[cfg(not(unix))]
pub(super) fn take_rest(typed: Typed, _: bool) -> Typed {
    typed
}

/// Watches nothing.
#[cfg(not(unix))]
pub(super) struct Watch;

#[cfg(not(unix))]
impl Watch {
    pub(super) fn begin(typed: Typed, _: &'static std::sync::atomic::AtomicBool) -> Result<Watch, Typed> {
        Err(typed)
    }

    pub(super) fn end(&mut self) -> Typed {
        Typed::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_becomes_one_line_again() {
        let mut typed = Typed { queue: ["one".into(), " ".into(), "two".into()].into(), line: String::new() };
        typed.reopen();
        assert_eq!(typed, Typed { line: "one\ntwo".into(), ..Typed::default() });
    }

    #[test]
    fn ctrl_c_behind_a_line_is_no_text() {
        let queue = [INTERRUPT, "one", INTERRUPT, "two"].map(str::to_owned);
        let mut typed = Typed { queue: queue.into(), line: String::new() };
        assert!(typed.interrupts() && !typed.interrupts());
        #[cfg(unix)]
        assert_eq!(typed.shown(), "queued: one | two");
        typed.reopen();
        assert_eq!(typed.line, "one\ntwo");
    }

    #[cfg(unix)]
    #[test]
    fn what_waits_is_to_be_seen() {
        let typed = |lines: &[&str], line: &str| Typed {
            queue: lines.iter().map(|line| (*line).to_owned()).collect(),
            line: line.to_owned(),
        };
        assert_eq!(typed(&[], "").shown(), "");
        assert_eq!(typed(&[" "], "hal").shown(), "> hal");
        assert_eq!(typed(&["one", "two "], "").shown(), "queued: one | two");
        assert_eq!(typed(&["one"], "hal").shown(), "queued: one > hal");
    }

    #[test]
    fn what_comes_later_stands_behind() {
        let mut typed = Typed { queue: ["one".into()].into(), line: "tw".into() };
        typed.append(Typed { queue: ["o".into(), "three".into()].into(), line: "fo".into() });
        typed.append(Typed { line: "ur".into(), ..Typed::default() });
        assert_eq!(
            typed,
            Typed { queue: ["one".into(), "two".into(), "three".into()].into(), line: "four".into() }
        );
    }
}
