//! What somebody probably meant.

/// The name that is most like a word, if its likeness (Jaro and Winkler's, 1 for the same) is more than `least`.
pub(crate) fn closest<'n>(
    word: &str,
    names: impl IntoIterator<Item = &'n str>,
    least: f64,
) -> Option<&'n str> {
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(name, word), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > least).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let names = ["temp", "threads", "top-k"];
        assert_eq!(closest("tmep", names, 0.75), Some("temp"));
        assert_eq!(closest("thread", names, 0.75), Some("threads"));
        assert_eq!(closest("quux", names, 0.75), None);
        assert_eq!(closest("thread", names, 0.99), None);
        assert_eq!(closest("temp", [], 0.75), None);
    }
}
