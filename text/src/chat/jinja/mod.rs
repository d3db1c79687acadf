//! Templates as Python programs run them, and contained: they come with a model file and are not trusted.
//!
//! Work is counted by the engine (fuel), and so is most of the memory. What it does not count is watched from outside
//! ([`contained`]): the stack there is deep enough for all that the limits on sources and values leave.

mod json;
mod methods;
mod rewrite;

pub(super) use json::{escape, to_value};

use crate::contained;
use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State};
use std::sync::Arc;

/// Steps a template may take: a few hundred for each of some thousand messages, or about a hundred megabytes of text.
const FUEL: u64 = 1 << 21;
const NAME: &str = "chat";

/// A compiled template.
#[derive(Clone, Debug)]
pub(super) struct Program {
    environment: Arc<Environment<'static>>,
    /// Whether it looks at the tools.
    pub takes_tools: bool,
}

impl Program {
    /// Compiles a template. The error says what is wrong with it.
    pub(super) fn new(source: &str) -> Result<Program, String> {
        let source = source.to_owned();
        contained::run(move || {
            let source = rewrite::rewrite(&source)?;
            let mut environment = environment().map_err(|error| problem(&error))?;
            environment.add_template_owned(NAME, source).map_err(|error| problem(&error))?;
            let compiled = environment.get_template(NAME).map_err(|error| problem(&error))?;
            let takes_tools = compiled.undeclared_variables(false).contains("tools");
            Ok(Program { environment: Arc::new(environment), takes_tools })
        })
    }

    /// Runs it with these variables.
    pub(super) fn render(&self, variables: Value) -> Result<String, String> {
        let environment = Arc::clone(&self.environment);
        contained::run(move || {
            let template = environment.get_template(NAME).map_err(|error| problem(&error))?;
            template.render(variables).map_err(|error| problem(&error))
        })
    }
}

fn problem(error: &Error) -> String {
    let mut problem = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        problem = format!("{problem}: {inner}");
        cause = inner.source();
    }
    problem.chars().take(400).collect()
}

/// What templates may use, as in transformers.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|out, _state, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&json::str(value)?).map_err(Error::from),
    });
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_filter(
        "tojson",
        |state: &State<'_, '_>, value: Value, rest: Rest<Value>, options: Kwargs| {
            json::tojson(state, &value, rest, options)
        },
    );
    environment.add_filter("string", |value: Value| json::str(&value));
    environment.add_filter("format", |text: String, args: Rest<Value>| {
        methods::text_format(FormatStyle::Printf, &text, &args)
    });
    environment.add_filter("center", |state: &mut State<'_, '_>, text: Value, width: Option<i64>| {
        methods::call(state, &text, "center", &[Value::from(width.unwrap_or(80))])
    });
    environment.add_filter(rewrite::MODULO, |left: Value, right: Value| methods::modulo(&left, &right));
    environment.add_function("strftime_now", strftime_now);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    Ok(environment)
}

/// The local date and time in C's format.
fn strftime_now(format: String) -> Result<String, Error> {
    let failed =
        |problem: String| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {problem}"));
    if format.len() > 1000 || format.as_bytes().windows(4).any(|part| part.iter().all(u8::is_ascii_digit)) {
        return Err(failed("expected a format of at most 1000 bytes, without widths".to_owned()));
    }
    jiff::fmt::strtime::format(&format, &jiff::Zoned::now()).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
