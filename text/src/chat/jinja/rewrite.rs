//! What transformers' templates may hold and the template engine does not know, put into words that it knows; and what no
//! template needs and would not end, refused.
//!
//! - `{% generation %}` marks what a model wrote, for training. It is a block with a scope of its own and nothing more.
//! - `%` formats a text. The engine knows it for numbers alone, so that it becomes a filter.
//! - A namespace may only be read and set by its members: one that holds itself would be written for ever.

use std::collections::BTreeSet;

/// Longer sources are no templates: published ones have up to some ten thousand bytes.
const LONGEST: usize = 256 << 10;
/// Tokens of one tag: a chain of operators takes stack for each.
const LONGEST_TAG: usize = 4096;
/// Brackets in brackets, in one tag.
const DEEPEST: usize = 64;
/// Branches of conditions: each is inside the one before.
const MOST_BRANCHES: usize = 2048;
/// The filter that stands for `%`.
pub(super) const MODULO: &str = "__modulo";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Word,
    Number,
    Sign,
}

#[derive(Clone, Copy, Debug)]
struct Token<'s> {
    kind: Kind,
    text: &'s str,
    at: usize,
}

impl Token<'_> {
    fn is(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    fn opens(&self) -> bool {
        self.is("(") || self.is("[") || self.is("{")
    }

    fn closes(&self) -> bool {
        self.is(")") || self.is("]") || self.is("}")
    }

    fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// The source as the engine takes it.
pub(super) fn rewrite(source: &str) -> Result<String, String> {
    if source.len() > LONGEST {
        return Err(format!("expected at most {LONGEST} bytes, found {}", source.len()));
    }
    let mut namespaces = BTreeSet::new();
    let (mut out, mut at, mut branches) = (String::with_capacity(source.len()), 0, 0);
    let mut tags = Vec::new();
    while let Some(begin) = next_tag(source, at) {
        out.push_str(&source[at..begin]);
        let (inner, end) = match &source[begin..begin + 2] {
            "{#" => {
                at = source[begin..].find("#}").map_or(source.len(), |place| begin + place + 2);
                out.push_str(&source[begin..at]);
                continue;
            }
            open => lex(source, begin + 2, if open == "{{" { "}}" } else { "%}" })?,
        };
        let is_block = source[begin..].starts_with("{%");
        let first = inner.first().map_or("", |token| token.text);
        if is_block && first == "raw" {
            at = raw_end(source, end);
            out.push_str(&source[begin..at]);
            continue;
        }
        branches += usize::from(is_block && first == "elif");
        if branches > MOST_BRANCHES {
            return Err(format!("expected at most {MOST_BRANCHES} branches, found more"));
        }
        collect_namespaces(&inner, is_block, &mut namespaces)?;
        tags.push(begin..end);
        out.push_str(&tag(&source[begin..end], is_block, &inner, begin)?);
        at = end;
    }
    for range in tags {
        let close = if source[range.start..].starts_with("{{") { "}}" } else { "%}" };
        check_namespaces(&lex(source, range.start + 2, close)?.0, &namespaces)?;
    }
    out.push_str(&source[at..]);
    Ok(out)
}

fn next_tag(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(place) = source[at..].find('{').map(|place| at + place) {
        if matches!(source.as_bytes().get(place + 1), Some(b'{' | b'%' | b'#')) {
            return Some(place);
        }
        at = place + 1;
    }
    None
}

/// Behind `{% endraw %}`.
fn raw_end(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(begin) = source[at..].find("{%").map(|place| at + place) {
        let rest = source[begin + 2..].trim_start_matches(['-', '+']).trim_start();
        if rest.starts_with("endraw") {
            return rest.find("%}").map_or(source.len(), |place| source.len() - rest.len() + place + 2);
        }
        at = begin + 2;
    }
    source.len()
}

/// The tokens of a tag whose inside begins at byte `from`, and where the tag ends. What is no token ends nothing: the
/// engine says what is wrong with it.
fn lex<'s>(source: &'s str, from: usize, close: &str) -> Result<(Vec<Token<'s>>, usize), String> {
    let (mut tokens, mut at, mut depth) = (Vec::new(), from, 0usize);
    let bytes = source.as_bytes();
    // Marks of white space control are no signs.
    at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
    while at < source.len() {
        let rest = &source[at..];
        if depth == 0
            && (rest.starts_with(close)
                || rest.get(1..).is_some_and(|next| next.starts_with(close) && rest.starts_with(['-', '+'])))
        {
            let end = at + usize::from(!rest.starts_with(close)) + close.len();
            return Ok((tokens, end));
        }
        let c = rest.chars().next().unwrap_or(' ');
        let (kind, length) = match c {
            _ if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '"' | '\'' => (Kind::Text, text_length(rest, c)),
            _ if c.is_alphabetic() || c == '_' => {
                (Kind::Word, rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()))
            }
            _ if c.is_ascii_digit() => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
                (Kind::Number, rest.find(|c: char| !is_part(c)).unwrap_or(rest.len()))
            }
            _ => {
                let two = ["**", "//", "==", "!=", "<=", ">="].iter().any(|sign| rest.starts_with(sign));
                (Kind::Sign, if two { 2 } else { c.len_utf8() })
            }
        };
        let token = Token { kind, text: &rest[..length], at };
        depth = match (token.opens(), token.closes()) {
            (true, _) => depth + 1,
            (_, true) => depth.saturating_sub(1),
            _ => depth,
        };
        tokens.push(token);
        if depth > DEEPEST {
            return Err(format!("expected brackets at most {DEEPEST} deep, found more"));
        }
        if tokens.len() > LONGEST_TAG {
            return Err(format!("expected at most {LONGEST_TAG} words and signs in one tag, found more"));
        }
        at += length;
    }
    Ok((tokens, source.len()))
}

