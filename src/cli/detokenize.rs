//! `fathom detokenize`: the text of token ids.

use super::loading::map;
use super::model::Which;
use super::tokenize::read;
use super::{Failure, print};
use fathom_text::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// Print the text of token ids.
///
/// The output is exactly the bytes of the tokens; control tokens are spelt out.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Token ids, separated by commas or spaces.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    ids: Vec<String>,
    /// File with token ids, separated by commas or white space; - is stdin.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// A model without this kind of tokenizer, ids that cannot be read or that no token has.
pub fn run(args: Args) -> Result<(), Failure> {
    let text = match &args.file {
        Some(path) => String::from_utf8_lossy(&read(path)?).into_owned(),
        None => args.ids.join(" "),
    };
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let ids = words
        .enumerate()
        .map(|(index, word)| {
            let wrong = |_| Failure::usage(format!("token {index}: expected a token id, found {word:?}"));
            word.parse().map_err(wrong)
        })
        .collect::<Result<Vec<u32>, Failure>>()?;
    let bytes = load(args.which.path())?.decode_bytes(&ids).map_err(Failure::usage)?;
    print::answer_bytes(&bytes)
}

/// The tokenizer of a model file; no tensor is touched.
pub(super) fn load(model: Option<&Path>) -> Result<Tokenizer, Failure> {
    let (mapping, name) = map(model)?;
    let invalid = |error: &dyn std::fmt::Display| Failure::invalid(format!("{name}: {error}"));
    let gguf = mapping.gguf().map_err(|error| invalid(&error))?;
    Tokenizer::from_gguf(gguf.metadata()).map_err(|error| invalid(&error))
}
