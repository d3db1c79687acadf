//! `fathom chat` on a terminal.
//!
//! The answer goes to stdout, everything else to stderr. Whatever goes wrong with one message or command is told and
//! the conversation goes on; what a stopped answer has computed stays in the session.

mod ahead;
mod answer;
mod blocks;
mod burst;
mod command;
mod editor;
mod export;
mod files;
mod history;
mod input;
mod kept;
mod model;
mod obey;
mod outside;
mod saved;
mod shelf;
mod so_far;
pub(crate) mod table;

use crate::cli::keep::KeepArgs;
use crate::cli::model::Loaded;
use crate::cli::named::Named;
use crate::cli::schema::Schema;
use crate::cli::settings::Settings;
use crate::cli::show::aside;
use crate::cli::signals::{self, terminal};
use crate::cli::talk::TalkArgs;
use crate::cli::{Failure, print, tools, wrap};
use crate::tools::Toolbox;
use fathom_engine::Session;
use fathom_text::answer::Constraint;
use fathom_text::chat::{Chat, Conversation, Message, Spoken, Tool};
use input::{Input, Line};
use kept::Kept;
pub(crate) use kept::{Begin, Chosen};
pub(crate) use model::Left;
use model::{Carried, Parts};
use so_far::Replaced;
use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use unicode_width::UnicodeWidthStr;

/// Of a terminal that does not say how wide it is.
const USUAL_COLUMNS: usize = 80;

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
    /// The kept conversation to resume.
    pub begin: Option<Begin>,
    /// What the command line says itself: it holds beside the settings of the conversation that is resumed.
    pub named: Named,
    /// The first message, if it came with the command line.
    pub first: Option<String>,
    /// Names of models.
    pub settings: Settings,
    /// The command line's tools, if others are in the toolbox.
    pub own_tools: Option<Vec<Tool>>,
    /// A conversation that another model had before.
    pub carried: Option<Box<Carried>>,
}

/// Talks until the person leaves.
///
/// # Errors
/// A model without a chat format, a terminal that cannot be used.
pub(crate) fn run(loaded: &Loaded, mut setup: Setup) -> Result<Left, Failure> {
    let _holding = signals::hold()?;
    let (begin, first) = (setup.begin.take(), setup.first.take());
    let mut repl = match model::resume(loaded, setup)? {
        Ok(repl) => repl,
        Err(refused) => return Ok(refused),
    };
    if !print::is_quiet() {
        aside(&banner(&loaded.name, repl.session.n_ctx(), wrap::err_columns().unwrap_or(USUAL_COLUMNS)));
    }
    if let Some(begin) = begin {
        repl.begin(begin).map_err(Failure::invalid)?;
    }
    let left = talk(&mut repl, first);
    if let (Ok(()), Some(model)) = (&left, repl.next_model.take()) {
        let saved = repl.saved();
        return Ok(Left::For(model, Box::new(repl.into_setup(saved))));
    }
    repl.input.leave();
    repl.keep_conversation();
    let farewell = repl.farewell();
    match (left, farewell) {
        (Ok(()), farewell) => farewell.map(|()| Left::Done),
        (Err(left), Ok(())) => Err(left),
        (Err(left), Err(unkept)) => {
            unkept.tell();
            Err(left)
        }
    }
}

/// The first line, which is one row: a long path gives way.
fn banner(model: &str, n_ctx: usize, columns: usize) -> String {
    let with = |model: &str, help: &str| {
        format!("fathom {} | {model} | context {n_ctx} | {help}", env!("CARGO_PKG_VERSION"))
    };
    let (long, short) = ("/help for commands", "/help");
    let file = Path::new(model).file_name().map_or(model.into(), |name| name.to_string_lossy());
    let lines = [with(model, long), with(&file, long), with(&file, short)];
    if let Some(line) = lines.into_iter().find(|line| line.width() <= columns) {
        return line;
    }
    let room = columns.saturating_sub(with("…", short).width());
    let ends = file.char_indices().rev().map(|(start, _)| &file[start..]);
    let end = ends.take_while(|end| end.width() <= room).last().unwrap_or_default();
    with(&format!("…{end}"), short)
}

