//! Code in the colours of its language while it arrives.
//!
//! Sublime Text's grammars, which syntect brings along, say what each part of a line is. A line that is not whole is read as
//! far as it is known, and what may still change with the next character is held back: the last word, or the last run of
//! signs. What has been shown keeps its colour, and every character is shown once, in its order.

use anstyle::{AnsiColor, Style};
use std::sync::LazyLock;
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxSet};

/// Bytes; words that are longer are shown before they end.
const LONGEST_WORD: usize = 40;
/// Bytes; the rest of a longer line is shown without colours: each new piece is a reason to read the line again.
const LONGEST_LINE: usize = 1000;

const COMMENT: Style = Style::new().dimmed();
const STRING: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Yellow.on_default();
const KEYWORD: Style = AnsiColor::Magenta.on_default();
const FUNCTION: Style = AnsiColor::Blue.on_default();
const TYPE: Style = AnsiColor::Cyan.on_default();
const INSERTED: Style = AnsiColor::Green.on_default();
const DELETED: Style = AnsiColor::Red.on_default();

/// Beginnings of scopes' names (Sublime Text's naming guidelines) and how such text looks; of two that fit the first counts.
const SCOPES: [(&str, Style); 24] = [
    ("comment", COMMENT),
    ("constant", NUMBER),
    ("string", STRING),
    // Code within a string.
    ("meta.interpolation", Style::new()),
    ("meta.template.expression", Style::new()),
    ("keyword.operator.logical.python", KEYWORD),
    ("keyword.operator", Style::new()),
    ("keyword", KEYWORD),
    ("storage.type.function.arrow", Style::new()),
    ("storage", KEYWORD),
    ("variable.language", KEYWORD),
    ("variable.function", FUNCTION),
    ("entity.name.function", FUNCTION),
    ("entity.name.macro", FUNCTION),
    ("entity.name.tag", KEYWORD),
    ("entity.name", TYPE),
    ("entity.other.inherited-class", TYPE),
    ("entity.other.attribute-name", FUNCTION),
    ("support.function", FUNCTION),
    ("support.macro", FUNCTION),
    ("support", TYPE),
    ("markup.inserted", INSERTED),
    ("markup.deleted", DELETED),
    ("meta.diff", TYPE),
];

/// Names that people and models give languages, where the grammar's file or name is another.
const NAMES: [(&str, &str); 14] = [
    ("c++", "cpp"),
    ("console", "sh"),
    ("cuda", "cpp"),
    ("golang", "go"),
    ("jsonc", "js"),
    ("json5", "js"),
    ("jsx", "js"),
    ("python3", "py"),
    ("shell", "sh"),
    ("shellscript", "sh"),
    ("ts", "js"),
    ("tsx", "js"),
    ("typescript", "js"),
    ("zsh", "sh"),
];

static GRAMMARS: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

static STYLES: LazyLock<Vec<(Scope, Style)>> = LazyLock::new(|| {
    let known = |(name, style): &(&str, Style)| (Scope::new(name).expect("a scope has few parts"), *style);
    SCOPES.iter().map(known).collect()
});

/// A block of code in a language with a grammar.
pub(super) struct Code {
    /// At the beginning of the line.
    start: (ParseState, ScopeStack),
    line: String,
    /// Bytes of the line that were given.
    shown: usize,
}

