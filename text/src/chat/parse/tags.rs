//! The tags of tool calls, with and without their mark, complete or still arriving.
//!
//! What begins with the mark is a tag in any case: if it is none that is known, it is [`Kind::Foreign`]. Without the mark
//! only known tags are tags. Whatever is found stays found when more text comes, so that pieces do not matter.

use crate::chat::markers::DSML;

/// Names of the block of calls: V3.2's, and its successor's.
const BLOCKS: [&str; 2] = ["function_calls", "tool_calls"];
/// Letters that may be wrong in the name of a closing tag.
const MISSPELT: usize = 2;
/// A tag is not longer: names of tools and parameters have some tens of letters. What a longer one costs would grow with the
/// square of its length, for it is looked at anew with every piece of text.
const LONGEST: usize = 4 << 10;

/// Whether something stands at the beginning of a text that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<T = usize> {
    /// It does.
    Yes(T),
    /// More text is needed.
    Maybe,
    /// It does not.
    No,
}

/// A complete tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub kind: Kind,
    /// Whether it has the mark.
    pub marked: bool,
    pub length: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Calls,
    EndCalls,
    Invoke {
        name: String,
    },
    EndInvoke,
    Parameter {
        key: String,
        is_string: Option<bool>,
    },
    EndParameter,
    /// Marked, and nothing that the format has.
    Foreign,
}

/// A constant; `Yes` holds its length.
pub(super) fn literal(text: &str, wanted: &str) -> Found {
    if text.starts_with(wanted) {
        Found::Yes(wanted.len())
    } else if wanted.starts_with(text) {
        Found::Maybe
    } else {
        Found::No
    }
}

/// Opens a block of calls; `Yes` holds what is to be dropped: all of `<｜DSML｜function_calls>`, nothing of a call
/// without a block around it. Without the mark a block is a block only if a call follows.
pub(super) fn opens_calls(text: &str, unmarked: bool) -> Found {
    let (text, incomplete) = bounded(text);
    let marked = Matcher::new(text).constant("<").constant(DSML);
    let block = either(BLOCKS.map(|name| marked.constant(name).close().found()));
    let call = marked.constant("invoke").space().found();
    let plain = Matcher::new(text).constant("<function_calls").close();
    let then = plain.white();
    let then_call = [then.constant("<invoke"), then.constant("<").constant(DSML).constant("invoke")];
    let found = match (block, call) {
        (Found::No, Found::No) if unmarked => match either(then_call.map(|matcher| matcher.found())) {
            Found::Yes(_) => plain.found(),
            other => other,
        },
        (Found::Yes(length), _) => Found::Yes(length),
        (_, Found::Yes(_)) => Found::Yes(0),
        (Found::No, Found::No) => Found::No,
        _ => Found::Maybe,
    };
    if found == Found::Maybe { incomplete } else { found }
}

fn either<const N: usize>(all: [Found; N]) -> Found {
    let yes = all.iter().find(|found| matches!(found, Found::Yes(_)));
    let best = yes.or_else(|| all.iter().find(|found| **found == Found::Maybe));
    best.cloned().unwrap_or(Found::No)
}

/// The beginning of a text, as much as a tag may take of it; and what it is that is not complete there: no tag where the
/// text goes on.
fn bounded<T>(text: &str) -> (&str, Found<T>) {
    let start = &text[..text.floor_char_boundary(LONGEST)];
    (start, if start.len() < text.len() { Found::No } else { Found::Maybe })
}

/// Any tag, at the beginning of a text without white space before it.
pub(super) fn tag(text: &str) -> Found<Tag> {
    match marked_tag(text) {
        Found::No => {}
        found => return found,
    }
    let (text, incomplete) = bounded(text);
    let is_end = literal(text, "</");
    let found = match Matcher::new(text).constant(if is_end == Found::No { "<" } else { "</" }).found() {
        Found::Yes(at) => known(text, at, is_end != Found::No, false),
        Found::Maybe => Found::Maybe,
        Found::No => Found::No,
    };
    if found == Found::Maybe { incomplete } else { found }
}

