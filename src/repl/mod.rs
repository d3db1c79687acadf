//! `fathom chat` on a terminal.
//!
//! The answer goes to stdout, everything else to stderr. Whatever goes wrong with one message or command is told and
//! the conversation goes on; what a stopped answer has computed stays in the session.

mod ahead;
mod burst;
mod command;
mod editor;
mod export;
mod files;
mod input;
mod kept;
mod obey;
mod saved;
mod shelf;

use crate::chat::{Assistant, Chat, Conversation, Message, Prompt, Spoken, Tool, ToolCall};
use crate::cli::keep::{self, KeepArgs};
use crate::cli::model::Loaded;
use crate::cli::progress::PromptProgress;
use crate::cli::schema::Schema;
use crate::cli::show::{self, Show, aside};
use crate::cli::talk::TalkArgs;
use crate::cli::{Failure, calls, print, signals, tools};
use crate::generate::{Constraint, Event, Outcome, Request, Stop};
use crate::tools::Toolbox;
use crate::{Session, SessionError};
use input::{Input, Line};
pub(crate) use kept::Begin;
use kept::Kept;
use std::io::{ErrorKind, IsTerminal, stderr};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a conversation is begun.
pub(crate) struct Setup {
    /// The settings at the beginning.
    pub talk: TalkArgs,
    /// What the model may call.
    pub toolbox: Toolbox,
    /// The form of the answers.
    pub schema: Option<Schema>,
    /// What is kept of the conversation on the disk.
    pub keep: KeepArgs,
    /// Keep what is typed, and the conversations, for the next time.
    pub remembers: bool,
    /// The kept conversation to go on with.
    pub begin: Option<Begin>,
    /// The first message, if it came with the command line.
    pub first: Option<String>,
}

/// Talks until the person leaves.
///
/// # Errors
/// A model without a chat format, a terminal that cannot be used.
pub(crate) fn run(loaded: &Loaded<'_>, mut setup: Setup) -> Result<(), Failure> {
    let (begin, first) = (setup.begin.take(), setup.first.take());
    let mut repl = Repl::new(loaded, setup)?;
    if !print::is_quiet() {
        aside(&format!(
            "fathom {} | {} | {} tokens of context | /help lists the commands",
            env!("CARGO_PKG_VERSION"),
            loaded.name,
            repl.session.n_ctx()
        ));
    }
    if let Some(begin) = begin {
        repl.begin(begin).map_err(Failure::invalid)?;
    }
    let left = talk(&mut repl, first);
    repl.keep_conversation();
    repl.farewell();
    left
}

fn talk(repl: &mut Repl<'_, '_>, mut first: Option<String>) -> Result<(), Failure> {
    let mut wants_to_leave = false;
    // The first line said it all.
    repl.status = repl.status_line();
    loop {
        repl.show_status();
        let line = match first.take() {
            Some(text) => {
                aside(&format!("> {text}"));
                Line::Message(text)
            }
            None => repl.input.read()?,
        };
        let done = match line {
            Line::End => return Ok(()),
            Line::Interrupt if wants_to_leave => return Ok(()),
            Line::Interrupt => {
                wants_to_leave = true;
                aside("Ctrl-C once more leaves, as does Ctrl-D");
                continue;
            }
            Line::Message(text) if text.trim().is_empty() => continue,
            Line::Message(text) => repl.message(text),
            Line::Command(text) => {
                command::parse(&text).map_err(Trouble::Mistake).and_then(|it| repl.obey(it))
            }
        };
        wants_to_leave = false;
        repl.keep_conversation();
        match done {
            Ok(GO_ON) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(Trouble::Mistake(problem)) => complain(&problem),
            Err(Trouble::Fatal(failure)) => return Err(failure),
        }
    }
}

/// Sums over all answers.
#[derive(Default)]
struct Totals {
    answers: usize,
    prefilled: usize,
    generated: usize,
    seconds: f64,
}

struct Repl<'l, 'm> {
    loaded: &'l Loaded<'m>,
    input: Input,
    chat: Chat,
    session: Session<'l>,
    talk: TalkArgs,
    toolbox: Toolbox,
    /// The command line's tools, for conversations that bring none.
    own_tools: Vec<Tool>,
    /// The form of the answers.
    constraint: Option<Constraint>,
    /// Answers since the seed was set: each takes the next number, so that `/regen` is not the same again.
    n_seeds: u64,
    /// Without the system prompt. A message of the person at the end is not answered yet.
    turns: Vec<Message>,
    /// Answers in the ids that the model gave them in.
    spoken: Spoken,
    /// Files to stand before the next message.
    files: Vec<String>,
    totals: Totals,
    /// Tokens of the conversation, as far as that is known without computing: until it changes.
    held: Option<usize>,
    /// Tokens a second of the last answer.
    rate: Option<f64>,
    /// The same for reading its prompt.
    read_rate: Option<f64>,
    /// The line before the prompt, as it was last shown.
    status: String,
    /// Answers are followed by what they took.
    stats: bool,
    /// It was told that the context is nearly full.
    warned: bool,
    kept: Kept,
}

