//! Flags of answers that are to have a form.

use super::Failure;
use super::show::aside;
use crate::generate::Constraint;
use crate::tokenizer::Tokenizer;
use serde_json::Value;
use std::path::PathBuf;

/// The form of the answer.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Answer")]
pub struct SchemaArgs {
    /// JSON schema that the answer follows; its reasoning is free. {} is any JSON.
    ///
    /// The model is not told: the question should ask for JSON and say what belongs into it. Tools are not called then.
    #[arg(short, long, value_name = "SCHEMA", conflicts_with_all = ["json_schema_file", "tools"])]
    json_schema: Option<String>,
    /// File with the JSON schema that the answer follows; also -jf.
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
        let (from, text) = match (&self.json_schema, &self.json_schema_file) {
            (Some(text), _) => ("--json-schema".to_owned(), text.clone()),
            (None, Some(path)) => {
                let from = path.display().to_string();
                let text = std::fs::read_to_string(path);
                (from.clone(), text.map_err(|error| Failure::invalid(format!("{from}: {error}")))?)
            }
            (None, None) => return Ok(None),
        };
        match serde_json::from_str(&text) {
            Ok(schema) => Ok(Some(Schema { from, schema })),
            Err(error) => {
                Err(invalid(&from, &format!("expected a JSON schema, found {error}"), &self.json_schema))
            }
        }
    }
}

/// What is typed is the command line's fault, what is read the file's.
fn invalid(from: &str, problem: &str, typed: &Option<String>) -> Failure {
    let message = format!("{from}: {problem}");
    if typed.is_some() { Failure::usage(message) } else { Failure::invalid(message) }
}

impl Schema {
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