/// Any tag with the mark.
pub(super) fn marked_tag(text: &str) -> Found<Tag> {
    let (text, incomplete) = bounded(text);
    let [open, end] = ["<", "</"].map(|begin| Matcher::new(text).constant(begin).constant(DSML).found());
    let (at, is_end) = match (open, end) {
        (Found::Yes(at), _) => (at, false),
        (_, Found::Yes(at)) => (at, true),
        (Found::No, Found::No) => return Found::No,
        _ => return Found::Maybe,
    };
    match known(text, at, is_end, true) {
        Found::Maybe if incomplete == Found::Maybe => Found::Maybe,
        Found::Maybe | Found::No => foreign(text, at, is_end).unwrap_or(match incomplete {
            Found::No => Found::Yes(Tag { kind: Kind::Foreign, marked: true, length: at }),
            incomplete => incomplete,
        }),
        found => found,
    }
}

/// A tag of the format, whose name begins at byte `at`.
fn known(text: &str, at: usize, is_end: bool, marked: bool) -> Found<Tag> {
    let name = Matcher { text, state: Found::Yes(at) };
    let done = |kind: Kind| move |length: usize| Tag { kind, marked, length };
    if is_end {
        let ends = [
            (Kind::EndCalls, BLOCKS[0]),
            (Kind::EndCalls, BLOCKS[1]),
            (Kind::EndInvoke, "invoke"),
            (Kind::EndParameter, "parameter"),
        ];
        return first(ends.map(|(kind, wanted)| name.constant(wanted).close().found().map(done(kind))));
    }
    let blocks = BLOCKS.map(|wanted| name.constant(wanted).close().found().map(done(Kind::Calls)));
    let [invoke, parameter] = ["invoke", "parameter"].map(|wanted| attributes(name.constant(wanted)));
    let [block, other_block] = blocks;
    let invoke = invoke.map(|(name, _, length)| Tag { kind: Kind::Invoke { name }, marked, length });
    let parameter = parameter.map(|(key, is_string, length)| Tag {
        kind: Kind::Parameter { key, is_string },
        marked,
        length,
    });
    first([block, other_block, invoke, parameter])
}

fn first<const N: usize>(all: [Found<Tag>; N]) -> Found<Tag> {
    let mut best = Found::No;
    for found in all {
        match found {
            Found::Yes(_) => return found,
            Found::Maybe => best = Found::Maybe,
            Found::No => {}
        }
    }
    best
}

/// What has the mark and is no tag of the format: up to `>`, the end of the line or the next tag. A closing tag that is
/// misspelt by a letter or two is the one that it was to be. `None`: its end is not there.
fn foreign(text: &str, at: usize, is_end: bool) -> Option<Found<Tag>> {
    let place = at + text[at..].find(['>', '\n', '<'])?;
    let is_closed = text[place..].starts_with('>');
    let length = if is_closed { place + 1 } else { place };
    let word = text[at..place].split_whitespace().next().unwrap_or_default();
    let ends = [
        (Kind::EndParameter, "parameter"),
        (Kind::EndInvoke, "invoke"),
        (Kind::EndCalls, BLOCKS[0]),
        (Kind::EndCalls, BLOCKS[1]),
    ];
    let near = |wanted: &str| is_end && is_closed && strsim::osa_distance(word, wanted) <= MISSPELT;
    let meant = ends.into_iter().find(|(_, wanted)| near(wanted));
    Some(Found::Yes(Tag { kind: meant.map_or(Kind::Foreign, |(kind, _)| kind), marked: true, length }))
}

/// Whether a text is or begins a tag that was to open a call or a parameter, with or without the mark.
pub(super) fn was_to_open(text: &str) -> bool {
    let plain = ["<invoke", "<parameter"].iter().any(|begin| text.starts_with(begin));
    plain || text.strip_prefix('<').is_some_and(|rest| rest.starts_with(DSML))
}

