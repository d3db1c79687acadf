//! The program `fathom`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Convert a checkpoint to GGUF.
    Quantize(fathom::cli::quantize::Args),
    /// Make up a model of true size.
    Synth(fathom::cli::synth::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Quantize(args) => fathom::cli::quantize::run(args),
        Verb::Synth(args) => fathom::cli::synth::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
