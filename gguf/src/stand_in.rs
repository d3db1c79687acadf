//! Files that stand where a model's file should: what they are, told by their first bytes.
//!
//! A clone without Git LFS, a download without a login and one that only reserved its room all leave a file of the right name.
//! Each has a next step of its own, which "not a GGUF file" would not say.

use std::fmt;

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// Three lines of text that Git LFS puts in the place of a large file.
    LfsPointer,
    /// An HTML or XML page.
    WebPage,
    /// Text in UTF-16.
    Utf16,
    /// A zip archive or a pickle: how PyTorch saves weights by itself.
    PyTorch,
    /// Room that was reserved and not filled.
    Zeros,
}

/// As many first bytes as [`StandIn::of`] looks at.
pub const LOOKED_AT: usize = 256;

impl StandIn {
    /// Recognises the beginning of a file; `None` for anything else.
    pub fn of(start: &[u8]) -> Option<StandIn> {
        let start = &start[..start.len().min(LOOKED_AT)];
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        let begins =
            |with: &[u8]| text.get(..with.len()).is_some_and(|found| found.eq_ignore_ascii_case(with));
        let any = |list: &[&str]| list.iter().any(|with| begins(with.as_bytes()));
        if any(&["version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/"]) {
            return Some(StandIn::LfsPointer);
        }
        if any(&["<!doctype", "<html", "<head", "<?xml", "<error"]) {
            return Some(StandIn::WebPage);
        }
        if is_utf16(start) {
            return Some(StandIn::Utf16);
        }
        // The length at the beginning of a safetensors file may look like either; its upper half is zero.
        let is_length = start.get(4..8) == Some(&[0; 4]);
        let is_pickle = matches!(start, [0x80, 2..=5, b'}' | b']' | b'c' | b'(' | 0x8a | 0x95, ..]);
        if (is_pickle || start.starts_with(b"PK\x03\x04")) && !is_length {
            return Some(StandIn::PyTorch);
        }
        (start.len() >= 16 && start.iter().all(|&byte| byte == 0)).then_some(StandIn::Zeros)
    }
}

/// A byte order mark with text behind it. The length at the beginning of a safetensors file may look like the mark; its upper
/// bytes are zeros, which no text has.
fn is_utf16(start: &[u8]) -> bool {
    let (units, _) = start.as_chunks::<2>();
    matches!(units, [[0xff, 0xfe] | [0xfe, 0xff], text @ ..] if text.iter().take(3).all(|unit| *unit != [0, 0]))
}

/// What it is and what to do.
impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StandIn::LfsPointer => {
                "a Git LFS pointer, a few lines that stand for the file until it is fetched: run `git lfs pull` in its folder, or \
                 download the file itself (`hf download`)"
            }
            StandIn::WebPage => {
                "a web page: the server sent a login page, an error page or the file's info page instead; download the file itself (`hf download`)"
            }
            StandIn::Utf16 => "text in UTF-16: save it as UTF-8, or download the file again",
            StandIn::PyTorch => {
                "a file as PyTorch saves it (.bin, .pt), whatever its name: download the model's .safetensors files, or convert it to them"
            }
            StandIn::Zeros => {
                "nothing but zeros at its start: space was reserved, but the download never finished; download it again"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4302350824\n";
        assert_eq!(StandIn::of(pointer), Some(StandIn::LfsPointer));
        assert_eq!(StandIn::of(b"\xef\xbb\xbf\r\n<!DOCTYPE html>"), Some(StandIn::WebPage));
        for text in [&b"\xff\xfe{\0"[..], b"\xff\xfe", b"\xfe\xff\0{\0\n\0}", b"\xff\xfe{\0\n\0}\0\n\0"] {
            assert_eq!(StandIn::of(text), Some(StandIn::Utf16), "{text:?}");
        }
        for length in [0xfeff_u64, 0xfffe, 0x7bfeff, 0x7b00_fffe] {
            assert_eq!(StandIn::of(&[&length.to_le_bytes()[..], b"{\"a\":{"].concat()), None, "{length}");
        }
        for start in [&b"PK\x03\x04\0\0\x08\x08"[..], b"\x80\x02}q\0X\x03\0", b"\x80\x02\x8a\nl\xfc\x9cF\xf9"]
        {
            assert_eq!(StandIn::of(start), Some(StandIn::PyTorch), "{start:?}");
        }
        for length in [0x0403_4b50_u64, 0x7d_0280] {
            assert_eq!(StandIn::of(&[&length.to_le_bytes()[..], b"{\"a\":{"].concat()), None, "{length}");
        }
        assert_eq!(StandIn::of(&[0; 64]), Some(StandIn::Zeros));
        for other in [&b""[..], b"GGUF\x03\0\0\0", b"{\"a\": 1}", b"version 2", &[0; 4]] {
            assert_eq!(StandIn::of(other), None, "{other:?}");
        }
    }
}
