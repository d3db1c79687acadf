//! `fathom run`: one prompt, one answer.

use super::keep::{self, KeepArgs};
use super::model::{Loaded, ModelArgs};
use super::named::Named;
use super::progress::PromptProgress;
use super::prompt::PromptArgs;
use super::schema::{Schema, SchemaArgs};
use super::show::{self, Show, Took};
use super::talk::TalkArgs;
use super::tools::ToolArgs;
use super::{Failure, calls, print, signals, wrap};
use crate::generate::generate;
use crate::tools::Toolbox;
use fathom_engine::Session;
use fathom_text::answer::{Constraint, Event, Outcome, Request, Stop};
use fathom_text::chat::{Chat, Message, Prompt, Spoken, Start, Tool, ToolCall};
use fathom_text::sampler::NoToken;
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// Answer a single prompt: the answer goes to stdout, everything else to stderr.
///
/// The prompt consists of PROMPT (or -p), the file of -f and, unless it is a terminal, stdin, in this order and with empty
/// lines between them. A single word that is a file, a folder or an alias is the MODEL; anything else is the prompt.
///
/// Examples:
///
///   fathom run "What does river mean?"
///
///   fathom run MODEL.gguf -p "Summarise:" -f notes.txt
///
///   git log --oneline | fathom run MODEL.gguf "What happened here?"
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt; the same as -p.
    #[arg(value_name = "PROMPT", conflicts_with = "prompt")]
    words: Vec<String>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Continue the text itself, without the chat format. The model's BOS token is put before it.
    #[arg(long, conflicts_with_all = ["system", "think", "no_think", "tools"])]
    raw: bool,
    /// Read control tokens that are spelt out in a raw prompt, such as <｜User｜>, as those tokens.
    #[arg(long, requires = "raw")]
    special: bool,
    /// Print one JSON object when the answer is complete, and nothing else on stdout.
    ///
    /// Its main fields are text, reasoning, tool_calls, malformed_calls (what could not be read as a call), stop_reason, seed, usage
    /// and timings.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
    /// Stream JSON objects, one a line; the last has the type "end" and all that --json prints.
    #[arg(long)]
    jsonl: bool,
    #[command(flatten)]
    talk: TalkArgs,
    #[command(flatten)]
    schema: SchemaArgs,
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// What the command line says itself.
    #[arg(skip)]
    pub(super) named: Named,
}

const EXPECTED: &str =
    "a prompt: text in quotation marks, -p TEXT, -f FILE or stdin (`fathom chat` is a conversation)";

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded, a prompt that cannot be read or does not fit, an interruption.
pub fn run(args: Args) -> Result<(), Failure> {
    let (toolbox, schema) = (args.tools.toolbox()?, args.schema.schema()?);
    for (id, flag) in [("reasoning_budget", "--reasoning-budget"), ("hide_thinking", "--hide-thinking")] {
        if args.named.has(id) && !args.talk.think {
            tell!("note: {flag} has no effect without --think");
        }
    }
    if let (Some(model), Some(word)) = (args.model.path(), args.words.first())
        && names_a_model(word)
    {
        return Err(Failure::usage(format!(
            "{word} is a model file, and {} is the model already; name one of them (`-p TEXT` takes any text as the prompt)",
            model.display()
        )));
    }
    let words = (!args.words.is_empty()).then(|| args.words.join(" "));
    let prompt = args.prompt.with_stdin(words, EXPECTED);
    // A word that was taken for a model may be one that is not there, which is more than a prompt that is missing.
    let prompt = prompt.map_err(|why| args.model.missing().unwrap_or(why))?;
    let how = How {
        talk: &args.talk,
        keep: &args.keep,
        raw: args.raw.then_some(Raw { special: args.special }),
        json: match (args.json, args.jsonl) {
            (true, _) => Some(Json::Whole),
            (_, true) => Some(Json::Lines),
            _ => None,
        },
        schema: schema.as_ref(),
    };
    answer(&args.model, &how, toolbox, prompt)
}

/// Whether a word of a prompt is the name of a model file that is there.
fn names_a_model(word: &str) -> bool {
    let path = Path::new(word);
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && path.is_file()
}

/// How one prompt is answered.
pub(super) struct How<'a> {
    pub talk: &'a TalkArgs,
    pub keep: &'a KeepArgs,
    pub raw: Option<Raw>,
    pub json: Option<Json>,
    pub schema: Option<&'a Schema>,
}