/// What kept a line from being done.
enum Trouble {
    /// It is told, and the conversation goes on.
    Mistake(String),
    /// There is nothing to go on with.
    Fatal(Failure),
}

impl From<String> for Trouble {
    fn from(problem: String) -> Trouble {
        Trouble::Mistake(problem)
    }
}

type Flow = ControlFlow<()>;
const GO_ON: Flow = ControlFlow::Continue(());

impl<'l, 'm> Repl<'l, 'm> {
    fn new(loaded: &'l Loaded<'m>, setup: Setup) -> Result<Repl<'l, 'm>, Failure> {
        let chat = Chat::new(loaded.tokenizer)?;
        calls::check(&chat, &setup.toolbox.tools).map_err(Failure::invalid)?;
        let kept = Kept::new(setup.remembers);
        Ok(Repl {
            loaded,
            chat,
            session: setup.keep.session(loaded)?,
            input: Input::new(setup.remembers, kept.shelf().cloned())?,
            talk: setup.talk,
            own_tools: setup.toolbox.tools.clone(),
            toolbox: setup.toolbox,
            constraint: setup
                .schema
                .as_ref()
                .map(|schema| schema.constraint(loaded.tokenizer))
                .transpose()?,
            n_seeds: 0,
            turns: Vec::new(),
            spoken: Spoken::default(),
            files: Vec::new(),
            totals: Totals::default(),
            held: Some(0),
            rate: None,
            read_rate: None,
            status: String::new(),
            stats: !print::is_quiet(),
            warned: false,
            kept,
        })
    }

    /// Tells how things stand, if it is not what was told last.
    fn show_status(&mut self) {
        let line = self.status_line();
        if self.stats && line != self.status && stderr().is_terminal() {
            aside(&line);
            self.status = line;
        }
    }

    fn status_line(&self) -> String {
        let (name, n_ctx) = (&self.loaded.name, self.session.n_ctx());
        let context = match self.held {
            Some(held) => format!("context {held} of {n_ctx}"),
            None => format!("{n_ctx} tokens of context"),
        };
        let rate = self.rate.map_or(String::new(), |rate| format!(" | {rate:.1} tokens/s"));
        let thinking = if self.talk.think { "on" } else { "off" };
        format!("{name} | {context}{rate} | thinking {thinking}")
    }

    fn message(&mut self, text: String) -> Result<Flow, Trouble> {
        match self.turns.last() {
            Some(Message::User(_)) => {
                self.turns.pop();
                aside("the message before was not answered and is taken back");
            }
            // What tools did stays done; the model said nothing to it.
            Some(Message::Tool(_)) => self.turns.push(Message::assistant("")),
            _ => {}
        }
        self.kept.suggest(&text);
        let mut parts = std::mem::take(&mut self.files);
        parts.push(text);
        self.turns.push(Message::User(parts.join("\n\n")));
        self.answer()
    }

    fn regenerate(&mut self) -> Result<Flow, Trouble> {
        let before = match self.turns.last() {
            Some(Message::Assistant(_)) => self.turns.pop(),
            _ => None,
        };
        if !matches!(self.turns.last(), Some(Message::User(_) | Message::Tool(_))) {
            self.turns.extend(before);
            return Err(Trouble::Mistake("there is no message to answer".to_owned()));
        }
        let n_turns = self.turns.len();
        let done = self.answer();
        if self.turns.len() == n_turns {
            self.turns.extend(before);
        }
        done
    }

    fn conversation(&self) -> Conversation {
        let system = tools::system(self.talk.system.as_deref(), &self.toolbox.tools);
        Conversation {
            messages: system.into_iter().chain(self.turns.iter().cloned()).collect(),
            thinking: self.talk.think,
        }
    }

    /// Answers the last message, with as many calls of tools as it takes; breaks if nobody reads stdout any more.
    fn answer(&mut self) -> Result<Flow, Trouble> {
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

    /// Breaks if the model is not to go on.
    fn answer_calls(&mut self, calls: &[ToolCall], round: usize) -> Result<Flow, Trouble> {
        if round >= self.toolbox.rounds {
            self.turns.extend(calls::refuse(calls, "the limit of calls is reached"));
            aside(&format!("the model called tools {round} times in a row (--tool-rounds); /regen goes on"));
            return Ok(ControlFlow::Break(()));
        }
        let answered = calls::answer(calls, &mut self.toolbox, &mut |question| self.input.ask(question));
        let answered = answered.map_err(Trouble::Fatal)?;
        self.turns.extend(answered.results);
        if answered.stopped {
            aside("stopped; /regen goes on from here");
            return Ok(ControlFlow::Break(()));
        }
        Ok(GO_ON)
    }

    /// One answer of the model.
    fn speak(&mut self) -> Result<Flow, Trouble> {
        let prompt = self
            .chat
            .prompt_keeping(self.loaded.tokenizer, &self.conversation(), &self.spoken)
            .map_err(|error| Trouble::Mistake(error.to_string()))?;
        let seed = match self.talk.sampling.seed.0 {
            Some(first) => first.wrapping_add(self.n_seeds),
            None => self.talk.sampling.seed.or_random(),
        };
        let mut show = Show::new(&self.talk, !self.toolbox.tools.is_empty());
        let outcome = self.generate(&prompt, seed, &mut show);
        let shown = show.finish();
        self.held = Some(self.session.tokens().len());
        keep::tell_notices(&mut self.session);
        match shown {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ControlFlow::Break(())),
            Err(error) => {
                return Err(Trouble::Fatal(Failure::runtime(format!("cannot write the answer: {error}"))));
            }
        }
        match outcome {
            Ok(outcome) => self.keep(&outcome, &prompt, seed),
            Err(error @ SessionError::ContextFull { .. }) => {
                return Err(Trouble::Mistake(format!("{error} (-c), or make room with /undo or /new")));
            }
            Err(error) => return Err(Trouble::Mistake(error.to_string())),
        }
        Ok(GO_ON)
    }

