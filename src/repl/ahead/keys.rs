//! From keys to lines.

use super::Typed;

const ESC: u8 = 0x1b;
const BACKSPACE: u8 = 0x7f;
const CTRL_D: u8 = 0x04;
const CTRL_H: u8 = 0x08;
const CTRL_U: u8 = 0x15;
/// The numbers of the sequences that terminals put around what is pasted.
const PASTE: u32 = 200;
const PASTE_END: u32 = 201;

/// Makes lines of keys.
#[derive(Default)]
pub(in crate::repl) struct Keys {
    pub typed: Typed,
    /// Bytes of a character that has begun.
    begun: Vec<u8>,
    pub place: Place,
    /// Inside what is pasted, where the end of a line is text.
    pub pasting: bool,
    /// The last byte of a paste was a carriage return: a line feed behind it is part of the same line end.
    returned: bool,
    /// The number of the sequence that has begun.
    number: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::repl) enum Place {
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
    /// Goes on with what was typed before.
    pub(in crate::repl) fn after(typed: Typed) -> Keys {
        Keys { typed, ..Keys::default() }
    }

    /// Takes keys as the terminal sends them; true if Esc is among them.
    pub(in crate::repl) fn take(&mut self, bytes: &[u8]) -> bool {
        let mut escaped = false;
        for &byte in bytes {
            let follows_return = std::mem::take(&mut self.returned);
            match (self.place, byte) {
                (Place::Text, ESC) => self.place = Place::Escape,
                (Place::Text, _) if self.pasting => self.pasted(byte, follows_return),
                (Place::Text, _) => self.text(byte),
                (Place::Escape, ESC) => escaped |= !self.pasting,
                (Place::Escape, b'[') => (self.place, self.number) = (Place::Sequence, 0),
                (Place::Escape, b'O') => self.place = Place::Letter,
                (Place::Escape, _) => {
                    self.place = Place::Text;
                    // Alt-Enter, of which the terminal may make a line's end; other keys with Alt are for editing.
                    if matches!(byte, b'\r' | b'\n') {
                        self.typed.line.push('\n');
                    }
                }
                (Place::Sequence, b'0'..=b'9') => {
                    self.number = self.number.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
                }
                (Place::Sequence, b'@'..=b'~') => {
                    self.place = Place::Text;
                    self.pasting = match (byte, self.number) {
                        (b'~', PASTE) => true,
                        (b'~', PASTE_END) => false,
                        _ => self.pasting,
                    };
                }
                (Place::Letter, _) => self.place = Place::Text,
                (Place::Sequence, _) => {}
            }
        }
        escaped
    }

    /// Of what is pasted nothing is a key.
    fn pasted(&mut self, byte: u8, follows_return: bool) {
        match byte {
            b'\n' if follows_return => {}
            b'\r' | b'\n' => {
                self.returned = byte == b'\r';
                self.typed.line.push('\n');
            }
            b'\t' | b' '.. if byte != BACKSPACE => self.character(byte),
            _ => {}
        }
    }

    fn text(&mut self, byte: u8) {
        let line = &mut self.typed.line;
        match byte {
            b'\r' | b'\n' => self.typed.queue.push_back(std::mem::take(line)),
            // As on an empty line at the prompt.
            CTRL_D if line.is_empty() => self.typed.queue.push_back("/quit".to_owned()),
            BACKSPACE | CTRL_H => {
                line.pop();
            }
            CTRL_U => line.clear(),
            b'\t' | b' '.. => self.character(byte),
            _ => {}
        }
    }

    /// A character, or a part of one.
    fn character(&mut self, byte: u8) {
        self.begun.push(byte);
        match str::from_utf8(&self.begun) {
            Ok(text) => self.typed.line.push_str(text),
            Err(error) if error.error_len().is_none() => return,
            // No text: nothing to keep.
            Err(_) => {}
        }
        self.begun.clear();
    }

    /// Nothing came for a moment: an Esc that stands last is a key of its own. True if it is.
    pub(in crate::repl) fn pause(&mut self) -> bool {
        let is_key = self.place == Place::Escape && !self.pasting;
        if is_key {
            self.place = Place::Text;
        }
        is_key
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
        assert_eq!(typed(&["one\r/set seed 1\rthree\rfo"]).0, ["one", "/set seed 1", "three"], "at once");
        assert_eq!(typed(&["\u{4}"]).0, ["/quit"]);
    }

    #[test]
    fn a_paste_is_one_message() {
        let (queue, line, _) =
            typed(&["\u{1b}[200~fn a() {\r\tb\\\r\n}\u{1b}", "[201~\r\u{1b}[200~x\ry\u{15}\u{7f}\u{1b}[A"]);
        assert_eq!((queue, line), (vec!["fn a() {\n\tb\\\n}".into()], "x\ny".into()));
        for alt_enter in ["\u{1b}\r", "\u{1b}\n"] {
            assert_eq!(typed(&["a", alt_enter, "b\r"]).0, ["a\nb"], "Alt-Enter");
        }
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
    fn characters_may_come_in_parts() {
        let mut keys = Keys::default();
        for byte in "é🦀".bytes() {
            keys.take(&[byte]);
        }
        keys.take(&[0xff, b'a']);
        assert_eq!(keys.typed.line, "é🦀a");
    }
}
