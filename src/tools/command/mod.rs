//! A command that answers a call.
//!
//! It gets the arguments as JSON on stdin and in a variable, never in its command line: no argument is ever read by the
//! shell. It has a process group of its own, so that all it started ends with it.

#[cfg(unix)]
mod unix;

use fathom_text::chat::ToolCall;
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How far a command may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Then it is ended.
    pub timeout: Duration,
    /// Bytes of its output that are taken.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout: Duration::from_secs(60), output: 64 << 10 }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, well.
    Success,
    /// By itself; what it says about it.
    Failed(String),
    /// It took too long.
    TimedOut,
    /// A person stopped it.
    Interrupted,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it wrote, as text.
    pub output: String,
    /// The end of what it wrote to stderr.
    pub stderr: String,
    /// How it ended.
    pub end: End,
}

impl Ran {
    /// What the model is told; `limits` are those it ran under.
    pub fn result(&self, limits: Limits) -> String {
        let problem = match &self.end {
            End::Success => return self.output.clone(),
            End::Failed(how) => how.clone(),
            End::TimedOut => format!("timed out after {} s", limits.timeout.as_secs_f64()),
            End::Interrupted => "stopped by the user".to_owned(),
        };
        failure(&problem, &[("output", &self.output), ("stderr", &self.stderr)])
    }
}

/// A result that says what went wrong.
pub fn failure(problem: &str, more: &[(&str, &str)]) -> String {
    let mut object = json!({"error": problem});
    for (key, text) in more.iter().filter(|(_, text)| !text.is_empty()) {
        object[*key] = Value::from(*text);
    }
    object.to_string()
}

/// Runs `command` for `call`.
///
/// # Errors
/// A command that cannot be started.
#[cfg(unix)]
pub fn run(command: &str, call: &ToolCall, limits: Limits, stop: &AtomicBool) -> Result<Ran, String> {
    unix::run(command, call, limits, stop)
}

/// The same where there is no shell to run it.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn run(_: &str, _: &ToolCall, _: Limits, _: &AtomicBool) -> Result<Ran, String> {
    Err("tool commands need the shell `sh`, which this system does not have".to_owned())
}
