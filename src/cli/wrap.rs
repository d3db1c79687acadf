//! An answer broken between words, at whatever width the terminal has.
//!
//! Only what is shown is broken: what is saved or goes to a pipe is not. A word waits until it is whole or reaches the edge,
//! and nothing waits longer. Blocks of code, rows of tables and lines that are indented like code are left alone. The text
//! comes with the styles of [`super::markdown`], which take no room.

use super::fence::{Fence, is_item};
use super::print::is_pictograph;
use terminal_size::{Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const ESC: char = '\u{1b}';
const RESET: &str = "\u{1b}[0m";
const TAB: usize = 8;
/// More bytes for each column of a row are marks that take no room: such a word has no end worth waiting for.
const COLUMN_BYTES: usize = 16;
/// Lines that are further in are code, unless they belong to a list.
const CODE_INDENT: usize = 4;
/// What stands behind a word, and not at the beginning of a row.
const NO_START: &str =
    ".,:;!?)]}'\"%»”’…、。，．：；？！）］｝」』】〕〉》〗・ー々ゝゞぁぃぅぇぉっゃゅょァィゥェォッャュョ％";
/// What stands before a word, and not at the end of a row.
const NO_END: &str = "([{«“‘（［｛「『【〔〈《〖";

/// Columns of the terminal behind stdout; nothing if this is none, or one that does not say.
pub(crate) fn out_columns() -> Option<usize> {
    terminal_size_of(std::io::stdout()).map(|(Width(columns), _)| columns.into())
}

/// The same behind stderr.
pub(crate) fn err_columns() -> Option<usize> {
    terminal_size_of(std::io::stderr()).map(|(Width(columns), _)| columns.into())
}

/// Breaks a text that comes in pieces.
#[derive(Default)]
pub(crate) struct Wrap {
    /// Of the terminal, as it is now.
    columns: Option<usize>,
    /// Taken on the row where the cursor is.
    column: usize,
    /// The text of the line so far, without styles.
    line: String,
    /// Not all of it is blanks.
    has_text: bool,
    fence: Option<Fence>,
    /// Since the last line that was not indented, an item of a list has come.
    in_list: bool,
    /// The line is left alone.
    verbatim: bool,
    /// Something of the line is shown.
    begun: bool,
    /// What is shown of it are marks of lists and quotes.
    opening: bool,
    /// Columns before its further rows.
    hang: usize,
    /// Blanks before the word that has begun.
    gap: Piece,
    /// The column where they end, if there are any.
    gap_end: usize,
    word: Piece,
    /// The word is too long for a row, or stands first in it: its letters do not wait.
    flows: bool,
    /// Of what comes next.
    style: String,
    /// At the end of `out`.
    shown: String,
    out: String,
}

/// Text that waits, in runs of one style each.
#[derive(Default)]
struct Piece {
    text: String,
    runs: Vec<(String, String)>,
}

impl Piece {
    fn push(&mut self, c: char, style: &str) {
        self.text.push(c);
        match self.runs.last_mut() {
            Some((last, text)) if last == style => text.push(c),
            _ => self.runs.push((style.to_owned(), c.into())),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl Wrap {
    pub(crate) fn new() -> Wrap {
        Wrap { opening: true, ..Wrap::default() }
    }

    /// What can be shown now, on a terminal of so many columns. It ends without any style.
    pub(crate) fn push(&mut self, text: &str, columns: Option<usize>) -> String {
        self.columns = columns;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let n = match c {
                ESC => rest.find('m').map_or(rest.len(), |end| end + 1),
                _ => c.len_utf8(),
            };
            let (first, behind) = rest.split_at(n);
            match c {
                ESC if first == RESET => self.style.clear(),
                ESC => self.style.push_str(first),
                _ => self.next(c),
            }
            rest = behind;
        }
        self.take()
    }

    /// What still waited; what comes next is another text.
    pub(crate) fn finish(&mut self) -> String {
        self.settle();
        self.show_gap();
        let out = self.take();
        let column = self.column;
        *self = Wrap { column, ..Wrap::new() };
        out
    }

    /// Something else ended the row.
    pub(crate) fn row_was_ended(&mut self) {
        (self.column, self.gap) = (0, Piece::default());
    }

    /// Columns that are taken on the row where the cursor is.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    fn take(&mut self) -> String {
        self.change("");
        std::mem::take(&mut self.out)
    }

    fn change(&mut self, style: &str) {
        if self.shown != style {
            if !self.shown.is_empty() {
                self.out += RESET;
            }
            self.out += style;
            style.clone_into(&mut self.shown);
        }
    }

    fn next(&mut self, c: char) {
        if c == '\n' {
            return self.end_line();
        }
        let is_start = !self.has_text && !c.is_whitespace();
        self.has_text |= is_start;
        self.line.push(c);
        if is_start && self.fence.as_ref().is_some_and(|fence| fence.is_left_by(&self.line)) {
            (self.fence, self.verbatim) = (None, false);
        }
        match c {
            _ if self.verbatim => self.through(c),
            _ if self.columns.is_none() => {
                self.settle();
                self.show_gap();
                self.through(c);
            }
            ' ' | '\t' => {
                self.settle();
                self.flows = false;
                match self.verbatim {
                    true => self.through(c),
                    false => {
                        self.gap_end = past(c, self.end_of_gap());
                        self.gap.push(c, &self.style);
                    }
                }
            }
            _ => self.letter(c),
        }
    }

    fn letter(&mut self, c: char) {
        let before = self.line.chars().rev().nth(1);
        if before.is_some_and(|before| may_part(before, c)) {
            self.settle();
            self.flows = false;
        }
        if self.flows || self.verbatim {
            return self.through(c);
        }
        self.word.push(c, &self.style);
        if self.overflows() || self.is_endless() {
            self.settle();
            // A line that is left alone after all has no words.
            self.flows = !self.verbatim;
        }
    }

    fn overflows(&self) -> bool {
        let end = self.end_of_gap() + self.word.text.width();
        self.columns.is_some_and(|columns| end > columns)
    }

    /// It would be measured anew with each of its letters, however many there are.
    fn is_endless(&self) -> bool {
        self.columns.is_some_and(|columns| self.word.text.len() > COLUMN_BYTES * columns.max(1))
    }

    fn end_of_gap(&self) -> usize {
        if self.gap.is_empty() { self.column } else { self.gap_end }
    }

    /// The word is whole, or as long as may wait: it goes to this row, or to the next.
    fn settle(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let is_first = self.opening;
        if is_first {
            self.open();
        }
        // The first word of a line, and of an item, has no better place.
        let has_room = is_first || self.verbatim || !self.overflows();
        if has_room {
            self.show_gap();
        } else {
            self.gap = Piece::default();
            self.break_row();
        }
        self.begun = true;
        let word = std::mem::take(&mut self.word);
        self.put(&word);
        self.advance(word.text.width());
        if self.verbatim {
            self.flows = false;
        }
    }

    fn break_row(&mut self) {
        self.change("");
        let hang = if self.columns.is_some_and(|columns| self.hang * 2 > columns) { 0 } else { self.hang };
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', hang));
        self.column = hang;
    }

    /// Learns from the first words what kind of line this is.
    fn open(&mut self) {
        let indent = end_of(&self.gap.text, self.column);
        let word = self.word.text.trim_start_matches('>');
        let is_quote = word.len() < self.word.text.len();
        if is_item(word) || word.is_empty() {
            self.in_list |= !word.is_empty();
            self.hang = indent + self.word.text.width() + 1;
            return;
        }
        self.opening = false;
        let is_code = !self.begun && !is_quote && indent >= CODE_INDENT && !self.in_list;
        self.verbatim = is_code || ["|", "```", "~~~"].iter().any(|mark| word.starts_with(mark));
        if !self.begun && !is_quote {
            self.in_list &= indent > 0;
            self.hang = indent;
        }
    }

    fn show_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        self.put(&gap);
        self.column = end_of(&gap.text, self.column);
    }

    fn put(&mut self, piece: &Piece) {
        for (style, text) in &piece.runs {
            self.change(style);
            self.out += text;
        }
    }

    /// A character that waits for nothing.
    fn through(&mut self, c: char) {
        let style = std::mem::take(&mut self.style);
        self.change(&style);
        self.style = style;
        self.out.push(c);
        match c {
            '\t' => self.column = end_of("\t", self.column),
            _ => self.advance(c.width().unwrap_or(0)),
        }
        self.begun = true;
    }

    /// The terminal itself goes to the next row where there is no room.
    fn advance(&mut self, n: usize) {
        self.column += n;
        if let Some(columns) = self.columns.filter(|columns| *columns > 0 && self.column > *columns) {
            self.column = (self.column - 1) % columns + 1;
        }
    }

    fn end_line(&mut self) {
        self.settle();
        let blanks = std::mem::take(&mut self.gap);
        // Blanks at the end, which mean something to Markdown, make no row of their own.
        if self.columns.is_none_or(|columns| end_of(&blanks.text, self.column) <= columns) {
            self.gap = blanks;
            self.show_gap();
        }
        self.change("");
        self.out.push('\n');
        let line = std::mem::take(&mut self.line);
        self.fence = match self.fence.take() {
            Some(fence) if fence.is_closed_by(&line) => None,
            Some(fence) => Some(fence),
            None => Fence::opened_by(&line),
        };
        self.verbatim = self.fence.is_some();
        (self.column, self.begun, self.opening, self.hang, self.flows) = (0, false, true, 0, false);
        self.has_text = false;
    }
}

/// Where blanks that begin at a column end.
fn end_of(blanks: &str, column: usize) -> usize {
    blanks.chars().fold(column, |at, c| past(c, at))
}

/// Where a blank at a column ends.
fn past(blank: char, column: usize) -> usize {
    if blank == '\t' { (column / TAB + 1) * TAB } else { column + 1 }
}

/// Whether a row may end between two characters that are no blanks: scripts without blanks part between any two.
fn may_part(before: char, c: char) -> bool {
    let joins = c.width() == Some(0) || NO_START.contains(c) || NO_END.contains(before);
    !joins && !before.is_whitespace() && (is_whole(before) || is_whole(c))
}

/// Letters that are words: Chinese and Japanese, but not Korean, which has blanks.
fn is_whole(c: char) -> bool {
    c.width() == Some(2)
        && !is_pictograph(c)
        && !matches!(c, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}')
}

/// A whole text, broken for a terminal of so many columns.
pub(crate) fn wrapped(text: &str, columns: Option<usize>) -> String {
    let mut wrap = Wrap::new();
    wrap.push(text, columns) + &wrap.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::markdown::Markdown;
    use anstream::adapter::strip_str;
    use proptest::prelude::*;

    fn at(columns: usize, text: &str) -> String {
        wrapped(text, Some(columns))
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(at(10, "one two three four"), "one two\nthree four");
        assert_eq!(at(10, "exactly 10"), "exactly 10");
        assert_eq!(at(10, "ten  blank s"), "ten  blank\ns");
        assert_eq!(at(10, "a\n\nlonger than ten\n"), "a\n\nlonger\nthan ten\n");
        assert_eq!(at(6, "a unbreakable b"), "a\nunbreakable\nb");
        assert_eq!(at(6, "- unbreakable b"), "- unbreakable b");
        assert_eq!(at(1, "a b"), "a\nb");
        assert_eq!(wrapped("as it is, however long it may be", None), "as it is, however long it may be");
    }

    #[test]
    fn items_and_quotes_hang() {
        assert_eq!(at(12, "- one two three"), "- one two\n  three");
        assert_eq!(at(12, "  12. one two"), "  12. one\n      two");
        assert_eq!(at(12, "> one two three"), "> one two\n  three");
        assert_eq!(at(12, "- a\n\n    one two three"), "- a\n\n    one two\n    three");
        assert_eq!(at(8, "# one two"), "# one\ntwo");
    }

    #[test]
    fn code_and_tables_are_left_alone() {
        for text in [
            "```\none two three four\n```",
            "~~~ sh\none two three four\n~~~",
            "- ```\n  one two three four\n  ```",
            "> ```\n> one two three four\n> ```",
            "| one | two | three |\n|---|---|---|",
            "    one two three four",
            "\tone two three four",
        ] {
            assert_eq!(at(10, text), text);
        }
        assert_eq!(
            at(10, "```\na b c d e f g\n```\none two three"),
            "```\na b c d e f g\n```\none two\nthree"
        );
        assert_eq!(at(10, "> ```\n> a\none two three"), "> ```\n> a\none two\nthree", "the quote ends it");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(at(6, "河流是水"), "河流是\n水");
        assert_eq!(at(7, "河流是水"), "河流是\n水");
        assert_eq!(at(6, "河流是。水"), "河流\n是。水", "no full stop begins a row");
        assert_eq!(at(6, "ab 河流"), "ab 河\n流");
        assert_eq!(at(6, "강물은 물"), "강물은\n물");
        assert_eq!(at(5, "👩‍👩‍👧 👍 ok"), "👩‍👩‍👧 👍\nok");
        assert_eq!(at(4, "e\u{301}e\u{301} abc"), "e\u{301}e\u{301}\nabc");
    }

    #[test]
    fn a_word_waits_until_it_is_whole_or_reaches_the_edge() {
        let mut wrap = Wrap::new();
        let mut given = |text: &str| wrap.push(text, Some(12));
        assert_eq!(given("on"), "");
        assert_eq!(given("e t"), "one");
        assert_eq!(given("wo thre"), " two");
        assert_eq!(given("e "), "\nthree");
        assert_eq!(given("unbreakable"), "\nunbreakable", "it reaches the edge");
        assert_eq!(given("s"), "s");
        assert_eq!(wrap.finish(), "");
    }

    /// Twenty times as much takes about twenty times as long, and not four hundred times.
    #[test]
    fn no_text_takes_longer_than_its_length() {
        let letters = |text: &str| text.chars().filter(|c| *c != '\n').count();
        let took = |text: &str| {
            let once = || {
                let begun = std::time::Instant::now();
                assert_eq!(letters(&at(80, text)), letters(text));
                begun.elapsed()
            };
            (0..3).map(|_| once()).min().unwrap()
        };
        let (blanks, marks) = (|n| " ".repeat(n), |n| "\u{301}".repeat(n));
        let both = |n| blanks(n) + "a" + &marks(n / 4) + "\n";
        let kinds: [(&dyn Fn(usize) -> String, usize); 3] =
            [(&blanks, 1_000_000), (&marks, 300_000), (&both, 400_000)];
        for (kind, n) in kinds {
            let (short, long) = (took(&kind(n / 20)), took(&kind(n)));
            let most = short * 100 + std::time::Duration::from_secs(1);
            assert!(long < most, "{n}: {long:?} after {short:?}");
        }
    }

    #[test]
    fn another_width_counts_from_the_next_word_on() {
        let mut wrap = Wrap::new();
        assert_eq!(wrap.push("one two three four ", Some(80)), "one two three four");
        assert_eq!(wrap.push("five six ", Some(10)), "\nfive six");
        assert_eq!(wrap.push("seven eight ", Some(80)), " seven eight");
        wrap.row_was_ended();
        assert_eq!(wrap.push("nine ", Some(10)), "nine");
    }

    #[test]
    fn styles_take_no_room_and_end_with_the_row() {
        let (bold, text) = ("\u{1b}[1m", "one **two three** four");
        let shown = at(10, &{
            let mut markdown = Markdown::new();
            markdown.push(text) + &markdown.finish()
        });
        assert_eq!(strip_str(&shown).to_string(), "one **two\nthree**\nfour");
        assert!(shown.contains(&format!("two{RESET}\n{bold}three")), "{shown:?}");
    }

    proptest! {
        /// However a text is cut: the same rows, none too long that could be shorter, and nothing but blanks is lost.
        #[test]
        fn nothing_is_lost(text in "(```\n)?[ab *`>|\\-\n1.é你。]{0,200}", cuts in prop::collection::vec(1usize..9, 1..20), columns in 1usize..30) {
            let whole = at(columns, &text);
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&whole), bare(&text));
            let (mut wrap, mut shown, chars) = (Wrap::new(), String::new(), text.chars().collect::<Vec<_>>());
            let (mut rest, mut cuts) = (&chars[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                shown += &wrap.push(&piece.iter().collect::<String>(), Some(columns));
                let waits = bare(&text[..text.len() - behind.iter().map(|c| c.len_utf8()).sum::<usize>()]).chars().count() - bare(&shown).chars().count();
                prop_assert!(waits <= columns, "{} wait", waits);
                rest = behind;
            }
            prop_assert_eq!(shown + &wrap.finish(), whole);
        }

        #[test]
        fn rows_of_prose_fit(words in prop::collection::vec("[a-zé你]{1,8}", 1..60), columns in 16usize..40) {
            for row in at(columns, &words.join(" ")).lines() {
                prop_assert!(row.width() <= columns, "{:?}", row);
            }
        }
    }
}
