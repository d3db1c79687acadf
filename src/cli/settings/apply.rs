//! Settings as the parser's defaults.

use super::aliases::ModelParser;
use super::catalogue::{Flag, Kind, MODEL, MODEL_FLAG, Verb, opposite_name};
use super::{Setting, Settings};
use clap::builder::{ArgPredicate, OsStr, Resettable};
use clap::{Arg, ArgAction, Command};
use std::collections::{BTreeMap, HashMap};

/// The program with what is set as its defaults, a name wherever a MODEL is taken, and an opposite of every flag without
/// a value, so that the command line can take back what was set.
pub(super) fn apply(program: Command, settings: &Settings) -> Command {
    let parser = ModelParser { aliases: settings.aliases.clone() };
    let named = |arg: Arg| match arg.get_id().as_str() {
        MODEL | MODEL_FLAG => arg.value_parser(parser.clone()),
        _ => arg,
    };
    // All at once, here and below: one at a time they would change places, and the order is that of the help.
    program.mut_subcommands(|command| {
        let command = match settings.catalogue.verb(command.get_name()) {
            Some(verb) => apply_verb(command, verb, settings),
            None => command,
        };
        command.mut_args(named)
    })
}

fn apply_verb(mut command: Command, verb: &Verb, settings: &Settings) -> Command {
    let empty = BTreeMap::new();
    let set = settings.set.get(&verb.name).unwrap_or(&empty);
    let mut defaults = HashMap::new();
    // What every verb takes may be set for some only.
    command = command.args(verb.flags.iter().filter_map(Flag::everywhere));
    for flag in &verb.flags {
        let opposite;
        (command, opposite) = with_opposite(command, flag);
        if let Some(setting) = set.get(&flag.id) {
            defaults.insert(&*flag.id, (flag, setting, rivals(&command, flag, opposite)));
        }
    }
    command.mut_args(|arg| match defaults.remove(arg.get_id().as_str()) {
        Some((flag, setting, rivals)) => with_default(arg, flag, setting, rivals),
        None => arg,
    })
}

/// A switch's opposite, which is added if there is none. A flag of that name which takes values is something else.
fn with_opposite(command: Command, flag: &Flag) -> (Command, Option<String>) {
    if flag.kind != Kind::Switch {
        return (command, None);
    }
    let name = opposite_name(&flag.name);
    let known = command.get_arguments().find(|arg| arg.get_long() == Some(&name));
    if let Some(id) = known.map(|known| is_switch(known).then(|| known.get_id().to_string())) {
        return (command, id);
    }
    let id = format!("not {}", flag.id);
    let hidden = Arg::new(id.clone()).long(name).action(ArgAction::SetTrue).hide(true);
    (command.arg(hidden.overrides_with(flag.id.clone())), Some(id))
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Flags which, on the command line, leave nothing of a flag's setting.
fn rivals(command: &Command, flag: &Flag, opposite: Option<String>) -> Vec<(String, ArgPredicate)> {
    let is_switch = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id && is_switch(arg));
    let present = |id: String| {
        let how = if is_switch(&id) { ArgPredicate::Equals("true".into()) } else { ArgPredicate::IsPresent };
        (id, how)
    };
    opposite.into_iter().chain(flag.conflicts.iter().cloned()).map(present).collect()
}

fn with_default(arg: Arg, flag: &Flag, setting: &Setting, rivals: Vec<(String, ArgPredicate)>) -> Arg {
    if flag.kind == Kind::Switch && setting.values == ["false"] {
        return arg;
    }
    let without = || match (flag.kind, flag.built_in.first()) {
        (Kind::Switch, _) => Resettable::Value("false".into()),
        (_, Some(value)) => Resettable::Value(value.clone().into()),
        (_, None) => Resettable::Reset,
    };
    let arg = rivals.into_iter().fold(arg, |arg, (id, how)| arg.default_value_if(id, how, without()));
    arg.required(false).default_values(setting.values.iter().cloned().map(OsStr::from))
}
