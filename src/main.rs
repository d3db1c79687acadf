//! The program `fathom`: parses, runs, says what went wrong, sets the exit code.
#![deny(clippy::disallowed_macros)]

use fathom::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::catch_signals().and_then(|()| Cli::read(std::env::args_os())).and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.code)
        }
    }
}
