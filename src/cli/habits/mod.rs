//! What people type who come from other programs: llama.cpp's flags with several letters, ollama's commands, a prompt or a
//! model without a flag. All of it becomes the command line's own words before the parser sees it, or is refused with what
//! stands for it here.

mod tables;
mod words;

use super::Failure;
use super::settings::{BUILT_IN, Settings};
use crate::closest::closest;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};
use tables::{COMMANDS, FLAGS, Habit, Row, SUBCOMMANDS};

/// Likeness of words that can be meant.
const CLOSE: f64 = 0.8;

/// A command line in the program's own words.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub args: Vec<OsString>,
    /// What the person should know about words that were left out or understood in one of two ways.
    pub notes: Vec<String>,
}

/// Reads a command line as people write it, the program's name first.
///
/// # Errors
/// A word of another program for which nothing stands here: the message says so, and what to do.
pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
    program: &Command,
    settings: &Settings,
) -> Result<Line, Failure> {
    let mut args = args.into_iter();
    let mut line = Line { args: args.next().into_iter().collect(), notes: Vec::new() };
    let mut rest: Vec<OsString> = args.collect();
    let own = rest.iter().take_while(|arg| is_switch_of(program, arg)).count();
    line.args.extend(rest.drain(..own));
    let Some(first) = rest.first() else {
        // `--help` and `--version` end the program; without a word at all it is a chat.
        line.args.extend((!asks_about(&line.args[1..])).then(|| "chat".into()));
        return Ok(line);
    };
    let verb = match verb(first, program, settings)? {
        Some(name) => {
            rest.remove(0);
            name
        }
        None => "chat".into(),
    };
    line.args.push(verb.clone());
    match verb.to_str().and_then(|name| whole(name, program)) {
        Some(command) if !command.has_subcommands() => {
            let found = words::walk(rest, &command, &mut line.notes)?;
            line.args.extend(words::arrange(found, &command, settings, &mut line.notes)?);
        }
        _ => {
            below(&verb, &rest)?;
            line.args.extend(rest);
        }
    }
    Ok(line)
}

/// Refuses what other programs have below a command of this name.
fn below(verb: &OsStr, rest: &[OsString]) -> Result<(), Failure> {
    let (Some(verb), Some(word)) = (verb.to_str(), rest.first().and_then(|word| word.to_str())) else {
        return Ok(());
    };
    match SUBCOMMANDS.iter().find(|(of, words, _)| *of == verb && words.contains(&word)) {
        Some((.., why)) => Err(Failure::usage(format!("there is no `fathom {verb} {word}`: {why}"))),
        None => Ok(()),
    }
}

/// The parser offers whatever is most alike, which may be nothing like it.
pub(super) fn without_far_fetched_tip(mut error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.trim_start_matches('-').to_owned()),
        _ => None,
    };
    let (found, offered) = (text(ContextKind::InvalidArg), text(ContextKind::SuggestedArg));
    if let (Some(found), Some(offered)) = (found, offered)
        && closest(&found, [offered.as_str()], CLOSE).is_none()
    {
        error.remove(ContextKind::SuggestedArg);
        // It names what was offered.
        error.remove(ContextKind::Usage);
    }
    error
}

/// A command with the flags that all commands have, as the parser will see it.
fn whole(name: &str, program: &Command) -> Option<Command> {
    let command = program.find_subcommand(name)?.clone();
    let is_own = |arg: &Arg| command.get_arguments().any(|own| own.get_id() == arg.get_id());
    let others: Vec<Arg> =
        program.get_arguments().filter(|arg| arg.is_global_set() && !is_own(arg)).cloned().collect();
    Some(command.args(others))
}

fn asks_about(args: &[OsString]) -> bool {
    args.iter().any(|arg| ["-h", "--help", "-V", "--version"].iter().any(|known| arg == known))
}

/// Whether a word is a flag without a value that stands before the command.
fn is_switch_of(program: &Command, word: &OsStr) -> bool {
    let known = |arg: &Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        !arg.get_action().takes_values() && [long, short].iter().flatten().any(|name| word == name.as_str())
    };
    program.get_arguments().any(known) || asks_about(&[word.to_owned()])
}

/// The command that the first word is; `None`: it is the chat's own, a MODEL or a flag.
fn verb(word: &OsStr, program: &Command, settings: &Settings) -> Result<Option<OsString>, Failure> {
    let Some(text) = word.to_str() else { return Ok(None) };
    if program.find_subcommand(text).is_some() || text == "help" {
        return Ok(Some(word.to_owned()));
    }
    if text.starts_with('-') || words::names_a_model(word, settings) {
        return Ok(None);
    }
    if let Some((_, why)) = COMMANDS.iter().find(|(names, _)| names.contains(&text)) {
        return Err(Failure::usage(format!("`{text}` is not a Fathom command: {why}")));
    }
    let names = program.get_subcommands().map(Command::get_name);
    let aliases = settings.aliases.iter().map(|alias| alias.name.as_str());
    let meant = closest(text, names.chain(aliases).chain([BUILT_IN]), CLOSE);
    let meant = meant.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    Err(Failure::usage(format!(
        "expected a command (see `fathom --help`), or a model's file, folder or alias, found {text:?}{meant}\n  \
         `fathom run \"TEXT\"` answers a prompt, `fathom chat -p \"TEXT\"` begins a chat with it"
    )))
}

/// The row about a flag for a command, if there is one. The first one counts.
fn row(name: &str, command: &Command) -> Option<&'static Row> {
    FLAGS.iter().find(|row| row.is_for(command.get_name()) && row.has(name) && row.can_stand(command))
}

impl Row {
    fn is_for(&self, verb: &str) -> bool {
        self.verbs.is_empty() || self.verbs.contains(&verb)
    }

    /// A name that ends with a star stands for all that begin so.
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| match known.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *known == name,
        })
    }

    /// Another name means something only where the flag itself is known.
    fn can_stand(&self, command: &Command) -> bool {
        match self.habit {
            Habit::Is(flag) => find(command, flag).is_some(),
            _ => true,
        }
    }
}

/// The argument that a word such as `--temp` or `-n` names.
fn find<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let long = word.strip_prefix("--");
    let short = word.strip_prefix('-').and_then(|rest| {
        let mut letters = rest.chars();
        letters.next().filter(|_| letters.next().is_none())
    });
    command.get_arguments().find(|arg| match (long, short) {
        (Some(long), _) => {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        }
        (None, Some(short)) => {
            arg.get_short() == Some(short)
                || arg.get_all_short_aliases().is_some_and(|all| all.contains(&short))
        }
        (None, None) => false,
    })
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests;