/// What is wrong with such a tag, and the tag.
pub(super) fn complaint(text: &str) -> String {
    let end =
        text.find(['>', '\n']).map_or(text.len(), |end| end + usize::from(text[end..].starts_with('>')));
    let tag = &text[..end];
    // Attributes may have white space around their sign.
    let words: Vec<&str> = tag.split('=').map(str::trim).collect();
    let given = |key: &str| {
        let ends = |word: &&&str| {
            let before = word.strip_suffix(key).and_then(|rest| rest.chars().next_back());
            before.is_some_and(|c| c.is_whitespace() || matches!(c, '"' | '\''))
        };
        words[..words.len() - 1].iter().filter(ends).count()
    };
    let is_empty = |pair: &[&str]| {
        pair[0].ends_with("name") && ["\"\"", "''"].iter().any(|none| pair[1].starts_with(none))
    };
    let word = tag.trim_start_matches('<').trim_start_matches(DSML);
    let has_name = ["invoke", "parameter"].iter().any(|kind| word.starts_with(kind));
    let wrong = match () {
        () if tag.ends_with("/>") => "closes itself",
        () if given("name") > 1 => "gives `name` twice",
        () if given("string") > 1 => "gives `string` twice",
        () if words.windows(2).any(is_empty) => "has an empty name",
        () if has_name && given("name") == 0 => "has no name in quotation marks",
        () => "is not part of the format",
    };
    let shown: String = tag.chars().take(80).collect();
    let rest = if shown.len() < tag.len() { "..." } else { "" };
    format!("the tag {shown}{rest} {wrong}")
}

/// What is wrong with a call in which the answer ended: with the tag there, if it could be none at all.
pub(super) fn unended(rest: &str, otherwise: &str) -> String {
    let rest = rest.trim_start();
    if was_to_open(rest) && rest.contains('>') { complaint(rest) } else { otherwise.to_owned() }
}

/// Whether a text begins with a tag that has the mark of calls.
pub(super) fn is_marked(text: &str) -> bool {
    ["<", "</"].iter().any(|begin| text.strip_prefix(begin).is_some_and(|rest| rest.starts_with(DSML)))
}

/// Whether such a tag begins anywhere in a text.
pub(super) fn holds_marked(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| is_marked(&text[at..]))
}

const INVOKE: &str = "invoke name=\"";
/// What may follow the mark of calls where no call has begun.
pub(super) static OPENINGS: [&str; 3] = ["function_calls>", "tool_calls>", INVOKE];
/// What may follow it between the calls of a block.
pub(super) static CALLS: [&str; 1] = [INVOKE];

/// What is there of one of the openings, behind the mark; `None`: no mark, or something else behind it.
pub(super) fn opening_begun<'t>(openings: &[&str], text: &'t str) -> Option<&'t str> {
    let begun = text.strip_prefix('<')?.strip_prefix(DSML)?;
    openings.iter().any(|opening| opening.starts_with(begun)).then_some(begun)
}

/// The name in a tag that calls a tool, as far as it is there; `None`: no such tag, or its name is complete.
pub(super) fn name_begun(text: &str) -> Option<&str> {
    let open = Matcher::new(text).constant("<");
    let tags = [open.constant(DSML), open].map(|tag| tag.constant("invoke").white().constant("name=\""));
    let at =
        tags.into_iter().find_map(|tag| if let Found::Yes(at) = tag.found() { Some(at) } else { None })?;
    Some(&text[at..]).filter(|name| !name.contains('"'))
}

/// ` name="NAME" string="true">`, in any order: the name, what `string` says, and where the tag ends. Values are not
/// escaped, so they end where the tag goes on as it must; the mark is in none.
fn attributes(tag: Matcher<'_>) -> Found<(String, Option<bool>, usize)> {
    let text = tag.text;
    let mut at = match tag.space().found() {
        Found::Yes(at) => at,
        Found::Maybe => return Found::Maybe,
        Found::No => return Found::No,
    };
    let (mut name, mut is_string) = (None, None);
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        if rest.is_empty() {
            return Found::Maybe;
        }
        if rest.starts_with('>') {
            return name.map_or(Found::No, |name| Found::Yes((name, is_string, at + 1)));
        }
        let (key, from, quote) = match attribute(text, at) {
            Found::Yes(begun) => begun,
            Found::Maybe => return Found::Maybe,
            Found::No => return Found::No,
        };
        let end = match value_end(text, from, quote) {
            Found::Yes(end) => end,
            Found::Maybe => return Found::Maybe,
            Found::No => return Found::No,
        };
        let value = &text[from..end];
        match key {
            "name" if name.is_some() || value.is_empty() => return Found::No,
            "name" => name = Some(value.to_owned()),
            "string" => match (is_string, truth(value)) {
                // Of two that differ neither can be chosen.
                (Some(before), Some(now)) if before != now => return Found::No,
                (before, now) => is_string = now.or(before),
            },
            _ => {}
        }
        at = end + 1;
    }
}