/// How things stand, in one row: first the speed gives way, which stood behind the last answer, then the model.
fn status(model: &str, context: &str, rate: Option<f64>, thinking: bool, columns: usize) -> String {
    let rate = rate.map_or(String::new(), |rate| format!(" | {rate:.1} tokens/s"));
    let thinking = if thinking { "thinking on" } else { "thinking off" };
    let file = Path::new(model).file_name().map_or(model.into(), |name| name.to_string_lossy());
    let lines = [
        format!("{model} | {context}{rate} | {thinking}"),
        format!("{file} | {context}{rate} | {thinking}"),
        format!("{file} | {context} | {thinking}"),
    ];
    let fitting = lines.into_iter().find(|line| line.width() <= columns);
    fitting.unwrap_or_else(|| format!("{context} | {thinking}"))
}

fn talk(repl: &mut Repl<'_>, mut first: Option<String>) -> Result<(), Failure> {
    let mut wants_to_leave = false;
    // The first line said it all.
    repl.status = repl.status_line();
    loop {
        if let Some(code) = signals::ended() {
            return Err(ended(code));
        }
        repl.show_status();
        let line = match first.take() {
            Some(text) => {
                aside(&format!("> {text}"));
                Line::Message(text)
            }
            None => repl.read()?,
        };
        let done = match line {
            Line::Interrupt if signals::just_stopped() => continue,
            Line::Interrupt if !wants_to_leave => {
                wants_to_leave = true;
                aside("press Ctrl-C again, or Ctrl-D, to leave");
                continue;
            }
            Line::End | Line::Interrupt => match repl.leave_conversation() {
                Ok(()) => return Ok(()),
                Err(unsaved) => {
                    complain(&unsaved);
                    continue;
                }
            },
            Line::Message(text) if text.trim().is_empty() => {
                wants_to_leave = false;
                continue;
            }
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

/// A signal asked for the end: everything is kept, and the exit code says which it was.
fn ended(code: u8) -> Failure {
    let name = match code - 128 {
        1 => "because the terminal was closed (SIGHUP)".to_owned(),
        3 => "by SIGQUIT".to_owned(),
        15 => "by SIGTERM".to_owned(),
        signal => format!("by signal {signal}"),
    };
    Failure { code, message: format!("the chat ended {name}") }
}

/// Sums over all answers.
#[derive(Default)]
struct Totals {
    answers: usize,
    prefilled: usize,
    generated: usize,
    seconds: f64,
}

struct Repl<'l> {
    loaded: &'l Loaded,
    input: Input,
    chat: Chat,
    session: Session,
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
    /// What each `/edit` took away, the last one last.
    edited: Vec<Edited>,
    /// Files to stand before the next message.
    files: Vec<String>,
    /// Where in the last message the person's own words begin, behind files: if nobody answers it, they wait for the next.
    words_at: usize,
    /// Why the answer that is the last of so many messages is not whole.
    cut: Option<(usize, String)>,
    /// The answer that the next one is to take the place of.
    replaced: Option<Replaced>,
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
    named: Named,
    settings: Settings,
    /// What another model is begun with.
    schema: Option<Schema>,
    keep: KeepArgs,
    remembers: bool,
    /// The model that the person wants instead; `None` inside: the built-in one.
    next_model: Option<Option<PathBuf>>,
}

/// A message and what came after it, which another message stands for now.
struct Edited {
    /// The place of that other message.
    at: usize,
    turns: Vec<Message>,
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

impl<'l> Repl<'l> {
    /// `before`: what another model had.
    fn new(
        loaded: &'l Loaded,
        setup: Setup,
        parts: Parts,
        before: Option<(Input, Kept)>,
    ) -> Result<Repl<'l>, Failure> {
        let (input, kept) = match before {
            Some(before) => before,
            None => {
                let kept = Kept::new(setup.remembers);
                (Input::new(setup.remembers, kept.shelf().cloned())?, kept)
            }
        };
        let Parts { chat, session, constraint } = parts;
        Ok(Repl {
            loaded,
            chat,
            session,
            input,
            talk: setup.talk,
            own_tools: setup.own_tools.unwrap_or_else(|| setup.toolbox.tools.clone()),
            toolbox: setup.toolbox,
            constraint,
            n_seeds: 0,
            turns: Vec::new(),
            spoken: Spoken::default(),
            edited: Vec::new(),
            files: Vec::new(),
            words_at: 0,
            cut: None,
            replaced: None,
            totals: Totals::default(),
            held: Some(0),
            rate: None,
            read_rate: None,
            status: String::new(),
            stats: !print::is_quiet(),
            warned: false,
            kept,
            named: setup.named,
            settings: setup.settings,
            schema: setup.schema,
            keep: setup.keep,
            remembers: setup.remembers,
            next_model: None,
        })
    }

    /// The next line; what ended the waiting, if a signal did or the terminal went away.
    fn read(&mut self) -> Result<Line, Failure> {
        let line = self.input.read();
        if matches!(line, Ok(Line::End) | Err(_)) && terminal::is_gone() {
            signals::hang_up();
        }
        match signals::ended() {
            // What was typed in the same moment was typed.
            Some(code) if !matches!(line, Ok(Line::Message(_) | Line::Command(_))) => Err(ended(code)),
            _ => line,
        }
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
        let n_ctx = self.session.n_ctx();
        let context = match self.held {
            Some(held) => format!("context {held} of {n_ctx}"),
            None => format!("{n_ctx} tokens of context"),
        };
        let columns = wrap::err_columns().unwrap_or(usize::MAX);
        status(&self.loaded.name, &context, self.rate, self.talk.think, columns)
    }

    fn conversation(&self) -> Conversation {
        let system = tools::system(self.talk.system.as_deref(), &self.toolbox.tools);
        Conversation {
            messages: system.into_iter().chain(self.turns.iter().cloned()).collect(),
            thinking: self.talk.think,
        }
    }
}

/// What was asked for, all of it.
fn tell(text: &str) {
    tell!("{}", print::for_screen(text));
}

/// The same for what was said: it is broken between words.
fn tell_prose(text: &str) {
    tell!("{}", wrap::wrapped(&print::for_screen(text), wrap::err_columns()));
}

/// A mistake that the conversation survives.
fn complain(problem: &str) {
    tell!("error: {}", print::plain(problem));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_is_one_row() {
        let path = "/models/deepseek/DeepSeek-V3.2-Q4_K_M-00001-of-00009.gguf";
        for (name, columns, expected) in [
            (crate::builtin::NAME, 80, " | the built-in model | context 163840 | /help for commands"),
            (path, 120, path),
            (path, 80, " | DeepSeek-V3.2-Q4_K_M-00001-of-00009.gguf | context 163840 | /help"),
            (path, 70, " | ….2-Q4_K_M-00001-of-00009.gguf | context 163840 | /help"),
            ("/models/long/path/to/a/Model-Q8_0.gguf", 80, " | Model-Q8_0.gguf | "),
        ] {
            let line = banner(name, 163_840, columns);
            assert!(line.contains(expected) && line.width() <= columns, "{line}");
        }
        assert!(banner(path, 32_768, 10).contains("| … |"), "a row that holds nothing");
    }

    #[test]
    fn the_status_is_one_row() {
        let line = |columns| status("/models/v3/q4.gguf", "context 7 of 9", Some(7.25), false, columns);
        assert_eq!(line(80), "/models/v3/q4.gguf | context 7 of 9 | 7.2 tokens/s | thinking off");
        assert_eq!(line(60), "q4.gguf | context 7 of 9 | 7.2 tokens/s | thinking off");
        assert_eq!(line(50), "q4.gguf | context 7 of 9 | thinking off");
        assert_eq!(line(30), "context 7 of 9 | thinking off");
    }
}