/// A quoted text with its quotes.
fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (place, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

/// One tag, rewritten.
fn tag(text: &str, is_block: bool, tokens: &[Token<'_>], begin: usize) -> Result<String, String> {
    if is_block && let [Token { text: word @ ("generation" | "endgeneration"), at, .. }] = tokens {
        let at = at - begin;
        let by = if *word == "generation" { "with" } else { "endwith" };
        return Ok([&text[..at], by, &text[at + word.len()..]].concat());
    }
    let close = if is_block { "%}" } else { "}}" };
    let mut text = text.to_owned();
    // Each turn takes one sign away. What stands before its operands was looked at.
    let mut from = 0;
    for _ in 0..tokens.len() {
        let (tokens, _) = lex(&text, 2, close)?;
        let formats = |place: &usize| tokens[*place].is("%") && is_text_format(&tokens, *place);
        let Some(place) = (from..tokens.len()).find(formats) else { break };
        let (first, last) = operands(&tokens, place);
        if first == place || last == place {
            break;
        }
        let left = &text[tokens[first].at..tokens[place - 1].end()];
        let right = &text[tokens[place + 1].at..tokens[last].end()];
        let new = format!("(({left})|{MODULO}({right}))");
        text = [&text[..tokens[first].at], &new, &text[tokens[last].end()..]].concat();
        from = first;
    }
    Ok(text)
}

/// Whether `%` may format a text: where a number stands on one side and no text on the other it does not.
fn is_text_format(tokens: &[Token<'_>], place: usize) -> bool {
    let (first, last) = operands(tokens, place);
    let has_text = tokens[first..place].iter().any(|token| token.kind == Kind::Text);
    let is_number = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Number);
    has_text || !(is_number(first) || (last == place + 1 && is_number(last)))
}

/// The first token of what stands left of a `%`, and the last of what stands right of it; the sign itself where there is
/// nothing.
fn operands(tokens: &[Token<'_>], place: usize) -> (usize, usize) {
    const WORDS: [&str; 17] = [
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "else",
        "elif",
        "for",
        "set",
        "do",
        "with",
        "filter",
        "call",
        "macro",
        "print",
        "recursive",
    ];
    let is_word = |at: usize| {
        let token = &tokens[at];
        token.kind == Kind::Word && WORDS.contains(&token.text) && !(at > 0 && tokens[at - 1].is("."))
    };
    let is_operand_end = |at: usize| {
        let token = &tokens[at];
        token.closes() || (token.kind != Kind::Sign && !is_word(at))
    };
    let mut first = place;
    while first > 0 {
        let at = first - 1;
        let token = &tokens[at];
        if token.closes() {
            first = opening(tokens, at);
            continue;
        }
        let is_sign = |signs: &[&str]| signs.iter().any(|sign| token.is(sign));
        let goes_on = match token.kind {
            Kind::Sign if is_sign(&["-", "+"]) => at == 0 || !is_operand_end(at - 1),
            Kind::Sign => is_sign(&["*", "/", "//", "**", "%", ".", "|"]),
            Kind::Word => !is_word(at),
            Kind::Text | Kind::Number => true,
        };
        if !goes_on {
            break;
        }
        first = at;
    }
    (first, right_end(tokens, place))
}

/// The bracket that opens what this one closes; itself if there is none.
fn opening(tokens: &[Token<'_>], close: usize) -> usize {
    let mut depth = 0usize;
    for at in (0..=close).rev() {
        depth = if tokens[at].closes() { depth + 1 } else { depth - usize::from(tokens[at].opens()) };
        if depth == 0 {
            return at;
        }
    }
    close
}

fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    (open..tokens.len()).find(|&at| {
        depth = if tokens[at].opens() {
            depth + 1
        } else {
            depth.saturating_sub(usize::from(tokens[at].closes()))
        };
        depth == 0
    })
}

/// The last token of the operand behind a `%`: signs, a value, and what belongs to it.
fn right_end(tokens: &[Token<'_>], place: usize) -> usize {
    let mut at = place + 1;
    loop {
        while tokens.get(at).is_some_and(|token| token.is("-") || token.is("+")) {
            at += 1;
        }
        let Some(value) = tokens.get(at) else { return place };
        let Some(mut last) = (if value.opens() { closing(tokens, at) } else { Some(at) }) else {
            return place;
        };
        while let Some(next) = tokens.get(last + 1) {
            let further = match next.text {
                "." | "|" if next.kind == Kind::Sign => Some(last + 2).filter(|at| *at < tokens.len()),
                "(" | "[" if next.kind == Kind::Sign => closing(tokens, last + 1),
                _ if next.kind == Kind::Text && tokens[last].kind == Kind::Text => Some(last + 1),
                _ => break,
            };
            let Some(further) = further else { return place };
            last = further;
        }
        if !tokens.get(last + 1).is_some_and(|token| token.is("**")) {
            return last;
        }
        at = last + 2;
    }
}

/// `{% set NAME = namespace(...) %}`: the name. Elsewhere no namespace is made.
fn collect_namespaces(
    tokens: &[Token<'_>],
    is_block: bool,
    names: &mut BTreeSet<String>,
) -> Result<(), String> {
    for (at, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Word || token.text != "namespace" || (at > 0 && tokens[at - 1].is(".")) {
            continue;
        }
        let is_set = is_block && matches!(tokens[0].text, "set" | "with");
        let is_called = tokens.get(at + 1).is_some_and(|next| next.is("("));
        match tokens[..at] {
            [.., name, equals] if is_set && is_called && equals.is("=") && name.kind == Kind::Word => {
                names.insert(name.text.to_owned());
            }
            _ => {
                return Err("namespace() is only supported as {% set name = namespace() %}".to_owned());
            }
        }
    }
    Ok(())
}

/// Namespaces are used by their members only.
fn check_namespaces(tokens: &[Token<'_>], names: &BTreeSet<String>) -> Result<(), String> {
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let is_name = token.kind == Kind::Word && names.contains(token.text);
        if !is_name || before.is_some_and(|before| before.is(".")) {
            continue;
        }
        let is_used_well = match tokens.get(at + 1) {
            Some(next) => ["=", ".", "["].iter().any(|sign| next.is(sign)) || next.text == "is",
            None => false,
        };
        if !is_used_well {
            return Err(format!(
                "the namespace {:?} is used as a value; only its attributes ({}.x) may be used",
                token.text, token.text
            ));
        }
    }
    Ok(())
}
