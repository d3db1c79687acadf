//! The tags of tool calls, with and without their mark, complete or still arriving.

use crate::chat::markers::DSML;

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
pub(super) enum Tag {
    Calls,
    EndCalls,
    Invoke { name: String },
    EndInvoke,
    Parameter { key: String, is_string: Option<bool>, marked: bool },
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
    let block = Matcher::new(text).constant("<").constant(DSML).constant("function_calls").close();
    let call = Matcher::new(text).constant("<").constant(DSML).constant("invoke").white().constant("name=\"");
    let plain = Matcher::new(text).constant("<function_calls").close();
    let then = plain.white();
    let then_call = [then.constant("<invoke"), then.constant("<").constant(DSML).constant("invoke")];
    match (block.found(), call.found()) {
        (Found::No, Found::No) if unmarked => match then_call.map(|matcher| matcher.found()) {
            [Found::No, Found::No] => Found::No,
            [Found::Yes(_), _] | [_, Found::Yes(_)] => plain.found(),
            _ => Found::Maybe,
        },
        (Found::Yes(length), _) => Found::Yes(length),
        (_, Found::Yes(_)) => Found::Yes(0),
        (Found::No, Found::No) => Found::No,
        _ => Found::Maybe,
    }
}

/// Any tag, at the beginning of a text without white space before it; `Yes` also holds the length.
pub(super) fn tag(text: &str) -> Found<(Tag, usize)> {
    let is_end = literal(text, "</");
    if is_end == Found::Maybe {
        return Found::Maybe;
    }
    let open = Matcher::new(text).constant(if is_end == Found::No { "<" } else { "</" });
    let marked = open.constant(DSML);
    match (marked.found(), open.found()) {
        (Found::Yes(_), _) => named(marked, is_end != Found::No, true),
        (Found::Maybe, _) => Found::Maybe,
        (Found::No, Found::Yes(_)) => named(open, is_end != Found::No, false),
        (Found::No, _) => Found::No,
    }
}

fn named(start: Matcher<'_>, is_end: bool, marked: bool) -> Found<(Tag, usize)> {
    let calls = start.constant("function_calls").close();
    let invoke = start.constant("invoke");
    let parameter = start.constant("parameter");
    let mut is_open = false;
    let mut check = |found: Found| match found {
        Found::Yes(length) => Some(length),
        Found::Maybe => {
            is_open = true;
            None
        }
        Found::No => None,
    };
    if let Some(length) = check(calls.found()) {
        return Found::Yes((if is_end { Tag::EndCalls } else { Tag::Calls }, length));
    }
    if is_end {
        if let Some(length) = check(invoke.close().found()) {
            return Found::Yes((Tag::EndInvoke, length));
        }
    } else if check(invoke.found()).is_some() {
        return attributes(invoke).map(|(name, _, length)| (Tag::Invoke { name }, length));
    } else if check(parameter.found()).is_some() {
        return attributes(parameter)
            .map(|(key, is_string, length)| (Tag::Parameter { key, is_string, marked }, length));
    }
    if is_open { Found::Maybe } else { Found::No }
}

/// Whether a text begins with a tag that has the mark of calls.
pub(super) fn is_marked(text: &str) -> bool {
    let open = Matcher::new(text).constant("<").constant(DSML);
    matches!(open.found(), Found::Yes(_))
}

/// The name in a tag that calls a tool, as far as it is there; `None`: no such tag, or its name is complete.
pub(super) fn name_begun(text: &str) -> Option<&str> {
    let open = Matcher::new(text).constant("<");
    let tags = [open.constant(DSML), open].map(|tag| tag.constant("invoke").white().constant("name=\""));
    let at =
        tags.into_iter().find_map(|tag| if let Found::Yes(at) = tag.found() { Some(at) } else { None })?;
    Some(&text[at..]).filter(|name| !name.contains('"'))
}

/// ` name="NAME" string="true">`: names are not escaped, so they end where the tag goes on as it must.
fn attributes(tag: Matcher<'_>) -> Found<(String, Option<bool>, usize)> {
    let start = tag.white().constant("name=\"");
    let at = match start.found() {
        Found::Yes(at) => at,
        Found::Maybe => return Found::Maybe,
        Found::No => return Found::No,
    };
    let mut from = at;
    while let Some(quote) = start.text[from..].find('"').map(|place| from + place) {
        let behind = Matcher { text: start.text, state: Found::Yes(quote + 1) }.white();
        let endings = [
            (None, behind.constant(">")),
            (Some(true), behind.constant("string=\"true\"").white().constant(">")),
            (Some(false), behind.constant("string=\"false\"").white().constant(">")),
        ];
        for (is_string, ending) in endings {
            match ending.found() {
                Found::Yes(end) => return Found::Yes((start.text[at..quote].to_owned(), is_string, end)),
                Found::Maybe => return Found::Maybe,
                Found::No => {}
            }
        }
        from = quote + 1;
    }
    Found::Maybe
}

/// Finds a closing tag from byte `from` on: its place and length, or from where to search when there is more text.
pub(super) fn find_end(text: &str, from: usize, name: &str, marked: bool) -> Result<(usize, usize), usize> {
    let mut from = from;
    while let Some(place) = text[from..].find("</").map(|place| from + place) {
        let open = Matcher::new(&text[place..]).constant("</");
        let with_mark = open.constant(DSML).constant(name).close().found();
        let without = if marked { Found::No } else { open.constant(name).close().found() };
        match (with_mark, without) {
            (Found::Yes(length), _) | (_, Found::Yes(length)) => return Ok((place, length)),
            (Found::No, Found::No) => from = place + 2,
            _ => return Err(place),
        }
    }
    Err(if text.ends_with('<') { text.len() - 1 } else { text.len() }.max(from))
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

    fn close(&self) -> Matcher<'t> {
        self.white().constant(">")
    }

    fn found(&self) -> Found {
        self.state.clone()
    }
}
