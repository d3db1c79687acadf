//! Token ids to text while they arrive.
//!
//! A token may end within a character, so up to three bytes wait for the next token. What comes out is always whole
//! characters, and all of it together is the lossy UTF-8 of all bytes: a byte that can belong to no character comes
//! out as U+FFFD as soon as that is certain.

use super::{TokenKind, Tokenizer};

/// What becomes of control tokens in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controls {
    /// They appear as their texts: what a parser of answers needs.
    Keep,
    /// They vanish. User-defined tokens such as `<think>` are text and stay.
    Skip,
}

/// Decodes one answer, token by token.
#[derive(Clone, Debug)]
pub struct TextDecoder<'t> {
    tokenizer: &'t Tokenizer,
    controls: Controls,
    /// The start of a character that is not complete.
    held: Vec<u8>,
}

impl<'t> TextDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, controls: Controls) -> TextDecoder<'t> {
        TextDecoder { tokenizer, controls, held: Vec::new() }
    }

    /// Takes a token and returns the text that is complete with it, possibly none. An id that no token has comes out
    /// as U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        let is_skipped =
            self.controls == Controls::Skip && self.tokenizer.kind(id) == Some(TokenKind::Control);
        if !is_skipped {
            self.held.extend(self.tokenizer.bytes(id).unwrap_or("\u{fffd}".as_bytes()));
        }
        take_complete(&mut self.held)
    }

    /// Ends the text: what is still held can no longer become a character.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        rest
    }
}

/// Takes everything up to an incomplete character at the end.
fn take_complete(held: &mut Vec<u8>) -> String {
    let mut out = String::new();
    let mut n_taken = 0;
    for chunk in held.utf8_chunks() {
        out.push_str(chunk.valid());
        n_taken += chunk.valid().len();
        let invalid = chunk.invalid();
        let is_last = n_taken + invalid.len() == held.len();
        if is_last && could_continue(invalid) {
            break;
        }
        if !invalid.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        n_taken += invalid.len();
    }
    held.drain(..n_taken);
    out
}

fn could_continue(invalid: &[u8]) -> bool {
    matches!(std::str::from_utf8(invalid), Err(error) if error.error_len().is_none())
}
