//! What somebody probably meant.

/// Likeness (Jaro and Winkler's) from which on a name can be meant.
const LEAST: f64 = 0.75;

/// The name that is most like a word, if one is like it.
pub(crate) fn closest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(name, word), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > LEAST).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let names = ["temp", "threads", "top-k"];
        assert_eq!(closest("tmep", names), Some("temp"));
        assert_eq!(closest("thread", names), Some("threads"));
        assert_eq!(closest("quux", names), None);
        assert_eq!(closest("temp", []), None);
    }
}
