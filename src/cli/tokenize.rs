//! `fathom tokenize`: the ids of a text.

use super::detokenize::load;
use super::model::Which;
use super::{Failure, print};
use crate::files;
use fathom_files::input::{self, ReadError};
use fathom_text::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Print the token ids of a text.
///
/// The tokenizer is the one in the model file. No BOS token is added.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The text.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Vec<String>,
    /// File with the text; - is stdin.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read control tokens that are spelt out in the text, such as <｜User｜>, as those tokens.
    #[arg(long)]
    special: bool,
    /// Print a JSON array of objects: the id, the text, and the bytes of a token that is only a part of a character.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// A model without this kind of tokenizer, a text that cannot be read.
pub fn run(args: Args) -> Result<(), Failure> {
    let text = match &args.file {
        Some(path) => read_text(path)?,
        None => args.text.join(" "),
    };
    let tokenizer = load(args.which.path())?;
    let ids = if args.special { tokenizer.encode_with_special(&text) } else { tokenizer.encode_plain(&text) };
    if args.json {
        let list = ids.iter().map(|&id| describe(&tokenizer, id)).collect();
        return print::json(&list);
    }
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    print::answer(&(words.join(" ") + "\n"))
}

/// Bytes are given where text would lose them.
fn describe(tokenizer: &Tokenizer, id: u32) -> Value {
    let bytes = tokenizer.bytes(id).unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"id": id, "text": text}),
        Err(_) => json!({"id": id, "text": String::from_utf8_lossy(bytes), "bytes": bytes}),
    }
}

/// A text file, or stdin for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    files::text(read(path)?).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failure::invalid(format!(
            "{name}: expected UTF-8 text, found other bytes at offset {place}; convert the file to UTF-8 first"
        ))
    })
}

/// A text that is larger is a mistake: a hundred times the longest context, and more than any text for measuring.
const LARGEST_TEXT: u64 = 256 << 20;

/// All of stdin. A person who did not know that it is waited for is told so.
fn stdin() -> Result<Vec<u8>, ReadError> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (comes, ended) = channel::<()>();
    // Without a thread nothing is said.
    let _ = fathom_files::process::spawn("fathom-stdin", move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let how = if std::io::stdin().is_terminal() {
                "Ctrl-D on a line of its own ends it"
            } else {
                "stdin is not a terminal; add < /dev/null if nothing should be read"
            };
            tell!("note: reading the text from stdin until it ends ({how})");
        }
    });
    let mut stdin = std::io::stdin().lock();
    // The first bytes say that somebody writes.
    let begun = stdin.fill_buf().map(<[u8]>::len);
    drop(comes);
    begun?;
    input::read_stream(stdin, LARGEST_TEXT)
}

/// A file or what a shell hands over as one, or stdin for `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let (name, read) = match path == Path::new("-") {
        true => ("stdin".to_owned(), stdin()),
        false => (path.display().to_string(), input::read_or_pipe(path, LARGEST_TEXT)),
    };
    read.map_err(|error| match error {
        ReadError::Io(_) if !error.is_missing() => Failure::runtime(format!("{name}: {error}")),
        error => Failure::invalid(format!("{name}: {error}")),
    })
}
