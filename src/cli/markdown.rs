//! Markdown in colours while it arrives.
//!
//! Every character of the source is shown, in its order, the marks among them: they stand back, and what they mark is bold,
//! italic or coloured. So nothing that is shown has to be taken back, what is copied from the screen is Markdown still, and a
//! text that is no Markdown loses nothing. Only what a decision needs is held back: the mark itself, the beginning of a line
//! that may be a list or a heading, and the text of a link. A mark that is never closed ends with its line.

use super::highlight::Code;
use anstyle::{AnsiColor, Style};
use std::fmt::Write;

/// Longer texts in brackets are shown before it is known whether they are links.
const LONGEST_LINK: usize = 120;
/// Bytes of what may name a block's language.
const LONGEST_LANGUAGE: usize = 80;
/// Longer numbers begin no item of a list.
const LONGEST_NUMBER: usize = 9;

const MARK: Style = Style::new().dimmed();
const CODE: Style = AnsiColor::Cyan.on_default();
const ITEM: Style = AnsiColor::Yellow.on_default();

/// Where the next character stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// At the beginning of a line, behind these characters, which may be a mark.
    LineStart(String),
    /// In the text of a line, behind this run of one mark.
    Text(String),
    /// Behind a bracket that may begin a link.
    Bracket(String),
    /// In the address of a link.
    Address,
    /// Behind the marks that open a block of code, and this text, which may name its language.
    FenceLine(String),
    /// At the beginning of a line of code, behind what may close the block.
    CodeStart(String),
    /// In a line of code.
    Code,
    /// In the line that closes it.
    FenceEnd,
}

/// What opened a block of code, and will close it.
#[derive(Clone, Copy)]
struct Fence {
    mark: char,
    /// Marks at least.
    n: usize,
    /// In a quote, whose mark stands before every line of it.
    quoted: bool,
}

/// Takes a text in pieces, gives it in colours.
pub(crate) struct Markdown {
    at: At,
    /// What is in force until the end of the line.
    strong: bool,
    emphasis: bool,
    heading: bool,
    quote: bool,
    /// Backquotes that will close the code in a line.
    code: usize,
    fence: Option<Fence>,
    /// The open block, if its language is known.
    block: Option<Code>,
    /// The character before the next one, in its line.
    before: Option<char>,
    escaped: bool,
    out: String,
    /// The style at the end of `out`.
    style: Style,
}

impl Markdown {
    pub(crate) fn new() -> Markdown {
        Markdown {
            at: At::LineStart(String::new()),
            strong: false,
            emphasis: false,
            heading: false,
            quote: false,
            code: 0,
            fence: None,
            block: None,
            before: None,
            escaped: false,
            out: String::new(),
            style: Style::new(),
        }
    }

    /// What can be shown now; it ends without any style.
    pub(crate) fn push(&mut self, text: &str) -> String {
        text.chars().for_each(|c| self.next(c));
        self.show_code(Code::settled);
        self.take()
    }

    /// What was held back.
    pub(crate) fn finish(&mut self) -> String {
        match std::mem::replace(&mut self.at, At::Text(String::new())) {
            At::LineStart(held) | At::Bracket(held) => self.plain(&held),
            At::Text(run) if run.is_empty() => {}
            At::Text(run) => self.end_run(&run, '\n'),
            At::CodeStart(held) => held.chars().for_each(|held| self.in_code(held)),
            At::Address | At::FenceLine(_) | At::Code | At::FenceEnd => {}
        }
        self.show_code(Code::rest);
        let rest = self.take();
        *self = Markdown::new();
        rest
    }

    fn take(&mut self) -> String {
        self.change(Style::new());
        std::mem::take(&mut self.out)
    }

    fn change(&mut self, style: Style) {
        if self.style != style {
            write!(self.out, "{:#}{style}", self.style).expect("a string takes any text");
            self.style = style;
        }
    }

    fn put(&mut self, text: &str, style: Style) {
        if let Some(last) = text.chars().next_back() {
            self.change(style);
            self.out.push_str(text);
            self.before = Some(last);
        }
    }

    /// Text with what is in force.
    fn plain(&mut self, text: &str) {
        let mut style = if self.code > 0 { CODE } else { Style::new() };
        if self.strong || self.heading {
            style = style.bold();
        }
        if self.emphasis || self.quote {
            style = style.italic();
        }
        self.put(text, style);
    }

