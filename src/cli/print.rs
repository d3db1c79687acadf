//! How answers are shown.

use super::Failure;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

/// Behind `tell!`, the one way to stderr for lines: `eprintln!` panics where stderr is gone, and hours of work with it.
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    // Where this cannot be written, that cannot be told either.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
        Ok(()) => Ok(true),
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

/// Text from a file: control characters escaped, and cut after `longest` characters.
pub(super) fn quoted(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

/// Text that may come from a file, fit for a terminal: control characters other than line ends escaped, no endless
/// lines.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 20_000;
    let mut plain = String::with_capacity(text.len().min(LONGEST));
    for (index, c) in text.chars().enumerate() {
        if index == LONGEST {
            plain.push_str("...");
            break;
        }
        if c.is_control() && c != '\n' { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// A piece of a longer text, fit for a terminal: control characters other than line ends and tabs escaped.
pub(crate) fn for_screen(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
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
}
