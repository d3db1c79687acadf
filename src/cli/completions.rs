//! `fathom completions`: what a shell needs to complete a command line.

use super::{Cli, Failure, print};
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use std::any::TypeId;
use std::path::PathBuf;

/// Print the completion script for a shell.
///
/// bash: fathom completions bash > ~/.local/share/bash-completion/completions/fathom
///
/// zsh: fathom completions zsh > _fathom, in a folder that is in $fpath
///
/// fish: fathom completions fish > ~/.config/fish/completions/fathom.fish
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Shell to print the script for.
    #[arg(ignore_case = true)]
    shell: Shell,
}

/// With what each value is: shells offer files where a path is wanted, and nothing but the known values elsewhere.
fn hinted(command: Command) -> Command {
    let hint = |arg: &Arg| {
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        match name {
            "DIR" | "FOLDER" => ValueHint::DirPath,
            // A schema is typed, or a file.
            _ if is_path || name.contains("FILE") => ValueHint::FilePath,
            _ => ValueHint::Other,
        }
    };
    let with_hint = |arg: Arg| {
        let hint = hint(&arg);
        if arg.get_action().takes_values() { arg.value_hint(hint) } else { arg }
    };
    command.mut_args(with_hint).mut_subcommands(hinted)
}

/// Runs the verb.
///
/// # Errors
/// An answer that cannot be written.
pub fn run(args: Args) -> Result<(), Failure> {
    // The generators take a failed write for a mistake in the program, and memory does not fail.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut hinted(Cli::command()), "fathom", &mut script);
    print::answer_bytes(&script)
}
