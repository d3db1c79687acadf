//! What the built-in model is not to say in a chat.
//!
//! The one that is inside the program was trained before its dictionary was read line by line: asked for a joke it may
//! recite a gloss about a people and its religion. Until one is shipped that was taught better, its answers are held back
//! a sentence at a time, and a sentence with a word of `models/train/touchy.txt`, or with a tool call that nobody can
//! answer, is replaced by what the model can do. Answers of other models never come here, nor do raw prompts and structured
//! output. With the new model this file goes.

use crate::chat::parse::Event as Part;
use crate::generate::{self, Event, Outcome, Request, Stop};
use crate::session::{Session, SessionError};
use crate::tokenizer::Tokenizer;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

/// What is said instead.
pub const INSTEAD: &str = "I am too small for that. I can explain common words, add and subtract small numbers, call tools, \
                           and find a fact in a long text.";

/// [`generate`](generate::generate) for the built-in model.
///
/// # Errors
/// # Panics
/// As there.
pub fn generate(
    session: &mut Session<'_>,
    tokenizer: &Tokenizer,
    request: &Request<'_>,
    sink: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Outcome, SessionError> {
    if request.start.is_none() || request.constraint.is_some() {
        return generate::generate(session, tokenizer, request, sink);
    }
    let mut held = Held {
        sink,
        waiting: Waiting::default(),
        reasoning: String::new(),
        content: String::new(),
        refused: false,
        has_tools: !request.tools.is_empty(),
    };
    let mut outcome = generate::generate(session, tokenizer, request, &mut |event| held.event(event))?;
    if !held.refused && held.release().is_continue() {
        held.not_empty(&outcome);
    }
    if held.refused {
        outcome.stop = Stop::Eos;
        outcome.answer.calls.clear();
        outcome.answer.reasoning = held.reasoning;
        outcome.answer.content = held.content;
    }
    Ok(outcome)
}

/// Text whose sentence has not ended yet.
#[derive(Default)]
struct Waiting {
    text: String,
    is_reasoning: bool,
}

struct Held<'s> {
    sink: &'s mut dyn FnMut(&Event) -> ControlFlow<()>,
    waiting: Waiting,
    /// What was let through.
    reasoning: String,
    content: String,
    refused: bool,
    has_tools: bool,
}

impl Held<'_> {
    fn event(&mut self, event: &Event) -> ControlFlow<()> {
        match event {
            // What the end of the answer sets free.
            _ if self.refused => ControlFlow::Break(()),
            Event::Part(Part::Reasoning(text)) => self.more(text, true),
            Event::Part(Part::Content(text)) => self.more(text, false),
            // A call of what nobody announced.
            Event::Part(_) if !self.has_tools => {
                self.instead();
                ControlFlow::Break(())
            }
            Event::Part(_) => {
                self.release()?;
                (self.sink)(event)
            }
            _ => (self.sink)(event),
        }
    }

    fn more(&mut self, text: &str, is_reasoning: bool) -> ControlFlow<()> {
        if self.waiting.is_reasoning != is_reasoning {
            self.release()?;
            self.waiting.is_reasoning = is_reasoning;
        }
        self.waiting.text += text;
        while let Some(end) = self.waiting.text.find(['.', '!', '?', '\n']) {
            let rest = self.waiting.text.split_off(end + 1);
            let sentence = std::mem::replace(&mut self.waiting.text, rest);
            self.say(sentence)?;
        }
        ControlFlow::Continue(())
    }

    /// Gives out what waits.
    fn release(&mut self) -> ControlFlow<()> {
        let rest = std::mem::take(&mut self.waiting.text);
        if rest.is_empty() { ControlFlow::Continue(()) } else { self.say(rest) }
    }

    fn say(&mut self, sentence: String) -> ControlFlow<()> {
        if is_touchy(&sentence) {
            self.instead();
            return ControlFlow::Break(());
        }
        let part = if self.waiting.is_reasoning {
            self.reasoning += &sentence;
            Part::Reasoning(sentence)
        } else {
            self.content += &sentence;
            Part::Content(sentence)
        };
        (self.sink)(&Event::Part(part))
    }

    fn instead(&mut self) {
        self.refused = true;
        let between = if self.content.trim().is_empty() { "" } else { "\n" };
        let text = format!("{between}{INSTEAD}");
        self.content += &text;
        // Whoever reads no more misses nothing: the answer ends here.
        let _ = (self.sink)(&Event::Part(Part::Content(text)));
    }

    /// An answer that the model ended without a word is none.
    fn not_empty(&mut self, outcome: &Outcome) {
        if outcome.stop == Stop::Eos && outcome.answer.calls.is_empty() && self.content.trim().is_empty() {
            self.instead();
        }
    }
}

/// Whether a text has a word of the list, in any of its forms, or the markup of a call.
pub fn is_touchy(text: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let lines = include_str!("../../models/train/touchy.txt").lines();
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    });
    let is_listed = |word: &str| {
        let word = word.to_lowercase();
        let ends = ["", "s", "es", "d", "ed", "ing", "ly", "ness"];
        ends.iter().filter_map(|end| word.strip_suffix(end)).any(|stem| WORDS.contains(stem))
    };
    text.contains("DSML") || text.split(|c: char| !c.is_alphabetic()).any(is_listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_their_forms_and_not_in_others() {
        for text in [
            "about God",
            "the gods",
            "killed",
            "religious people",
            "An Abuser!",
            "\n\n<｜DSML｜function_calls>",
        ] {
            assert!(is_touchy(text), "{text}");
        }
        for text in ["a godwit", "skill", "toward", "a warm day", "2 + 2 = 4.", "", INSTEAD] {
            assert!(!is_touchy(text), "{text}");
        }
    }

    fn held(parts: &[Part]) -> (String, bool) {
        let mut shown = String::new();
        let mut sink = |event: &Event| {
            if let Event::Part(Part::Content(text) | Part::Reasoning(text)) = event {
                shown += text;
            }
            ControlFlow::Continue(())
        };
        let mut held = Held {
            sink: &mut sink,
            waiting: Waiting::default(),
            reasoning: String::new(),
            content: String::new(),
            refused: false,
            has_tools: false,
        };
        // All parts come, whatever the answer to one is.
        let flows: Vec<_> = parts.iter().map(|part| held.event(&Event::Part(part.clone()))).collect();
        let _ = flows.iter().all(ControlFlow::is_continue) && held.release().is_continue();
        let refused = held.refused;
        (shown, refused)
    }

    #[test]
    fn a_sentence_is_shown_whole_or_not_at_all() {
        let content = |text: &str| Part::Content(text.to_owned());
        let said = held(&[
            content("The noun ri"),
            content("ver means: a stream"),
            content(". And m"),
            content("ore"),
        ]);
        assert_eq!(said, ("The noun river means: a stream. And more".to_owned(), false));
        let said = held(&[content("One. The ki"), content("lling of a"), content(" thing. More.")]);
        assert_eq!(said, (format!("One.\n{INSTEAD}"), true));
        let said = held(&[Part::Reasoning("The word god is a noun.".to_owned()), content("It is.")]);
        assert_eq!(said, (INSTEAD.to_owned(), true));
        let said = held(&[content("Well. So"), Part::CallStart { name: "get_time".to_owned() }]);
        assert_eq!(said, (format!("Well.\n{INSTEAD}"), true));
        let said = held(&[Part::Reasoning("I think. So".to_owned()), content("Yes.")]);
        assert_eq!(said, ("I think. SoYes.".to_owned(), false));
    }
}
