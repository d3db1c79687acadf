//! What there is of an answer while it comes, for whoever keeps it.

use super::answer::without_calls;
use super::saved::Saved;
use fathom_text::chat::{Assistant, Event as Part, Message};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No more of an answer than this is lost if the program is killed.
const EVERY: Duration = Duration::from_secs(2);

/// An answer that is coming.
pub(super) struct SoFar {
    /// The conversation before it.
    before: Arc<Saved>,
    answer: Assistant,
    handed_out: Instant,
    has_more: bool,
    /// A shorter one is worth less than what stands in its place: see [`Replaced::worth`].
    least: usize,
}

/// An answer that another one is to take the place of.
pub(super) struct Replaced {
    pub answer: Message,
    /// Why it is not whole.
    pub cut: Option<String>,
}

impl Replaced {
    /// So long an unfinished answer has to be, if it is to take its place: never so long, unless this one did not come to its
    /// end either.
    pub(super) fn worth(&self) -> usize {
        match (&self.answer, self.cut.as_deref()) {
            (Message::Assistant(answer), Some("unfinished" | "interrupted" | "error")) => length(answer),
            _ => usize::MAX,
        }
    }
}

/// Bytes of what was said.
pub(super) fn length(answer: &Assistant) -> usize {
    answer.reasoning.len() + answer.content.len()
}

/// What there is of it now.
pub(super) struct Unfinished {
    pub before: Arc<Saved>,
    pub answer: Assistant,
}

impl SoFar {
    /// An answer from which nothing is handed out until it has more than `least` bytes.
    pub(super) fn new(before: Saved, least: usize) -> SoFar {
        SoFar {
            before: Arc::new(before),
            answer: Assistant::default(),
            handed_out: Instant::now(),
            has_more: false,
            least,
        }
    }

    pub(super) fn take(&mut self, part: &Part) {
        match part {
            Part::Reasoning(text) => self.answer.reasoning += text,
            Part::Content(text) => self.answer.content += text,
            Part::Call(call) => self.answer.calls.push(call.clone()),
            Part::CallStart { .. } | Part::Arguments(_) | Part::Unfinished { .. } => return,
        }
        self.has_more = true;
    }

    /// What is to be kept, if it is time.
    pub(super) fn due(&mut self) -> Option<Unfinished> {
        if !self.has_more || self.handed_out.elapsed() < EVERY || length(&self.answer) < self.least {
            return None;
        }
        (self.handed_out, self.has_more) = (Instant::now(), false);
        Some(Unfinished { before: Arc::clone(&self.before), answer: without_calls(&self.answer) })
    }

    /// All of it, if there is anything.
    pub(super) fn into_answer(self) -> Option<Assistant> {
        let answer = without_calls(&self.answer);
        (answer != Assistant::default()).then_some(answer)
    }
}

impl Unfinished {
    /// What a file of the conversation holds if the program ends here.
    pub(super) fn text(&self) -> Result<String, String> {
        self.before.with_unfinished(&self.answer).text()
    }
}
