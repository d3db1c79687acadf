//! Cutting text into the pieces within which merging happens.
//!
//! DeepSeek's three expressions, one after the other, each isolating its matches in the pieces of the one before. The
//! third ends in `\s+(?!\S)|\s+`, and a look-ahead needs a backtracking engine. Here it is `\s+` and one rule: a run
//! of white space with text behind it leaves its last character to that text. That is the same set of pieces, in
//! linear time, and without a way to fail.
//! Source: tokenizer.json of DeepSeek-V3.2, `pre_tokenizer`; llama.cpp, llama-vocab.cpp, label `deepseek-v3`.

use regex::Regex;

/// The expressions, compiled.
pub(super) struct Splitter {
    digits: Regex,
    han_and_kana: Regex,
    words: Regex,
}

impl Splitter {
    pub(super) fn new() -> Splitter {
        let compile = |expression: &str| Regex::new(expression).expect("a constant expression");
        Splitter {
            digits: compile(r"\p{N}{1,3}"),
            han_and_kana: compile("[一-龥぀-ゟ゠-ヿ]+"),
            words: compile(concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
                r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
                r"| ?[\p{P}\p{S}]+[\r\n]*",
                r"|\s*[\r\n]+",
                r"|\s+",
            )),
        }
    }

    /// Hands out the pieces in order. Together they are the text.
    pub(super) fn split(&self, text: &str, mut each: impl FnMut(&str)) {
        isolate(&self.digits, text, whole, |piece, is_digits| {
            if is_digits {
                return each(piece);
            }
            isolate(&self.han_and_kana, piece, whole, |piece, _| {
                isolate(&self.words, piece, without_last_space, |piece, _| each(piece));
            });
        });
    }
}

/// Hands out the matches and what lies between them. `length` may shorten a match; what it leaves is looked at again.
fn isolate(
    expression: &Regex,
    text: &str,
    length: fn(&str, bool) -> usize,
    mut each: impl FnMut(&str, bool),
) {
    let mut done = 0;
    while let Some(found) = expression.find_at(text, done) {
        if done < found.start() {
            each(&text[done..found.start()], false);
        }
        done = found.start() + length(found.as_str(), found.end() == text.len());
        each(&text[found.start()..done], true);
    }
    if done < text.len() {
        each(&text[done..], false);
    }
}

fn whole(found: &str, _: bool) -> usize {
    found.len()
}

/// Only `\s+` gives a match that ends in white space other than a line's end, and behind it is no more white space.
fn without_last_space(found: &str, at_the_end: bool) -> usize {
    let mut chars = found.chars();
    match chars.next_back() {
        Some(last) if last.is_whitespace() && !matches!(last, '\r' | '\n') && !at_the_end => {
            let shorter = chars.as_str().len();
            if shorter == 0 { found.len() } else { shorter }
        }
        _ => found.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        Splitter::new().split(text, |piece| out.push(piece.to_owned()));
        assert_eq!(out.concat(), text);
        out
    }

    #[test]
    fn pieces_of_ordinary_text() {
        assert_eq!(pieces("Hello, world!"), ["Hello", ",", " world", "!"]);
        assert_eq!(pieces("don't x_1"), ["don", "'t", " x", "_", "1"]);
        assert_eq!(pieces("1234567"), ["123", "456", "7"]);
        assert_eq!(pieces("你好，世界ア・イ"), ["你好", "，", "世界ア", "・", "イ"]);
        assert_eq!(pieces(" 你好"), [" ", "你好"]);
        assert_eq!(pieces(""), [""; 0]);
    }

    #[test]
    fn white_space_leaves_one_for_the_word_behind_it() {
        assert_eq!(pieces("a   b"), ["a", "  ", " b"]);
        assert_eq!(pieces("a \t1"), ["a", " \t", "1"]);
        assert_eq!(pieces("   "), ["   "]);
        assert_eq!(pieces("  \n \n  x"), ["  \n \n", " ", " x"]);
        assert_eq!(pieces("\u{3000}\u{3000}、"), ["\u{3000}", "\u{3000}", "、"]);
        assert_eq!(pieces("!\r\n\r\n x"), ["!\r\n\r\n", " x"]);
        // Control characters are matched by nothing unless a letter follows.
        assert_eq!(pieces("\0\0\0"), ["\0\0\0"]);
        assert_eq!(pieces("\0\0a"), ["\0", "\0a"]);
    }
}