    fn next(&mut self, c: char) {
        match std::mem::replace(&mut self.at, At::Text(String::new())) {
            At::LineStart(held) => self.at_line_start(held, c),
            At::Text(run) => self.in_text(run, c),
            At::Bracket(held) => self.in_bracket(held, c),
            At::Address => match c {
                '\n' => self.end_line(),
                _ => {
                    self.put(c.encode_utf8(&mut [0; 4]), MARK);
                    self.at = if c == ')' { At::Text(String::new()) } else { At::Address };
                }
            },
            At::FenceLine(name) => self.in_fence_line(name, c),
            At::FenceEnd if c == '\n' => self.end_line(),
            At::FenceEnd => {
                self.put(c.encode_utf8(&mut [0; 4]), MARK);
                self.at = At::FenceEnd;
            }
            At::CodeStart(held) => self.at_code_start(held, c),
            At::Code => self.in_code(c),
        }
    }

    fn end_line(&mut self) {
        self.put("\n", Style::new());
        (self.strong, self.emphasis, self.heading, self.quote) = (false, false, false, false);
        (self.code, self.before, self.escaped) = (0, None, false);
        self.at = match self.fence {
            Some(_) => At::CodeStart(String::new()),
            None => At::LineStart(String::new()),
        };
    }

    fn at_line_start(&mut self, mut held: String, c: char) {
        let Some(mark) = held.chars().next() else {
            match c {
                ' ' | '\t' => self.put(c.encode_utf8(&mut [0; 4]), Style::new()),
                '>' => {
                    self.put(">", MARK);
                    self.quote = true;
                }
                '#' | '-' | '*' | '+' | '`' | '~' | '0'..='9' => held.push(c),
                _ => return self.in_text(String::new(), c),
            }
            self.at = At::LineStart(held);
            return;
        };
        let n = held.len();
        let goes_on = match mark {
            '#' => c == '#' && n < 6,
            '`' | '~' => c == mark,
            '0'..='9' => {
                let is_number = held.bytes().all(|digit| digit.is_ascii_digit());
                is_number && (c == '.' || c == ')' || (c.is_ascii_digit() && n < LONGEST_NUMBER))
            }
            _ => false,
        };
        if goes_on {
            held.push(c);
            self.at = At::LineStart(held);
            return;
        }
        match mark {
            '`' | '~' if n >= 3 => {
                self.fence = Some(Fence { mark, n, quoted: self.quote });
                self.put(&held, MARK);
                self.at = At::FenceLine(String::new());
                self.next(c);
            }
            '#' if c == ' ' => {
                self.heading = true;
                self.put(&held, MARK);
                self.plain(" ");
            }
            '-' | '*' | '+' if c == ' ' => self.item(held),
            '0'..='9' if c == ' ' && held.ends_with(['.', ')']) => self.item(held),
            _ => {
                self.at = At::Text(String::new());
                held.chars().for_each(|held| self.next(held));
                self.next(c);
            }
        }
    }

    /// An item of a list may begin as a line does, with a block of code for one.
    fn item(&mut self, mark: String) {
        self.put(&(mark + " "), ITEM);
        self.at = At::LineStart(String::new());
    }

    /// In a line, behind the `run` of a mark.
    fn in_text(&mut self, mut run: String, c: char) {
        if run.starts_with(c) {
            run.push(c);
            self.at = At::Text(run);
            return;
        }
        if !run.is_empty() {
            self.end_run(&run, c);
        }
        let is_escaped = std::mem::take(&mut self.escaped);
        match c {
            '\n' => self.end_line(),
            _ if is_escaped => self.plain(c.encode_utf8(&mut [0; 4])),
            '`' => self.at = At::Text(c.into()),
            _ if self.code > 0 => self.plain(c.encode_utf8(&mut [0; 4])),
            '*' | '_' => self.at = At::Text(c.into()),
            '[' => self.at = At::Bracket(c.into()),
            _ => {
                self.escaped = c == '\\';
                self.plain(c.encode_utf8(&mut [0; 4]));
            }
        }
    }

    /// What a run of marks does, now that the character behind it is known.
    fn end_run(&mut self, run: &str, next: char) {
        let n = run.len();
        if run.starts_with('`') {
            match self.code {
                0 => self.code = n,
                open if open == n => self.code = 0,
                _ => return self.plain(run),
            }
            return self.put(run, MARK);
        }
        let before = self.before.unwrap_or(' ');
        let may_open = !next.is_whitespace()
            && if n == 1 || run.starts_with('_') {
                !before.is_alphanumeric()
            } else {
                !before.is_ascii_alphanumeric()
            };
        let may_close = !before.is_whitespace() && (run.starts_with('*') || !next.is_alphanumeric());
        let (strong, emphasis) = (n == 2 || n == 3, n == 1 || n == 3);
        let is_open = n <= 3 && (!strong || self.strong) && (!emphasis || self.emphasis);
        if is_open && may_close {
            (self.strong, self.emphasis) = (self.strong && !strong, self.emphasis && !emphasis);
        } else if n <= 3 && !is_open && may_open {
            (self.strong, self.emphasis) = (self.strong || strong, self.emphasis || emphasis);
        } else {
            return self.plain(run);
        }
        self.put(run, MARK);
    }

