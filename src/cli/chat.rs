//! `fathom chat`: a conversation.

use super::Failure;
use super::keep::KeepArgs;
use super::model::ModelArgs;
use super::run::{self, How};
use super::schema::SchemaArgs;
use super::talk::TalkArgs;
use super::tools::ToolArgs;
use crate::repl::{self, Begin, Setup};
use std::io::IsTerminal;

/// Talk with a model; `fathom` alone does this with the built-in one.
///
/// If stdin is no terminal, all of it is one prompt and the answer goes to stdout, as with `fathom run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Go on with the conversation of last time, with the settings that it had.
    #[arg(long = "continue", conflicts_with_all = ["session", "no_history"])]
    go_on: bool,
    /// Go on with the kept conversation of this name, with its settings; if there is none, a new one gets the name.
    #[arg(long, value_name = "NAME", conflicts_with = "no_history")]
    session: Option<String>,
    /// Keep neither what is typed nor the conversations for the next time.
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
}

/// Runs the verb.
///
/// # Errors
/// A model that cannot be loaded or has no chat format, a prompt that cannot be read or does not fit.
pub fn run(args: Args) -> Result<(), Failure> {
    let (toolbox, schema) = (args.tools.toolbox()?, args.schema.schema()?);
    if !std::io::stdin().is_terminal() {
        if args.go_on || args.session.is_some() {
            return Err(Failure::usage(
                "--continue and --session are for chats on a terminal; stdin is none",
            ));
        }
        let how = How { talk: &args.talk, keep: &args.keep, raw: None, json: None, schema: schema.as_ref() };
        return run::answer(&args.model, &how, toolbox, run::stdin_prompt()?);
    }
    let files = args.model.open()?;
    args.talk.sampling.adjust.check(files.n_tokens()).map_err(Failure::usage)?;
    let loaded = files.load()?;
    let begin = match args.session {
        Some(name) => Some(Begin::Named(name)),
        None => args.go_on.then_some(Begin::Last),
    };
    repl::run(
        &loaded,
        Setup { talk: args.talk, toolbox, schema, keep: args.keep, remembers: !args.no_history, begin },
    )
}
