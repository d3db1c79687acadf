//! Tokens by id: what each is for and which bytes it stands for, in one block of memory.

use super::bytes;
use fathom_gguf::TokenKind;

/// All tokens.
#[derive(Default)]
pub(super) struct TokenTable {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
    kinds: Vec<TokenKind>,
}

impl TokenTable {
    /// Appends the token with the next id. `None`: a normal token with a character outside the byte alphabet.
    pub(super) fn push(&mut self, text: &str, kind: TokenKind) -> Option<()> {
        match kind {
            TokenKind::Normal => {
                for c in text.chars() {
                    self.bytes.push(bytes::from_char(c)?);
                }
            }
            TokenKind::Control | TokenKind::UserDefined => self.bytes.extend(text.as_bytes()),
            TokenKind::Unused => {}
        }
        self.ends.push(self.bytes.len());
        self.kinds.push(kind);
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }

    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }
}