    fn in_bracket(&mut self, mut held: String, c: char) {
        let closed = held.ends_with(']');
        if closed && c == '(' {
            self.put("[", MARK);
            let text = &held[1..held.len() - 1];
            self.put(text, Style::new().underline());
            self.put("](", MARK);
            self.at = At::Address;
        } else if closed || c == '\n' || held.len() >= LONGEST_LINK {
            // No link: the bracket is one, and behind it may be anything.
            self.plain("[");
            held[1..].chars().for_each(|held| self.next(held));
            self.next(c);
        } else {
            held.push(c);
            self.at = At::Bracket(held);
        }
    }

    /// Behind the marks that open a block of code and behind `name`.
    fn in_fence_line(&mut self, mut name: String, c: char) {
        match c {
            '\n' => {
                self.block = Code::of(&name);
                self.end_line();
            }
            // Marks of code in a line, three at once: no block after all.
            '`' if self.fence.is_some_and(|fence| fence.mark == '`') => {
                self.code = self.fence.take().map_or(0, |fence| fence.n);
                self.at = At::Text("`".to_owned());
            }
            _ => {
                self.put(c.encode_utf8(&mut [0; 4]), MARK);
                if name.len() < LONGEST_LANGUAGE {
                    name.push(c);
                }
                self.at = At::FenceLine(name);
            }
        }
    }

    fn at_code_start(&mut self, mut held: String, c: char) {
        let Some(Fence { mark, n, quoted }) = self.fence else { return self.in_code(c) };
        if held.is_empty() && matches!(c, ' ' | '\t') {
            self.in_code(c);
            self.at = At::CodeStart(held);
        } else if quoted && held.is_empty() && c == '>' {
            self.show_code(Code::rest);
            self.put(">", MARK);
            self.quote = true;
            self.at = At::CodeStart(held);
        } else if quoted && !self.quote {
            // The quote has ended, and the block with it.
            self.show_code(Code::rest);
            (self.fence, self.block) = (None, None);
            self.at = At::LineStart(String::new());
            self.next(c);
        } else if c == mark {
            held.push(c);
            self.at = At::CodeStart(held);
        } else if held.len() >= n && c.is_whitespace() {
            self.show_code(Code::rest);
            self.put(&held, MARK);
            (self.fence, self.block) = (None, None);
            self.at = At::FenceEnd;
            self.next(c);
        } else {
            held.chars().for_each(|held| self.in_code(held));
            self.in_code(c);
        }
    }

    fn in_code(&mut self, c: char) {
        if c == '\n' {
            self.show_code(Code::rest);
            if let Some(block) = &mut self.block {
                block.end_line();
            }
            return self.end_line();
        }
        match &mut self.block {
            Some(block) => block.push(c),
            None => self.put(c.encode_utf8(&mut [0; 4]), CODE),
        }
        self.at = At::Code;
    }

