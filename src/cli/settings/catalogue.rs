//! Which flags of which verbs can be set, told by the command line's own definition.

use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};

/// Verbs about the program itself, or about what lies on the disk: nothing of theirs is set for another day.
const WITHOUT_SETTINGS: [&str; 5] = ["cache", "completions", "config", "man", "version"];
/// What MODEL is called among the settings, and on the command line.
pub(crate) const MODEL: &str = "model";
/// The flag that names it, too.
pub(crate) const MODEL_FLAG: &str = "model_flag";

/// What one run reads and writes, and leave to overwrite a file or to run commands, are said when it is started.
fn is_of_one_run(verb: &str, flag: &str) -> bool {
    match flag {
        "file" | "prompt" | "tokens" | "tokens-file" | "save-base" | "kl-base" | "checkpoint" | "predict"
        | "json-schema" | "json-schema-file" | "yes" | "session" | "continue" => true,
        "output" => verb != "bench",
        "force" => matches!(verb, "quantize" | "synth" | "logits" | "perplexity"),
        _ => false,
    }
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is there or not.
    Switch,
    /// One value.
    One,
    /// Any number of values.
    Many,
}

/// A flag of a verb; or its MODEL.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    /// The parser's name.
    pub id: String,
    /// Its long name: the key of its setting.
    pub name: String,
    /// Other names of the same.
    others: Vec<String>,
    pub kind: Kind,
    /// What it is if nobody says anything.
    pub built_in: Vec<String>,
    /// Ids of flags that cannot stand beside it.
    pub conflicts: Vec<String>,
    arg: Arg,
}

/// A verb and what can be set of it.
#[derive(Clone, Debug)]
pub(super) struct Verb {
    pub name: String,
    pub flags: Vec<Flag>,
    /// Names of flags that are known, but only on the command line.
    of_one_run: Vec<String>,
}

/// All that can be set.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    pub verbs: Vec<Verb>,
}

/// What a key means for a verb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning<'c> {
    pub flag: &'c Flag,
    /// The key says the opposite of the flag: `mmap` of `--no-mmap`, `no-think` of `--think`.
    pub opposite: bool,
}

/// A switch's opposite: `no-think` of `think`, `mmap` of `no-mmap`.
pub(super) fn opposite_name(name: &str) -> String {
    name.strip_prefix("no-").map_or_else(|| format!("no-{name}"), str::to_owned)
}

/// The variable that sets what `name` sets.
pub(super) fn variable(name: &str) -> String {
    format!("FATHOM_{}", name.replace('-', "_").to_uppercase())
}

impl Catalogue {
    pub(super) fn of(program: &Command) -> Catalogue {
        let verbs = program.get_subcommands().filter(|verb| !WITHOUT_SETTINGS.contains(&verb.get_name()));
        let everywhere: Vec<_> = program.get_arguments().filter(|arg| arg.is_global_set()).collect();
        Catalogue { verbs: verbs.map(|verb| Verb::of(verb, &everywhere)).collect() }
    }

    pub(super) fn verb(&self, name: &str) -> Option<&Verb> {
        self.verbs.iter().find(|verb| verb.name == name)
    }

    /// Whether some verb knows the flag, but only on the command line.
    pub(super) fn is_of_one_run(&self, key: &str) -> bool {
        self.verbs.iter().any(|verb| verb.is_of_one_run(key))
    }

    /// Every name that is a key, opposites and other names included, in order and once.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.verbs.iter().flat_map(Verb::names).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Verb {
    fn of(command: &Command, everywhere: &[&Arg]) -> Verb {
        let verb = command.get_name();
        let named = |arg: &&Arg| {
            arg.get_long().is_some_and(|long| !is_of_one_run(verb, long)) && arg.get_id() != MODEL_FLAG
        };
        let flags = command.get_arguments().filter(named).map(|arg| Flag::of(command, arg));
        let model = command.get_positionals().filter(|arg| {
            // Without a MODEL `doctor` tells about the machine; elsewhere it is then the built-in one.
            arg.get_id() == MODEL && !arg.is_required_set() && verb != "doctor"
        });
        let everywhere = everywhere.iter().map(|arg| Flag::of(command, arg));
        let flags: Vec<_> = model.map(|arg| Flag::of(command, arg)).chain(flags).chain(everywhere).collect();
        // A switch and the flag that takes it back are one setting, the one that says what is done.
        let is_switch = |name: &str| flags.iter().any(|flag| flag.kind == Kind::Switch && flag.name == name);
        let is_opposite = |flag: &Flag| {
            flag.name.starts_with("no-") && is_switch(&flag.name) && is_switch(&opposite_name(&flag.name))
        };
        let of_one_run =
            command.get_arguments().filter_map(Arg::get_long).filter(|long| is_of_one_run(verb, long));
        Verb {
            name: verb.to_owned(),
            of_one_run: of_one_run.map(str::to_owned).collect(),
            flags: flags.iter().filter(|flag| !is_opposite(flag)).cloned().collect(),
        }
    }

