//! DRY ("don't repeat yourself", by p-e-w): a token that would go on with a repetition loses the more, the longer the
//! repetition is.

use super::breakers::Breakers;
use std::cmp::Reverse;

/// Past this logarithm a penalty overflows.
const LARGEST_LN: f32 = 88.722_84;

/// What tokens lose that would make a repetition longer. All that the model reads counts, as with
/// [`Penalties`](super::Penalties).
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// What a repetition of `allowed_length` tokens costs its next token; 0 turns all of this off.
    pub multiplier: f32,
    /// How many times as much each further token costs; at least 1.
    pub base: f32,
    /// Shorter repetitions cost nothing.
    pub allowed_length: usize,
    /// Look for repetitions in this many last tokens; `None`: in all of them.
    pub last_n: Option<usize>,
    /// Texts over which no repetition is followed.
    pub breakers: Vec<String>,
}

impl Default for Dry {
    /// llama.cpp's: off.
    fn default() -> Self {
        let breakers = ["\n", ":", "\"", "*"].map(str::to_owned).into();
        Dry { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: Some(64), breakers }
    }
}

impl Dry {
    pub(super) fn changes_something(&self) -> bool {
        self.multiplier != 0.0 && self.last_n != Some(0)
    }

    /// What a token loses that goes on with a repetition of `length` tokens.
    fn penalty(&self, length: usize) -> f32 {
        let mut more = length - self.allowed_length;
        if self.base > 1.000_001 {
            more = more.min((LARGEST_LN / self.base.ln()) as usize);
        }
        (f64::from(self.multiplier) * f64::from(self.base).powf(more as f64)) as f32
    }
}

/// Finds the repetitions that the next token may go on with.
pub(super) struct Repetitions {
    dry: Dry,
    breakers: Breakers,
    /// See [`suffixes`].
    lengths: Vec<usize>,
    /// Tokens that would go on with a repetition, and its length.
    next: Vec<(u32, usize)>,
}

impl Repetitions {
    pub(super) fn new(dry: &Dry, breakers: Breakers) -> Repetitions {
        Repetitions { dry: dry.clone(), breakers, lengths: Vec::new(), next: Vec::new() }
    }

    pub(super) fn apply(&mut self, history: &[u32], logits: &mut [f32]) {
        self.find(history);
        for &(id, length) in &self.next {
            if !self.breakers.holds_one(id) {
                logits[id as usize] -= self.dry.penalty(length);
            }
        }
    }

    /// Fills `next`: every token once, with the longest repetition that it would go on with.
    fn find(&mut self, history: &[u32]) {
        self.next.clear();
        let n = self.dry.last_n.unwrap_or(usize::MAX).min(history.len());
        let recent = &history[history.len() - n..];
        let longest = self.breakers.behind(recent);
        if n <= self.dry.allowed_length || longest < self.dry.allowed_length {
            return;
        }
        suffixes(recent, &mut self.lengths);
        for back in 1..n {
            let length = self.lengths[back].min(longest);
            if length >= self.dry.allowed_length {
                self.next.push((recent[n - back], length));
            }
        }
        self.next.sort_unstable_by_key(|&(id, length)| (id, Reverse(length)));
        self.next.dedup_by_key(|&mut (id, _)| id);
    }
}

/// `lengths[back]`: how many tokens at the end of `tokens` also stand before its last `back` tokens. The Z-algorithm from
/// the end: each token is compared once with success, so the time grows with the number of tokens and no faster.
fn suffixes(tokens: &[u32], lengths: &mut Vec<usize>) {
    let n = tokens.len();
    let from_end = |index: usize| tokens[n - 1 - index];
    lengths.clear();
    lengths.resize(n, 0);
    // The match that reaches farthest: what is inside it was seen at the end already.
    let (mut start, mut end) = (0, 0);
    for back in 1..n {
        let mut length = if back < end { lengths[back - start].min(end - back) } else { 0 };
        while back + length < n && from_end(length) == from_end(back + length) {
            length += 1;
        }
        lengths[back] = length;
        if back + length > end {
            (start, end) = (back, back + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breakers::tests::of;
    use super::*;

    fn dry() -> Dry {
        Dry { multiplier: 0.5, base: 2.0, allowed_length: 2, last_n: None, breakers: Vec::new() }
    }

    fn next(dry: &Dry, breakers: Breakers, history: &[u32]) -> Vec<(u32, usize)> {
        let mut repetitions = Repetitions::new(dry, breakers);
        repetitions.find(history);
        repetitions.next
    }

    #[test]
    fn lengths_are_those_of_the_plain_definition() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut lengths = Vec::new();
        for n in 0..200 {
            let tokens: Vec<u32> = (0..n).map(|_| random.u32(..2 + n as u32 / 40)).collect();
            suffixes(&tokens, &mut lengths);
            for back in 1..n {
                let same = |length: &usize| tokens[..n - back].ends_with(&tokens[n - length..]);
                assert_eq!(lengths[back], (0..=n - back).rev().find(same).unwrap(), "{tokens:?} {back}");
            }
        }
    }

    #[test]
    fn a_context_of_one_token_takes_no_quadratic_time() {
        let found = next(&dry(), Breakers::default(), &vec![1; 1 << 20]);
        assert_eq!(found, [(1, (1 << 20) - 1)]);
    }

    #[test]
    fn tokens_that_go_on_with_a_repetition_are_found() {
        // The text ends in 1 2 3. That stood before 3 and 9: after 1 2 3 came 3, after 2 3 came 9.
        let history = [1, 2, 3, 3, 2, 3, 9, 1, 2, 3];
        assert_eq!(next(&dry(), Breakers::default(), &history), [(3, 3), (9, 2)]);
        // 3 alone came before 3 and 2, too.
        let all = Dry { allowed_length: 1, ..dry() };
        assert_eq!(next(&all, Breakers::default(), &history), [(2, 1), (3, 3), (9, 2)]);
        let few = Dry { last_n: Some(6), ..dry() };
        assert_eq!(next(&few, Breakers::default(), &history), [(9, 2)]);
        assert_eq!(next(&Dry { last_n: Some(2), ..dry() }, Breakers::default(), &history), []);
    }

    #[test]
    fn breakers_cut_repetitions() {
        let history = [1, 2, 3, 3, 2, 3, 9, 1, 2, 3];
        assert_eq!(next(&dry(), of(&[&[1]]), &history), [(3, 2), (9, 2)]);
        assert_eq!(next(&dry(), of(&[&[2]]), &history), [], "one token behind it is allowed");
        // A breaker itself is never penalised.
        let mut logits = [0.0; 10];
        Repetitions::new(&dry(), of(&[&[9]])).apply(&history, &mut logits);
        assert_eq!(logits, [0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn penalties_grow_by_the_base_and_stay_finite() {
        assert_eq!([2, 3, 5].map(|length| dry().penalty(length)), [0.5, 1.0, 4.0]);
        assert!(dry().penalty(100_000).is_finite());
        assert_eq!(Dry { base: 1.0, ..dry() }.penalty(100_000), 0.5);
    }
}
