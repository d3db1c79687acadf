//! A limit on reasoning.

use super::Request;
use crate::chat::markers::END_THINK;
use crate::chat::parse::Start;
use crate::tokenizer::Tokenizer;

/// Counts the tokens of the reasoning, and ends it in the model's own format when they are used up.
pub(super) struct Budget {
    /// Tokens that may still come; `None`: there is no limit, or the reasoning is over.
    left: Option<usize>,
    /// `</think>`.
    end: u32,
    /// Whether it was ended here.
    pub cut: bool,
}

impl Budget {
    pub(super) fn new(request: &Request<'_>, tokenizer: &Tokenizer) -> Budget {
        let end = tokenizer.special(END_THINK).filter(|_| request.start == Some(Start::Reasoning));
        // Where the model has no such token, or does not reason, there is nothing to end.
        Budget { left: request.reasoning_budget.filter(|_| end.is_some()), end: end.unwrap_or(0), cut: false }
    }

    /// The token to go on with where the model chose `token`.
    pub(super) fn token(&mut self, token: u32) -> u32 {
        match self.left {
            Some(_) if token == self.end => self.left = None,
            Some(0) => {
                (self.left, self.cut) = (None, true);
                return self.end;
            }
            Some(left) => self.left = Some(left - 1),
            None => {}
        }
        token
    }
}
