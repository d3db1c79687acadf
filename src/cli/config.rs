//! `fathom config`: which settings hold, and where they were said.

use super::settings::{Effective, Origin, Setting, Settings};
use super::{Failure, print};
use clap::Subcommand;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;
use std::path::Path;
use toml_edit::Value;

/// Show the settings and where they come from.
///
/// A flag that is not on the command line takes its value from the environment variable FATHOM_ plus the flag's name
/// (FATHOM_CTX_SIZE); else from your settings file, ~/.config/fathom/config.toml or the file that FATHOM_CONFIG names; else
/// from the system's file, /etc/fathom/config.toml or the file that FATHOM_SYSTEM_CONFIG names; else from the program's
/// defaults. Keys are the long names of flags, with dashes or underscores. At the top of the file they hold for all
/// commands that have the flag; in a table such as `[bench]` they hold for that command only. `[aliases]` gives names to
/// models, and `folders` in `[models]` lists more folders for `fathom models` to search.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Print the settings in effect, in the form of a settings file.
    Show {
        /// Show the settings of this command only [default: all commands].
        #[arg(value_name = "COMMAND")]
        verb: Option<String>,
        /// Show where each value comes from.
        #[arg(long)]
        origin: bool,
        /// Print one JSON object, including where each value comes from.
        #[arg(long)]
        json: bool,
    },
    /// Print the paths of the settings files and whether they exist. A later file overrides an earlier one.
    Path,
}

/// Runs the verb.
///
/// # Errors
/// A verb that is none; settings that are wrong, after what is right was shown.
pub fn run(args: Args, settings: &Settings) -> Result<(), Failure> {
    let shown = match args.verb {
        Verb::Path => return print::answer(&print::plain(&paths(settings))),
        Verb::Show { verb: Some(verb), .. } if !settings.has(&verb) => {
            let verbs: Vec<_> = settings.effective().map(|(name, _)| name.to_owned()).collect();
            let verbs = verbs.join(", ");
            return Err(Failure::usage(format!(
                "expected a command that has settings ({verbs}), found `{verb}`"
            )));
        }
        Verb::Show { verb, json: true, .. } => return show_json(settings, verb.as_deref()),
        Verb::Show { verb, origin, .. } => text(settings, verb.as_deref(), origin),
    };
    print::answer(&print::for_screen(&shown))?;
    for note in &settings.notes {
        tell!("note: {}", print::plain(note));
    }
    settings.wrong().map_or(Ok(()), Err)
}

fn paths(settings: &Settings) -> String {
    let lines = settings.sources.iter().map(|source| {
        let there = if source.exists { "exists" } else { "does not exist" };
        format!("{}  {} ({})\n", source.path.display(), there, source.whose)
    });
    lines.collect()
}

/// The settings as TOML.
fn text(settings: &Settings, wanted: Option<&str>, origins: bool) -> String {
    let mut text = String::new();
    let mut line = |left: String, origin: Option<&Origin>| {
        let origin = origin
            .filter(|_| origins)
            .map_or(String::new(), |origin| format!("  # from {}", one_line(origin)));
        writeln!(text, "{left}{origin}").expect("a string takes any text");
    };
    if wanted.is_none() && !settings.aliases.is_empty() {
        line("[aliases]".to_owned(), None);
        for alias in &settings.aliases {
            let (name, target) = (string(&alias.name), path_string(&alias.target));
            line(format!("{name} = {target}"), Some(&alias.origin));
        }
        line(String::new(), None);
    }
    for (verb, flags) in settings.effective().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name))
    {
        line(format!("[{verb}]"), None);
        for flag in &flags {
            match value(flag) {
                Some(value) => line(format!("{} = {value}", flag.name), Some(&flag.setting.origin)),
                None => line(format!("# {} is not set", flag.name), None),
            }
        }
        if let Some((folders, origin)) = settings.folders.as_ref().filter(|_| verb == "models") {
            let folders: Vec<_> = folders.iter().map(|folder| path_string(folder)).collect();
            line(format!("folders = [{}]", folders.join(", ")), Some(origin));
        }
        line(String::new(), None);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A comment ends with its line, whatever a path has in it.
fn one_line(origin: &Origin) -> String {
    origin.to_string().replace(char::is_control, "?")
}

/// A value in TOML; `None` where there is none.
fn value(flag: &Effective) -> Option<String> {
    let Setting { values, origin } = &flag.setting;
    let one = |text: &String| if is_bare(flag, text) { text.clone() } else { string(text) };
    if flag.many && (!values.is_empty() || *origin != Origin::BuiltIn) {
        return Some(format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")));
    }
    values.first().map(one)
}

/// Whether a value needs no quotation marks: a switch's, and a number that is read as the same text again.
fn is_bare(flag: &Effective, text: &str) -> bool {
    flag.switch
        || text.parse::<i64>().is_ok_and(|n| n.to_string() == text)
        || text.parse::<f64>().is_ok_and(|n| n.is_finite() && n.to_string() == text)
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

fn path_string(path: &Path) -> String {
    string(&path.to_string_lossy())
}

fn show_json(settings: &Settings, wanted: Option<&str>) -> Result<(), Failure> {
    let verbs = settings.effective().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let verbs: Map<_, _> = verbs
        .map(|(verb, flags)| {
            let flags = flags.iter().map(|flag| (flag.name.clone(), flag_json(flag)));
            (verb.to_owned(), Json::Object(flags.collect()))
        })
        .collect();
    let aliases: Map<_, _> = settings
        .aliases
        .iter()
        .map(|alias| (alias.name.clone(), with_origin(json!(alias.target.to_string_lossy()), &alias.origin)))
        .collect();
    let folders = settings.folders.as_ref().map(|(folders, origin)| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy()).collect();
        with_origin(json!(folders), origin)
    });
    let files = settings.sources.iter().map(|source| {
        json!({ "path": source.path.to_string_lossy(), "of": source.whose, "exists": source.exists })
    });
    print::json(&json!({
        "files": files.collect::<Vec<_>>(),
        "verbs": verbs,
        "aliases": aliases,
        "folders": folders,
        "notes": settings.notes,
        "problems": settings.problems,
    }))?;
    settings.wrong().map_or(Ok(()), Err)
}

fn flag_json(flag: &Effective) -> Json {
    let Setting { values, origin } = &flag.setting;
    let one = |text: &String| match is_bare(flag, text) {
        true => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        false => json!(text),
    };
    let value =
        if flag.many { values.iter().map(one).collect() } else { values.first().map_or(Json::Null, one) };
    with_origin(value, origin)
}

fn with_origin(value: Json, origin: &Origin) -> Json {
    match origin {
        Origin::BuiltIn => json!({ "value": value, "from": "built-in" }),
        Origin::Variable(name) => json!({ "value": value, "from": "environment", "variable": name }),
        Origin::File { path, line } => {
            json!({ "value": value, "from": "file", "path": path.to_string_lossy(), "line": line })
        }
    }
}