    fn generate(&mut self, prompt: &Prompt, seed: u64, show: &mut Show) -> Result<Outcome, SessionError> {
        let signals = signals::listen();
        let never = AtomicBool::new(false);
        let watch = signals.as_ref().ok().and_then(|signals| self.input.watch(signals.flag()));
        let request = Request {
            prompt: &prompt.tokens,
            start: Some(prompt.start),
            tools: &self.toolbox.tools,
            sampling: self.talk.sampling.sampling(seed),
            n_predict: self.talk.n_predict.0,
            reasoning_budget: self.talk.reasoning_budget.0,
            stops: &self.talk.stops,
            constraint: self.constraint.as_ref(),
            interrupt: signals.as_ref().map_or(&never, |signals| signals.flag()),
        };
        let mut progress = Some(PromptProgress::new());
        let outcome = self.loaded.answer(&mut self.session, &request, &mut |event| match event {
            Event::Prompt { done, total } if done == total => {
                progress = None;
                GO_ON
            }
            Event::Prompt { done, total } => {
                progress.iter().for_each(|progress| progress.at(*done, *total));
                GO_ON
            }
            Event::Part(part) => show.part(part),
            Event::Repeats(cycle) => {
                show.repeats(*cycle);
                GO_ON
            }
        });
        let stopped = request.interrupt.load(Ordering::Relaxed);
        if let Some(watch) = watch {
            self.input.take_back(watch, stopped);
        }
        outcome
    }

    /// Takes an answer into the conversation and tells what it took.
    fn keep(&mut self, outcome: &Outcome, prompt: &Prompt, seed: u64) {
        let Outcome { answer, usage, stop, .. } = outcome;
        self.n_seeds += 1;
        self.totals.answers += 1;
        self.totals.prefilled += usage.prefilled;
        self.totals.generated += usage.generated;
        self.totals.seconds += (usage.prefill_time + usage.decode_time).as_secs_f64();
        let n_ctx = self.session.n_ctx();
        let is_empty = answer.reasoning.is_empty() && answer.content.is_empty() && answer.calls.is_empty();
        if is_empty && *stop == Stop::Interrupted {
            let held = usage.cached + usage.prefilled;
            aside(&format!("stopped with {held} of {} tokens read; /regen goes on from there", usage.prompt));
            return;
        }
        let tools = &self.toolbox.tools;
        let answers_calls = !tools.is_empty() && *stop == Stop::Eos;
        let answer = if answers_calls { answer.clone() } else { without_calls(answer) };
        self.spoken.insert(self.loaded.tokenizer, tools, &answer, (prompt.start, &outcome.ids));
        self.turns.push(Message::Assistant(answer));
        if *stop == Stop::Interrupted {
            aside("stopped; the answer so far is kept");
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
            let thinking = if self.talk.think { "on" } else { "off" };
            aside(&format!(
                "{} | thinking {thinking}",
                show::figures_and_context(usage, (held, n_ctx), seed)
            ));
            // The line before the prompt would say the same.
            self.status = self.status_line();
        }
        self.warn_of_context(held);
    }

    /// Tells once that little of the context is left.
    fn warn_of_context(&mut self, held: usize) {
        let n_ctx = self.session.n_ctx();
        if held * 5 >= n_ctx * 4 && !std::mem::replace(&mut self.warned, true) {
            aside(&format!(
                "note: {held} of the context's {n_ctx} tokens are taken ({} %): /context shows by what, /undo and /new make room, \
                 and `fathom chat --continue -c {}` goes on with more",
                held * 100 / n_ctx,
                n_ctx * 2,
            ));
        }
    }
}

/// Without tools, or of an answer that was cut off, nobody answers calls, and the format wants a result for each: they
/// stay as text.
fn without_calls(answer: &Assistant) -> Assistant {
    let mut kept = answer.clone();
    for call in kept.calls.drain(..) {
        if !kept.content.is_empty() && !kept.content.ends_with('\n') {
            kept.content.push('\n');
        }
        kept.content += &show::call_json(&call.name, &call.arguments).to_string();
    }
    kept
}

/// What was asked for, all of it.
fn tell(text: &str) {
    tell!("{}", print::for_screen(text));
}

/// A mistake that the conversation survives.
fn complain(problem: &str) {
    tell!("error: {}", print::plain(problem));
}
