//! Flags of structured output.

use super::Failure;
use super::show::aside;
use crate::generate::Constraint;
use crate::tokenizer::Tokenizer;
use fathom_quantize::input;
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
            (Some(typed), _) if typed.trim_start().starts_with('{') => match serde_json::from_str(typed) {
                Ok(schema) => Ok(Some(Schema { from: "--json-schema".to_owned(), schema })),
                Err(error) => {
                    Err(Failure::usage(format!("--json-schema: expected a JSON schema, found {error}")))
                }
            },
            (Some(typed), _) if !Path::new(typed).exists() => Err(Failure::usage(format!(
                "--json-schema: expected a JSON schema, which begins with {{, or a file with one, found {typed:?}"
            ))),
            (Some(path), _) => Schema::read(Path::new(path)).map(Some),
            (None, Some(path)) => Schema::read(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Schema {
    fn read(path: &Path) -> Result<Schema, Failure> {
        let from = path.display().to_string();
        let schema = input::read_or_pipe(path, LARGEST).map_err(|error| error.to_string()).and_then(|text| {
            serde_json::from_slice(&text).map_err(|error| format!("expected a JSON schema, found {error}"))
        });
        match schema {
            Ok(schema) => Ok(Schema { from, schema }),
            Err(problem) => Err(Failure::invalid(format!("{from}: {problem}"))),
        }
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
