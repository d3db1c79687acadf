//! The row below an answer that is coming: what a person typed meanwhile, and that it waits for its turn.
//!
//! It is taken away before anything else is shown, and drawn again below that: no answer has it in its middle, and nothing
//! of it stays. A terminal that does not say how wide it is has no such row.

use super::show::dim;
use super::{print, wrap};
use std::io::{Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// From the cursor to the end of the screen.
const ERASE: &str = "\u{1b}[J";

/// A row further down, for which the screen moves up if there is none, and back.
const MAKE_ROW: &str = "\u{1b}D\u{1b}[A";
/// To its beginning. A line's end would be passed on by itself, and seen for a moment.
const DOWN: &str = "\u{1b}[B\r";
/// The cursor's place.
const SAVE: &str = "\u{1b}7";
const RESTORE: &str = "\u{1b}8";

struct Row {
    /// Somebody may type.
    is_open: bool,
    text: String,
    /// Columns that are taken in the row above.
    column: usize,
    is_drawn: bool,
}

static ROW: Mutex<Row> = Mutex::new(Row { is_open: false, text: String::new(), column: 0, is_drawn: false });

fn row() -> MutexGuard<'static, Row> {
    ROW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on there is such a row, until [`close`].
pub(crate) fn open() {
    *row() = Row { is_open: true, text: String::new(), column: 0, is_drawn: false };
}

/// It goes away.
pub(crate) fn close() {
    let mut row = row();
    row.erase();
    (row.is_open, row.text) = (false, String::new());
}

/// What it says from now on.
pub(crate) fn say(text: String) {
    let mut row = row();
    if row.is_open && row.text != text {
        row.erase();
        row.text = text;
        row.draw();
    }
}

/// Shows something above it, which ends in this column. `write` is given what to write before it and behind it, in one piece,
/// so that nobody sees the row come and go.
pub(crate) fn above(column: usize, write: impl FnOnce(&str, &str)) {
    let mut row = row();
    let before = if std::mem::take(&mut row.is_drawn) { ERASE } else { "" };
    row.column = column;
    let behind = row.drawn().unwrap_or_default();
    row.is_drawn = !behind.is_empty();
    write(before, &behind);
}

/// Takes it away, because what comes next is written by somebody who knows nothing of it.
pub(crate) fn make_room() {
    let mut row = row();
    row.erase();
    row.column = 0;
}

/// Whether a terminal shows the letters of what it does not know.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty()) || edits_no_lines()
}

/// Whether the line editor leaves lines to this terminal: it shows none that is begun already. The same names as there.
pub(crate) fn edits_no_lines() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    ["dumb", "cons25", "emacs"].iter().any(|name| term.eq_ignore_ascii_case(name))
}

impl Row {
    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let mut err = stderr().lock();
            // A terminal that went away shows nothing.
            let _ = err.write_all(ERASE.as_bytes()).and_then(|()| err.flush());
        }
    }

    /// What draws it, if it is to be seen.
    fn drawn(&self) -> Option<String> {
        // With every piece of an answer, and mostly there is nothing to draw.
        if !self.is_open || self.text.is_empty() || is_dumb() {
            return None;
        }
        // The answer and this row are on one terminal.
        let columns = wrap::out_columns().and(wrap::err_columns())?;
        // Where the row above is full, the cursor is in neither row.
        if self.column >= columns {
            return None;
        }
        let (style, text) = (dim(), fitted(&self.text, columns));
        Some(format!("{MAKE_ROW}{SAVE}{DOWN}{style}{text}{style:#}{RESTORE}"))
    }

    fn draw(&mut self) {
        if let Some(drawn) = self.drawn() {
            let mut err = stderr().lock();
            self.is_drawn = err.write_all(drawn.as_bytes()).and_then(|()| err.flush()).is_ok();
        }
    }
}

/// As much of a text as fits in one row: its beginning, which says what it is, and its end, where somebody types.
fn fitted(text: &str, columns: usize) -> String {
    const BEGINNING: usize = 8;
    let text = print::exact(text).replace('\n', "⏎");
    let room = columns - 1;
    if text.width() <= room {
        return text;
    }
    let beginning = if room > 2 * BEGINNING { text.floor_char_boundary(BEGINNING) } else { 0 };
    let (beginning, rest) = text.split_at(beginning);
    let room = room.saturating_sub(beginning.width() + 1);
    let (mut start, mut width) = (rest.len(), 0);
    for (index, c) in rest.char_indices().rev() {
        width += c.width().unwrap_or(0);
        if width > room {
            break;
        }
        start = index;
    }
    format!("{beginning}…{}", &rest[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_is_never_more() {
        assert_eq!(fitted("queued: one", 80), "queued: one");
        assert_eq!(fitted("queued: a\nb\u{1b}", 80), "queued: a⏎b\\u{1b}");
        let long = format!("queued: {} the end", "words 你好 ".repeat(20));
        for columns in 1..100 {
            let text = fitted(&long, columns);
            assert!(text.width() < columns.max(2), "{columns}: {text}");
            if columns > 30 {
                assert!(text.starts_with("queued: …") && text.ends_with(" the end"), "{text}");
            }
        }
    }
}
