//! Settings: what files and the environment say about flags before the command line does.
//!
//! They become defaults of the parser. So every value goes through its flag's own parser, a flag on the command line wins,
//! and the help shows what holds here.

pub(crate) mod aliases;
mod apply;
mod catalogue;
mod said;

pub use said::{Alias, Origin};

use super::{Cli, Failure};
pub(crate) use aliases::{BUILT_IN, is_builtin};
use catalogue::{Catalogue, Flag, Kind, Meaning, Verb};
pub(crate) use catalogue::{MODEL, MODEL_FLAG};
use clap::{Command, CommandFactory};
use said::{Given, Layer, Said};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The file of everybody on this machine.
const SYSTEM: &str = "/etc/fathom/config.toml";
/// The variable that names another one.
pub(crate) const SYSTEM_VARIABLE: &str = "FATHOM_SYSTEM_CONFIG";
/// The variable that names another file than this person's.
pub(crate) const USER_VARIABLE: &str = "FATHOM_CONFIG";
/// Variables of ours that are no flags.
const OTHER_VARIABLES: [&str; 4] = [SYSTEM_VARIABLE, USER_VARIABLE, "FATHOM_CACHE_DIR", "FATHOM_SIMD"];

/// Variables of this project's tests and measurements, and of what tools are told; a name that ends with a star stands for all
/// that begin so.
const NO_SETTINGS: [&str; 12] = [
    "FATHOM_BENCH_*",
    "FATHOM_BIN",
    "FATHOM_BLESS",
    "FATHOM_CI_*",
    "FATHOM_FUZZ_*",
    "FATHOM_GGML_*",
    "FATHOM_ONLY_LEVELS",
    "FATHOM_REQUIRE_*",
    "FATHOM_TEST_*",
    "FATHOM_TOOL_ARGUMENTS",
    "FATHOM_TOOL_NAME",
    "FATHOM_WRITE_*",
];

/// A file that is looked at.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is: `system` or `user`.
    pub whose: &'static str,
    /// Whether it is there.
    pub exists: bool,
}

/// A flag's value for one verb, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As the command line would have it; `true` or `false` for a flag without a value; nothing if there is none.
    pub values: Vec<String>,
    /// Where it was said.
    pub origin: Origin,
}

/// One line of what holds.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The flag's name.
    pub name: String,
    /// Whether it takes nothing: it is there or not.
    pub switch: bool,
    /// Whether it takes a list.
    pub many: bool,
    /// Its value.
    pub setting: Setting,
}

/// All settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Files that were looked at, in order.
    pub sources: Vec<Source>,
    /// What is wrong with what was said.
    pub problems: Vec<String>,
    /// What looks wrong and changes nothing.
    pub notes: Vec<String>,
    /// Names for models, by name.
    pub aliases: Vec<Alias>,
    /// Where `fathom models` looks, too.
    pub folders: Option<(Vec<PathBuf>, Origin)>,
    catalogue: Catalogue,
    /// What is set, by verb and the parser's name of the flag.
    set: BTreeMap<String, BTreeMap<String, Setting>>,
}

impl Settings {
    /// What this machine's files and this process's environment say.
    pub fn read() -> Settings {
        let set = |name: &OsStr| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut settings = Settings::from(set);
        // An empty one sets nothing, whatever its name.
        let names = std::env::vars_os().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        let names = names.filter(|name| !is_of_the_project(name));
        settings.notes = said::unknown_variables(names, &settings.catalogue, &OTHER_VARIABLES);
        settings
    }

    /// What the files say which these variables name, and the variables themselves.
    fn from(variables: impl Fn(&OsStr) -> Option<OsString>) -> Settings {
        let catalogue = Catalogue::of(&Cli::command());
        let mut settings = Settings { catalogue, ..Settings::default() };
        let mut layers = Vec::new();
        let named = |name| variables(OsStr::new(name)).map(PathBuf::from);
        let places = [
            ("system", named(SYSTEM_VARIABLE), Some(PathBuf::from(SYSTEM))),
            ("user", named(USER_VARIABLE), usual_file()),
        ];
        for (whose, named, usual) in places {
            let must_be_there = named.is_some();
            let Some(path) = named.or(usual) else { continue };
            layers.push(settings.file(path, whose, must_be_there));
        }
        layers.push(said::of_environment(variables, &settings.catalogue));
        settings.take(layers);
        settings
    }

