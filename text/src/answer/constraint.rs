//! Answers of a given form: a JSON schema leaves some tokens at each place and no others.
//!
//! The form is of the content; reasoning is free. What the crate `llguidance` computes from schema and vocabulary is the
//! set of tokens that may come next; the rest is masked before a token is drawn, so that greedy and sampled answers
//! follow alike. Drawing is as ever, and a seed repeats a text.

use super::schema::{Prepared, prepare};
use crate::contained;
use crate::tokenizer::{TokenKind, Tokenizer};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory, TokenParser};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::sync::Arc;

/// Between two parts of a JSON text: a space, or a new line and its indent. A model that likes white space would otherwise
/// write it until the context is full.
const WHITE: &str = r" |\r?\n[ \t]{0,32}";
/// Alternatives that may be open in one place of the text, each with a few steps.
const MOST_BRANCHES: usize = 50_000;
/// Schemas of schemas that are looked through for a mistake.
const DEEPEST: usize = 32;

/// A form that an answer is to have, for one vocabulary.
pub struct Constraint {
    matcher: Matcher,
    notes: Vec<String>,
}

impl Constraint {
    /// JSON that follows a schema.
    ///
    /// # Errors
    /// A schema that contradicts itself or asks for what cannot be enforced.
    pub fn json_schema(tokenizer: &Tokenizer, schema: &Value) -> Result<Constraint, String> {
        let schema = match schema {
            Value::Object(_) => schema.clone(),
            Value::Bool(true) => Value::Object(Map::new()),
            Value::Bool(false) => {
                return Err("at #: the schema is `false`, which no value follows".to_owned());
            }
            other => return Err(format!("expected a JSON schema, an object or `true`, found {other}")),
        };
        let trie = trie(tokenizer);
        contained::run(move || {
            let mut notes = Vec::new();
            let prepared = prepare(&schema, &mut notes)?;
            let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            // Without slices of the vocabulary: they are for servers with many requests.
            let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]);
            let mut factory = factory.map_err(|error| said(&error))?;
            factory.quiet();
            // The grammar in an error says nothing to whoever wrote the schema.
            let limits = factory.limits_mut();
            limits.verbose_errors = false;
            (limits.max_items_in_row, limits.step_max_items) = (MOST_BRANCHES, MOST_BRANCHES * 10);
            let mut matcher = match &prepared {
                Prepared::Schema(schema) => compile(&factory, schema)
                    .map_err(|problem| format!("at {}: {problem}", place(&factory, schema, &problem)))?,
                Prepared::Grammar(grammar) => matcher(&factory, TopLevelGrammar::from_lark(grammar.clone()))?,
            };
            // What takes too long for the first token is refused now and not in the middle of an answer.
            matcher.deep_clone().compute_mask_or_eos().map_err(|error| said(&error))?;
            notes.extend(matcher.grammar_warnings());
            Ok(Constraint { notes, matcher })
        })
    }

    /// What of the schema is not taken to the letter.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn compile(factory: &ParserFactory, schema: &Value) -> Result<Matcher, String> {
    let mut schema = schema.clone();
    with_options(&mut schema);
    matcher(factory, TopLevelGrammar::from_json_schema(schema))
}

/// How the compiler is to take a schema.
pub(super) fn with_options(schema: &mut Value) {
    if schema.is_object() && schema.get("x-guidance").is_none() {
        let options = JsonCompileOptions {
            whitespace_pattern: Some(WHITE.to_owned()),
            coerce_one_of: true,
            ..JsonCompileOptions::default()
        };
        options.apply_to(schema);
    }
}

