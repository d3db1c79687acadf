//! How answers are shown.

use super::{Failure, below, wrap};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, StderrLock, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Behind `tell!`, the one way to stderr for lines: `eprintln!` panics where stderr is gone, and hours of work with it.
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    let line = line.to_string();
    if is_quiet() && is_note(&line) {
        return;
    }
    let is_prose = ["note: ", "warning: ", "error: "].iter().any(|kind| line.starts_with(kind));
    let line = if is_prose { wrap::wrapped(&line, wrap::err_columns()) } else { line };
    // Where this cannot be written, that cannot be told either.
    let _ = writeln!(fresh_line(), "{line}");
}

/// A line of figures or progress, which --quiet leaves out.
pub(super) fn figures(line: std::fmt::Arguments<'_>) {
    if !is_quiet() {
        tell(line);
    }
}

/// What was shown last does not end its line: on stdout, on stderr.
static OPEN_LINES: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// Whoever shows a part of a line on stdout says so: what is told next begins a line of its own.
pub(crate) fn out_line_is_open(is_open: bool) {
    OPEN_LINES[0].store(is_open, Ordering::Relaxed);
}

/// Whether it still is: what was told meanwhile has ended it.
pub(crate) fn is_out_line_open() -> bool {
    OPEN_LINES[0].load(Ordering::Relaxed)
}

/// The same on stderr.
pub(crate) fn err_line_is_open(is_open: bool) {
    OPEN_LINES[1].store(is_open, Ordering::Relaxed);
}

/// stderr at the beginning of a line, also where stdout shares the terminal and is in the middle of one.
pub(crate) fn fresh_line() -> StderrLock<'static> {
    below::make_room();
    let mut err = std::io::stderr().lock();
    let [out, in_err] = &OPEN_LINES;
    let shares = out.load(Ordering::Relaxed) && err.is_terminal() && std::io::stdout().is_terminal();
    if shares || in_err.load(Ordering::Relaxed) {
        let _ = err.write_all(b"\n");
        out.store(false, Ordering::Relaxed);
        in_err.store(false, Ordering::Relaxed);
    }
    err
}

/// Whether notes, figures and progress are unwanted.
static QUIET: AtomicBool = AtomicBool::new(false);

/// A line that nobody has to read says so itself.
pub(super) fn is_note(line: &str) -> bool {
    line.starts_with("note: ")
}

/// Takes `--quiet` in.
pub(super) fn be_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether `--quiet` holds.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints an answer in one piece. A reader that has seen enough (`| head`) is no error.
pub(crate) fn answer(text: &str) -> Result<(), Failure> {
    answer_bytes(text.as_bytes())
}

/// The same for an answer that need not be text.
pub(super) fn answer_bytes(bytes: &[u8]) -> Result<(), Failure> {
    written(bytes).map(|_| ())
}

/// Prints a part of an answer; false when nobody reads on, so that the rest need not be made.
pub(super) fn piece(text: &str) -> Result<bool, Failure> {
    written(text.as_bytes())
}

fn written(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {
            out_line_is_open(bytes.last().is_some_and(|&last| last != b'\n'));
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::runtime(format!("cannot write the answer: {error}"))),
    }
}

/// One JSON object in one line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    answer(&format!("{value}\n"))
}

/// Bytes for people: `642.12 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    let (unit, name) = match n {
        0..0x400 => return format!("{n} bytes"),
        0x400..0x10_0000 => (1u64 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    format!("{:.2} {name}", n as f64 / unit as f64)
}

/// Bytes in GiB, as columns of tables show them.
pub(super) fn gib(n: u64) -> String {
    format!("{:.3}", n as f64 / (1u64 << 30) as f64)
}

/// Text from a file: escaped as in a program's source, and cut after `longest` characters.
pub(super) fn quoted(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}... ({} bytes)", exact(&format!("{:?}", &text[..end])), text.len()),
        None => exact(&format!("{text:?}")).into_owned(),
    }
}

/// Text that may come from a file, fit for a terminal as [`exact`] has it, and no endless lines.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 20_000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => exact(&text[..end]).into_owned() + "...",
        None => exact(text).into_owned(),
    }
}

/// Text of which every character is to be seen, because somebody decides by it: names, calls, questions. Control characters
/// other than line ends are escaped, and so is what is invisible or changes the order of what is read, except where it makes
/// one emoji of two.
pub(crate) fn exact(text: &str) -> Cow<'_, str> {
    Screen::new(Taste::Exact).show(text)
}

/// A piece of a longer text, fit for a terminal: prose in any language reads as it should, and control characters other than
/// line ends and tabs are escaped.
pub(crate) fn for_screen(text: &str) -> Cow<'_, str> {
    Screen::new(Taste::Prose).show(text)
}

/// What may be shown raw besides characters that are seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taste {
    Exact,
    /// Also what scripts need between and behind their letters.
    Prose,
}

/// Makes a text that comes in pieces fit for a terminal.
pub(crate) struct Screen {
    taste: Taste,
    /// The character before the next one.
    before: char,
    /// In a flag that is spelt in invisible letters behind a black one.
    in_flag: bool,
}

impl Screen {
    /// For an answer.
    pub(crate) fn prose() -> Screen {
        Screen::new(Taste::Prose)
    }

    fn new(taste: Taste) -> Screen {
        Screen { taste, before: ' ', in_flag: false }
    }

