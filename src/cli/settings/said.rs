//! What was said, and where: settings files and the environment as statements about flags.

use super::catalogue::{Catalogue, our_variable, variable};
use crate::closest::closest;
use fathom_files::input::{self, ReadError};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use toml_edit::{Document, Item, Key, TableLike, Value};

/// No file of settings is larger.
const MOST_BYTES: u64 = 1 << 20;
/// Likeness of names that can be meant.
const CLOSE: f64 = 0.8;

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the program's own default.
    BuiltIn,
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment, by this variable.
    Variable(String),
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn => f.write_str("built-in"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Switch(bool),
    Texts(Vec<String>),
}

/// One setting that somebody made.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The verb it is for; `None`: all that have the flag and take the value.
    pub verb: Option<String>,
    pub key: String,
    pub given: Given,
    pub origin: Origin,
}

/// A name for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// The model's file or folder.
    pub target: PathBuf,
    /// Where it was said.
    pub origin: Origin,
}

/// A layer of settings; a later one goes before an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub said: Vec<Said>,
    pub aliases: Vec<Alias>,
    pub folders: Option<(Vec<PathBuf>, Origin)>,
    pub problems: Vec<String>,
}

/// Text of a settings file; `None` if there is none.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, String> {
    let bytes = match input::read_or_pipe(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(None),
        Err(ReadError::TooLarge { limit, .. }) => {
            return Err(format!(
                "{}: expected at most {limit} bytes of settings, found more",
                path.display()
            ));
        }
        Err(error) => {
            return Err(format!(
                "{}: expected a settings file that can be read, found: {error}",
                path.display()
            ));
        }
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        format!("{}:{line}: expected UTF-8, found other bytes", path.display())
    })
}

/// Reads a file of settings.
struct Reader<'r> {
    path: &'r Path,
    text: &'r str,
    catalogue: &'r Catalogue,
    layer: Layer,
}

/// What the file at `path` says, which has this text.
pub(super) fn of_text(path: &Path, text: &str, catalogue: &Catalogue) -> Layer {
    let mut reader = Reader { path, text, catalogue, layer: Layer::default() };
    match Document::parse(text) {
        Ok(document) => reader.top(document.as_table()),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.problem(at, format!("expected TOML, found: {}", error.message().replace('\n', "; ")));
        }
    }
    reader.layer
}

impl Reader<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }

    fn problem(&mut self, at: usize, what: impl Display) {
        let problem = format!("{}: {what}", self.origin(at));
        self.layer.problems.push(problem);
    }

    fn top(&mut self, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let at = place(table.get_key_value(name).map(|(key, _)| key), item);
            match item.as_table_like() {
                Some(inner) if name == "aliases" => self.aliases(inner),
                Some(inner) if self.catalogue.verb(name).is_some() => self.verb(name, inner),
                Some(_) => self.unknown_table(at, name),
                None if item.is_array_of_tables() => self.unknown_table(at, name),
                None => self.setting(None, name, item, at),
            }
        }
    }

    fn unknown_table(&mut self, at: usize, name: &str) {
        if self.is_key(name) {
            return self.problem(at, format!("{name}: expected a value, found a table"));
        }
        let verbs = self.catalogue.verbs.iter().map(|verb| verb.name.clone());
        let tables: Vec<_> = verbs.chain(["aliases".to_owned()]).collect();
        let meant = did_you_mean(name, &tables);
        self.problem(at, format!("[{name}]: expected a command's table or [aliases]{meant}"));
    }

    fn is_key(&self, name: &str) -> bool {
        let name = name.replace('_', "-");
        self.catalogue.verbs.iter().any(|verb| verb.meaning(&name).is_some())
    }

    fn aliases(&mut self, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let at = place(table.get_key_value(name).map(|(key, _)| key), item);
            match item.as_str() {
                _ if name == super::aliases::BUILT_IN => {
                    self.problem(
                        at,
                        format!("{name}: expected another name: this one is reserved for the built-in model"),
                    );
                }
                _ if name.is_empty() || name.contains(['/', '\\']) || name.chars().any(char::is_control) => {
                    self.problem(at, format!("{name:?}: expected a name, not a path"));
                }
                Some(target) if !target.is_empty() => {
                    let alias =
                        Alias { name: name.to_owned(), target: self.beside(target), origin: self.origin(at) };
                    self.layer.aliases.push(alias);
                }
                _ => self.problem(at, format!("{name}: expected the path of a model, found {}", kind(item))),
            }
        }
    }

    fn verb(&mut self, verb: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let at = place(table.get_key_value(name).map(|(key, _)| key), item);
            if verb == "models" && name == "folders" {
                self.folders(item, at);
            } else {
                self.setting(Some(verb), name, item, at);
            }
        }
    }

    fn folders(&mut self, item: &Item, at: usize) {
        let texts = item.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match texts.flatten() {
            Some(folders) => {
                let folders = folders.into_iter().map(|folder| self.beside(folder)).collect();
                self.layer.folders = Some((folders, self.origin(at)));
            }
            None => self.problem(at, format!("folders: expected a list of paths, found {}", kind(item))),
        }
    }

    fn setting(&mut self, verb: Option<&str>, written: &str, item: &Item, at: usize) {
        let key = written.replace('_', "-");
        let known = match verb.and_then(|verb| self.catalogue.verb(verb)) {
            Some(verb) => verb.meaning(&key).is_some(),
            None => self.is_key(&key),
        };
        if !known {
            let why = unknown(self.catalogue, verb, &key);
            return self.problem(at, format!("{written}: {why}"));
        }
        match given(item) {
            Ok(mut given) => {
                if key == super::catalogue::MODEL
                    && let Given::Texts(texts) = &mut given
                {
                    texts.iter_mut().for_each(|text| self.model(text));
                }
                let origin = self.origin(at);
                self.layer.said.push(Said { verb: verb.map(str::to_owned), key, given, origin });
            }
            Err(found) => self.problem(at, format!("{written}: expected {WANTED}, found {found}")),
        }
    }

    /// A path of a model, as seen from where the program runs; a name stays what it is.
    fn model(&self, text: &mut String) {
        if !super::aliases::is_name(text) {
            *text = self.beside(text).to_string_lossy().into_owned();
        }
    }

    /// A path in this file: `~/` is the home folder, and a relative one begins where the file is.
    fn beside(&self, text: &str) -> PathBuf {
        match text.strip_prefix("~/").zip(etcetera::home_dir().ok()) {
            Some((rest, home)) => home.join(rest),
            None => self.path.parent().map_or_else(|| text.into(), |folder| folder.join(text)),
        }
    }
}