impl Code {
    /// `name`: what stands behind the marks that open a block, `rust,ignore` or `{.python}`.
    pub(super) fn of(name: &str) -> Option<Code> {
        let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | ':' | '=');
        let name = name.split(is_end).find(|word| !word.is_empty())?.trim_start_matches('.').to_lowercase();
        let name = NAMES.iter().find(|(other, _)| *other == name).map_or(&*name, |(_, name)| name);
        let grammar = GRAMMARS.find_syntax_by_token(name).filter(|grammar| grammar.name != "Plain Text")?;
        let start = (ParseState::new(grammar), ScopeStack::new());
        Some(Code { start, line: String::new(), shown: 0 })
    }

    /// Adds a character that ends no line.
    pub(super) fn push(&mut self, c: char) {
        self.line.push(c);
    }

    /// What can be shown now.
    pub(super) fn settled(&mut self) -> Vec<(&str, Style)> {
        let held = self.line.chars().rev();
        let Some(last) = held.clone().next() else { return Vec::new() };
        let kind = Kind::of(last);
        let held: usize = held.take_while(|&c| Kind::of(c) == kind).map(char::len_utf8).sum();
        let is_settled = kind == Kind::Space || held > LONGEST_WORD;
        let end = self.line.len() - if is_settled { 0 } else { held };
        self.parts(end)
    }

    /// The rest of the line, which ends here or where the text does.
    pub(super) fn rest(&mut self) -> Vec<(&str, Style)> {
        self.parts(self.line.len())
    }

    /// Goes on to the next line.
    pub(super) fn end_line(&mut self) {
        self.line.push('\n');
        if self.line.len() <= LONGEST_LINE {
            let (state, scopes) = &mut self.start;
            for (_, operation) in state.parse_line(&self.line, &GRAMMARS).unwrap_or_default() {
                // A grammar that takes away what it has not given: the colours are wrong, the text is not.
                let _ = scopes.apply(&operation);
            }
        }
        self.line.clear();
        self.shown = 0;
    }

    /// The line from what was shown last to `end`.
    fn parts(&mut self, end: usize) -> Vec<(&str, Style)> {
        let mut parts = Vec::new();
        if end <= self.shown {
            return parts;
        }
        let mut at = std::mem::replace(&mut self.shown, end);
        let line = &self.line;
        if line.len() > LONGEST_LINE {
            return vec![(&line[at..end], Style::new())];
        }
        let (mut state, mut scopes) = self.start.clone();
        for (offset, operation) in state.parse_line(line, &GRAMMARS).unwrap_or_default() {
            let upto = offset.min(end);
            if upto > at {
                parts.push((&line[at..upto], style(&scopes)));
                at = upto;
            }
            let _ = scopes.apply(&operation);
        }
        if end > at {
            parts.push((&line[at..end], style(&scopes)));
        }
        parts
    }
}

/// How text within these scopes looks; the innermost that has a look counts.
fn style(scopes: &ScopeStack) -> Style {
    let look = |scope: &Scope| STYLES.iter().find(|(beginning, _)| beginning.is_prefix_of(*scope));
    scopes.as_slice().iter().rev().find_map(look).map_or(Style::new(), |(_, style)| *style)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Space,
    Word,
    Signs,
}