    /// The next piece.
    pub(crate) fn show<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
            if let Some(last) = text.chars().next_back() {
                (self.before, self.in_flag) = (last, false);
            }
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len() + 16);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if self.is_fit(c, chars.peek().copied()) {
                shown.push(c);
            } else if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.extend(c.escape_unicode());
            }
            self.in_flag = c == BLACK_FLAG || (self.in_flag && is_tag(c));
            self.before = c;
        }
        if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
    }

    /// `next` is known if it comes in the same piece.
    fn is_fit(&self, c: char, next: Option<char>) -> bool {
        if !is_unseen(c) {
            return !c.is_control() || c == '\n' || (c == '\t' && self.taste == Taste::Prose);
        }
        let prose = self.taste == Taste::Prose;
        // Letters that join or part, of scripts that need it.
        let in_script = prose && !self.before.is_ascii() && !is_unseen(self.before);
        match c {
            ZWJ if is_pictograph(self.before) => prose || next.is_none_or(is_pictograph),
            ZWJ | '\u{200b}' | '\u{200c}' => in_script,
            '\u{fe0e}' | '\u{fe0f}' if is_pictograph(self.before) => true,
            // A key's cap.
            '\u{fe0f}' if self.before.is_ascii_digit() || matches!(self.before, '#' | '*') => {
                prose || next == Some('\u{20e3}')
            }
            '\u{fe00}'..='\u{fe0f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{e0100}'..='\u{e01ef}' => {
                in_script
            }
            // Marks that show nothing and move no more than a comma; a hyphen where a word may end.
            '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{ad}' => prose,
            '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' => prose,
            _ => self.in_flag && is_tag(c),
        }
    }
}

const ZWJ: char = '\u{200d}';
const BLACK_FLAG: char = '\u{1f3f4}';

/// Letters of no width in which flags are spelt, and the end of such a word.
fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

/// Emoji and what may stand behind one before the next is joined to it.
pub(super) fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}'
        | '\u{2122}' | '\u{2139}' | '\u{fe0f}')
}

/// What is not seen, or changes the order of what is: Unicode's format characters (Cf), its separators of lines and
/// paragraphs, and others that are ignored unless a font knows better (Default_Ignorable_Code_Point).
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Lines of a name and a value under a heading.
pub(super) struct Sheet(String);

impl Sheet {
    pub(super) fn new() -> Sheet {
        Sheet(String::new())
    }

    pub(super) fn heading(&mut self, text: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.put(format_args!("{gap}{text}"));
    }

    pub(super) fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        self.put(format_args!("  {name:<26} {value}"));
    }

    pub(super) fn line(&mut self, text: impl std::fmt::Display) {
        self.put(format_args!("  {text}"));
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{}", plain(&line.to_string())).expect("a string takes any text");
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_text_are_readable() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(689_471_107_200), "642.12 GiB");
        assert_eq!(quoted("a\u{1b}[31m", 80), "\"a\\u{1b}[31m\"");
        assert_eq!(quoted("æøå", 2), "\"æø\"... (6 bytes)");
        assert_eq!(plain("one\ntwo\r\u{1b}[31m"), "one\ntwo\\r\\u{1b}[31m");
        assert!(plain(&"x".repeat(1 << 20)).len() < 1 << 15);
        assert_eq!(for_screen("one\n\ttwo"), "one\n\ttwo");
        assert_eq!(for_screen("\u{1b}]0;x\u{7}\r\u{9b}1m"), "\\u{1b}]0;x\\u{7}\\r\\u{9b}1m");
    }

    #[test]
    fn what_is_not_seen_is_escaped() {
        for c in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{e0100}',
            '\u{3164}',
            '\u{2028}',
            '\u{61c}',
            '\u{1d173}',
            '\u{605}',
        ] {
            let (text, escaped) = (format!("rm{c}x"), format!("rm{}x", c.escape_unicode()));
            for shown in [exact(&text).into_owned(), plain(&text)] {
                assert_eq!(shown, escaped);
            }
            assert!(!quoted(&text, 80).contains(c));
        }
        for c in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{e0041}', '\u{e0100}']
        {
            assert_eq!(for_screen(&format!("rm{c}x")), format!("rm{}x", c.escape_unicode()), "in an answer");
        }
    }

    #[test]
    fn answers_in_any_language_read_as_they_should() {
        let england = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
        for text in [
            "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f44b}\u{1f3fd}\u{200d}\u{2642}\u{fe0f} \u{2764}\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            england,
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "na\u{ad}ive \u{5d0}\u{200f}!",
        ] {
            assert_eq!(for_screen(text), text);
            // In pieces of one character.
            let mut screen = Screen::prose();
            let shown: String =
                text.chars().map(|c| screen.show(c.encode_utf8(&mut [0; 4])).into_owned()).collect();
            assert_eq!(shown, text);
        }
        for emoji in ["\u{1f469}\u{200d}\u{1f467}.txt", "\u{2764}\u{fe0f}", "1\u{fe0f}\u{20e3}", england] {
            assert_eq!(exact(emoji), emoji, "one emoji, in a name as well");
        }
        assert_eq!(exact("\u{1f469}\u{200d}x"), "\u{1f469}\\u{200d}x");
        assert_eq!(for_screen("\u{e0041}"), "\\u{e0041}");
    }
}
