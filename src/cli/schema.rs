//! Flags of structured output.

use super::Failure;
use super::show::aside;
use crate::files;
use fathom_files::json;
use fathom_text::answer::Constraint;
use fathom_text::tokenizer::Tokenizer;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Larger schemas are a mistake.
const LARGEST: u64 = 16 << 20;

/// The form of the answer.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answer")]
pub struct SchemaArgs {
    /// Structured output: the answer conforms to this JSON schema, or to the one in this file. {} allows any JSON.
    ///
    /// The model does not see the schema, so the prompt should ask for JSON and describe it. Reasoning is not restricted.
    /// Cannot be combined with --tools.
    #[arg(short, long, value_name = "SCHEMA|FILE", conflicts_with_all = ["json_schema_file", "tools"])]
    json_schema: Option<String>,
    /// Structured output with the JSON schema in this file.
    #[arg(long, visible_alias = "jf", value_name = "FILE", conflicts_with = "tools")]
    json_schema_file: Option<PathBuf>,
}

/// A schema, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    from: String,
    schema: Value,
}

impl SchemaArgs {
    /// What was asked for.
    pub(crate) fn schema(&self) -> Result<Option<Schema>, Failure> {
        match (&self.json_schema, &self.json_schema_file) {
            // No file's name begins like that, and every schema does.
            (Some(typed), _) if is_schema(typed) => match json::read(typed.as_bytes()) {
                Ok(schema) => Ok(Some(Schema { from: "--json-schema".to_owned(), schema })),
                Err(found) => {
                    Err(Failure::usage(format!("--json-schema: expected a JSON schema, found {found}")))
                }
            },
            (Some(typed), _) if !Path::new(typed).exists() && !is_file_name(typed) => {
                Err(Failure::usage(format!(
                    "--json-schema: expected a JSON schema, which begins with {{ or is `true`, or a file with one, found {typed:?}"
                )))
            }
            (Some(path), _) => Schema::read(Path::new(path)).map(Some),
            (None, Some(path)) => Schema::read(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Whether it is a schema and not the name of a file that has one.
fn is_schema(typed: &str) -> bool {
    let typed = typed.trim();
    typed.starts_with('{') || (matches!(typed, "true" | "false") && !Path::new(typed).exists())
}

/// Whether it can only be meant as a file: what is wrong with it is then the file's fault.
fn is_file_name(typed: &str) -> bool {
    let typed = typed.to_ascii_lowercase();
    typed.ends_with(".json")
        || (typed.contains(std::path::is_separator) && !typed.contains(char::is_whitespace))
}

impl Schema {
    fn read(path: &Path) -> Result<Schema, Failure> {
        let from = path.display().to_string();
        let schema = files::read_json_or_pipe(path, LARGEST, "a JSON schema").map_err(Failure::invalid)?;
        Ok(Schema { from, schema })
    }

    /// For the vocabulary of a model.
    pub(crate) fn constraint(&self, tokenizer: &Tokenizer) -> Result<Constraint, Failure> {
        let constraint = Constraint::json_schema(tokenizer, &self.schema);
        let constraint = constraint.map_err(|error| Failure::invalid(format!("{}: {error}", self.from)))?;
        for note in constraint.notes() {
            aside(&format!("note: {}: {note}", self.from));
        }
        Ok(constraint)
    }
}
