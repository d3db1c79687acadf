//! From keys to lines.

use super::Typed;

const ESC: u8 = 0x1b;
const BACKSPACE: u8 = 0x7f;
const CTRL_H: u8 = 0x08;
const CTRL_U: u8 = 0x15;

/// Makes lines of keys.
#[derive(Default)]
pub(super) struct Keys {
    pub typed: Typed,
    /// Bytes of a character that has begun.
    begun: Vec<u8>,
    pub place: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
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
    pub(super) fn after(typed: Typed) -> Keys {
        Keys { typed, ..Keys::default() }
    }

    /// Takes what came at once; true if Esc is among it. A line end with more behind it was pasted and not typed: what was
    /// pasted is one message.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
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
                    // Alt-Enter, of which the terminal may make a line's end; other keys with Alt are for editing.
                    if matches!(byte, b'\r' | b'\n') {
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
    pub(super) fn pause(&mut self) -> bool {
        let is_key = self.place == Place::Escape;
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
    }

    #[test]
    fn a_paste_is_one_message() {
        let (queue, line, _) = typed(&["fn a() {\r\tb\\\r}\r", "x\ry"]);
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
