//! The prompt of `fathom run`, and the first message of `fathom chat`: from flags, files and stdin.

use super::Failure;
use super::tokenize::read_text;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Where a prompt comes from.
#[derive(clap::Args, Clone, Debug)]
pub struct PromptArgs {
    /// The prompt. In a chat on a terminal it is the first message.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// File with the prompt; - is stdin.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl PromptArgs {
    /// What flags and words say; `None`: nothing.
    pub(super) fn text(&self, words: Option<String>) -> Result<Option<String>, Failure> {
        let file = self.file.as_deref().map(read).transpose()?;
        let parts = [self.prompt.clone().or(words), file];
        let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        Ok((!parts.is_empty()).then(|| parts.join("\n\n")))
    }

    /// The same, followed by stdin unless that is a terminal.
    pub(super) fn with_stdin(&self, words: Option<String>, expected: &str) -> Result<String, Failure> {
        let stdin = Path::new("-");
        let more = !std::io::stdin().is_terminal() && self.file.as_deref() != Some(stdin);
        let parts = [self.text(words)?, more.then(|| read(stdin)).transpose()?];
        let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(Failure::usage(format!("expected {expected}; found none")));
        }
        Ok(parts.join("\n\n"))
    }
}

/// A file or stdin without its last line end.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = read_text(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
