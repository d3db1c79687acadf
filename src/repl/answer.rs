//! A message and its answer: kept when it is sent, while it comes, and however it ends.

use super::ahead::Watch;
use super::so_far::{Replaced, SoFar, length};
use super::{Flow, GO_ON, Repl, Trouble, complain, ended};
use crate::cli::progress::PromptProgress;
use crate::cli::show::{self, Show, Took, aside};
use crate::cli::signals::{self, terminal};
use crate::cli::{Failure, calls, keep, wrap};
use crate::generate::generate;
use fathom_engine::SessionError;
use fathom_text::answer::{Event, Outcome, Request, Stop, Usage};
use fathom_text::chat::{Assistant, Message, Prompt, ToolCall};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the computing of an answer ended.
struct Generated {
    outcome: Result<Outcome, SessionError>,
    /// Somebody asked it to stop: the person, or what ends the program.
    stopped: bool,
    /// The terminal is still set for keys; it is given back with this.
    watch: Option<Watch>,
}

impl Repl<'_> {
    pub(super) fn message(&mut self, text: String) -> Result<Flow, Trouble> {
        self.take_back_unanswered();
        self.kept.suggest(&text);
        let mut parts = std::mem::take(&mut self.files);
        self.words_at = parts.iter().map(|part| part.len() + BETWEEN.len()).sum();
        parts.push(text);
        self.turns.push(Message::User(parts.join(BETWEEN)));
        self.answer()
    }

    /// Makes room for a message where another one stands. The files of one that nobody answered stay for it.
    fn take_back_unanswered(&mut self) {
        match self.turns.last() {
            Some(Message::User(text)) => {
                let files = text.get(..self.words_at).and_then(|files| files.strip_suffix(BETWEEN));
                if let Some(files) = files {
                    self.files.insert(0, files.to_owned());
                    aside(
                        "the previous, unanswered message was withdrawn; its files go with this message instead (/undo \
                         removes both)",
                    );
                } else {
                    aside("the previous, unanswered message was withdrawn");
                }
                self.turns.pop();
                self.edited.retain(|edited| edited.at < self.turns.len());
            }
            // What tools did stays done; the model said nothing to it.
            Some(Message::Tool(_)) => self.turns.push(Message::assistant("")),
            _ => {}
        }
    }

    pub(super) fn regenerate(&mut self) -> Result<Flow, Trouble> {
        let before = match self.turns.last() {
            Some(Message::Assistant(_)) => self.turns.pop(),
            _ => None,
        };
        if !matches!(self.turns.last(), Some(Message::User(_) | Message::Tool(_))) {
            self.turns.extend(before);
            return Err(Trouble::Mistake("there is no message to answer".to_owned()));
        }
        let Some(answer) = before else { return self.answer() };
        let cut = self.cut.take().filter(|(n_turns, _)| *n_turns == self.turns.len() + 1);
        // It stays on the disk until another one has come to its end, or this person has stopped that.
        self.replaced = Some(Replaced { answer, cut: cut.map(|(_, why)| why) });
        let done = self.rounds();
        self.put_back(self.turns.len(), false);
        done
    }

    /// What an answer was to take the place of comes back, if none came behind `n_turns` messages, or a fragment that nobody
    /// wanted: `is_wanted` says that it is as long as it was to be, or that the person stopped it. True if it comes back.
    fn put_back(&mut self, n_turns: usize, is_wanted: bool) -> bool {
        let Some(replaced) = self.replaced.take() else { return false };
        let stays = match self.turns.get(n_turns) {
            None => true,
            Some(Message::Assistant(answer)) => !is_wanted && length(answer) < replaced.worth(),
            Some(_) => false,
        };
        if stays {
            self.turns.truncate(n_turns);
            self.turns.push(replaced.answer);
            self.cut = replaced.cut.map(|why| (self.turns.len(), why));
            // The session has what was to take its place.
            self.held = None;
        }
        stays
    }

    /// Answers the last message, which is kept before anything is computed.
    pub(super) fn answer(&mut self) -> Result<Flow, Trouble> {
        self.keep_conversation();
        self.rounds()
    }

    /// With as many calls of tools as it takes; breaks if nobody reads stdout any more.
    fn rounds(&mut self) -> Result<Flow, Trouble> {
        let mut round = 0;
        loop {
            let n_turns = self.turns.len();
            let done = self.speak()?;
            let calls = match self.turns.last() {
                Some(Message::Assistant(said)) if self.turns.len() > n_turns => said.calls.clone(),
                _ => Vec::new(),
            };
            if done.is_break() || calls.is_empty() || self.answer_calls(&calls, round)?.is_break() {
                return Ok(done);
            }
            round += 1;
        }
    }

    /// Breaks if the model is not to go on. Each result is kept when it is there: a person may have typed it.
    fn answer_calls(&mut self, calls: &[ToolCall], round: usize) -> Result<Flow, Trouble> {
        if round >= self.toolbox.rounds {
            self.turns.extend(calls::refuse(calls, "the limit of calls is reached"));
            aside(&format!(
                "the model called tools {round} times in a row (--tool-rounds); /regen continues"
            ));
            return Ok(ControlFlow::Break(()));
        }
        let free = self.session.n_ctx() - self.session.tokens().len();
        let mut room = calls::Room::new(&self.loaded.tokenizer, free, calls.len());
        for (index, call) in calls.iter().enumerate() {
            let mut ask = |question: &str| self.input.ask(question);
            let answered = calls::answer(from_ref(call), &mut self.toolbox, &mut room, &mut ask);
            let answered = answered.map_err(Trouble::Fatal)?;
            self.turns.extend(answered.results);
            if answered.stopped {
                self.turns.extend(calls::refuse(&calls[index + 1..], "stopped by the user"));
                aside("stopped; /regen continues from here");
                return Ok(ControlFlow::Break(()));
            }
            self.keep_conversation();
        }
        Ok(GO_ON)
    }

    /// One answer of the model.
    fn speak(&mut self) -> Result<Flow, Trouble> {
        let prompt = self
            .chat
            .prompt_keeping(&self.loaded.tokenizer, &self.conversation(), &self.spoken)
            .map_err(|error| Trouble::Mistake(error.to_string()))?;
        let seed = match self.talk.sampling.seed.0 {
            Some(first) => first.wrapping_add(self.n_seeds),
            None => self.talk.sampling.seed.or_random(),
        };
        let mut show =
            Show::new(&self.talk, !self.toolbox.tools.is_empty()).with_whole_lines(self.constraint.is_some());
        let n_turns = self.turns.len();
        let mut so_far = SoFar::new(self.saved(), self.replaced.as_ref().map_or(0, Replaced::worth));
        let Generated { outcome, stopped, watch } = self.generate(&prompt, seed, &mut show, &mut so_far);
        let shown = show.finish();
        let is_gone = shown.is_err() && terminal::is_gone();
        if is_gone {
            signals::hang_up();
        }
        self.held = Some(self.session.tokens().len());
        match &outcome {
            Ok(outcome) => self.take(outcome, &prompt),
            Err(_) => self.take_before_error(so_far.into_answer()),
        }
        let by_person = stopped && shown.is_ok() && signals::ended().is_none();
        let is_wanted = outcome.as_ref().is_ok_and(|outcome| outcome.stop != Stop::Interrupted || by_person);
        let is_back = self.put_back(n_turns, is_wanted);
        // Before anything else can go wrong. In the background, whoever sets the terminal's modes is stopped.
        self.keep_conversation();
        drop(watch);
        keep::tell_notices(&mut self.session);
        let what_stays = match (is_back, self.turns.len() > n_turns) {
            (true, _) => Some("the earlier answer stays"),
            (false, true) if self.kept.is_saved() => Some("the answer so far is saved"),
            (false, true) => Some("the answer so far is kept until you leave"),
            (false, false) => None,
        };
        let done = match outcome {
            Ok(outcome) => {
                self.tell_of(&outcome, seed, what_stays);
                Ok(GO_ON)
            }
            Err(error) => Err(Trouble::Mistake(self.explained(&error, what_stays))),
        };
        match shown {
            Ok(()) => done,
            Err(_) if is_gone => Err(Trouble::Fatal(ended(signals::ended().expect("it has just hung up")))),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Trouble::Fatal(Failure::runtime(format!("cannot write the answer: {error}")))),
        }
    }

    fn generate(&mut self, prompt: &Prompt, seed: u64, show: &mut Show, so_far: &mut SoFar) -> Generated {
        let signals = signals::listen();
        let never = AtomicBool::new(false);
        let mut watch = signals.as_ref().ok().and_then(|signals| self.input.watch(signals.flag()));
        let request = Request {
            prompt: &prompt.tokens,
            start: Some(prompt.start),
            tools: &self.toolbox.tools,
            sampling: self.talk.sampling.sampling(seed),
            n_predict: self.talk.n_predict.0,
            reasoning_budget: self.talk.reasoning_budget.0,
            stops: &self.talk.stops,
            constraint: self.constraint.as_ref(),
        };
        let interrupt = signals.as_ref().map_or(&never, |signals| signals.flag());
        let mut progress = Some(PromptProgress::new());
        let kept = &mut self.kept;
        let outcome = generate(
            &mut self.session,
            &self.loaded.tokenizer,
            &request,
            interrupt,
            &mut |event| match event {
                Event::Prompt { done, total } if done == total => {
                    progress = None;
                    GO_ON
                }
                Event::Prompt { done, total } => {
                    progress.iter().for_each(|progress| progress.at(*done, *total));
                    GO_ON
                }
                Event::Part(part) => {
                    so_far.take(part);
                    if let Some(unfinished) = so_far.due() {
                        kept.keep_beside(unfinished);
                    }
                    show.part(part)
                }
                Event::Malformed(one) => {
                    show.malformed(one);
                    GO_ON
                }
                Event::Repeats(cycle) => {
                    show.repeats(*cycle);
                    GO_ON
                }
            },
        );
        let stopped = interrupt.load(Ordering::Relaxed);
        if let Some(watch) = &mut watch {
            self.input.take_back(watch, stopped);
        }
        Generated { outcome, stopped, watch }
    }

    /// Takes an answer into the conversation.
    fn take(&mut self, outcome: &Outcome, prompt: &Prompt) {
        let Outcome { answer, usage, stop, .. } = outcome;
        self.n_seeds += 1;
        self.add_up(usage);
        if stopped_before_its_beginning(outcome) {
            return;
        }
        let tools = &self.toolbox.tools;
        let answers_calls = !tools.is_empty() && *stop == Stop::Eos;
        let answer = if answers_calls { answer.clone() } else { without_calls(answer) };
        self.spoken.insert(&self.loaded.tokenizer, tools, &answer, (prompt.start, &outcome.ids));
        self.turns.push(Message::Assistant(answer));
        let is_whole = matches!(stop, Stop::Eos | Stop::StopString(_));
        self.cut = (!is_whole).then(|| (self.turns.len(), stop.name().to_owned()));
    }

    /// Tells how an answer ended and what it took.
    fn tell_of(&mut self, outcome: &Outcome, seed: u64, what_stays: Option<&str>) {
        let Outcome { usage, stop, .. } = outcome;
        let n_ctx = self.session.n_ctx();
        if stopped_before_its_beginning(outcome) {
            let held = usage.cached + usage.prefilled;
            let then = what_stays.unwrap_or("/regen continues from there");
            aside(&format!("stopped with {held} of {} tokens read; {then}", usage.prompt));
            return;
        }
        if let (Stop::Interrupted, Some(what)) = (stop, what_stays) {
            aside(&format!("stopped; {what}"));
        }
        if let Some(text) = show::cut(stop, n_ctx) {
            complain(&text);
        }
        if let Some(text) = show::unformed(outcome) {
            complain(text);
        }
        if let Some(text) = show::reasoning_cut(outcome) {
            aside(text);
        }
        self.rate = usage.decode_rate();
        // A few tokens say little about many.
        if usage.prefilled >= 32 || self.read_rate.is_none() {
            self.read_rate = usage.prefill_rate().or(self.read_rate);
        }
        let held = self.session.tokens().len();
        if self.stats {
            let took = Took { usage, context: (held, n_ctx), seed, thinking: Some(self.talk.think) };
            aside(&show::figures(&took, wrap::err_columns()));
            // The line before the prompt would say the same.
            self.status = self.status_line();
        }
        self.warn_of_context(held);
    }

    /// Tells once that little of the context is left.
    fn warn_of_context(&mut self, held: usize) {
        let n_ctx = self.session.n_ctx();
        if held * 5 >= n_ctx * 4 && !std::mem::replace(&mut self.warned, true) {
            let larger = match self.remembers {
                true => format!(", and `fathom chat --continue -c {}` resumes with more", n_ctx * 2),
                false => String::new(),
            };
            aside(&format!(
                "note: {held} of the context's {n_ctx} tokens are in use ({} %): /context shows by what; /undo and /new make \
                 room{larger}",
                held * 100 / n_ctx,
            ));
        }
    }

    fn add_up(&mut self, usage: &Usage) {
        self.totals.answers += 1;
        self.totals.prefilled += usage.prefilled;
        self.totals.generated += usage.generated;
        self.totals.seconds += (usage.prefill_time + usage.decode_time).as_secs_f64();
    }

    /// What there was of an answer before an error stays.
    fn take_before_error(&mut self, said: Option<Assistant>) {
        if let Some(said) = said {
            self.turns.push(Message::Assistant(said));
            self.cut = Some((self.turns.len(), "error".to_owned()));
        }
    }

    /// What the person is told of an error.
    fn explained(&mut self, error: &SessionError, what_stays: Option<&str>) -> String {
        if let Some(what) = what_stays {
            return format!("{error}; {what}");
        }
        match error {
            SessionError::ContextFull { .. } => {
                // The next message would not fit with these files either.
                let with = if std::mem::take(&mut self.words_at) > 0 {
                    "; the next message is sent without its files"
                } else {
                    ""
                };
                format!("{error} (-c), or make room with /undo or /new{with}")
            }
            _ => error.to_string(),
        }
    }
}

/// Nothing of it is there.
fn stopped_before_its_beginning(outcome: &Outcome) -> bool {
    let answer = &outcome.answer;
    let is_empty = answer.reasoning.is_empty() && answer.content.is_empty() && answer.calls.is_empty();
    is_empty && outcome.stop == Stop::Interrupted
}

/// What stands between files and a message.
const BETWEEN: &str = "\n\n";

/// Without tools, or of an answer that was cut off, nobody answers calls, and the format wants a result for each: they
/// stay as text.
pub(super) fn without_calls(answer: &Assistant) -> Assistant {
    let mut kept = answer.clone();
    for call in kept.calls.drain(..) {
        if !kept.content.is_empty() && !kept.content.ends_with('\n') {
            kept.content.push('\n');
        }
        kept.content += &show::call_json(&call.name, &call.arguments).to_string();
    }
    kept
}