/// Text without a chat format.
#[derive(Clone, Copy)]
pub(super) struct Raw {
    /// The texts of control tokens are those tokens.
    special: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Json {
    Whole,
    Lines,
}

/// Loads a model, answers one prompt, shows the answer.
pub(super) fn answer(
    model: &ModelArgs,
    how: &How<'_>,
    mut toolbox: Toolbox,
    prompt: String,
) -> Result<(), Failure> {
    let files = model.open()?;
    how.talk.sampling.adjust.check(files.n_tokens()).map_err(Failure::usage)?;
    let loaded = files.load()?;
    let seed = how.talk.sampling.seed.or_random();
    let constraint = how.schema.map(|schema| schema.constraint(&loaded.tokenizer)).transpose()?;
    if let Some(raw) = how.raw {
        let tokens = raw_tokens(&loaded, &prompt, raw);
        let mut session = how.keep.session(&loaded)?;
        let wanted =
            Wanted { tokens: &tokens, start: None, tools: &[], constraint: constraint.as_ref(), seed };
        return match generate_shown(&loaded, &mut session, how, &wanted)? {
            // Nobody reads the answer any more: that is no error.
            (_, ControlFlow::Break(())) => Ok(()),
            (outcome, _) => tell(&loaded, &mut session, how, (&outcome, seed, &[])),
        };
    }
    let chat = Chat::new(&loaded.tokenizer)?;
    chat.check()?;
    calls::check(&chat, &toolbox.tools).map_err(Failure::invalid)?;
    let mut conversation = how.talk.question(prompt, &toolbox.tools);
    // What cannot be asked is found out before the model is put to work.
    chat.render(&conversation)?;
    let mut session = how.keep.session(&loaded)?;
    let (mut spoken, mut rounds) = (Spoken::default(), Vec::new());
    loop {
        let seed = seed.wrapping_add(rounds.len() as u64);
        let Prompt { tokens, start } = chat.prompt_keeping(&loaded.tokenizer, &conversation, &spoken)?;
        let wanted = Wanted {
            tokens: &tokens,
            start: Some(start),
            tools: &toolbox.tools,
            constraint: constraint.as_ref(),
            seed,
        };
        let (outcome, shown) = generate_shown(&loaded, &mut session, how, &wanted)?;
        if shown.is_break() {
            return Ok(());
        }
        let results = match outcome.stop {
            Stop::Eos => {
                let made = &outcome.answer.calls;
                let free = session.n_ctx() - session.tokens().len();
                let mut room = calls::Room::new(&loaded.tokenizer, free, made.len());
                answer_calls(made, &mut toolbox, &mut room, how, rounds.len())?
            }
            _ => None,
        };
        let Some(results) = results else {
            if how.json.is_none() && !toolbox.tools.is_empty() {
                print::answer(&calls::lines(&outcome.answer.calls))?;
            }
            return tell(&loaded, &mut session, how, (&outcome, seed, &rounds));
        };
        if how.json.is_none() {
            tell_figures(&session, &outcome, seed);
        }
        spoken.insert(&loaded.tokenizer, &toolbox.tools, &outcome.answer, (start, &outcome.ids));
        let mut round = calls::round_json(&outcome.answer, &results);
        round["malformed_calls"] = outcome.malformed.iter().map(show::malformed_json).collect();
        rounds.push(round);
        conversation.messages.push(Message::Assistant(outcome.answer));
        conversation.messages.extend(results);
    }
}

/// Results of all calls; `None`: there are none, or whoever started this program answers them.
fn answer_calls(
    made: &[ToolCall],
    toolbox: &mut Toolbox,
    room: &mut calls::Room<'_>,
    how: &How<'_>,
    round: usize,
) -> Result<Option<Vec<Message>>, Failure> {
    if made.is_empty() || toolbox.tools.is_empty() {
        return Ok(None);
    }
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let why = match calls::can_answer(made, toolbox, can_ask) {
        _ if round >= toolbox.rounds => {
            Some(format!("the model called tools {round} times in a row (--tool-rounds)"))
        }
        answerable => answerable.err(),
    };
    if let Some(why) = why {
        tell!("note: {}", print::plain(&why));
        return Ok(None);
    }
    let answered = calls::answer(made, toolbox, room, &mut ask)?;
    if answered.stopped {
        return Err(Failure::interrupted("interrupted"));
    }
    if how.json == Some(Json::Lines) {
        for (call, result) in made.iter().zip(&answered.results) {
            print::json(&calls::result_json(call, result))?;
        }
    }
    Ok(Some(answered.results))
}

/// A question to the person at the terminal.
fn ask(question: &str) -> Result<Option<String>, Failure> {
    // Who asks sees to it that stderr is a terminal; one that is gone answers nothing either.
    let _ = std::io::stderr().write_all(question.as_bytes());
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(Failure::runtime(format!("cannot read your answer: {error}"))),
    }
}

fn tell_figures(session: &Session, outcome: &Outcome, seed: u64) {
    if print::is_quiet() {
        return;
    }
    let context = (session.tokens().len(), session.n_ctx());
    let took = Took { usage: &outcome.usage, context, seed, thinking: None };
    show::aside(&show::figures(&took, wrap::err_columns()));
}