impl Kind {
    fn of(c: char) -> Kind {
        match c {
            _ if c.is_whitespace() => Kind::Space,
            _ if c.is_alphanumeric() || c == '_' => Kind::Word,
            _ => Kind::Signs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is shown of each piece, in its order.
    fn given(code: &mut Code, pieces: &[&str]) -> Vec<Vec<(String, Style)>> {
        let owned = |parts: Vec<(&str, Style)>| {
            parts.into_iter().map(|(text, style)| (text.to_owned(), style)).collect()
        };
        let mut all: Vec<Vec<(String, Style)>> = Vec::new();
        for piece in pieces {
            let mut parts: Vec<(String, Style)> = Vec::new();
            for c in piece.chars() {
                if c == '\n' {
                    parts.extend::<Vec<_>>(owned(code.rest()));
                    code.end_line();
                    parts.push(("\n".to_owned(), Style::new()));
                } else {
                    code.push(c);
                }
            }
            parts.extend::<Vec<_>>(owned(code.settled()));
            all.push(parts);
        }
        all.push(owned(code.rest()));
        all
    }

    /// The text as it comes in pieces, with a letter of its colour before each part.
    fn shown(language: &str, pieces: &[&str]) -> String {
        let mut code = Code::of(language).unwrap_or_else(|| panic!("{language} has a grammar"));
        let (mut all, mut last) = (String::new(), Style::new());
        for (text, style) in given(&mut code, pieces).concat() {
            if style != last {
                all += if last == Style::new() { "" } else { "›" };
                all += match style {
                    COMMENT => "‹c ",
                    STRING => "‹s ",
                    NUMBER => "‹n ",
                    KEYWORD => "‹k ",
                    FUNCTION => "‹f ",
                    TYPE => "‹t ",
                    DELETED => "‹d ",
                    _ => "",
                };
                last = style;
            }
            all += &text;
        }
        all + if last == Style::new() { "" } else { "›" }
    }

    const RUST: &str = "// one\nlet x: u32 = f(1, \"a\\n\");\nstruct Ab;\n/* a\nfn */ x";
    const RUST_SHOWN: &str = "‹c // one›\n‹k let› x: ‹k u32› = ‹f f›(‹n 1›, ‹s \"a›‹n \\n›‹s \"›);\n\
                              ‹k struct› ‹t Ab›;\n‹c /* a›\n‹c fn */› x";

    #[test]
    fn parts_have_the_colour_of_what_they_are() {
        assert_eq!(shown("rust", &[RUST]), RUST_SHOWN);
        assert_eq!(
            shown("python", &["def f(x):\n    return not None  # no"]),
            "‹k def› ‹f f›(x):\n    ‹k return› ‹k not› ‹n None›  ‹c # no›"
        );
        assert_eq!(shown("sh", &["echo \"$A\" | wc -l"]), "‹f echo› ‹s \"$A\"› | ‹f wc› -l");
        assert_eq!(shown("json", &["{\"a\": [1, true]}"]), "{‹s \"a\"›: [‹n 1›, ‹n true›]}");
        assert_eq!(shown("diff", &["-a\n+b\n c"]), "‹d -a›\n‹s +b›\n c");
    }

    #[test]
    fn colours_are_the_same_however_the_text_comes() {
        let pieces: Vec<&str> = RUST.split_inclusive(|_| true).collect();
        assert_eq!(shown("rust", &pieces), RUST_SHOWN);
    }

    #[test]
    fn a_word_waits_for_its_end_and_no_longer() {
        let mut code = Code::of("c").unwrap();
        let texts = |parts: Vec<(&str, Style)>| parts.into_iter().map(|(text, _)| text).collect::<String>();
        let mut after = |piece: &str| {
            piece.chars().for_each(|c| code.push(c));
            texts(code.settled())
        };
        assert_eq!(after("int ma"), "int ");
        assert_eq!(after("in"), "");
        assert_eq!(after("("), "main");
        assert_eq!(after(") "), "() ");
        assert_eq!(after(&"x".repeat(LONGEST_WORD + 1)), "x".repeat(LONGEST_WORD + 1));
        assert_eq!(after(&" y".repeat(LONGEST_LINE)), " y".repeat(LONGEST_LINE - 1) + " ");
        assert_eq!(texts(code.rest()), "y");
    }

    #[test]
    fn languages_have_several_names() {
        for name in [
            "rs",
            "Rust",
            "rust,ignore",
            "{.python}",
            "c++",
            "ts",
            "console",
            "sh",
            "html",
            " js",
            "yaml",
            "sql",
            "go",
        ] {
            assert!(Code::of(name).is_some(), "{name}");
        }
        for name in ["", "text", "txt", "nothing", "   "] {
            assert!(Code::of(name).is_none(), "{name}");
        }
    }

    /// Grammars are compiled when they are first used; one that cannot be would end the program.
    #[test]
    fn every_grammar_reads_every_text() {
        let texts = [
            RUST,
            "<?php $a = <<<EOT\n x ${b} EOT; ?><a href='b'>c</a><style>a { b: #fff }</style><script>x => `${y}`</script>",
            "def f(a, *b): # no\n  @a = %w[a b] << ~'x' if /r.e(?=g)x/ =~ f\"{a!r:>10}\"\n\tall: $(b) ; @echo 'c' && exit 1",
            "\\begin{a} $x^2$ % c\n--- a\n+++ b\n@@ -1 +1 @@\nkey: [1, 2.5e3, &a *a]\nSELECT * FROM `t` WHERE x = 'y' -- c",
        ];
        for grammar in GRAMMARS.syntaxes() {
            let mut code =
                Code { start: (ParseState::new(grammar), ScopeStack::new()), line: String::new(), shown: 0 };
            for text in texts {
                let text: String =
                    given(&mut code, &[text]).concat().into_iter().map(|(text, _)| text).collect();
                code.end_line();
                assert!(texts.contains(&&*text), "{}: {text}", grammar.name);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_is_lost(pieces in prop::collection::vec("[a-c/*\"'#é你{}()<\\\\ \n-]{0,9}", 0..30), language in 0usize..5) {
            let mut code = Code::of(["rust", "python", "js", "cpp", "sh"][language]).unwrap();
            let pieces: Vec<&str> = pieces.iter().map(|piece| &**piece).collect();
            let mut whole = String::new();
            let mut all = String::new();
            for (piece, parts) in pieces.iter().chain([&""]).zip(given(&mut code, &pieces)) {
                whole += piece;
                parts.iter().for_each(|(text, _)| all += text);
                prop_assert!(whole.starts_with(&all) && whole.len() - all.len() <= LONGEST_WORD, "{all:?} of {whole:?}");
            }
            prop_assert_eq!(all, whole);
        }
    }
}