fn truth(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// `key="`: the key, where its value begins, and the quote.
fn attribute(text: &str, at: usize) -> Found<(&str, usize, char)> {
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let rest = &text[at..];
    let key = &rest[..rest.find(|c| !is_key(c)).unwrap_or(rest.len())];
    let behind = Matcher { text, state: Found::Yes(at + key.len()) }.white().constant("=").white();
    match behind.found() {
        _ if key.is_empty() => Found::No,
        Found::Yes(quote) => match text[quote..].chars().next() {
            Some(c @ ('"' | '\'')) => Found::Yes((key, quote + 1, c)),
            Some(_) => Found::No,
            None => Found::Maybe,
        },
        Found::Maybe => Found::Maybe,
        Found::No => Found::No,
    }
}

/// Where the value of an attribute ends.
fn value_end(text: &str, from: usize, quote: char) -> Found {
    let mut at = from;
    loop {
        let next = text[at..].find(quote).map(|place| at + place);
        // The mark has no quote in it.
        if text[at..next.unwrap_or(text.len())].contains(DSML) {
            return Found::No;
        }
        let Some(end) = next else { return Found::Maybe };
        let behind = text[end + 1..].trim_start();
        if behind.starts_with('>') {
            return Found::Yes(end);
        }
        match attribute(text, text.len() - behind.len()) {
            Found::Yes(_) => return Found::Yes(end),
            _ if behind.is_empty() => return Found::Maybe,
            Found::Maybe => return Found::Maybe,
            Found::No => at = end + 1,
        }
    }
}

/// The next tag from byte `from` on that may end a value, with or without the mark as the tag that opened it: its place; or
/// from where to search when there is more text.
pub(super) fn next_tag(text: &str, from: usize, marked: bool) -> Result<(usize, Tag), usize> {
    let mut from = from;
    while let Some(place) = text[from..].find('<').map(|place| from + place) {
        let rest = &text[place..];
        match if marked { marked_tag(rest) } else { tag(rest) } {
            Found::Yes(tag) => return Ok((place, tag)),
            Found::Maybe => return Err(place),
            Found::No => from = place + 1,
        }
    }
    Err(text.len())
}

/// The last closing tag of a parameter without the mark, behind which nothing but closing tags follows: its place and length.
pub(super) fn plain_end(text: &str) -> Option<(usize, usize)> {
    let place = text.rfind("</parameter")?;
    let Found::Yes(end) = tag(&text[place..]) else { return None };
    let mut rest = text[place + end.length..].trim_start();
    while !rest.is_empty() {
        match tag(rest) {
            Found::Yes(tag) if matches!(tag.kind, Kind::EndInvoke | Kind::EndCalls) => {
                rest = rest[tag.length..].trim_start();
            }
            _ => return None,
        }
    }
    (end.kind == Kind::EndParameter).then_some((place, end.length))
}

impl<T> Found<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Yes(value) => Found::Yes(change(value)),
            Found::Maybe => Found::Maybe,
            Found::No => Found::No,
        }
    }
}

/// Goes along a text piece by piece.
#[derive(Clone)]
struct Matcher<'t> {
    text: &'t str,
    state: Found,
}

impl<'t> Matcher<'t> {
    fn new(text: &'t str) -> Matcher<'t> {
        Matcher { text, state: Found::Yes(0) }
    }

    fn constant(&self, wanted: &str) -> Matcher<'t> {
        let state = match self.state {
            Found::Yes(at) => literal(&self.text[at..], wanted).map(|length| at + length),
            ref other => other.clone(),
        };
        Matcher { text: self.text, state }
    }

    /// Any white space.
    fn white(&self) -> Matcher<'t> {
        let state = self.state.clone().map(|at| self.text.len() - self.text[at..].trim_start().len());
        Matcher { text: self.text, state }
    }

    /// White space, at least one.
    fn space(&self) -> Matcher<'t> {
        let state = match self.state {
            Found::Yes(at) => match self.text[at..].chars().next() {
                Some(c) if c.is_whitespace() => Found::Yes(at + c.len_utf8()),
                Some(_) => Found::No,
                None => Found::Maybe,
            },
            ref other => other.clone(),
        };
        Matcher { text: self.text, state }
    }

    fn close(&self) -> Matcher<'t> {
        self.white().constant(">")
    }

    fn found(&self) -> Found {
        self.state.clone()
    }
}
