//! The lines around a block of code in Markdown.

/// What opened a block, and will close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    mark: char,
    /// Marks at least.
    n: usize,
    /// Behind the mark of a quote, which stands before every line of the block then.
    quoted: bool,
    /// Columns before it: lines of the block are as far in.
    pub indent: usize,
    /// The language, if it is named.
    pub language: String,
}

impl Fence {
    /// What a whole line opens. A block may be an item of a list, or in a quote.
    pub(crate) fn opened_by(line: &str) -> Option<Fence> {
        let text = behind_marks(line);
        let mark = text.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let info = text.trim_start_matches(mark);
        let n = text.len() - info.len();
        // Marks of code in a line, three at once, open nothing.
        if n < 3 || (mark == '`' && info.contains('`')) {
            return None;
        }
        let before = &line[..line.len() - text.len()];
        Some(Fence {
            mark,
            n,
            quoted: before.contains('>'),
            indent: before.chars().count(),
            language: info.split_whitespace().next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether a whole line closes the block.
    pub(crate) fn is_closed_by(&self, line: &str) -> bool {
        let text = self.inside(line).trim();
        text.len() >= self.n && text.chars().all(|c| c == self.mark)
    }

    /// Whether a line that begins so is none of the block: the quote around it has ended.
    pub(crate) fn is_left_by(&self, line: &str) -> bool {
        self.quoted && !line.trim_start().starts_with('>')
    }

    /// A line of the block without what stands before all of its lines.
    pub(crate) fn inside<'l>(&self, line: &'l str) -> &'l str {
        let mut rest = line;
        for _ in 0..self.indent {
            match rest.chars().next() {
                Some(c @ (' ' | '\t')) => rest = &rest[c.len_utf8()..],
                Some('>') if self.quoted => rest = &rest[1..],
                _ => break,
            }
        }
        rest
    }
}

/// A line without its indentation and the marks of quotes and items.
fn behind_marks(line: &str) -> &str {
    let mut rest = line;
    loop {
        let text = rest.trim_start();
        let behind = text.strip_prefix('>').or_else(|| {
            let (word, behind) = text.split_once(' ')?;
            is_item(word).then_some(behind)
        });
        match behind {
            Some(behind) => rest = behind,
            None => return text,
        }
    }
}

/// Whether a word at the beginning of a line is the mark of a list's item.
pub(crate) fn is_item(word: &str) -> bool {
    const LONGEST_NUMBER: usize = 9;
    let number = word.strip_suffix(['.', ')']).unwrap_or_default();
    let is_number =
        (1..=LONGEST_NUMBER).contains(&number.len()) && number.bytes().all(|c| c.is_ascii_digit());
    matches!(word, "-" | "*" | "+") || is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_open_and_close_where_markdown_has_it() {
        for (line, language, close) in [
            ("```", "", "```"),
            ("```rust", "rust", "  ```` "),
            ("~~~~ c x", "c", "~~~~"),
            ("  - ```py", "py", "    ```"),
            ("12. > ```", "", "    > ```"),
            ("> ```", "", "> ```"),
        ] {
            let fence = Fence::opened_by(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(fence.language, language);
            assert!(fence.is_closed_by(close), "{line} {close}");
            for open in ["", "``", "``` x", "~~~"] {
                assert!(!fence.is_closed_by(open), "{line} {open}");
            }
        }
        for line in ["``", "```a``` b", "text ```", "-```", ""] {
            assert_eq!(Fence::opened_by(line), None, "{line}");
        }
        let quoted = Fence::opened_by("> ```").unwrap();
        assert!(quoted.is_left_by("text") && !quoted.is_left_by(" > text"));
        assert_eq!(quoted.inside(">   a"), "  a");
        assert_eq!(Fence::opened_by("  ```").unwrap().inside("    a"), "  a");
    }
}
