//! Fathom: DeepSeek-V3.2 on a workstation's CPU.
//!
//! This is the program: its commands, the conversation, the tools of a model. What it is made of are crates of their own:
//! `fathom_engine` goes from a file to logits, `fathom_text` from text to tokens and back, `fathom_quantize` makes files of
//! checkpoints, `fathom_measure` tells how fast and how good.
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_macros))]

/// A line for the person, to stderr. A stderr that is closed, full or read by nobody ends nothing: the line is dropped.
macro_rules! tell {
    ($($line:tt)*) => { $crate::cli::print::tell(format_args!($($line)*)) };
}

pub mod builtin;
pub mod cli;
mod closest;
mod files;
#[cfg(test)]
#[path = "../text/src/fuzz.rs"]
mod fuzz;
pub mod generate;
mod repl;
pub mod tools;