    /// The model that a name or a path stands for.
    ///
    /// # Errors
    /// What the names are, if it is none of them and no file.
    pub(crate) fn named_model(&self, text: &Path) -> Result<PathBuf, String> {
        aliases::resolve(text, &self.aliases)
    }

    fn file(&mut self, path: PathBuf, whose: &'static str, must_be_there: bool) -> Layer {
        // Paths in it are told from its folder, which must not depend on where the program runs.
        let path = std::path::absolute(&path).unwrap_or(path);
        let text = said::read_text(&path);
        let exists = !matches!(text, Ok(None));
        let layer = match text {
            Ok(Some(text)) => said::of_text(&path, &text, &self.catalogue),
            Ok(None) if must_be_there => {
                let name = if whose == "user" { USER_VARIABLE } else { SYSTEM_VARIABLE };
                let problem = format!("{name}: expected a settings file, found no file {}", path.display());
                Layer { problems: vec![problem], ..Layer::default() }
            }
            Ok(None) => Layer::default(),
            Err(problem) => Layer { problems: vec![problem], ..Layer::default() },
        };
        self.sources.push(Source { path, whose, exists });
        layer
    }

    fn take(&mut self, layers: Vec<Layer>) {
        let mut aliases = BTreeMap::new();
        for layer in &layers {
            self.problems.extend(layer.problems.iter().cloned());
            aliases.extend(layer.aliases.iter().map(|alias| (alias.name.clone(), alias.clone())));
            if layer.folders.is_some() {
                self.folders.clone_from(&layer.folders);
            }
        }
        self.aliases = aliases.into_values().collect();
        let mut problems: Vec<_> =
            layers.iter().flat_map(|layer| &layer.said).filter_map(|said| self.nobody_takes(said)).collect();
        for verb in &self.catalogue.verbs {
            let mut settled =
                Settled { verb, aliases: &self.aliases, set: BTreeMap::new(), problems: Vec::new() };
            layers.iter().for_each(|layer| settled.layer(layer));
            // Each verb would tell the same of what was said for all.
            problems.extend(
                settled.problems.into_iter().filter(|new| !problems.contains(new)).collect::<Vec<_>>(),
            );
            self.set.insert(verb.name.clone(), settled.set);
        }
        self.problems.extend(problems);
    }

    /// Why a setting means nothing for any verb that it could be for.
    fn nobody_takes(&self, said: &Said) -> Option<String> {
        let mut why = None;
        for verb in &self.catalogue.verbs {
            let Some(meaning) = meaning(verb, said) else { continue };
            match values(meaning, &said.given, &self.aliases) {
                Ok(_) => return None,
                Err(error) => why = why.or(Some(error)),
            }
        }
        why.map(|why| format!("{}: {}: {why}", said.origin, said.key))
    }

    /// What ends the program if something wrong was said.
    pub(super) fn wrong(&self) -> Option<Failure> {
        let problems = self.problems.join("\n  ");
        (!problems.is_empty()).then(|| Failure::usage(format!("invalid settings:\n  {problems}")))
    }

    /// Whether a verb has settings.
    pub(super) fn has(&self, verb: &str) -> bool {
        self.catalogue.verb(verb).is_some()
    }

    /// The MODEL that a verb uses where none is named, if somebody set one.
    pub(super) fn model(&self, verb: &str) -> Option<&str> {
        self.set.get(verb)?.get(MODEL)?.values.first().map(String::as_str)
    }

    /// The parser, with these settings as its defaults.
    pub fn apply(&self, program: Command) -> Command {
        apply::apply(program, self)
    }

