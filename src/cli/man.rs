//! `fathom man`: the manual, made from the same words as the help.

use super::{Cli, EXIT_CODES, Failure, print};
use crate::repl::table::{self, KEYS};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use fathom_files::input;
use fathom_files::output::{Appending, Target};
use std::io;
use std::path::{Path, PathBuf};

/// Print a manual page, or write all pages to a folder.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Command to print the page of [default: the page of the program itself].
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    verb: Option<String>,
    /// Write all pages to this folder: fathom.1, fathom-quantize.1 and so on.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Replace files in that folder whose contents differ.
    #[arg(long, requires = "dir")]
    force: bool,
}

/// What the environment changes.
const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "FATHOM_FLAG",
        "The value of --flag if it is not on the command line: FATHOM_CTX_SIZE for --ctx-size. Flags without a value take true or false.",
    ),
    ("FATHOM_CONFIG", "Your settings file, instead of ~/.config/fathom/config.toml."),
    ("FATHOM_SYSTEM_CONFIG", "The system's settings file, instead of /etc/fathom/config.toml."),
    ("FATHOM_CACHE_DIR", "Folder of the prompt cache, instead of ~/.cache/fathom/prompts."),
    (
        "FATHOM_SIMD",
        "Highest instruction set to use, such as avx2 or scalar; fathom doctor shows which one is in use.",
    ),
    ("NO_COLOR", "If set, no colours are used."),
];

/// Runs the verb.
///
/// # Errors
/// A verb that is none, a folder that cannot be written.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    if let Some(dir) = &args.dir {
        return write_all(&program, dir, args.force);
    }
    let command = match &args.verb {
        None => &program,
        Some(verb) => program.find_subcommand(verb).ok_or_else(|| {
            let verbs: Vec<_> = program.get_subcommands().map(Command::get_name).collect();
            Failure::usage(format!("expected a command ({}), found `{verb}`", verbs.join(", ")))
        })?,
    };
    let (_, text) = page(command).map_err(Failure::runtime)?;
    print::answer_bytes(&text)
}

fn write_all(program: &Command, dir: &Path, force: bool) -> Result<(), Failure> {
    let io = |path: &Path, error: io::Error| Failure::runtime(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(|error| io(dir, error))?;
    let mut pages = Vec::new();
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        let (name, text) = page(command).map_err(Failure::runtime)?;
        let target = Target { replace: force, ..Target::new(dir.join(name)) };
        // What a run before this one wrote is what it should be.
        if input::read(&target.path, text.len() as u64).is_ok_and(|found| found == text) {
            continue;
        }
        // All names are looked at before the first page is written.
        target.check()?;
        pages.push((target, text));
    }
    for (target, text) in pages {
        let mut file = Appending::create(&target, text.len() as u64)?;
        file.write(&text)?;
        file.finish(|| false)?;
    }
    Ok(())
}

/// A page's file name and text.
fn page(command: &Command) -> Result<(String, Vec<u8>), io::Error> {
    let man =
        Man::new(command.clone()).source(concat!("Fathom ", env!("CARGO_PKG_VERSION"))).manual("Fathom");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::default();
    let codes = EXIT_CODES.map(|(code, meaning)| (code.to_string(), meaning));
    if command.get_name() == "chat" {
        let commands: Vec<_> = table::commands().collect();
        let commands = commands.iter().map(|(usage, does)| (usage.as_str(), does.as_str()));
        list(&mut rest, "COMMANDS IN A CHAT", commands);
        list(&mut rest, "KEYS", KEYS.into_iter());
    }
    list(&mut rest, "EXIT STATUS", codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)));
    list(&mut rest, "ENVIRONMENT", ENVIRONMENT.into_iter());
    rest.to_writer(&mut text)?;
    Ok((man.get_filename(), text))
}

fn list<'t>(roff: &mut Roff, heading: &str, entries: impl Iterator<Item = (&'t str, &'t str)>) {
    roff.control("SH", [heading]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the chat has every command that can be typed in one, and every key.
    #[test]
    fn the_chat_s_page_has_its_commands_and_keys() {
        let mut program = Cli::command();
        program.build();
        let (_, text) = page(program.find_subcommand("chat").unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap().replace("\\-", "-");
        for (usage, does) in table::commands() {
            assert!(text.contains(&format!("\\fB{usage}\\fR\n{does}\n")), "{usage}: {text}");
        }
        for (keys, does) in KEYS {
            assert!(text.contains(&format!("\\fB{keys}\\fR\n{does}\n")), "{keys}: {text}");
        }
        let (_, other) = page(program.find_subcommand("run").unwrap()).unwrap();
        assert!(!String::from_utf8(other).unwrap().contains("/regen"));
    }
}
