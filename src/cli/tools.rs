//! Flags of tools.

use super::Failure;
use crate::tools::{Limits, Toolbox};
use fathom_text::chat::{Message, System, Tool};
use std::path::PathBuf;
use std::time::Duration;

/// What the model may call.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Tools")]
pub struct ToolArgs {
    /// JSON file with the tools that the model may call: an array of function schemas as in OpenAI's API, or {"tools":
    /// [...]}.
    ///
    /// Calls are shown. If a tool has no command (--tool-cmd), `chat` asks you for its result, and `run` prints the call as
    /// JSON and ends.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Shell command that runs when the model calls the tool NAME. Can be repeated.
    ///
    /// The command gets the arguments as JSON on stdin and in FATHOM_TOOL_ARGUMENTS, and the name of the tool in
    /// FATHOM_TOOL_NAME. Its output is the result. You are asked before it runs.
    #[arg(long = "tool-cmd", value_name = "NAME=COMMAND", requires = "tools", value_parser = command)]
    commands: Vec<(String, String)>,
    /// Run the commands of tools without asking first.
    #[arg(long, requires = "tools")]
    yes: bool,
    /// Time limit of a tool's command, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    tool_timeout: Duration,
    /// Maximum number of bytes of a command's output that are passed to the model.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().output)]
    tool_output_limit: usize,
    /// Maximum number of times in a row that the model may call tools.
    #[arg(long, value_name = "N", default_value_t = 8)]
    tool_rounds: usize,
}

fn command(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
            Ok((name.to_owned(), command.to_owned()))
        }
        _ => Err("expected NAME=COMMAND".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, a number from 0.001 to 1000000, found `{text}`")),
    }
}

impl ToolArgs {
    /// What was asked for; without --tools no tools, but limits for those that a kept conversation may bring.
    pub(crate) fn toolbox(&self) -> Result<Toolbox, Failure> {
        let mut toolbox = match &self.tools {
            Some(path) => Toolbox::read(path).map_err(Failure::invalid)?,
            None => Toolbox::empty(),
        };
        toolbox.limits = Limits { timeout: self.tool_timeout, output: self.tool_output_limit };
        toolbox.rounds = self.tool_rounds;
        for (name, command) in &self.commands {
            let add = toolbox.add_command(name, command);
            add.map_err(|problem| Failure::usage(format!("--tool-cmd: {problem}")))?;
        }
        if self.yes {
            toolbox.allow_all();
        }
        Ok(toolbox)
    }
}

/// What stands before a conversation, if anything does.
pub(crate) fn system(text: Option<&str>, tools: &[Tool]) -> Option<Message> {
    if text.is_none() && tools.is_empty() {
        return None;
    }
    let content = text.unwrap_or_default().to_owned();
    Some(Message::System(System { content, tools: tools.to_vec(), ..System::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_a_name_and_may_hold_anything() {
        assert_eq!(command("a=b=c 'd'"), Ok(("a".into(), "b=c 'd'".into())));
        for wrong in ["a", "=b", "a=", "a= "] {
            assert!(command(wrong).unwrap_err().contains("NAME=COMMAND"), "{wrong}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "x", "inf", "NaN"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
