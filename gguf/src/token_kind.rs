//! What a token is for: the values of `tokenizer.ggml.token_type`.

/// What a token is for; the numbers are GGUF's. The format has two more, for unknown and for byte tokens, which no byte-level
/// vocabulary uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// Part of the learned vocabulary.
    Normal = 1,
    /// A marker that is never text.
    Control = 3,
    /// An added token that is text too, such as `<think>`.
    UserDefined = 4,
    /// A filler up to the model's number of rows; stands for no text.
    Unused = 5,
}

impl TokenKind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: i32) -> Option<TokenKind> {
        [TokenKind::Normal, TokenKind::Control, TokenKind::UserDefined, TokenKind::Unused]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// As files have it.
    pub fn number(self) -> i32 {
        self as i32
    }
}