fn place(key: Option<&Key>, item: &Item) -> usize {
    key.and_then(Key::span).or_else(|| item.span()).map_or(0, |span| span.start)
}

const WANTED: &str = "true, false, a number, a string or a list of these";

fn given(item: &Item) -> Result<Given, &'static str> {
    match item.as_value() {
        Some(Value::Boolean(value)) => Ok(Given::Switch(*value.value())),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(text).collect::<Option<_>>();
            texts.map(Given::Texts).ok_or("a list with other values")
        }
        Some(value) => text(value).map(|text| Given::Texts(vec![text])).ok_or_else(|| kind(item)),
        None => Err(kind(item)),
    }
}

/// A value as the command line would have it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        _ => None,
    }
}

fn kind(item: &Item) -> &'static str {
    match item.type_name() {
        "string" if item.as_str() == Some("") => "an empty string",
        "string" => "a string",
        "integer" | "float" => "a number",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "a list",
        _ => "a table",
    }
}

/// Why a key is none.
fn unknown(catalogue: &Catalogue, verb: Option<&str>, key: &str) -> String {
    let own = verb.and_then(|verb| catalogue.verb(verb));
    let of_one_run = own.map_or_else(|| catalogue.is_of_one_run(key), |own| own.is_of_one_run(key));
    if of_one_run {
        return format!(
            "expected a setting; --{key} belongs to one run and can only be given on the command line"
        );
    }
    match own {
        None => format!("expected a flag's name{}", did_you_mean(key, &catalogue.names())),
        Some(own) => {
            let names: Vec<_> = own.names().collect();
            format!("expected a flag of `fathom {}`{}", own.name, did_you_mean(key, &names))
        }
    }
}

/// `; did you mean ...?`, if a name is close to what was written.
pub(super) fn did_you_mean<S: AsRef<str>>(word: &str, names: &[S]) -> String {
    let meant = closest(word, names.iter().map(S::as_ref), CLOSE);
    meant.map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

/// What the environment says. A variable without a value says nothing.
pub(super) fn of_environment(variables: impl Fn(&OsStr) -> Option<OsString>, catalogue: &Catalogue) -> Layer {
    let mut layer = Layer::default();
    for name in catalogue.names() {
        let variable = variable(&name);
        let Some(value) = variables(OsStr::new(&variable)).filter(|value| !value.is_empty()) else {
            continue;
        };
        let Some(value) = value.to_str() else {
            layer.problems.push(format!("{variable}: expected UTF-8, found other bytes"));
            continue;
        };
        let is_switch = catalogue.verbs.iter().any(|verb| {
            verb.meaning(&name).is_some_and(|meaning| meaning.flag.kind == super::catalogue::Kind::Switch)
        });
        let given = match (is_switch, word(value)) {
            (true, Some(value)) => Given::Switch(value),
            (true, None) => {
                layer.problems.push(format!("{variable}: expected true or false, found `{value}`"));
                continue;
            }
            (false, _) => Given::Texts(vec![value.to_owned()]),
        };
        layer.said.push(Said { verb: None, key: name, given, origin: Origin::Variable(variable) });
    }
    layer
}

/// What people write for yes and no.
fn word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "y" | "t" => Some(true),
        "0" | "false" | "no" | "off" | "n" | "f" => Some(false),
        _ => None,
    }
}

/// Variables that begin as ours do and mean nothing here.
pub(super) fn unknown_variables(
    names: impl Iterator<Item = OsString>,
    catalogue: &Catalogue,
    others: &[&str],
) -> Vec<String> {
    let known: Vec<String> = catalogue.names().iter().map(|name| variable(name)).collect();
    let all: Vec<&str> = known.iter().map(String::as_str).chain(others.iter().copied()).collect();
    let mut unknown: Vec<_> = names
        .filter_map(|name| our_variable(&name).filter(|name| !all.contains(name)).map(str::to_owned))
        .map(|name| format!("{name}: no setting has this name{}", did_you_mean(&name, &all)))
        .collect();
    unknown.sort_unstable();
    unknown
}