    /// Verbs with settings, and all of each.
    pub fn effective(&self) -> impl Iterator<Item = (&str, Vec<Effective>)> {
        self.catalogue.verbs.iter().map(|verb| {
            let set = self.set.get(&verb.name);
            let one = |flag: &Flag| Effective {
                name: flag.name.clone(),
                switch: flag.kind == Kind::Switch,
                many: flag.kind == Kind::Many,
                setting: set.and_then(|set| set.get(&flag.id)).cloned().unwrap_or_else(|| built_in(flag)),
            };
            (verb.name.as_str(), verb.flags.iter().map(one).collect())
        })
    }
}

/// Whether a variable is known, and no setting.
fn is_of_the_project(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    NO_SETTINGS.iter().any(|known| match known.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *known,
    })
}

fn built_in(flag: &Flag) -> Setting {
    let values = match flag.kind {
        Kind::Switch => vec!["false".to_owned()],
        _ => flag.built_in.clone(),
    };
    Setting { values, origin: Origin::BuiltIn }
}

/// This person's file, whether it is there or not.
fn usual_file() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    let folders = etcetera::choose_base_strategy().ok()?;
    Some(folders.config_dir().join("fathom").join("config.toml"))
}

/// What a statement means for a verb, if anything.
fn meaning<'v>(verb: &'v Verb, said: &Said) -> Option<Meaning<'v>> {
    let is_for = said.verb.as_ref().is_none_or(|name| *name == verb.name);
    is_for.then(|| verb.meaning(&said.key)).flatten()
}

/// What was given as the command line would have it.
fn values(meaning: Meaning<'_>, given: &Given, aliases: &[Alias]) -> Result<Vec<String>, String> {
    let flag = meaning.flag;
    let values = match (flag.kind, given) {
        (Kind::Switch, Given::Switch(value)) => return Ok(vec![(*value != meaning.opposite).to_string()]),
        (Kind::Switch, Given::Texts(texts)) => {
            return Err(format!("expected true or false, found `{}`", texts.join("`, `")));
        }
        (_, Given::Switch(value)) => return Err(format!("expected a value, found {value}")),
        (_, Given::Texts(texts)) if flag.id == MODEL && texts.len() == 1 => {
            let path = aliases::resolve(Path::new(&texts[0]), aliases)?;
            vec![path.to_string_lossy().into_owned()]
        }
        (_, Given::Texts(texts)) => texts.clone(),
    };
    flag.check(&values).map(|()| values)
}

/// One verb's settings on their way through the layers.
struct Settled<'s> {
    verb: &'s Verb,
    aliases: &'s [Alias],
    set: BTreeMap<String, Setting>,
    problems: Vec<String>,
}

impl Settled<'_> {
    /// What a layer says for all verbs, then what it says for this one.
    fn layer(&mut self, layer: &Layer) {
        for own in [false, true] {
            let mut here: Vec<(&str, Vec<String>, &Origin)> = Vec::new();
            for said in layer.said.iter().filter(|said| said.verb.is_some() == own) {
                let Some(meaning) = meaning(self.verb, said) else { continue };
                let Ok(values) = values(meaning, &said.given, self.aliases) else { continue };
                let flag = self
                    .verb
                    .flags
                    .iter()
                    .find(|flag| flag.id == meaning.flag.id)
                    .expect("it was found there");
                let against = |(id, other, _): &&(&str, Vec<String>, &Origin)| {
                    let same = *id == flag.id && *other != values;
                    same || (flag.conflicts.iter().any(|c| c == id) && is_on(other) && is_on(&values))
                };
                if let Some((_, _, other)) = here.iter().find(against) {
                    self.problems.push(format!("{}: {}: it contradicts {other}", said.origin, said.key));
                    continue;
                }
                here.push((&flag.id, values.clone(), &said.origin));
                self.set(flag, values, said.origin.clone());
            }
        }
    }

    /// Takes a value; what cannot stand beside it was said with less weight, and goes.
    fn set(&mut self, flag: &Flag, values: Vec<String>, origin: Origin) {
        if is_on(&values) {
            flag.conflicts.iter().for_each(|id| drop(self.set.remove(id)));
        }
        self.set.insert(flag.id.clone(), Setting { values, origin });
    }
}

fn is_on(values: &[String]) -> bool {
    values != ["false"]
}

#[cfg(test)]
mod tests;
