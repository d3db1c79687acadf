//! Texts over which no repetition is followed.

use crate::tokenizer::Tokenizer;
use std::collections::HashMap;

/// More tokens of a breaker than this are not compared.
const LONGEST_TAIL: usize = 20;

/// Sequence breakers as tokens. A breaker stands wherever its text stands: inside one token, or from the end of one over
/// the next ones.
#[derive(Default)]
pub(super) struct Breakers {
    /// Tokens with which a breaker begins, and what must follow; nothing, where the token holds all of it.
    tails: HashMap<u32, Vec<Vec<u32>>>,
}

impl Breakers {
    /// Looks at the whole vocabulary.
    pub(super) fn new(texts: &[String], tokenizer: &Tokenizer) -> Breakers {
        let mut breakers = Breakers::default();
        let ids = 0..tokenizer.n_tokens() as u32;
        for (id, token) in ids.filter_map(|id| Some((id, tokenizer.bytes(id)?))) {
            for text in texts.iter().filter(|text| !text.is_empty()) {
                if token.windows(text.len()).any(|window| window == text.as_bytes()) {
                    breakers.add(id, Vec::new());
                    continue;
                }
                // A token that ends inside a character has no text that could follow.
                for (at, _) in text.char_indices().skip(1) {
                    let (begin, rest) = text.split_at(at);
                    if token.ends_with(begin.as_bytes()) {
                        let mut tail = tokenizer.encode_plain(rest);
                        tail.truncate(LONGEST_TAIL);
                        breakers.add(id, tail);
                    }
                }
            }
        }
        breakers
    }

    fn add(&mut self, id: u32, tail: Vec<u32>) {
        self.tails.entry(id).or_default().push(tail);
    }

    /// How many of the last tokens stand behind the last breaker; all, if there is none.
    pub(super) fn behind(&self, recent: &[u32]) -> usize {
        let last = (0..recent.len()).rev().find_map(|at| {
            let behind = &recent[at + 1..];
            let tails = self.tails.get(&recent[at])?.iter();
            tails.filter(|tail| behind.starts_with(tail)).map(|tail| behind.len() - tail.len()).min()
        });
        last.unwrap_or(recent.len())
    }

    /// Whether the token holds a whole breaker.
    pub(super) fn holds_one(&self, id: u32) -> bool {
        self.tails.get(&id).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Breakers given as tokens.
    pub(in crate::sampler) fn of(sequences: &[&[u32]]) -> Breakers {
        let mut breakers = Breakers::default();
        sequences.iter().for_each(|sequence| breakers.add(sequence[0], sequence[1..].to_vec()));
        breakers
    }

    #[test]
    fn the_last_breaker_counts_and_the_longest_at_its_place() {
        let breakers = of(&[&[7], &[1, 2], &[1, 2, 3]]);
        assert_eq!(breakers.behind(&[5, 5, 5]), 3);
        assert_eq!(breakers.behind(&[5, 7, 5, 5]), 2);
        assert_eq!(breakers.behind(&[7, 5, 7]), 0);
        assert_eq!(breakers.behind(&[7, 1, 2, 5]), 1);
        assert_eq!(breakers.behind(&[7, 1, 2, 3, 5, 6]), 2);
        assert_eq!(breakers.behind(&[7, 4, 1]), 2, "the breaker has only begun");
        assert!(breakers.holds_one(7) && !breakers.holds_one(1) && !breakers.holds_one(2));
    }

    #[test]
    fn breakers_are_found_inside_and_across_tokens() {
        let tokenizer = crate::builtin::tokenizer();
        let plain = |text: &str| tokenizer.encode_plain(text);
        let breakers = Breakers::new(&["\n".to_owned(), "river mean".to_owned()], &tokenizer);
        let texts = [
            ("one\ntwo", "two"),
            ("one\n\n two", " two"),
            ("What does river mean to you", " to you"),
            ("What does river do", "What does river do"),
        ];
        for (text, behind) in texts {
            assert_eq!(breakers.behind(&plain(text)), plain(behind).len(), "{text:?}");
        }
    }
}
