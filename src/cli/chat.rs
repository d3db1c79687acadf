//! `fathom chat`: a conversation.

use super::Failure;
use super::keep::KeepArgs;
use super::model::{ModelArgs, ModelFiles};
use super::named::Named;
use super::prompt::PromptArgs;
use super::run::{self, How};
use super::schema::SchemaArgs;
use super::settings::Settings;
use super::signals;
use super::talk::TalkArgs;
use super::tools::ToolArgs;
use crate::repl::{self, Begin, Chosen, Left, Setup};
use std::io::IsTerminal;

/// Chat with a model, which is also what `fathom` without a command does.
///
/// Conversations are saved automatically; --continue resumes the last one. If stdin is not a terminal, `fathom chat` works
/// like `fathom run`: stdin is the prompt, and the answer goes to stdout.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Resume the last conversation with its model and settings; flags given here win.
    #[arg(long = "continue", conflicts_with_all = ["session", "no_history"])]
    go_on: bool,
    /// Resume the conversation of this name with its model and settings, or begin a new one under this name.
    #[arg(long, value_name = "NAME", conflicts_with = "no_history")]
    session: Option<String>,
    /// Save neither the conversation nor the input history.
    #[arg(long)]
    no_history: bool,
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

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded or has no chat format, a prompt that cannot be read or does not fit.
pub fn run(mut args: Args, settings: &Settings) -> Result<(), Failure> {
    let (toolbox, schema) = (args.tools.toolbox()?, args.schema.schema()?);
    if !std::io::stdin().is_terminal() {
        if args.go_on || args.session.is_some() {
            return Err(Failure::usage(
                "--continue and --session resume chats on a terminal; stdin is not a terminal here",
            ));
        }
        let how = How { talk: &args.talk, keep: &args.keep, raw: None, json: None, schema: schema.as_ref() };
        let prompt = args.prompt.with_stdin(None, "a prompt on stdin, with -p TEXT or in -f FILE");
        let prompt = prompt.map_err(|why| args.model.missing().unwrap_or(why))?;
        return run::answer(&args.model, &how, toolbox, prompt);
    }
    let first = args.prompt.text(None)?;
    if args.session.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(Failure::usage("--session: expected the name of a conversation, found an empty one"));
    }
    let mut begin = match args.session {
        Some(name) => Some(Begin::Named(name)),
        None => args.go_on.then_some(Begin::Last),
    };
    // Before a large model is loaded: what cannot be resumed is told, and a conversation has its own model.
    if let Some(wanted) = begin.take() {
        let Chosen { begin: found, model } = wanted
            .choose(args.named.has("model") || args.named.has("model_flag"))
            .map_err(Failure::invalid)?;
        begin = Some(found);
        model.into_iter().for_each(|model| args.model.set(model));
    }
    let Args { model, talk, keep, named, .. } = args;
    let remembers = !args.no_history;
    let (settings, carried, own_tools) = (settings.clone(), None, None);
    let setup =
        Setup { talk, toolbox, schema, keep, remembers, begin, named, first, settings, carried, own_tools };
    with_models(model, setup)
}

/// A conversation with one model after another. One that cannot be used gives way to the one before it.
fn with_models(mut model: ModelArgs, mut setup: Setup) -> Result<(), Failure> {
    let mut before: Option<ModelArgs> = None;
    loop {
        let left = with_one(&model, setup);
        let (why, kept) = match left {
            Ok(Left::Done) => return Ok(()),
            Ok(Left::For(next, kept)) => {
                before = Some(model.clone());
                model.set(next);
                setup = *kept;
                continue;
            }
            Ok(Left::Refused(why, kept)) => (Failure::invalid(why), *kept),
            Err((why, Some(kept))) => (why, *kept),
            Err((why, None)) => return Err(why),
        };
        // What asks for the end is no fault of the model.
        match before.take() {
            Some(usable) if signals::ended().is_none() => (model, setup) = (usable, kept),
            _ => return Err(why),
        }
        why.tell();
    }
}

/// An error gives the setup back if the conversation has not begun with it.
fn with_one(model: &ModelArgs, setup: Setup) -> Result<Left, (Failure, Option<Box<Setup>>)> {
    let check =
        |files: &ModelFiles| setup.talk.sampling.adjust.check(files.n_tokens()).map_err(Failure::usage);
    let files = match model.open().and_then(|files| check(&files).map(|()| files)) {
        Ok(files) => files,
        Err(why) => return Err((why, Some(Box::new(setup)))),
    };
    let loaded = match files.load() {
        Ok(loaded) => loaded,
        Err(why) => return Err((why, Some(Box::new(setup)))),
    };
    repl::run(&loaded, setup).map_err(|why| (why, None))
}
