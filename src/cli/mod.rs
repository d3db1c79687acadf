//! The command line: one file per verb.

pub mod bench;
mod bench_table;
pub mod detokenize;
pub mod doctor;
mod flags;
pub mod inspect;
pub mod logits;
mod print;
pub mod quantize;
pub mod synth;
pub mod tokenize;
mod writing;

use clap::{Parser, Subcommand};
use std::fmt::{self, Display};

/// DeepSeek-V3.2 on a workstation's CPU.
#[derive(Parser, Debug)]
#[command(name = "fathom", version, about, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "each verb's help is the documentation of its arguments")]
pub enum Verb {
    Quantize(quantize::Args),
    Synth(synth::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Logits(logits::Args),
    Tokenize(tokenize::Args),
    Detokenize(detokenize::Args),
}

impl Cli {
    /// Runs the verb.
    ///
    /// # Errors
    /// What the person is told, and the exit code.
    pub fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Quantize(args) => quantize::run(args),
            Verb::Synth(args) => synth::run(args),
            Verb::Inspect(args) => inspect::run(args),
            Verb::Doctor(args) => doctor::run(args),
            Verb::Bench(args) => bench::run(args),
            Verb::Logits(args) => logits::run(args),
            Verb::Tokenize(args) => tokenize::run(args),
            Verb::Detokenize(args) => detokenize::run(args),
        }
    }
}

/// The end of a run that did not succeed: one message, one exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1 something failed, 2 usage, 3 model or file invalid, 4 does not fit in memory, 130 interrupted.
    pub code: u8,
    /// What happened, where, and what to do.
    pub message: String,
}

/// The message as a terminal may see it: some of it may come from a hostile file.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::plain(&self.message))
    }
}

impl Failure {
    /// Something failed while running.
    pub fn runtime(message: impl Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }

    /// A model or file is invalid.
    pub fn invalid(message: impl Display) -> Failure {
        Failure { code: 3, message: message.to_string() }
    }

    /// It does not fit in memory.
    pub fn memory(message: impl Display) -> Failure {
        Failure { code: 4, message: message.to_string() }
    }

    /// The person stopped it.
    pub fn interrupted(message: impl Display) -> Failure {
        Failure { code: 130, message: message.to_string() }
    }
}