    /// Puts what the open block gives, if it has a language.
    fn show_code(&mut self, given: impl Fn(&mut Code) -> Vec<(&str, Style)>) {
        let Some(mut block) = self.block.take() else { return };
        given(&mut block).into_iter().for_each(|(text, style)| self.put(text, style));
        self.block = Some(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;
    use proptest::prelude::*;

    /// The text in angle quotes with the style of each part: b bold, i italic, u underlined, d dim, c code, m item.
    fn shown(text: &str) -> String {
        let mut markdown = Markdown::new();
        let all = markdown.push(text) + &markdown.finish();
        let mut named = all.replace("\u{1b}[0m", "›");
        for (style, name) in [(MARK, "d"), (CODE, "c"), (ITEM, "m")] {
            named = named.replace(&style.to_string(), &format!("‹{name} "));
        }
        for (style, name) in [
            (Style::new().bold(), "b"),
            (Style::new().italic(), "i"),
            (Style::new().bold().italic(), "bi"),
            (Style::new().underline(), "u"),
        ] {
            named = named.replace(&style.to_string(), &format!("‹{name} "));
        }
        named.replace("‹b ‹i ", "‹bi ")
    }

    #[test]
    fn marks_stand_back_and_what_they_mark_is_styled() {
        assert_eq!(shown("a **b c** d"), "a ‹d **›‹b b c›‹d **› d");
        assert_eq!(shown("*a* _b_"), "‹d *›‹i a›‹d *› ‹d _›‹i b›‹d _›");
        assert_eq!(shown("***a***"), "‹d ***›‹bi a›‹d ***›");
        assert_eq!(shown("run `a *b*` now"), "run ‹d `›‹c a *b*›‹d `› now");
        assert_eq!(shown("``a`b``"), "‹d ``›‹c a`b›‹d ``›");
        assert_eq!(shown("这是**重点**内容"), "这是‹d **›‹b 重点›‹d **›内容");
        assert_eq!(shown("see [here](http://x)."), "see ‹d [›‹u here›‹d ](http://x)›.");
    }

    #[test]
    fn beginnings_of_lines() {
        assert_eq!(shown("# A b\nc"), "‹d #›‹b  A b›\nc");
        assert_eq!(shown("- a\n  * b\n12. c"), "‹m - ›a\n  ‹m * ›b\n‹m 12. ›c");
        assert_eq!(shown("> a\nb"), "‹d >› ‹i a›\nb");
        assert_eq!(shown("**a** b"), "‹d **›‹b a›‹d **› b");
    }

    #[test]
    fn blocks_of_code_are_left_alone_but_for_their_colour() {
        assert_eq!(
            shown("```text\n*a* # b\n  `` c\n```\n*d*"),
            "‹d ```text›\n‹c *a* # b›\n‹c   `` c›\n‹d ```›\n‹d *›‹i d›‹d *›"
        );
        assert_eq!(shown("~~~~\n~~~\n~~~~ \na"), "‹d ~~~~›\n‹c ~~~›\n‹d ~~~~ ›\na");
        assert_eq!(shown("```a``` b\nc"), "‹d ```a```› b\nc", "code in a line");
    }

    #[test]
    fn code_in_a_known_language_has_its_colours() {
        assert_eq!(
            shown("```python\n# *a*\n  `` # b\n\n ```\n# c\n```python\n1"),
            "‹d ```python›\n‹d # *a*›\n  `` ‹d # b›\n\n ‹d ```›\n‹d #›‹b  c›\n‹d ```python›\n‹m 1›"
        );
        let mut markdown = Markdown::new();
        assert_eq!(strip_str(&markdown.push("```c\nint ma")).to_string(), "```c\nint ");
        assert_eq!(strip_str(&markdown.push("in()\n``")).to_string(), "main()\n");
        assert_eq!(strip_str(&markdown.finish()).to_string(), "``");
    }

    #[test]
    fn blocks_of_code_in_quotes_and_items_end_where_they_end() {
        assert_eq!(
            shown("> ```\n> *a*\n> ```\n*b*"),
            "‹d >› ‹d ```›\n‹d >›‹c  *a*›\n‹d >›‹c  ›‹d ```›\n‹d *›‹i b›‹d *›"
        );
        assert_eq!(
            shown("> > ```\n> > a\n> > ```\nb"),
            "‹d >› ‹d >› ‹d ```›\n‹d >›‹c  ›‹d >›‹c  a›\n‹d >›‹c  ›‹d >›‹c  ›‹d ```›\nb"
        );
        assert_eq!(
            shown("> ~~~\n> a\n*b*"),
            "‹d >› ‹d ~~~›\n‹d >›‹c  a›\n‹d *›‹i b›‹d *›",
            "the quote ends it"
        );
        assert_eq!(
            shown("- ```\n  *a*\n\t```\n- *b*"),
            "‹m - ›‹d ```›\n‹c   *a*›\n‹c \t›‹d ```›\n‹m - ›‹d *›‹i b›‹d *›"
        );
        assert_eq!(shown("1. - # a"), "‹m 1. - ›‹d #›‹b  a›");
    }

    #[test]
    fn what_is_no_mark_is_text() {
        for text in [
            "2 * 3 * 4",
            "snake_case_name",
            "2**3**4",
            "a[0] and [x]",
            "#include",
            "-1",
            "1.5",
            "****",
            "\\*a\\*",
            "a - b",
            "| a | b |\n|---|---|",
            "---",
            "[]",
            "[a\nb](c)",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("an *open mark\nends"), "an ‹d *›‹i open mark›\nends");
    }

    proptest! {
        /// However the text is cut, every character comes, in its order, and soon.
        #[test]
        fn nothing_is_lost(text in "(```c\n)?[ab*_`#>\\-\\[\\]()!\\\\\n1.~ é你]{0,200}", cuts in prop::collection::vec(1usize..9, 1..40)) {
            let chars: Vec<char> = text.chars().collect();
            let (mut markdown, mut given, mut shown) = (Markdown::new(), String::new(), String::new());
            let (mut rest, mut cuts) = (&chars[..], cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                let piece: String = piece.iter().collect();
                given += &piece;
                shown += &strip_str(&markdown.push(&piece)).to_string();
                prop_assert!(given.starts_with(&shown));
                let held = &given[shown.len()..];
                let is_run = held.chars().all(|c| held.starts_with(c));
                prop_assert!(is_run || held.len() <= LONGEST_LINK + 4, "{held:?} is held back");
                rest = behind;
            }
            shown += &strip_str(&markdown.finish()).to_string();
            prop_assert_eq!(shown, text);
        }
    }
}
