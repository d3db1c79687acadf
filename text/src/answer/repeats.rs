//! Notices when an answer turns in a circle.

/// Longest cycle that is looked for, in tokens.
const LONGEST: usize = 256;
/// A cycle counts when it came so often, and was so long in all: tables and code repeat a line some times, too.
const FEWEST_TIMES: usize = 6;
const FEWEST_TOKENS: usize = 100;

/// The same tokens again and again at the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Tokens until it begins anew.
    pub period: usize,
    /// How often it came.
    pub times: usize,
}

/// Looks for a cycle while tokens arrive. A token costs one comparison for each length of a cycle, and nothing is stored but
/// a number for each.
pub(super) struct Repeats {
    /// For each period less one, how many of the last tokens were those so many places before.
    runs: [u32; LONGEST],
    /// The first one that was found.
    pub found: Option<Cycle>,
}

impl Repeats {
    pub(super) fn new() -> Repeats {
        Repeats { runs: [0; LONGEST], found: None }
    }

    /// Takes all tokens so far, one more than the last time. Gives a cycle once: when the first one is found.
    pub(super) fn push(&mut self, ids: &[u32]) -> Option<Cycle> {
        let (last, before) = ids.split_last()?;
        if self.found.is_some() {
            return None;
        }
        for ((run, id), period) in self.runs.iter_mut().zip(before.iter().rev()).zip(1..) {
            *run = if id == last { *run + 1 } else { 0 };
            let n_tokens = *run as usize + period;
            if *run > 0 && n_tokens >= FEWEST_TOKENS.max(FEWEST_TIMES * period) && self.found.is_none() {
                self.found = Some(Cycle { period, times: n_tokens / period });
            }
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first cycle of these tokens, and after how many it was found.
    fn first(ids: &[u32]) -> Option<(Cycle, usize)> {
        let mut repeats = Repeats::new();
        (1..=ids.len()).find_map(|n| Some((repeats.push(&ids[..n])?, n)))
    }

    /// `period` tokens that are all different, `times` times, behind a text that does not repeat itself.
    fn turning(period: u32, times: usize) -> Vec<u32> {
        let cycle: Vec<u32> = (0..period).map(|id| 10_000 + id).collect();
        (0..500).chain(cycle.repeat(times)).collect()
    }

    #[test]
    fn cycles_of_any_length_are_found_at_their_sixth_time() {
        for period in [17, 40, 255, 256] {
            let (cycle, n) = first(&turning(period, 7)).unwrap_or_else(|| panic!("{period}"));
            assert_eq!(cycle, Cycle { period: period as usize, times: 6 });
            assert_eq!(n, 500 + 6 * period as usize);
            assert_eq!(first(&turning(period, 5)), None, "five times are not enough");
        }
        assert_eq!(first(&turning(257, 9)), None, "longer ones are not looked for");
    }

    #[test]
    fn short_cycles_must_go_on_for_a_hundred_tokens() {
        for period in [1, 2, 3, 16] {
            let times = FEWEST_TOKENS.div_ceil(period as usize);
            let (cycle, n) = first(&turning(period, times)).unwrap_or_else(|| panic!("{period}"));
            assert_eq!((cycle.period, n), (period as usize, 500 + FEWEST_TOKENS));
            assert_eq!(first(&turning(period, times - 1)), None);
        }
    }

    #[test]
    fn a_cycle_is_told_once() {
        let ids = turning(20, 50);
        let mut repeats = Repeats::new();
        assert_eq!((1..=ids.len()).filter(|n| repeats.push(&ids[..*n]).is_some()).count(), 1);
    }

    #[test]
    fn what_only_resembles_a_cycle_is_none() {
        // A list whose items differ in their number.
        let list: Vec<u32> =
            (0..100).flat_map(|item| (0..20).map(move |id| if id == 3 { 1000 + item } else { id })).collect();
        assert_eq!(first(&list), None);
        // A table that repeats a line five times, goes on, and repeats another.
        let rows = |from: u32| (from..from + 30).collect::<Vec<_>>().repeat(5);
        assert_eq!(first(&[rows(0), rows(100), rows(0), rows(200)].concat()), None);
        // Closing brackets and spaces in code: short, many times, never for long.
        let code: Vec<u32> = (0..200).flat_map(|line| [vec![7; 24], vec![1000 + line]].concat()).collect();
        assert_eq!(first(&code), None);
        // One token in each turn is a different one.
        let near: Vec<u32> = turning(30, 20)
            .into_iter()
            .enumerate()
            .map(|(at, id)| if at % 97 == 0 { 5 } else { id })
            .collect();
        assert_eq!(first(&near), None);
    }
}
