//! Answers in the ids that the model gave them in.
//!
//! Text has more than one list of ids, and the model's calls more than one way of writing them. A session holds the ids
//! as they came, so that only these let it go on without reading the answer anew.

use super::markers::{DSML, END_THINK, EOS, THINK};
use super::message::{Assistant, Message};
use super::parse::{Start, parse};
use super::render::{Segment, answer};
use super::tools::Tool;
use crate::tokenizer::{TokenKind, Tokenizer};
use std::collections::HashMap;

/// Answers, each by what the format writes for it between the opening tag and EOS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken(HashMap<Vec<Segment>, Vec<u32>>);

impl Spoken {
    /// Takes the ids of an answer if they say what the answer says and nothing more: normal tokens, and where they belong
    /// the end of the reasoning and the marks of calls. They may come from a file, and a file may hold anything.
    ///
    /// `tools` are those that the answer was read with. False: there is nothing to keep.
    pub fn insert(
        &mut self,
        tokenizer: &Tokenizer,
        tools: &[Tool],
        said: &Assistant,
        (start, ids): (Start, &[u32]),
    ) -> bool {
        let end_think = tokenizer.special(END_THINK);
        let end = ids.iter().position(|id| Some(*id) == end_think).filter(|_| start != Start::Content);
        let without = Assistant { reasoning: String::new(), ..said.clone() };
        let reader = Reader { tokenizer, tools };
        let mut kept = false;
        // The next message of a person takes the reasoning away.
        let behind = end.map(|end| &ids[end + 1..]).or((start == Start::Content).then_some(ids));
        if let Some(behind) = behind.filter(|behind| reader.reads(&without, Start::Content, behind)) {
            self.0.insert(answer(&without, false), behind.to_vec());
            kept = true;
        }
        // A call ends the reasoning too.
        let is_whole = end.is_some() || !said.calls.is_empty();
        if start == Start::Reasoning && is_whole && reader.reads(said, start, ids) {
            self.0.insert(answer(said, true), ids.to_vec());
            kept = true;
        }
        kept
    }

    /// The ids of an answer as [`Spoken::insert`] took them: with its reasoning if that was kept.
    pub fn ids_of(&self, said: &Assistant) -> Option<&[u32]> {
        let without = Assistant { reasoning: String::new(), ..said.clone() };
        let ids = self.0.get(&answer(said, true)).or_else(|| self.0.get(&answer(&without, false)))?;
        Some(ids)
    }

    /// Takes all of another's.
    pub fn extend(&mut self, other: Spoken) {
        self.0.extend(other.0);
    }

    /// The answer that begins at segment `at` of a prompt: its ids and how many segments it has.
    pub(super) fn at(&self, segments: &[Segment], at: usize) -> Option<(&[u32], usize)> {
        let is = |segment: &Segment, token: &str| matches!(segment, Segment::Control(text) if text == token);
        let opening = &segments[at.checked_sub(1)?];
        if self.0.is_empty() || !(is(opening, THINK) || is(opening, END_THINK)) {
            return None;
        }
        let length = segments[at..].iter().position(|segment| is(segment, EOS))?;
        let ids = self.0.get(&segments[at..at + length])?;
        (length > 0).then_some((ids, length))
    }
}

/// Reads answers as they were read when they came.
struct Reader<'r> {
    tokenizer: &'r Tokenizer,
    tools: &'r [Tool],
}

impl Reader<'_> {
    /// Whether ids are this answer.
    fn reads(&self, said: &Assistant, start: Start, ids: &[u32]) -> bool {
        let special = |text: &str, allowed: bool| self.tokenizer.special(text).filter(|_| allowed);
        let dsml = special(DSML, !said.calls.is_empty());
        let end_think = special(END_THINK, start == Start::Reasoning);
        let is_normal = |id: u32| self.tokenizer.kind(id) == Some(TokenKind::Normal);
        let fits = |id: &u32| is_normal(*id) || Some(*id) == dsml || Some(*id) == end_think;
        if !ids.iter().all(fits) || ids.iter().filter(|id| Some(**id) == end_think).count() > 1 {
            return false;
        }
        let text = self.tokenizer.decode_bytes(ids).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let read = text.map(|text| parse(&text, start, self.tools.to_vec()));
        matches!(read, Some(Message::Assistant(read)) if read.reasoning == said.reasoning
            && read.content == said.content && same_calls(&read, said))
    }
}

/// Names of calls are given by programs, not by the model.
fn same_calls(read: &Assistant, said: &Assistant) -> bool {
    let calls = read.calls.iter().zip(&said.calls);
    read.calls.len() == said.calls.len()
        && calls.into_iter().all(|(a, b)| a.name == b.name && a.arguments == b.arguments)
}
