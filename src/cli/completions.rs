//! `fathom completions`: what a shell needs to complete a command line.

use super::{Cli, Failure, print};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a shell's completion script.
///
/// bash: fathom completions bash > ~/.local/share/bash-completion/completions/fathom
///
/// zsh: fathom completions zsh > a folder of $fpath, as _fathom
///
/// fish: fathom completions fish > ~/.config/fish/completions/fathom.fish
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the verb.
///
/// # Errors
/// An answer that cannot be written.
pub fn run(args: Args) -> Result<(), Failure> {
    // The generators take a failed write for a mistake in the program, and memory does not fail.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fathom", &mut script);
    print::answer_bytes(&script)
}