/// Tells what is to be told of the last answer.
fn tell(
    loaded: &Loaded,
    session: &mut Session,
    how: &How<'_>,
    (outcome, seed, rounds): (&Outcome, u64, &[Value]),
) -> Result<(), Failure> {
    match how.json {
        Some(form) => {
            let mut json = show::outcome_json(&loaded.name, outcome, seed);
            if !rounds.is_empty() {
                json["tool_rounds"] = rounds.into();
            }
            if form == Json::Lines {
                json["type"] = "end".into();
            }
            print::json(&json)?;
        }
        None => tell_figures(session, outcome, seed),
    }
    keep::tell_notices(session);
    if let Some(text) = show::reasoning_cut(outcome) {
        tell!("note: {text}");
    }
    let is_failure = matches!(outcome.stop, Stop::NoToken(_) | Stop::Constraint(_) | Stop::Eos);
    let (cut, unformed) = (show::cut(&outcome.stop, session.n_ctx()), show::unformed(outcome));
    for text in cut.as_deref().into_iter().chain(unformed).filter(|_| !is_failure) {
        tell!("note: {text}");
    }
    match &outcome.stop {
        Stop::Interrupted => Err(Failure::interrupted("interrupted")),
        // An answer without its form is none, whoever ended it.
        Stop::Constraint(_) => Err(Failure::invalid(cut.unwrap_or_default())),
        Stop::Eos => unformed.map_or(Ok(()), |text| Err(Failure::runtime(text))),
        // A setting's fault, or the file's.
        Stop::NoToken(problem @ NoToken::AllBanned) => Err(Failure::usage(problem)),
        Stop::NoToken(problem @ NoToken::NotFinite(..)) => Err(Failure::invalid(problem)),
        _ => Ok(()),
    }
}

fn raw_tokens(loaded: &Loaded, prompt: &str, raw: Raw) -> Vec<u32> {
    let tokenizer = &loaded.tokenizer;
    let tokens =
        if raw.special { tokenizer.encode_with_special(prompt) } else { tokenizer.encode_plain(prompt) };
    let bos = tokenizer.bos().filter(|bos| tokens.first() != Some(bos));
    bos.into_iter().chain(tokens).collect()
}

/// What is to be answered.
struct Wanted<'a> {
    tokens: &'a [u32],
    start: Option<Start>,
    tools: &'a [Tool],
    constraint: Option<&'a Constraint>,
    seed: u64,
}

/// Breaks if the reader of stdout went away.
fn generate_shown(
    loaded: &Loaded,
    session: &mut Session,
    how: &How<'_>,
    wanted: &Wanted<'_>,
) -> Result<(Outcome, ControlFlow<()>), Failure> {
    let signals = signals::listen_once()?;
    let request = Request {
        prompt: wanted.tokens,
        start: wanted.start,
        tools: wanted.tools,
        sampling: how.talk.sampling.sampling(wanted.seed),
        n_predict: how.talk.n_predict.0,
        reasoning_budget: how.talk.reasoning_budget.0,
        stops: &how.talk.stops,
        constraint: wanted.constraint,
    };
    let mut face = Face::new(how, !wanted.tools.is_empty());
    let outcome =
        generate(session, &loaded.tokenizer, &request, signals.flag(), &mut |event| face.event(event));
    // The line is ended also where an error comes.
    let closed = face.finish();
    let outcome = outcome?;
    let closed = closed.map_err(|error| Failure::runtime(format!("cannot write the answer: {error}")))?;
    Ok((outcome, closed))
}

/// Where the events go.
struct Face {
    json: Option<Json>,
    progress: Option<PromptProgress>,
    show: Show,
    line_error: Option<std::io::Error>,
}

impl Face {
    fn new(how: &How<'_>, answers_calls: bool) -> Face {
        Face {
            json: how.json,
            progress: how.json.is_none().then(PromptProgress::new),
            show: Show::new(how.talk, answers_calls).with_whole_lines(how.schema.is_some()),
            line_error: None,
        }
    }

    fn event(&mut self, event: &Event) -> ControlFlow<()> {
        if let Event::Malformed(one) = event {
            self.show.malformed(one);
        }
        let line = match (self.json, event) {
            (None, Event::Prompt { done, total }) => {
                if done == total {
                    self.progress = None;
                } else if let Some(progress) = &self.progress {
                    progress.at(*done, *total);
                }
                return ControlFlow::Continue(());
            }
            (None, Event::Part(part)) => return self.show.part(part),
            (None, Event::Repeats(cycle)) => {
                self.show.repeats(*cycle);
                return ControlFlow::Continue(());
            }
            (Some(Json::Whole), _) | (None, Event::Malformed(_)) => return ControlFlow::Continue(()),
            (Some(Json::Lines), Event::Prompt { done, total }) => {
                Some(json!({"type": "prompt", "done": done, "total": total}))
            }
            (Some(Json::Lines), Event::Part(part)) => show::part_json(part),
            (Some(Json::Lines), Event::Repeats(cycle)) => Some(show::repeats_json(*cycle)),
            (Some(Json::Lines), Event::Malformed(one)) => {
                let mut line = show::malformed_json(one);
                line["type"] = "malformed_call".into();
                Some(line)
            }
        };
        let Some(line) = line else { return ControlFlow::Continue(()) };
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.line_error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn finish(self) -> std::io::Result<ControlFlow<()>> {
        drop(self.progress);
        let shown = match self.line_error {
            Some(error) => Err(error),
            None => self.show.finish(),
        };
        match shown {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error),
        }
    }
}
