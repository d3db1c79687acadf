//! The command line: one file for each verb.

pub mod quantize;
pub mod synth;
mod writing;

/// Why the program ends with another code than 0.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What to print.
    pub message: String,
}

impl Failure {
    /// Something went wrong outside the model: exit code 1.
    pub fn runtime(message: impl Into<String>) -> Self {
        Failure { code: 1, message: message.into() }
    }
    /// The command line asks for something impossible: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure { code: 2, message: message.into() }
    }
    /// The model or file is not what it should be: exit code 3.
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure { code: 3, message: message.into() }
    }
    /// A signal asked to stop: exit code 130.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Failure { code: 130, message: message.into() }
    }
}
