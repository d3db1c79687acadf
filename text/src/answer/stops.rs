//! Texts that end an answer, found across any borders between tokens.

/// Looks for stop strings in text that arrives in pieces.
pub(super) struct Stops<'s> {
    stops: &'s [String],
    /// The end of the text so far, as far as it may be the beginning of a stop string.
    held: String,
}

impl<'s> Stops<'s> {
    /// Empty stop strings are ignored: they would stop everything.
    pub(super) fn new(stops: &'s [String]) -> Stops<'s> {
        Stops { stops, held: String::new() }
    }

    fn stops(&self) -> impl Iterator<Item = &'s String> {
        self.stops.iter().filter(|stop| !stop.is_empty())
    }

    /// Takes more text. Gives what is certain to stand before any stop string, and the stop string if it is complete;
    /// what comes behind it is lost.
    pub(super) fn push(&mut self, text: &str) -> (String, Option<&'s str>) {
        self.held.push_str(text);
        let found = self.stops().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.as_str())));
        if let Some((place, stop)) = found.min_by_key(|(place, stop)| (*place, std::cmp::Reverse(stop.len())))
        {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(place);
            return (before, Some(stop));
        }
        let longest = self.stops().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let may_begin = |place: &usize| self.stops().any(|stop| stop.starts_with(&self.held[*place..]));
        let places = (from..self.held.len()).filter(|place| self.held.is_char_boundary(*place));
        let n_certain = { places }.find(may_begin).unwrap_or(self.held.len());
        let rest = self.held.split_off(n_certain);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back and can no longer become a stop string.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut finder = Stops::new(&stops);
        let mut out = Vec::new();
        for piece in pieces {
            let (text, hit) = finder.push(piece);
            out.push(text);
            if let Some(hit) = hit {
                return (out, Some(hit.to_owned()));
            }
        }
        out.push(finder.finish());
        (out, None)
    }

    #[test]
    fn a_stop_string_across_pieces_is_held_back_and_found() {
        assert_eq!(
            run(&["END"], &["a E", "N", "D b"]),
            (vec!["a ".into(), "".into(), "".into()], Some("END".into()))
        );
        let (out, hit) = run(&["END"], &["a E", "N", "X"]);
        assert_eq!((out, hit), (vec!["a ".into(), "".into(), "ENX".into(), "".into()], None));
        assert_eq!(run(&["END"], &["EN"]), (vec!["".into(), "EN".into()], None));
    }

    #[test]
    fn the_first_of_several_counts() {
        assert_eq!(run(&["bc", "abcd"], &["abc"]), (vec!["a".into()], Some("bc".into())));
        assert_eq!(run(&["a", "ab"], &["xab"]), (vec!["x".into()], Some("ab".into())));
        assert_eq!(run(&["aab"], &["aa", "ab"]), (vec!["".into(), "a".into()], Some("aab".into())));
        assert_eq!(run(&["", "é!"], &["é", "é!"]), (vec!["".into(), "é".into()], Some("é!".into())));
        assert_eq!(run(&[], &["all"]), (vec!["all".into(), "".into()], None));
    }

    proptest! {
        /// However the text is cut, the outcome is that of the whole.
        #[test]
        fn pieces_do_not_matter(text in "[abé]{0,24}", stop in "[abé]{1,4}", cuts in prop::collection::vec(0usize..48, 0..6)) {
            let mut places: Vec<usize> =
                cuts.into_iter().filter(|place| *place <= text.len() && text.is_char_boundary(*place)).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (out, hit) = run(&[&stop], &pieces);
            let (before, expected) = match text.find(&stop) {
                Some(place) => (&text[..place], Some(stop)),
                None => (text.as_str(), None),
            };
            prop_assert_eq!(out.concat(), before);
            prop_assert_eq!(hit, expected);
        }
    }
}