fn matcher(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<Matcher, String> {
    let parser = factory.create_parser(grammar).map_err(|error| said(&error))?;
    check_words(&parser)?;
    let matcher = Matcher::new(Ok(parser));
    matcher.get_error().map_or(Ok(matcher), |error| Err(without_traces(&error)))
}

/// A number, text or name that nothing can be: an answer that comes to it could not go on.
fn check_words(parser: &TokenParser) -> Result<(), String> {
    let words = parser.parser.grammar().lexer_spec();
    let mut limits = ParserLimits::default();
    let mut states = words.to_regex_vec(&mut limits).map_err(|error| said(&error))?;
    for word in words.all_lexemes().iter().filter(|word| !words.skip_by_class.contains(word)) {
        let mut alone = words.alloc_lexeme_set();
        alone.add(word);
        if states.initial_state(&alone).is_dead() {
            return Err(
                "its keywords together allow no value, or no property beyond those it lists; remove one of them"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// What the compiler says, for people: its states and traces say nothing to them.
fn said(error: &impl Display) -> String {
    without_traces(&format!("{error:#}"))
}

fn without_traces(error: &str) -> String {
    let lines: Vec<&str> = error.lines().take_while(|line| !line.starts_with('<')).collect();
    match lines.join("\n") {
        text if text.starts_with("NoExtensionBias") => {
            "no token of the vocabulary can continue it".to_owned()
        }
        text if text.contains("too big") => {
            "it is too large to be enforced: list fewer or shorter alternatives".to_owned()
        }
        text if text.contains("Failed to generate regex for float range") => {
            "bounds of numbers are enforced from -1e19 to 1e19: leave out a bound beyond".to_owned()
        }
        text => text.replacen("panic: ", "the compiler of schemas failed: ", 1),
    }
}

/// The innermost schema that has the problem by itself, as a JSON pointer.
fn place(factory: &ParserFactory, root: &Value, problem: &str) -> String {
    let (mut pointer, mut schema) = ("#".to_owned(), root);
    for _ in 0..DEEPEST {
        let inner = parts(schema).into_iter().find(|(_, part)| {
            let mut part = (*part).clone();
            for key in ["$defs", "definitions"] {
                if let (Value::Object(part), Some(shared)) = (&mut part, root.get(key)) {
                    part.entry(key).or_insert_with(|| shared.clone());
                }
            }
            compile(factory, &part).is_err_and(|error| error == problem)
        });
        let Some((step, part)) = inner else { break };
        pointer += &step;
        schema = part;
    }
    pointer
}

/// The schemas inside a schema.
pub(super) fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let mut parts = Vec::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(all)) => {
                parts.extend(all.iter().map(|(name, part)| (format!("/{key}/{name}"), part)));
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                parts.extend(all.iter().enumerate().map(|(n, part)| (format!("/{key}/{n}"), part)));
            }
            ("items" | "additionalProperties", Value::Object(_)) => parts.push((format!("/{key}"), value)),
            _ => {}
        }
    }
    parts
}

/// The vocabulary by bytes. Control tokens are marked as such, so that no text is one; the end of the answer is known
/// by its id.
fn trie(tokenizer: &Tokenizer) -> TokTrie {
    let words: Vec<Vec<u8>> = (0..tokenizer.n_tokens() as u32)
        .map(|id| match (tokenizer.kind(id), tokenizer.bytes(id)) {
            (Some(TokenKind::Normal), Some(bytes)) => bytes.to_vec(),
            (Some(TokenKind::Control | TokenKind::UserDefined), Some(bytes)) => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
            }
            _ => Vec::new(),
        })
        .collect();
    TokTrie::from(&TokRxInfo::new(words.len() as u32, tokenizer.eos()), &words)
}

/// An answer on its way through a form.
pub(super) struct Following {
    matcher: Matcher,
    /// Logits of which only those of allowed tokens are left.
    masked: Vec<f32>,
}

impl Following {
    pub(super) fn new(constraint: &Constraint) -> Following {
        Following { matcher: constraint.matcher.deep_clone(), masked: Vec::new() }
    }

    /// The logits of the tokens that may come next; all others are minus infinity.
    pub(super) fn mask(&mut self, logits: &[f32]) -> Result<&[f32], String> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(|error| said(&error))?;
        self.masked.clear();
        self.masked.resize(logits.len(), f32::NEG_INFINITY);
        let mut any = false;
        allowed.iter_set_entries(|id| {
            if let (Some(to), Some(from)) = (self.masked.get_mut(id), logits.get(id)) {
                *to = *from;
                any = true;
            }
        });
        match any {
            true => Ok(&self.masked),
            false => Err("no token of the vocabulary can continue it".to_owned()),
        }
    }

    /// Whether the text so far has the whole form.
    pub(super) fn is_complete(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
    }

    /// Takes the token that was drawn.
    pub(super) fn push(&mut self, token: u32) -> Result<(), String> {
        self.matcher.consume_token(token).map_err(|error| said(&error))
    }
}