    pub(super) fn is_of_one_run(&self, key: &str) -> bool {
        self.of_one_run.iter().any(|name| name == key)
    }

    /// What a key means here.
    pub(super) fn meaning(&self, key: &str) -> Option<Meaning<'_>> {
        let is_named = |flag: &&Flag| flag.name == key || flag.others.iter().any(|other| other == key);
        let is_opposite = |flag: &&Flag| flag.kind == Kind::Switch && opposite_name(&flag.name) == key;
        let named = self.flags.iter().find(is_named).map(|flag| Meaning { flag, opposite: false });
        named.or_else(|| self.flags.iter().find(is_opposite).map(|flag| Meaning { flag, opposite: true }))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let opposite = |flag: &Flag| (flag.kind == Kind::Switch).then(|| opposite_name(&flag.name));
        self.flags.iter().flat_map(move |flag| {
            std::iter::once(flag.name.clone()).chain(flag.others.iter().cloned()).chain(opposite(flag))
        })
    }
}

impl Flag {
    fn of(command: &Command, arg: &Arg) -> Flag {
        let kind = match arg.get_action() {
            ArgAction::SetTrue => Kind::Switch,
            ArgAction::Append => Kind::Many,
            _ => Kind::One,
        };
        let conflicts = command.get_arguments().filter(|other| {
            let declares = |one: &Arg, two: &Arg| {
                command.get_arg_conflicts_with(one).iter().any(|found| found.get_id() == two.get_id())
            };
            declares(arg, other) || declares(other, arg)
        });
        let others = arg.get_all_aliases().unwrap_or_default();
        let values = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
        Flag {
            id: arg.get_id().to_string(),
            name: arg.get_long().unwrap_or(MODEL).to_owned(),
            others: others.iter().map(|&other| other.to_owned()).collect(),
            kind,
            built_in: match arg.get_value_delimiter() {
                Some(comma) => {
                    values.flat_map(|v| v.split(comma).map(str::to_owned).collect::<Vec<_>>()).collect()
                }
                None => values.collect(),
            },
            conflicts: conflicts.map(|other| other.get_id().to_string()).collect(),
            arg: arg.clone(),
        }
    }

    /// The argument itself, if it is one of the whole program that every verb takes.
    pub(super) fn everywhere(&self) -> Option<Arg> {
        self.arg.is_global_set().then(|| self.arg.clone())
    }

    /// What the flag's own parser says against values, if anything.
    ///
    /// # Errors
    /// What was expected, and what was found.
    pub(super) fn check(&self, values: &[String]) -> Result<(), String> {
        if self.kind == Kind::One && values.len() != 1 {
            return Err(format!("expected one value, found a list of {}", values.len()));
        }
        let mut alone = Arg::new("value")
            .long("value")
            .value_parser(self.arg.get_value_parser().clone())
            .allow_hyphen_values(true)
            .action(ArgAction::Append);
        if let Some(comma) = self.arg.get_value_delimiter() {
            alone = alone.value_delimiter(comma);
        }
        // A program of this one flag, whose mistakes are those of the value.
        let line = values.iter().map(|value| OsString::from(format!("--value={value}")));
        let program = Command::new("value").no_binary_name(true).arg(alone);
        program.try_get_matches_from(line).map(drop).map_err(|error| said(&error, values))
    }
}

/// What is wrong with a value, without the parser's frame.
fn said(error: &clap::Error, values: &[String]) -> String {
    use clap::error::{ContextKind, ContextValue};
    if let Some(source) = std::error::Error::source(error) {
        let source = source.to_string();
        let told = source.contains("found");
        return if told { source } else { format!("{source}, found `{}`", values.join("`, `")) };
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!("expected one of {}, found `{}`", valid.join(", "), values.join("`, `"))
        }
        _ => format!("`{}` is not valid", values.join("`, `")),
    }
}

/// Whether a variable is one of ours, and which.
pub(super) fn our_variable(name: &OsStr) -> Option<&str> {
    name.to_str().filter(|name| name.starts_with("FATHOM_"))
}
